"""Where PySyncObj keeps its log, its term and its vote.

In a node on a real disk that is the library's own ``FileJournal``: a memory-mapped file that nobody syncs, and a
``.meta`` file beside it. The simulator cannot look inside a memory map, so it gets ``FilesJournal``, which keeps to
the library's ways over ``quorumlog.storage.Files``: the same layout of records, nothing synced, the end of the
journal a number in its head, term and vote replaced by rename when they change and the commit index once a second.

::

    head (40 bytes): name 24, version 8, format u32, end of the last record u32
    record: size u32, index u64, term u64, command, size u32          (size: 16 + the command's)
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

from quorumlog.engines.pysyncobj.library import FileJournal, Journal
from quorumlog.storage import CorruptLog, OsFiles

if TYPE_CHECKING:
    from typing import Any

    from quorumlog.storage import Files

JOURNAL_NAME = "pysyncobj.journal"
_HEAD_BYTES = 40
_END_AT = 36
_SIZE = struct.Struct("<I")
_RECORD = struct.Struct("<QQ")
_META_BYTES_MAX = 1 << 16


def open_journal(files: Files, directory: str) -> Any:
    """The journal of the replica in ``directory``, made if there is none. Blocks: it is read in full.

    Raises CorruptLog when it cannot be: it has no checksums, so that only damage to its structure is noticed.
    """
    path = f"{directory}/{JOURNAL_NAME}"
    try:
        return FileJournal(path) if isinstance(files, OsFiles) else FilesJournal(files, path)
    except (struct.error, ValueError, IndexError) as error:
        raise CorruptLog(path, 0, f"PySyncObj's journal: {error}") from error


class FilesJournal(Journal):  # type: ignore[misc]  # the library has no types
    """See the module. The method names are the library's."""

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._path = path
        self._entries: list[tuple[bytes, int, int]] = []
        self._meta: dict[str, Any] = {}
        self._meta_saved = True
        fresh = not files.exists(path)
        self._file = files.open(path, "create" if fresh else "write")
        self._end = _HEAD_BYTES
        if fresh:
            self._set_end(_HEAD_BYTES)
        else:
            self._read()

    def _read(self) -> None:
        data = self._file.pread(self._file.size(), 0)
        end = _SIZE.unpack_from(data, _END_AT)[0] if len(data) >= _HEAD_BYTES else _HEAD_BYTES
        at = _HEAD_BYTES
        while at < end:
            (size,) = _SIZE.unpack_from(data, at)
            index, term = _RECORD.unpack_from(data, at + 4)
            self._entries.append((data[at + 20 : at + 4 + size], index, term))
            at += size + 8
        self._end = at
        if self._files.exists(self._path + ".meta"):
            file = self._files.open(self._path + ".meta", "read")
            try:
                self._meta = json.loads(file.pread(_META_BYTES_MAX, 0) or b"{}")
            finally:
                file.close()

    def _set_end(self, end: int) -> None:
        self._end = end
        self._file.pwritev([_SIZE.pack(end)], _END_AT)

    def add(self, command: bytes, idx: int, term: int) -> None:
        self._entries.append((command, idx, term))
        size = _SIZE.pack(_RECORD.size + len(command))
        self._file.pwritev([size, _RECORD.pack(idx, term), command, size], self._end)
        self._set_end(self._end + 24 + len(command))

    def clear(self) -> None:
        self._entries = []
        self._set_end(_HEAD_BYTES)

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        removed = self._entries[entryFrom:]
        del self._entries[entryFrom:]
        self._set_end(self._end - sum(24 + len(command) for command, _, _ in removed))

    def deleteEntriesTo(self, entryTo: int) -> None:
        """In place, one record after the other, as the library does it: interrupted, the rest is gone."""
        kept = self._entries[entryTo:]
        self.clear()
        for entry in kept:
            self.add(*entry)

    def __getitem__(self, item: Any) -> Any:
        return self._entries[item]

    def __len__(self) -> int:
        return len(self._entries)

    def _destroy(self) -> None:
        self._file.close()

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        self._meta["raftCommitIndex"] = raftCommitIndex
        self._meta_saved = False

    def getRaftCommitIndex(self) -> int:
        return int(self._meta.get("raftCommitIndex", 1))

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        self._meta["currentTerm"] = term
        self._meta["votedForNodeId"] = votedForNodeId
        self._store_meta()

    def getCurrentTerm(self) -> int:
        return int(self._meta.get("currentTerm", 0))

    def getVotedForNodeId(self) -> str | None:
        return self._meta.get("votedForNodeId")

    def onOneSecondTimer(self) -> None:
        if not self._meta_saved:
            self._store_meta()

    def _store_meta(self) -> None:
        fresh = self._path + ".meta.tmp"
        file = self._files.open(fresh, "create")
        try:
            file.pwritev([json.dumps(self._meta).encode()], 0)
        finally:
            file.close()
        self._files.rename(fresh, self._path + ".meta")
        self._meta_saved = True
