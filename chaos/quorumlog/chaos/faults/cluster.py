"""Harm done with the cluster's own tools: leaders moved about, topics made and removed under load.

A cluster's *membership* is its configuration, and no node can be added, removed or drained through the admin
service of this version; ``NOT_OFFERED`` names what cannot be done for that reason. (A replica that is replaced
after damage does change its group's membership: ``quorumlog.chaos.faults.files`` brings that about.) An upgrade is
a rolling restart (``quorumlog.chaos.faults.process.RollingRestart``): both versions are the same here.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.chaos.faults.fault import Scene, Struck
from quorumlog.chaos.targets import leaders_among, replicas
from quorumlog.client.errors import QuorumlogError, UnknownTopic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quorumlog.chaos.places import Ability

NOT_OFFERED = {
    "membership change": "nodes are the configuration's; the admin service cannot add or remove one",
    "drain": "the admin service moves one partition's leader, and no replica; see the leadership storm",
}

_TRANSFER_EVERY_S = 0.3
_CHURN_EVERY_S = 0.2
_CHURN_PARTITIONS = 2
_CALL_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class LeadershipStorm:
    """Leadership of one partition after another, coordinators among them, is handed to some other replica."""

    name = "leadership storm"
    needs: frozenset[Ability] = frozenset()

    async def strike(self, scene: Scene) -> Struck | None:
        return _again_and_again(lambda: self._transfer(scene), _TRANSFER_EVERY_S)

    async def _transfer(self, scene: Scene) -> int:
        led = leaders_among(await replicas(scene))
        movable = [led[group] for group in sorted(led) if led[group][1].topic]
        if not movable:
            return 0
        leader, replica = scene.random.choice(movable)
        others = sorted(node for node in replica.voters if node != leader)
        if not others:
            return 0
        await scene.admin.transfer_leadership(replica.topic, replica.partition, scene.random.choice(others))
        return 1


@dataclass(frozen=True, slots=True)
class TopicChurn:
    """Topics that nobody uses are made and removed, so that the controller, and every node's replicas, are busy."""

    name = "topic churn"
    needs: frozenset[Ability] = frozenset()

    async def strike(self, scene: Scene) -> Struck | None:
        # What may be there: a call whose outcome is not known may have made it, or may not have removed it.
        made: list[str] = []

        async def churn() -> int:
            if not made:
                made.append(f"churn-{scene.random.getrandbits(40):010x}")
                await scene.admin.create_topic(made[0], _CHURN_PARTITIONS)
            with contextlib.suppress(UnknownTopic):
                await scene.admin.delete_topic(made[0])
            made.clear()
            return 1

        struck = _again_and_again(churn, _CHURN_EVERY_S)

        async def undo() -> int:
            done = await struck.undo()
            if made:
                with contextlib.suppress(QuorumlogError):
                    await scene.admin.delete_topic(made[0])
            return done

        return Struck({}, undo)


def _again_and_again(once: Callable[[], Awaitable[int]], every_s: float) -> Struck:
    """Does it until the fault is undone; the effect is what all calls together say that they did. A call that fails
    did nothing: other faults may last."""
    enough = asyncio.Event()

    async def repeat() -> int:
        done = 0
        while not enough.is_set():
            with contextlib.suppress(QuorumlogError, TimeoutError):
                async with asyncio.timeout(_CALL_TIMEOUT_S):
                    done += await once()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await enough.wait()
        return done

    going = asyncio.create_task(repeat())

    async def undo() -> int:
        enough.set()
        return await going

    return Struck({}, undo)
