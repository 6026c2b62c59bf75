"""Nodes in containers of the image that users run, through testcontainers.

Every node stands in two networks: clients reach it in one that is never cut, the other nodes in one that is. What
docker can do to a container (kill, stop, pause, unplug) is done by docker. A container gets no privilege for the
rest: single directed links are cut from outside, in its network namespace, which takes root on the engine's host;
disks and clocks are disturbed through the node's fault door, a Unix socket in a directory that host and container
share.

Linux only: clients talk to containers' own addresses, which elsewhere lie inside a virtual machine.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quorumlog.chaos.places import docker_engine, fault_door, scratch
from quorumlog.chaos.places.container_node import ContainerNode, Home, Networks
from quorumlog.chaos.places.node_network import why_no_iptables
from quorumlog.chaos.places.place import GOOD, Ability, DiskOrder, LinkCondition, LinkCounts, NotPossible, PlaceKind
from quorumlog.cluster.launcher import NodeFailed
from quorumlog.cluster.probe import NodeProbe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Two cores start five interpreters and an engine's worth of namespaces.
START_TIMEOUT_S = 60.0
_LOOK_S = 0.1
_LINES_SHOWN = 5


def lacks() -> dict[Ability, str]:
    """What cannot be done to containers on this machine, and why; all of it, where there can be none."""
    if why := docker_engine.why_not():
        return dict.fromkeys(Ability, why)
    missing = {Ability.SHAPE: "packets are dropped and refused here, not delayed: run it with --where local"}
    if why := why_no_iptables():
        missing |= dict.fromkeys((Ability.CUT, Ability.REJECT, Ability.RESET), why)
    if why := scratch.why_no_small_disks():
        missing[Ability.SMALL_DISK] = why
    return missing


class ContainersPlace:
    """See the module."""

    kind = PlaceKind.CONTAINERS

    def __init__(self, node_count: int = 3, engine: str = "raft") -> None:
        self.engine = engine
        self.nodes = tuple(range(1, node_count + 1))
        self.lacks: Mapping[Ability, str] = lacks()
        self.abilities = frozenset(Ability) - self.lacks.keys()
        self._made = ExitStack()
        self._networks: Networks | None = None
        self._members: dict[int, ContainerNode] = {}

    @property
    def servers(self) -> list[str]:
        if self._networks is None:
            raise NotPossible("this cluster has not been started")
        return [f"{self._networks.client_address(node)}:7401" for node in self.nodes]

    # --- life

    async def start(self) -> None:
        await asyncio.to_thread(self._make)
        await asyncio.to_thread(self._wait_ready)

    async def close(self) -> None:
        await asyncio.to_thread(self._made.close)
        self._members.clear()

    def _make(self) -> None:
        engine = docker_engine.client()
        self._made.callback(engine.close)
        docker_engine.sweep(engine)
        scratch.sweep()
        ground = scratch.Scratch()
        self._made.callback(ground.remove)
        number, clients, peers = docker_engine.make_networks()
        self._made.callback(clients.remove)
        self._made.callback(peers.remove)
        networks = self._networks = Networks(clients, peers, number)
        environment = {
            "QUORUMLOG_CLUSTER_ID": f"chaos-{number}",
            "QUORUMLOG_NODES": networks.entries(self.nodes),
            "QUORUMLOG_ENGINE": self.engine,
            # As the launcher has it: faults look for words in it, and reports read it.
            "QUORUMLOG_LOG_FORMAT": "console",
        }
        cuts = Ability.CUT in self.abilities
        for node in self.nodes:
            home = Home(ground.node_home(node, small=Ability.SMALL_DISK in self.abilities))
            member = self._members[node] = ContainerNode(engine, networks, node, home, self.nodes, cuts)
            self._made.callback(member.remove)
            member.make(environment)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        for node, server in zip(self.nodes, self.servers, strict=True):
            with NodeProbe(server) as probe:
                while not (probe.serving() and (seen := probe.metadata()) and seen.controller_node_id):
                    self._check_starting(node, deadline)
                    time.sleep(_LOOK_S)

    def _check_starting(self, node: int, deadline: float) -> None:
        running = self._members[node].state()["Running"]
        if running and time.monotonic() < deadline:
            return
        said = b"\n".join(self._members[node].log().splitlines()[-_LINES_SHOWN:]).decode(errors="replace")
        complaint = "did not come to serve in time" if running else "ended"
        raise NodeFailed(f"node {node} {complaint}; it said last:\n{said}")

    async def keep_logs(self, directory: Path) -> None:
        for node, member in self._members.items():
            said = await asyncio.to_thread(member.log)
            await asyncio.to_thread((directory / f"node-{node}.log").write_bytes, said)

    def said(self, node: int, word: str) -> int:
        sought = word.encode()
        return sum(sought in line for line in self._members[node].log().splitlines())

    # --- processes

    def running(self, node: int) -> bool:
        state = self._members[node].state()
        return bool(state["Running"] and not state["Paused"])

    async def kill(self, node: int) -> None:
        await asyncio.to_thread(self._members[node].kill)

    async def stop(self, node: int) -> None:
        await asyncio.to_thread(self._members[node].stop)

    async def start_node(self, node: int) -> None:
        await asyncio.to_thread(self._members[node].start)

    async def pause(self, node: int) -> None:
        await asyncio.to_thread(self._members[node].pause)

    async def resume(self, node: int) -> None:
        await asyncio.to_thread(self._members[node].resume)

    # --- links

    async def set_link(self, source: int, target: int, condition: LinkCondition) -> None:
        if condition != GOOD:
            self._need(Ability.CUT)
        await asyncio.to_thread(
            self._members[target].in_network, lambda network: network.set_condition(source, condition)
        )

    async def reset_link(self, source: int, target: int) -> None:
        self._need(Ability.RESET)
        await asyncio.to_thread(self._members[source].in_network, lambda network: network.reset(target))

    async def link_counts(self, source: int, target: int) -> LinkCounts:
        into, out_of = self._members[target].in_network, self._members[source].in_network
        counts: LinkCounts = await asyncio.to_thread(into, lambda network: network.counts(source))
        return replace(counts, reset=await asyncio.to_thread(out_of, lambda network: network.resets(target)))

    async def disconnect(self, node: int) -> None:
        await asyncio.to_thread(self._members[node].disconnect)

    async def reconnect(self, node: int) -> None:
        await asyncio.to_thread(self._members[node].reconnect)

    # --- disks, files, clocks

    async def order_disk(self, node: int, order: DiskOrder) -> Mapping[str, Any]:
        return await fault_door.order_disk(self._members[node].home.door, order)

    async def order_clock(self, node: int, *, jump_ms: int = 0, drift: float = 0.0) -> None:
        await fault_door.order_clock(self._members[node].home.door, jump_ms, drift)

    def data_directory(self, node: int) -> Path:
        return self._members[node].home.data

    def _need(self, ability: Ability) -> None:
        if ability in self.lacks:
            raise NotPossible(self.lacks[ability])
