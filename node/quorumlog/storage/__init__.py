"""Durable partition logs: segments, recovery, checkpoints, retention, and the directory that holds them.

``PartitionLog`` is the door. It is synchronous and does no I/O of its own: it hands out jobs (``log``). Below it:
``format`` (the bytes), ``scan`` (what a valid record is, torn or damaged), ``recovery`` (what a log is after a
crash), ``writing`` and ``reading`` (the jobs), ``segment``, ``sparse``, ``cache``, ``terms``, ``checkpoint``,
``inbox``; beside it ``node_directory``; under everything the ``files`` seam.
"""

from quorumlog.storage.cache import TailCache
from quorumlog.storage.checkpoint import CheckpointChunkJob, CheckpointJob, CheckpointReader
from quorumlog.storage.errors import (
    CorruptLog,
    LockedDirectory,
    LogExists,
    LogFailed,
    MissingLog,
    NewerFormat,
    OffsetNotStored,
    StorageError,
    SyncFailed,
    WrongCluster,
    WrongEngine,
    WrongNode,
    WrongReplica,
)
from quorumlog.storage.files import DirectoryLock, Files, OpenFile, OsFiles
from quorumlog.storage.inbox import CheckpointInbox, ChunkJob, TransferKey
from quorumlog.storage.log import BatchRead, Job, LogOptions, PartitionLog
from quorumlog.storage.node_directory import DeleteJob, NodeDirectory
from quorumlog.storage.reading import BatchesJob, IndexJob, ReadJob, TimeJob
from quorumlog.storage.segment import SegmentInfo
from quorumlog.storage.writing import InstallJob, RetainJob, WriteJob, ZeroFillJob

__all__ = [
    "BatchRead",
    "BatchesJob",
    "CheckpointChunkJob",
    "CheckpointInbox",
    "CheckpointJob",
    "CheckpointReader",
    "ChunkJob",
    "CorruptLog",
    "DeleteJob",
    "DirectoryLock",
    "Files",
    "IndexJob",
    "InstallJob",
    "Job",
    "LockedDirectory",
    "LogExists",
    "LogFailed",
    "LogOptions",
    "MissingLog",
    "NewerFormat",
    "NodeDirectory",
    "OffsetNotStored",
    "OpenFile",
    "OsFiles",
    "PartitionLog",
    "ReadJob",
    "RetainJob",
    "SegmentInfo",
    "StorageError",
    "SyncFailed",
    "TailCache",
    "TimeJob",
    "TransferKey",
    "WriteJob",
    "WrongCluster",
    "WrongEngine",
    "WrongNode",
    "WrongReplica",
    "ZeroFillJob",
]
