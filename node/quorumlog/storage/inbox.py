"""Where a checkpoint that another replica sends is put together, chunk by chunk.

Chunks of two senders never mix (RAFT.md §5, bug 27): each transfer, named by (term, index, sender), has a file of
its own, a chunk is taken only where the last one ended, and a newer transfer makes an older one void. What is
complete is verified as a whole, head and digest, before it gets a name that ``PartitionLog.install_checkpoint_job``
accepts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quorumlog.storage.checkpoint import SUFFIX, checkpoint_name, read_head, unlink_quietly, verify_state
from quorumlog.storage.errors import CorruptLog, ensure
from quorumlog.storage.recovery import INCOMING_PREFIX, INSTALLING_SUFFIX

if TYPE_CHECKING:
    from quorumlog.raft.types import Checkpoint, ReplicaId
    from quorumlog.storage.files import Files, OpenFile


class TransferKey(NamedTuple):
    """One transfer: the leader's term, the checkpoint's index, and who sends."""

    term: int
    index: int  # type: ignore[assignment]  # the field's word; tuple.index() is of no use here
    sender: ReplicaId


class CheckpointInbox:
    """Takes one transfer at a time for one log. Not thread-safe but for ``ChunkJob.run``.

    For each chunk: ``chunk_job(...)``; if it is None, answer with ``expected(key)``; otherwise run it, call
    ``on_done``, and when ``completed`` is not None, step ``InstallCheckpoint`` and install.
    """

    __slots__ = ("_directory", "_file_number", "_files", "_key", "_received", "_running", "completed")

    def __init__(self, files: Files, directory: str) -> None:
        self._files = files
        self._directory = directory
        self._file_number = 0
        self._key: TransferKey | None = None
        self._received = 0
        self._running: ChunkJob | None = None
        self.completed: tuple[TransferKey, Checkpoint, str] | None = None
        """(transfer, its checkpoint, path for ``install_checkpoint_job``) of what has arrived and been verified."""

    def expected(self, key: TransferKey) -> int:
        """Position of the chunk that is due next in transfer ``key``; 0 if it has not begun or was given up."""
        return self._received if key == self._key else 0

    def chunk_job(self, key: TransferKey, position: int, data: bytes, total: int) -> ChunkJob | None:
        """Takes ``data`` at ``position`` of a checkpoint file of ``total`` bytes. None if it is not the chunk that
        is due, belongs to an older term than the transfer under way, or one is being written just now."""
        if self._running is not None or (self._key is not None and key.term < self._key.term):
            return None
        if key != self._key:
            if position != 0:
                return None
            self._begin(key)
        if position != self._received or position + len(data) > total or not data:
            return None
        self._running = ChunkJob(self._files, self._directory, self._file_number, key, position, data, total)
        return self._running

    def _begin(self, key: TransferKey) -> None:
        self._key = key
        self._received = 0
        self._file_number += 1
        self.completed = None

    def on_done(self, job: ChunkJob) -> None:
        ensure(job is self._running, "a chunk job that is not running")
        self._running = None
        self._received = job.position + len(job.data)
        if job.checkpoint is not None:
            self.completed = (job.key, job.checkpoint, job.path)
            self._key = None

    def on_failed(self, job: ChunkJob) -> None:
        """A write failed or the whole was not what it should be: the transfer starts again from the beginning."""
        ensure(job is self._running, "a chunk job that is not running")
        self._running = None
        self._key = None


class ChunkJob:
    """Writes one chunk; the last one also verifies the whole. Raises OSError, CorruptLog, NewerFormat.

    After the last: ``checkpoint`` and ``path``.
    """

    __slots__ = ("_directory", "_files", "_total", "checkpoint", "data", "key", "path", "position")

    def __init__(
        self, files: Files, directory: str, number: int, key: TransferKey, position: int, data: bytes, total: int
    ) -> None:
        self._files = files
        self._directory = directory
        self._total = total
        self.key = key
        self.position = position
        self.data = data
        self.path = f"{directory}/{INCOMING_PREFIX}{key.term}-{key.index}-{key.sender}-{number}"
        self.checkpoint: Checkpoint | None = None

    def run(self) -> None:
        file = self._files.open(self.path, "write" if self.position else "create")
        try:
            file.pwritev([self.data], self.position)
            if self.position + len(self.data) == self._total:
                file.fdatasync()
                self._complete(file)
        finally:
            file.close()

    def _complete(self, file: OpenFile) -> None:
        try:
            stored = read_head(self._files, self.path)
            verify_state(file, stored)
            if stored.checkpoint.index != self.key.index:
                raise CorruptLog(self.path, 24, f"not a checkpoint at {self.key.index}")
        except CorruptLog:
            unlink_quietly(self._files, self.path)
            raise
        name = checkpoint_name(stored.checkpoint.index, stored.checkpoint.term).removesuffix(SUFFIX)
        path = f"{self._directory}/{name}{INSTALLING_SUFFIX}"
        self._files.rename(self.path, path)
        self._files.fsync_dir(self._directory)
        self.checkpoint, self.path = stored.checkpoint, path
