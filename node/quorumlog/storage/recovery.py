"""What a log is after a crash: which files belong to it, where its tail ends, and whether anything is missing.

The rules (RAFT.md §3), in the order in which they are applied:

1. The segment with the highest sequence is the tail. Segments below its ``floor`` were replaced by an installed
   checkpoint; leading segments of which a later one has discarded every entry are left-overs of retention. All
   others must be there, in unbroken sequence.
2. Every segment but the tail was sealed before its successor came into being, so it must have a valid trailer at
   its very end. Its records are verified when they are read (and by ``log scan --verify``).
3. The tail is scanned. It is cut after the last valid record, unless something vouches for what is damaged
   (``scan``). A segment comes into being under its final name only when its header and first job are durable:
   damage *there* is never a torn write.
4. The hard state is the last one in the tail. Without one, or with a commit index beyond the last entry, data that
   was durable is gone: ``CorruptLog``, never term 0 and never a clamped commit index.
5. The entry before the first must have a checkpoint (the base), and every other checkpoint must match the log.

Only when all of that holds is anything changed on disk: left-overs are removed, the cut is made (``truncate``: what
lay beyond must not come back as a valid record when the same positions are written again), and then **everything is
synced**. The process may have died without the machine: what it had written but not synced is then still visible
here, will be acknowledged from here on, and would be lost by a power cut a second later.

A failed fsync leaves a file named ``failed``, best effort: the page cache may hold what the disk never got, so not
even a restart may believe what it reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.raft.membership import MalformedConfiguration, decode_configuration
from quorumlog.raft.types import Configuration, EntryKind, HardState
from quorumlog.storage.checkpoint import SUFFIX as CHECKPOINT_SUFFIX
from quorumlog.storage.checkpoint import StoredCheckpoint, read_head, read_state
from quorumlog.storage.errors import CorruptLog, InvariantViolated, MissingLog, WrongReplica
from quorumlog.storage.format import (
    HEADER_SIZE,
    INDEX_SUFFIX,
    KIND_ENTRY,
    KIND_HARD_STATE,
    SEGMENT_SUFFIX,
    RecordHead,
    SegmentHeader,
    Trailer,
    decode_hard_state,
)
from quorumlog.storage.scan import RecordScanner, find_voucher, only_zeros, read_header, read_trailer, trailer_of
from quorumlog.storage.segment import ActiveSegment, Segment
from quorumlog.storage.terms import TermRuns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quorumlog.storage.files import Files, OpenFile
    from quorumlog.storage.scan import Record

_KINDS = tuple(EntryKind)
FAILED_MARKER = "failed"
INSTALLING_SUFFIX = ".installing"
INCOMING_PREFIX = "incoming-"
NEW_SUFFIX = ".new"


@dataclass(slots=True)
class ScannedSegment:
    """One segment, read from end to end."""

    active: ActiveSegment
    hard_state: HardState | None
    trailer: Trailer | None
    end: int
    """After the last valid record."""
    size: int
    why: str
    """Why the scan ended there; empty for a sealed segment."""


@dataclass(slots=True)
class RecoveredLog:
    """What ``PartitionLog`` starts from."""

    group_id: int
    replica_id: int
    hard_state: HardState
    segments: list[Segment]
    active: ActiveSegment | None
    """None if the tail was sealed and its successor never became durable."""
    sequence: int
    floor: int
    terms: TermRuns
    first_index: int
    last_index: int
    configurations: list[tuple[int, Configuration]]
    checkpoints: list[StoredCheckpoint]
    """Ascending; the first is the base."""
    repaired: list[str] = field(default_factory=list)
    """What was cut, dropped or found damaged without harm, for the node's log."""


def scan_segment(files: Files, path: str) -> ScannedSegment:
    """Reads and verifies every record. Raises CorruptLog for valid records that contradict one another."""
    file = files.open(path, "read")
    try:
        return scan_open_segment(file, path)
    finally:
        file.close()


