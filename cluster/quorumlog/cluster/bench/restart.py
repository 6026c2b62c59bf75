"""Restart: every node SIGKILLed at once under load, and how long until the cluster serves again once restarted."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from quorumlog.client import Producer, Reader
from quorumlog.cluster.bench.ledger import SECOND_PRODUCER, compare, numbered_value, padding_for, read_numbers
from quorumlog.cluster.bench.load import Sent, settle
from quorumlog.cluster.bench.statistics import Figure, Floor, Limit, Report

if TYPE_CHECKING:
    from quorumlog.client import Delivery
    from quorumlog.cluster.bench.surroundings import Surroundings
    from quorumlog.cluster.launcher import LocalCluster

TRIALS = 3
PARTITIONS = 3
VALUE_BYTES = 1000
LOAD_SECONDS = 2.0
FLOOR_SECONDS = 3.0
GIVE_UP_SECONDS = 60.0
#: The load sends in slices and must not outlast the cluster by a long queue.
SLICE = 64


async def measure(around: Surroundings, cluster: LocalCluster) -> Report:
    """Median and worst of a few trials, from the restart of the processes to a record written and read in each
    partition.

    Raises VerificationFailed when an acknowledged record was lost or is there twice.
    """
    report = Report("restart: all nodes SIGKILLed under load, then started again")
    bare_s = await _bare_start_seconds()
    times = []
    checked = []
    for _ in range(TRIALS):
        async with around.topic(PARTITIONS) as topic:
            sent, seconds = await _trial(around, cluster, topic)
            times.append(seconds)
            checked.append(compare(sent.acknowledged, sent.unknown, await read_numbers(around.servers, topic)))
    bare_s = (bare_s + await _bare_start_seconds()) / 2
    limits = (Limit("a Python process that imports grpc", bare_s),)
    times.sort()
    floor = Floor(FLOOR_SECONDS, at_most=True)
    report.add(Figure("until it serves again, median", times[len(times) // 2], "s", limits, floor))
    report.add(Figure("until it serves again, worst", times[-1], "s", limits))
    acknowledged = sum(each.acknowledged for each in checked)
    unacknowledged = sum(each.unacknowledged for each in checked)
    report.verified = f"{acknowledged:,} acknowledged records over {TRIALS} crashes, each read back once"
    if unacknowledged:
        report.verified += f"; {unacknowledged:,} of unknown outcome are there once"
    return report


async def _trial(around: Surroundings, cluster: LocalCluster, topic: str) -> tuple[Sent, float]:
    """One crash. The producer lives through it, so that what it sends again is checked for being there once."""
    sent = Sent()
    padding = padding_for(VALUE_BYTES)
    deliveries: list[Delivery] = []
    async with Producer(around.servers) as producer:
        load = asyncio.create_task(_load(producer, topic, padding, deliveries))
        await asyncio.sleep(LOAD_SECONDS)
        for node_id in cluster.node_ids:
            cluster.send_signal(node_id, signal.SIGKILL)
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        for node_id in cluster.node_ids:
            cluster.kill(node_id)
        begin = time.perf_counter()
        cluster.start()
        async with Producer(around.servers) as prober:
            for partition in range(PARTITIONS):
                number = SECOND_PRODUCER + partition
                await _write_and_read(around, prober, topic, partition, numbered_value(number, padding))
                sent.acknowledged.append(number)
        seconds = time.perf_counter() - begin
        await settle(deliveries, 0, sent)
    return sent, seconds


async def _load(producer: Producer, topic: str, padding: bytes, deliveries: list[Delivery]) -> None:
    while True:
        for _ in range(SLICE):
            deliveries.append(await producer.send(topic, numbered_value(len(deliveries), padding)))
        await asyncio.sleep(0)


async def _write_and_read(around: Surroundings, prober: Producer, topic: str, partition: int, value: bytes) -> None:
    """One record to the partition and back. Raises the client's error when that does not succeed in time."""
    async with asyncio.timeout(GIVE_UP_SECONDS):
        position = await (await prober.send(topic, value, partition=partition))
        start = f"offset:{position.offset}"
        async with Reader(around.servers, topic, partitions=[partition], start=start) as reader:
            async for record in reader:
                assert record.value == value, "another record at the offset of the acknowledgement"
                return


async def _bare_start_seconds() -> float:
    begin = time.perf_counter()
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", "import grpc.aio"], check=True)
    return time.perf_counter() - begin
