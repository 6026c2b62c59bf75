"""Harm to disks that nodes write to: errors, a full disk, slow and lying fsyncs, writes that go astray, power loss.

All by order at the node's fault door; its counts are the effect. Healing a disk withdraws every order on it: two
faults of this module at once want different victims.

A disk that lies, or puts a write elsewhere, takes back what it had acknowledged: such a fault never spreads to more
than a minority of the nodes (``Scene.damaged``), for no system survives that on a majority. And what counts is the
majority of a *group's* replicas: of five nodes two may be victims, but a partition of three replicas must not lose
two. So several victims at once are harmed in different groups (``share``).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from quorumlog.chaos.faults.fault import Scene, Struck
from quorumlog.chaos.places.fault_door import DOOR_NAME, leave_orders
from quorumlog.chaos.places.place import Ability, DiskOrder, NotPossible
from quorumlog.chaos.targets import minority_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from quorumlog.chaos.targets import Role

#: Files with records, votes and commit indices (``quorumlog.storage``).
SEGMENTS = "*.segment*"
#: Longer than any scenario lasts: a disk that hangs.
FOR_EVER_MS = 3_600_000
#: For a node that was started to have read its disk, and how often one looks.
_START_TIMEOUT_S, _LOOK_S = 15.0, 0.1
_COUNT = DiskOrder("counts")
_HEAL = DiskOrder("heal")
#: What a disk that is going wrong is counted by.
_OBEYED = ("failed", "full", "slowed", "lied", "misdirected", "stale")


def share(index: int, count: int) -> str:
    """The last digits of the groups in which victim ``index`` of ``count`` is harmed; no two share any."""
    return "0123456789"[index::count]


def segments_of(index: int, count: int) -> str:
    """The pattern for that share's files: all segments, or, of several victims, those of partitions of topics
    (whose groups have two digits here)."""
    return SEGMENTS if count == 1 else f"groups/?[{share(index, count)}]/{SEGMENTS}"


def spared_majority(scene: Scene, nodes: Sequence[int]) -> tuple[int, ...]:
    """Those of ``nodes`` that may lose what they acknowledged: with those that have, still a minority. They count
    as damaged from here on."""
    allowed: list[int] = []
    for node in nodes:
        if node in scene.damaged or len(scene.damaged) < minority_size(scene):
            scene.damaged.add(node)
            allowed.append(node)
    return tuple(allowed)


async def _obeyed(scene: Scene, nodes: Sequence[int]) -> int:
    """How often the disks of these nodes have done as ordered; a node that does not live has forgotten."""
    total = 0
    for node in nodes:
        try:
            counts = await scene.place.order_disk(node, _COUNT)
        except NotPossible:
            continue
        total += sum(int(counts[what]) for what in _OBEYED)
    return total


async def _heal(scene: Scene, nodes: Sequence[int]) -> None:
    for node in nodes:
        try:
            await scene.place.order_disk(node, _HEAL)
        except NotPossible:
            continue  # it does not live: nothing is ordered of its next life


@dataclass(frozen=True, slots=True)
class DiskTrouble:
    """Some order that lasts until it is healed, or is used up: an error, a full, slow or hanging disk."""

    word: str
    """For the fault's name."""
    order: DiskOrder
    role: Role
    shared: bool = False
    """It costs replicas: several victims are harmed in different groups."""
    needs = frozenset({Ability.DISK})

    @property
    def name(self) -> str:
        return f"{self.word} {self.role.name}"

    async def strike(self, scene: Scene) -> Struck | None:
        nodes = await self.role.choose(scene)
        if not nodes:
            return None
        before = await _obeyed(scene, nodes)
        for index, node in enumerate(nodes):
            files = segments_of(index, len(nodes)) if self.shared else self.order.files
            await scene.place.order_disk(node, replace(self.order, files=files))

        async def undo() -> int:
            effect = await _obeyed(scene, nodes) - before
            await _heal(scene, nodes)
            return effect

        return Struck({"nodes": list(nodes)}, undo)


def failing_sync(role: Role) -> DiskTrouble:
    """EIO once from an fsync of a log: what it held is lost, however often it is tried again."""
    return DiskTrouble("EIO on fsync", DiskOrder("fail", "sync", "EIO"), role, shared=True)


def failing_write(role: Role) -> DiskTrouble:
    """EIO once from a write."""
    return DiskTrouble("EIO on write", DiskOrder("fail", "write", "EIO"), role, shared=True)


def full_disk(role: Role, room_bytes: int = 16 << 10) -> DiskTrouble:
    """ENOSPC once files have grown by ``room_bytes``, until there is room again."""
    return DiskTrouble("full disk", DiskOrder("full", bytes=room_bytes), role)


def slow_disk(role: Role, slow_ms: int = 200) -> DiskTrouble:
    """Every fsync takes so much longer."""
    return DiskTrouble("slow disk", DiskOrder("slow", slow_ms=slow_ms), role)


def stalled_disk(role: Role) -> DiskTrouble:
    """Every fsync hangs until it is healed; no error is ever seen."""
    return DiskTrouble("stalled disk", DiskOrder("slow", slow_ms=FOR_EVER_MS), role)