def scan_open_segment(file: OpenFile, path: str) -> ScannedSegment:
    header = read_header(file, path)
    active = ActiveSegment(path.rpartition("/")[0], header)
    size = file.size()
    scanner = RecordScanner(file, active.seed, HEADER_SIZE, size)
    state: HardState | None = None
    while (record := scanner.next()) is not None:
        if record.kind == KIND_ENTRY:
            _check_entry(path, active, state, record)
            active.note_entry(record.index, record.term, _KINDS[record.entry_kind], record.body, record.position)
        elif record.kind == KIND_HARD_STATE:
            state = _next_hard_state(path, state, record)
        else:
            trailer = trailer_of(path, record)
            _check_trailer(path, active, trailer)
            return ScannedSegment(active, trailer.hard_state, trailer, scanner.position, size, "")
        active.note_record(record.head, scanner.position - record.position)
    return ScannedSegment(active, state, None, scanner.position, size, scanner.why)


def _check_entry(path: str, active: ActiveSegment, state: HardState | None, record: Record) -> None:
    index = record.index
    if not active.first_index <= index <= active.last_index + 1:
        raise CorruptLog(path, record.position, f"entry {index} follows entry {active.last_index}")
    if state is None or record.term > state.term:
        raise CorruptLog(path, record.position, f"entry {index} is of a term that the hard state before it lacks")
    if index == active.last_index + 1 and active.term_runs and record.term < active.term_runs[-1][1]:
        raise CorruptLog(path, record.position, f"the term of entry {index} is lower than that of the one before")


def _next_hard_state(path: str, state: HardState | None, record: Record) -> HardState:
    head = RecordHead(0, 0, 0, record.kind, 0, 0, record.position, record.index, record.term)
    found, synced = decode_hard_state(head, record.body)
    if synced > record.position:
        raise CorruptLog(path, record.position, "the hard state vouches for bytes behind itself")
    if state is not None and (found.term < state.term or found.commit < state.commit):
        raise CorruptLog(path, record.position, "term or commit index goes back")
    return found


def _check_trailer(path: str, active: ActiveSegment, trailer: Trailer) -> None:
    stated = (trailer.first_index, trailer.last_index, trailer.records, trailer.digest)
    if stated != (active.first_index, active.last_index, active.records, active.digest):
        raise CorruptLog(path, trailer.synced, "the trailer does not describe the records before it")


class _Opened(NamedTuple):
    name: str
    path: str
    header: SegmentHeader


def recover(files: Files, directory: str, expected: tuple[int, int] | None = None) -> RecoveredLog:
    """Reads, judges, mends and syncs. ``expected``: (group id, replica id), checked if given.

    Raises MissingLog, CorruptLog, NewerFormat, WrongReplica; nothing is changed on disk then.
    """
    try:
        names = files.listdir(directory)
    except FileNotFoundError:
        raise MissingLog(directory) from None
    if FAILED_MARKER in names:
        raise CorruptLog(f"{directory}/{FAILED_MARKER}", 0, "an fsync failed here: the disk may lack what is read")
    opened = _open_headers(files, directory, names)
    if not opened:
        if any(name.endswith(CHECKPOINT_SUFFIX) for name in names):
            raise CorruptLog(directory, 0, "there is no segment, and so no hard state")
        raise MissingLog(directory)
    _check_owner(opened, expected)
    chain = _chain(directory, opened)
    tail_file = files.open(chain[-1].path, "write")
    try:
        return _recover_chain(files, directory, names, opened, chain, tail_file)
    except BaseException:
        tail_file.close()
        raise


def _open_headers(files: Files, directory: str, names: Iterable[str]) -> list[_Opened]:
    found = []
    for name in names:
        if name.endswith(SEGMENT_SUFFIX):
            path = f"{directory}/{name}"
            file = files.open(path, "read")
            try:
                found.append(_Opened(name, path, read_header(file, path)))
            finally:
                file.close()
    found.sort(key=lambda one: one.header.sequence)
    return found


def _check_owner(opened: list[_Opened], expected: tuple[int, int] | None) -> None:
    tail = opened[-1].header
    owner = expected or (tail.group_id, tail.replica_id)
    for one in opened:
        found = (one.header.group_id, one.header.replica_id)
        if found != owner:
            raise WrongReplica(one.path, owner, found)


def _chain(directory: str, opened: list[_Opened]) -> list[_Opened]:
    """The segments that make up the log, ascending (rule 1)."""
    tail = opened[-1].header
    chain = [one for one in opened if one.header.sequence >= tail.floor]
    for before, after in pairwise(chain):
        if after.header.sequence != before.header.sequence + 1:
            raise CorruptLog(after.path, 40, f"segment number {before.header.sequence + 1} is missing before it")
    lowest_later = tail.first_index
    start = len(chain) - 1
    for number in range(len(chain) - 2, -1, -1):
        first = chain[number].header.first_index
        if first < lowest_later:
            lowest_later = first
            start = number
    return chain[start:]


