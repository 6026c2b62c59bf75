"""Topics that come and go while everything else happens: made, written, read to their end, deleted; and made again
under the same name, so that whatever a node or a client still knows of the one before would show.

A node that is cut off from the controller does not learn that a topic was deleted, and serves it until it does
(``Admin.delete_topic``). So a name is used again only when no node knows it any more; else the next topic has
another.

In the history each incarnation is a partition of its own (``name#3/0``), judged whole: its final read is done
before it is deleted. One that could not be read for the faults of the moment stays until the end.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from quorumlog.chaos.workloads.producers import DELIVERY_TIMEOUT_MS, append_one
from quorumlog.chaos.workloads.readers import read_finally
from quorumlog.client import Admin, Producer, QuorumlogError
from quorumlog.client.errors import UnknownTopic
from quorumlog.client.network import Network

if TYPE_CHECKING:
    from collections.abc import Collection

    from quorumlog.chaos.workloads.ground import Ground, TopicPlan

_ADMIN_MS = 3_000.0
_RECORDS = 12


class BriefTopics:
    """See the module. ``plan`` is what each of them is made as."""

    def __init__(self, ground: Ground, plan: TopicPlan, every_s: float) -> None:
        self._ground = ground
        self._plan = plan
        self._every_s = every_s
        self._names = [plan.name]
        self._left: TopicPlan | None = None
        """Made, perhaps written, and not read yet."""

    def begin(self) -> None:
        self._ground.begin(self._run(), "topics that come and go")

    async def _run(self) -> None:
        ground, plan = self._ground, self._plan
        async with Admin(ground.servers, timeout_ms=_ADMIN_MS) as admin:
            while not await ground.pause(ground.random.uniform(0.2, 1.8) * self._every_s):
                if self._left is None:
                    plan = replace(plan, name=await self._next_name(), incarnation=plan.incarnation + 1)
                    await self._make(admin, plan)
                if self._left is not None:
                    await self._read_and_delete(admin)

    async def _next_name(self) -> str:
        """That of the one before, if every node says that there is no such topic."""
        name = self._names[-1]
        network = Network(self._ground.servers)
        try:
            answers = await asyncio.gather(
                *(network.metadata_from(server, [name]) for server in self._ground.servers), return_exceptions=True
            )
        finally:
            await network.close()
        if any(isinstance(answer, BaseException) or answer.topics for answer in answers):
            name = f"{self._plan.name}-{len(self._names)}"
            self._names.append(name)
        return name

    async def _make(self, admin: Admin, plan: TopicPlan) -> None:
        """Makes it and writes it; nothing is written where it is not certain that it is this incarnation."""
        try:
            _, fresh = await admin.create_topic(plan.name, plan.partitions)
        except QuorumlogError:
            # Perhaps it was made all the same: it has nothing in it.
            await self._delete(admin, plan)
            return
        if not fresh:
            # An earlier attempt at it has just been found made; or the one before is being deleted, still.
            await self._delete(admin, plan)
            return
        self._left = plan
        async with Producer(self._ground.servers, delivery_timeout_ms=DELIVERY_TIMEOUT_MS) as producer:
            await asyncio.gather(
                *(append_one(self._ground, producer, plan, number % plan.partitions) for number in range(_RECORDS))
            )

    async def _read_and_delete(self, admin: Admin) -> None:
        plan = self._left
        assert plan is not None
        read = await asyncio.gather(
            *(read_finally(self._ground, plan, partition, attempts=2) for partition in range(plan.partitions))
        )
        if all(read):
            self._left = None
            await self._delete(admin, plan)

    async def _delete(self, admin: Admin, plan: TopicPlan) -> None:
        while True:
            try:
                await admin.delete_topic(plan.name)
                return
            except UnknownTopic:
                return
            except QuorumlogError:
                if await self._ground.pause(0.1):
                    return

    async def prove(self, served: Collection[str]) -> str:
        """That topics can be made again is not asked: it takes a controller, and most of its nodes."""
        return ""

    async def finish(self) -> None:
        """Reads the one that is left."""
        if self._left is not None:
            for partition in range(self._left.partitions):
                await read_finally(self._ground, self._left, partition)

    async def close(self) -> None:
        """Of a cluster that stays, what is left of them is deleted, as far as that can be done."""
        if self._ground.remove:
            async with Admin(self._ground.servers, timeout_ms=_ADMIN_MS) as admin:
                for name in self._names:
                    with suppress(QuorumlogError):
                        await admin.delete_topic(name)

    def least(self) -> dict[str, int]:
        return {}
