"""Nodes in containers of the image that users run: what docker and root can do to them, shown by its effect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from chaos import place_claims
from chaos.place_claims import Bench, bench

from quorumlog.chaos.places import Ability, PlaceKind, docker_engine, scratch
from quorumlog.chaos.places.containers import ContainersPlace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

if why := docker_engine.why_not():
    pytest.skip(why, allow_module_level=True)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on() -> AsyncIterator[Bench]:
    async with bench(ContainersPlace()) as made:
        yield made


def needs(on: Bench, ability: Ability) -> None:
    if why := on.place.lacks.get(ability):
        pytest.skip(why)


async def test_an_unplugged_leader_is_replaced_and_comes_back(on: Bench) -> None:
    await place_claims.an_unplugged_leader_is_replaced_and_comes_back(on)


async def test_killed_paused_and_stopped_nodes_are_replaced_and_keep_their_data(on: Bench) -> None:
    await place_claims.killed_paused_and_stopped_nodes_are_replaced_and_keep_their_data(on)


async def test_a_cut_off_leader_is_replaced_and_clients_reach_both_sides(on: Bench) -> None:
    needs(on, Ability.CUT)
    await place_claims.a_cut_off_leader_is_replaced_and_clients_reach_both_sides(on)


async def test_a_one_way_cut_holds_back_one_direction(on: Bench) -> None:
    needs(on, Ability.CUT)
    await place_claims.a_one_way_cut_holds_back_one_direction(on)


async def test_a_cut_outlives_the_restart_of_its_container(on: Bench) -> None:
    needs(on, Ability.CUT)
    await place_claims.a_cut_outlives_the_restart_of_its_node(on)


async def test_a_refused_link_refuses_and_a_broken_one_is_made_again(on: Bench) -> None:
    needs(on, Ability.REJECT)
    await place_claims.a_refused_link_refuses_and_a_broken_one_is_made_again(on)


async def test_a_full_disk_is_said_and_the_cluster_goes_on(on: Bench) -> None:
    needs(on, Ability.SMALL_DISK)
    await place_claims.a_full_disk_is_said_and_the_cluster_goes_on(on)


async def test_a_paused_node_is_killed_and_stopped_like_any_other(on: Bench) -> None:
    await place_claims.a_paused_node_is_killed_and_stopped_like_any_other(on)


async def test_disk_and_clock_obey_the_fault_door(on: Bench) -> None:
    await place_claims.disk_and_clock_obey_the_fault_door(on)


async def test_of_five_containers_a_majority_goes_on_without_two_that_are_unplugged() -> None:
    async with bench(ContainersPlace(5)) as on:
        leader = await on.leader()
        for node in (leader, next(node for node in on.place.nodes if node != leader)):
            await on.place.disconnect(node)
        await on.another_leads_than(leader)
        await on.append()
        await on.all_is_there()


async def test_what_a_crashed_run_left_is_swept_and_what_lives_is_not(on: Bench) -> None:
    engine = docker_engine.client()
    mark = await asyncio.to_thread(place_claims.crashed_run, PlaceKind.CONTAINERS)

    def left() -> list[object]:
        labelled = {"label": docker_engine.LABEL}
        containers = engine.containers.list(all=True, filters=labelled)
        networks = engine.networks.list(filters=labelled)
        return [each for each in containers if mark in each.labels[docker_engine.LABEL]] + [
            each for each in networks if mark in each.attrs["Labels"][docker_engine.LABEL]
        ]

    assert len(left()) == 3 + 2
    docker_engine.sweep(engine)
    scratch.sweep()
    assert not left()
    engine.close()
    await on.all_is_there()
