"""A member of a consumer group: an application around the real ``quorumlog.client.Consumer``, whose every doing
goes into the history (``group_tale``).

Members differ in how they take records and commit, so that every way is under load: in batches, committed now and
then; in batches, each committed before the next; one by one to two workers, who finish in any order, and with every
commit read back.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

from quorumlog.chaos.workloads.group_tale import GroupTale
from quorumlog.chaos.workloads.readers import impossible
from quorumlog.client import Consumer, QuorumlogError, RetentionGap
from quorumlog.client.errors import Closed, DamagedOnTheWay, HoleInLog, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from quorumlog.chaos.workloads.ground import Ground
    from quorumlog.client import ConsumerRecord
    from quorumlog.client.handing import Lane

SESSION_TIMEOUT_MS = 3_000
_COMMIT_INTERVAL_MS = 250.0
_JOIN_TIMEOUT_MS = 5_000.0
#: What the application takes over the records in hand, on average, while things are to go wrong.
_WORK_S = 0.004
_AGAIN_S = 0.1


class Manner(StrEnum):
    """How a member takes its records."""

    BATCHES = "batches"
    EACH = "each"
    WORKERS = "workers"


class MemberPlan(NamedTuple):
    """Who a member is. ``instance``: the name of a static member, "" of a dynamic one."""

    group: str
    topics: tuple[str, ...]
    manner: Manner
    instance: str = ""


class Member:
    """``run`` is the application's life: consumer after consumer until ``close``. Once ``calm``, it works as fast
    as it can: a run waits for it."""

    def __init__(self, ground: Ground, plan: MemberPlan) -> None:
        self.calm = False
        self._ground = ground
        self._plan = plan
        self._consumer: Consumer | None = None
        self._closing = False

    def close(self) -> None:
        """Have it finish what is in hand, commit it, give back, and leave; then ``run`` returns."""
        self._closing = True
        if self._consumer is not None:
            self._consumer.stop()

    async def run(self) -> None:
        while not self._closing:
            tale = GroupTale(self._ground, self._plan.group)
            consumer = self._consumer = self._new_consumer(tale)
            try:
                await consumer.open()
                await self._work(consumer, tale)
            except QuorumlogError:
                # It cannot join, or another process has its name: as a service that is restarted, again.
                await asyncio.sleep(_AGAIN_S)
            finally:
                await _end(consumer, tale)

    def _new_consumer(self, tale: GroupTale) -> Consumer:
        plan = self._plan
        commit: Literal["each", "after_processing"] = "each" if plan.manner is Manner.EACH else "after_processing"
        return Consumer(
            self._ground.servers,
            plan.topics,
            group=plan.group,
            on_out_of_range="earliest",
            on_truncated="earliest",
            commit=commit,
            commit_interval_ms=_COMMIT_INTERVAL_MS,
            confirm="double" if plan.manner is Manner.WORKERS else "single",
            instance=plan.instance,
            session_timeout_ms=SESSION_TIMEOUT_MS,
            timeout_ms=_JOIN_TIMEOUT_MS,
            on_event=tale.event,
            observer=tale,
        )

    async def _work(self, consumer: Consumer, tale: GroupTale) -> None:
        lanes = 2 if self._plan.manner is Manner.WORKERS else 1
        # Not a TaskGroup: what ends one worker must let the others finish what they have in hand.
        ended = await asyncio.gather(
            *(self._work_lane(consumer, consumer.lane(), tale) for _ in range(lanes)), return_exceptions=True
        )
        for error in ended:
            if isinstance(error, BaseException):
                raise error

    async def _work_lane(self, consumer: Consumer, lane: Lane, tale: GroupTale) -> None:
        """Processes what this lane is handed, on through everything that it can be read on through."""
        while not self._closing:
            try:
                async for records in self._handed(lane):
                    invocation = tale.begins(records)
                    if not self.calm:
                        await asyncio.sleep(self._ground.random.expovariate(1.0 / _WORK_S))
                    tale.finished(records, invocation)
                return
            except RetentionGap as gap:
                tale.missed(gap)
            except Closed:
                return
            except QuorumlogError as error:
                if isinstance(error, HoleInLog | DamagedOnTheWay):
                    for topic in self._plan.topics:
                        impossible(self._ground, topic, _positions(consumer, topic), error)
                if error.reason is Reason.UNKNOWN_MEMBER:
                    # Another process has this one's instance name: the membership is over, for all workers.
                    consumer.stop()
                    raise
                await asyncio.sleep(_AGAIN_S)

    async def _handed(self, lane: Lane) -> AsyncIterator[Sequence[ConsumerRecord]]:
        if self._plan.manner is Manner.WORKERS:
            async for record in lane:
                yield [record]
        else:
            async for records in lane.batches():
                yield records


def _positions(consumer: Consumer, topic: str) -> dict[int, int]:
    return {each.partition: consumer.position(each) for each in consumer.assignment() if each.topic == topic}


async def _end(consumer: Consumer, tale: GroupTale) -> None:
    try:
        await consumer.close()
    except QuorumlogError:
        # Something processed could not be committed: the next owner does it again, which the history shows.
        pass
    finally:
        tale.over()
