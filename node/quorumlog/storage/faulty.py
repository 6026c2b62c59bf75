"""A disk that fails on order: ``Files`` over other ``Files``, for the chaos suite. Never there in production, where
``OsFiles`` is used as it is.

Orders are given by name of the files they concern (``fnmatch`` patterns on the path below the data directory, in
which ``*`` also matches ``/``), and are obeyed in the order in which they came:

* ``fail``: the next operations of a kind raise an error; a write may have been carried out in part;
* ``full``: so many bytes may still be added to files; removing some makes room again, as on a real disk;
* ``slow``: an fsync takes longer; a very long time is a disk that hangs until ``heal``;
* ``lie``: an fsync says yes and does nothing;
* ``misdirect``, ``stale``: the next write lands in another block of its file, or nowhere, and is reported done;
* ``lose_power``: everything that is not synced is lost, torn as the seed has it (``quorumlog.storage.unsynced``),
  and nothing works any more: the caller ends the process.

Thread-safe, because storage jobs run in threads. Reads and fsyncs do not wait for one another.

Prior art: LazyFS (ScyllaDB, Faria et al.) and CharybdeFS as FUSE file systems; device mapper's dm-flakey and
dm-log-writes; SQLite's test VFS, which this resembles most: it needs no privileges and knows the program's names.
"""

from __future__ import annotations

import errno
import os
import threading
from fnmatch import fnmatchcase
from random import Random
from typing import TYPE_CHECKING

from quorumlog.storage.errors import SyncFailed
from quorumlog.storage.unsynced import PAGE_BYTES, Inode, PowerLoss, Unsynced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.storage.files import DirectoryLock, Files, Mode, OpenFile

