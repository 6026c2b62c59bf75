"""The bytes of a segment: header, records, trailer. All integers little-endian; positions in bytes from the file's
start.

A segment file is named ``<first index, 20 digits>-<unique id, 16 hex digits>.segment`` and holds::

    header (96 bytes) | record | record | ... | [trailer record, when sealed] | [zeros, while it is the active one]

Header::

    position size field
           0    8 magic             b"QLOGSEG\\x01"
           8    4 version           1
          12    4 crc32c            over bytes 0-11 and 16-95
          16    8 group_id
          24    8 replica_id
          32    8 unique_id         random; in the name and in every record's checksum
          40    8 sequence          1, 2, 3, ... in order of creation within the replica
          48    8 floor             segments with a lower sequence are no part of the log (see InstallJob)
          56    8 first_index       the first entry's; what earlier segments hold at and above it is discarded
          64    8 previous_term     term of the entry first_index - 1
          72    8 born_size         the file's size when it got its name: header and first job, durable before that
          80   16 reserved          0

Record, always at a position divisible by 8::

           0    4 magic             b"qRec"
           4    4 crc32c            over unique_id (8 bytes), then bytes 8-39, then the body
           8    4 length            of the body, at most MAX_BODY_BYTES
          12    1 kind              1 hard state, 2 entry, 3 trailer
          13    1 entry_kind        of an entry (raft.types.EntryKind); else 0
          14    2 reserved          0
          16    8 position          where this record begins in its file
          24    8 index             entry: its index; hard state: the commit index; trailer: the last index
          32    8 term              entry: its term; hard state and trailer: the current term
          40    … body              entry: its data, the very bytes that the network carries
           …    … padding           zeros, so that the next record begins at a position divisible by 8

**A record is valid if and only if** it lies wholly within the file; its magic, kind and reserved bytes are the ones
above; length <= MAX_BODY_BYTES; position is its own; the checksum, begun with the unique id of *this* segment, is
right; and the padding is zero. So a stale block, a misdirected write, and a payload that happens to contain a copy
of a segment (even of this one) are never taken for records.

Every write job begins with a **hard-state record** (body: vote, has_vote, synced; 8 bytes each). ``synced`` is the
position up to which the file was known durable when the job was made up. One job is in flight at a time, so it is
the record's own position, or what came before it in an earlier job: **a valid hard-state record vouches for every
byte below its ``synced``**; so does a trailer, which is written only after the records before it have been synced;
and the header vouches for every byte below ``born_size``.

The commit index in a hard-state record never exceeds the last entry that was durable *before* its job: a job torn
by a power cut must not leave behind a commit index beyond the entries that survived, since that means lost data.

**Truncation is an append**: an entry record with index i discards what was >= i, in this segment and in earlier
ones. Nothing is edited in place.

**Trailer body**: what recovery needs to know of a sealed segment without reading it (``Trailer``), the term runs
and the configurations of the entries in it, and, in its last 8 bytes (the last of the file), the trailer's own
position.

Prior art: SQLite's WAL (salt and position in the checksum), Kafka's log segments, oxia's and etcd's WAL (a
record chain whose end is found by checksum); LevelDB's log format for the bounded length.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field
from typing import NamedTuple

import google_crc32c

from quorumlog.raft.types import HardState
from quorumlog.storage.errors import CorruptLog, NewerFormat

crc32c_extend = google_crc32c.extend

VERSION = 1
SEGMENT_MAGIC = b"QLOGSEG\x01"
HEADER_SIZE = 96
_HEADER = struct.Struct("<8sII8Q16x")

RECORD_MAGIC = b"qRec"
RECORD_MAGIC_INT = int.from_bytes(RECORD_MAGIC, "little")
RECORD_HEAD_SIZE = 40
#: magic, crc, then the checksummed fields.
RECORD_HEAD = struct.Struct("<IIIBBHQQQ")
RECORD_CHECKED = struct.Struct("<IBBHQQQ")
RECORD_FRONT = struct.Struct("<II")
#: A record never asks for more memory than this; the limit on one entry's data.
MAX_BODY_BYTES = 64 << 20

KIND_HARD_STATE = 1
KIND_ENTRY = 2
KIND_TRAILER = 3

_HARD_STATE_BODY = struct.Struct("<QQQ")
HARD_STATE_RECORD_SIZE = RECORD_HEAD_SIZE + _HARD_STATE_BODY.size

#: PADDING[n & 7] completes a body of n bytes.
PADDING = tuple(b"\0" * (-n & 7) for n in range(8))

SEGMENT_SUFFIX = ".segment"
INDEX_SUFFIX = ".index"


def segment_name(first_index: int, unique_id: int) -> str:
    return f"{first_index:020d}-{unique_id:016x}{SEGMENT_SUFFIX}"


def padded(size: int) -> int:
    """``size`` rounded up to a multiple of 8."""
    return (size + 7) & ~7


def record_size(body_bytes: int) -> int:
    """What a record with such a body takes in the file."""
    return RECORD_HEAD_SIZE + ((body_bytes + 7) & ~7)


class SegmentHeader(NamedTuple):
    """The fixed head of a segment file: see the module's docstring."""

    group_id: int
    replica_id: int
    unique_id: int
    sequence: int
    floor: int
    first_index: int
    previous_term: int
    born_size: int

    @property
    def checksum_seed(self) -> int:
        """What every record's checksum begins with."""
        seed: int = crc32c_extend(0, self.unique_id.to_bytes(8, "little"))
        return seed

    def encode(self) -> bytes:
        unsigned = _HEADER.pack(SEGMENT_MAGIC, VERSION, 0, *self)
        crc: int = crc32c_extend(crc32c_extend(0, unsigned[:12]), unsigned[16:])
        return unsigned[:12] + crc.to_bytes(4, "little") + unsigned[16:]


