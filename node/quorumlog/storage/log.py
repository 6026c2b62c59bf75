"""One replica's log: what is staged, what is being written, what is durable, and where everything is.

``PartitionLog`` is synchronous and never touches the disk itself (but in ``create``, ``open`` and
``read_checkpoint``, which are for start-up). Blocking work is handed out as *jobs*: the owner lets ``job.run()``
happen wherever it pleases and then calls ``on_done(job)`` or ``on_failed(job, error)`` in its own thread. At most
one write job of a log is in flight; what is staged meanwhile joins the next (group commit: ARIES; etcd's and
hashicorp's batching).

The log shows the core what is *staged*. What is *durable* is told by write jobs alone: ``job.number`` is the
highest Ready number that a finished job covers.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace
from posixpath import dirname
from typing import TYPE_CHECKING

from quorumlog.raft.membership import decode_configuration
from quorumlog.raft.types import Checkpoint, Compacted, Configuration, Entry, EntryKind, HardState, NotInMemory
from quorumlog.storage.cache import LogCache, TailCache
from quorumlog.storage.chain import SegmentChain
from quorumlog.storage.checkpoint import (
    CheckpointChunkJob,
    CheckpointJob,
    CheckpointReader,
    StoredCheckpoint,
    read_head,
    read_state,
    write_checkpoint,
)
from quorumlog.storage.errors import CorruptLog, LogExists, LogFailed, OffsetNotStored, SyncFailed, ensure
from quorumlog.storage.format import (
    HARD_STATE_RECORD_SIZE,
    HEADER_SIZE,
    MAX_BODY_BYTES,
    SegmentHeader,
)
from quorumlog.storage.reading import BatchesJob, IndexJob, ReadJob, TimeJob
from quorumlog.storage.recovery import INSTALLING_SUFFIX, RecoveredLog, recover
from quorumlog.storage.scrub import ScrubCheckpointJob, ScrubJob
from quorumlog.storage.segment import BATCH_FACTS, ActiveSegment, SegmentInfo
from quorumlog.storage.terms import TermRuns
from quorumlog.storage.writing import InstallJob, RetainJob, WriteJob, ZeroFillJob, mark_failed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.storage.files import Files

_DATA = EntryKind.DATA
_CONFIGURATION = EntryKind.CONFIGURATION
_FULL = (errno.ENOSPC, errno.EDQUOT)

Job = (
    WriteJob
    | InstallJob
    | ReadJob
    | BatchesJob
    | TimeJob
    | CheckpointJob
    | CheckpointChunkJob
    | RetainJob
    | ZeroFillJob
    | IndexJob
    | ScrubJob
    | ScrubCheckpointJob
)


@dataclass(frozen=True, slots=True)
class LogOptions:
    """``cache`` is shared by all logs of a node."""

    cache: TailCache = field(default_factory=lambda: TailCache(64 << 20))
    segment_bytes: int = 64 << 20
    """A segment that has this size is sealed and a new one begun."""
    segment_ms: int | None = 7 * 24 * 3_600_000
    """So is one whose first record is older than the record to come by this much (by the records' own timestamps,
    as in Kafka's log.roll.ms: the log has no clock). ``PartitionLog.roll`` is for a log that nothing comes to."""


@dataclass(frozen=True, slots=True)
class BatchRead:
    """``batches`` cover [offset, ...) as far as they are in memory, ``terms`` are those of their entries; if
    ``on_disk``, none is: ask ``batches_job``."""

    batches: list[bytes]
    terms: list[int]
    on_disk: bool


class PartitionLog:
    """See the module's docstring. Not thread-safe: one owner calls everything but ``job.run``."""

    __slots__ = (
        "_cache",
        "_chain",
        "_checkpoint",
        "_checkpoints",
        "_configurations",
        "_durable_commit",
        "_durable_index",
        "_epoch",
        "_files",
        "_first_index",
        "_hard_state",
        "_install",
        "_last_index",
        "_maintaining",
        "_number",
        "_options",
        "_pending",
        "_reading",
        "_retry",
        "_roll",
        "_staged",
        "_terms",
        "_vouched",
        "_wish_denied",
        "_wishes",
        "_writing",
        "directory",
        "failed",
        "full",
        "group_id",
        "repaired",
        "replica_id",
    )

    def __init__(self, files: Files, directory: str, options: LogOptions, found: RecoveredLog) -> None:
        ensure(options.segment_bytes >= 1024, "segment_bytes must be at least 1024")
        self._files = files
        self._options = options
        self.directory = directory
        self.group_id = found.group_id
        self.replica_id = found.replica_id
        self.repaired: tuple[str, ...] = tuple(found.repaired)
        """What recovery cut or did without, in words, for the node's log."""
        self.failed: BaseException | None = None
        """The first fatal error; the replica must be retired (RAFT.md §3)."""
        self.full = False
        """The disk is full: nothing is acknowledged, everything can be read; see ``resume``."""

        self._hard_state = found.hard_state
        self._first_index = found.first_index
        self._last_index = found.last_index
        self._terms = found.terms
        self._configurations = found.configurations
        self._chain = SegmentChain(files, directory, found)
        self._checkpoints = found.checkpoints
        self._checkpoint = found.checkpoints[0].checkpoint

        self._number = 0
        self._pending: list[Entry] = []
        self._staged = False
        self._vouched = False
        self._roll = False
        self._install: tuple[int, StoredCheckpoint] | None = None
        self._writing: WriteJob | None = None
        self._retry: WriteJob | None = None
        self._durable_index = found.last_index
        self._durable_commit = found.hard_state.commit
        self._cache = LogCache(options.cache, found.last_index + 1)
        self._wishes: dict[int, tuple[int, int]] = {}
        self._wish_denied = False
        self._reading: ReadJob | None = None
        self._epoch = 0
        self._maintaining = False

    # --- birth and death ---------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        files: Files,
        directory: str,
        options: LogOptions,
        group_id: int,
        replica_id: int,
        configuration: Configuration,
    ) -> PartitionLog:
        """A new log with a bootstrap checkpoint at index 0, durable when this returns; the parent directory must
        exist.

        Built under another name and renamed: a directory with its final name holds a whole log. Raises LogExists.
        """
        if files.exists(directory):
            raise LogExists(directory)
        building = directory + ".creating"
        files.remove_tree(building)
        files.mkdir(building)
        write_checkpoint(files, building, group_id, Checkpoint(0, 0, configuration), b"")
        size = HEADER_SIZE + HARD_STATE_RECORD_SIZE
        active = ActiveSegment(building, SegmentHeader(group_id, replica_id, files.unique_id(), 1, 1, 1, 0, size))
        file = files.open(active.path, "create")
        try:
            file.pwritev([active.header.encode(), active.add_hard_state(HardState())], 0)
            file.fdatasync()
        finally:
            file.close()
        files.fsync_dir(building)
        files.rename(building, directory)
        files.fsync_dir(dirname(directory) or ".")
        return cls.open(files, directory, options, group_id=group_id, replica_id=replica_id)

    @classmethod
    def open(
        cls,
        files: Files,
        directory: str,
        options: LogOptions,
        *,
        group_id: int | None = None,
        replica_id: int | None = None,
    ) -> PartitionLog:
        """Recovers the log (see ``recovery``). Raises MissingLog, CorruptLog, NewerFormat, WrongReplica,
        OSError."""
        expected = None if group_id is None or replica_id is None else (group_id, replica_id)
        try:
            found = recover(files, directory, expected)
        except SyncFailed as error:
            # The next start would find the same pages in the cache, clean, and vouch for what no disk has.
            mark_failed(files, directory)
            raise CorruptLog(directory, 0, f"an fsync failed when it was opened: {error}") from error
        return cls(files, directory, options, found)

    def close(self) -> None:
        """Closes the file and gives the memory back. No job may be in flight; what is staged is forgotten."""
        self._cache.clear()
        self._chain.close()

    # --- what the core reads (raft.types.Storage) --------------------------------------------------------------

    @property
    def hard_state(self) -> HardState:
        return self._hard_state

    @property
    def reading(self) -> bool:
        """Entries that the core has wished for are being read."""
        return self._reading is not None

    @property
    def durable_commit(self) -> int:
        """Up to where a restart would know the log to be committed; follows the commit index when the log rests."""
        return self._durable_commit

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint just before the first entry: what a follower that is too far behind receives, so that
        plain entries bring it everything this log still holds. (``latest_checkpoint`` is the one to restore
        from.)"""
        return self._checkpoint

    @property
    def first_index(self) -> int:
        return self._first_index

    @property
    def last_index(self) -> int:
        return self._last_index

    def term(self, index: int) -> int:
        ensure(index <= self._last_index, f"the term of entry {index}, beyond the log's end {self._last_index}")
        return self._terms.term(index)

    def entries(self, low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
        if low < self._first_index:
            raise Compacted(f"entry {low} is below {self._first_index}")
        ensure(
            low < high <= self._last_index + 1, f"entries {low} to {high} of a log that ends at {self._last_index}"
        )
        found = self._cache.entries(low, high, max_bytes)
        if not found:
            self._wishes.setdefault(low, (high, max_bytes))
            raise NotInMemory(f"entry {low}")
        return found

    def configurations(self) -> tuple[tuple[int, Configuration], ...]:
        return tuple(self._configurations)

    # --- staging and writing -----------------------------------------------------------------------------------

    def stage(self, number: int, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Takes over the durable part of Ready ``number``: it joins the next write job.

        ``entries`` replace whatever the log holds at and above ``entries[0].index``. Raises LogFailed;
        InvariantViolated if the term or the commit index would go back or a committed entry be replaced.
        """
        if self.failed is not None:
            raise LogFailed(self.directory, self.failed)
        ensure(number >= self._number, f"Ready {number} after Ready {self._number}")
        committed = self._hard_state.commit
        if hard_state is not None:
            ensure(hard_state.term >= self._hard_state.term, "the term goes back")
            ensure(hard_state.commit >= committed, "the commit index goes back")
            self._hard_state = hard_state
        if entries:
            first = entries[0].index
            ensure(
                committed < first <= self._last_index + 1,
                f"entry {first} would replace a committed one or leave a gap",
            )
            if first <= self._last_index:
                self._truncate(first)
            self._append(entries)
        self._number = number
        self._staged = True
        self._vouched = False

    def vouch(self, commit: int) -> bool:
        """Stages the hard state once more, for a log that comes to rest; False if nothing was written since the
        last time. ``commit``: up to where the log is known to be committed.

        The last write job has nothing behind it that proves it was ever durable: were its bytes to rot, recovery
        would have to take it for a write that a power cut tore, and forget a vote or an acknowledged entry (see
        ``scan``). This record vouches for it. Of its own it says only how far the log is committed, which otherwise
        rides along with entries and so stays behind the last ones.
        """
        if self._vouched or self._staged or self.full or self.failed is not None or self._chain.active is None:
            return False
        committed = max(self._hard_state.commit, min(commit, self._durable_index))
        self._hard_state = self._hard_state._replace(commit=committed)
        self._staged = self._vouched = True
        return True

    def _append(self, entries: Sequence[Entry]) -> None:
        size = 0
        expected = self._last_index + 1
        term_now = self._terms.term(expected - 1)
        for entry in entries:
            index, term, kind, data = entry
            ensure(index == expected, f"entry {index} where {expected} is due")
            expected += 1
            length = len(data)
            ensure(length <= MAX_BODY_BYTES, f"entry {index} has {length} bytes")
            size += length
            if term != term_now:
                self._terms.append(index, term)
                term_now = term
            if kind is _DATA:
                ensure(length >= BATCH_FACTS.size, f"data entry {index} is too short to be a batch")
            elif kind is _CONFIGURATION:
                self._configurations.append((index, decode_configuration(data)))
        ensure(term_now <= self._hard_state.term, "an entry of a term that the hard state has not reached")
        self._pending += entries
        self._last_index = expected - 1
        self._cache.append(entries, size)

    def _truncate(self, index: int) -> None:
        """What was >= ``index`` is replaced: nothing that was written, is being written or was read vouches for it
        now."""
        self._epoch += 1
        self._terms.truncate(index)
        self._cache.truncate(index)
        while self._configurations and self._configurations[-1][0] >= index:
            self._configurations.pop()
        if self._pending and index <= self._pending[-1].index:
            del self._pending[max(index - self._pending[0].index, 0) :]
        self._set_durable(min(self._durable_index, index - 1))
        for job in (self._writing, self._retry):
            if job is not None:
                job.durable_index = min(job.durable_index, index - 1)
        self._chain.truncate(index)
        self._last_index = index - 1

    def _set_durable(self, index: int) -> None:
        self._durable_index = index
        self._cache.evictable_below = index + 1

    def set_segment_bytes(self, segment_bytes: int) -> None:
        """Segments are sealed at another size from here on: the topic's settings have changed."""
        ensure(segment_bytes >= 1024, "segment_bytes must be at least 1024")
        self._options = replace(self._options, segment_bytes=segment_bytes)

    def roll(self) -> None:
        """Seals the active segment with the next write job, so that retention may drop it in due time."""
        active = self._chain.active
        if active is not None and active.last_index >= active.first_index:
            self._roll = self._staged = True

    def write_job(self) -> WriteJob | None:
        """Everything staged so far, as one job; None if there is nothing, a write is in flight, or the log is full
        or failed."""
        if self._writing is not None or self.full or self.failed is not None:
            return None
        if self._retry is not None:
            job, self._retry = self._retry, None
        elif self._install is not None:
            job = self._plan_install(*self._install)
            self._install = None
        elif self._staged:
            job = self._plan_write()
        else:
            return None
        self._writing = job
        return job

    def _recorded_state(self) -> HardState:
        """The hard state as written: its commit index must not outrun what is durable before the job (see
        ``format``)."""
        state = self._hard_state
        return state if state.commit <= self._durable_index else state._replace(commit=self._durable_index)

    def _plan_write(self) -> WriteJob:
        options = self._options
        entries, self._pending = self._pending, []
        state = self._recorded_state()
        parts = self._chain.plan(
            entries,
            entries[0].index if entries else self._last_index + 1,
            state,
            self._terms.term,
            options.segment_bytes,
            options.segment_ms,
            roll=self._roll,
        )
        self._staged = self._roll = False
        return WriteJob(self._files, self.directory, self._number, self._last_index, state.commit, parts)

    # --- installing a checkpoint -------------------------------------------------------------------------------

    def install_checkpoint_job(self, number: int, checkpoint: Checkpoint, path: str) -> WriteJob | None:
        """Replaces the whole log by the checkpoint at ``path`` (from ``CheckpointInbox``), for Ready ``number``.

        The log shows itself replaced at once; what was staged and not yet written is dropped. Returns the job, or
        None while another write is in flight: ``write_job`` then returns it in its turn. Stage the Ready's hard
        state before, its entries after. Raises LogFailed, CorruptLog if the file is not that checkpoint.
        """
        if self.failed is not None:
            raise LogFailed(self.directory, self.failed)
        ensure(path.endswith(INSTALLING_SUFFIX), f"{path} did not come from the inbox")
        stored = read_head(self._files, path)
        if stored.checkpoint != checkpoint or stored.group_id != self.group_id:
            raise CorruptLog(path, 24, f"not checkpoint {checkpoint.index} of group {self.group_id}")
        ensure(checkpoint.index >= self._hard_state.commit, "an old checkpoint would replace a newer log")
        self._epoch += 1
        self._cache.clear()
        self._pending = []
        self._wishes.clear()
        self._terms = TermRuns(checkpoint.index, checkpoint.term)
        self._configurations = []
        self._checkpoint = checkpoint
        self._first_index = checkpoint.index + 1
        self._last_index = checkpoint.index
        self._set_durable(0)
        for job in (self._writing, self._retry):
            if job is not None:
                job.durable_index = 0
        if self._hard_state.commit < checkpoint.index:
            self._hard_state = self._hard_state._replace(commit=checkpoint.index)
        self._number = number
        self._staged = False
        self._install = (number, stored)
        return self.write_job()

    def _plan_install(self, number: int, stored: StoredCheckpoint) -> InstallJob:
        index = stored.checkpoint.index
        # In its first record the new log knows of nothing beyond the checkpoint, whatever has been staged since.
        state = self._hard_state._replace(commit=index)
        parts, obsolete = self._chain.plan_restart(index, stored.checkpoint.term, state)
        obsolete += [one.path for one in self._checkpoints]
        return InstallJob(self._files, self.directory, number, index, parts, stored, obsolete)

    # --- completion --------------------------------------------------------------------------------------------

    def on_done(self, job: Job) -> None:
        """``job.run`` returned."""
        if isinstance(job, WriteJob):
            self._on_written(job)
        elif isinstance(job, ReadJob):
            self._reading = None
            if job.missing:
                self._check_missing(job.low)
            elif job.epoch == self._epoch and job.low >= self._first_index:
                # After a truncation the entries read may be the ones that were replaced: the core asks again.
                self._cache.insert(job.entries)
        elif isinstance(job, CheckpointJob):
            self._on_checkpoint(job)
        elif isinstance(job, ZeroFillJob):
            self._maintaining = False
            self._chain.zero_filled(job)
        elif isinstance(job, IndexJob):
            self._maintaining = False
            job.segment.sparse = None

    def _on_written(self, job: WriteJob) -> None:
        ensure(job is self._writing, "a write job that is not in flight")
        self._writing = None
        self._chain.written(job.parts)
        self._set_durable(max(self._durable_index, job.durable_index))
        self._durable_commit = max(self._durable_commit, job.commit)
        if isinstance(job, InstallJob):
            self._checkpoints = [job.stored]

    def _on_checkpoint(self, job: CheckpointJob) -> None:
        stored = job.stored
        index = job.checkpoint.index
        if stored is not None and index > self._checkpoints[-1].checkpoint.index and index <= self._last_index:
            self._checkpoints.append(stored)

    def _check_missing(self, index: int) -> None:
        if index >= self._first_index:
            self._fail(CorruptLog(self.directory, 0, f"the segment with entry {index} is gone"))

    def on_failed(self, job: Job, error: BaseException) -> None:
        """``job.run`` raised ``error``. Sets ``full`` or ``failed``, or neither where no harm was done."""
        out_of_space = isinstance(error, OSError) and not isinstance(error, SyncFailed) and error.errno in _FULL
        if isinstance(job, WriteJob):
            ensure(job is self._writing, "a write job that is not in flight")
            self._writing = None
            if out_of_space:
                self.full = True
                self._retry = job.retry()
            else:
                self._fail(error)
            return
        if isinstance(job, ReadJob):
            self._reading = None
        if isinstance(job, (ZeroFillJob, IndexJob)):
            self._maintaining = False
        harmless = out_of_space or isinstance(error, FileNotFoundError)
        if isinstance(error, (SyncFailed, CorruptLog)) or not (harmless or isinstance(job, IndexJob)):
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self.failed is None:
            self.failed = error

    def resume(self) -> None:
        """Space has returned: the write that failed is tried again, in full, as a new job."""
        self.full = False

    # --- reading -----------------------------------------------------------------------------------------------

    def wish_denied(self) -> bool:
        """Since the last call a wish was dropped, because retention has taken what it was for.
        ``on_entries_loaded`` is due for it too: whoever wished asks again and learns it; otherwise it would wait
        for ever."""
        denied, self._wish_denied = self._wish_denied, False
        return denied

    def read_job(self) -> ReadJob | None:
        """Loads what ``entries`` wished for. After ``on_done`` of it, ``Raft.on_entries_loaded`` is due."""
        if self._reading is not None or self.failed is not None:
            return None
        while self._wishes:
            low = next(iter(self._wishes))
            high, max_bytes = self._wishes.pop(low)
            high = min(high, self._durable_index + 1)
            if low < self._first_index or low >= high:
                self._wish_denied = True
                continue
            source = self._chain.source_of(low, high, self._durable_index)
            self._reading = ReadJob(
                self._files, source, low, min(high, source.last_index + 1), max_bytes, self._epoch
            )
            return self._reading
        return None

    def read_batches(self, offset: int, end_offset: int, max_bytes: int) -> BatchRead:
        """The stored batches that cover [``offset``, ...), none beginning at or above ``end_offset`` (the caller's
        committed end), within ``max_bytes`` but never fewer than one. A batch with ``offset`` in its middle comes
        whole.

        Raises OffsetNotStored below ``start_offset``.
        """
        if offset >= end_offset:
            return BatchRead([], [], on_disk=False)
        found = self._cache.batches(offset, end_offset, max_bytes)
        if found is not None:
            return BatchRead([entry.data for entry in found], [entry.term for entry in found], on_disk=False)
        start = self.start_offset
        if start is None or offset < start:
            raise OffsetNotStored(offset, start)
        return BatchRead([], [], on_disk=True)

    def batch_at(self, offset: int) -> Entry | None:
        """The entry of the batch that holds ``offset``, if it is in memory; committed or not is the caller's to
        know."""
        return self._cache.batch_at(offset)

    def bytes_between(self, offset: int, end_offset: int) -> int | None:
        """Bytes of the batches that hold [``offset``, ``end_offset``), exactly; None if they are not all in
        memory."""
        return 0 if offset >= end_offset else self._cache.bytes_between(offset, end_offset)

    def bytes_from(self, found_at: tuple[str, int]) -> int:
        """Bytes of the log from ``BatchesJob.found_at`` to its end, all kinds of entries and their heads included:
        what ``bytes_between`` would say and somewhat more, without reading what lies between."""
        return self._chain.bytes_from(*found_at)

    def batches_job(self, offset: int, end_offset: int, max_bytes: int) -> BatchesJob:
        """The same from disk. ``job.missing`` means that retention was faster: OffsetNotStored."""
        sources = self._chain.sources_from_offset(offset, end_offset, self._durable_index)
        return BatchesJob(self._files, sources, offset, end_offset, max_bytes)

    def offset_for_time(self, timestamp_ms: int, end_offset: int) -> TimeJob | None:
        """A job that finds the first batch below ``end_offset`` with a record at or after ``timestamp_ms`` (its
        ``base_offset``; the caller refines inside the batch). None if no record is that new."""
        sources = self._chain.sources_from_time(timestamp_ms, self._durable_index)
        return TimeJob(self._files, sources, timestamp_ms, end_offset) if sources else None

    # --- checkpoints and retention -----------------------------------------------------------------------------

    @property
    def sealed_boundaries(self) -> tuple[int, ...]:
        """Last indices of sealed segments, ascending, above the newest checkpoint: where the next ones are due."""
        return self._chain.boundaries(self._checkpoints[-1].checkpoint.index)

    def checkpoint_job(self, checkpoint: Checkpoint, state: bytes) -> CheckpointJob:
        """Writes the state machine's ``state`` as of ``checkpoint.index``, a sealed boundary."""
        index = checkpoint.index
        ensure(index in self.sealed_boundaries, f"{index} is not a sealed boundary without a checkpoint")
        ensure(self._terms.term(index) == checkpoint.term, f"checkpoint {index} has another term than the entry")
        return CheckpointJob(self._files, self.directory, self.group_id, checkpoint, state)

    def latest_checkpoint(self) -> tuple[Checkpoint, CheckpointReader]:
        """The newest checkpoint: what the state machine is restored from."""
        stored = self._checkpoints[-1]
        return stored.checkpoint, CheckpointReader(self._files, stored)

    def checkpoint_reader(self, checkpoint: Checkpoint) -> CheckpointReader | None:
        """For streaming ``checkpoint`` (of an ``InstallCheckpoint``) to a follower; None if it is gone by now."""
        for stored in self._checkpoints:
            if (stored.checkpoint.index, stored.checkpoint.term) == (checkpoint.index, checkpoint.term):
                return CheckpointReader(self._files, stored)
        return None

    def read_checkpoint(self) -> bytes:
        """The newest checkpoint's state, verified. Blocks: for start-up. Raises CorruptLog, OSError."""
        return read_state(self._files, self._checkpoints[-1])

    def retain_job(self, offset: int) -> RetainJob | None:
        """Drops the sealed segments at the log's start whose records are all below ``offset`` and whose boundary
        has a checkpoint; never the active one. None if there are none. The log starts later at once."""
        if self._install is not None:
            return None
        segments, base = self._chain.drop(offset, {one.checkpoint.index for one in self._checkpoints})
        if not segments:
            return None
        leftovers = [one.path for one in self._checkpoints if one.checkpoint.index < base]
        self._checkpoints = [one for one in self._checkpoints if one.checkpoint.index >= base]
        self._checkpoint = self._checkpoints[0].checkpoint
        self._first_index = base + 1
        self._terms.drop_before(base)
        self._configurations = [pair for pair in self._configurations if pair[0] > base]
        return RetainJob(self._files, self.directory, segments, leftovers)

    # --- maintenance -------------------------------------------------------------------------------------------

    def scrub_jobs(self) -> list[ScrubJob | ScrubCheckpointJob]:
        """What verifies all that is sealed now, the oldest last."""
        segments = [ScrubJob(self._files, segment) for segment in self._chain.sealed()]
        return [*(ScrubCheckpointJob(self._files, stored) for stored in self._checkpoints), *reversed(segments)]

    def maintenance_job(self) -> IndexJob | ZeroFillJob | None:
        """Background work that no one waits for; one at a time. Worth asking for after every finished write."""
        if self._maintaining or self.failed is not None or self.full or self._writing is not None:
            return None
        job = self._chain.maintenance_job(self._options.segment_bytes)
        if job is None:
            return None
        self._maintaining = True
        return job

    # --- description -------------------------------------------------------------------------------------------

    def segments(self) -> tuple[SegmentInfo, ...]:
        """Ascending; the active segment is the last."""
        return self._chain.infos()

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments."""
        return sum(info.bytes for info in self._chain.infos())

    @property
    def start_offset(self) -> int | None:
        """Offset of the first record stored; None if there is no record."""
        return self._chain.start_offset

    @property
    def durable_index(self) -> int:
        """Entries up to here are on disk."""
        return self._durable_index