def _recover_chain(
    files: Files,
    directory: str,
    names: list[str],
    opened: list[_Opened],
    chain: list[_Opened],
    tail_file: OpenFile,
) -> RecoveredLog:
    tail = chain[-1]
    first = chain[0].header
    base = first.first_index - 1
    log = RecoveredLog(
        tail.header.group_id,
        tail.header.replica_id,
        HardState(),
        [],
        None,
        tail.header.sequence,
        tail.header.floor,
        TermRuns(base, first.previous_term),
        first.first_index,
        base,
        [],
        [],
    )
    for one in chain[:-1]:
        _join_sealed(files, log, one)
    scanned = scan_open_segment(tail_file, tail.path)
    _judge_tail(tail_file, tail.path, scanned)
    _join_tail(log, tail, scanned)
    stale = _join_checkpoints(files, directory, names, log)
    if log.hard_state.commit > log.last_index:
        raise CorruptLog(
            tail.path,
            scanned.end,
            f"commit index {log.hard_state.commit} is known, the log ends at {log.last_index}",
        )
    newest = log.checkpoints[-1].checkpoint.index
    if newest > log.hard_state.commit:
        # What a checkpoint covers is committed, though the commit index that said so may not have become durable.
        log.hard_state = log.hard_state._replace(commit=newest)
    stale += [one.name for one in opened if one not in chain]
    _mend(files, directory, names, stale, log, scanned, tail_file)
    return log


def _join_sealed(files: Files, log: RecoveredLog, one: _Opened) -> None:
    file = files.open(one.path, "read")
    try:
        trailer = read_trailer(file, one.path, one.header)
        size = file.size()
    finally:
        file.close()
    segment = Segment(one.path, one.header, trailer, size, durable=True)
    _join(log, one, trailer.first_index, trailer.last_index, trailer.term_runs, trailer.configurations)
    log.segments.append(segment)


def _join_tail(log: RecoveredLog, tail: _Opened, scanned: ScannedSegment) -> None:
    active = scanned.active
    _join(log, tail, active.first_index, active.last_index, active.term_runs, active.configurations)
    state = scanned.hard_state
    if state is None:
        raise CorruptLog(tail.path, HEADER_SIZE, "there is no hard state")
    log.hard_state = state
    if scanned.trailer is None:
        log.active = active
    else:
        log.segments.append(Segment(tail.path, tail.header, scanned.trailer, scanned.end, durable=True))


def _join(
    log: RecoveredLog,
    one: _Opened,
    first: int,
    last: int,
    runs: Iterable[tuple[int, int]],
    configurations: Iterable[tuple[int, bytes]],
) -> None:
    """Adds one segment's entries to the log; they discard what was at and above its first index."""
    if first != one.header.first_index or not log.first_index <= first <= log.last_index + 1:
        raise CorruptLog(
            one.path, 64, f"the segment begins at entry {first}, the one before ends at {log.last_index}"
        )
    if first <= log.last_index:
        log.terms.truncate(first)
        for segment in log.segments:
            segment.last_index = min(segment.last_index, first - 1)
        log.configurations = [pair for pair in log.configurations if pair[0] < first]
    if log.terms.term(first - 1) != one.header.previous_term:
        raise CorruptLog(one.path, 72, f"the term before entry {first} is not the one that the segment names")
    try:
        for index, term in runs:
            log.terms.append(index, term)
        for index, data in configurations:
            log.configurations.append((index, decode_configuration(data)))
    except (InvariantViolated, MalformedConfiguration) as error:
        raise CorruptLog(one.path, 0, str(error)) from error
    log.last_index = last


def _judge_tail(file: OpenFile, path: str, scanned: ScannedSegment) -> None:
    """Rule 3: raises CorruptLog unless what follows the last valid record may have been lost."""
    if scanned.trailer is not None:
        if not only_zeros(file, scanned.end, scanned.size):
            raise CorruptLog(path, scanned.end, "something follows the trailer")
        return
    if scanned.hard_state is None:
        raise CorruptLog(path, scanned.end, f"the segment's first record: {scanned.why}")
    if scanned.end < scanned.active.header.born_size:
        raise CorruptLog(path, scanned.end, f"{scanned.why}; the segment got its name when this was durable")
    voucher = find_voucher(file, scanned.active.seed, scanned.end, scanned.size)
    if voucher is not None:
        raise CorruptLog(path, scanned.end, f"{scanned.why}; the record at {voucher} proves that it was durable")


