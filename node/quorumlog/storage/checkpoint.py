"""Checkpoint files: the state machine's state at one index, in a file that proves itself.

A checkpoint is named ``<index, 20 digits>-<term, 20 digits>.checkpoint`` and holds (little-endian)::

    position size field
           0    8 magic                 b"QLOGCKP\\x01"
           8    4 version               1
          12    4 crc32c                over bytes 0-11, bytes 16-79 and the configuration
          16    8 group_id
          24    8 index                 the last entry the state covers
          32    8 term                  of that entry
          40    8 state_length
          48    4 configuration_length
          52    4 reserved              0
          56   16 state_digest          BLAKE2b-128 of the state
          72    8 reserved              0
          80    … configuration         (quorumlog.raft.membership), then the state

A checkpoint is valid if and only if magic and checksum are right, the file is exactly as long as its head says, and
the digest is that of the state. It names no replica: the very bytes of the file are what a follower receives, so
one check at the end of a transfer covers disk, network and disk again.

At recovery it must belong to the log beside it: it is the base (the entry before the log's first), or the log holds
an entry of that index and that term. One that does neither shows that the log has lost its end. (What another
replica sent is named ``….installing`` until the log begins with it, so that an interrupted installation is not
taken for that; believing it would join one leader's state to another's log: RAFT.md §5, bug 26.)
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.raft.membership import decode_configuration, encode_configuration
from quorumlog.raft.types import Checkpoint
from quorumlog.storage.errors import CorruptLog, NewerFormat
from quorumlog.storage.files import write_new_file
from quorumlog.storage.format import crc32c_extend

if TYPE_CHECKING:
    from quorumlog.storage.files import Files, OpenFile

_MAGIC = b"QLOGCKP\x01"
_VERSION = 1
_HEAD = struct.Struct("<8sII4QI4x16s8x")
HEAD_SIZE = _HEAD.size
SUFFIX = ".checkpoint"
#: A configuration is a few replica ids; the length is bounded before anything is read by it.
_CONFIGURATION_BYTES_MAX = 1 << 20


class StoredCheckpoint(NamedTuple):
    """A checkpoint and the file that holds it."""

    checkpoint: Checkpoint
    path: str
    state_position: int
    state_length: int
    state_digest: bytes
    group_id: int

    @property
    def size(self) -> int:
        """Bytes of the whole file: what a transfer sends."""
        return self.state_position + self.state_length


def checkpoint_name(index: int, term: int) -> str:
    return f"{index:020d}-{term:020d}{SUFFIX}"


def encode_checkpoint(group_id: int, checkpoint: Checkpoint, state: bytes) -> list[bytes]:
    """The file's content: head, configuration, state."""
    configuration = encode_configuration(checkpoint.configuration)
    digest = hashlib.blake2b(state, digest_size=16).digest()
    unsigned = _HEAD.pack(
        _MAGIC, _VERSION, 0, group_id, checkpoint.index, checkpoint.term, len(state), len(configuration), digest
    )
    crc = crc32c_extend(crc32c_extend(crc32c_extend(0, unsigned[:12]), unsigned[16:]), configuration)
    return [unsigned[:12] + crc.to_bytes(4, "little") + unsigned[16:], configuration, state]


def write_checkpoint(
    files: Files, directory: str, group_id: int, checkpoint: Checkpoint, state: bytes
) -> StoredCheckpoint:
    """Durable when it returns."""
    buffers = encode_checkpoint(group_id, checkpoint, state)
    name = checkpoint_name(checkpoint.index, checkpoint.term)
    write_new_file(files, directory, name, buffers)
    return StoredCheckpoint(
        checkpoint,
        f"{directory}/{name}",
        HEAD_SIZE + len(buffers[1]),
        len(state),
        hashlib.blake2b(state, digest_size=16).digest(),
        group_id,
    )


def read_head(files: Files, path: str) -> StoredCheckpoint:
    """Everything but the state, verified. Raises CorruptLog, NewerFormat."""
    file = files.open(path, "read")
    try:
        return _read_head(file, path)
    finally:
        file.close()


