"""Reading entries back from segment files: for lagging followers, for the state machine, for consumers, by time.

All of it is jobs: a job opens its own handle, reads chunks of whole records, verifies each, and leaves a result. It
shares nothing with the log but values, so it may run beside a write. Files are opened per job: it costs some
microseconds beside a read of a megabyte, and nothing has to decide when an idle handle may be closed.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from quorumlog.raft.types import Entry, EntryKind
from quorumlog.storage.errors import CorruptLog
from quorumlog.storage.files import write_new_file
from quorumlog.storage.format import KIND_ENTRY, KIND_TRAILER
from quorumlog.storage.recovery import scan_segment
from quorumlog.storage.scan import RecordScanner
from quorumlog.storage.segment import BATCH_FACTS
from quorumlog.storage.sparse import SparseIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from quorumlog.storage.files import Files, OpenFile
    from quorumlog.storage.segment import Segment

T = TypeVar("T")

_KINDS = tuple(EntryKind)
_DATA = EntryKind.DATA
#: What is read beyond the bytes asked for: the way from a point to the entry, and heads.
_SLACK_BYTES = 64 << 10


class Source(NamedTuple):
    """What a job needs to know of one segment."""

    path: str
    seed: int
    unique_id: int
    stop: int
    """Readable up to here: the trailer, or the end of what is durable."""
    last_index: int
    """Entries above are discarded, or not durable."""
    index_path: str | None
    """Of a sealed segment: its sparse index's side file."""
    sparse: SparseIndex | None
    """Of the active segment: the part of its index that the job needs, its own copy."""


class _WrongIndex(Exception):
    """The sparse index does not lead to the record that it names."""


def _walk(file: OpenFile, source: Source, sparse: SparseIndex, number: int, chunk_bytes: int) -> Iterator[Entry]:
    """The live entries from point ``number`` to the source's last index."""
    indices, positions, points = sparse.indices, sparse.positions, len(sparse)
    if number >= points:
        raise _WrongIndex
    scanner = RecordScanner(file, source.seed, positions[number], source.stop, chunk_bytes)
    expected = indices[number]
    at_point = True
    last_index = source.last_index
    while expected <= last_index:
        if number + 1 < points and indices[number + 1] == expected:
            number += 1
            scanner.seek(positions[number])
            at_point = True
        record = scanner.next()
        if record is None:
            if at_point and source.index_path is not None:
                raise _WrongIndex
            raise CorruptLog(source.path, scanner.position, scanner.why)
        kind, entry_kind, position, index, term, body, _ = record
        if kind == KIND_ENTRY:
            if index != expected:
                if source.index_path is not None:
                    raise _WrongIndex
                raise CorruptLog(source.path, position, f"entry {index} stands where {expected} should")
            expected += 1
            yield Entry(index, term, _KINDS[entry_kind], body)
        elif kind == KIND_TRAILER:
            raise CorruptLog(source.path, position, f"the segment ends before entry {expected}")
        at_point = False


def load_index(files: Files, source: Source, *, rebuild: bool = False) -> SparseIndex:
    """The source's sparse index; a sealed segment's is built anew, and its side file too, when that is missing or
    wrong. Raises CorruptLog if the segment cannot be read to its trailer: an index of a part of it would lead
    readers past the rest."""
    if source.sparse is not None:
        return source.sparse
    path = source.index_path
    if path is None:
        raise CorruptLog(source.path, 0, "no index")
    if not rebuild:
        with contextlib.suppress(FileNotFoundError):
            file = files.open(path, "read")
            try:
                found = SparseIndex.decode(file.pread(file.size(), 0), source.unique_id)
            finally:
                file.close()
            if found is not None:
                return found
    scanned = scan_segment(files, source.path)
    if scanned.trailer is None:
        raise CorruptLog(source.path, scanned.end, scanned.why)
    sparse = scanned.active.sparse
    # Only a help for the next reader: a full disk must not fail this one.
    with contextlib.suppress(OSError):
        directory, name = path.rsplit("/", 1)
        write_new_file(files, directory, name, [sparse.encode(source.unique_id)])
    return sparse


def _by_index(files: Files, source: Source, wanted: str, search: Callable[[SparseIndex], T]) -> T:
    """What ``search`` finds with the source's index, or with one built anew if that leads astray. Raises
    CorruptLog: what is ``wanted`` is not where it must be."""
    with contextlib.suppress(_WrongIndex):
        return search(load_index(files, source))
    with contextlib.suppress(_WrongIndex):
        return search(load_index(files, source, rebuild=True))
    raise CorruptLog(source.path, 0, f"{wanted} is not in the segment")


class ReadJob:
    """Loads entries low..high-1, as far as ``max_bytes`` goes, from one segment. After ``run``: ``entries``."""

    __slots__ = ("_files", "_max_bytes", "_source", "entries", "epoch", "high", "low", "missing")

    def __init__(self, files: Files, source: Source, low: int, high: int, max_bytes: int, epoch: int) -> None:
        self._files = files
        self._source = source
        self._max_bytes = max_bytes
        self.low = low
        self.high = high
        self.epoch = epoch
        self.entries: list[Entry] = []
        self.missing = False
        """The file is gone: retention was faster."""

    def run(self) -> None:
        try:
            file = self._files.open(self._source.path, "read")
        except FileNotFoundError:
            self.missing = True
            return
        try:
            wanted = f"entry {self.low}"
            self.entries = _by_index(self._files, self._source, wanted, lambda sparse: self._load(file, sparse))
        finally:
            file.close()

    def _load(self, file: OpenFile, sparse: SparseIndex) -> list[Entry]:
        found: list[Entry] = []
        size = 0
        number = sparse.by_index(self.low)
        if number < 0:
            raise _WrongIndex
        chunk_bytes = min(self._max_bytes + _SLACK_BYTES, 1 << 20)
        for entry in _walk(file, self._source, sparse, number, chunk_bytes):
            if entry.index < self.low:
                continue
            if entry.index >= self.high:
                break
            size += len(entry.data)
            if size > self._max_bytes and found:
                break
            found.append(entry)
        return found


