"""The jobs that change a log on disk. Each is a plan of bytes and positions, made up in the event loop; ``run``
carries it out, wherever the host pleases. A job shares no mutable state with the log, but for a segment's
``Frontier``.

The order of steps is the safety argument:

* records, then ``fdatasync``, before anything is acknowledged;
* sealing: records durable, *then* the trailer (it vouches for them), then the successor;
* a new segment: header and first job durable under a temporary name, then the rename, then the directory. So a
  file with its final name is never torn at its head, and its predecessor is always sealed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.storage.checkpoint import SUFFIX as CHECKPOINT_SUFFIX
from quorumlog.storage.checkpoint import unlink_quietly
from quorumlog.storage.errors import SyncFailed
from quorumlog.storage.recovery import FAILED_MARKER, INSTALLING_SUFFIX, NEW_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.storage.checkpoint import StoredCheckpoint
    from quorumlog.storage.files import Files, OpenFile
    from quorumlog.storage.segment import Frontier, Segment

#: Zeros are written and synced in pieces of this size: a write job's fdatasync waits for one piece at most.
_ZEROS = bytes(256 << 10)
_WHOLE_FILE = 1 << 62


class Part:
    """What a write job does to one segment: append ``buffers`` at ``position``, and seal it if there is a
    trailer."""

    __slots__ = (
        "buffers",
        "end",
        "file",
        "frontier",
        "new",
        "path",
        "position",
        "sealed",
        "trailer",
        "trailer_position",
    )

    def __init__(self, path: str, frontier: Frontier, file: OpenFile | None, position: int, *, new: bool) -> None:
        self.path = path
        self.frontier = frontier
        self.file = file
        self.new = new
        self.position = position
        self.end = position
        self.buffers: list[bytes] = []
        self.trailer_position = 0
        self.trailer: list[bytes] = []
        self.sealed: Segment | None = None

    def seal(self, position: int, trailer: list[bytes], sealed: Segment) -> None:
        self.trailer_position = position
        self.trailer = trailer
        self.sealed = sealed

    def run(self, files: Files, directory: str) -> None:
        """May be run again in full after an ENOSPC: every step writes the same bytes to the same place."""
        if self.new:
            self._create(files, directory)
        elif self.buffers:
            file = self._open(files)
            self.frontier.claim(self.end)
            file.pwritev(self.buffers, self.position)
            file.fdatasync()
        if self.sealed is not None:
            file = self._open(files)
            self.frontier.claim(_WHOLE_FILE)
            file.pwritev(self.trailer, self.trailer_position)
            file.truncate(self.sealed.size)
            file.fdatasync()

    def _open(self, files: Files) -> OpenFile:
        if self.file is None:
            self.file = files.open(self.path, "write")
        return self.file

    def _create(self, files: Files, directory: str) -> None:
        temporary = self.path + NEW_SUFFIX
        if self.file is not None:
            self.file.close()
        self.file = files.open(temporary, "create")
        self.file.pwritev(self.buffers, 0)
        self.file.fdatasync()
        files.rename(temporary, self.path)
        files.fsync_dir(directory)
        # From here on a retry must not start over under the temporary name.
        self.new = False
        self.buffers = []


class WriteJob:
    """One group commit. ``number``: the highest Ready number whose work is durable when the job is done.
    ``commit``: the commit index that it records."""

    __slots__ = ("_directory", "_done", "_files", "commit", "durable_index", "number", "parts")

    def __init__(
        self, files: Files, directory: str, number: int, durable_index: int, commit: int, parts: list[Part]
    ) -> None:
        self._files = files
        self._directory = directory
        self._done = 0
        self.number = number
        self.durable_index = durable_index
        """Entries up to here are durable when the job is done; lowered when some of them are replaced meanwhile."""
        self.commit = commit
        self.parts = parts

    def run(self) -> None:
        """Raises OSError; ``SyncFailed`` is final, ENOSPC from anything else may be retried as a new job."""
        try:
            for part in self.parts[self._done :]:
                part.run(self._files, self._directory)
                self._done += 1
        except SyncFailed:
            mark_failed(self._files, self._directory)
            raise

    def retry(self) -> WriteJob:
        """A new job for what this one did not get done, at the same positions."""
        again = WriteJob(self._files, self._directory, self.number, self.durable_index, self.commit, self.parts)
        again._done = self._done
        return again

    @property
    def bytes(self) -> int:
        """Bytes to be written."""
        return sum(len(buffer) for part in self.parts for buffer in (*part.buffers, *part.trailer))


class InstallJob(WriteJob):
    """Replaces the log by a checkpoint that is durable already as ``….installing``: the new segment is the marker
    that the log begins there; after it the checkpoint gets its name and all older files go.

    (``marker`` before ``drop``: else a crash between the two would leave neither the old log nor the new.)
    """

    __slots__ = ("_source", "obsolete", "stored")

    def __init__(
        self,
        files: Files,
        directory: str,
        number: int,
        durable_index: int,
        parts: list[Part],
        installing: StoredCheckpoint,
        obsolete: Sequence[str],
    ) -> None:
        super().__init__(files, directory, number, durable_index, installing.checkpoint.index, parts)
        self._source = installing.path
        self.stored = installing._replace(path=installing.path.removesuffix(INSTALLING_SUFFIX) + CHECKPOINT_SUFFIX)
        """As it is named when the job is done."""
        self.obsolete = obsolete

    def run(self) -> None:
        super().run()
        files, directory = self._files, self._directory
        try:
            if files.exists(self._source):
                files.rename(self._source, self.stored.path)
            for path in self.obsolete:
                unlink_quietly(files, path)
            files.fsync_dir(directory)
        except SyncFailed:
            mark_failed(files, directory)
            raise

    def retry(self) -> InstallJob:
        installing = self.stored._replace(path=self._source)
        again = InstallJob(
            self._files, self._directory, self.number, self.durable_index, self.parts, installing, self.obsolete
        )
        again._done = self._done
        return again


class ZeroFillJob:
    """Fills the active segment's file with zeros ahead of its records, in the background.

    Overwriting blocks that exist makes fdatasync nearly twice as cheap as appending to the file (measured: 4 KB
    0.10 ms instead of 0.18; posix_fallocate does not help, since its extents are unwritten: 0.20). It uses a handle
    of its own: the kernel reports a write-back error once per open file, so a shared one would let this fdatasync
    swallow the error that the write job must see.
    """

    __slots__ = ("_files", "_frontier", "_start", "end", "path")

    def __init__(self, files: Files, path: str, frontier: Frontier, start: int, end: int) -> None:
        self._files = files
        self.path = path
        self._frontier = frontier
        self._start = start
        self.end = end

    def run(self) -> None:
        file = self._files.open(self.path, "write")
        try:
            position = self._start
            while position < self.end:
                with self._frontier.lock:
                    position = max(position, self._frontier.claimed)
                    size = min(len(_ZEROS), self.end - position)
                    if size > 0:
                        file.pwritev([_ZEROS if size == len(_ZEROS) else bytes(size)], position)
                if size > 0:
                    file.fdatasync()
                position += size if size > 0 else 0
        finally:
            file.close()


class RetainJob:
    """Drops whole segments from the log's start, oldest first and each made durable before the next goes: a crash
    leaves a shorter log, never one with a hole that recovery could not tell from damage."""

    __slots__ = ("_directory", "_files", "_leftovers", "_segments")

    def __init__(self, files: Files, directory: str, segments: Sequence[Segment], leftovers: Sequence[str]) -> None:
        self._files = files
        self._directory = directory
        self._segments = segments
        self._leftovers = leftovers

    def run(self) -> None:
        files = self._files
        for segment in self._segments:
            unlink_quietly(files, segment.path)
            files.fsync_dir(self._directory)
            unlink_quietly(files, segment.index_path)
        for path in self._leftovers:
            unlink_quietly(files, path)


def mark_failed(files: Files, directory: str) -> None:
    """Best effort: leaves word that an fsync failed here, for a restart that would otherwise believe the page
    cache."""
    try:
        file = files.open(f"{directory}/{FAILED_MARKER}", "create")
        file.close()
        files.fsync_dir(directory)
    except OSError:
        return
