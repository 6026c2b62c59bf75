"""Harm to processes: killed, stopped, paused, restarted one after another.

What was observed of it: the victims that were seen dead (or stopped in their tracks), the elections of the others,
and the others' own word that they hear nothing from a victim.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.chaos.faults.fault import READY, Scene, Struck
from quorumlog.chaos.places.place import Ability

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quorumlog.chaos.targets import Role

#: For a node that was started to serve again before the next one of a rolling restart goes.
READY_TIMEOUT_S = 20.0
#: Between one node's return and the next one's end, so that leadership and lag settle as an operator would wait.
SETTLE_S = 0.5
_LOOK_S = 0.05

#: What a node logs (``quorumlog.replica.events``, ``quorumlog.server.main``).
ELECTED = "LeaderElected"
SILENT = "PeerSilent"


def noticed(scene: Scene, nodes: Iterable[int]) -> int:
    """How often these nodes have said that a leader was elected or that another node is silent."""
    return sum(scene.place.said(node, word) for node in nodes for word in (ELECTED, SILENT))


@dataclass(frozen=True, slots=True)
class Kill:
    """kill -9; undone by a start. Without duration it is a crash and an immediate restart."""

    role: Role
    needs = frozenset({Ability.KILL})

    @property
    def name(self) -> str:
        return f"kill {self.role.name}"

    async def strike(self, scene: Scene) -> Struck | None:
        nodes = await self.role.choose(scene)
        if not nodes:
            return None
        others = [node for node in scene.place.nodes if node not in nodes]
        before = noticed(scene, others)
        await asyncio.gather(*(scene.place.kill(node) for node in nodes))
        dead = sum(not scene.place.running(node) for node in nodes)

        async def undo() -> int:
            for node in nodes:
                await scene.start_again(node)
            return dead + noticed(scene, others) - before

        return Struck({"nodes": list(nodes)}, undo)


@dataclass(frozen=True, slots=True)
class Stop:
    """A graceful stop (the node hands its leaderships over first); undone by a start."""

    role: Role
    needs = frozenset({Ability.STOP})

    @property
    def name(self) -> str:
        return f"stop {self.role.name}"

    async def strike(self, scene: Scene) -> Struck | None:
        nodes = await self.role.choose(scene)
        if not nodes:
            return None
        await asyncio.gather(*(scene.place.stop(node) for node in nodes))
        gone = sum(not scene.place.running(node) for node in nodes)

        async def undo() -> int:
            for node in nodes:
                await scene.start_again(node)
            return gone

        return Struck({"nodes": list(nodes)}, undo)


@dataclass(frozen=True, slots=True)
class Pause:
    """SIGSTOP; undone by SIGCONT. The process keeps its memory, its sockets and its idea of the time."""

    role: Role
    needs = frozenset({Ability.PAUSE})

    @property
    def name(self) -> str:
        return f"pause {self.role.name}"

    async def strike(self, scene: Scene) -> Struck | None:
        nodes = await self.role.choose(scene)
        if not nodes:
            return None
        others = [node for node in scene.place.nodes if node not in nodes]
        before = noticed(scene, others)
        await asyncio.gather(*(scene.place.pause(node) for node in nodes))

        async def undo() -> int:
            stood = sum(not scene.place.running(node) for node in nodes)
            await asyncio.gather(*(scene.place.resume(node) for node in nodes))
            return stood + noticed(scene, others) - before

        return Struck({"nodes": list(nodes)}, undo)


@dataclass(frozen=True, slots=True)
class RollingRestart:
    """Every node once, one at a time, each only when the one before serves again: an upgrade as an operator does it
    (``graceful``), or one kill -9 after another. It goes on by itself; undoing it waits for its end."""

    graceful: bool

    @property
    def name(self) -> str:
        return "rolling restart" if self.graceful else "rolling kill"

    @property
    def needs(self) -> frozenset[Ability]:
        return frozenset({Ability.STOP if self.graceful else Ability.KILL})

    async def strike(self, scene: Scene) -> Struck | None:
        nodes = list(scene.place.nodes)
        scene.random.shuffle(nodes)
        going = asyncio.create_task(self._go_round(scene, nodes))

        async def undo() -> int:
            return await going

        return Struck({"nodes": nodes}, undo)

    async def _go_round(self, scene: Scene, nodes: list[int]) -> int:
        """How many came back and served."""
        back = 0
        for node in nodes:
            before = scene.place.said(node, READY)
            await (scene.place.stop(node) if self.graceful else scene.place.kill(node))
            await scene.start_again(node)
            back += await _ready(scene, node, before)
            await asyncio.sleep(SETTLE_S)
        return back


async def _ready(scene: Scene, node: int, before: int) -> bool:
    """Waits until the node says that it serves, once more than ``before``. False when it does not in time."""
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while scene.place.said(node, READY) <= before:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        return False
    return True
