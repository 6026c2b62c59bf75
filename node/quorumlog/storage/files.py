"""The seam between the log and the operating system: everything the log asks of a disk, and nothing else.

Why a seam of our own: the simulator must be able to lose, tear and damage what was written but not synced, and it
can only do that below this line (prior art: FoundationDB's ``IAsyncFile``, TigerBeetle's ``Storage``, SQLite's
VFS). Paths are plain strings with ``/``; calls block; errors are ``OSError`` as the system reports them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from typing import TYPE_CHECKING, Literal, Protocol

from quorumlog.storage.errors import SyncFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

#: ``read``: must exist. ``write``: must exist; read and write. ``create``: new or emptied; read and write.
Mode = Literal["read", "write", "create"]

#: Linux takes at most 1024 buffers in one ``pwritev`` (limits.h, IOV_MAX).
_BUFFERS_MAX = 1024


class OpenFile(Protocol):
    """One open file. Positions and sizes in bytes."""

    def pwritev(self, buffers: Sequence[bytes], position: int) -> None:
        """Writes all buffers one after the other, from ``position``; on an OSError any part may have been
        written."""

    def pread(self, size: int, position: int) -> bytes:
        """Up to ``size`` bytes; fewer only at the end of the file."""

    def fdatasync(self) -> None:
        """Makes content and size durable. Raises SyncFailed; what was written since the last success is then
        lost."""

    def size(self) -> int: ...

    def truncate(self, size: int) -> None:
        """Cuts the file; durable only after ``fdatasync``."""

    def close(self) -> None: ...


class DirectoryLock(Protocol):
    """An exclusive lock, held until ``release`` or the death of the process."""

    def release(self) -> None: ...


class Files(Protocol):
    """A file system. Names in a directory are durable only after ``fsync_dir`` of that directory."""

    def open(self, path: str, mode: Mode) -> OpenFile: ...

    def rename(self, source: str, target: str) -> None:
        """Atomic; replaces ``target``."""

    def unlink(self, path: str) -> None: ...

    def mkdir(self, path: str) -> None:
        """Creates one directory; its parent must exist. Raises FileExistsError."""

    def listdir(self, path: str) -> list[str]:
        """Names in ascending order. Raises FileNotFoundError."""

    def fsync_dir(self, path: str) -> None:
        """Makes creations, renames and removals in ``path`` durable. Raises SyncFailed."""

    def exists(self, path: str) -> bool: ...

    def remove_tree(self, path: str) -> None:
        """Removes a directory with all it holds; nothing happens if it is not there."""

    def free_bytes(self, path: str) -> int:
        """Bytes that may still be written to the file system that holds ``path``."""

    def lock(self, path: str) -> DirectoryLock:
        """Takes the exclusive lock on the file ``path``, creating it. Raises BlockingIOError if another holds
        it."""

    def unique_id(self) -> int:
        """64 bits that no other file has: randomness comes with the disk, so that the log itself stays
        deterministic."""


class OsFile:
    """``OpenFile`` over a file descriptor."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def pwritev(self, buffers: Sequence[bytes], position: int) -> None:
        for start in range(0, len(buffers), _BUFFERS_MAX):
            part = buffers[start : start + _BUFFERS_MAX] if len(buffers) > _BUFFERS_MAX else buffers
            size = sum(map(len, part))
            written = os.pwritev(self._descriptor, part, position)
            if written != size:
                # A short write is legal (a signal, a nearly full disk). The rest again as one buffer: rare enough
                # to copy.
                rest = memoryview(b"".join(part))[written:]
                at = position + written
                while rest:
                    count = os.pwrite(self._descriptor, rest, at)
                    if count == 0:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    rest = rest[count:]
                    at += count
            position += size

    def pread(self, size: int, position: int) -> bytes:
        data = os.pread(self._descriptor, size, position)
        if len(data) == size or not data:
            return data
        pieces = [data]
        got = len(data)
        while got < size:
            data = os.pread(self._descriptor, size - got, position + got)
            if not data:
                break
            pieces.append(data)
            got += len(data)
        return b"".join(pieces)

    def fdatasync(self) -> None:
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise SyncFailed(error.errno, error.strerror) from error

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class OsLock:
    """``DirectoryLock`` by ``flock``: it goes with the process, so that no stale lock outlives a kill -9."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


_FLAGS: dict[Mode, int] = {
    "read": os.O_RDONLY | os.O_CLOEXEC,
    "write": os.O_RDWR | os.O_CLOEXEC,
    "create": os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC,
}


class OsFiles:
    """``Files`` over the operating system."""

    def open(self, path: str, mode: Mode) -> OsFile:
        return OsFile(os.open(path, _FLAGS[mode], 0o644))

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def mkdir(self, path: str) -> None:
        os.mkdir(path, 0o755)

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def fsync_dir(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise SyncFailed(error.errno, error.strerror, path) from error
        finally:
            os.close(descriptor)

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def remove_tree(self, path: str) -> None:
        if os.path.exists(path):
            shutil.rmtree(path)

    def free_bytes(self, path: str) -> int:
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize

    def lock(self, path: str) -> OsLock:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(descriptor)
            raise
        return OsLock(descriptor)

    def unique_id(self) -> int:
        return secrets.randbits(64)


def write_new_file(files: Files, directory: str, name: str, buffers: Sequence[bytes]) -> None:
    """Creates ``directory/name`` so that after a crash it is either absent (or as before) or whole and durable.

    The order matters: content durable, then the name, then the directory. A name that is durable before its content
    would show an empty file after a power cut, and nobody could tell it from a damaged one.
    """
    temporary = f"{directory}/{name}.new"
    file = files.open(temporary, "create")
    try:
        file.pwritev(buffers, 0)
        file.fdatasync()
    finally:
        file.close()
    files.rename(temporary, f"{directory}/{name}")
    files.fsync_dir(directory)
