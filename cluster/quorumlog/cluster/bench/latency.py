"""Latency: how long one record takes until it is fsynced on a quorum and its writer knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.client import Producer
from quorumlog.cluster.bench.limits import disk_rounds
from quorumlog.cluster.bench.load import awaited_one_by_one
from quorumlog.cluster.bench.produce import check
from quorumlog.cluster.bench.statistics import Distribution, Figure, Floor, Limit, Report
from quorumlog.cluster.bench.surroundings import LIMIT_SECONDS, Surroundings, mean

if TYPE_CHECKING:
    from quorumlog.cluster.bench.ledger import Comparison

VALUE_BYTES = 100
#: What a node writes for one small record: its frame, within one page of the file.
WRITE_BYTES = 4096
FLOOR_P50_MS = 2.0
#: One record costs a round trip to the leader, one on to a follower, and an fdatasync: the bare sum of these is the
#: limit, and this many times the limit is the most that is acceptable.
FLOOR_RATIO = 4.0


async def measure(around: Surroundings, seconds: float) -> Report:
    """p50 and p99 with 1 and with 64 outstanding.

    Raises VerificationFailed when a record was lost or is there twice.
    """
    report = Report("latency: one 100 B record until it is fsynced on a quorum")
    alone = await _outstanding(around, report, 1, seconds)
    crowd = await _outstanding(around, report, 64, seconds)
    total = alone.acknowledged + crowd.acknowledged
    report.verified = f"{total:,} acknowledged records, each read back once and in order"
    return report


async def bare_sum_ms(around: Surroundings) -> float:
    """Two gRPC round trips and one fdatasync, medians, in milliseconds."""
    trip = (await around.peer.round_trips(VALUE_BYTES, 1, LIMIT_SECONDS)).percentile(50)
    disk = disk_rounds(around.directory, WRITE_BYTES, LIMIT_SECONDS).percentile(50)
    return (2 * trip + disk) * 1000


async def _outstanding(around: Surroundings, report: Report, tasks: int, seconds: float) -> Comparison:
    before = await bare_sum_ms(around)
    async with around.topic(1) as topic, Producer(around.servers) as producer:
        await awaited_one_by_one(producer, topic, VALUE_BYTES, 1, LIMIT_SECONDS)
    async with around.topic(1) as topic:
        async with Producer(around.servers) as producer:
            sent, waits = await awaited_one_by_one(producer, topic, VALUE_BYTES, tasks, seconds)
        comparison = await check(around, topic, sent)
    limit_ms = mean(before, await bare_sum_ms(around))
    distribution = Distribution(waits, sent.elapsed_s)
    limits = (Limit("2 gRPC round trips + fdatasync, bare", limit_ms),)
    name = f"{tasks} outstanding"
    floor = Floor(FLOOR_P50_MS, at_most=True) if tasks == 1 else None
    p50_ms = distribution.percentile(50) * 1000
    report.add(Figure(f"{name}, p50", p50_ms, "ms", limits, floor))
    report.add(Figure(f"{name}, p99", distribution.percentile(99) * 1000, "ms", limits))
    if tasks == 1:
        floor = Floor(FLOOR_RATIO, at_most=True)
        report.add(Figure(f"{name}, p50 over the bare sum", p50_ms / limit_ms, "×", (), floor))
    return comparison