@dataclass(frozen=True, slots=True)
class UnreadableLog:
    """A sector of one log cannot be read when the node starts: it is killed, and started again on such a disk.
    (What a node that runs reads from its disk is little: nearly all it needs is in its memory.)"""

    role: Role
    needs = frozenset({Ability.DISK, Ability.FILES, Ability.KILL})

    @property
    def name(self) -> str:
        return f"EIO on read {self.role.name}"

    async def strike(self, scene: Scene) -> Struck | None:
        nodes = await self.role.choose(scene)
        if not nodes:
            return None
        for index, node in enumerate(nodes):
            files = segments_of(index, len(nodes))
            await scene.place.kill(node)
            leave_orders(_door(scene, node), [DiskOrder("fail", "read", "EIO", files)])
            await scene.place.start_node(node)

        async def undo() -> int:
            # A node that is still on its way up has not read its orders yet.
            for _ in range(int(_START_TIMEOUT_S / _LOOK_S)):
                if (effect := await _obeyed(scene, nodes)) >= len(nodes):
                    break
                await asyncio.sleep(_LOOK_S)
            for node in nodes:
                leave_orders(_door(scene, node), [])
            await _heal(scene, nodes)
            return effect

        return Struck({"nodes": list(nodes)}, undo)


def failing_read(role: Role) -> UnreadableLog:
    """EIO once from a read of a log."""
    return UnreadableLog(role)


def _door(scene: Scene, node: int) -> Path:
    return scene.place.data_directory(node).parent / DOOR_NAME


@dataclass(frozen=True, slots=True)
class LosePower:
    """What is not synced is gone, torn by the run's own chance; undone by starting the nodes again."""

    role: Role
    needs = frozenset({Ability.DISK, Ability.KILL})

    @property
    def name(self) -> str:
        return f"power loss {self.role.name}"

    async def strike(self, scene: Scene) -> Struck | None:
        nodes = await self.role.choose(scene)
        if not nodes:
            return None
        lost = await _cut_power(scene, nodes)

        async def undo() -> int:
            gone = sum(not scene.place.running(node) for node in nodes)
            for node in nodes:
                await scene.start_again(node)
            return gone

        return Struck({"nodes": list(nodes), "lost": lost}, undo)


@dataclass(frozen=True, slots=True)
class LieAndLosePower:
    """Fsyncs say yes and do nothing for as long as it lasts; then the power goes, and with it what was promised.
    Beyond what any majority can survive on all its disks: a minority's only."""

    role: Role
    needs = frozenset({Ability.DISK, Ability.KILL})

    @property
    def name(self) -> str:
        return f"lying fsync and power loss {self.role.name}"

    async def strike(self, scene: Scene) -> Struck | None:
        nodes = spared_majority(scene, await self.role.choose(scene))
        if not nodes:
            return None
        for index, node in enumerate(nodes):
            files = "*" if len(nodes) == 1 else segments_of(index, len(nodes))
            await scene.place.order_disk(node, DiskOrder("lie", files=files))

        async def undo() -> int:
            effect = await _obeyed(scene, nodes)
            await _cut_power(scene, nodes)
            for node in nodes:
                await scene.start_again(node)
            return effect

        return Struck({"nodes": list(nodes)}, undo)


@dataclass(frozen=True, slots=True)
class WriteAstray:
    """One write is acknowledged and lands elsewhere (``misdirect``) or nowhere (``stale``). At the end the process
    is killed and started again, because only then does it see its disk instead of its memory."""

    what: str
    role: Role
    needs = frozenset({Ability.DISK, Ability.KILL})

    @property
    def name(self) -> str:
        return f"{'misdirected' if self.what == 'misdirect' else 'dropped'} write {self.role.name}"

    async def strike(self, scene: Scene) -> Struck | None:
        nodes = spared_majority(scene, await self.role.choose(scene))
        if not nodes:
            return None
        before = await _obeyed(scene, nodes)
        for index, node in enumerate(nodes):
            files, seed = segments_of(index, len(nodes)), scene.random.getrandbits(32)
            await scene.place.order_disk(node, DiskOrder(self.what, files=files, seed=seed))

        async def undo() -> int:
            effect = await _obeyed(scene, nodes) - before
            for node in nodes:
                await scene.place.kill(node)
                await scene.start_again(node)
            return effect

        return Struck({"nodes": list(nodes)}, undo)


async def _cut_power(scene: Scene, nodes: Sequence[int]) -> dict[str, int]:
    """All at once; what their disks lost altogether. Returns when the processes are gone."""
    orders = [DiskOrder("power", seed=scene.random.getrandbits(32)) for _ in nodes]
    answers = await asyncio.gather(
        *(scene.place.order_disk(node, order) for node, order in zip(nodes, orders, strict=True))
    )
    # The process is about to end itself; killing it as well costs nothing, and waits for its end.
    for node in nodes:
        await scene.place.kill(node)
    return {what: sum(int(answer[f"lost_{what}"]) for answer in answers) for what in ("writes", "bytes", "names")}
