"""What must hold in every place whose links are cut by the kernel: each ability, shown by its effect on a cluster.

A ``Bench`` is a running cluster with one topic of one partition; every claim leaves it healed, and at the end all
acknowledged records must be there.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING

from quorumlog.chaos import targets
from quorumlog.chaos.faults import Scene
from quorumlog.chaos.faults.links import Links
from quorumlog.chaos.faults.small_disk import FillDisk
from quorumlog.chaos.places import owner
from quorumlog.chaos.places.place import GOOD, DiskOrder, LinkCondition
from quorumlog.chaos.targets import Role
from quorumlog.client import Admin, Producer, Reader
from quorumlog.cluster.probe import NodeProbe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from quorumlog.chaos.places import Place, PlaceKind

TOPIC = "bench"
CUT = LinkCondition(open=False)
REFUSE = LinkCondition(reject=True)
#: CHAOS.md §3 allows containers 30 s after healing; a cut-off leader must be replaced well within.
PATIENCE_S = 30.0
LOOK_S = 0.05


class Bench:
    """See the module."""

    def __init__(self, place: Place, admin: Admin, producer: Producer) -> None:
        self.place = place
        self.scene = Scene(place, admin, Random(1), Links(place), [TOPIC])
        self._producer = producer
        self._acknowledged: list[bytes] = []

    async def append(self, count: int = 20) -> None:
        """All of them acknowledged."""
        for _ in range(count):
            value = b"%d" % len(self._acknowledged)
            await self._producer.append(TOPIC, value)
            self._acknowledged.append(value)

    async def append_kib(self, kib: int) -> None:
        value = b"%d" % len(self._acknowledged) + b" " * (kib << 10)
        await self._producer.append(TOPIC, value)
        self._acknowledged.append(value)

    async def all_is_there(self) -> None:
        await self.append()
        async with Reader(self.place.servers, TOPIC, stop_at_end=True) as reader:
            read = [record.value async for record in reader]
        assert read == self._acknowledged

    async def leader(self) -> int:
        """Of the nodes that answer, the one that leads in the highest term; 0 if none does."""
        return await targets.partition_leader(self.scene, TOPIC, 0) or 0

    async def another_leads_than(self, node: int) -> None:
        async def replaced() -> bool:
            return await self.leader() not in (0, node)

        await eventually(f"node {node} is replaced as leader", replaced)

    async def answers_clients(self, node: int) -> bool:
        """Its client listener is reached, whatever is cut between nodes."""
        server = self.place.servers[self.place.nodes.index(node)]

        def ask() -> bool:
            with NodeProbe(server) as probe:
                return probe.serving(2.0)

        return await asyncio.to_thread(ask)

    async def follows(self, node: int) -> None:
        """It has caught up: it agrees with the leader on the term and has applied what it has."""

        async def caught_up() -> bool:
            leader, told = await self.leader(), await targets.replicas(self.scene)
            states = [
                (replica.term, replica.last_index)
                for each in (leader, node)
                for replica in told.get(each, ())
                if replica.topic == TOPIC
            ]
            return len(states) == 2 and states[0] == states[1]

        await eventually(f"node {node} follows", caught_up)

    async def isolate(self, node: int, condition: LinkCondition) -> None:
        for other in self.place.nodes:
            if other != node:
                await self.place.set_link(node, other, condition)
                await self.place.set_link(other, node, condition)


@asynccontextmanager
async def bench(place: Place) -> AsyncIterator[Bench]:
    """Starts the place, and takes it down again."""
    try:
        await place.start()
        async with Admin(place.servers) as admin, Producer(place.servers) as producer:
            await admin.create_topic(TOPIC)
            await producer.append(TOPIC, b"first")
            made = Bench(place, admin, producer)
            made._acknowledged.append(b"first")
            yield made
    finally:
        await place.close()


async def eventually(claim: str, holds: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await holds():
        assert time.monotonic() < deadline, f"not in {PATIENCE_S} s: {claim}"
        await asyncio.sleep(LOOK_S)


def crashed_run(kind: PlaceKind) -> str:
    """A run of another process that was killed while its cluster stood; the mark in the names of what it left."""
    child = subprocess.Popen([sys.executable, "-c", CRASHING, kind], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        return f"-{owner.mark(child.pid)}-"
    finally:
        child.kill()
        child.wait()


CRASHING = """
import asyncio, sys
from quorumlog.chaos.places import PlaceKind
from quorumlog.chaos.places.containers import ContainersPlace
from quorumlog.chaos.places.netns import NetnsPlace

