"""Roles, and which nodes have them at the moment a fault strikes.

Who leads is asked of every node that runs, each about itself, and the highest term is believed: what a node knows
of *others* is what a partition makes wrong. Asking has a bound; a node that does not answer in time has no role.
When nobody has the role, the choice is empty, and the plan tries again shortly.

Prior art: Jepsen's ``:primaries``, ``:minority`` and so on of ``nemesis.combined``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.client.errors import QuorumlogError
from quorumlog.client.group_admin import COORDINATORS_TOPIC, coordinator_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from quorumlog.chaos.faults import Scene
    from quorumlog.client.types import NodeDescription, Replica

#: The controller's group, which belongs to no topic.
CONTROLLER_GROUP = 1
#: A node that says nothing for so long has no role.
ASK_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Role:
    """``name`` goes into faults' names: "kill" and "leader"."""

    name: str
    choose: Callable[[Scene], Awaitable[tuple[int, ...]]]
    """Nodes that have the role now, all of them running; empty when there are none."""


def living(scene: Scene) -> list[int]:
    """The nodes that run, ascending."""
    return [node for node in scene.place.nodes if scene.place.running(node)]


def minority_size(scene: Scene) -> int:
    """The most nodes that may be gone while the others are a majority."""
    return (len(scene.place.nodes) - 1) // 2


async def replicas(scene: Scene) -> dict[int, tuple[Replica, ...]]:
    """Every running node's own word on its replicas; without those that did not answer in time."""
    servers = dict(zip(scene.place.nodes, scene.place.servers, strict=True))

    async def ask(node: int) -> NodeDescription | None:
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                return await scene.admin.describe_node(servers[node])
        except (QuorumlogError, TimeoutError):
            return None

    nodes = living(scene)
    told = await asyncio.gather(*(ask(node) for node in nodes))
    return {node: each.replicas for node, each in zip(nodes, told, strict=True) if each is not None}


def leaders_among(told: Mapping[int, tuple[Replica, ...]]) -> dict[int, tuple[int, Replica]]:
    """group id -> (node, its replica) of whoever says that it leads, in the highest term where two do."""
    found: dict[int, tuple[int, Replica]] = {}
    for node in sorted(told):
        for replica in told[node]:
            if replica.role == "leader":
                known = found.get(replica.group_id)
                if known is None or known[1].term < replica.term:
                    found[replica.group_id] = (node, replica)
    return found


async def partition_leader(scene: Scene, topic: str, partition: int) -> int | None:
    """Who leads that partition."""
    for node, replica in leaders_among(await replicas(scene)).values():
        if (replica.topic, replica.partition) == (topic, partition):
            return node
    return None


async def a_led_partition(scene: Scene) -> tuple[int, Replica] | None:
    """Some partition of the workload's topics, as (leader, its replica)."""
    led = leaders_among(await replicas(scene))
    found = [led[group] for group in sorted(led) if led[group][1].topic in scene.topics]
    return scene.random.choice(found) if found else None


# --- roles


async def _one(scene: Scene) -> tuple[int, ...]:
    nodes = living(scene)
    return (scene.random.choice(nodes),) if nodes else ()


async def _leader(scene: Scene) -> tuple[int, ...]:
    found = await a_led_partition(scene)
    return (found[0],) if found else ()


async def _follower(scene: Scene) -> tuple[int, ...]:
    found = await a_led_partition(scene)
    others = [node for node in living(scene) if found is not None and node != found[0] and node in found[1].voters]
    return (scene.random.choice(others),) if others else ()


async def _minority(scene: Scene) -> tuple[int, ...]:
    nodes, size = living(scene), minority_size(scene)
    return tuple(sorted(scene.random.sample(nodes, size))) if 0 < size <= len(nodes) else ()


async def _minority_with_leader(scene: Scene) -> tuple[int, ...]:
    leader = await _leader(scene)
    size = minority_size(scene)
    others = [node for node in living(scene) if node not in leader]
    if not leader or not 0 < size <= len(others) + 1:
        return ()
    return tuple(sorted((*leader, *scene.random.sample(others, size - 1))))


async def _majority(scene: Scene) -> tuple[int, ...]:
    nodes, size = living(scene), len(scene.place.nodes) // 2 + 1
    return tuple(sorted(scene.random.sample(nodes, size))) if size <= len(nodes) else ()


async def _all(scene: Scene) -> tuple[int, ...]:
    return tuple(living(scene))


async def _controller(scene: Scene) -> tuple[int, ...]:
    found = leaders_among(await replicas(scene)).get(CONTROLLER_GROUP)
    return (found[0],) if found else ()


async def _coordinator(scene: Scene) -> tuple[int, ...]:
    told = await replicas(scene)
    led = {
        replica.partition: node
        for node, replica in leaders_among(told).values()
        if replica.topic == COORDINATORS_TOPIC
    }
    if not scene.groups:
        return (led[scene.random.choice(sorted(led))],) if led else ()
    # Every partition counts, also one without a leader: how many there are says where a group lives.
    numbers = [each.partition for those in told.values() for each in those if each.topic == COORDINATORS_TOPIC]
    partition = coordinator_of(scene.random.choice(scene.groups), max(numbers, default=0) + 1)
    return (led[partition],) if partition in led else ()


ONE = Role("one", _one)
LEADER = Role("leader", _leader)
"""Of some partition of the workload."""
FOLLOWER = Role("follower", _follower)
MINORITY = Role("minority", _minority)
MINORITY_WITH_LEADER = Role("minority with leader", _minority_with_leader)
MAJORITY = Role("majority", _majority)
ALL = Role("all", _all)
CONTROLLER = Role("controller", _controller)
COORDINATOR = Role("coordinator", _coordinator)
"""The leader of the partition of the internal topic that coordinates one of the workload's groups."""

ROLES = (ONE, LEADER, FOLLOWER, MINORITY, MINORITY_WITH_LEADER, MAJORITY, ALL, CONTROLLER, COORDINATOR)


def leader_of(topic: str, partition: int) -> Role:
    """The role of leading that very partition."""

    async def choose(scene: Scene) -> tuple[int, ...]:
        node = await partition_leader(scene, topic, partition)
        return () if node is None else (node,)

    return Role(f"leader of {topic}/{partition}", choose)
