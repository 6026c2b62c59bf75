"""Commits: how many offsets a second consumers get committed on a quorum, how long one takes, and what that costs
the producers.

A consumer is a ``Claim`` that commits the next offset as soon as the last is durable; all consumers are tasks of
this one process and share its committer, as consumers of an application do.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from quorumlog.client import Producer
from quorumlog.client.claim import Claim
from quorumlog.client.errors import QuorumlogError
from quorumlog.client.offset_admin import OffsetAdmin
from quorumlog.client.offset_types import TopicPartition
from quorumlog.cluster.bench.latency import VALUE_BYTES, WRITE_BYTES
from quorumlog.cluster.bench.limits import MEGABYTE, disk_rounds
from quorumlog.cluster.bench.load import awaited_one_by_one, flood
from quorumlog.cluster.bench.statistics import Distribution, Figure, Floor, Limit, Report
from quorumlog.cluster.bench.surroundings import LIMIT_SECONDS, Surroundings
from quorumlog.cluster.failures import VerificationFailed
from quorumlog.cluster.output import counted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from quorumlog.client.receipt import Receipt

CONSUMERS = (1, 64, 1000)
MANY_PARTITIONS = 12
#: So many records are there to be committed; a consumer that gets further commits the last one again and again.
RECORDS = 20_000
#: Claims made and given back at a time.
AT_ONCE = 64
COMMIT_EVERY_S = 1.0
PRODUCED_BYTES = 1000
PRODUCE_PARTITIONS = 3
TRIALS = 4
#: Commits and appends take turns of about this length; a lone consumer, whose latency is compared with an append's,
#: of a few commits only.
TURN_S = 0.5
LONE_TURN_S = 0.01
FLOOR_CONSUMERS = 64
FLOOR_COMMITS = 6_000
FLOOR_OVER_APPEND = 1.3
FLOOR_PRODUCE_RATIO = 0.9


@dataclass(slots=True)
class _Measured:
    """Commits and, in turns with them, appends by as many tasks: every wait, and how long each kind took in all.

    ``last``: by group, the receipt acknowledged last.
    """

    commits: list[float] = field(default_factory=list)
    commits_s: float = 0.0
    appends: list[float] = field(default_factory=list)
    appends_s: float = 0.0
    last: dict[str, Receipt] = field(default_factory=dict)


async def measure(around: Surroundings, seconds: float) -> Report:
    """Commits a second and their latency on one and on many partitions, and producing beside them.

    Raises VerificationFailed when a stored offset is not the one last acknowledged.
    """
    report = Report("commits: offsets committed on a quorum, all consumers in one process")
    disk = disk_rounds(around.directory, WRITE_BYTES, LIMIT_SECONDS)
    checked = 0
    for partitions in (1, MANY_PARTITIONS):
        async with around.topic(partitions) as topic:
            await fill(around, topic, partitions)
            for consumers in CONSUMERS:
                measured = await commit_in_turns(around, topic, partitions, consumers, seconds)
                _add(report, partitions, consumers, measured, disk)
                checked += len(measured.commits)
    await _produce(around, report, seconds)
    report.verified = f"{checked:,} acknowledged commits; each stored offset is the one last acknowledged"
    return report


# ---- commits


async def commit_in_turns(
    around: Surroundings, topic: str, partitions: int, consumers: int, seconds: float
) -> _Measured:
    """Commits and appends in turns, for ``seconds`` each, to the same partitions: a machine that is shared slows
    both alike, and so does a leader that has more to do than another."""
    measured = _Measured()
    async with (
        _claims(around, topic, partitions, consumers) as claims,
        Producer(around.servers) as producer,
    ):
        turns = max(1, round(seconds / (TURN_S if consumers > 1 else LONE_TURN_S)))
        for _ in range(turns):
            begin = time.perf_counter()
            until = begin + seconds / turns
            await asyncio.gather(*(_consume(claim, until, measured) for claim in claims))
            measured.commits_s += time.perf_counter() - begin
            sent, waits = await awaited_one_by_one(producer, topic, VALUE_BYTES, consumers, seconds / turns)
            measured.appends += waits
            measured.appends_s += sent.elapsed_s
    await _check(around, measured)
    return measured


async def _consume(claim: Claim, until: float, into: _Measured) -> None:
    last = into.last.get(claim.group)
    offset = claim.acquired.start_offset if last is None else last.offset
    while (begin := time.perf_counter()) < until:
        offset = min(offset + 1, RECORDS)
        into.last[claim.group] = await claim.commit(offset)
        into.commits.append(time.perf_counter() - begin)


async def _check(around: Surroundings, measured: _Measured) -> None:
    """Fetches every consumer's offset, linearizably. Raises VerificationFailed."""
    async with OffsetAdmin(around.servers) as offsets:

        async def stored(group: str, receipt: Receipt) -> str | None:
            where = TopicPartition(receipt.topic, receipt.partition)
            fetched = (await offsets.fetch(group, [where]))[where]
            if isinstance(fetched, QuorumlogError):
                raise fetched
            found = fetched.stored
            if found is not None and (found.offset, found.version) == (receipt.offset, receipt.version):
                return None
            return f"{receipt} was acknowledged last; stored is {found}"

        complaints = await asyncio.gather(*(stored(*item) for item in measured.last.items()))
    for complaint in complaints:
        if complaint is not None:
            raise VerificationFailed(complaint)