async def main():
    place = {PlaceKind.NETNS: NetnsPlace, PlaceKind.CONTAINERS: ContainersPlace}[sys.argv[1]]()
    await place.start()
    print("up", flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


# --- the claims


async def a_cut_off_leader_is_replaced_and_clients_reach_both_sides(on: Bench) -> None:
    old = await on.leader()
    other = next(node for node in on.place.nodes if node != old)
    before = (await on.place.link_counts(old, other)).held_bytes
    await on.isolate(old, CUT)
    await on.another_leads_than(old)
    await on.append()
    assert await on.answers_clients(old)
    assert (await on.place.link_counts(old, other)).held_bytes > before
    await on.isolate(old, GOOD)
    await on.follows(old)
    await on.all_is_there()


async def a_one_way_cut_holds_back_one_direction(on: Bench) -> None:
    source, target = on.place.nodes[:2]
    there, back = await on.place.link_counts(source, target), await on.place.link_counts(target, source)
    await on.place.set_link(source, target, CUT)

    async def held() -> bool:
        return (await on.place.link_counts(source, target)).held_bytes > there.held_bytes

    await eventually("something is held back", held)
    assert (await on.place.link_counts(target, source)).held_bytes == back.held_bytes
    await on.append()
    await on.place.set_link(source, target, GOOD)
    await on.follows(target)
    await on.all_is_there()


async def a_refused_link_refuses_and_a_broken_one_is_made_again(on: Bench) -> None:
    source, target = on.place.nodes[:2]
    before = await on.place.link_counts(source, target)
    await on.place.reset_link(source, target)
    assert (await on.place.link_counts(source, target)).reset > before.reset
    await on.place.set_link(source, target, REFUSE)

    async def refused() -> bool:
        return (await on.place.link_counts(source, target)).refused > before.refused

    await eventually("a connection is refused", refused)
    await on.place.set_link(source, target, GOOD)
    await on.follows(target)
    await on.all_is_there()


async def an_unplugged_leader_is_replaced_and_comes_back(on: Bench) -> None:
    old = await on.leader()
    await on.place.disconnect(old)
    await on.another_leads_than(old)
    await on.append()
    assert await on.answers_clients(old)
    await on.place.reconnect(old)
    await on.follows(old)
    await on.all_is_there()


async def killed_paused_and_stopped_nodes_are_replaced_and_keep_their_data(on: Bench) -> None:
    place, killed = on.place, await on.leader()
    await place.kill(killed)
    assert not place.running(killed)
    await on.another_leads_than(killed)
    await place.start_node(killed)
    await on.follows(killed)

    paused = await on.leader()
    await place.pause(paused)
    assert not place.running(paused)
    await on.another_leads_than(paused)
    await place.resume(paused)
    assert place.running(paused)
    await on.follows(paused)

    stopped = await on.leader()
    await place.stop(stopped)
    assert not place.running(stopped)
    assert place.said(stopped, "] stopped ")
    assert any(place.data_directory(stopped).rglob("*.segment"))
    await place.start_node(stopped)
    await on.follows(stopped)
    await on.all_is_there()


async def a_paused_node_is_killed_and_stopped_like_any_other(on: Bench) -> None:
    node = on.place.nodes[-1]
    for end in (on.place.kill, on.place.stop):
        await on.place.pause(node)
        await end(node)
        assert not on.place.running(node)
        await on.place.start_node(node)
        await on.follows(node)
    await on.all_is_there()


async def a_cut_outlives_the_restart_of_its_node(on: Bench) -> None:
    leader = await on.leader()
    node = next(node for node in on.place.nodes if node != leader)
    await on.isolate(node, CUT)
    await on.place.kill(node)
    before = await on.place.link_counts(leader, node)
    await on.place.start_node(node)

    async def held() -> bool:
        return (await on.place.link_counts(leader, node)).held_bytes > before.held_bytes

    await eventually("the restarted node is still cut off", held)
    await on.isolate(node, GOOD)
    await on.follows(node)
    await on.all_is_there()


async def a_full_disk_is_said_and_the_cluster_goes_on(on: Bench) -> None:
    leader = await on.leader()

    async def that_one(_: Scene) -> tuple[int, ...]:
        return (leader,)

    struck = await FillDisk(Role("the leader", that_one)).strike(on.scene)
    assert struck is not None
    try:
        for _ in range(30):
            await on.append_kib(64)
            if on.place.said(leader, "DiskFull"):
                break
        await on.another_leads_than(leader)
        await on.append()
    finally:
        effect = await struck.undo()
    assert effect > 0
    await on.follows(leader)
    await on.all_is_there()


async def disk_and_clock_obey_the_fault_door(on: Bench) -> None:
    leader = await on.leader()
    await on.place.order_disk(leader, DiskOrder("power", seed=7))

    async def gone() -> bool:
        return not on.place.running(leader)

    await eventually("the node without power is gone", gone)
    await on.another_leads_than(leader)
    await on.place.start_node(leader)
    await on.follows(leader)
    await on.place.order_clock(leader, jump_ms=3_600_000)
    await on.append()
    await on.place.order_clock(leader, jump_ms=-3_600_000)
    await on.all_is_there()
