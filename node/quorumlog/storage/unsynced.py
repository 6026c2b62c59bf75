"""What a power cut would take: everything written, created, renamed and removed that no fsync has made durable.

A real machine keeps that in its page cache, where no test can lose it: a process that is killed loses nothing. So
here every change is written to the real file system at once, as ever, and remembered together with what stood there
before. ``Unsynced.lose`` puts the old bytes and names back, but for what happens to have reached the disk already,
and that is decided as the simulated disk does it (``quorumlog.sim.disk``, one table of claims for both in
``tests/storage/test_faulty_files.py``):

* each write since the last fsync of its file is lost, kept, cut short at any byte, or kept page by page;
* of what was done to the names in a directory since its last fsync, some prefix is kept;
* what a *failed* fsync should have made durable is lost for certain, although it is read until then, and although a
  later fsync succeeds: Linux marks the pages clean (Rebello et al., ATC 2020).

Two things are easier on the disk than on the simulated one, and both are outcomes that a real file system may give:
removing a directory tree is durable at once, with everything done in its parent directory before; and what an
earlier process left unsynced counts as written back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from quorumlog.storage.files import Files, OpenFile

PAGE_BYTES = 4096


class PowerLoss(NamedTuple):
    """What a power cut has taken."""

    writes: int
    """Writes that are gone, wholly or in part."""
    bytes: int
    """Bytes that were put back to what stood there before."""
    names: int
    """Creations, renames and removals that never happened."""


class _Write:
    """One change of a file's content: ``data`` at ``position``, or, if None, the file cut to that size."""

    __slots__ = ("data", "lost", "number", "old", "old_size", "position", "safe")

    def __init__(self, number: int, position: int, data: bytes | None, old: bytes, old_size: int) -> None:
        self.number = number
        self.position = position
        self.data = data
        self.old = old
        """What stood at ``position`` before."""
        self.old_size = old_size
        self.lost = False
        """A failed fsync was to make it durable."""
        self.safe = False
        """Durable, and kept only because something lost lies below it."""

    def undo(self, file: OpenFile) -> None:
        if self.old:
            file.pwritev([self.old], self.position)
        if file.size() != self.old_size:
            file.truncate(self.old_size)

    def redo(self, file: OpenFile) -> None:
        if self.data is None:
            file.truncate(self.position)
        else:
            file.pwritev([self.data], self.position)


class Inode:
    """One file, whatever its name is by now."""

    __slots__ = ("path", "writes")

    def __init__(self, path: str) -> None:
        self.path = path
        self.writes: list[_Write] = []


class _Change:
    """One change of a name: ``path`` was created (a file or a directory), came from ``source``, or was removed.
    What stood at ``path`` before is ``before`` and ``inode``."""

    __slots__ = ("before", "created", "inode", "lost", "number", "path", "source")

    def __init__(
        self,
        number: int,
        path: str,
        *,
        created: str = "",
        source: str = "",
        before: bytes | None = None,
        inode: Inode | None = None,
    ) -> None:
        self.number = number
        self.path = path
        self.created = created
        self.source = source
        self.before = before
        self.inode = inode
        self.lost = False

    @property
    def directory(self) -> str:
        return self.path.rpartition("/")[0]


