"""Readers: the real one (``quorumlog.client.Reader``). Some follow, some are moved, some begin afresh at the start;
and the final ones read everything up to the linearizable end.

A ``read`` is written down when its records have come: the standing read that brought them was open long before, and
a read without effect may be said to have begun late. What a reader refuses to hand out because it cannot be right
(a hole, a damaged batch) is written down as a value that nobody sent, so that the history is judged false.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quorumlog.chaos.workloads.ground import partition_key
from quorumlog.chaos.workloads.telling import Teller
from quorumlog.chaos.workloads.values import decode
from quorumlog.client import Admin, QuorumlogError, Reader, RetentionGap
from quorumlog.client.errors import Closed, DamagedOnTheWay, HoleInLog, UnknownTopic
from quorumlog.client.start import AtOffset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.chaos.workloads.ground import Ground, TopicPlan
    from quorumlog.wire.record import Record

#: A reader says after so long that nothing came; then it is asked again.
READ_TIMEOUT_MS = 3_000.0
CALL_TIMEOUT_MS = 2_000.0
#: How much a reader that began afresh reads before it has seen enough.
_FRESH_RECORDS = 5_000
_MOVED_RECORDS = 500
#: A final read that fails is begun anew by another client.
_FINAL_ATTEMPTS = 10


def told_records(records: Sequence[Record], start: int, end: int) -> dict[str, Any]:
    """How the history has what a read brought, be it nothing."""
    if not records:
        return {"start": start, "end": end, "batches": []}
    values = [decode(record.value) for record in records]
    return {"start": start, "end": max(end, records[-1].offset + 1), "batches": [[records[0].offset, values]]}


class _Watch:
    """One reader's process in each partition, and what it was told of the log's start."""

    def __init__(self, ground: Ground, topic: str) -> None:
        self._ground = ground
        self._topic = topic
        self._tellers: dict[int, Teller] = {}
        self.starts: dict[int, int] = {}

    def _teller(self, partition: int) -> Teller:
        teller = self._tellers.get(partition)
        if teller is None:
            teller = self._tellers[partition] = Teller(self._ground, partition_key(self._topic, partition))
        return teller

    def moved(self, partition: int, offset: int) -> None:
        teller = self._teller(partition)
        teller.end(teller.begin("assign", offset), value=offset)

    def took(self, records: Sequence[Record], end: int) -> None:
        partition, first = records[0].partition, records[0].offset
        teller = self._teller(partition)
        value = told_records(records, self.starts.get(partition, 0), end)
        teller.end(teller.begin("read", first), value=value)

    def failed(self, reader: Reader, error: QuorumlogError) -> None:
        if isinstance(error, RetentionGap):
            self.starts[error.partition] = max(error.to_offset, self.starts.get(error.partition, 0))
            self.moved(error.partition, error.to_offset)
        elif isinstance(error, HoleInLog | DamagedOnTheWay):
            impossible(self._ground, self._topic, reader.positions(), error)


def impossible(ground: Ground, topic: str, positions: dict[int, int], error: QuorumlogError) -> None:
    """A node sent what cannot be right; the error's words stand where the records should."""
    for partition, offset in sorted(positions.items()):
        if f"{topic}/{partition}" in error.message:
            teller = Teller(ground, partition_key(topic, partition))
            value = {
                "start": 0,
                "end": offset + 1,
                "batches": [[offset, [f"{error.reason.name}: {error.message}"]]],
            }
            teller.end(teller.begin("read", offset), value=value)


async def follow(ground: Ground, topic: TopicPlan) -> None:
    """Reads all partitions from their start, and on until the ground stops or the topic is gone."""
    watch = _Watch(ground, topic.name)
    async with Reader(ground.servers, topic.name, timeout_ms=READ_TIMEOUT_MS) as reader:
        for partition, offset in reader.positions().items():
            watch.moved(partition, offset)
        stopper = ground.begin(_close_at_stop(ground, reader), "close a reader")
        try:
            await _follow(ground, watch, reader)
        finally:
            stopper.cancel()


async def _follow(ground: Ground, watch: _Watch, reader: Reader) -> None:
    while not ground.stopping.is_set():
        try:
            while (records := await reader.next_batch()) is not None:
                watch.took(records, reader.end_offsets()[records[0].partition])
        except (Closed, UnknownTopic):
            return
        except QuorumlogError as error:
            watch.failed(reader, error)
            await ground.pause(0.05)


async def _close_at_stop(ground: Ground, reader: Reader) -> None:
    await ground.stopping.wait()
    await reader.close()


