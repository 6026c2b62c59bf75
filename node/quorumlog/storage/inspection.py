"""What is in a segment or in a replica's directory, offline and read only: the eyes of ``quorumlog log scan``.

It judges by the same rules as recovery (``scan``, ``recovery``), but goes on after damage and changes nothing, not
even a torn tail. A node may be running on the directory; then the tail may be seen in the middle of a write.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quorumlog.storage.checkpoint import SUFFIX as CHECKPOINT_SUFFIX
from quorumlog.storage.checkpoint import read_head, read_state
from quorumlog.storage.errors import CorruptLog, StorageError
from quorumlog.storage.format import SEGMENT_SUFFIX
from quorumlog.storage.recovery import FAILED_MARKER, ScannedSegment, scan_open_segment
from quorumlog.storage.scan import find_voucher, only_zeros, read_header, read_trailer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.raft.types import HardState
    from quorumlog.storage.files import Files, OpenFile
    from quorumlog.storage.format import SegmentHeader, Trailer


@dataclass(frozen=True, slots=True)
class Damage:
    """Something is wrong with ``path`` at byte ``position``."""

    path: str
    position: int
    why: str


@dataclass(slots=True)
class SegmentReport:
    """One segment. ``verified``: its records were read; otherwise only header and trailer were."""

    path: str
    size: int = 0
    sealed: bool = False
    verified: bool = False
    sequence: int = 0
    group_id: int = 0
    replica_id: int = 0
    first_index: int = 0
    last_index: int = 0
    first_term: int = 0
    last_term: int = 0
    first_offset: int | None = None
    end_offset: int | None = None
    max_timestamp_ms: int = 0
    records: int = 0
    record_bytes: int = 0
    hard_state: HardState | None = None
    torn_at: int | None = None
    """Where a write ends that never became durable as a whole: no damage, the next start cuts it."""


@dataclass(slots=True)
class CheckpointReport:
    path: str
    index: int
    term: int
    state_bytes: int


@dataclass(slots=True)
class Report:
    """Everything found under one path."""

    path: str
    segments: list[SegmentReport] = field(default_factory=list)
    checkpoints: list[CheckpointReport] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)


def inspect(files: Files, path: str, *, verify: bool) -> Report:
    """``path``: a segment file or the directory of one replica's log. ``verify``: read every record of sealed
    segments and every checkpoint's state too. Raises FileNotFoundError, NotADirectoryError."""
    report = Report(path)
    if path.endswith(SEGMENT_SUFFIX):
        _segment(files, path, report, verify=True, tail=True)
        return report
    names = files.listdir(path)
    if FAILED_MARKER in names:
        report.damage.append(Damage(f"{path}/{FAILED_MARKER}", 0, "an fsync failed here"))
    segments = _in_order(files, path, names, report)
    for number, segment in enumerate(segments):
        tail = number == len(segments) - 1
        _segment(files, segment, report, verify=verify or tail, tail=tail)
    _check_sequence(report)
    for name in names:
        if name.endswith(CHECKPOINT_SUFFIX):
            _checkpoint(files, f"{path}/{name}", report, verify)
    if not segments:
        report.damage.append(Damage(path, 0, "there is no segment here"))
    return report


def _in_order(files: Files, directory: str, names: Sequence[str], report: Report) -> list[str]:
    """Paths of the segments whose header can be read, by sequence."""
    found = []
    for name in names:
        if not name.endswith(SEGMENT_SUFFIX):
            continue
        path = f"{directory}/{name}"
        file = files.open(path, "read")
        try:
            found.append((read_header(file, path).sequence, path))
        except StorageError as error:
            report.damage.append(_damage_of(path, error))
        finally:
            file.close()
    return [path for _, path in sorted(found)]


def _damage_of(path: str, error: StorageError) -> Damage:
    if isinstance(error, CorruptLog):
        return Damage(error.path, error.position, error.why)
    return Damage(path, 0, str(error))


def _segment(files: Files, path: str, report: Report, *, verify: bool, tail: bool) -> None:
    file = files.open(path, "read")
    try:
        one = SegmentReport(path, file.size())
        report.segments.append(one)
        header = read_header(file, path)
        _fill_header(one, header)
        if verify:
            scanned = scan_open_segment(file, path)
            _fill_scanned(one, scanned)
            if scanned.trailer is None:
                _judge_end(file, one, scanned, report, tail)
        else:
            _fill_trailer(one, read_trailer(file, path, header))
    except StorageError as error:
        report.damage.append(_damage_of(path, error))
    finally:
        file.close()


def _fill_header(one: SegmentReport, header: SegmentHeader) -> None:
    one.sequence, one.group_id, one.replica_id = header.sequence, header.group_id, header.replica_id
    one.first_index = header.first_index
    one.last_index = header.first_index - 1


def _fill_scanned(one: SegmentReport, scanned: ScannedSegment) -> None:
    active = scanned.active
    one.verified = True
    one.sealed = scanned.trailer is not None
    one.last_index = active.last_index
    if active.term_runs:
        one.first_term, one.last_term = active.term_runs[0][1], active.term_runs[-1][1]
    one.first_offset, one.end_offset = active.first_offset, active.end_offset
    one.max_timestamp_ms = active.max_timestamp_ms
    one.records = active.records
    one.record_bytes = scanned.end
    one.hard_state = scanned.hard_state


def _fill_trailer(one: SegmentReport, trailer: Trailer) -> None:
    one.sealed = True
    one.last_index = trailer.last_index
    if trailer.term_runs:
        one.first_term, one.last_term = trailer.term_runs[0][1], trailer.term_runs[-1][1]
    one.first_offset, one.end_offset = trailer.first_offset, trailer.end_offset
    one.max_timestamp_ms = trailer.max_timestamp_ms
    one.records = trailer.records
    one.record_bytes = trailer.synced
    one.hard_state = trailer.hard_state


def _judge_end(file: OpenFile, one: SegmentReport, scanned: ScannedSegment, report: Report, tail: bool) -> None:
    """What the place means at which the valid records of an unsealed segment end."""
    if only_zeros(file, scanned.end, scanned.size) and tail and scanned.end >= scanned.active.header.born_size:
        return
    voucher = find_voucher(file, scanned.active.seed, scanned.end, scanned.size)
    if voucher is not None:
        report.damage.append(
            Damage(one.path, scanned.end, f"{scanned.why}; the record at {voucher} vouches for it")
        )
    elif scanned.end < scanned.active.header.born_size:
        report.damage.append(Damage(one.path, scanned.end, f"{scanned.why}; this was durable from the start"))
    elif not tail:
        report.damage.append(Damage(one.path, scanned.end, f"{scanned.why}; a later segment vouches for it"))
    else:
        one.torn_at = scanned.end


def _check_sequence(report: Report) -> None:
    for before, after in zip(report.segments, report.segments[1:], strict=False):
        if after.sequence != before.sequence + 1:
            report.damage.append(
                Damage(after.path, 40, f"segment number {before.sequence + 1} is missing before it")
            )


def _checkpoint(files: Files, path: str, report: Report, verify: bool) -> None:
    try:
        stored = read_head(files, path)
        report.checkpoints.append(
            CheckpointReport(path, stored.checkpoint.index, stored.checkpoint.term, stored.state_length)
        )
        if verify:
            read_state(files, stored)
    except StorageError as error:
        report.damage.append(_damage_of(path, error))
