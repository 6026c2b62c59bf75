"""The admin client over real gRPC."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from client.fake_cluster import BreakStream, FakeCluster

from quorumlog.client import Admin
from quorumlog.client.errors import (
    InvalidRequest,
    InvalidTopic,
    NoQuorum,
    OutcomeUnknown,
    TopicExists,
    UnknownPartition,
    UnknownTopic,
    Unreachable,
)
from quorumlog.client.types import NodeDescription, Offsets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster() as cluster:
        yield cluster


@pytest.fixture
async def admin(cluster: FakeCluster) -> AsyncIterator[Admin]:
    async with Admin(cluster.servers, timeout_ms=1000) as admin:
        yield admin


async def test_a_topic_is_made_once_and_found_made_the_second_time(admin: Admin) -> None:
    topic, new = await admin.create_topic("t", 3)
    assert (topic.name, len(topic.partitions), topic.config.partitions, new) == ("t", 3, 3, True)
    assert all(partition.leader for partition in topic.partitions)
    assert (await admin.create_topic("t", 3))[1] is False
    with pytest.raises(TopicExists) as caught:
        await admin.create_topic("t", 4)
    assert caught.value.fields == {"partitions": "differs"}


async def test_the_controller_is_found_wherever_it_is(cluster: FakeCluster, admin: Admin) -> None:
    for controller in (3, 2):
        cluster.controller = controller
        assert (await admin.create_topic(f"t{controller}"))[1]


async def test_making_a_topic_waits_for_its_leaders(cluster: FakeCluster, admin: Admin) -> None:
    await admin.create_topic("t")
    cluster.elect("t", 0, 0)
    with pytest.raises(NoQuorum) as caught:
        await admin.create_topic("t")
    assert isinstance(caught.value, OutcomeUnknown)
    waiting = asyncio.create_task(admin.create_topic("t"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    cluster.elect("t", 0, 2)
    topic, _ = await waiting
    assert topic.partitions[0].leader == 2


async def test_leaders_are_found_where_no_node_holds_a_replica_of_every_partition() -> None:
    async with FakeCluster(nodes=5) as cluster, Admin(cluster.servers, timeout_ms=1000) as admin:
        await admin.create_topic("t", 5, replication_factor=3)
        for _ in cluster.nodes:
            assert [each.leader for each in (await admin.describe_topic("t")).partitions] == [1, 2, 3, 4, 5]
        await cluster.nodes[4].stop()
        cluster.elect("t", 3, 5)
        assert [each.leader for each in (await admin.describe_topic("t")).partitions] == [1, 2, 3, 5, 5]


async def test_settings_out_of_range_are_refused_by_name(admin: Admin) -> None:
    for setting in ({"partitions": -1}, {"partitions": 1 << 32}, {"retention_ms": 1 << 64}):
        with pytest.raises(InvalidTopic) as caught:
            await admin.create_topic("t", **setting)  # type: ignore[arg-type]
        assert caught.value.fields == {"field": next(iter(setting))}


async def test_topics_are_listed_described_altered_and_deleted(cluster: FakeCluster, admin: Admin) -> None:
    for name in ("b", "a"):
        await admin.create_topic(name)
    assert [topic.name for topic in await admin.list_topics()] == ["a", "b"]
    assert (await admin.describe_topic("a")).name == "a"
    altered = await admin.alter_topic("a", retention_ms=5000)
    assert (altered.config.retention_ms, altered.config.retention_bytes) == (5000, 0)
    await admin.delete_topic("a")
    for call in (admin.describe_topic("a"), admin.delete_topic("a"), admin.alter_topic("a")):
        with pytest.raises(UnknownTopic):
            await call
    assert list(cluster.topics) == ["b"]


async def test_a_deletion_whose_answer_was_lost_is_a_deletion(cluster: FakeCluster, admin: Admin) -> None:
    await admin.create_topic("t")
    cluster.faults.append(BreakStream(append_first=True))
    await admin.delete_topic("t")
    assert cluster.topics == {}


async def test_nodes_are_described_and_those_that_are_gone_say_why(cluster: FakeCluster, admin: Admin) -> None:
    await admin.create_topic("t", 2)
    one = await admin.describe_node(1)
    assert (one.node_id, one.replicas[0].topic, one.replicas[0].role) == (1, "t", "leader")
    await cluster.nodes[3].stop()
    nodes = await admin.describe_nodes()
    assert [type(nodes[number]) for number in (1, 2)] == [NodeDescription, NodeDescription]
    assert isinstance(nodes[3], Unreachable)
    with pytest.raises(InvalidRequest):
        await admin.describe_node(9)
    described = await admin.metadata()
    assert [node.alive for node in described.nodes] == [True, True, False]


async def test_offsets_are_listed_at_any_position(cluster: FakeCluster, admin: Admin) -> None:
    await admin.create_topic("t", 2)
    cluster.partition("t", 1).end = 7
    assert await admin.list_offsets("t") == {0: Offsets(0, 0, 0), 1: Offsets(7, 0, 7)}
    assert await admin.list_offsets("t", "end-2", [1]) == {1: Offsets(5, 0, 7)}
    with pytest.raises(UnknownPartition):
        await admin.list_offsets("t", partitions=[2])


async def test_leadership_is_handed_over(cluster: FakeCluster, admin: Admin) -> None:
    await admin.create_topic("t")
    await admin.transfer_leadership("t", 0, 3)
    assert cluster.partition("t", 0).leader == 3
    await admin.transfer_leadership("t", 0, 2)
    assert (await admin.describe_topic("t")).partitions[0].leader == 2


async def test_nobody_there_is_unreachable_within_the_time() -> None:
    async with Admin("127.0.0.1:9", timeout_ms=200) as admin:
        with pytest.raises(Unreachable):
            await admin.list_topics()
