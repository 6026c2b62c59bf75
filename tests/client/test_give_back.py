"""A partition is given back only by who has committed all it has done: "released" promises that nothing repeats."""

from __future__ import annotations

import asyncio
import signal

import pytest

from quorumlog.client import Admin, Claim, Consumer, Producer, QuorumlogError, assignment
from quorumlog.client.consumer_events import PartitionAcquired
from quorumlog.client.errors import UnknownMember
from quorumlog.client.offset_types import TopicPartition
from quorumlog.cluster.throwaway import running_cluster

TOPIC, GROUP = "given-back", "givers"


async def test_a_consumer_that_could_not_commit_does_not_say_that_nothing_repeats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # However slow the machine: a release, should there be one, reaches the leader once there is one again.
    monkeypatch.setattr(assignment, "_RELEASE_MS", 15_000.0)
    with running_cluster() as cluster:
        async with Admin(cluster.servers) as admin, Producer(cluster.servers) as producer:
            await admin.create_topic(TOPIC)
            for number in range(5):
                await producer.append(TOPIC, b"%d" % number)
            leader = (await admin.describe_topic(TOPIC)).partitions[0].leader
        others = [node_id for node_id in cluster.node_ids if node_id != leader]
        consumer = Consumer(
            cluster.servers, TOPIC, group=GROUP, partitions=[0], session_timeout_ms=2_000, commit_interval_ms=50
        )
        records = aiter(consumer)
        await anext(records)
        for node_id in others:
            cluster.send_signal(node_id, signal.SIGSTOP)
        # Asking on finishes the one before: the first one's commit is on its way, and cannot become durable.
        await anext(records)
        while consumer.stats().partitions[TopicPartition(TOPIC, 0)].sent < 1:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
        processed = (await anext(records)).offset
        # The leader knows by then that it is none, and has said so to the commit that it had taken in.
        await _steps_down(cluster.servers[leader - 1])
        closing = asyncio.create_task(_close(consumer))
        # Its last commit is given up after half its session.
        await asyncio.sleep(1.1)
        for node_id in others:
            cluster.send_signal(node_id, signal.SIGCONT)
        await closing
        async with await Claim.open(cluster.servers, GROUP, TOPIC, 0) as claim:
            assert claim.acquired.start_offset < processed, "everything was committed: this shows nothing"
            assert not claim.acquired.released


@pytest.mark.parametrize("finished", [True, False])
async def test_a_member_that_was_given_up_with_a_record_in_hand_does_not_say_that_nothing_repeats(
    finished: bool,
) -> None:
    """Found by the chaos suite (groups-cut-coordinator): what it had in hand it finished all the same."""
    with running_cluster(1) as cluster:
        async with Admin(cluster.servers) as admin, Producer(cluster.servers) as producer:
            await admin.create_topic(TOPIC)
            await producer.append(TOPIC, b"in hand")
        async with Consumer(cluster.servers, TOPIC, group=GROUP) as consumer:
            in_hand = await anext(aiter(consumer))
            if finished:
                consumer.done(in_hand)
            held = consumer._assignment
            assert held is not None
            await held.drop(consumer.assignment(), UnknownMember("the group has given it up"))
        assigned = asyncio.Event()
        async with Consumer(cluster.servers, TOPIC, group=GROUP, on_assigned=lambda _: assigned.set()) as successor:
            await assigned.wait()
            (acquired,) = [each.acquired for each in successor.events if isinstance(each, PartitionAcquired)]
        assert acquired.start_offset == int(finished)
        assert acquired.released is finished


async def _steps_down(server: str) -> None:
    async with Admin(server) as admin:
        while await _leads(admin, server):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)


async def _leads(admin: Admin, server: str) -> bool:
    replicas = (await admin.describe_node(server)).replicas
    return any(each.topic == TOPIC and each.role == "leader" for each in replicas)


async def _close(consumer: Consumer) -> None:
    try:
        await consumer.close()
    except QuorumlogError:
        return
