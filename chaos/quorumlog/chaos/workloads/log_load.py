"""The load on records: producers, readers that follow, wander and begin afresh, questions for the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from quorumlog.chaos.workloads.ground import partition_key
from quorumlog.chaos.workloads.producers import ProducerClient, Sizes, append_one
from quorumlog.chaos.workloads.readers import ask_end, follow, probe_tail, read_finally, wander
from quorumlog.client import Admin, Producer

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from quorumlog.chaos.workloads.ground import Ground, Pace, TopicPlan

#: One append of the proof of life may take so long; then the proof is tried again.
_PROOF_MS = 2_000.0
_TAIL_EVERY_S = 0.3


class LogLoad:
    """See the module. ``compressions``: of the producers, in turn."""

    def __init__(
        self,
        ground: Ground,
        topics: Sequence[TopicPlan],
        pace: Pace,
        sizes: Sizes,
        compressions: Sequence[str],
        *,
        producers: int,
        readers: int,
    ) -> None:
        self._ground = ground
        self._topics = list(topics)
        self._pace = pace
        self._sizes = sizes
        self._compressions = compressions
        self._producers = producers
        self._readers = readers

    def begin(self) -> None:
        ground = self._ground
        for topic in self._topics:
            for number in range(self._producers):
                codec = self._compressions[number % len(self._compressions)]
                producer = ProducerClient(ground, topic, self._pace, self._sizes, codec)
                ground.begin(producer.run(), f"producer {number} of {topic.name}")
            for number in range(self._readers):
                ground.begin(follow(ground, topic), f"reader {number} of {topic.name}")
            if self._readers:
                ground.begin(wander(ground, topic), f"moving reader of {topic.name}")
            for partition in range(topic.partitions):
                ground.begin(
                    probe_tail(ground, topic, partition, _TAIL_EVERY_S), f"tail of {topic.name}/{partition}"
                )

    async def prove(self, served: Collection[str]) -> str:
        """An append is acknowledged, and the end told, in every one of the partitions (``served``, by key)."""
        ground = self._ground
        async with (
            Producer(ground.servers, delivery_timeout_ms=_PROOF_MS) as producer,
            Admin(ground.servers, timeout_ms=_PROOF_MS) as admin,
        ):

            async def one(topic: TopicPlan, partition: int) -> str:
                missing = await append_one(ground, producer, topic, partition)
                if not missing and await ask_end(ground, admin, topic.name, partition) is None:
                    missing = f"the end of {topic.name}/{partition} was not told"
                return missing

            found = await asyncio.gather(
                *(
                    one(topic, partition)
                    for topic in self._topics
                    for partition in range(topic.partitions)
                    if partition_key(topic.name, partition) in served
                )
            )
        return "; ".join(filter(None, found))

    async def finish(self) -> None:
        """Fresh clients read everything."""
        await asyncio.gather(
            *(
                read_finally(self._ground, topic, partition)
                for topic in self._topics
                for partition in range(topic.partitions)
            )
        )

    async def close(self) -> None:
        """Nothing outlives the ground."""

    def least(self) -> dict[str, int]:
        """What must have succeeded for the run to mean anything."""
        partitions = sum(topic.partitions for topic in self._topics)
        return {"send": 50, "end": partitions, "final_read": partitions} | (
            {"read": partitions} if self._readers else {}
        )
