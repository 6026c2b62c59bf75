"""Roles are who has them now: asked of the nodes themselves, bounded, and nobody when nobody has them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from chaos.place_claims import CUT, TOPIC, Bench, bench, eventually

from quorumlog.chaos import targets
from quorumlog.chaos.places.local import LocalPlace
from quorumlog.chaos.places.place import GOOD
from quorumlog.client.group_admin import COORDINATORS_TOPIC, coordinator_of
from quorumlog.client.types import Replica

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

LEADING = Replica(7, "t", 0, "leader", 1, 4, 0, 0, 0, 0, 0, 0, b"", False, "", (), (1, 2, 3))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on() -> AsyncIterator[Bench]:
    async with bench(LocalPlace(5)) as made:
        made.scene.groups.append("readers")

        async def all_led() -> bool:
            return len(targets.leaders_among(await targets.replicas(made.scene))) == 6

        await eventually("the controller, four coordinators and a partition are led", all_led)
        yield made


async def test_of_two_who_say_that_they_lead_the_higher_term_is_believed() -> None:
    told = {1: (LEADING,), 2: (replace(LEADING, term=5),), 3: (replace(LEADING, role="follower", term=9),)}
    assert targets.leaders_among(told)[7][0] == 2


async def test_sizes_of_roles(on: Bench) -> None:
    sizes = {role.name: len(await role.choose(on.scene)) for role in targets.ROLES}
    assert sizes == {
        "one": 1,
        "leader": 1,
        "follower": 1,
        "minority": 2,
        "minority with leader": 2,
        "majority": 3,
        "all": 5,
        "controller": 1,
        "coordinator": 1,
    }


async def test_leader_and_follower_belong_to_the_workloads_topics(on: Bench) -> None:
    leader = await on.leader()
    topic = await on.scene.admin.describe_topic(TOPIC)
    replicas = set(topic.partitions[0].replicas)
    assert await targets.LEADER.choose(on.scene) == (leader,)
    assert await targets.leader_of(TOPIC, 0).choose(on.scene) == (leader,)
    assert await targets.leader_of(TOPIC, 7).choose(on.scene) == ()
    for _ in range(5):
        (follower,) = await targets.FOLLOWER.choose(on.scene)
        assert follower in replicas - {leader}
        assert leader in await targets.MINORITY_WITH_LEADER.choose(on.scene)


async def test_the_controller_and_the_groups_coordinator_are_found(on: Bench) -> None:
    cluster = await on.scene.admin.metadata()
    assert await targets.CONTROLLER.choose(on.scene) == (cluster.controller,)
    (coordinators,) = [topic for topic in cluster.topics if topic.name == COORDINATORS_TOPIC]
    number = coordinator_of("readers", len(coordinators.partitions))
    assert await targets.COORDINATOR.choose(on.scene) == (coordinators.partitions[number].leader,)


async def test_nodes_that_do_not_run_have_no_role(on: Bench) -> None:
    old = await on.leader()
    await on.place.pause(old)
    try:
        assert targets.living(on.scene) == [node for node in on.place.nodes if node != old]
        assert old not in await targets.ALL.choose(on.scene)
        for _ in range(5):
            assert old not in await targets.ONE.choose(on.scene)
        await on.another_leads_than(old)
    finally:
        await on.place.resume(old)
    await on.follows(old)


async def test_a_hung_node_holds_nobody_up(on: Bench) -> None:
    class Silent:
        async def describe_node(self, _: str) -> Any:
            await asyncio.sleep(60)

    on.scene.admin, admin = Silent(), on.scene.admin  # type: ignore[assignment]
    begun = asyncio.get_running_loop().time()
    try:
        assert await targets.LEADER.choose(on.scene) == ()
    finally:
        on.scene.admin = admin
    assert asyncio.get_running_loop().time() - begun < 5 * targets.ASK_TIMEOUT_S


async def test_a_leader_that_was_cut_off_is_not_taken_for_the_leader(on: Bench) -> None:
    old = await on.leader()
    await on.isolate(old, CUT)
    await on.another_leads_than(old)
    assert await targets.LEADER.choose(on.scene) != (old,)
    await on.isolate(old, GOOD)
    await on.follows(old)
