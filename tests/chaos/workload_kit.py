"""Runs of workloads on real clusters of three nodes: without faults, or with a leader killed amid."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from quorumlog.chaos.workloads import Setting
from quorumlog.chaos.workloads.catalog import workload_named
from quorumlog.check import Event, EventType, Expectations, Recorder, Report, judge
from quorumlog.client import Admin, GroupAdmin, QuorumlogError
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.chaos.scenario import Load
    from quorumlog.chaos.workloads import Workload
    from quorumlog.cluster.launcher import LocalCluster

NODES = {1, 2, 3}
_FORGETTING_S = 10.0


@dataclass
class Run:
    """What a run left behind."""

    events: list[Event]
    expectations: Expectations
    left: list[str]
    """Topics and groups that are still there once the workload has been closed."""

    def judged(self, change: Callable[[Event], Event | None] = lambda event: event) -> Report:
        """The verdict on the history, each event of it changed so; None leaves it out, and with an invocation goes
        what completes it."""
        changed = [each for event in self.events if (each := change(event)) is not None]
        there = {event.index for event in changed}
        return judge(
            [each for each in changed if each.invocation is None or each.invocation in there], self.expectations
        )

    def count(self, operation: str, kind: EventType = EventType.OK) -> int:
        return sum(event.operation == operation and event.type is kind for event in self.events)

    def values(self, operation: str, kind: EventType) -> list[Any]:
        return [event.value for event in self.events if event.operation == operation and event.type is kind]


def run(load: Load, seconds: float, *, kill_leader: bool = False, remove: bool = False) -> Run:
    """Has the workload load for so long; with a leader killed and started again half-way."""
    with running_cluster() as cluster:
        return asyncio.run(_run(cluster, load, seconds, kill_leader, remove))


async def _run(cluster: LocalCluster, load: Load, seconds: float, kill_leader: bool, remove: bool) -> Run:
    recorder = Recorder()
    setting = Setting(cluster.servers, load, recorder, Random(7), remove=remove)
    workload = workload_named(load.workload, setting)
    try:
        await workload.set_up()
        loading = asyncio.create_task(workload.run())
        await asyncio.sleep(seconds / 2)
        if kill_leader:
            await _kill_a_leader(cluster, workload)
        await asyncio.sleep(seconds / 2)
        marked = recorder.invoke(Setting.now_ns(), -2, "healed", "")
        recorder.complete(Setting.now_ns(), marked, EventType.OK)
        async with asyncio.timeout(15):
            while await workload.prove_alive(NODES):  # noqa: ASYNC110 - asking is what proves it
                await asyncio.sleep(0.05)
        workload.stop()
        async with asyncio.timeout(15):
            await loading
            await workload.finish()
    finally:
        await workload.close()
    recorder.close(Setting.now_ns())
    # A node that is back from its death may take a moment to hear of what was deleted meanwhile.
    await asyncio.to_thread(cluster.wait_ready)
    deadline = time.monotonic() + (_FORGETTING_S if remove else 0.0)
    while (left := await _left(cluster)) and time.monotonic() < deadline:  # noqa: ASYNC110 - asking is the test
        await asyncio.sleep(0.2)
    return Run(recorder.events, workload.expectations(), left)


async def _left(cluster: LocalCluster) -> list[str]:
    async with Admin(cluster.servers) as admin, GroupAdmin(cluster.servers, timeout_ms=2_000) as groups:
        topics = [topic.name for topic in await admin.list_topics()]
        try:
            return topics or [listing.group for listing in await groups.list()]
        except QuorumlogError as error:
            return [f"not known: {error.message}"]


async def _kill_a_leader(cluster: LocalCluster, workload: Workload) -> None:
    async with Admin(cluster.servers) as admin:
        leader = (await admin.describe_topic(workload.topics[0])).partitions[0].leader
    await asyncio.to_thread(cluster.kill, leader)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(cluster.start_node, leader)
