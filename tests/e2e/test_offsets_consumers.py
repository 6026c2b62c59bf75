"""Consumers that are processes: killed, ended, paused. What they repeat is what they had exposed, and nothing is
skipped."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from quorumlog.client import Admin, Producer
from quorumlog.client.claim import Claim
from quorumlog.client.errors import QuorumlogError
from quorumlog.client.offset_admin import OffsetAdmin
from quorumlog.client.offset_types import ChangeKind, TopicPartition
from quorumlog.cluster.demo_offsets.account import settle
from quorumlog.cluster.demo_offsets.consumers import Consumers
from quorumlog.cluster.demo_offsets.course import Blow, Course
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from quorumlog.cluster.demo_offsets.journal import Line
    from quorumlog.cluster.launcher import LocalCluster

DEADLINE_S = 60.0
RECORDS = 3_000
#: Slower than records come: so there is always something handed out, or about to be, that is not processed.
WORK_MS = 1.0
RECORDS_PER_SECOND = 2_000
SLICE = 20


@pytest.fixture(scope="module")
def cluster(engine: str) -> Iterator[LocalCluster]:
    with running_cluster(engine=engine) as cluster:
        yield cluster


def value(number: int) -> bytes:
    return b"record %d" % number


@asynccontextmanager
async def feeding(cluster: LocalCluster, topic: str, partitions: int) -> AsyncIterator[dict[int, list[int]]]:
    """A topic into which records flow at a steady pace meanwhile, all of them in the end; by partition, the CRCs of
    their values."""
    log: dict[int, list[int]] = {partition: [] for partition in range(partitions)}

    async def feed() -> None:
        async with Producer(cluster.servers) as producer:
            for number in range(RECORDS):
                await producer.send(topic, value(number), partition=number % partitions)
                log[number % partitions].append(zlib.crc32(value(number)))
                if number % SLICE == 0:
                    await asyncio.sleep(SLICE / RECORDS_PER_SECOND)

    async with Admin(cluster.servers) as admin:
        await admin.create_topic(topic, partitions)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(feed())
        yield log


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not what():  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.02)


async def committed(cluster: LocalCluster, group: str, topic: str, partitions: int) -> list[int | None]:
    async with OffsetAdmin(cluster.servers) as offsets:
        fetched = await offsets.fetch(group, [TopicPartition(topic, each) for each in range(partitions)])
    found = []
    for each in fetched.values():
        assert not isinstance(each, QuorumlogError), each
        found.append(each.stored.offset if each.stored else None)
    return found


def processed(journals: list[list[Line]]) -> int:
    """Different records, over all lives."""
    return len({line.numbers[:2] for journal in journals for line in journal if line.what == "P"})


def held(journal: list[Line]) -> set[int]:
    """The partitions that a consumer has, as far as it knows."""
    partitions: set[int] = set()
    for what, numbers in journal:
        if what == "A":
            partitions.add(numbers[0])
        elif what in "RL":
            partitions.discard(numbers[0])
    return partitions


def committed_in(journals: list[list[Line]]) -> int:
    """The highest offset that a consumer knew to be durable."""
    return max((line.numbers[1] for journal in journals for line in journal if line.what == "D"), default=0)


async def test_a_killed_consumer_repeats_at_most_its_exposure_and_skips_none(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    consumers = Consumers(cluster.servers, "killed", "killed", 1, tmp_path, work_ms=WORK_MS)
    try:
        async with feeding(cluster, "killed", 1) as log:
            consumers.start(0)
            await until(lambda: committed_in(consumers.journals()) > RECORDS // 10)
            consumers.kill(0)
            assert processed(consumers.journals()) < RECORDS, "it was to be killed while it worked"
            consumers.start(0)
        await until(lambda: processed(consumers.journals()) == RECORDS)
        consumers.stop()
    finally:
        consumers.end()
    account = settle(log, consumers.journals())
    assert account.complaints == []
    assert account.repeats <= account.exposed_by_kills
    assert await committed(cluster, "killed", "killed", 1) == [RECORDS]


async def test_sigterm_flushes_what_is_processed_and_nothing_else(cluster: LocalCluster, tmp_path: Path) -> None:
    consumers = Consumers(cluster.servers, "ended", "ended", 1, tmp_path, work_ms=WORK_MS)
    try:
        async with feeding(cluster, "ended", 2) as log:
            consumers.start(0)
            await until(lambda: processed(consumers.journals()) > RECORDS // 10)
            await asyncio.to_thread(consumers.stop)
            (journal,) = consumers.journals()
            done = [sum(line.what == "P" and line.numbers[0] == each for line in journal) for each in range(2)]
            assert 0 < sum(done) < RECORDS, "it was to be ended while it worked"
            assert await committed(cluster, "ended", "ended", 2) == done
        consumers.start(0)
        await until(lambda: processed(consumers.journals()) == RECORDS)
        consumers.stop()
    finally:
        consumers.end()
    account = settle(log, consumers.journals())
    assert (account.complaints, account.repeats, account.exposed_by_kills) == ([], 0, 0)


ZOMBIE = """
import asyncio, json, sys
from quorumlog.client.claim import Claim
from quorumlog.client.errors import QuorumlogError

