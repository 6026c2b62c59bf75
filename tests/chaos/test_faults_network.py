"""Every shape of a broken network cuts what its name says, has an effect that is seen, and is undone whole."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from chaos.fault_kit import said, under
from chaos.place_claims import Bench, bench, eventually

from quorumlog.chaos import targets
from quorumlog.chaos.faults import network, shapes
from quorumlog.chaos.faults.links import Links, worst
from quorumlog.chaos.faults.shapes import chain
from quorumlog.chaos.places.local import LocalPlace
from quorumlog.chaos.places.place import GOOD, Ability, LinkCondition
from quorumlog.sim.network import bridge, mute, one_way, ring

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quorumlog.chaos.faults import Fault

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

FIVE = (1, 2, 3, 4, 5)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on() -> AsyncIterator[Bench]:
    async with bench(LocalPlace()) as made:
        yield made


# --- geometry


def heard(cut: set[tuple[int, int]], node: int, nodes: tuple[int, ...]) -> set[int]:
    """Itself and whom it hears."""
    return {other for other in nodes if other == node or (other, node) not in cut}


@pytest.mark.parametrize("nodes", [(1, 2, 3, 4, 5), (4, 2, 5, 1, 3)])
async def test_in_a_ring_every_node_hears_a_majority_and_no_two_the_same(nodes: tuple[int, ...]) -> None:
    seen = [heard(ring(nodes), node, nodes) for node in nodes]
    assert all(len(each) == 3 for each in seen)
    assert len({frozenset(each) for each in seen}) == 5


async def test_across_a_bridge_only_the_middle_hears_everybody() -> None:
    cut = bridge(3, FIVE)
    assert heard(cut, 3, FIVE) == set(FIVE)
    assert all(len(heard(cut, node, FIVE)) == 3 for node in FIVE if node != 3)


async def test_in_a_chain_neighbours_hear_each_other_and_nobody_else() -> None:
    assert [sorted(heard(chain(FIVE), node, FIVE)) for node in FIVE] == [
        [1, 2],
        [1, 2, 3],
        [2, 3, 4],
        [3, 4, 5],
        [4, 5],
    ]
    assert chain((1, 2, 3)) == {(1, 3), (3, 1)}


async def test_one_way_shapes_are_each_others_mirror() -> None:
    assert one_way(2, FIVE) == {(target, source) for source, target in mute(2, FIVE)}
    assert heard(one_way(2, FIVE), 2, FIVE) == {2}
    assert all(2 in heard(one_way(2, FIVE), node, FIVE) for node in FIVE)


async def test_the_worst_of_all_conditions_holds() -> None:
    slow, narrow = LinkCondition(latency_ms=50), LinkCondition(bytes_per_s=1000, latency_ms=10)
    wider = LinkCondition(bytes_per_s=5000)
    assert worst([]) == GOOD
    assert worst([slow, narrow, wider]) == LinkCondition(latency_ms=50, bytes_per_s=1000)
    assert not worst([slow, network.CUT]).open


@pytest.mark.parametrize(
    ("condition", "needed"),
    [
        (network.CUT, {Ability.CUT}),
        (network.REJECT, {Ability.REJECT}),
        (network.LATENCY, {Ability.SHAPE}),
        (network.LOSSY, {Ability.SHAPE}),
        (network.NARROW, {Ability.SHAPE}),
        (GOOD, set()),
    ],
)
async def test_a_fault_needs_what_its_condition_takes(condition: LinkCondition, needed: set[Ability]) -> None:
    assert network.abilities_for(condition) == needed


# --- on real nodes


async def conditions(on: Bench) -> dict[tuple[int, int], LinkCondition]:
    """That hold now and are not good, as the place was told."""
    place: Any = on.place
    return {pair: condition for pair, condition in place._laid.items() if condition != GOOD}


LEADER_OFF = shapes.around(targets.LEADER)
SHORT: list[Fault] = [
    network.cut(shapes.around(targets.MINORITY)),
    network.cut(shapes.RING),
    network.cut(shapes.BRIDGE),
    network.cut(shapes.CHAIN),
    network.cut(shapes.LEADER_AND_FOLLOWER),
    network.cut(shapes.LEADER_TO_FOLLOWER),
    network.cut(shapes.FOLLOWER_TO_LEADER),
    network.cut(shapes.ONE_LINK),
    network.reject(LEADER_OFF),
    network.slow(shapes.EVERYWHERE),
    network.jitter(shapes.EVERYWHERE),
    network.narrow(shapes.EVERYWHERE),
    network.lossy(shapes.EVERYWHERE),
    network.Flapping(LEADER_OFF),
    network.ResetStorm(shapes.EVERYWHERE),
]


async def test_names_are_lower_case_and_unique() -> None:
    names = [fault.name for fault in SHORT]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() for name in names)
    assert "cut between followers" in {network.cut(shapes.TWO_FOLLOWERS).name}


@pytest.mark.parametrize("fault", SHORT, ids=lambda fault: fault.name)
async def test_a_fault_on_links_has_an_effect_and_leaves_none(on: Bench, fault: Fault) -> None:
    async with under(on, fault) as (struck, ended):
        assert struck.told["links"]
        await asyncio.sleep(0.6)
    assert ended.effect > 0
    assert await conditions(on) == {}
    await on.append(3)


async def test_a_leader_that_sends_and_does_not_receive_is_replaced(on: Bench) -> None:
    async with under(on, network.cut(shapes.into(targets.LEADER))) as (struck, ended):
        ((_, deaf), _) = struck.told["links"]
        await on.another_leads_than(deaf)
        await on.append()
    assert ended.effect > 0
    await on.follows(deaf)


async def test_a_leader_that_receives_and_does_not_send_is_replaced(on: Bench) -> None:
    async with under(on, network.cut(shapes.out_of(targets.LEADER))) as (struck, _):
        ((dumb, _), _) = struck.told["links"]
        await on.another_leads_than(dumb)
        await on.append()
    await on.follows(dumb)


async def test_two_followers_that_lose_each_other_cause_no_endless_elections(on: Bench) -> None:
    groups = {replica.group_id for told in (await targets.replicas(on.scene)).values() for replica in told}
    before = said(on, "LeaderElected")
    async with under(on, network.cut(shapes.TWO_FOLLOWERS)) as (struck, ended):
        leader = await on.leader()
        assert all(leader not in pair for pair in struck.told["links"])
        # Time for three elections and more of every group, were there no end to them. For a group at rest that one
        # of the two leads the link is another one, and its leader may change, once.
        await asyncio.sleep(5.0)
        await on.append()
    assert said(on, "LeaderElected") - before <= len(groups)
    assert ended.effect > 0


async def test_an_unplugged_leader_is_missed_by_the_others(on: Bench) -> None:
    async with under(on, network.Disconnect(targets.LEADER)) as (struck, ended):
        (gone,) = struck.told["nodes"]
        await on.another_leads_than(gone)
    assert ended.effect > 0
    await on.follows(gone)


async def test_faults_that_overlap_on_a_link_undo_only_their_own(on: Bench) -> None:
    everywhere = network.slow(shapes.EVERYWHERE)
    async with under(on, network.cut(LEADER_OFF)) as (struck, _):
        async with under(on, everywhere):
            pass
        left = await conditions(on)
        assert sorted(left) == sorted((source, target) for source, target in struck.told["links"])
        assert set(left.values()) == {network.CUT}
    assert await conditions(on) == {}
    await on.all_is_there()


async def test_clearing_takes_everything_off(on: Bench) -> None:
    links = Links(on.place)
    await links.lay([(1, 2), (2, 3)], network.CUT)
    await links.lay([(1, 2)], network.LATENCY)
    assert len(await conditions(on)) == 2
    await links.clear()
    assert await conditions(on) == {}


async def test_the_same_seed_chooses_the_same_shape(on: Bench) -> None:
    async def nobody() -> bool:
        return bool(await on.leader())

    await eventually("somebody leads", nobody)
    chosen = []
    for _ in range(2):
        on.scene.random = Random(7)
        chosen.append([await shape.choose(on.scene) for shape in (shapes.BRIDGE, shapes.CHAIN, shapes.ONE_LINK)])
    assert chosen[0] == chosen[1]
