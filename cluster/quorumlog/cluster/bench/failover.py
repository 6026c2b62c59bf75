"""Failover: how long writing stops when a partition's leader dies, hangs, or is cut off from the others.

Under a steady load of 100 records/s. A trial's figure is the time from the blow to the first acknowledgement of a
record that was sent after it, so an answer that was on its way already does not count.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from quorumlog.client import Admin, Producer, QuorumlogError
from quorumlog.cluster.bench.ledger import compare, read_numbers
from quorumlog.cluster.bench.load import SteadyLoad
from quorumlog.cluster.bench.statistics import Distribution, Figure, Floor, Limit, Report
from quorumlog.cluster.links.control import LinkedCluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from quorumlog.cluster.bench.surroundings import Surroundings
    from quorumlog.cluster.launcher import LocalCluster

RECORDS_PER_SECOND = 100
FLOOR_KILL_MEDIAN_MS = 200
FLOOR_KILL_WORST_MS = 1000
FLOOR_HANG_WORST_MS = 2500
#: Hung and cut-off leaders take seconds each: fewer trials.
FEWER = 4
GIVE_UP_SECONDS = 30.0
#: Between trials, so that each begins in a steady state.
CALM_SECONDS = 0.5


async def measure(around: Surroundings, cluster: LocalCluster, linked: LocalCluster, trials: int) -> Report:
    """SIGKILL ``trials`` times; SIGSTOP and cutting off a fourth as often. ``linked`` is planned, not yet started.

    Raises VerificationFailed when an acknowledged record was lost or is there twice.
    """
    report = Report(f"failover: the next acknowledged write, under {RECORDS_PER_SECOND} records/s")
    fewer = max(1, trials // FEWER)
    acknowledged = unknown = 0
    for name, floors, each in (
        ("leader killed (SIGKILL)", (FLOOR_KILL_MEDIAN_MS, FLOOR_KILL_WORST_MS), kills(around, cluster, trials)),
        ("leader hung (SIGSTOP)", (None, FLOOR_HANG_WORST_MS), _pauses(around, cluster, fewer)),
        ("leader cut off from the others", (None, FLOOR_HANG_WORST_MS), _cuts(around, linked, fewer)),
    ):
        outcome = await each
        _add(report, name, outcome, floors)
        acknowledged += outcome.acknowledged
        unknown += outcome.unacknowledged
    report.verified = f"{acknowledged:,} acknowledged records, each read back once and in order"
    if unknown:
        report.verified += f"; {unknown:,} of unknown outcome are there once"
    return report


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The trials of one kind of blow, and what reading everything back has shown."""

    seconds: list[float]
    #: How long writes took before the first blow.
    steady: list[float]
    acknowledged: int
    unacknowledged: int


def _add(report: Report, name: str, outcome: _Outcome, floors: tuple[int | None, int]) -> None:
    times = Distribution(outcome.seconds)
    limits = (Limit("one write while all is well", Distribution(outcome.steady).percentile(50) * 1000),)
    median_floor, worst_floor = floors
    name = f"{name}, {len(times)} trials"
    floor = None if median_floor is None else Floor(median_floor, at_most=True)
    report.add(Figure(f"{name}, median", times.percentile(50) * 1000, "ms", limits, floor))
    report.add(Figure(f"{name}, worst", times.worst * 1000, "ms", limits, Floor(worst_floor, at_most=True)))


async def kills(around: Surroundings, cluster: LocalCluster, trials: int) -> _Outcome:
    """SIGKILL of the leader, ``trials`` times; each time the node is started again before the next."""

    async def blow(leader: int) -> None:
        cluster.send_signal(leader, signal.SIGKILL)

    async def mend(leader: int) -> None:
        cluster.kill(leader)
        cluster.start_node(leader)
        await asyncio.to_thread(cluster.wait_ready)

    return await _trials(around, trials, blow, mend)


async def _pauses(around: Surroundings, cluster: LocalCluster, trials: int) -> _Outcome:
    async def blow(leader: int) -> None:
        cluster.send_signal(leader, signal.SIGSTOP)

    async def mend(leader: int) -> None:
        cluster.send_signal(leader, signal.SIGCONT)
        await asyncio.to_thread(cluster.wait_ready)

    return await _trials(around, trials, blow, mend)


async def _cuts(around: Surroundings, planned: LocalCluster, trials: int) -> _Outcome:
    async with _linked(planned) as links:

        async def blow(leader: int) -> None:
            await links.cut_off(leader)

        async def mend(_leader: int) -> None:
            await links.heal()

        return await _trials(replace(around, servers=planned.servers), trials, blow, mend)


@asynccontextmanager
async def _linked(planned: LocalCluster) -> AsyncIterator[LinkedCluster]:
    """Starts the planned cluster with a link between every two nodes."""
    links = LinkedCluster(planned)
    try:
        await links.install()
        planned.start()
        await asyncio.to_thread(planned.wait_ready)
        yield links
    finally:
        planned.stop()
        await links.close()


async def _trials(
    around: Surroundings,
    trials: int,
    blow: Callable[[int], Awaitable[None]],
    mend: Callable[[int], Awaitable[None]],
) -> _Outcome:
    """Blow after blow at whichever node leads the partition, each mended before the next."""
    seconds = []
    async with around.topic(1) as topic:
        async with Admin(around.servers) as admin, Producer(around.servers) as producer:
            load = SteadyLoad(producer, topic, RECORDS_PER_SECOND)
            load.start()
            await asyncio.sleep(2 * CALM_SECONDS)
            steady = [acknowledged_at - sent_at for sent_at, acknowledged_at in load.acknowledgements]
            for _ in range(trials):
                leader = await _calm_leader(admin, topic)
                begin = time.perf_counter()
                await blow(leader)
                async with asyncio.timeout(GIVE_UP_SECONDS):
                    seconds.append(await load.first_acknowledged_of_those_sent_after(begin) - begin)
                await mend(leader)
            await load.stop()
        comparison = compare(load.sent.acknowledged, load.sent.unknown, await read_numbers(around.servers, topic))
    return _Outcome(seconds, steady, comparison.acknowledged, comparison.unacknowledged)


async def _calm_leader(admin: Admin, topic: str) -> int:
    """The partition's leader, once every follower has been in step with it for a while."""
    async with asyncio.timeout(GIVE_UP_SECONDS):
        while True:
            leader = await _leader_in_step(admin, topic)
            if leader:
                await asyncio.sleep(CALM_SECONDS)
                if leader == await _leader_in_step(admin, topic):
                    return leader
            await asyncio.sleep(CALM_SECONDS / 10)


async def _leader_in_step(admin: Admin, topic: str) -> int:
    """The leader of the only partition if its followers replicate and lack nothing committed, or 0."""
    for node in (await admin.describe_nodes()).values():
        for replica in () if isinstance(node, QuorumlogError) else node.replicas:
            if replica.topic == topic and replica.role == "leader":
                in_step = all(
                    follower.state == "replicate" and follower.match_index >= replica.commit_index
                    for follower in replica.followers
                )
                return replica.leader if in_step else 0
    return 0
