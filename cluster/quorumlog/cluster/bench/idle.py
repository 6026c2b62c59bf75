"""Idle: what a node costs while nothing happens, with few partitions and with many.

The limit is a process that does nothing but hold a bare ``grpc.aio`` server.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from quorumlog.client import Admin
from quorumlog.cluster.bench.statistics import Figure, Floor, Limit, Report
from quorumlog.cluster.output import counted

if TYPE_CHECKING:
    from quorumlog.cluster.bench.surroundings import Surroundings
    from quorumlog.cluster.launcher import LocalCluster

#: Partitions in all, and the most CPU a node may take with them, in percent of a core.
STEPS = ((1, None), (100, 2.0), (1000, 6.0))
FLOOR_RSS_MEGABYTES = 250
#: For elections to end, files to be laid out and groups to fall quiet.
SETTLE_SECONDS = 3.0
#: A thousand partitions are three thousand logs to lay out on one disk.
CREATE_TIMEOUT_MS = 60_000
MEBIBYTE = 1 << 20


async def measure(around: Surroundings, cluster: LocalCluster, seconds: float) -> Report:
    """CPU and memory of the node that takes most, with 1, 100 and 1,000 partitions. The cluster must be our own."""
    report = Report("idle: what the busiest node takes while nothing happens")
    made = 0
    async with Admin(around.servers, timeout_ms=CREATE_TIMEOUT_MS) as admin:
        for partitions, floor in STEPS:
            await admin.create_topic(f"idle-{partitions}", partitions=partitions - made)
            made = partitions
            await asyncio.sleep(SETTLE_SECONDS)
            percent = await _cpu_percent(cluster, seconds)
            bare = around.peer.usage()
            usages = [usage for node_id in cluster.node_ids if (usage := cluster.usage(node_id))]
            rss = max(usage.rss_bytes for usage in usages) / MEBIBYTE
            name = counted(partitions, "partition")
            cpu_floor = None if floor is None else Floor(floor, at_most=True)
            memory_floor = Floor(FLOOR_RSS_MEGABYTES, at_most=True) if partitions == STEPS[-1][0] else None
            memory_limit = (Limit("a bare gRPC server in Python", bare.rss_bytes / MEBIBYTE),)
            report.add(Figure(f"{name}, CPU", percent, "% of a core", (), cpu_floor))
            report.add(Figure(f"{name}, memory", rss, "MiB", memory_limit, memory_floor))
    return report


async def _cpu_percent(cluster: LocalCluster, seconds: float) -> float:
    """Of the node that takes most, over ``seconds``, in percent of one core."""
    before = {node_id: cluster.usage(node_id) for node_id in cluster.node_ids}
    begin = time.perf_counter()
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - begin
    spent = []
    for node_id, earlier in before.items():
        later = cluster.usage(node_id)
        if earlier is not None and later is not None:
            spent.append(later.cpu_seconds - earlier.cpu_seconds)
    return max(spent) / elapsed * 100
