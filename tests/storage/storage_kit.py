"""What the storage tests share: batches, a log on a simulated disk, and the drivers that run its jobs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from quorumlog.raft.types import Configuration, Entry, EntryKind, HardState, NotInMemory
from quorumlog.sim.disk import SimulatedDisk
from quorumlog.storage import LogOptions, PartitionLog, TailCache
from quorumlog.wire.header import HEADER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from quorumlog.storage import Files

GROUP, REPLICA = 7, 3
VOTERS = Configuration(frozenset({1, 2, 3}))
PATH = "/replica-0"


def batch(base_offset: int, count: int = 1, timestamp_ms: int = 1000, size: int = 20, fill: bytes = b"x") -> bytes:
    """A batch as the log sees one: an honest head, any body."""
    return HEADER.pack(base_offset, 0, 1, 0, 0, count, size, 0, 0, 0, 0, timestamp_ms, timestamp_ms) + fill * size


def data_entry(
    index: int, term: int, base_offset: int, count: int = 1, timestamp_ms: int = 1000, size: int = 20
) -> Entry:
    return Entry(index, term, EntryKind.DATA, batch(base_offset, count, timestamp_ms, size))


def command(index: int, term: int, data: bytes = b"command") -> Entry:
    return Entry(index, term, EntryKind.COMMAND, data)


def commands(low: int, high: int, term: int = 1, data: bytes = b"command") -> list[Entry]:
    """Entries low..high-1."""
    return [command(index, term, data + b" %d" % index) for index in range(low, high)]


def new_disk(seed: int = 1) -> SimulatedDisk:
    return SimulatedDisk(random.Random(seed))


def small(segment_bytes: int = 64 << 10, cache_bytes: int = 1 << 20, segment_ms: int | None = None) -> LogOptions:
    return LogOptions(TailCache(cache_bytes), segment_bytes, segment_ms)


def create(files: Files, options: LogOptions | None = None, path: str = PATH) -> PartitionLog:
    return PartitionLog.create(files, path, options or small(), GROUP, REPLICA, VOTERS)


def reopen(files: Files, options: LogOptions | None = None, path: str = PATH) -> PartitionLog:
    return PartitionLog.open(files, path, options or small(), group_id=GROUP, replica_id=REPLICA)


def write(log: PartitionLog, maintain: bool = True) -> int:
    """Runs the write jobs that are due; the highest Ready number made durable, 0 if none."""
    number = 0
    while (job := log.write_job()) is not None:
        job.run()
        log.on_done(job)
        number = job.number
    while maintain and (work := log.maintenance_job()) is not None:
        work.run()
        log.on_done(work)
    return number


def append(
    log: PartitionLog,
    number: int,
    entries: Sequence[Entry],
    *,
    term: int = 1,
    vote: int | None = 1,
    commit: int = 0,
) -> None:
    """Stages and makes durable."""
    log.stage(number, HardState(term, vote, max(commit, log.hard_state.commit)), entries)
    assert write(log) == number


def read_all(log: PartitionLog, max_bytes: int = 1 << 20) -> list[Entry]:
    """Every entry of the log, from memory or from disk."""
    return read_range(log, log.first_index, log.last_index + 1, max_bytes)


def read_range(log: PartitionLog, low: int, high: int, max_bytes: int = 1 << 20) -> list[Entry]:
    found: list[Entry] = []
    while low < high:
        try:
            part = log.entries(low, high, max_bytes)
        except NotInMemory:
            job = log.read_job()
            assert job is not None
            job.run()
            log.on_done(job)
            continue
        found += part
        low = part[-1].index + 1
    return found


def read_batches(log: PartitionLog, offset: int, end_offset: int, max_bytes: int = 1 << 20) -> list[bytes]:
    """From memory or from disk."""
    answer = log.read_batches(offset, end_offset, max_bytes)
    if not answer.on_disk:
        return answer.batches
    job = log.batches_job(offset, end_offset, max_bytes)
    job.run()
    log.on_done(job)
    assert not job.missing
    return job.batches


def names(disk: SimulatedDisk, ending: str, path: str = PATH) -> list[str]:
    return [f"{path}/{name}" for name in disk.listdir(path) if name.endswith(ending)]


def indices(entries: Iterable[Entry]) -> list[int]:
    return [entry.index for entry in entries]
