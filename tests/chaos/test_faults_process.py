"""Processes that are killed, stopped, paused and restarted, and harm done with the cluster's own tools."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from chaos.fault_kit import said, under
from chaos.place_claims import Bench, bench, eventually

from quorumlog.chaos import targets
from quorumlog.chaos.faults import cluster, process
from quorumlog.chaos.faults.fault import READY
from quorumlog.chaos.places.local import LocalPlace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on() -> AsyncIterator[Bench]:
    async with bench(LocalPlace()) as made:
        yield made


async def test_a_killed_leader_is_replaced_and_comes_back(on: Bench) -> None:
    async with under(on, process.Kill(targets.LEADER)) as (struck, ended):
        (victim,) = struck.told["nodes"]
        assert not on.place.running(victim)
        await on.another_leads_than(victim)
        await on.append()
    assert ended.effect >= 2, "it was seen dead, and another was elected"
    assert on.place.running(victim)
    await on.follows(victim)


async def test_a_kill_without_duration_is_an_immediate_restart(on: Bench) -> None:
    async with under(on, process.Kill(targets.ALL)) as (struck, ended):
        assert struck.told["nodes"] == [1, 2, 3]
    assert ended.effect >= 3
    for node in on.place.nodes:
        await on.follows(node)
    await on.all_is_there()


async def test_a_stopped_node_goes_in_good_order(on: Bench) -> None:
    before = said(on, "] stopped ")
    async with under(on, process.Stop(targets.FOLLOWER)) as (struck, ended):
        assert said(on, "] stopped ") == before + 1
        await on.append()
    assert ended.effect == 1
    await on.follows(struck.told["nodes"][0])


async def test_a_short_pause_is_seen_and_harms_nothing(on: Bench) -> None:
    async with under(on, process.Pause(targets.FOLLOWER)) as (struck, ended):
        assert not on.place.running(struck.told["nodes"][0])
    assert ended.effect >= 1
    await on.all_is_there()


async def test_a_long_pause_of_the_leader_replaces_it(on: Bench) -> None:
    async with under(on, process.Pause(targets.LEADER)) as (struck, ended):
        await on.another_leads_than(struck.told["nodes"][0])
        await on.append()
    assert ended.effect >= 2
    await on.follows(struck.told["nodes"][0])
    await on.all_is_there()


@pytest.mark.parametrize("graceful", [True, False])
async def test_a_rolling_restart_brings_every_node_back_once(on: Bench, graceful: bool) -> None:
    before, stopped = said(on, READY), said(on, "] stopped ")
    async with under(on, process.RollingRestart(graceful)) as (_, ended):
        await on.append()
    assert ended.effect == 3
    assert said(on, READY) == before + 3
    assert said(on, "] stopped ") == stopped + (3 if graceful else 0)
    await on.all_is_there()


async def test_a_leadership_storm_moves_leaders_and_loses_nothing(on: Bench) -> None:
    before = said(on, "LeaderElected")
    async with under(on, cluster.LeadershipStorm()) as (_, ended):

        async def twice_elected() -> bool:
            return said(on, "LeaderElected") >= before + 2

        await eventually("leaders move", twice_elected)
        await on.append()
    assert ended.effect >= 1
    await on.all_is_there()


async def test_topic_churn_leaves_no_topic_behind(on: Bench) -> None:
    async with under(on, cluster.TopicChurn()) as (_, ended):
        await asyncio.sleep(1.0)
    assert ended.effect >= 1

    async def only_ours() -> bool:
        return [topic.name for topic in await on.scene.admin.list_topics()] == on.scene.topics

    await eventually("its topics are gone", only_ours)


async def test_nobody_to_strike_is_no_strike(on: Bench) -> None:
    on.scene.topics, topics = ["no such topic"], on.scene.topics
    try:
        assert await process.Kill(targets.LEADER).strike(on.scene) is None
    finally:
        on.scene.topics = topics


async def test_what_is_not_offered_is_named_with_its_reason() -> None:
    assert {"membership change", "drain"} <= cluster.NOT_OFFERED.keys()
    assert all(cluster.NOT_OFFERED.values())
