"""Shapes of a broken network: which directed links a fault lies on, chosen when it strikes.

The pure geometry is the simulator's (``quorumlog.sim.network``), so that a shape means the same there and here; who
stands where in it is chosen here, by role. CHAOS.md §3 names the shapes; the ring is Jepsen's
"majorities ring", the bridge its "bridge", and the partial partition between two followers is what made etcd's and
others' leaders alternate for ever (Alquraan et al., OSDI 2018; Cloudflare's outage of November 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.chaos import targets
from quorumlog.sim.network import apart, bridge, mute, one_way, ring

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quorumlog.chaos.faults.fault import Scene
    from quorumlog.chaos.targets import Role

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """``name`` goes into faults' names: "cut" and "bridge"."""

    name: str
    choose: Callable[[Scene], Awaitable[set[Pair]]]
    """The directed links it lies on; empty when it cannot be made just now."""


def around(role: Role) -> Shape:
    """All links of the role's nodes with the others, both ways; links among them stay."""

    async def choose(scene: Scene) -> set[Pair]:
        nodes = await role.choose(scene)
        return apart(nodes, [node for node in scene.place.nodes if node not in nodes])

    return Shape(f"off {role.name}", choose)


def into(role: Role) -> Shape:
    """Only what flows to the role's node: it can send and not receive."""

    async def choose(scene: Scene) -> set[Pair]:
        return {pair for node in await role.choose(scene) for pair in one_way(node, scene.place.nodes)}

    return Shape(f"into {role.name}", choose)


def out_of(role: Role) -> Shape:
    """Only what flows from the role's node: it can receive and not send."""

    async def choose(scene: Scene) -> set[Pair]:
        return {pair for node in await role.choose(scene) for pair in mute(node, scene.place.nodes)}

    return Shape(f"out of {role.name}", choose)


async def _ring(scene: Scene) -> set[Pair]:
    return ring(_shuffled(scene))


async def _bridge(scene: Scene) -> set[Pair]:
    nodes = _shuffled(scene)
    return bridge(nodes[0], nodes)


async def _chain(scene: Scene) -> set[Pair]:
    return chain(_shuffled(scene))


async def _everywhere(scene: Scene) -> set[Pair]:
    nodes = scene.place.nodes
    return {(one, other) for one in nodes for other in nodes if one != other}


async def _two_followers(scene: Scene) -> set[Pair]:
    _, followers = await _led(scene)
    return apart(*_split(scene.random.sample(followers, 2))) if len(followers) > 1 else set()


async def _leader_and_follower(scene: Scene) -> set[Pair]:
    leader, followers = await _led(scene)
    return apart([leader], [scene.random.choice(followers)]) if followers else set()


async def _leader_to_follower(scene: Scene) -> set[Pair]:
    leader, followers = await _led(scene)
    return {(leader, scene.random.choice(followers))} if followers else set()


async def _follower_to_leader(scene: Scene) -> set[Pair]:
    return {(follower, leader) for leader, follower in await _leader_to_follower(scene)}


async def _one_link(scene: Scene) -> set[Pair]:
    return apart(*_split(scene.random.sample(scene.place.nodes, 2)))


RING = Shape("ring", _ring)
"""Every node hears a majority, and no two the same one; of three nodes it is one cut link."""
BRIDGE = Shape("bridge", _bridge)
"""Two halves that only one node can talk to."""
CHAIN = Shape("chain", _chain)
"""Every node hears its neighbours only."""
EVERYWHERE = Shape("everywhere", _everywhere)
TWO_FOLLOWERS = Shape("between followers", _two_followers)
"""A partial partition that the leader does not see."""
LEADER_AND_FOLLOWER = Shape("leader and follower", _leader_and_follower)
LEADER_TO_FOLLOWER = Shape("leader to follower", _leader_to_follower)
"""One direction of one link."""
FOLLOWER_TO_LEADER = Shape("follower to leader", _follower_to_leader)
ONE_LINK = Shape("one link", _one_link)


def chain(nodes: tuple[int, ...]) -> set[Pair]:
    """All pairs but those of neighbours."""
    return {
        (one, other)
        for i, one in enumerate(nodes)
        for j, other in enumerate(nodes)
        if one != other and abs(i - j) > 1
    }


def _shuffled(scene: Scene) -> tuple[int, ...]:
    return tuple(scene.random.sample(scene.place.nodes, len(scene.place.nodes)))


def _split(pair: list[int]) -> tuple[list[int], list[int]]:
    return pair[:1], pair[1:]


async def _led(scene: Scene) -> tuple[int, list[int]]:
    """The leader of some partition and its followers, whether they run or not; (0, []) when none is led."""
    found = await targets.a_led_partition(scene)
    if found is None:
        return 0, []
    leader, replica = found
    return leader, sorted(node for node in replica.voters if node != leader)
