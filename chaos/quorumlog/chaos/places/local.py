"""Nodes as processes of this machine, without any privilege.

Processes are harmed with signals, links with relays (``quorumlog.cluster.links``), disks and clocks through the
nodes' own fault doors. Clients reach the nodes directly, so that only what lies between nodes is ever cut. What a
relay cannot do stands in ``quorumlog.cluster.links``.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from quorumlog.chaos.places import fault_door
from quorumlog.chaos.places.fault_door import DOOR_NAME
from quorumlog.chaos.places.node_processes import NodeProcesses, PlaceOfProcesses
from quorumlog.chaos.places.place import GOOD, Ability, LinkCondition, NotPossible, PlaceKind
from quorumlog.cluster import layout as layouts
from quorumlog.cluster.links.control import LinkedCluster
from quorumlog.cluster.throwaway import planned_cluster

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from quorumlog.chaos.places.place import DiskOrder, LinkCounts

_UNPLUGGED = LinkCondition(open=False)


def lacks() -> dict[Ability, str]:
    """What cannot be done to processes without privileges, and why."""
    why = "a file system of one's own takes root; a full disk is ordered at the fault door instead"
    return {Ability.SMALL_DISK: why}


class LocalPlace(PlaceOfProcesses):
    """A throw-away cluster of processes, in a temporary directory on a disk; a relay on every directed link."""

    kind = PlaceKind.LOCAL

    def __init__(self, node_count: int = 3, engine: str = "raft") -> None:
        self.engine = engine
        self.nodes = tuple(range(1, node_count + 1))
        self.lacks: Mapping[Ability, str] = lacks()
        self.abilities = frozenset(Ability) - self.lacks.keys()
        self._planned = ExitStack()
        self._links: LinkedCluster | None = None
        self._laid: dict[tuple[int, int], LinkCondition] = {}
        self._unplugged: set[int] = set()

    # --- life

    async def start(self) -> None:
        plan = planned_cluster(len(self.nodes), self.engine)
        cluster = await asyncio.to_thread(self._planned.enter_context, plan)
        self._begun = NodeProcesses(cluster)
        self._links = LinkedCluster(cluster)
        await self._links.install()
        for node in self.nodes:
            cluster.configure(node, settings={"faults": str(self._door(node))})
        await self._begun.start()

    async def close(self) -> None:
        if self._begun is not None:
            await self._begun.end()
        await asyncio.to_thread(self._planned.close)
        if self._links is not None:
            await self._links.close()

    # --- links

    async def set_link(self, source: int, target: int, condition: LinkCondition) -> None:
        self._laid[source, target] = condition
        await self._apply(source, target)

    async def reset_link(self, source: int, target: int) -> None:
        await self._relays.reset(source, target)

    async def link_counts(self, source: int, target: int) -> LinkCounts:
        return await self._relays.counts(source, target)

    async def disconnect(self, node: int) -> None:
        self._unplugged.add(node)
        await self._apply_around(node)

    async def reconnect(self, node: int) -> None:
        self._unplugged.discard(node)
        await self._apply_around(node)

    async def _apply_around(self, node: int) -> None:
        for other in self.nodes:
            if other != node:
                await self._apply(node, other)
                await self._apply(other, node)

    async def _apply(self, source: int, target: int) -> None:
        unplugged = source in self._unplugged or target in self._unplugged
        condition = _UNPLUGGED if unplugged else self._laid.get((source, target), GOOD)
        await self._relays.set(source, target, condition)

    @property
    def _relays(self) -> LinkedCluster:
        if self._links is None:
            raise NotPossible("this cluster has not been started")
        return self._links

    # --- disks, files, clocks

    async def order_disk(self, node: int, order: DiskOrder) -> Mapping[str, Any]:
        return await fault_door.order_disk(self._door(node), order)

    async def order_clock(self, node: int, *, jump_ms: int = 0, drift: float = 0.0) -> None:
        await fault_door.order_clock(self._door(node), jump_ms, drift)

    def data_directory(self, node: int) -> Path:
        return self._home(node) / "data"

    def _door(self, node: int) -> Path:
        return self._home(node) / DOOR_NAME

    def _home(self, node: int) -> Path:
        return layouts.node_directory(self._processes.cluster.directory, node)
