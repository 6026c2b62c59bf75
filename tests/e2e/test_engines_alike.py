"""What both engines do alike, on real processes: the same API, the same order, the same answers."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from quorumlog.client import Admin, Producer, QuorumlogError, Reader
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quorumlog.client.types import NodeDescription
    from quorumlog.cluster.launcher import LocalCluster

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def cluster(engine: str) -> Iterator[LocalCluster]:
    with running_cluster(engine=engine) as cluster:
        yield cluster


async def leader_of(admin: Admin, topic: str) -> int:
    """The leader of the topic's first partition, once there is one."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            leader = (await admin.describe_topic(topic)).partitions[0].leader
            if leader:
                return leader
            await asyncio.sleep(0.05)


async def values(cluster: LocalCluster, topic: str) -> list[bytes | None]:
    async with Reader(cluster.servers, topic, stop_at_end=True) as reader:
        return [record.value async for record in reader]


async def test_records_come_back_in_order_with_dense_offsets(cluster: LocalCluster) -> None:
    async with Admin(cluster.servers) as admin, Producer(cluster.servers) as producer:
        await admin.create_topic("ordered", 1)
        sent = [await producer.send("ordered", b"%d" % number) for number in range(2_000)]
        positions = [await each for each in sent]
    assert [position.offset for position in positions] == list(range(2_000))
    assert await values(cluster, "ordered") == [b"%d" % number for number in range(2_000)]


async def test_large_batches_arrive_whole(cluster: LocalCluster) -> None:
    """PySyncObj by itself never replicates an entry of this size: it cuts it into chunks, and miscounts them."""
    large = [bytes([number]) * 200_000 for number in range(20)]
    async with Admin(cluster.servers) as admin, Producer(cluster.servers) as producer:
        await admin.create_topic("large", 1)
        for sent in [await producer.send("large", value) for value in large]:
            await sent
    assert await values(cluster, "large") == large


async def test_leadership_moves_where_it_is_sent_and_nothing_is_lost(cluster: LocalCluster) -> None:
    async with Admin(cluster.servers) as admin, Producer(cluster.servers) as producer:
        await admin.create_topic("moved", 1)
        await producer.append("moved", b"before")
        leader = await leader_of(admin, "moved")
        target = next(node for node in cluster.node_ids if node != leader)
        await admin.transfer_leadership("moved", 0, target)
        async with asyncio.timeout(PATIENCE_S):
            while await leader_of(admin, "moved") != target:  # noqa: ASYNC110 - moves when it moves
                await asyncio.sleep(0.05)
        await producer.append("moved", b"after")
    assert await values(cluster, "moved") == [b"before", b"after"]


async def test_replicas_reach_equal_digests(cluster: LocalCluster) -> None:
    async with Admin(cluster.servers) as admin, Producer(cluster.servers) as producer:
        await admin.create_topic("agreed", 1)
        for number in range(100):
            await producer.append("agreed", b"%d" % number)

        def states(nodes: dict[int, NodeDescription | QuorumlogError]) -> set[tuple[int, bytes]]:
            return {
                (replica.applied_index, replica.digest)
                for node in nodes.values()
                if not isinstance(node, QuorumlogError)
                for replica in node.replicas
                if replica.topic == "agreed"
            }

        async with asyncio.timeout(PATIENCE_S):
            while len(states(await admin.describe_nodes())) != 1:  # noqa: ASYNC110 - asked until they agree
                await asyncio.sleep(0.1)


async def test_a_graceful_restart_of_every_node_in_turn_loses_nothing(cluster: LocalCluster) -> None:
    async with Admin(cluster.servers) as admin, Producer(cluster.servers) as producer:
        await admin.create_topic("rolled", 2)
        sent = 0
        for node in cluster.node_ids:
            for _ in range(50):
                await producer.append("rolled", b"%d" % sent)
                sent += 1
            cluster.send_signal(node, signal.SIGTERM)
            while cluster.process(node):  # noqa: ASYNC110 - a process ends when it ends
                await asyncio.sleep(0.02)
            cluster.start_node(node)
            await asyncio.to_thread(cluster.wait_ready)
    assert sorted(int(value or b"") for value in await values(cluster, "rolled")) == list(range(sent))


def test_cluster_status_names_the_engine_and_what_it_does_not_hold(cluster: LocalCluster, engine: str) -> None:
    command = "from quorumlog.cluster.cli import main; main()"
    told = subprocess.run(
        [sys.executable, "-c", command, "cluster", "status", "--format", "json", "--server", cluster.servers[0]],
        capture_output=True,
        text=True,
        check=False,
    )
    described = json.loads(told.stdout)
    assert described["engine"] == engine
    lacking = {lack["guarantee"] for lack in described["engine_lacks"]}
    assert lacking >= {"G1", "G2", "G8"} if engine == "pysyncobj" else not lacking


def test_every_node_logs_at_start_what_its_engine_does_not_hold(cluster: LocalCluster, engine: str) -> None:
    for node in cluster.node_ids:
        said = "the engine does not hold" in cluster.log_tail(node, 10_000)
        assert said == (engine == "pysyncobj")