class Unsynced:
    """See the module. Not thread-safe: ``FaultyFiles`` holds a lock."""

    __slots__ = ("_changes", "_inodes", "_number")

    def __init__(self) -> None:
        self._inodes: dict[str, Inode] = {}
        self._changes: list[_Change] = []
        self._number = 0

    # --- what happens ------------------------------------------------------------------------------------------

    def inode(self, path: str) -> Inode:
        """The file that has this name now."""
        found = self._inodes.get(path)
        if found is None:
            found = self._inodes[path] = Inode(path)
        return found

    def wrote(self, inode: Inode, position: int, data: bytes | None, old: bytes, old_size: int) -> None:
        """``data`` replaced ``old`` in a file of ``old_size`` bytes; None: the file was cut to ``position``."""
        self._number += 1
        inode.writes.append(_Write(self._number, position, data, old, old_size))

    def created(self, path: str, kind: str) -> None:
        """``kind``: "file" or "directory"."""
        self._number += 1
        self._changes.append(_Change(self._number, path, created=kind))

    def renamed(self, source: str, target: str, before: bytes | None) -> None:
        """``before``: the content of the file that stood at ``target``, None if none did.

        A rename into another directory is a change of that one alone.
        """
        self._number += 1
        replaced = self._inodes.pop(target, None)
        self._moved(source, target)
        self._changes.append(_Change(self._number, target, source=source, before=before, inode=replaced))

    def removed(self, path: str, before: bytes) -> None:
        self._number += 1
        self._changes.append(_Change(self._number, path, before=before, inode=self._inodes.pop(path, None)))

    def tree_removed(self, path: str) -> None:
        """A directory is gone for good, and what was done before in its parent is durable."""
        inside = path + "/"
        self._changes = [one for one in self._changes if one.path != path and not one.path.startswith(inside)]
        for name in [name for name in self._inodes if name.startswith(inside)]:
            del self._inodes[name]
        self.directory_synced(path.rpartition("/")[0], self._number)

    # --- fsync -------------------------------------------------------------------------------------------------

    def mark(self) -> int:
        """What has happened so far: an fsync that begins now covers it, and nothing later."""
        return self._number

    def synced(self, inode: Inode, mark: int) -> None:
        if any(one.lost for one in inode.writes):
            for one in inode.writes:
                one.safe = one.safe or (one.number <= mark and not one.lost)
        else:
            inode.writes = [one for one in inode.writes if one.number > mark]

    def sync_failed(self, inode: Inode, mark: int) -> None:
        for one in inode.writes:
            one.lost = one.lost or (one.number <= mark and not one.safe)

    def directory_synced(self, path: str, mark: int) -> None:
        self._changes = [one for one in self._changes if one.lost or one.number > mark or one.directory != path]

    def directory_sync_failed(self, path: str, mark: int) -> None:
        for one in self._changes:
            one.lost = one.lost or (one.number <= mark and one.directory == path)

    @property
    def waiting(self) -> int:
        """Writes and names that are not durable."""
        writes = sum(not one.safe for inode in self._inodes.values() for one in inode.writes)
        return writes + len(self._changes)

    # --- the power goes ----------------------------------------------------------------------------------------

    def lose(self, files: Files, random: Random) -> PowerLoss:
        """Makes ``files`` what a power cut would have left."""
        names = self._lose_names(files, random)
        writes = lost_bytes = 0
        for path in sorted(self._inodes):
            inode = self._inodes[path]
            if inode.writes and files.exists(path):
                file = files.open(path, "write")
                try:
                    gone, size = _lose_writes(file, inode.writes, random)
                finally:
                    file.close()
                writes += gone
                lost_bytes += size
        return PowerLoss(writes, lost_bytes, names)

    def _lose_names(self, files: Files, random: Random) -> int:
        pending: dict[str, list[_Change]] = {}
        for one in self._changes:
            if not one.lost:
                pending.setdefault(one.directory, []).append(one)
        doomed = {one.number for one in self._changes if one.lost}
        for directory in sorted(pending):
            changes = pending[directory]
            doomed.update(one.number for one in changes[random.randint(0, len(changes)) :])
        undone = [one for one in reversed(self._changes) if one.number in doomed]
        for one in undone:
            self._undo(files, one)
        return len(undone)

    def _undo(self, files: Files, change: _Change) -> None:
        path = change.path
        if files.exists(path):
            if change.source:
                files.rename(path, change.source)
                self._moved(path, change.source)
            elif change.created == "directory":
                files.remove_tree(path)
            elif change.created:
                files.unlink(path)
                self._inodes.pop(path, None)
        if change.before is not None:
            file = files.open(path, "create")
            try:
                file.pwritev([change.before], 0)
            finally:
                file.close()
            if change.inode is not None:
                self._inodes[path] = change.inode

    def _moved(self, source: str, target: str) -> None:
        """A file or a directory has another name: so has everything that is remembered of it."""
        inside = source + "/"

        def now(path: str) -> str:
            return target + path[len(source) :] if path == source or path.startswith(inside) else path

        inodes = {}
        for path, inode in self._inodes.items():
            inode.path = now(path)
            inodes[inode.path] = inode
        self._inodes = inodes
        for one in self._changes:
            if one.path.startswith(inside):
                one.path = now(one.path)
                one.source = now(one.source) if one.source else ""


def _lose_writes(file: OpenFile, writes: list[_Write], random: Random) -> tuple[int, int]:
    """Back to what is durable, then whatever happened to get there: (writes gone or torn, their bytes)."""
    for one in reversed(writes):
        one.undo(file)
    gone = lost_bytes = 0
    for one in writes:
        if one.safe:
            one.redo(file)
            continue
        kept = 0
        if not one.lost:
            for position, data in surviving(one.position, one.data, random):
                if data is None:
                    file.truncate(position)
                else:
                    file.pwritev([data], position)
                    kept += len(data)
        size = len(one.data) if one.data is not None else 0
        if kept < size:
            gone += 1
            lost_bytes += size - kept
    return gone, lost_bytes


def surviving(position: int, data: bytes | None, random: Random) -> Iterator[tuple[int, bytes | None]]:
    """The pieces of one unsynced write that reached the disk; data None: the file is cut to ``position``."""
    fate = random.randrange(4)
    if fate == 0:
        return
    if fate == 1 or data is None:
        yield position, data
    elif fate == 2:
        size = random.randint(0, len(data))
        if size:
            yield position, data[:size]
    else:
        start = 0
        while start < len(data):
            stop = min(len(data), start + PAGE_BYTES - (position + start) % PAGE_BYTES)
            if random.getrandbits(1):
                yield position + start, data[start:stop]
            start = stop