def decode_segment_header(path: str, data: bytes) -> SegmentHeader:
    """Raises CorruptLog, or NewerFormat if the checksum vouches for a version that this program does not know."""
    if len(data) < HEADER_SIZE:
        raise CorruptLog(path, len(data), "the segment header is incomplete")
    data = data[:HEADER_SIZE]
    magic, version, crc, *fields = _HEADER.unpack(data)
    if magic != SEGMENT_MAGIC:
        raise CorruptLog(path, 0, "not a segment: wrong magic")
    # The checksum stands at the same place in every version, so that a flipped bit in the version field is damage
    # and not "a newer format" that somebody would go and look for.
    if crc != crc32c_extend(crc32c_extend(0, data[:12]), data[16:]):
        raise CorruptLog(path, 12, "the segment header's checksum is wrong")
    if version != VERSION:
        raise NewerFormat(path, version, VERSION)
    return SegmentHeader(*fields)


class RecordHead(NamedTuple):
    magic: int
    crc: int
    length: int
    kind: int
    entry_kind: int
    reserved: int
    position: int
    index: int  # type: ignore[assignment]  # the field's word; tuple.index() is of no use here
    term: int


def encode_record_head(
    seed: int, kind: int, entry_kind: int, position: int, index: int, term: int, body: bytes
) -> bytes:
    """The 40 bytes that go before ``body``. ``seed`` is the segment's ``checksum_seed``."""
    checked = RECORD_CHECKED.pack(len(body), kind, entry_kind, 0, position, index, term)
    crc = crc32c_extend(crc32c_extend(seed, checked), body)
    return RECORD_FRONT.pack(RECORD_MAGIC_INT, crc) + checked


def encode_hard_state(seed: int, position: int, state: HardState, synced: int) -> bytes:
    """A whole hard-state record: 64 bytes."""
    vote = state.vote
    body = _HARD_STATE_BODY.pack(vote or 0, vote is not None, synced)
    return encode_record_head(seed, KIND_HARD_STATE, 0, position, state.commit, state.term, body) + body


def decode_hard_state(head: RecordHead, body: bytes) -> tuple[HardState, int]:
    """(hard state, synced)."""
    vote, has_vote, synced = _HARD_STATE_BODY.unpack(body)
    return HardState(head.term, vote if has_vote else None, head.index), synced


# --- trailer ---------------------------------------------------------------------------------------------------

