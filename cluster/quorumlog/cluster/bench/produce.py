"""Produce: how many records a second one Producer gets fsynced on a quorum."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from quorumlog.client import Producer
from quorumlog.cluster.bench.ledger import compare, read_numbers
from quorumlog.cluster.bench.limits import MEGABYTE
from quorumlog.cluster.bench.load import Sent, awaited_one_by_one, flood
from quorumlog.cluster.bench.statistics import Figure, Floor, Limit, Report
from quorumlog.cluster.bench.surroundings import LIMIT_SECONDS, Surroundings, mean

if TYPE_CHECKING:
    from quorumlog.cluster.bench.ledger import Comparison

PARTITIONS = 3
TASKS = 64
WARM_UP_SECONDS = 0.5
FLOOR_MEGABYTES_AT_1_KB = 60
FLOOR_RECORDS_AT_100_B = 250_000
FLOOR_AWAITED_RECORDS = 15_000


async def measure(around: Surroundings, seconds: float) -> Report:
    """Throughput at 1 KB and 100 B, and of records that 64 tasks await one by one.

    Raises VerificationFailed when a record was lost or is there twice.
    """
    report = Report("produce: fsynced on a quorum, one producer")
    checked = [
        await _throughput(around, report, 1000, seconds),
        await _throughput(around, report, 100, seconds),
        await _awaited(around, report, seconds),
    ]
    total = sum(each.acknowledged for each in checked)
    report.verified = f"{total:,} acknowledged records, each read back once and in order"
    return report


async def _throughput(around: Surroundings, report: Report, value_bytes: int, seconds: float) -> Comparison:
    disk, stream = around.disk_limit(), await around.stream_limit()
    async with around.topic(PARTITIONS) as topic:
        await _warm_up(around, topic, value_bytes)
    async with around.topic(PARTITIONS) as topic:
        async with Producer(around.servers) as producer:
            sent = await flood(producer, topic, value_bytes, seconds)
        comparison = await check(around, topic, sent)
    disk, stream = mean(disk, around.disk_limit()), mean(stream, await around.stream_limit())
    per_second = len(sent.acknowledged) / sent.elapsed_s
    megabytes = per_second * value_bytes / MEGABYTE
    report.add(
        Figure(
            f"{value_bytes} B records",
            megabytes,
            "MB/s",
            (Limit("one disk, write + fdatasync", disk), Limit("one gRPC stream", stream)),
            Floor(FLOOR_MEGABYTES_AT_1_KB) if value_bytes == 1000 else None,
            "three replicas share the disk and the cores",
        )
    )
    report.add(
        Figure(
            f"{value_bytes} B records",
            per_second,
            "records/s",
            (Limit("one gRPC stream", stream * MEGABYTE / value_bytes),),
            Floor(FLOOR_RECORDS_AT_100_B) if value_bytes == 100 else None,
        )
    )
    return comparison


async def _awaited(around: Surroundings, report: Report, seconds: float) -> Comparison:
    before = await around.peer.round_trips(100, TASKS, LIMIT_SECONDS)
    async with around.topic(PARTITIONS) as topic:
        async with Producer(around.servers) as producer:
            sent, _ = await awaited_one_by_one(producer, topic, 100, TASKS, seconds)
        comparison = await check(around, topic, sent)
    after = await around.peer.round_trips(100, TASKS, LIMIT_SECONDS)
    report.add(
        Figure(
            f"100 B, {TASKS} tasks, each record awaited",
            len(sent.acknowledged) / sent.elapsed_s,
            "records/s",
            (Limit(f"bare gRPC calls, {TASKS} outstanding", mean(before.per_second, after.per_second)),),
            Floor(FLOOR_AWAITED_RECORDS),
            "above the limit because the producer coalesces what the tasks send",
        )
    )
    return comparison


async def _warm_up(around: Surroundings, topic: str, value_bytes: int) -> None:
    """Connections made, files laid out, code paths taken once."""
    async with Producer(around.servers) as producer:
        await flood(producer, topic, value_bytes, WARM_UP_SECONDS)


async def check(around: Surroundings, topic: str, sent: Sent) -> Comparison:
    """Reads all back and compares. Raises VerificationFailed."""
    comparison = compare(sent.acknowledged, sent.unknown, await read_numbers(around.servers, topic))
    gc.collect()
    return comparison