class BatchesJob:
    """Reads the batches that cover [offset, end_offset), as far as ``max_bytes`` goes, at least one if there is
    one.

    After ``run``: ``batches`` and the ``terms`` of their entries, or ``missing`` if retention was faster.
    ``found_at`` is the segment's path and the position of the index point that the search began at, at most
    ``sparse.INTERVAL_BYTES`` and an entry before the first batch.
    """

    __slots__ = (
        "_end_offset",
        "_files",
        "_max_bytes",
        "_sources",
        "batches",
        "found_at",
        "missing",
        "offset",
        "terms",
    )

    def __init__(
        self, files: Files, sources: Sequence[Source], offset: int, end_offset: int, max_bytes: int
    ) -> None:
        self._files = files
        self._sources = sources
        self._end_offset = end_offset
        self._max_bytes = max_bytes
        self.offset = offset
        self.batches: list[bytes] = []
        self.terms: list[int] = []
        self.found_at: tuple[str, int] | None = None
        self.missing = False

    def run(self) -> None:
        size = 0
        for source in self._sources:
            try:
                file = self._files.open(source.path, "read")
            except FileNotFoundError:
                self.missing = True
                return
            try:
                size, done = self._from(file, source, size)
            finally:
                file.close()
            if done:
                return

    def _from(self, file: OpenFile, source: Source, size: int) -> tuple[int, bool]:
        """Reads on in one segment: (bytes so far, whether that is all)."""
        had = len(self.batches)

        def search(sparse: SparseIndex) -> tuple[int, bool]:
            del self.batches[had:], self.terms[had:]
            return self._collect(file, source, sparse, size)

        return _by_index(self._files, source, f"offset {self._wanted()}", search)

    def _collect(self, file: OpenFile, source: Source, sparse: SparseIndex, size: int) -> tuple[int, bool]:
        batches, end_offset, max_bytes = self.batches, self._end_offset, self._max_bytes
        chunk_bytes = min(max(max_bytes - size, 0) + _SLACK_BYTES, 1 << 20)
        wanted = self._wanted()
        point = sparse.by_offset(wanted)
        if not batches and point < len(sparse):
            self.found_at = (source.path, sparse.positions[point])
        for entry in _walk(file, source, sparse, point, chunk_bytes):
            if entry.kind is not _DATA:
                continue
            base, count, _ = BATCH_FACTS.unpack_from(entry.data)
            if base + count <= wanted:
                continue
            if base >= end_offset:
                return size, True
            if base > wanted:
                raise _WrongIndex
            size += len(entry.data)
            if size > max_bytes and batches:
                return size, True
            batches.append(entry.data)
            self.terms.append(entry.term)
            wanted = base + count
        return size, False

    def _wanted(self) -> int:
        """The offset that comes next: offsets are dense, so a batch beyond it means that one has been missed."""
        if not self.batches:
            return self.offset
        base, count, _ = BATCH_FACTS.unpack_from(self.batches[-1])
        return int(base + count)


class TimeJob:
    """Finds the first batch that holds a record as new as ``timestamp_ms``, below ``end_offset``.

    After ``run``: ``base_offset`` of that batch, None if there is none; the caller looks inside the batch.
    """

    __slots__ = ("_end_offset", "_files", "_sources", "base_offset", "missing", "timestamp_ms")

    def __init__(self, files: Files, sources: Sequence[Source], timestamp_ms: int, end_offset: int) -> None:
        self._files = files
        self._sources = sources
        self._end_offset = end_offset
        self.timestamp_ms = timestamp_ms
        self.base_offset: int | None = None
        self.missing = False

    def run(self) -> None:
        for source in self._sources:
            try:
                file = self._files.open(source.path, "read")
            except FileNotFoundError:
                self.missing = True
                return
            try:
                done = self._from(file, source)
            finally:
                file.close()
            if done:
                return

    def _from(self, file: OpenFile, source: Source) -> bool:
        wanted = f"time {self.timestamp_ms}"
        return _by_index(self._files, source, wanted, lambda sparse: self._search(file, source, sparse))

    def _search(self, file: OpenFile, source: Source, sparse: SparseIndex) -> bool:
        for entry in _walk(file, source, sparse, sparse.by_time(self.timestamp_ms), 1 << 18):
            if entry.kind is not _DATA:
                continue
            base, _, newest = BATCH_FACTS.unpack_from(entry.data)
            if base >= self._end_offset:
                return True
            if newest >= self.timestamp_ms:
                self.base_offset = base
                return True
        return False


class IndexJob:
    """Writes the side file of a segment that has just been sealed, so that no reader has to scan for it."""

    __slots__ = ("_files", "segment")

    def __init__(self, files: Files, segment: Segment) -> None:
        self._files = files
        self.segment = segment

    def run(self) -> None:
        segment = self.segment
        directory, name = segment.index_path.rsplit("/", 1)
        if segment.sparse is not None:
            write_new_file(self._files, directory, name, [segment.sparse.encode(segment.unique_id)])