def _read_head(file: OpenFile, path: str) -> StoredCheckpoint:
    head = file.pread(HEAD_SIZE, 0)
    if len(head) < HEAD_SIZE:
        raise CorruptLog(path, len(head), "the checkpoint's head is incomplete")
    magic, version, crc, group_id, index, term, state_length, configuration_length, digest = _HEAD.unpack(head)
    if magic != _MAGIC:
        raise CorruptLog(path, 0, "not a checkpoint: wrong magic")
    if configuration_length > _CONFIGURATION_BYTES_MAX:
        raise CorruptLog(path, 48, "the checkpoint's configuration has an impossible length")
    configuration = file.pread(configuration_length, HEAD_SIZE)
    if crc != crc32c_extend(crc32c_extend(crc32c_extend(0, head[:12]), head[16:]), configuration):
        raise CorruptLog(path, 12, "the checkpoint head's checksum is wrong")
    if version != _VERSION:
        raise NewerFormat(path, version, _VERSION)
    position = HEAD_SIZE + configuration_length
    size = file.size()
    if size != position + state_length:
        raise CorruptLog(path, size, f"the checkpoint is {size} bytes long instead of {position + state_length}")
    return StoredCheckpoint(
        Checkpoint(index, term, decode_configuration(configuration)), path, position, state_length, digest, group_id
    )


def read_state(files: Files, stored: StoredCheckpoint) -> bytes:
    """The state, verified. Raises CorruptLog."""
    file = files.open(stored.path, "read")
    try:
        state = file.pread(stored.state_length, stored.state_position)
    finally:
        file.close()
    if len(state) != stored.state_length or hashlib.blake2b(state, digest_size=16).digest() != stored.state_digest:
        raise CorruptLog(stored.path, stored.state_position, "the checkpoint's state does not have its digest")
    return state


def verify_state(file: OpenFile, stored: StoredCheckpoint, chunk_bytes: int = 1 << 20) -> None:
    """Checks the digest without holding the state in memory. Raises CorruptLog."""
    digest = hashlib.blake2b(digest_size=16)
    position = stored.state_position
    while position < stored.size:
        piece = file.pread(min(chunk_bytes, stored.size - position), position)
        if not piece:
            break
        digest.update(piece)
        position += len(piece)
    if digest.digest() != stored.state_digest:
        raise CorruptLog(stored.path, stored.state_position, "the checkpoint's state does not have its digest")


class CheckpointReader:
    """Streams one checkpoint file to a follower. The file stays open, and so readable, though retention unlinks
    it."""

    __slots__ = ("_file", "_files", "stored")

    def __init__(self, files: Files, stored: StoredCheckpoint) -> None:
        self._files = files
        self._file: OpenFile | None = None
        self.stored = stored

    @property
    def checkpoint(self) -> Checkpoint:
        return self.stored.checkpoint

    @property
    def size(self) -> int:
        """Bytes to be sent."""
        return self.stored.size

    def chunk_job(self, position: int, max_bytes: int) -> CheckpointChunkJob:
        """Reads one chunk of the file, from ``position``. One chunk job of a reader at a time."""
        return CheckpointChunkJob(self, position, max_bytes)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self, size: int, position: int) -> bytes:
        if self._file is None:
            file = self._files.open(self.stored.path, "read")
            try:
                # The receiver would find damage only at the end, ask again, and get the same bytes for ever.
                verify_state(file, self.stored)
            except BaseException:
                file.close()
                raise
            self._file = file
        return self._file.pread(size, position)


class CheckpointChunkJob:
    """After ``run``: ``data``. The first of a transfer verifies the whole. Raises CorruptLog, OSError."""

    __slots__ = ("_max_bytes", "_reader", "data", "position")

    def __init__(self, reader: CheckpointReader, position: int, max_bytes: int) -> None:
        self._reader = reader
        self._max_bytes = max_bytes
        self.position = position
        self.data = b""

    def run(self) -> None:
        self.data = self._reader._read(self._max_bytes, self.position)


class CheckpointJob:
    """Writes a boundary's checkpoint. After ``run``: ``stored``."""

    __slots__ = ("_directory", "_files", "_group_id", "_state", "checkpoint", "stored")

    def __init__(self, files: Files, directory: str, group_id: int, checkpoint: Checkpoint, state: bytes) -> None:
        self._files = files
        self._directory = directory
        self._group_id = group_id
        self._state = state
        self.checkpoint = checkpoint
        self.stored: StoredCheckpoint | None = None

    def run(self) -> None:
        self.stored = write_checkpoint(self._files, self._directory, self._group_id, self.checkpoint, self._state)


def unlink_quietly(files: Files, path: str) -> None:
    """Removes what recovery would remove anyway."""
    with contextlib.suppress(FileNotFoundError):
        files.unlink(path)