async def main(servers, group, topic):
    claim = await Claim.open(servers, group, topic, 0)
    print(json.dumps(claim.commits.session), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            answer = (await claim.commit(int(line))).version
        except QuorumlogError as error:
            answer = error.reason.name
        print(json.dumps(answer), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_zombie_is_fenced_on_its_first_commit_and_its_commit_is_nowhere(cluster: LocalCluster) -> None:
    async with feeding(cluster, "haunted", 1):
        pass
    command = [sys.executable, "-c", ZOMBIE, ",".join(cluster.servers), "haunted", "haunted"]
    with subprocess.Popen(  # noqa: ASYNC220 - to be stopped and asked line by line, not awaited
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as zombie:
        try:
            assert zombie.stdin is not None
            assert zombie.stdout is not None
            session = json.loads(zombie.stdout.readline())

            def ask(offset: int) -> None:
                assert zombie.stdin is not None
                zombie.stdin.write(f"{offset}\n")
                zombie.stdin.flush()

            ask(5)
            assert isinstance(json.loads(zombie.stdout.readline()), int)
            zombie.send_signal(signal.SIGSTOP)
            async with await Claim.open(cluster.servers, "haunted", "haunted", 0) as successor:
                assert successor.acquired.start_offset == 5
                await successor.commit(7)
                ask(9)
                zombie.send_signal(signal.SIGCONT)
                assert json.loads(await asyncio.to_thread(zombie.stdout.readline)) == "FENCED"
                async with OffsetAdmin(cluster.servers) as offsets:
                    history = await offsets.history("haunted", TopicPartition("haunted", 0))
        finally:
            zombie.kill()
    own = [each.offset for each in history.changes if each.kind is ChangeKind.COMMIT and each.session == session]
    assert own == [5]
    assert max(each.offset or 0 for each in history.changes) == 7
    assert await committed(cluster, "haunted", "haunted", 1) == [7]


async def test_a_member_that_was_paused_costs_its_exposure_and_the_group_goes_on(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    consumers = Consumers(cluster.servers, "paused", "paused", 2, tmp_path)
    async with Admin(cluster.servers) as admin:
        await admin.create_topic("paused", 4)
    try:
        for number in range(2):
            consumers.start(number)
        await until(lambda: [len(held(journal)) for journal in consumers.journals()] == [2, 2])
        async with feeding(cluster, "paused", 4) as log:
            await until(lambda: processed(consumers.journals()[:1]) > 0)
            consumers.signal(0, signal.SIGSTOP)
        await until(lambda: len(held(consumers.journals()[1])) == 4)
        consumers.signal(0, signal.SIGCONT)
        await until(lambda: any(line.what == "L" for line in consumers.journals()[0]))
        await until(lambda: processed(consumers.journals()) == RECORDS)
        consumers.stop()
    finally:
        consumers.end()
    assert settle(log, consumers.journals()).complaints == []
    assert await committed(cluster, "paused", "paused", 4) == [len(log[each]) for each in range(4)]


@pytest.mark.slow
async def test_a_group_works_through_kills_of_leaders_coordinators_and_members(tmp_path: Path) -> None:
    """``make demo-offsets``, smaller."""
    lines = [(b"%d" % (number % 50), value(number)) for number in range(30_000)]
    with running_cluster() as cluster:
        outcome = await Course(cluster, lines, 6, tmp_path, lambda records, blows: None).run()
    assert outcome.complaints == []
    assert outcome.blows == dict.fromkeys(Blow, 2)
    assert outcome.rebalanced_by_coordinator == 0
    assert outcome.account.records == len(lines)
    assert outcome.account.repeats <= outcome.account.exposed_by_kills + outcome.account.exposed_by_losses
    assert len(outcome.findings) == 6
