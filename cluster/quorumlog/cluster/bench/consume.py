"""Consume: how many records a second one reader gets, from the first record to the committed end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from quorumlog.client import Producer, Reader
from quorumlog.cluster.bench.limits import MEGABYTE
from quorumlog.cluster.bench.load import flood
from quorumlog.cluster.bench.produce import PARTITIONS, check
from quorumlog.cluster.bench.statistics import Figure, Floor, Limit, Report
from quorumlog.cluster.bench.surroundings import LIMIT_SECONDS, Surroundings, mean
from quorumlog.cluster.failures import VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

VALUE_BYTES = 100
#: What a node puts into one message to a reader.
MESSAGE_BYTES = 1 << 20
FLOOR_RECORDS = 300_000


async def measure(around: Surroundings, seconds: float) -> Report:
    """Records of 100 B, handed out by the batch and one by one.

    Raises VerificationFailed when the count is wrong.
    """
    report = Report("consume: 100 B records, one reader")
    async with around.topic(PARTITIONS) as topic:
        async with Producer(around.servers) as producer:
            sent = await flood(producer, topic, VALUE_BYTES, seconds)
        comparison = await check(around, topic, sent)
        for name, count in (("by the batch", _count_by_batch), ("one by one", _count_one_by_one)):
            before = await _bare_records_per_second(around)
            begin = time.perf_counter()
            read = await count(around.servers, topic)
            per_second = read / (time.perf_counter() - begin)
            after = await _bare_records_per_second(around)
            if read < comparison.acknowledged:
                raise VerificationFailed(f"{comparison.acknowledged:,} records acknowledged, {read:,} read")
            limits = (Limit("one gRPC stream of 1 MiB messages", mean(before, after)),)
            report.add(Figure(name, per_second, "records/s", limits, Floor(FLOOR_RECORDS)))
    report.verified = str(comparison)
    return report


async def _bare_records_per_second(around: Surroundings) -> float:
    return await around.peer.megabytes_per_second_in(MESSAGE_BYTES, LIMIT_SECONDS) * MEGABYTE / VALUE_BYTES


async def _count_by_batch(servers: Sequence[str], topic: str) -> int:
    read = 0
    async with Reader(servers, topic, start="earliest", stop_at_end=True) as reader:
        async for batch in reader.batches():
            read += len(batch)
    return read


async def _count_one_by_one(servers: Sequence[str], topic: str) -> int:
    read = 0
    async with Reader(servers, topic, start="earliest", stop_at_end=True) as reader:
        async for _ in reader:
            read += 1
    return read
