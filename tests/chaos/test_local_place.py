"""Nodes as local processes: what can be done to them without privileges, shown by its effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from chaos import place_claims
from chaos.place_claims import CUT, Bench, bench, eventually

from quorumlog.chaos.places.local import LocalPlace
from quorumlog.chaos.places.log_words import LogWords
from quorumlog.chaos.places.place import GOOD, Ability, DiskOrder, LinkCondition, NotPossible, describe_lacks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on() -> AsyncIterator[Bench]:
    async with bench(LocalPlace()) as made:
        yield made


async def test_a_cut_off_leader_is_replaced_and_clients_reach_both_sides(on: Bench) -> None:
    await place_claims.a_cut_off_leader_is_replaced_and_clients_reach_both_sides(on)


async def test_a_one_way_cut_holds_back_one_direction(on: Bench) -> None:
    await place_claims.a_one_way_cut_holds_back_one_direction(on)


async def test_an_unplugged_leader_is_replaced_and_comes_back(on: Bench) -> None:
    await place_claims.an_unplugged_leader_is_replaced_and_comes_back(on)


async def test_killed_paused_and_stopped_nodes_are_replaced_and_keep_their_data(on: Bench) -> None:
    await place_claims.killed_paused_and_stopped_nodes_are_replaced_and_keep_their_data(on)


async def test_a_cut_outlives_the_restart_of_its_node(on: Bench) -> None:
    await place_claims.a_cut_outlives_the_restart_of_its_node(on)


async def test_disk_and_clock_obey_the_fault_door(on: Bench) -> None:
    await place_claims.disk_and_clock_obey_the_fault_door(on)


async def test_a_leader_whose_links_reject_is_replaced(on: Bench) -> None:
    old = await on.leader()
    await on.isolate(old, LinkCondition(reject=True))
    await on.another_leads_than(old)
    counts = [await on.place.link_counts(old, other) for other in on.place.nodes if other != old]
    assert sum(each.reset for each in counts) > 0
    await on.isolate(old, GOOD)
    await on.follows(old)


async def test_reconnecting_a_node_leaves_what_else_is_cut_about_it_cut(on: Bench) -> None:
    source, target = on.place.nodes[:2]
    await on.place.set_link(source, target, CUT)
    await on.place.disconnect(source)
    await on.place.reconnect(source)
    before = (await on.place.link_counts(source, target)).held_bytes

    async def still_held() -> bool:
        return (await on.place.link_counts(source, target)).held_bytes > before

    await eventually("the link is still cut", still_held)
    await on.place.set_link(source, target, GOOD)
    await on.follows(target)


async def test_writes_wait_for_slow_links_and_go_on(on: Bench) -> None:
    leader = await on.leader()
    await on.isolate(leader, LinkCondition(latency_ms=40, jitter_ms=20, stall_rate=0.05, stall_ms=100))
    await on.append(3)
    held = [(await on.place.link_counts(leader, other)).held_bytes for other in on.place.nodes if other != leader]
    assert all(held)
    await on.isolate(leader, GOOD)
    await on.all_is_there()


async def test_what_cannot_be_done_here_is_named(on: Bench) -> None:
    assert describe_lacks(on.place, [Ability.KILL, Ability.DISK]) == ""
    assert "takes root" in describe_lacks(on.place, [Ability.SMALL_DISK])


async def test_nothing_is_left_of_a_place_that_was_closed() -> None:
    place = LocalPlace(1)
    await place.start()
    directory = place.data_directory(1).parent.parent
    assert directory.exists()
    assert place.running(1)
    await place.close()
    assert not place.running(1)
    assert not directory.exists()
    await place.close()


async def test_a_place_that_was_never_started_says_so() -> None:
    place = LocalPlace()
    with pytest.raises(NotPossible, match="not been started"):
        await place.order_disk(1, DiskOrder("counts"))
    await place.close()


async def test_words_are_counted_once_and_only_in_whole_lines(tmp_path: Path) -> None:
    log, words = tmp_path / "node.log", LogWords()
    assert words.count(log, "Elected") == 0
    log.write_bytes(b"LeaderElected a\nquiet\nLeaderElec")
    assert words.count(log, "Elected") == 1
    with log.open("ab") as file:
        file.write(b"ted b\nLeaderElected LeaderElected\n")
    assert words.count(log, "Elected") == 3
    assert words.count(log, "quiet") == 1
    assert words.count(log, "Elected") == 3