@asynccontextmanager
async def _claims(
    around: Surroundings, topic: str, partitions: int, consumers: int
) -> AsyncIterator[Sequence[Claim]]:
    """One claim for each consumer, each of a group of its own, spread over the partitions."""
    claims: list[Claim] = []
    try:
        for first in range(0, consumers, AT_ONCE):
            opening = (
                Claim.open(around.servers, f"bench-{consumers}-{number}", topic, number % partitions)
                for number in range(first, min(first + AT_ONCE, consumers))
            )
            claims += await asyncio.gather(*opening)
        yield claims
    finally:
        for first in range(0, len(claims), AT_ONCE):
            await asyncio.gather(*(claim.close() for claim in claims[first : first + AT_ONCE]))


async def fill(around: Surroundings, topic: str, partitions: int) -> None:
    """Records to be committed, in each partition."""
    async with Producer(around.servers) as producer:
        await producer.prepare(topic)
        for partition in range(partitions):
            for _ in range(RECORDS):
                await producer.send(topic, b"", partition=partition)
        await producer.flush()


def _add(report: Report, partitions: int, consumers: int, measured: _Measured, disk: Distribution) -> None:
    commits = Distribution(measured.commits, measured.commits_s)
    appends = Distribution(measured.appends, measured.appends_s)
    name = counted(consumers, "consumer") + " on " + counted(partitions, "partition")
    as_many = f"awaited by as many tasks ({consumers:,})"
    limits = (
        Limit("one disk, 4 KiB writes + fdatasync", disk.per_second),
        Limit(f"appends {as_many}", appends.per_second),
    )
    floor = Floor(FLOOR_COMMITS) if consumers == FLOOR_CONSUMERS and partitions == 1 else None
    remark = "commits that come together share a write and an fsync" if consumers > 1 else ""
    report.add(Figure(name, commits.per_second, "commits/s", limits, floor, remark))
    for percent in (50, 99):
        limit = Limit(f"one append {as_many}, p{percent}", appends.percentile(percent) * 1000)
        report.add(Figure(f"{name}, p{percent}", commits.percentile(percent) * 1000, "ms", (limit,)))
    if consumers == 1:
        over = commits.percentile(50) / appends.percentile(50)
        floor = Floor(FLOOR_OVER_APPEND, at_most=True) if partitions == 1 else None
        report.add(Figure(f"{name}, p50 over a one-record append", over, "×", (), floor))


# ---- producing beside commits


async def _produce(around: Surroundings, report: Report, seconds: float) -> None:
    """The same flood with and without 64 consumers that each commit every second, in turns, and the turns turned
    about: a machine that drifts favours neither."""
    rates: dict[int, list[float]] = {0: [], FLOOR_CONSUMERS: []}
    for trial in range(TRIALS):
        for consumers in sorted(rates, reverse=trial % 2 == 1):
            rates[consumers].append(await _flooded(around, consumers, seconds))
    alone, beside = median(rates[0]), median(rates[FLOOR_CONSUMERS])
    report.add(
        Figure(
            f"1000 B records beside {FLOOR_CONSUMERS} consumers committing every second",
            beside,
            "MB/s",
            (Limit("without them", alone),),
        )
    )
    report.add(Figure("the same over without them", beside / alone, "×", (), Floor(FLOOR_PRODUCE_RATIO)))


async def _flooded(around: Surroundings, consumers: int, seconds: float) -> float:
    """MB/s."""
    async with (
        around.topic(PRODUCE_PARTITIONS) as topic,
        Producer(around.servers) as producer,
        _claims(around, topic, PRODUCE_PARTITIONS, consumers) as claims,
    ):
        await flood(producer, topic, PRODUCED_BYTES, LIMIT_SECONDS)
        ending = asyncio.Event()
        tasks = [asyncio.create_task(_commit_slowly(claim, ending)) for claim in claims]
        sent = await flood(producer, topic, PRODUCED_BYTES, seconds)
        ending.set()
        await asyncio.gather(*tasks)
    return len(sent.acknowledged) / sent.elapsed_s * PRODUCED_BYTES / MEGABYTE


async def _commit_slowly(claim: Claim, ending: asyncio.Event) -> None:
    """Commits every second until told to end."""
    offset = claim.acquired.start_offset
    while not ending.is_set():
        offset += 1
        await claim.commit(offset)
        try:
            async with asyncio.timeout(COMMIT_EVERY_S):
                await ending.wait()
        except TimeoutError:
            continue
