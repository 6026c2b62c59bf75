"""The sparse index of one segment: by entry index, by record offset and by time, one point every 16 KiB or so.

Besides finding where to begin, the points steer a reader around discarded entries: truncation is an append, so an
entry that was replaced still lies in the file. The entry that replaced it always begins a point, and a reader that
has come to the index of the next point jumps to that point's position: it never takes a discarded entry for a live
one.

Prior art: Kafka's offset and time indexes. Theirs are trusted after a clean shutdown; this one never is: what a
reader finds at a point must be a valid record with the index that the point names.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right

from quorumlog.storage.format import decode_index_file, encode_index_file

#: Bytes of log between two points.
INTERVAL_BYTES = 16 << 10
#: The offset of a point after which no data entry has come yet. Sorts after every real offset.
UNKNOWN = (1 << 64) - 1


class SparseIndex:
    """Parallel columns, one place per point, all ascending.

    ``indices``: the entry that begins here. ``positions``: its record's position. ``offsets``: offset of the first
    record at or after the point. ``newest_ms``: largest record timestamp *before* the point (an upper bound once
    entries were discarded: a search by time may begin too early, never too late).
    """

    __slots__ = ("_unknown_from", "indices", "newest_ms", "offset_wanted", "offsets", "positions")

    def __init__(self) -> None:
        self.indices: array[int] = array("Q")
        self.positions: array[int] = array("Q")
        self.offsets: array[int] = array("Q")
        self.newest_ms: array[int] = array("Q")
        self._unknown_from = 0
        self.offset_wanted = False
        """Whether a point waits for ``offset_seen``."""

    def __len__(self) -> int:
        return len(self.indices)

    def add(self, index: int, position: int, newest_ms: int) -> None:
        self.indices.append(index)
        self.positions.append(position)
        self.offsets.append(UNKNOWN)
        self.newest_ms.append(newest_ms)
        self.offset_wanted = True

    def offset_seen(self, base_offset: int) -> None:
        """A data entry has come: it is the first one after every point whose offset was unknown."""
        offsets = self.offsets
        for number in range(self._unknown_from, len(offsets)):
            offsets[number] = base_offset
        self._unknown_from = len(offsets)
        self.offset_wanted = False

    def truncate(self, index: int) -> None:
        """Drops the points at and above ``index``. Offsets stay right: offsets are dense, so the next data entry
        takes the very offset that the discarded one had."""
        keep = bisect_left(self.indices, index)
        for column in (self.indices, self.positions, self.offsets, self.newest_ms):
            del column[keep:]
        self._unknown_from = min(self._unknown_from, keep)
        self.offset_wanted = self._unknown_from < keep

    def slice(self, start: int, stop: int | None) -> SparseIndex:
        """A copy of the points start..stop-1, for a job that runs while the log goes on."""
        made = SparseIndex()
        made.indices, made.positions = self.indices[start:stop], self.positions[start:stop]
        made.offsets, made.newest_ms = self.offsets[start:stop], self.newest_ms[start:stop]
        return made

    def by_index(self, index: int) -> int:
        """Number of the last point at or before ``index``; -1 if there is none."""
        return bisect_right(self.indices, index) - 1

    def by_offset(self, offset: int) -> int:
        """Number of the last point at or before the batch that holds ``offset``; 0 if there is none before."""
        return max(bisect_right(self.offsets, offset) - 1, 0)

    def by_time(self, timestamp_ms: int) -> int:
        """Number of the last point before which nothing is as new as ``timestamp_ms``."""
        return max(bisect_left(self.newest_ms, timestamp_ms) - 1, 0)

    def encode(self, unique_id: int) -> bytes:
        return encode_index_file(unique_id, (self.indices, self.positions, self.offsets, self.newest_ms))

    @classmethod
    def decode(cls, data: bytes, unique_id: int) -> SparseIndex | None:
        """None if the file is damaged, foreign or from another version."""
        columns = decode_index_file(data, unique_id, 4)
        if columns is None:
            return None
        made = cls()
        made.indices, made.positions, made.offsets, made.newest_ms = columns
        made._unknown_from = bisect_left(made.offsets, UNKNOWN)
        return made