async def wander(ground: Ground, topic: TopicPlan) -> None:
    """Reads a little somewhere, is moved, and reads there; now and then a fresh reader reads from the start."""
    random = ground.random
    watch = _Watch(ground, topic.name)
    async with Admin(ground.servers, timeout_ms=CALL_TIMEOUT_MS) as admin:
        while not await ground.pause(random.uniform(0.3, 1.2)):
            partition = random.randrange(topic.partitions)
            fresh = random.random() < 0.3
            if fresh:
                watch = _Watch(ground, topic.name)
            try:
                there = (await admin.list_offsets(topic.name, "earliest", [partition]))[partition]
                offset = there.start_offset if fresh else random.randint(there.start_offset, there.end_offset)
                watch.starts[partition] = max(there.start_offset, watch.starts.get(partition, 0))
                await _read_some(
                    ground, watch, topic, partition, offset, _FRESH_RECORDS if fresh else _MOVED_RECORDS
                )
            except UnknownTopic:
                return
            except QuorumlogError:
                # Nobody could say where the log is, or it has gone on; the next time, then.
                continue


async def _read_some(
    ground: Ground, watch: _Watch, topic: TopicPlan, partition: int, offset: int, count: int
) -> None:
    reader = Reader(
        ground.servers,
        topic.name,
        partitions=[partition],
        start=AtOffset(offset),
        stop_at_end=True,
        timeout_ms=READ_TIMEOUT_MS,
    )
    async with reader:
        watch.moved(partition, offset)
        left = count
        while left > 0 and not ground.stopping.is_set():
            try:
                records = await reader.next_batch()
            except QuorumlogError as error:
                watch.failed(reader, error)
                if isinstance(error, RetentionGap):
                    continue
                raise
            if records is None:
                return
            watch.took(records, reader.end_offsets()[partition])
            left -= len(records)


async def probe_tail(ground: Ground, topic: TopicPlan, partition: int, every_s: float) -> None:
    """Asks for the linearizable end now and then."""
    async with Admin(ground.servers, timeout_ms=CALL_TIMEOUT_MS) as admin:
        while not await ground.pause(ground.random.uniform(0.2, 1.8) * every_s):
            await ask_end(ground, admin, topic.name, partition)


async def ask_end(ground: Ground, admin: Admin, topic: str, partition: int) -> int | None:
    """The linearizable end; None when it was not to be had."""
    teller = Teller(ground, partition_key(topic, partition))
    invocation = teller.begin("end")
    try:
        found = (await admin.list_offsets(topic, "latest", [partition]))[partition]
    except QuorumlogError as error:
        teller.unanswered(invocation, error)
        return None
    teller.end(invocation, value=found.end_offset)
    return found.end_offset


async def read_finally(ground: Ground, topic: TopicPlan, partition: int, attempts: int = _FINAL_ATTEMPTS) -> bool:
    """A fresh client reads the whole partition, from its start to its linearizable end; tried a few times. Whether
    it was read."""
    for _ in range(attempts):
        teller = Teller(ground, topic.key(partition))
        # What was acknowledged before this must be found, so it is written down before anything is asked.
        invocation = teller.begin("final_read", 0)
        try:
            await _read_all(ground, teller, invocation, topic, partition)
            return True
        except QuorumlogError as error:
            if isinstance(error, HoleInLog | DamagedOnTheWay):
                impossible(ground, topic.name, {partition: 0}, error)
    return False


async def _read_all(ground: Ground, teller: Teller, invocation: int, topic: TopicPlan, partition: int) -> None:
    """Completes ``invocation`` with the first records, or with the error that is raised; more reads follow it."""
    waiting = True
    try:
        # Before the reader finds where to stop, so that it reads at least as far.
        async with Admin(ground.servers, timeout_ms=READ_TIMEOUT_MS) as admin:
            end = (await admin.list_offsets(topic.name, "latest", [partition]))[partition].end_offset
        reader = Reader(
            ground.servers, topic.name, partitions=[partition], stop_at_end=True, timeout_ms=READ_TIMEOUT_MS
        )
        async with reader:
            start = reader.positions()[partition]
            while (records := await _next_batch(reader)) or waiting:
                if isinstance(records, RetentionGap):
                    start = records.to_offset
                    continue
                if not waiting:
                    invocation = teller.begin("final_read", records[0].offset)
                waiting = False
                teller.end(invocation, value=told_records(records, start, end))
    except QuorumlogError as error:
        if waiting:
            teller.unanswered(invocation, error)
        raise


async def _next_batch(reader: Reader) -> list[Record] | RetentionGap:
    """The next records; none at the end; or what they were removed by."""
    try:
        return await reader.next_batch() or []
    except RetentionGap as gap:
        return gap
