"""Walking the records of a segment file, and telling damage from a torn write.

``RecordScanner`` yields records as long as they are valid in the sense of ``format``; where it stops, it says why.
``find_voucher`` then decides what the stop means, for the segment that was being written when the process died:

* Nothing after the damage vouches for it: it is the last write job, which never became durable as a whole, and
  which therefore was never acknowledged. Its pages may have reached the disk in any order, so valid records may
  well follow the invalid one. The file is cut there. (The design contract's shorter rule, "an invalid record
  followed by a valid one is corruption", would turn one power cut of a whole cluster into the loss of every replica
  whose last write straddled a page, for no gain: nobody was ever told that those entries were durable.)
* A later record vouches for the damaged place: a hard-state record whose ``synced`` lies beyond it (the next job
  was only made up once the earlier one was durable), or a trailer, or a later segment. Then what is damaged was
  durable, may have been acknowledged, and must not be forgotten: ``CorruptLog``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quorumlog.raft.types import EntryKind
from quorumlog.storage.errors import CorruptLog
from quorumlog.storage.format import (
    HEADER_SIZE,
    KIND_ENTRY,
    KIND_HARD_STATE,
    KIND_TRAILER,
    MAX_BODY_BYTES,
    RECORD_HEAD,
    RECORD_HEAD_SIZE,
    RECORD_MAGIC,
    RECORD_MAGIC_INT,
    RecordHead,
    SegmentHeader,
    Trailer,
    crc32c_extend,
    decode_hard_state,
    decode_segment_header,
    decode_trailer,
    segment_name,
)

if TYPE_CHECKING:
    from quorumlog.storage.files import OpenFile

CHUNK_BYTES = 1 << 20
#: An unknown kind of entry is an invalid record: this version could not have written it.
_ENTRY_KINDS = len(EntryKind)
_HARD_STATE_BODY_SIZE = 24


class Record(NamedTuple):
    """A valid record. ``head`` is its 40 bytes as they are in the file."""

    kind: int
    entry_kind: int
    position: int
    index: int  # type: ignore[assignment]  # the field's word; tuple.index() is of no use here
    term: int
    body: bytes
    head: bytes


class RecordScanner:
    """Valid records one after the other, from ``position`` to the first invalid one or ``stop``."""

    __slots__ = ("_buffer", "_chunk_bytes", "_file", "_seed", "_start", "position", "stop", "why")

    def __init__(self, file: OpenFile, seed: int, position: int, stop: int, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._file = file
        self._seed = seed
        self._buffer = b""
        self._start = position
        self._chunk_bytes = chunk_bytes
        self.position = position
        """Where the next record is expected."""
        self.stop = stop
        self.why = ""
        """After ``next`` returned None: what is wrong with the record at ``position``."""

    def seek(self, position: int) -> None:
        self.position = position

    def next(self) -> Record | None:
        position = self.position
        at = position - self._start
        if at < 0 or at + RECORD_HEAD_SIZE > len(self._buffer):
            at = self._fill(position, RECORD_HEAD_SIZE)
            if len(self._buffer) < RECORD_HEAD_SIZE:
                return self._invalid(
                    "the file ends" if position >= self.stop else "the record's head is incomplete"
                )
        magic, crc, length, kind, entry_kind, reserved, own, index, term = RECORD_HEAD.unpack_from(self._buffer, at)
        if magic != RECORD_MAGIC_INT:
            return self._invalid("no record begins here")
        if length > MAX_BODY_BYTES:
            return self._invalid(f"the record claims {length} bytes")
        size = RECORD_HEAD_SIZE + ((length + 7) & ~7)
        if position + size > self.stop:
            return self._invalid("the record runs beyond the end of the file")
        if at + size > len(self._buffer):
            at = self._fill(position, size)
        buffer = self._buffer
        head = buffer[at : at + RECORD_HEAD_SIZE]
        body = buffer[at + RECORD_HEAD_SIZE : at + RECORD_HEAD_SIZE + length]
        if crc != crc32c_extend(crc32c_extend(self._seed, head[8:]), body):
            return self._invalid("the record's checksum is wrong")
        if own != position or reserved or not _known(kind, entry_kind, length):
            return self._invalid("the record is not of this place or not of a known kind")
        if length & 7 and any(buffer[at + RECORD_HEAD_SIZE + length : at + size]):
            return self._invalid("the record's padding is not zero")
        self.position = position + size
        return Record(kind, entry_kind, position, index, term, body, head)

    def _fill(self, position: int, size: int) -> int:
        size = max(size, min(self._chunk_bytes, self.stop - position))
        self._buffer = self._file.pread(min(size, max(self.stop - position, 0)), position)
        self._start = position
        return 0

    def _invalid(self, why: str) -> Record | None:
        self.why = why
        return None


def _known(kind: int, entry_kind: int, length: int) -> bool:
    if kind == KIND_ENTRY:
        return entry_kind < _ENTRY_KINDS
    return entry_kind == 0 and (
        kind == KIND_TRAILER or (kind == KIND_HARD_STATE and length == _HARD_STATE_BODY_SIZE)
    )


def find_voucher(file: OpenFile, seed: int, damaged: int, size: int) -> int | None:
    """Position of a valid record after ``damaged`` that proves the byte there was once durable; None if none
    does."""
    start = damaged + 8
    overlap = len(RECORD_MAGIC) - 1
    while start < size:
        chunk = file.pread(min(CHUNK_BYTES, size - start), start)
        if not chunk:
            return None
        at = chunk.find(RECORD_MAGIC)
        while at >= 0:
            # The kind, 12 bytes into the head, spares a read for each of the many entries that cannot vouch.
            kind = chunk[at + 12] if at + 12 < len(chunk) else KIND_HARD_STATE
            if kind != KIND_ENTRY and not (start + at) & 7 and _vouches(file, seed, start + at, size, damaged):
                return start + at
            at = chunk.find(RECORD_MAGIC, at + 1)
        if start + len(chunk) >= size:
            return None
        start += len(chunk) - overlap
    return None


def _vouches(file: OpenFile, seed: int, position: int, size: int, damaged: int) -> bool:
    record = RecordScanner(file, seed, position, size, RECORD_HEAD_SIZE + _HARD_STATE_BODY_SIZE).next()
    if record is None:
        return False
    if record.kind == KIND_HARD_STATE:
        head = RecordHead(0, 0, 0, record.kind, 0, 0, record.position, record.index, record.term)
        return decode_hard_state(head, record.body)[1] > damaged
    return record.kind == KIND_TRAILER


def only_zeros(file: OpenFile, position: int, size: int) -> bool:
    """Whether the file holds nothing but zeros from ``position`` to ``size``."""
    while position < size:
        chunk = file.pread(min(CHUNK_BYTES, size - position), position)
        if chunk.count(0) != len(chunk) or not chunk:
            return False
        position += len(chunk)
    return True


def read_header(file: OpenFile, path: str) -> SegmentHeader:
    """The segment's header; the file's name must say the same. Raises CorruptLog, NewerFormat."""
    header = decode_segment_header(path, file.pread(HEADER_SIZE, 0))
    if path.rsplit("/", 1)[-1] != segment_name(header.first_index, header.unique_id):
        raise CorruptLog(path, 32, "the segment's name and header disagree")
    return header


def read_trailer(file: OpenFile, path: str, header: SegmentHeader) -> Trailer:
    """The trailer of a segment that must be sealed. Raises CorruptLog."""
    size = file.size()
    position = int.from_bytes(file.pread(8, size - 8), "little") if size >= HEADER_SIZE + RECORD_HEAD_SIZE else 0
    if not HEADER_SIZE <= position < size or position & 7:
        raise CorruptLog(path, max(size - 8, 0), "a sealed segment without a trailer at its end")
    scanner = RecordScanner(file, header.checksum_seed, position, size, size - position)
    record = scanner.next()
    if record is None or record.kind != KIND_TRAILER or scanner.position != size:
        raise CorruptLog(
            path, position, f"the trailer of a sealed segment: {scanner.why or 'not where it should be'}"
        )
    return trailer_of(path, record)


def trailer_of(path: str, record: Record) -> Trailer:
    head = RecordHead(0, 0, 0, record.kind, 0, 0, record.position, record.index, record.term)
    return decode_trailer(path, head, record.body)