def _join_checkpoints(files: Files, directory: str, names: list[str], log: RecoveredLog) -> list[str]:
    """Rule 5. Returns the names of files that are left-overs."""
    base = log.first_index - 1
    stale = []
    damage: list[CorruptLog] = []
    for name in names:
        if not name.endswith((CHECKPOINT_SUFFIX, INSTALLING_SUFFIX)):
            continue
        installing = name.endswith(INSTALLING_SUFFIX)
        index = int(name[:20]) if name[:20].isdigit() else -1
        superseded = name.removesuffix(INSTALLING_SUFFIX) + CHECKPOINT_SUFFIX in names
        if index < base or (installing and (index != base or superseded)):
            stale.append(name)
            continue
        try:
            stored = read_head(files, f"{directory}/{name}")
        except CorruptLog as error:
            damage.append(error)
            continue
        if stored.group_id != log.group_id:
            raise WrongReplica(stored.path, (log.group_id, log.replica_id), (stored.group_id, log.replica_id))
        matches = index <= log.last_index and log.terms.term(index) == stored.checkpoint.term
        if not matches or stored.checkpoint.index != index:
            raise CorruptLog(
                stored.path, 0, f"a checkpoint at {index} that does not fit the log up to {log.last_index}"
            )
        log.checkpoints.append(stored)
    log.checkpoints.sort(key=lambda stored: (stored.checkpoint.index, stored.path))
    _drop_damaged_newest(files, log, damage)
    log.repaired += [str(error) for error in damage]
    return stale


def _drop_damaged_newest(files: Files, log: RecoveredLog, damage: list[CorruptLog]) -> None:
    """The newest checkpoint's state will be loaded: if it is damaged, an older one and more of the log do as
    well."""
    checkpoints = log.checkpoints
    while len(checkpoints) > 1:
        try:
            read_state(files, checkpoints[-1])
            break
        except CorruptLog as error:
            damage.append(error)
            checkpoints.pop()
    if not checkpoints or checkpoints[0].checkpoint.index != log.first_index - 1:
        if damage:
            raise damage[0]
        raise CorruptLog(log.segments[0].path if log.segments else "", 0, "the checkpoint below the log is missing")
    if len(checkpoints) == 1:
        read_state(files, checkpoints[0])


def _mend(
    files: Files,
    directory: str,
    names: list[str],
    stale: list[str],
    log: RecoveredLog,
    scanned: ScannedSegment,
    tail_file: OpenFile,
) -> None:
    """Only now is anything changed."""
    if scanned.trailer is None:
        if not only_zeros(tail_file, scanned.end, scanned.size):
            log.repaired.append(
                f"{scanned.active.path}: a write torn by a crash was cut at byte {scanned.end}: {scanned.why}"
            )
            tail_file.truncate(scanned.end)
            scanned.size = scanned.end
    elif scanned.size > scanned.end:
        tail_file.truncate(scanned.end)
    tail_file.fdatasync()
    if log.active is None:
        tail_file.close()
    else:
        active = log.active
        active.file = tail_file
        active.allocated = scanned.size
        active.frontier.claim(active.end)
    _name_installed_base(files, directory, log)
    kept = {segment.path for segment in log.segments}
    for name in names:
        orphan = (
            name.endswith(INDEX_SUFFIX)
            and f"{directory}/{name.removesuffix(INDEX_SUFFIX)}{SEGMENT_SUFFIX}" not in kept
        )
        if name in stale or orphan or name.startswith(INCOMING_PREFIX) or name.endswith(NEW_SUFFIX):
            files.unlink(f"{directory}/{name}")
    files.fsync_dir(directory)


def _name_installed_base(files: Files, directory: str, log: RecoveredLog) -> None:
    """Ends an installation that was interrupted after its marker, the new segment, had become durable."""
    base = log.checkpoints[0]
    if base.path.endswith(INSTALLING_SUFFIX):
        path = base.path.removesuffix(INSTALLING_SUFFIX) + CHECKPOINT_SUFFIX
        files.rename(base.path, path)
        log.checkpoints[0] = base._replace(path=path)
