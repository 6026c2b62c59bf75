"""Entries in memory: the tails of all logs of a node, under one budget.

What was appended last is read first (by followers, by the state machine, by consumers at the tail), so eviction is
first in, first out, across all logs: an idle partition ends up with nothing in memory. Entries that are not durable
yet are never evicted: nothing else holds them.

Entries live in *chunks*, so that the bookkeeping is per chunk and not per entry. A log's chunks are disjoint
and ascending, not necessarily contiguous: a lagging follower makes an old range come back from disk.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING

from quorumlog.raft.types import EntryKind
from quorumlog.wire.header import BASE_OFFSET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.raft.types import Entry

_DATA = EntryKind.DATA
#: What an Entry, its place in a list and its bytes object cost besides the data.
ENTRY_OVERHEAD_BYTES = 150
_CHUNK_BYTES = 64 << 10
_CHUNK_ENTRIES = 64


class Chunk:
    """A contiguous run of entries of one log."""

    __slots__ = (
        "_bases",
        "_batches",
        "_first",
        "_looked",
        "_measured",
        "_measured_at",
        "_sorted",
        "bytes",
        "entries",
        "low",
        "owner",
        "wished_for",
    )

    def __init__(self, owner: LogCache, low: int) -> None:
        self.owner = owner
        self.low = low
        self.wished_for = False
        """Just loaded from disk, and not yet asked for again by whoever wished for it."""
        self.entries: list[Entry] = []
        self.bytes = 0
        # What has been learnt of the entries' data, and of how many of them. A partition whose consumers commit and
        # nobody writes to has thousands of chunks without a batch: looking through each anew costs milliseconds.
        self._first: int | None = None
        self._looked = 0
        self._measured: tuple[int, int, int] | None = None
        self._measured_at = 0
        self._bases: list[int] = []
        self._batches: list[Entry] = []
        self._sorted = 0

    @property
    def end(self) -> int:
        """The index after the last entry."""
        return self.low + len(self.entries)

    def first_offset(self) -> int | None:
        """Base offset of the first data entry."""
        if self._first is None and self._looked < len(self.entries):
            for entry in self.entries[self._looked :]:
                if entry.kind is _DATA:
                    (self._first,) = BASE_OFFSET.unpack_from(entry.data)
                    break
            self._looked = len(self.entries)
        return self._first

    def holder(self, offset: int) -> Entry | None:
        """The data entry that holds ``offset``; None if it is not here. By bisection: commits ask for it thousands
        of times a second, and a scan of the chunk would cost more than all the rest of a commit."""
        if self._sorted != len(self.entries):
            for entry in self.entries[self._sorted :]:
                if entry.kind is _DATA:
                    self._bases.append(BASE_OFFSET.unpack_from(entry.data)[0])
                    self._batches.append(entry)
            self._sorted = len(self.entries)
        number = bisect_right(self._bases, offset) - 1
        if number < 0:
            return None
        found = self._batches[number]
        return found if offset < self._bases[number] + _count(found.data) else None

    def offsets(self) -> tuple[int, int, int] | None:
        """First offset, end offset and bytes of the data entries; None without any."""
        if self._measured_at != len(self.entries):
            self._measured_at = len(self.entries)
            batches = [entry.data for entry in self.entries if entry.kind is _DATA]
            if batches:
                (first,), (last,) = BASE_OFFSET.unpack_from(batches[0]), BASE_OFFSET.unpack_from(batches[-1])
                self._measured = (first, last + _count(batches[-1]), sum(map(len, batches)))
        return self._measured

    def cut(self, keep: int) -> None:
        """Only the first ``keep`` entries are left."""
        del self.entries[keep:]
        self._first = self._measured = None
        self._looked = self._measured_at = self._sorted = 0
        self._bases.clear()
        self._batches.clear()

    def bytes_within(self, offset: int, end_offset: int) -> int:
        """Bytes of the batches here that hold a record in [``offset``, ``end_offset``)."""
        total = 0
        for entry in self.entries:
            if entry.kind is _DATA:
                (base,) = BASE_OFFSET.unpack_from(entry.data)
                if base < end_offset and base + _count(entry.data) > offset:
                    total += len(entry.data)
        return total


def _count(batch: bytes) -> int:
    return int.from_bytes(batch[16:20], "little")


class TailCache:
    """The budget. ``max_bytes`` may be exceeded by what is not durable yet (the core bounds that)."""

    __slots__ = ("_queue", "bytes", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._queue: deque[Chunk] = deque()

    def admit(self, chunk: Chunk) -> None:
        """A new chunk, possibly still empty; its growth is told by ``grown``."""
        self._queue.append(chunk)
        self.bytes += chunk.bytes

    def grown(self, size: int) -> None:
        self.bytes += size
        if self.bytes > self.max_bytes:
            self._evict()

    def _evict(self) -> None:
        queue = self._queue
        for _ in range(len(queue)):
            if self.bytes <= self.max_bytes:
                return
            chunk = queue.popleft()
            if not chunk.entries:
                continue
            if chunk.end > chunk.owner.evictable_below or chunk.wished_for:
                queue.append(chunk)
                continue
            self.bytes -= chunk.bytes
            chunk.owner.evicted(chunk)


class LogCache:
    """The entries of one log that are in memory."""

    __slots__ = (
        "_cache",
        "_changes",
        "_chunks",
        "_loaded",
        "_lows",
        "_sum_firsts",
        "_sums",
        "_sums_of",
        "evictable_below",
    )

    def __init__(self, cache: TailCache, evictable_below: int) -> None:
        self._cache = cache
        self._chunks: list[Chunk] = []
        self._lows: list[int] = []
        self._loaded: list[Chunk] = []
        self._changes = 0
        self._sums_of = (-1, 0)
        self._sum_firsts: list[int] = []
        self._sums: list[tuple[Chunk, int]] = []
        self.evictable_below = evictable_below
        """Entries at and above this index are not durable yet."""

    def append(self, entries: Sequence[Entry], size: int) -> None:
        """Entries at the log's end; ``size`` is the bytes of their data."""
        self._changes += 1
        if self._loaded:
            self._release_loaded()
        size += ENTRY_OVERHEAD_BYTES * len(entries)
        low = entries[0].index
        chunk = self._chunks[-1] if self._chunks else None
        if (
            chunk is None
            or chunk.low + len(chunk.entries) != low
            or chunk.bytes >= _CHUNK_BYTES
            or len(chunk.entries) >= _CHUNK_ENTRIES
        ):
            chunk = Chunk(self, low)
            self._chunks.append(chunk)
            self._lows.append(low)
            self._cache.admit(chunk)
        chunk.entries += entries
        chunk.bytes += size
        self._cache.grown(size)

    def insert(self, entries: Sequence[Entry]) -> None:
        """A range loaded from disk. Parts that are in memory already are left as they are.

        It stays, whatever it weighs, until it has been asked for (or the log goes on): were it evicted before, by
        the other entries of the same read or by other logs, its reader would wish for it again, and so for ever.
        """
        self._release_loaded()
        self._changes += 1
        start = 0
        while start < len(entries):
            index = entries[start].index
            number = bisect_right(self._lows, index) - 1
            if number >= 0 and self._chunks[number].end > index:
                start += self._chunks[number].end - index
                continue
            stop = len(entries)
            if number + 1 < len(self._lows):
                stop = min(stop, start + self._lows[number + 1] - index)
            chunk = Chunk(self, index)
            chunk.wished_for = True
            self._loaded.append(chunk)
            chunk.entries = list(entries[start:stop])
            size = sum(len(entry.data) for entry in chunk.entries) + ENTRY_OVERHEAD_BYTES * len(chunk.entries)
            self._chunks.insert(number + 1, chunk)
            self._lows.insert(number + 1, index)
            self._cache.admit(chunk)
            chunk.bytes = size
            self._cache.grown(size)
            start = stop

    def _release_loaded(self) -> None:
        for chunk in self._loaded:
            chunk.wished_for = False
        self._loaded.clear()

    def truncate(self, index: int) -> None:
        """Forgets everything at and above ``index``."""
        self._release_loaded()
        self._changes += 1
        self._sums = []
        chunks = self._chunks
        while chunks and chunks[-1].end > index:
            chunk = chunks[-1]
            keep = max(index - chunk.low, 0)
            gone = sum(len(entry.data) + ENTRY_OVERHEAD_BYTES for entry in chunk.entries[keep:])
            chunk.cut(keep)
            chunk.bytes -= gone
            self._cache.bytes -= gone
            if keep:
                return
            chunks.pop()
            self._lows.pop()

    def evicted(self, chunk: Chunk) -> None:
        self._changes += 1
        self._sums = []
        number = bisect_right(self._lows, chunk.low) - 1
        del self._chunks[number]
        del self._lows[number]

    def clear(self) -> None:
        self.truncate(0)

    def entries(self, low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
        """As many of low..high-1 as are here without a gap and fit into ``max_bytes``, at least one; () if ``low``
        is not here."""
        if self._loaded:
            self._release_loaded()
        number = bisect_right(self._lows, low) - 1
        if number < 0:
            return ()
        found: list[Entry] = []
        size = 0
        index = low
        chunks = self._chunks
        while number < len(chunks):
            chunk = chunks[number]
            start = index - chunk.low
            if start < 0 or start >= len(chunk.entries):
                break
            for entry in chunk.entries[start : start + high - index]:
                size += len(entry.data)
                if size > max_bytes and found:
                    return tuple(found)
                found.append(entry)
            index = chunk.end
            if index >= high:
                break
            number += 1
        return tuple(found)

    def batches(self, offset: int, end_offset: int, max_bytes: int) -> list[Entry] | None:
        """The data entries from the one that holds ``offset``, as far as they are here; None if it is not here."""
        number = self._chunk_of_offset(offset)
        if number is None:
            return None
        found: list[Entry] = []
        size = 0
        expected = self._chunks[number].low
        for chunk in self._chunks[number:]:
            if chunk.low != expected:
                break
            expected = chunk.end
            for entry in chunk.entries:
                if entry.kind is not _DATA:
                    continue
                data = entry.data
                (base,) = BASE_OFFSET.unpack_from(data)
                if base + _count(data) <= offset:
                    continue
                if base >= end_offset or (not found and base > offset):
                    return found or None
                size += len(data)
                if size > max_bytes and found:
                    return found
                found.append(entry)
        return found or None

    def batch_at(self, offset: int) -> Entry | None:
        """The data entry that holds ``offset``; None if it is not here."""
        number = self._chunk_of_offset(offset)
        return None if number is None else self._chunks[number].holder(offset)

    def bytes_between(self, offset: int, end_offset: int) -> int | None:
        """Bytes of the batches that hold [``offset``, ``end_offset``); None if they are not all here.

        Asked for many offsets and one end, so what lies behind each chunk is summed up once."""
        if self._sums_of != (self._changes, end_offset):
            self._sum_up(end_offset)
        number = bisect_right(self._sum_firsts, offset) - 1
        if number < 0:
            return None
        chunk, behind = self._sums[number]
        return chunk.bytes_within(offset, end_offset) + behind

    def _sum_up(self, end_offset: int) -> None:
        """The chunks with batches, back from ``end_offset`` as far as there is no gap: the first offset of each,
        and the bytes in the chunks behind it."""
        firsts: list[int] = []
        sums: list[tuple[Chunk, int]] = []
        behind, expected = 0, end_offset
        for chunk in reversed(self._chunks):
            bounds = chunk.offsets()
            if bounds is None or bounds[0] >= end_offset:
                continue
            first, end, size = bounds
            if min(end, end_offset) != expected:
                break
            firsts.append(first)
            sums.append((chunk, behind))
            behind += size if end <= end_offset else chunk.bytes_within(first, end_offset)
            expected = first
        self._sum_firsts, self._sums = firsts[::-1], sums[::-1]
        self._sums_of = (self._changes, end_offset)

    def _chunk_of_offset(self, offset: int) -> int | None:
        """Number of the last chunk whose first data entry begins at or before ``offset``."""
        chunks = self._chunks
        low, high = 0, len(chunks)
        best: int | None = None
        while low < high:
            middle = (low + high) // 2
            # Chunks without a data entry tell nothing: look left of them for one that does.
            at, first = middle, chunks[middle].first_offset()
            while first is None and at > low:
                at -= 1
                first = chunks[at].first_offset()
            if first is None or first <= offset:
                best = at if first is not None else best
                low = middle + 1
            else:
                high = at
        return best