_TRAILER = struct.Struct("<10QII")
_RUN = struct.Struct("<QQ")
_LENGTH = struct.Struct("<QI4x")
_POSITION = struct.Struct("<Q")
#: first_offset of a segment without records.
_NO_OFFSET = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Trailer:
    """A sealed segment in short. Entries discarded by truncation within the segment are not counted."""

    first_index: int
    last_index: int
    """first_index - 1 when no entry is left."""
    records: int
    """Valid records of any kind before the trailer, discarded ones included."""
    digest: int
    """CRC32C over the 40-byte heads of all records before the trailer, in order; each head vouches for its body."""
    first_offset: int | None
    end_offset: int | None
    """Offset after the last record; None for both when the segment holds no data entry."""
    max_timestamp_ms: int
    hard_state: HardState
    term_runs: tuple[tuple[int, int], ...] = ()
    """(first index of the run, term), ascending."""
    configurations: tuple[tuple[int, bytes], ...] = ()
    """(index, data) of the CONFIGURATION entries."""
    synced: int = field(default=0)
    """Every byte below this position is durable: the trailer's own position."""

    def encode(self, position: int) -> bytes:
        """The body of the trailer record that will stand at ``position``; its length is divisible by 8."""
        state = self.hard_state
        pieces = [
            _TRAILER.pack(
                self.first_index,
                self.last_index,
                self.records,
                self.digest,
                _NO_OFFSET if self.first_offset is None else self.first_offset,
                _NO_OFFSET if self.end_offset is None else self.end_offset,
                self.max_timestamp_ms,
                state.vote or 0,
                state.vote is not None,
                state.commit,
                len(self.term_runs),
                len(self.configurations),
            )
        ]
        pieces += [_RUN.pack(*run) for run in self.term_runs]
        for index, data in self.configurations:
            pieces += [_LENGTH.pack(index, len(data)), data, PADDING[len(data) & 7]]
        pieces.append(_POSITION.pack(position))
        return b"".join(pieces)


def decode_trailer(path: str, head: RecordHead, body: bytes) -> Trailer:
    """The trailer of a record already found valid. Raises CorruptLog when its parts contradict one another."""
    try:
        first, last, records, digest, start, end, newest, vote, has_vote, commit, runs, configurations = (
            _TRAILER.unpack_from(body)
        )
        at = _TRAILER.size
        term_runs = tuple(_RUN.unpack_from(body, at + 16 * i) for i in range(runs))
        at += 16 * runs
        found = []
        for _ in range(configurations):
            index, length = _LENGTH.unpack_from(body, at)
            at += _LENGTH.size
            found.append((index, body[at : at + length]))
            at += padded(length)
        (position,) = _POSITION.unpack_from(body, at)
    except struct.error as error:
        raise CorruptLog(path, head.position, f"the trailer contradicts itself: {error}") from error
    if at + 8 != len(body) or position != head.position or last != head.index:
        raise CorruptLog(path, head.position, "the trailer contradicts itself")
    return Trailer(
        first,
        last,
        records,
        digest,
        None if start == _NO_OFFSET else start,
        None if end == _NO_OFFSET else end,
        newest,
        HardState(head.term, vote if has_vote else None, commit),
        term_runs,
        tuple(found),
        position,
    )


# --- the sparse index beside a sealed segment ------------------------------------------------------------------

_INDEX_MAGIC = b"QLOGIDX\x01"
_INDEX_HEADER = struct.Struct("<8sIIQQ")


def encode_index_file(unique_id: int, columns: tuple[array[int], ...]) -> bytes:
    """Magic, version, crc32c over the rest, unique id, number of points; then each column, 8 bytes a point."""
    count = len(columns[0])
    payload = struct.pack("<QQ", unique_id, count) + b"".join(column.tobytes() for column in columns)
    return _INDEX_HEADER.pack(_INDEX_MAGIC, VERSION, crc32c_extend(0, payload), unique_id, count) + payload[16:]


def decode_index_file(data: bytes, unique_id: int, columns: int) -> tuple[array[int], ...] | None:
    """The columns, or None if anything at all is wrong: the file is only a help, never trusted over the log."""
    if len(data) < _INDEX_HEADER.size:
        return None
    magic, version, crc, owner, count = _INDEX_HEADER.unpack_from(data)
    if magic != _INDEX_MAGIC or version != VERSION or owner != unique_id:
        return None
    if len(data) != _INDEX_HEADER.size + columns * 8 * count or crc != crc32c_extend(0, data[16:]):
        return None
    found = []
    for number in range(columns):
        start = _INDEX_HEADER.size + number * 8 * count
        column = array("Q")
        column.frombytes(data[start : start + 8 * count])
        found.append(column)
    return tuple(found)
