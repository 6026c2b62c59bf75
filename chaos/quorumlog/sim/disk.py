"""A disk that can lose what was never synced, tear what was being written, fail, fill up, lie and rot.

One ``SimulatedDisk`` is one node's file system in memory; it implements ``quorumlog.storage.Files``. It keeps two
versions of everything: what a reader sees now (the page cache) and what a power cut would leave (the platter), with
the unsynced writes between them in order. ``crash`` decides, with the seed's own random numbers, which of those
made it: each may be lost, kept, cut short, or kept page by page in any order. Names are the same: created, renamed
and removed names become durable only by ``fsync_dir``; a crash keeps some prefix of what was done in each directory
since.

Faults are planted by name (``fail_sync``, ``fail_read``, ``refuse``, ``capacity``, ``flip_bit``, ``stale_block``,
``misdirect``, ``cut_file``, ``lie``, ``cut_after``), so that a schedule of them can be printed, replayed and
shrunk.

Prior art: TigerBeetle's ``src/testing/storage.zig``; FoundationDB's ``AsyncFileNonDurable``; "All File Systems Are
Not Created Equal" (Pillai et al., OSDI 2014) for what a crash may leave; "Can Applications Recover from fsync
Failures?" (Rebello et al., ATC 2020) for what a failed fsync leaves: pages that are clean, readable, and not on
disk.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from quorumlog.sim.platter import Directory, Inode, apply
from quorumlog.storage.errors import SyncFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from quorumlog.storage.files import Mode

PAGE_BYTES = 4096


class PowerCut(Exception):
    """The machine lost its power in the middle of a job: nothing works until ``SimulatedDisk.crash``."""


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


class SimulatedFile:
    """An open file; it stays usable when its name is gone, and dies with a crash."""

    __slots__ = ("_disk", "_epoch", "_inode", "_path")

    def __init__(self, disk: SimulatedDisk, inode: Inode, path: str) -> None:
        self._disk = disk
        self._inode = inode
        self._path = path
        self._epoch = disk.epoch

    def pwritev(self, buffers: Sequence[bytes], position: int) -> None:
        data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
        self._alive()
        disk, inode = self._disk, self._inode
        if disk.refusals and disk.refuses("write", self._path):
            raise _error(errno.EIO, self._path)
        grown = max(position + len(data) - len(inode.content), 0)
        room = disk.capacity - disk.used
        if grown > room:
            # As ext4 does it: what fits is written, and the caller must live with the piece.
            data = data[: max(len(data) - grown + room, 0)]
            self._write(data, position)
            raise _error(errno.ENOSPC, self._path)
        if disk.operation("write"):
            self._write(data, position)
            return
        self._write(data[: disk.torn(len(data))], position)
        raise PowerCut

    def _write(self, data: bytes, position: int) -> None:
        if data:
            inode = self._inode
            self._disk.used += max(position + len(data) - len(inode.content), 0)
            apply(inode.content, position, data)
            inode.unsynced.append((position, data))

    def pread(self, size: int, position: int) -> bytes:
        self._alive()
        disk = self._disk
        if disk.refusals and disk.refuses("read", self._path):
            raise _error(errno.EIO, self._path)
        for path, start, end in disk.unreadable:
            if path == self._path and position < end and position + size > start:
                raise _error(errno.EIO, self._path)
        return bytes(self._inode.content[position : position + size])

    def fdatasync(self) -> None:
        self._alive()
        disk, inode = self._disk, self._inode
        if not disk.operation("sync"):
            raise PowerCut
        if disk.take_sync_failure(self._path):
            # The kernel marks the pages clean: they are read as before, and no later sync will write them.
            inode.unsynced.clear()
            raise SyncFailed(errno.EIO, os.strerror(errno.EIO), self._path)
        if disk.lies(self._path):
            inode.promised = inode.promised or bool(inode.unsynced)
            return
        inode.sync()

    def size(self) -> int:
        self._alive()
        return len(self._inode.content)

    def truncate(self, size: int) -> None:
        self._alive()
        if not self._disk.operation("truncate"):
            raise PowerCut
        self._disk.used += size - len(self._inode.content)
        apply(self._inode.content, size, None)
        self._inode.unsynced.append((size, None))

    def close(self) -> None:
        """Needs no power."""

    def _alive(self) -> None:
        if self._epoch != self._disk.epoch or self._disk.off:
            raise PowerCut


class SimulatedLock:
    """``DirectoryLock``: gone with a crash."""

    __slots__ = ("_disk", "_path")

    def __init__(self, disk: SimulatedDisk, path: str) -> None:
        self._disk = disk
        self._path = path

    def release(self) -> None:
        self._disk.locks.discard(self._path)


class SimulatedDisk:
    """``quorumlog.storage.Files`` in memory. All chance comes from ``random``, the seed's own."""

    def __init__(self, random: Random, capacity: int = 1 << 40) -> None:
        self._random = random
        self._root = Directory()
        self.capacity = capacity
        """Bytes; beyond them a write fails with ENOSPC. May be changed at any time."""
        self.used = 0
        self.epoch = 0
        """Crashes so far: files opened before the last one are dead."""
        self.off = False
        self.operations = 0
        """Operations that change something, so far: what ``cut_after`` counts."""
        self.syncs = 0
        self.locks: set[str] = set()
        self.unreadable: list[tuple[str, int, int]] = []
        self.refusals: dict[tuple[str, str], int] = {}
        """(kind, part of a path) -> how often such an operation failed with EIO so far, for ``refuse``."""
        self.lies_told = 0
        """fsyncs that said they had been carried out and had not."""
        self._cut_at = 0
        self._sync_failures: dict[str, int] = {}
        self._lying: list[str] = []

    # --- Files -----------------------------------------------------------------------------------------------

    def open(self, path: str, mode: Mode) -> SimulatedFile:
        directory, name = self._parent(path)
        found = directory.names.get(name)
        if isinstance(found, Directory):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if found is None:
            if mode != "create":
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            self._change("open")
            inode = Inode()
            directory.do(lambda names: names.__setitem__(name, inode))
            return SimulatedFile(self, inode, path)
        if mode == "create" and found.content:
            SimulatedFile(self, found, path).truncate(0)
        return SimulatedFile(self, found, path)

    def rename(self, source: str, target: str) -> None:
        from_directory, from_name = self._parent(source)
        to_directory, to_name = self._parent(target)
        moved = from_directory.names.get(from_name)
        if moved is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
        self._change("rename")
        self._release(to_directory.names.get(to_name))
        if from_directory is to_directory:

            def both(names: dict[str, Inode | Directory]) -> None:
                names.pop(from_name, None)
                names[to_name] = moved

            from_directory.do(both)
        else:
            to_directory.do(lambda names: names.__setitem__(to_name, moved))
            from_directory.do(lambda names: names.pop(from_name, None))

    def unlink(self, path: str) -> None:
        directory, name = self._parent(path)
        found = directory.names.get(name)
        if not isinstance(found, Inode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        self._change("unlink")
        self._release(found)
        directory.do(lambda names: names.pop(name, None))

    def mkdir(self, path: str) -> None:
        directory, name = self._parent(path)
        if name in directory.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        self._change("mkdir")
        made = Directory()
        directory.do(lambda names: names.__setitem__(name, made))

    def listdir(self, path: str) -> list[str]:
        return sorted(self._directory(path).names)

    def fsync_dir(self, path: str) -> None:
        directory = self._directory(path)
        self._change("sync")
        if self.take_sync_failure(path):
            directory.unsynced.clear()
            raise SyncFailed(errno.EIO, os.strerror(errno.EIO), path)
        if self.lies(path):
            directory.promised = directory.promised or bool(directory.unsynced)
        else:
            directory.sync()

    def exists(self, path: str) -> bool:
        try:
            directory, name = self._parent(path)
        except FileNotFoundError:
            return False
        return name in directory.names

    def remove_tree(self, path: str) -> None:
        directory, name = self._parent(path)
        found = directory.names.get(name)
        if found is None:
            return
        self._change("remove")
        self._release(found)
        directory.do(lambda names: names.pop(name, None))

    def free_bytes(self, path: str) -> int:
        self._directory(path)
        return max(self.capacity - self.used, 0)

    def lock(self, path: str) -> SimulatedLock:
        if path in self.locks:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), path)
        self.open(path, "create")
        self.locks.add(path)
        return SimulatedLock(self, path)

    def unique_id(self) -> int:
        return self._random.getrandbits(64)

    # --- faults ----------------------------------------------------------------------------------------------

    def cut_after(self, operations: int) -> None:
        """The power goes during the ``operations``-th operation from now that changes something."""
        self._cut_at = self.operations + operations

    def crash(self, *, keep_all: bool = False, pages: bool = True) -> None:
        """The machine goes down and comes back: open files are dead, unsynced writes and names have a fate each.

        ``keep_all``: only the process died; the page cache survives, and is still not durable. ``pages``: writes
        may reach the disk page by page and out of order; otherwise they are lost, kept or cut short.
        """
        self.epoch += 1
        self.off = False
        self._cut_at = 0
        self.locks.clear()
        if not keep_all:
            self._crash_directory(self._root, pages)
            self.used = self._measure(self._root)

    def fail_sync(self, path: str, times: int = 1) -> None:
        """The next fsyncs of files or directories whose path contains ``path`` fail with EIO; what they held is
        lost."""
        self._sync_failures[path] = times

    def fail_read(self, path: str, start: int = 0, end: int = 1 << 62) -> None:
        """Reads that touch start..end of ``path`` fail with EIO."""
        self.unreadable.append((path, start, end))

    def refuse(self, kind: str, path: str) -> None:
        """From now on "read" or "write" of files whose path contains ``path`` fails with EIO."""
        self.refusals[kind, path] = 0

    def allow(self, kind: str, path: str) -> int:
        """Ends ``refuse``; how often it was felt."""
        return self.refusals.pop((kind, path), 0)

    def refuses(self, kind: str, path: str) -> bool:
        for (refused, part), times in self.refusals.items():
            if refused == kind and part in path:
                self.refusals[refused, part] = times + 1
                return True
        return False

    def lie(self, path: str) -> None:
        """From now on fsync of paths that contain ``path`` succeeds and does nothing."""
        self._lying.append(path)

    def stop_lying(self, path: str) -> None:
        """The drive writes what it had promised to have written."""
        self._lying.remove(path)
        for where, one in self._everything(self._root, ""):
            if path in where and one.promised:
                one.sync()

    def betrayed(self) -> list[str]:
        """Paths of which a power cut now may lose what an fsync promised to have written."""
        return [path for path, one in self._everything(self._root, "") if one.promised]

    def durable_names(self, path: str) -> list[str]:
        """The names in a directory that are safe from any power cut; none if it is not there or not itself
        safe."""
        here = self._root
        for part in path.strip("/").split("/"):
            found = here.durable.get(part)
            if not isinstance(found, Directory):
                return []
            here = found
        return sorted(here.durable)

    def flip_bit(self, path: str, position: int, bit: int = 0) -> None:
        """One bit rots, on the platter and (as no cache would survive that long) in what is read."""
        self._overwrite(path, position, bytes((self.content(path)[position] ^ (1 << bit),)))

    def stale_block(self, path: str, position: int, old: bytes) -> None:
        """A block shows what stood there once: a write to it was lost."""
        self._overwrite(path, position, old)

    def misdirect(self, source: str, position: int, size: int, target: str, at: int) -> None:
        """A block of one file stands in another, or elsewhere in the same."""
        self._overwrite(target, at, self.content(source)[position : position + size])

    def cut_file(self, path: str, size: int) -> None:
        """The file has lost its end."""
        inode = self._file(path)
        del inode.durable[size:], inode.content[size:]

    def plant(self, path: str) -> None:
        """An empty file is there, and safe: whoever looks after the machine has put it there while it was off."""
        directory, name = self._parent(path)
        directory.names[name] = directory.durable[name] = Inode()

    def content(self, path: str) -> bytes:
        """What a reader would see."""
        return bytes(self._file(path).content)

    def durable_content(self, path: str) -> bytes:
        """What is safe from any power cut."""
        return bytes(self._file(path).durable)

    # --- what files ask --------------------------------------------------------------------------------------

    def operation(self, kind: str) -> bool:
        """Counts an operation; False if the power goes during it."""
        if self.off:
            raise PowerCut
        self.operations += 1
        if kind == "sync":
            self.syncs += 1
        if self._cut_at and self.operations >= self._cut_at:
            self.off = True
            return False
        return True

    def torn(self, size: int) -> int:
        """How much of an interrupted write was taken."""
        return self._random.randint(0, size)

    def take_sync_failure(self, path: str) -> bool:
        for part, times in self._sync_failures.items():
            if times and part in path:
                self._sync_failures[part] = times - 1
                return True
        return False

    def lies(self, path: str) -> bool:
        if self._lying and any(part in path for part in self._lying):
            self.lies_told += 1
            return True
        return False

    # --- within ----------------------------------------------------------------------------------------------

    def _change(self, kind: str) -> None:
        if not self.operation(kind):
            raise PowerCut

    def _walk(self, parts: Sequence[str], path: str) -> Directory:
        if self.off:
            raise PowerCut
        here = self._root
        for part in parts:
            found = here.names.get(part)
            if not isinstance(found, Directory):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            here = found
        return here

    def _parent(self, path: str) -> tuple[Directory, str]:
        parts = path.strip("/").split("/")
        return self._walk(parts[:-1], path), parts[-1]

    def _directory(self, path: str) -> Directory:
        return self._walk([part for part in path.split("/") if part not in ("", ".")], path)

    def _file(self, path: str) -> Inode:
        directory, name = self._parent(path)
        found = directory.names[name]
        if not isinstance(found, Inode):
            raise IsADirectoryError(path)
        return found

    def _overwrite(self, path: str, position: int, data: bytes) -> None:
        inode = self._file(path)
        apply(inode.content, position, data)
        if position < len(inode.durable):
            apply(inode.durable, position, data)

    def _release(self, gone: Inode | Directory | None) -> None:
        if isinstance(gone, Inode):
            self.used -= len(gone.content)
        elif isinstance(gone, Directory):
            for one in gone.names.values():
                self._release(one)

    def _measure(self, directory: Directory) -> int:
        return sum(
            self._measure(one) if isinstance(one, Directory) else len(one.content)
            for one in directory.names.values()
        )

    def _everything(self, directory: Directory, path: str) -> Iterator[tuple[str, Inode | Directory]]:
        """Every file and directory that can be seen, with its path."""
        for name, one in directory.names.items():
            yield f"{path}/{name}", one
            if isinstance(one, Directory):
                yield from self._everything(one, f"{path}/{name}")

    def _crash_directory(self, directory: Directory, pages: bool) -> None:
        directory.promised = False
        if directory.unsynced:
            survived = self._random.randint(0, len(directory.unsynced))
            for change in directory.unsynced[:survived]:
                change(directory.durable)
            directory.unsynced.clear()
        directory.names = dict(directory.durable)
        for one in directory.names.values():
            if isinstance(one, Directory):
                self._crash_directory(one, pages)
            elif one.unsynced:
                self._crash_file(one, pages)
            elif one.content != one.durable:
                one.content = bytearray(one.durable)

    def _crash_file(self, inode: Inode, pages: bool) -> None:
        inode.promised = False
        durable = inode.durable
        for position, data in inode.unsynced:
            fate = self._random.randrange(4 if pages else 3)
            if fate == 0:
                continue
            if fate == 1 or data is None:
                apply(durable, position, data)
            elif fate == 2:
                apply(durable, position, data[: self._random.randint(0, len(data))])
            else:
                self._some_pages(durable, position, data)
        inode.unsynced.clear()
        inode.content = bytearray(durable)

    def _some_pages(self, durable: bytearray, position: int, data: bytes) -> None:
        start = 0
        while start < len(data):
            stop = min(len(data), start + PAGE_BYTES - (position + start) % PAGE_BYTES)
            if self._random.getrandbits(1):
                apply(durable, position + start, data[start:stop])
            start = stop
