"""What can go wrong with a log on disk, as types: an operating error is told apart from a bug, and damage from
both.

A ``StorageError`` about one partition never concerns another. ``InvariantViolated`` is a bug of ours or of the
caller: the replica must stop, since going on could acknowledge what is not there.
"""

from __future__ import annotations

from quorumlog.raft.errors import InvariantViolated, ensure

__all__ = [
    "CorruptLog",
    "InvariantViolated",
    "LockedDirectory",
    "LogExists",
    "LogFailed",
    "MissingLog",
    "NewerFormat",
    "OffsetNotStored",
    "StorageError",
    "SyncFailed",
    "WrongCluster",
    "WrongNode",
    "WrongReplica",
    "ensure",
]


class StorageError(Exception):
    """Anything this package reports about a log or a data directory, but plain operating-system errors."""


class CorruptLog(StorageError):
    """Bytes that were once durable are damaged or gone. The replica must not vote or lead with this log: it moves
    it aside and fetches everything again under a new incarnation (RAFT.md §3)."""

    def __init__(self, path: str, position: int, why: str) -> None:
        super().__init__(f"{path} is damaged at byte {position}: {why}")
        self.path = path
        self.position = position
        self.why = why


class NewerFormat(StorageError):
    """A later version of the program wrote this. Nothing has been touched."""

    def __init__(self, path: str, version: int, known: int) -> None:
        super().__init__(f"{path} has format version {version}; this program knows versions up to {known}")
        self.path = path
        self.version = version
        self.known = known


class WrongReplica(StorageError):
    """The files belong to another group or another incarnation than the directory or the caller says."""

    def __init__(self, path: str, expected: tuple[int, int], found: tuple[int, int]) -> None:
        super().__init__(
            f"{path} belongs to group {found[0]}, replica {found[1]}, "
            f"not to group {expected[0]}, replica {expected[1]}"
        )
        self.path = path
        self.expected = expected
        self.found = found


class MissingLog(StorageError):
    """There is no log in that directory. (A log whose hard state is gone is ``CorruptLog``: it never becomes term
    0.)"""

    def __init__(self, directory: str) -> None:
        super().__init__(f"there is no log in {directory}")
        self.directory = directory


class LogExists(StorageError):
    """A log is to be created where one is."""

    def __init__(self, directory: str) -> None:
        super().__init__(f"{directory} already holds a log")
        self.directory = directory


class LogFailed(StorageError):
    """A write, an fsync or a read of this log failed earlier: it accepts nothing more (the first error is the
    cause)."""

    def __init__(self, directory: str, cause: BaseException) -> None:
        super().__init__(f"the log in {directory} failed earlier: {cause}")
        self.directory = directory
        self.cause = cause


class OffsetNotStored(StorageError):
    """The record asked for is no longer here: retention has moved the log's start beyond it."""

    def __init__(self, offset: int, start_offset: int | None) -> None:
        super().__init__(f"offset {offset} is not stored; the log starts at {start_offset}")
        self.offset = offset
        self.start_offset = start_offset


class LockedDirectory(StorageError):
    """Another process runs on this data directory."""

    def __init__(self, directory: str) -> None:
        super().__init__(f"{directory} is in use by a running node")
        self.directory = directory


class WrongCluster(StorageError):
    """The data directory belongs to another cluster."""

    def __init__(self, directory: str, expected: str, found: str) -> None:
        super().__init__(f"{directory} belongs to cluster {found!r}, not {expected!r}")
        self.expected = expected
        self.found = found


class WrongEngine(StorageError):
    """The data directory was written by another engine: what that one had acknowledged, only that one can read."""

    def __init__(self, directory: str, expected: str, found: str) -> None:
        super().__init__(f"{directory} was written with engine {found!r}, not {expected!r}")
        self.expected = expected
        self.found = found


class WrongNode(StorageError):
    """The data directory belongs to another node of the cluster."""

    def __init__(self, directory: str, expected: int, found: int) -> None:
        super().__init__(f"{directory} belongs to node {found}, not {expected}")
        self.expected = expected
        self.found = found


class SyncFailed(OSError):
    """fsync or fdatasync reported an error. The kernel may have marked the lost pages clean, so that a second call
    would succeed and lie: never retried (Rebello et al., "Can Applications Recover from fsync Failures?", 2020)."""
