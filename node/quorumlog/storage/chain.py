"""The segments of one log, in order: where every entry is, and what the next write will do to the files.

``SegmentChain`` plans and remembers; it does no I/O but closing handles. ``PartitionLog`` knows about entries,
durability and jobs in flight; the chain knows about files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.storage.errors import CorruptLog
from quorumlog.storage.format import SegmentHeader
from quorumlog.storage.reading import IndexJob, Source
from quorumlog.storage.segment import ActiveSegment, Segment, SegmentInfo
from quorumlog.storage.writing import Part, ZeroFillJob

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from quorumlog.raft.types import Entry, HardState
    from quorumlog.storage.files import Files
    from quorumlog.storage.recovery import RecoveredLog


class SegmentChain:
    """Sealed segments, ascending, and the active one (None until the first write after the tail was found
    sealed)."""

    __slots__ = (
        "_directory",
        "_durable_end",
        "_files",
        "_floor",
        "_new_indexes",
        "_owner",
        "_sealed",
        "_sequence",
        "active",
    )

    def __init__(self, files: Files, directory: str, found: RecoveredLog) -> None:
        self._files = files
        self._directory = directory
        self._owner = (found.group_id, found.replica_id)
        self._sealed = found.segments
        self.active = found.active
        self._sequence = found.sequence
        self._floor = found.floor
        self._durable_end = found.active.end if found.active else 0
        self._new_indexes: list[IndexJob] = []

    # --- planning writes ---------------------------------------------------------------------------------------

    def plan(
        self,
        entries: list[Entry],
        next_index: int,
        state: HardState,
        term: Callable[[int], int],
        segment_bytes: int,
        segment_ms: int | None,
        *,
        roll: bool,
    ) -> list[Part]:
        """What has to be written so that ``state`` and ``entries`` become part of the log.

        ``next_index``: the index of entries[0], or of the entry that would come next. ``term`` tells the term of
        any entry. ``roll``: seal the active segment first, whatever its size.
        """
        parts: list[Part] = []
        active, done = self.active, 0
        if active is not None and (roll or _must_roll(active, entries, segment_bytes, segment_ms)):
            part = _part(active)
            self._seal(active, part, state, next_index)
            parts.append(part)
            active = None
        while True:
            if active is None:
                first_index = entries[done].index if done < len(entries) else next_index
                active = self._begin(first_index, term(first_index - 1))
            part = _part(active)
            parts.append(part)
            part.buffers = [active.add_hard_state(state)]
            if done < len(entries):
                done = active.add_entries(entries, done, part.buffers, segment_bytes, segment_ms)
            _finish(active, part)
            if done == len(entries):
                break
            self._seal(active, part, state, entries[done].index)
            active = None
        self.active = active
        return parts

    def plan_restart(self, base: int, base_term: int, state: HardState) -> tuple[list[Part], list[str]]:
        """The segment that begins a log anew after ``base``, and the paths of all files that it replaces."""
        obsolete = [path for segment in self._sealed for path in (segment.path, segment.index_path)]
        if self.active is not None:
            obsolete.append(self.active.path)
            if self.active.file is not None:
                self.active.file.close()
        self._sealed = []
        self._new_indexes = []
        self._floor = self._sequence + 1
        active = self._begin(base + 1, base_term)
        part = _part(active)
        part.buffers = [active.add_hard_state(state)]
        _finish(active, part)
        self.active = active
        return [part], obsolete

    def _begin(self, first_index: int, previous_term: int) -> ActiveSegment:
        self._sequence += 1
        group_id, replica_id = self._owner
        unique_id = self._files.unique_id()
        header = SegmentHeader(
            group_id, replica_id, unique_id, self._sequence, self._floor, first_index, previous_term, 0
        )
        return ActiveSegment(self._directory, header)

    def _seal(self, active: ActiveSegment, part: Part, state: HardState, next_index: int) -> None:
        position, trailer, segment = active.add_trailer(state)
        part.seal(position, trailer, segment)
        # Entries that were discarded while this was the active segment are its own no more, whatever its trailer
        # says.
        segment.last_index = min(segment.last_index, next_index - 1)
        segment.sparse = active.sparse
        self._sealed.append(segment)
        self._new_indexes.append(IndexJob(self._files, segment))

    def written(self, parts: list[Part]) -> None:
        """A job with these parts is done."""
        for part in parts:
            if part.sealed is not None:
                part.sealed.durable = True
                if part.file is not None:
                    part.file.close()
        last = parts[-1]
        if self.active is not None and last.path == self.active.path:
            self.active.file = last.file
            self._durable_end = last.end

    def truncate(self, index: int) -> None:
        """Entries at and above ``index`` are discarded."""
        for segment in self._sealed:
            segment.last_index = min(segment.last_index, index - 1)

    def close(self) -> None:
        if self.active is not None and self.active.file is not None:
            self.active.file.close()
            self.active.file = None

    # --- finding -----------------------------------------------------------------------------------------------

    def source_of(self, low: int, high: int, durable_index: int) -> Source:
        """The segment that holds entry ``low``; the job will read up to ``high`` - 1."""
        for segment in self._sealed:
            if segment.first_index <= low <= segment.last_index:
                return _source(segment, durable_index)
        active = self.active
        if active is None:
            raise CorruptLog(self._directory, 0, f"no segment holds entry {low}")
        sparse = active.sparse
        return self._active_source(active, durable_index, sparse.by_index(low), sparse.by_index(high) + 2)

    def sources_from_offset(self, offset: int, end_offset: int, durable_index: int) -> list[Source]:
        """The segments that hold records in [``offset``, ``end_offset``), ascending."""
        found = [
            _source(segment, durable_index)
            for segment in self._sealed
            if segment.first_offset is not None
            and segment.end_offset is not None
            and segment.end_offset > offset
            and segment.first_offset < end_offset
            and _readable(segment, durable_index)
        ]
        active = self.active
        if active is not None and active.first_index <= durable_index and (active.end_offset or 0) > offset:
            start = active.sparse.by_offset(offset)
            found.append(self._active_source(active, durable_index, start, None))
        return found

    def sources_from_time(self, timestamp_ms: int, durable_index: int) -> list[Source]:
        """The segments that may hold a record at or after ``timestamp_ms``, ascending."""
        found = [
            _source(segment, durable_index)
            for segment in self._sealed
            if segment.first_offset is not None
            and segment.max_timestamp_ms >= timestamp_ms
            and _readable(segment, durable_index)
        ]
        active = self.active
        if (
            active is not None
            and active.first_index <= durable_index
            and active.first_offset is not None
            and active.max_timestamp_ms >= timestamp_ms
        ):
            start = active.sparse.by_time(timestamp_ms)
            found.append(self._active_source(active, durable_index, start, None))
        return found

    def _active_source(self, active: ActiveSegment, durable_index: int, start: int, stop: int | None) -> Source:
        return Source(
            active.path,
            active.seed,
            active.header.unique_id,
            self._durable_end,
            min(active.last_index, durable_index),
            None,
            active.sparse.slice(max(start, 0), stop),
        )

    # --- boundaries and retention ------------------------------------------------------------------------------

    def boundaries(self, above: int) -> tuple[int, ...]:
        """Last indices of the durably sealed segments that are higher than ``above``, ascending.

        From the end, where they are: this is asked with every round of a busy log, however many segments it has.
        """
        found: dict[int, None] = {}
        for one in reversed(self._sealed):
            if one.last_index <= above:
                break
            if one.durable:
                found[one.last_index] = None
        return tuple(reversed(found))

    def drop(self, offset: int, boundaries: Container[int]) -> tuple[list[Segment], int]:
        """Takes out the segments at the start whose records are all below ``offset``, up to one of ``boundaries``.

        Returns them and the index before the first entry that is left; no segments if none may go.
        """
        count, base = 0, 0
        for number, segment in enumerate(self._sealed, 1):
            if not segment.durable or (segment.end_offset is not None and segment.end_offset > offset):
                break
            successor = self._sealed[number] if number < len(self._sealed) else self.active
            # Segments that a later one has emptied go with the one before them: the log must begin where a segment
            # does.
            if successor is not None and successor.first_index - 1 in boundaries:
                count, base = number, successor.first_index - 1
        dropped, self._sealed = self._sealed[:count], self._sealed[count:]
        return dropped, base

    # --- maintenance and description ---------------------------------------------------------------------------

    def maintenance_job(self, segment_bytes: int) -> IndexJob | ZeroFillJob | None:
        """The side file of a segment sealed of late, or zeros ahead of the active segment's end."""
        if self._new_indexes:
            return self._new_indexes.pop(0)
        active = self.active
        wanted = active.zeros_wanted(segment_bytes) if active is not None else None
        if active is None or wanted is None:
            return None
        return ZeroFillJob(self._files, active.path, active.frontier, *wanted)

    def zero_filled(self, job: ZeroFillJob) -> None:
        if self.active is not None and job.path == self.active.path:
            self.active.allocated = max(self.active.allocated, job.end)

    def sealed(self) -> list[Segment]:
        """The durably sealed segments, ascending."""
        return [segment for segment in self._sealed if segment.durable]

    def infos(self) -> tuple[SegmentInfo, ...]:
        """Ascending; the active segment is the last."""
        found = [segment.info() for segment in self._sealed]
        if self.active is not None:
            found.append(self.active.info())
        return tuple(found)

    def bytes_from(self, path: str, position: int) -> int:
        """Bytes of the segments from ``position`` of the one at ``path`` on; 0 if it is gone."""
        total, found = 0, False
        for info in self.infos():
            if found:
                total += info.bytes
            elif info.path == path:
                found, total = True, max(info.bytes - position, 0)
        return total

    @property
    def start_offset(self) -> int | None:
        """Offset of the first record; None if there is none."""
        for segment in self._sealed:
            if segment.first_offset is not None and not segment.empty:
                return segment.first_offset
        return self.active.first_offset if self.active is not None else None


def _must_roll(active: ActiveSegment, entries: list[Entry], segment_bytes: int, segment_ms: int | None) -> bool:
    if not entries:
        return False
    # An index below the segment's first would hide entries of earlier segments behind this one's name.
    return entries[0].index < active.first_index or active.full(entries[0], segment_bytes, segment_ms)


def _part(active: ActiveSegment) -> Part:
    return Part(active.path, active.frontier, active.file, active.end, new=active.records == 0)


def _finish(active: ActiveSegment, part: Part) -> None:
    part.end = active.end
    if part.new:
        active.header = active.header._replace(born_size=active.end)
        part.buffers.insert(0, active.header.encode())


def _readable(segment: Segment, durable_index: int) -> bool:
    """Something of it is durable. A segment planned by the write under way has no file yet; taken for one that
    retention has removed, it would fail a read that needs nothing of it."""
    return not segment.empty and segment.first_index <= durable_index


def _source(segment: Segment, durable_index: int) -> Source:
    # A segment is sealed here when its last write is planned: until that is done, its end is not in the file yet.
    return Source(
        segment.path,
        segment.seed,
        segment.unique_id,
        segment.trailer_position,
        min(segment.last_index, durable_index),
        segment.index_path,
        segment.sparse,
    )