#: What ``fail`` can be ordered for.
OPERATIONS = ("open", "read", "write", "sync", "sync_dir", "truncate", "rename", "unlink")
ERRORS = {name: getattr(errno, name) for name in ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EMFILE", "ENOMEM")}


class _Rule:
    """One order that lasts. ``left``: how often it is still obeyed; 0 means until healed."""

    __slots__ = ("error", "files", "kind", "left", "random", "slow_ms")

    def __init__(self, kind: str, files: str, times: int, seed: int = 0, error: int = 0, slow_ms: int = 0) -> None:
        self.kind = kind
        self.files = files
        self.left = times
        self.random = Random(seed)
        self.error = error
        self.slow_ms = slow_ms


class FaultyFiles:
    """See the module. ``root`` is the data directory that patterns are relative to."""

    def __init__(self, files: Files, root: str) -> None:
        self._files = files
        self._root = root.rstrip("/") + "/"
        self._lock = threading.RLock()
        self._rules: list[_Rule] = []
        self._room: int | None = None
        self._healed = threading.Event()
        self._unsynced = Unsynced()
        self._counts = dict.fromkeys(("failed", "full", "slowed", "lied", "misdirected", "stale"), 0)

    # --- orders ------------------------------------------------------------------------------------------------

    def fail(self, operation: str, error: str, files: str = "*", times: int = 1, seed: int = 0) -> None:
        """Raises ValueError for an operation or an error that is none of OPERATIONS or ERRORS."""
        if operation not in OPERATIONS or error not in ERRORS:
            raise ValueError(f"no such fault: {error!r} of {operation!r}")
        self._order(_Rule(operation, files, times, seed, ERRORS[error]))

    def fill(self, room_bytes: int) -> None:
        """From now on files may grow by so many bytes in all, and by what is removed meanwhile."""
        with self._lock:
            self._room = room_bytes

    def slow(self, slow_ms: int, files: str = "*") -> None:
        self._order(_Rule("slow", files, 0, slow_ms=slow_ms))

    def lie(self, files: str = "*") -> None:
        self._order(_Rule("lie", files, 0))

    def misdirect(self, files: str = "*", times: int = 1, seed: int = 0) -> None:
        self._order(_Rule("misdirect", files, times, seed))

    def stale(self, files: str = "*", times: int = 1) -> None:
        self._order(_Rule("stale", files, times))

    def heal(self) -> None:
        """Every order is withdrawn, and who waits for a slow fsync goes on. What was written stays as it is."""
        with self._lock:
            self._rules.clear()
            self._room = None
            self._healed.set()
            self._healed = threading.Event()

    def counts(self) -> dict[str, int]:
        """How often each order was obeyed, and what a power cut could take now."""
        with self._lock:
            return {**self._counts, "unsynced": self._unsynced.waiting}

    def lose_power(self, seed: int) -> PowerLoss:
        """Leaves the disk as a power cut would. Whoever writes from now on waits for ever: the process must end."""
        self._lock.acquire()
        return self._unsynced.lose(self._files, Random(seed))

    def _order(self, rule: _Rule) -> None:
        with self._lock:
            self._rules.append(rule)

    def _take(self, kind: str, path: str) -> _Rule | None:
        """The first order of that kind for the file, one time less."""
        if not self._rules:
            return None
        name = path.removeprefix(self._root)
        with self._lock:
            for rule in self._rules:
                if rule.kind == kind and fnmatchcase(name, rule.files):
                    if rule.left == 1:
                        self._rules.remove(rule)
                    rule.left = max(rule.left - 1, 0)
                    return rule
        return None

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def _check(self, operation: str, path: str) -> None:
        rule = self._take(operation, path)
        if rule is not None:
            self._count("failed")
            raise _error(rule.error, path)

    # --- Files -------------------------------------------------------------------------------------------------

    def open(self, path: str, mode: Mode) -> FaultyFile:
        self._check("open", path)
        with self._lock:
            if mode != "create":
                return FaultyFile(self, self._files.open(path, mode), self._unsynced.inode(path))
            fresh = not self._files.exists(path)
            file = self._files.open(path, "create" if fresh else "write")
            if fresh:
                self._unsynced.created(path, "file")
            inode = self._unsynced.inode(path)
            if not fresh and file.size():
                self._cut(file, inode, 0)
            return FaultyFile(self, file, inode)

    def rename(self, source: str, target: str) -> None:
        self._check("rename", source)
        with self._lock:
            before = self._content(target)
            self._files.rename(source, target)
            self._unsynced.renamed(source, target, before)
            self._make_room(len(before or b""))

    def unlink(self, path: str) -> None:
        self._check("unlink", path)
        with self._lock:
            before = self._content(path)
            self._files.unlink(path)
            self._unsynced.removed(path, before or b"")
            self._make_room(len(before or b""))

    def mkdir(self, path: str) -> None:
        with self._lock:
            self._files.mkdir(path)
            self._unsynced.created(path, "directory")

    def listdir(self, path: str) -> list[str]:
        return self._files.listdir(path)

    def fsync_dir(self, path: str) -> None:
        self._delay(path)
        with self._lock:
            mark = self._unsynced.mark()
        rule = self._take("sync_dir", path)
        if rule is not None:
            self._count("failed")
            with self._lock:
                self._unsynced.directory_sync_failed(path, mark)
            raise SyncFailed(rule.error, os.strerror(rule.error), path)
        if self._take("lie", path) is not None:
            self._count("lied")
            return
        self._files.fsync_dir(path)
        with self._lock:
            self._unsynced.directory_synced(path, mark)

    def exists(self, path: str) -> bool:
        return self._files.exists(path)

    def remove_tree(self, path: str) -> None:
        with self._lock:
            size = self._size(path) if self._room is not None and self._files.exists(path) else 0
            self._files.remove_tree(path)
            self._unsynced.tree_removed(path)
            self._make_room(size)

    def free_bytes(self, path: str) -> int:
        free = self._files.free_bytes(path)
        return free if self._room is None else min(free, self._room)

    def lock(self, path: str) -> DirectoryLock:
        return self._files.lock(path)

    def unique_id(self) -> int:
        return self._files.unique_id()

    # --- what open files ask -----------------------------------------------------------------------------------

    def write(self, file: OpenFile, inode: Inode, buffers: Sequence[bytes], position: int) -> None:
        data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
        path = inode.path
        failing = self._take("write", path)
        if failing is not None:
            self._count("failed")
            self._put(file, inode, data[: failing.random.randint(0, len(data))], position)
            raise _error(failing.error, path)
        if self._take("stale", path) is not None:
            self._count("stale")
            return
        astray = self._take("misdirect", path)
        if astray is not None:
            self._count("misdirected")
            position = _other_block(position, astray.random)
        self._put(file, inode, data, position)

    def _put(self, file: OpenFile, inode: Inode, data: bytes, position: int) -> None:
        """Writes, and remembers what stood there; as far as there is room."""
        with self._lock:
            size = file.size()
            room = self._room
            if room is not None:
                grown = max(position + len(data) - size, 0)
                if grown > room:
                    # As ext4 does it: what fits is written, and the caller must live with the piece.
                    data = data[: max(len(data) - grown + room, 0)]
                self._room = room - min(grown, room)
            if data:
                old = file.pread(len(data), position) if position < size else b""
                file.pwritev([data], position)
                self._unsynced.wrote(inode, position, data, old, size)
            if room is not None and grown > room:
                self._counts["full"] += 1
                raise _error(errno.ENOSPC, inode.path)

    def read(self, file: OpenFile, inode: Inode, size: int, position: int) -> bytes:
        self._check("read", inode.path)
        return file.pread(size, position)

    def sync(self, file: OpenFile, inode: Inode) -> None:
        self._delay(inode.path)
        with self._lock:
            mark = self._unsynced.mark()
        rule = self._take("sync", inode.path)
        if rule is not None:
            self._count("failed")
            with self._lock:
                self._unsynced.sync_failed(inode, mark)
            raise SyncFailed(rule.error, os.strerror(rule.error), inode.path)
        if self._take("lie", inode.path) is not None:
            self._count("lied")
            return
        try:
            file.fdatasync()
        except SyncFailed:
            with self._lock:
                self._unsynced.sync_failed(inode, mark)
            raise
        with self._lock:
            self._unsynced.synced(inode, mark)

    def truncate(self, file: OpenFile, inode: Inode, size: int) -> None:
        self._check("truncate", inode.path)
        with self._lock:
            self._cut(file, inode, size)

    def _cut(self, file: OpenFile, inode: Inode, size: int) -> None:
        before = file.size()
        old = file.pread(before - size, size) if size < before else b""
        file.truncate(size)
        self._unsynced.wrote(inode, size, None, old, before)
        self._make_room(before - size)

    # --- within ------------------------------------------------------------------------------------------------

    def _delay(self, path: str) -> None:
        healed = self._healed
        rule = self._take("slow", path)
        if rule is not None:
            self._count("slowed")
            healed.wait(rule.slow_ms / 1000)

    def _content(self, path: str) -> bytes | None:
        """Of a file that is about to lose its name; None if there is none (or it is a directory)."""
        if not self._files.exists(path):
            return None
        try:
            file = self._files.open(path, "read")
        except IsADirectoryError:
            return None
        try:
            return file.pread(file.size(), 0)
        except IsADirectoryError:
            return None
        finally:
            file.close()

    def _make_room(self, size: int) -> None:
        if self._room is not None:
            self._room += size

    def _size(self, path: str) -> int:
        try:
            return sum(self._size(f"{path}/{name}") for name in self._files.listdir(path))
        except NotADirectoryError:
            file = self._files.open(path, "read")
            try:
                return file.size()
            finally:
                file.close()


class FaultyFile:
    """``OpenFile`` over another one; orders follow it through renames."""

    __slots__ = ("_file", "_files", "_inode")

    def __init__(self, files: FaultyFiles, file: OpenFile, inode: Inode) -> None:
        self._files = files
        self._file = file
        self._inode = inode

    def pwritev(self, buffers: Sequence[bytes], position: int) -> None:
        self._files.write(self._file, self._inode, buffers, position)

    def pread(self, size: int, position: int) -> bytes:
        return self._files.read(self._file, self._inode, size, position)

    def fdatasync(self) -> None:
        self._files.sync(self._file, self._inode)

    def size(self) -> int:
        return self._file.size()

    def truncate(self, size: int) -> None:
        self._files.truncate(self._file, self._inode, size)

    def close(self) -> None:
        self._file.close()


def _other_block(position: int, random: Random) -> int:
    """Where a write that loses its way goes: the same place within another block, below its own if there is one."""
    block, within = divmod(position, PAGE_BYTES)
    return (random.randrange(block) if block else 1 + random.randrange(4)) * PAGE_BYTES + within


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
