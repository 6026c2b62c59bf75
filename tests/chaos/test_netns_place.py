"""Nodes in network namespaces: what root can do to real packets, shown by its effect."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from chaos import place_claims
from chaos.place_claims import Bench, bench

from quorumlog.chaos.places import Ability, PlaceKind, namespaces, owner, scratch
from quorumlog.chaos.places.netns import NetnsPlace
from quorumlog.cluster.throwaway import disk_directory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

if why := namespaces.why_not():
    pytest.skip(why, allow_module_level=True)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on() -> AsyncIterator[Bench]:
    async with bench(NetnsPlace()) as made:
        yield made


async def test_a_cut_off_leader_is_replaced_and_clients_reach_both_sides(on: Bench) -> None:
    await place_claims.a_cut_off_leader_is_replaced_and_clients_reach_both_sides(on)


async def test_a_one_way_cut_holds_back_one_direction(on: Bench) -> None:
    await place_claims.a_one_way_cut_holds_back_one_direction(on)


async def test_a_refused_link_refuses_and_a_broken_one_is_made_again(on: Bench) -> None:
    await place_claims.a_refused_link_refuses_and_a_broken_one_is_made_again(on)


async def test_an_unplugged_leader_is_replaced_and_comes_back(on: Bench) -> None:
    await place_claims.an_unplugged_leader_is_replaced_and_comes_back(on)


async def test_killed_paused_and_stopped_nodes_are_replaced_and_keep_their_data(on: Bench) -> None:
    await place_claims.killed_paused_and_stopped_nodes_are_replaced_and_keep_their_data(on)


async def test_a_full_disk_is_said_and_the_cluster_goes_on(on: Bench) -> None:
    if why := on.place.lacks.get(Ability.SMALL_DISK):
        pytest.skip(why)
    await place_claims.a_full_disk_is_said_and_the_cluster_goes_on(on)


async def test_a_paused_node_is_killed_and_stopped_like_any_other(on: Bench) -> None:
    await place_claims.a_paused_node_is_killed_and_stopped_like_any_other(on)


async def test_disk_and_clock_obey_the_fault_door(on: Bench) -> None:
    await place_claims.disk_and_clock_obey_the_fault_door(on)


async def test_of_five_nodes_a_majority_goes_on_without_a_cut_off_minority() -> None:
    async with bench(NetnsPlace(5)) as on:
        leader = await on.leader()
        minority = [leader, next(node for node in on.place.nodes if node != leader)]
        majority = [node for node in on.place.nodes if node not in minority]
        for one in minority:
            for other in majority:
                await on.place.set_link(one, other, place_claims.CUT)
                await on.place.set_link(other, one, place_claims.CUT)
        await on.another_leads_than(leader)
        assert await on.leader() in majority
        await on.append()


async def test_what_a_crashed_run_left_is_swept_and_what_lives_is_not(on: Bench) -> None:
    mark = await asyncio.to_thread(place_claims.crashed_run, PlaceKind.NETNS)
    assert any(mark in name for name in traces())
    namespaces.sweep()
    scratch.sweep()
    assert not [name for name in traces() if mark in name]
    await on.all_is_there()


def traces() -> list[str]:
    """Namespaces, directories and mounts of any run."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    mounts = Path("/proc/self/mounts").read_text()
    directories = [path.name for path in disk_directory().glob(f"{owner.PREFIX}-*")]
    return listed.splitlines() + mounts.splitlines() + directories
