"""Harm to what lies between nodes: cut, refused, slowed, flapping, reset.

What was observed of it: the bytes that its links held back, refused or reset meanwhile, and the nodes' own word
that they hear nothing from another. Duplication and reordering of messages on one connection are not among these
faults: above TCP there are none, and none that a relay could make. Between connections and links there is
reordering (``JITTER``: what one node says overtakes what another said before), and the simulator does both to
single frames.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.chaos.faults.fault import Scene, Struck
from quorumlog.chaos.faults.process import SILENT, noticed
from quorumlog.chaos.places.place import Ability, LinkCondition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quorumlog.chaos.faults.shapes import Pair, Shape
    from quorumlog.chaos.targets import Role

CUT = LinkCondition(open=False)
REJECT = LinkCondition(reject=True)
LATENCY = LinkCondition(latency_ms=60.0)
"""A round trip of 120 ms: another continent, and still far below the election timeout of 0.8 s."""
JITTER = LinkCondition(latency_ms=5.0, jitter_ms=150.0)
NARROW = LinkCondition(bytes_per_s=64_000)
LOSSY = LinkCondition(stall_rate=0.05)

_FLAP_DOWN_S = 0.6
_FLAP_UP_S = 0.4
_STORM_EVERY_S = 0.15


@dataclass(frozen=True, slots=True)
class OnLinks:
    """One condition on all links of a shape, for as long as the fault lasts."""

    verb: str
    shape: Shape
    condition: LinkCondition

    @property
    def name(self) -> str:
        return f"{self.verb} {self.shape.name}"

    @property
    def needs(self) -> frozenset[Ability]:
        return abilities_for(self.condition)

    async def strike(self, scene: Scene) -> Struck | None:
        pairs = await self.shape.choose(scene)
        if not pairs:
            return None
        effect = await _Effect.begin(scene, pairs)
        await scene.links.lay(pairs, self.condition)

        async def undo() -> int:
            size = await effect.size()
            await scene.links.lift(pairs, self.condition)
            return size

        return Struck(_told(pairs), undo)


@dataclass(frozen=True, slots=True)
class Flapping:
    """Cut and whole again, faster than anybody can be sure of either."""

    shape: Shape
    needs = frozenset({Ability.CUT})

    @property
    def name(self) -> str:
        return f"flap {self.shape.name}"

    async def strike(self, scene: Scene) -> Struck | None:
        pairs = await self.shape.choose(scene)
        if not pairs:
            return None
        effect = await _Effect.begin(scene, pairs)
        enough = asyncio.Event()
        flapping = asyncio.create_task(self._flap(scene, pairs, enough))

        async def undo() -> int:
            enough.set()
            await flapping
            return await effect.size()

        return Struck(_told(pairs), undo)

    async def _flap(self, scene: Scene, pairs: set[Pair], enough: asyncio.Event) -> None:
        while not enough.is_set():
            await scene.links.lay(pairs, CUT)
            await _unless(enough, _FLAP_DOWN_S)
            await scene.links.lift(pairs, CUT)
            await _unless(enough, _FLAP_UP_S)


@dataclass(frozen=True, slots=True)
class ResetStorm:
    """All connections of one link after another are broken, again and again, and may be made again at once."""

    shape: Shape
    needs = frozenset({Ability.RESET})

    @property
    def name(self) -> str:
        return f"reset {self.shape.name}"

    async def strike(self, scene: Scene) -> Struck | None:
        pairs = await self.shape.choose(scene)
        if not pairs:
            return None
        effect = await _Effect.begin(scene, pairs)
        enough = asyncio.Event()
        storm = asyncio.create_task(self._storm(scene, sorted(pairs), enough))

        async def undo() -> int:
            enough.set()
            await storm
            return await effect.size()

        return Struck(_told(pairs), undo)

    async def _storm(self, scene: Scene, pairs: list[Pair], enough: asyncio.Event) -> None:
        while not enough.is_set():
            await scene.place.reset_link(*scene.random.choice(pairs))
            await _unless(enough, _STORM_EVERY_S)


@dataclass(frozen=True, slots=True)
class Disconnect:
    """A node's plug is pulled: it is off the nodes' network altogether, by the place's own means."""

    role: Role
    needs = frozenset({Ability.DISCONNECT})

    @property
    def name(self) -> str:
        return f"disconnect {self.role.name}"

    async def strike(self, scene: Scene) -> Struck | None:
        nodes = await self.role.choose(scene)
        if not nodes:
            return None
        before = noticed(scene, scene.place.nodes)
        for node in nodes:
            await scene.place.disconnect(node)

        async def undo() -> int:
            for node in nodes:
                await scene.place.reconnect(node)
            return noticed(scene, scene.place.nodes) - before

        return Struck({"nodes": list(nodes)}, undo)


def cut(shape: Shape) -> OnLinks:
    """A black hole: connections stay, nothing passes, nothing is said."""
    return OnLinks("cut", shape, CUT)


def reject(shape: Shape) -> OnLinks:
    """A firewall that answers: connections break at once, and new ones are refused."""
    return OnLinks("reject", shape, REJECT)


def slow(shape: Shape) -> OnLinks:
    return OnLinks("slow", shape, LATENCY)


def jitter(shape: Shape) -> OnLinks:
    return OnLinks("jitter", shape, JITTER)


def narrow(shape: Shape) -> OnLinks:
    return OnLinks("narrow", shape, NARROW)


def lossy(shape: Shape) -> OnLinks:
    """Loss as it is felt above TCP: now and then a piece, and all behind it, waits for a retransmission."""
    return OnLinks("lossy", shape, LOSSY)


def abilities_for(condition: LinkCondition) -> frozenset[Ability]:
    """What a place must be able to do to make that condition."""
    wanted = {
        Ability.CUT: not condition.open,
        Ability.REJECT: condition.reject,
        Ability.SHAPE: condition.delays,
    }
    return frozenset(ability for ability, needed in wanted.items() if needed)


@dataclass(slots=True)
class _Effect:
    """What is observed of a fault on links, from its beginning on."""

    scene: Scene
    pairs: set[Pair]
    held_before: int
    silent_before: int

    @classmethod
    async def begin(cls, scene: Scene, pairs: set[Pair]) -> _Effect:
        return cls(scene, pairs, await scene.links.held_bytes(pairs), _silences(scene))

    async def size(self) -> int:
        held = await self.scene.links.held_bytes(self.pairs) - self.held_before
        return held + _silences(self.scene) - self.silent_before


def _silences(scene: Scene) -> int:
    return sum(scene.place.said(node, SILENT) for node in scene.place.nodes)


def _told(pairs: Iterable[Pair]) -> dict[str, list[list[int]]]:
    return {"links": [list(pair) for pair in sorted(pairs)]}


async def _unless(enough: asyncio.Event, seconds: float) -> None:
    """Waits so long, or until it is enough."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await enough.wait()
