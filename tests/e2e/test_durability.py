"""An acknowledgement means that the record is on the disks of a majority: on real processes and real files."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from quorumlog.client import Admin, Producer, QuorumlogError, Reader
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from quorumlog.cluster.launcher import LocalCluster

TOPIC = "durable"
MAJORITY = 2


async def write_until_stopped(servers: list[str], stop: asyncio.Event, acknowledged: list[bytes]) -> None:
    """Steady load; notes what was acknowledged. What fails is not noted: it may be there or not."""

    async def one(producer: Producer, value: bytes) -> None:
        try:
            await producer.append(TOPIC, value)
        except QuorumlogError:
            return
        acknowledged.append(value)

    async with Producer(servers, delivery_timeout_ms=3_000) as producer:
        tasks: set[asyncio.Task[None]] = set()
        number = 0
        while not stop.is_set():
            task = asyncio.create_task(one(producer, b"record %d" % number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)


async def read_all(servers: list[str]) -> list[bytes | None]:
    async with Reader(servers, TOPIC, stop_at_end=True) as reader:
        return [record.value async for record in reader]


async def test_every_acknowledged_record_survives_kill_9_of_all_nodes_at_once(engine: str) -> None:
    with running_cluster(engine=engine) as cluster:
        async with Admin(cluster.servers) as admin:
            await admin.create_topic(TOPIC, partitions=2)
        acknowledged: list[bytes] = []
        stop = asyncio.Event()
        load = asyncio.create_task(write_until_stopped(cluster.servers, stop, acknowledged))
        for _ in range(3):
            before = len(acknowledged)
            while len(acknowledged) < before + 300:  # noqa: ASYNC110 - the load's own pace is what is waited for
                await asyncio.sleep(0.02)
            for node_id in cluster.node_ids:
                cluster.send_signal(node_id, signal.SIGKILL)
            for node_id in cluster.node_ids:
                cluster.kill(node_id)
            cluster.start()
            await asyncio.to_thread(cluster.wait_ready)
        stop.set()
        await load
        read = await read_all(cluster.servers)
    assert len(acknowledged) >= 900
    assert set(acknowledged) <= set(read), "an acknowledged record is gone"
    assert len(read) == len(set(read)), "a record is there twice"


@pytest.fixture
def traced() -> Iterator[tuple[LocalCluster, dict[int, Path]]]:
    """A running cluster whose nodes' fdatasync calls are written to files by strace."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    with running_cluster() as cluster:
        tracers = []
        files = {}
        for node_id in cluster.node_ids:
            process = cluster.process(node_id)
            assert process is not None
            files[node_id] = cluster.directory / f"strace-{node_id}"
            command = [strace, "-f", "-ttt", "-T", "-e", "trace=fdatasync", "-o", str(files[node_id])]
            tracers.append(subprocess.Popen([*command, "-p", str(process.pid)], stderr=subprocess.PIPE, text=True))
        try:
            for tracer in tracers:
                assert tracer.stderr is not None
                line = tracer.stderr.readline()
                if "attached" not in line:
                    pytest.skip(f"strace may not attach here: {line.strip()}")
            yield cluster, files
        finally:
            for tracer in tracers:
                tracer.terminate()
                tracer.wait()


SYNCED = re.compile(r"^\d+ +(?P<time>[\d.]+) .*fdatasync.* = 0 <(?P<duration>[\d.]+)>$")


def syncs(path: Path) -> list[tuple[float, float]]:
    """(begin, end) of each successful fdatasync, in seconds since the epoch.

    Of a call that strace shows in two lines, the line of its return has the time of the return.
    """
    found = []
    for line in path.read_text().splitlines():
        match = SYNCED.match(line)
        if match is not None:
            stamp, duration = float(match["time"]), float(match["duration"])
            found.append((stamp - duration, stamp) if "resumed" in line else (stamp, stamp + duration))
    return found


async def test_each_acknowledgement_is_preceded_by_an_fsync_on_a_majority(
    traced: tuple[LocalCluster, dict[int, Path]],
) -> None:
    cluster, files = traced
    spans: list[tuple[float, float]] = []
    async with Admin(cluster.servers) as admin:
        await admin.create_topic(TOPIC, partitions=1)
    async with Producer(cluster.servers) as producer:
        await producer.append(TOPIC, b"first")
        for number in range(50):
            sent = time.time()
            await producer.append(TOPIC, b"record %d" % number, partition=0)
            spans.append((sent, time.time()))
            # A follower may still be writing what the others have acknowledged: that must not count for the next.
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)
    by_node = [syncs(path) for path in files.values()]
    for sent, answered in spans:
        synced = [any(sent <= begin and end <= answered for begin, end in node) for node in by_node]
        assert sum(synced) >= MAJORITY, (sent, answered)
