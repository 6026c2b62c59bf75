"""Segments as the log knows them: the one that is being written, and the sealed ones.

``ActiveSegment`` turns entries into buffers and keeps the running facts that its trailer will state. It does no
I/O: a ``WriteJob`` does.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.raft.types import EntryKind
from quorumlog.storage.format import (
    HEADER_SIZE,
    INDEX_SUFFIX,
    KIND_ENTRY,
    KIND_TRAILER,
    PADDING,
    RECORD_CHECKED,
    RECORD_FRONT,
    RECORD_HEAD_SIZE,
    RECORD_MAGIC_INT,
    SEGMENT_SUFFIX,
    SegmentHeader,
    Trailer,
    crc32c_extend,
    encode_hard_state,
    encode_record_head,
    segment_name,
)
from quorumlog.storage.sparse import INTERVAL_BYTES, SparseIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.raft.types import Entry, HardState
    from quorumlog.storage.files import OpenFile

_DATA = EntryKind.DATA
#: base_offset, count and max_timestamp of a batch's head (quorumlog.wire.header).
BATCH_FACTS = struct.Struct("<Q8xI36xQ")


#: Zero-filling starts when the segment has this many bytes: an idle partition shall not cost 64 KiB of disk.
_ZEROS_FROM_BYTES = 8 << 10
_ZEROS_STEP_MIN_BYTES = 64 << 10
_ZEROS_STEP_MAX_BYTES = 8 << 20
#: Zeros save each fdatasync some 0.07 ms and have everything written twice: larger writes do without. With and
#: without them, A B A B: 92 and 102 MB/s at batches of 64 KiB; 1.62 and 1.77 ms for one small append at a time.
_ZEROS_FOR_WRITES_BELOW_BYTES = 64 << 10


class SegmentInfo(NamedTuple):
    """A segment as administration and retention see it."""

    path: str
    sealed: bool
    first_index: int
    last_index: int
    first_offset: int | None
    end_offset: int | None
    """Offset after the last record; may be too high while uncommitted records were discarded (never too low)."""
    max_timestamp_ms: int
    bytes: int


class Segment:
    """A sealed segment. ``last_index`` falls when a later segment discards the end of this one."""

    __slots__ = (
        "durable",
        "end_offset",
        "first_index",
        "first_offset",
        "last_index",
        "max_timestamp_ms",
        "path",
        "seed",
        "sequence",
        "size",
        "sparse",
        "trailer_position",
        "unique_id",
    )

    def __init__(self, path: str, header: SegmentHeader, trailer: Trailer, size: int, *, durable: bool) -> None:
        self.path = path
        self.unique_id = header.unique_id
        self.seed = header.checksum_seed
        self.sequence = header.sequence
        self.first_index = header.first_index
        self.last_index = trailer.last_index
        self.first_offset = trailer.first_offset
        self.end_offset = trailer.end_offset
        self.max_timestamp_ms = trailer.max_timestamp_ms
        self.size = size
        self.trailer_position = trailer.synced
        self.durable = durable
        self.sparse: SparseIndex | None = None
        """Here until its side file has been written."""

    @property
    def index_path(self) -> str:
        """The side file with the sparse index."""
        return self.path.removesuffix(SEGMENT_SUFFIX) + INDEX_SUFFIX

    @property
    def empty(self) -> bool:
        """Whether later segments have discarded every entry of this one."""
        return self.last_index < self.first_index

    def info(self) -> SegmentInfo:
        return SegmentInfo(
            self.path,
            True,
            self.first_index,
            self.last_index,
            self.first_offset,
            self.end_offset,
            self.max_timestamp_ms,
            self.size,
        )


class Frontier:
    """How far a file belongs to records, so that the background zero-filling never overwrites one.

    The two write through different handles at the same time. ``claim`` is taken before records are written and
    waits at most for one small piece of zeros.
    """

    __slots__ = ("_claimed", "lock")

    def __init__(self, claimed: int) -> None:
        self.lock = threading.Lock()
        self._claimed = claimed

    def claim(self, end: int) -> None:
        """Everything below ``end`` belongs to records from now on."""
        with self.lock:
            self._claimed = max(self._claimed, end)

    @property
    def claimed(self) -> int:
        """To be read under ``lock``."""
        return self._claimed


class ActiveSegment:
    """The segment that is being written: what its trailer will say, and where the next record goes."""

    __slots__ = (
        "_last_point",
        "_write_bytes",
        "allocated",
        "configurations",
        "digest",
        "directory",
        "end",
        "end_offset",
        "file",
        "first_offset",
        "first_timestamp_ms",
        "frontier",
        "header",
        "last_index",
        "max_timestamp_ms",
        "path",
        "records",
        "seed",
        "sparse",
        "term_runs",
    )

    def __init__(self, directory: str, header: SegmentHeader) -> None:
        self.directory = directory
        self.path = f"{directory}/{segment_name(header.first_index, header.unique_id)}"
        self.header = header
        self.seed = header.checksum_seed
        self.file: OpenFile | None = None
        self.end = HEADER_SIZE
        self.allocated = 0
        """Up to here the file holds zeros or records on disk."""
        self.frontier = Frontier(HEADER_SIZE)
        self._write_bytes = 0.0
        """What write jobs have brought of late: a mean that moves by an eighth with each."""
        self.records = 0
        self.digest = 0
        self.last_index = header.first_index - 1
        self.first_offset: int | None = None
        self.end_offset: int | None = None
        self.first_timestamp_ms: int | None = None
        self.max_timestamp_ms = 0
        self.sparse = SparseIndex()
        self._last_point = -INTERVAL_BYTES
        self.term_runs: list[tuple[int, int]] = []
        self.configurations: list[tuple[int, bytes]] = []

    @property
    def first_index(self) -> int:
        return self.header.first_index

    def add_hard_state(self, state: HardState) -> bytes:
        """The record that begins a write job; what lies before it is durable by then."""
        record = encode_hard_state(self.seed, self.end, state, self.end)
        self.note_record(record[:RECORD_HEAD_SIZE], len(record))
        return record

    def note_record(self, head: bytes, size: int) -> None:
        """One more record, of ``size`` bytes with padding, stands in the file."""
        self.digest = crc32c_extend(self.digest, head)
        self.records += 1
        self.end += size

    def add_entries(
        self, entries: Sequence[Entry], start: int, buffers: list[bytes], segment_bytes: int, segment_ms: int | None
    ) -> int:
        """Appends to ``buffers`` the records of entries[start:], until the segment is full or old; at least one.

        Returns the number of the first entry that did not fit.
        """
        seed, extend, pack = self.seed, crc32c_extend, RECORD_CHECKED.pack
        digest, end, number = self.digest, self.end, start
        for entry in entries[start:] if start else entries:
            index, term, kind, data = entry
            if number > start and (end >= segment_bytes or (kind is _DATA and self._too_old(data, segment_ms))):
                break
            checked = pack(len(data), KIND_ENTRY, kind, 0, end, index, term)
            head = RECORD_FRONT.pack(RECORD_MAGIC_INT, extend(extend(seed, checked), data)) + checked
            buffers.append(head)
            if data:
                buffers.append(data)
                if len(data) & 7:
                    buffers.append(PADDING[len(data) & 7])
            digest = extend(digest, head)
            self.note_entry(index, term, kind, data, end)
            end += RECORD_HEAD_SIZE + ((len(data) + 7) & ~7)
            number += 1
        self.records += number - start
        self.digest = digest
        self._write_bytes += (end - self.end - self._write_bytes) / 8
        self.end = end
        return number

    def _too_old(self, data: bytes, segment_ms: int | None) -> bool:
        first = self.first_timestamp_ms
        return (
            segment_ms is not None and first is not None and BATCH_FACTS.unpack_from(data)[2] - first >= segment_ms
        )

    def full(self, entry: Entry, segment_bytes: int, segment_ms: int | None) -> bool:
        """Whether ``entry`` should begin the next segment."""
        if self.last_index < self.first_index:
            return False
        return self.end >= segment_bytes or (entry.kind is _DATA and self._too_old(entry.data, segment_ms))

    def zeros_wanted(self, segment_bytes: int) -> tuple[int, int] | None:
        """The (start, end) to be filled with zeros next: steps as large as the segment is, 64 KiB to 8 MiB, begun
        when half a step is left. None while enough is there, or none would pay."""
        if self.end < _ZEROS_FROM_BYTES or self._write_bytes >= _ZEROS_FOR_WRITES_BELOW_BYTES:
            return None
        step = min(max(_ZEROS_STEP_MIN_BYTES, 1 << (self.end.bit_length() - 1)), _ZEROS_STEP_MAX_BYTES)
        start = max(self.allocated, self.end)
        end = min(start + step, segment_bytes)
        return None if start - self.end > step // 2 or end <= start else (start, end)

    def note_entry(self, index: int, term: int, kind: EntryKind, data: bytes, position: int) -> None:
        """An entry's record stands, or will stand, at ``position``: used when writing and when recovering."""
        if index <= self.last_index:
            self._discard(index)
        if position - self._last_point >= INTERVAL_BYTES:
            self.sparse.add(index, position, self.max_timestamp_ms)
            self._last_point = position
        if not self.term_runs or self.term_runs[-1][1] != term:
            self.term_runs.append((index, term))
        if kind is _DATA:
            base, count, newest = BATCH_FACTS.unpack_from(data)
            if self.sparse.offset_wanted:
                self.sparse.offset_seen(base)
            if self.first_offset is None:
                self.first_offset = base
                self.first_timestamp_ms = newest
            self.end_offset = base + count
            if newest > self.max_timestamp_ms:
                self.max_timestamp_ms = newest
        elif kind is EntryKind.CONFIGURATION:
            self.configurations.append((index, data))
        self.last_index = index

    def _discard(self, index: int) -> None:
        """The entry to come replaces ``index`` and all that follow it. It must begin a point: see ``sparse``."""
        self.sparse.truncate(index)
        self._last_point = -INTERVAL_BYTES
        while self.term_runs and self.term_runs[-1][0] >= index:
            self.term_runs.pop()
        while self.configurations and self.configurations[-1][0] >= index:
            self.configurations.pop()

    def add_trailer(self, state: HardState) -> tuple[int, list[bytes], Segment]:
        """(position, buffers, the segment as it is once sealed)."""
        position = self.end
        empty = self.last_index < self.first_index
        trailer = Trailer(
            self.first_index,
            self.last_index,
            self.records,
            self.digest,
            None if empty else self.first_offset,
            None if empty else self.end_offset,
            self.max_timestamp_ms,
            state,
            tuple(self.term_runs),
            tuple(self.configurations),
            position,
        )
        body = trailer.encode(position)
        head = encode_record_head(self.seed, KIND_TRAILER, 0, position, self.last_index, state.term, body)
        self.end = position + RECORD_HEAD_SIZE + len(body)
        return position, [head, body], Segment(self.path, self.header, trailer, self.end, durable=False)

    def info(self) -> SegmentInfo:
        return SegmentInfo(
            self.path,
            False,
            self.first_index,
            self.last_index,
            self.first_offset,
            self.end_offset,
            self.max_timestamp_ms,
            max(self.end, self.allocated),
        )
