"""Nodes as processes in network namespaces: real packets dropped and refused by the kernel. Needs root.

This is closer to the truth than the local place: a cut is a DROP of packets and not a relay that stops reading, so
that retransmission, keep-alives and half-dead connections are the kernel's own, and a plug that is pulled takes the
carrier away. Latency and bandwidth stay with the local place's relays, for many kernels lack netem.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quorumlog.chaos.places import fault_door, namespaces, scratch
from quorumlog.chaos.places.commands import CommandFailed
from quorumlog.chaos.places.fault_door import DOOR_NAME
from quorumlog.chaos.places.node_network import NodeNetwork
from quorumlog.chaos.places.node_processes import NodeProcesses, PlaceOfProcesses
from quorumlog.chaos.places.place import Ability, NotPossible, PlaceKind
from quorumlog.cluster.launcher import LocalCluster
from quorumlog.cluster.layout import ClusterLayout, NodeLayout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from quorumlog.chaos.places.place import DiskOrder, LinkCondition, LinkCounts

CLIENT_PORT, PEER_PORT, METRICS_PORT = 7401, 7501, 7601


def lacks() -> dict[Ability, str]:
    """What cannot be done in namespaces on this machine, and why; all of it, where there can be none."""
    if why := namespaces.why_not():
        return dict.fromkeys(Ability, why)
    missing = {Ability.SHAPE: "packets are dropped and refused here, not delayed: run it with --where local"}
    if why := scratch.why_no_small_disks():
        missing[Ability.SMALL_DISK] = why
    return missing


class NetnsPlace(PlaceOfProcesses):
    """See the module."""

    kind = PlaceKind.NETNS

    def __init__(self, node_count: int = 3, engine: str = "raft") -> None:
        self.engine = engine
        self.nodes = tuple(range(1, node_count + 1))
        self.lacks: Mapping[Ability, str] = lacks()
        self.abilities = frozenset(Ability) - self.lacks.keys()
        self._made = ExitStack()
        self._namespaces: namespaces.Namespaces | None = None
        self._networks: dict[int, NodeNetwork] = {}
        self._homes: dict[int, Path] = {}

    # --- life

    async def start(self) -> None:
        if self.lacks.keys() == set(Ability):
            raise NotPossible(self.lacks[Ability.KILL])
        try:
            self._begun = NodeProcesses(await asyncio.to_thread(self._make))
        except CommandFailed as error:
            raise NotPossible(str(error)) from None
        await self._begun.start()

    async def close(self) -> None:
        if self._begun is not None:
            await self._begun.end()
            self._begun = None
        await asyncio.to_thread(self._made.close)

    def _make(self) -> LocalCluster:
        namespaces.sweep()
        scratch.sweep()
        ground = scratch.Scratch()
        self._made.callback(ground.remove)
        wired = self._namespaces = namespaces.Namespaces(self.nodes)
        self._made.callback(wired.remove)
        wired.make()
        for node in self.nodes:
            others = {other: wired.peer_host(other) for other in self.nodes if other != node}
            self._networks[node] = NodeNetwork(others, PEER_PORT)
            self._networks[node].enter(wired.enter(node))
        layout = ClusterLayout("chaos", tuple(self._layout(wired, node) for node in self.nodes), self.engine)
        enter = {node: wired.enter(node) for node in self.nodes}
        cluster = LocalCluster.lay_out(ground.directory / "cluster", layout, enter=enter)
        for node in self.nodes:
            home = ground.node_home(node, small=Ability.SMALL_DISK in self.abilities)
            cluster.configure(node, settings={"data_dir": str(home / "data"), "faults": str(home / DOOR_NAME)})
            self._homes[node] = home
        return cluster

    @staticmethod
    def _layout(wired: namespaces.Namespaces, node: int) -> NodeLayout:
        client, peer = wired.client_host(node), wired.peer_host(node)
        return NodeLayout(node, f"{client}:{CLIENT_PORT}", f"{peer}:{PEER_PORT}", f"{client}:{METRICS_PORT}")

    # --- links

    async def set_link(self, source: int, target: int, condition: LinkCondition) -> None:
        await asyncio.to_thread(self._networks[target].set_condition, source, condition)

    async def reset_link(self, source: int, target: int) -> None:
        await asyncio.to_thread(self._networks[source].reset, target)

    async def link_counts(self, source: int, target: int) -> LinkCounts:
        counts = await asyncio.to_thread(self._networks[target].counts, source)
        return replace(counts, reset=self._networks[source].resets(target))

    async def disconnect(self, node: int) -> None:
        await asyncio.to_thread(self._wired.unplug, node)

    async def reconnect(self, node: int) -> None:
        await asyncio.to_thread(self._wired.plug, node)

    @property
    def _wired(self) -> namespaces.Namespaces:
        if self._namespaces is None:
            raise NotPossible("this cluster has not been started")
        return self._namespaces

    # --- disks, files, clocks

    async def order_disk(self, node: int, order: DiskOrder) -> Mapping[str, Any]:
        return await fault_door.order_disk(self._homes[node] / DOOR_NAME, order)

    async def order_clock(self, node: int, *, jump_ms: int = 0, drift: float = 0.0) -> None:
        await fault_door.order_clock(self._homes[node] / DOOR_NAME, jump_ms, drift)

    def data_directory(self, node: int) -> Path:
        return self._homes[node] / "data"
