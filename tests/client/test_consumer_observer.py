"""Whoever observes a consumer hears of an Acquire and of a commit before they leave, and may sign each commit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from quorumlog.client import Admin, Consumer, OffsetAdmin, Producer, QuorumlogError
from quorumlog.client.consumer_events import PartitionAcquired
from quorumlog.client.offset_types import FetchedOffset, TopicPartition
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.client.consumer_events import Event
    from quorumlog.client.policy.committer import Attempt

TOPIC, GROUP = "observed", "observers"
BOTH = {TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)}


class Notes:
    """Everything that was told, in its order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []
        self.given_back: set[TopicPartition] = set()

    def assigned(self, member: str, generation: int, partitions: Sequence[TopicPartition]) -> None:
        self.told.append(("assigned", frozenset(partitions)))

    def acquiring(self, partition: TopicPartition, generation: int) -> None:
        assert generation
        self.told.append(("acquiring", partition))

    def not_acquired(self, partition: TopicPartition, error: QuorumlogError) -> None:
        self.told.append(("not acquired", partition))

    def gave_back(self, partitions: Sequence[TopicPartition]) -> None:
        self.given_back.update(partitions)

    def committing(self, attempt: Attempt) -> bytes:
        self.told.append(("committing", attempt.offset))
        return b"signed %d" % attempt.offset

    def committed(self, attempt: Attempt) -> None:
        assert attempt.receipt is not None
        self.told.append(("committed", attempt.receipt.offset))

    def event(self, event: Event) -> None:
        if isinstance(event, PartitionAcquired):
            self.told.append(("acquired", event.partition))


async def test_everything_is_told_in_the_order_in_which_it_happens() -> None:
    with running_cluster() as cluster:
        async with Admin(cluster.servers) as admin, Producer(cluster.servers) as producer:
            await admin.create_topic(TOPIC, 2)
            for number in range(6):
                await producer.append(TOPIC, b"%d" % number, partition=0)
        notes = Notes()
        consumer = Consumer(
            cluster.servers, TOPIC, group=GROUP, commit="each", observer=notes, on_event=notes.event
        )
        async with consumer:
            seen = 0
            async for _ in consumer:
                seen += 1
                if seen == 6:
                    consumer.stop()
            await _another_joins(cluster.servers, notes)
        told = notes.told
        for partition in BOTH:
            assert told.index(("acquiring", partition)) < told.index(("acquired", partition))
            before = told[: told.index(("acquiring", partition))]
            assert any(isinstance(what, frozenset) and partition in what for _, what in before)
        commits = [each for each in told if each[0] in ("committing", "committed")]
        assert commits == [(what, offset) for offset in range(1, 7) for what in ("committing", "committed")]
        async with OffsetAdmin(cluster.servers) as offsets:
            found = (await offsets.fetch(GROUP, [TopicPartition(TOPIC, 0)]))[TopicPartition(TOPIC, 0)]
        assert isinstance(found, FetchedOffset)
        assert found.stored is not None
        assert found.stored.metadata == b"signed 6"


async def _another_joins(servers: list[str], notes: Notes) -> None:
    """The coordinator takes one partition back for it."""
    async with Consumer(servers, TOPIC, group=GROUP), asyncio.timeout(10):
        while not notes.given_back:  # noqa: ASYNC110 - what is waited for is that it is told
            await asyncio.sleep(0.02)
    assert len(notes.given_back) == 1
    assert notes.given_back < BOTH
