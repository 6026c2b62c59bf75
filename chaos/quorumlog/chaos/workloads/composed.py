"""A workload is made of loads over one set of topics: this carries them through a run together.

A *load* is one kind of use (records, registers, groups); each knows how to begin, to prove that what it uses serves
again, and to look at everything once more in the end. Workloads differ in nothing else, so there is one class.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from quorumlog.chaos.workloads.ground import partition_key
from quorumlog.check import Expectations
from quorumlog.client import Admin, GroupAdmin, QuorumlogError
from quorumlog.client.errors import UnknownTopic
from quorumlog.client.group_admin import COORDINATORS_TOPIC

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from quorumlog.chaos.workloads.ground import Ground, TopicPlan

_SET_UP_MS = 20_000.0
_ASK_MS = 2_000.0
_LOOK_S = 0.05
_REMOVE_MS = 5_000.0


class UseOfCluster(Protocol):
    """One load; see the module."""

    def begin(self) -> None:
        """Starts its clients on the ground."""

    async def prove(self, served: Collection[str]) -> str:
        """What these partitions (by key) still lack, "" for nothing."""

    async def finish(self) -> None:
        """Looks at everything once more, with fresh clients; what it began beside the ground is ended."""

    async def close(self) -> None:
        """Ends what it began beside the ground, also after a failure."""

    def least(self) -> dict[str, int]:
        """By operation, how many must have succeeded."""


class ComposedWorkload:
    """A ``quorumlog.chaos.workloads.Workload`` of these loads."""

    def __init__(
        self,
        ground: Ground,
        topics: Sequence[TopicPlan],
        loads: Sequence[UseOfCluster],
        groups: Sequence[str] = (),
        expectations: Expectations | None = None,
    ) -> None:
        self.topics = [topic.name for topic in topics]
        self.groups = list(groups)
        self._ground = ground
        self._plans = list(topics)
        self._loads = list(loads)
        self._expectations = expectations or Expectations()

    async def set_up(self) -> None:
        """Returns when all that is used has leaders. Raises QuorumlogError when the topics cannot be made, or led;
        TimeoutError when the coordinators are not."""
        async with Admin(self._ground.servers, timeout_ms=_SET_UP_MS) as admin:
            for plan in self._plans:
                await admin.create_topic(
                    plan.name,
                    plan.partitions,
                    plan.replication_factor,
                    retention_bytes=plan.retention_bytes,
                    segment_bytes=plan.segment_bytes,
                    max_batch_bytes=plan.max_batch_bytes,
                )
            # Or elections that nothing but the beginning caused would count as a fault's.
            async with asyncio.timeout(_SET_UP_MS / 1000):
                await self._coordinators_led(admin)

    @staticmethod
    async def _coordinators_led(admin: Admin) -> None:
        while True:
            coordinators = await admin.describe_topic(COORDINATORS_TOPIC)
            if all(each.leader for each in coordinators.partitions):
                return
            await asyncio.sleep(_LOOK_S)

    async def run(self) -> None:
        """Raises what a client ends with that no cluster can be blamed for."""
        for load in self._loads:
            load.begin()
        await self._ground.ended()

    def stop(self) -> None:
        self._ground.stopping.set()

    async def prove_alive(self, served: set[int]) -> str:
        self._ground.check()
        try:
            partitions = await self._with_a_majority_of(served)
        except QuorumlogError as error:
            return f"nobody tells of the topics ({error.reason.name})"
        missing = await asyncio.gather(*(load.prove(partitions) for load in self._loads))
        return "; ".join(filter(None, missing))

    async def _with_a_majority_of(self, served: set[int]) -> set[str]:
        """The partitions that can be asked to serve: the others have lost more than they promise to bear."""
        async with Admin(self._ground.servers, timeout_ms=_ASK_MS) as admin:
            topics = (await admin.metadata([*self.topics, COORDINATORS_TOPIC])).topics
        missing = {*self.topics} - {topic.name for topic in topics}
        if missing:
            raise UnknownTopic(f"no topic {sorted(missing)[0]!r}")
        return {
            partition_key(topic.name, each.partition)
            for topic in topics
            for each in topic.partitions
            if 2 * len(served & {*each.replicas}) > len(each.replicas)
        }

    async def finish(self) -> None:
        for load in self._loads:
            await load.finish()

    async def close(self) -> None:
        await self._ground.cancel()
        for load in self._loads:
            await load.close()
        if self._ground.remove:
            await self._remove()

    async def _remove(self) -> None:
        """As far as it can be done: what is left shows by its name that it may go."""
        async with GroupAdmin(self._ground.servers, timeout_ms=_REMOVE_MS) as groups:
            for group in self.groups:
                with suppress(QuorumlogError):
                    await groups.delete(group, force=True)
        async with Admin(self._ground.servers, timeout_ms=_REMOVE_MS) as admin:
            for topic in self.topics:
                with suppress(QuorumlogError):
                    await admin.delete_topic(topic)

    def expectations(self) -> Expectations:
        wanted = dict(self._expectations.ok)
        for load in self._loads:
            for name, least in load.least().items():
                wanted[name] = wanted.get(name, 0) + least
        return Expectations(
            ok=wanted,
            retention=self._expectations.retention,
            orphan_ms=self._expectations.orphan_ms,
            search_steps=self._expectations.search_steps,
        )
