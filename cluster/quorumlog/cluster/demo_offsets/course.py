"""How the demonstration goes: records flow in at a steady pace, and at even distances somebody is killed.

The blows go round: the leader of a partition, a consumer, the leader of the group's coordinator. Whoever was killed
is started again at once, and the next blow waits until all take part again: two of three nodes down at a time would
prove nothing but that a majority is needed. The feed waits too, so that records flow at every blow.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from quorumlog.client import Admin, Producer, Reader
from quorumlog.client.errors import QuorumlogError
from quorumlog.client.group_admin import COORDINATORS_TOPIC, GroupAdmin, coordinator_of
from quorumlog.client.offset_types import TopicPartition
from quorumlog.cluster.demo_offsets.account import settle
from quorumlog.cluster.demo_offsets.consumers import Consumers
from quorumlog.cluster.failures import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from quorumlog.client.verification import PartitionFindings
    from quorumlog.cluster.demo_offsets.account import Account
    from quorumlog.cluster.launcher import LocalCluster

TOPIC = "demo"
GROUP = "demo-readers"
PARTITIONS = 6
CONSUMERS = 3
RECORDS_PER_SECOND = 8_000
#: Records sent between two looks at the clock.
SLICE = 100
#: For a partition or a coordinator to have a leader again.
LEADER_DEADLINE_S = 30.0
#: For the consumers to have committed everything after the last record and the last blow.
DRAIN_DEADLINE_S = 60.0
POLL_S = 0.1


class Blow(StrEnum):
    """Who is killed."""

    PARTITION = "leader of a partition"
    CONSUMER = "consumer"
    COORDINATOR = "leader of the coordinator"


ROUND = (Blow.PARTITION, Blow.CONSUMER, Blow.COORDINATOR)


@dataclass(slots=True)
class Outcome:
    """What is known at the end, for the account and for people."""

    account: Account
    blows: dict[Blow, int] = field(default_factory=dict)
    findings: list[PartitionFindings] = field(default_factory=list)
    feed_s: float = 0.0
    total_s: float = 0.0
    #: Blows at the coordinator's leader after which the group had another generation: none may be.
    rebalanced_by_coordinator: int = 0

    @property
    def complaints(self) -> list[str]:
        """Everything that breaks a promise."""
        wrong = [
            f"{each.topic}/{each.partition}, {found.group}: {found.finding}: {found.explanation}"
            for each in self.findings
            for found in each.groups
            if found.wrong
        ]
        missing = [
            f"{each.topic}/{each.partition}: node {node} was not compared: {why}"
            for each in self.findings
            for node, why in each.missing.items()
        ]
        generations = self.rebalanced_by_coordinator
        moved = [f"the death of a coordinator's leader changed the generation {generations} times"]
        return [*self.account.complaints, *wrong, *missing, *(moved if generations else [])]


class Course:
    """One demonstration over one cluster."""

    def __init__(
        self,
        cluster: LocalCluster,
        lines: Sequence[tuple[bytes, bytes]],
        blows: int,
        directory: Path,
        advance: Callable[[int, int], None],
    ) -> None:
        """``lines``: key and value of each record. ``advance(records, blows)`` is told how far it is."""
        self._cluster = cluster
        self._lines = lines
        self._blow_count = blows
        self._advance = advance
        self._consumers = Consumers(cluster.servers, TOPIC, GROUP, CONSUMERS, directory)
        self._fed = 0
        self._allowed = asyncio.Event()
        self._limit = 0
        self._blows_done = 0
        self._outcome_blows: dict[Blow, int] = dict.fromkeys(Blow, 0)
        self._rebalanced_by_coordinator = 0

    async def run(self) -> Outcome:
        """Raises CommandFailed or a QuorumlogError when it could not be carried through; broken promises are in
        the outcome."""
        begin = time.perf_counter()
        async with Admin(self._cluster.servers) as admin, GroupAdmin(self._cluster.servers) as groups:
            await admin.create_topic(TOPIC, partitions=PARTITIONS)
            try:
                for number in range(CONSUMERS):
                    self._consumers.start(number)
                for number in range(CONSUMERS):
                    await self._consumers.taking_part(number)
                feed_s = await self._feed_and_kill(admin, groups)
                await self._drained(groups)
                await asyncio.to_thread(self._consumers.stop)
            finally:
                self._consumers.end()
            findings = await groups.offsets.verify(await groups.offsets.partitions([TOPIC]))
            positions = await self._positions(groups)
        account = settle(await self._read_back(), self._consumers.journals())
        account.complaints.extend(positions)
        if account.records != len(self._lines):
            account.complaints.append(f"{account.records:,} records are in the log, {len(self._lines):,} were fed")
        return Outcome(
            account,
            self._outcome_blows,
            findings,
            feed_s,
            time.perf_counter() - begin,
            self._rebalanced_by_coordinator,
        )

    # ---- feeding

    async def _feed_and_kill(self, admin: Admin, groups: GroupAdmin) -> float:
        begin = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed())
            tasks.create_task(self._kill(admin, groups))
        return time.perf_counter() - begin

    async def _feed(self) -> None:
        """All records at a steady pace, never further than one stretch beyond the blows."""
        self._limit = self._stretch
        async with Producer(self._cluster.servers) as producer:
            due = time.perf_counter()
            for first in range(0, len(self._lines), SLICE):
                while first >= self._limit:
                    self._allowed.clear()
                    await self._allowed.wait()
                    due = time.perf_counter()
                for key, value in self._lines[first : first + SLICE]:
                    await producer.send(TOPIC, value, key)
                self._fed = min(first + SLICE, len(self._lines))
                self._advance(self._fed, self._blows_done)
                due += SLICE / RECORDS_PER_SECOND
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await producer.flush()

    @property
    def _stretch(self) -> int:
        """Records between two blows."""
        return len(self._lines) // (self._blow_count + 1)

    # ---- killing

    async def _kill(self, admin: Admin, groups: GroupAdmin) -> None:
        for number in range(self._blow_count):
            while self._fed < (number + 0.5) * self._stretch:  # noqa: ASYNC110 - the feed's own pace is waited for
                await asyncio.sleep(POLL_S / 10)
            blow = ROUND[number % len(ROUND)]
            which = number // len(ROUND)
            match blow:
                case Blow.PARTITION:
                    await self._kill_node(await self._leader(admin, TOPIC, which % PARTITIONS))
                case Blow.CONSUMER:
                    self._consumers.kill(which % CONSUMERS)
                    self._consumers.start(which % CONSUMERS)
                    await self._consumers.taking_part(which % CONSUMERS)
                case Blow.COORDINATOR:
                    await self._kill_coordinator(admin, groups)
            self._outcome_blows[blow] += 1
            self._blows_done += 1
            last = number + 1 == self._blow_count
            self._limit = len(self._lines) if last else (number + 2) * self._stretch
            self._allowed.set()

    async def _kill_node(self, node_id: int) -> None:
        """SIGKILL, and started again at once; returns when it serves."""
        await asyncio.to_thread(self._cluster.kill, node_id)
        self._cluster.start_node(node_id)
        await asyncio.to_thread(self._cluster.wait_ready)

    async def _kill_coordinator(self, admin: Admin, groups: GroupAdmin) -> None:
        before = await self._settled_generation(groups)
        coordinators = await admin.describe_topic(COORDINATORS_TOPIC)
        number = coordinator_of(GROUP, len(coordinators.partitions))
        await self._kill_node(await self._leader(admin, COORDINATORS_TOPIC, number))
        if (await groups.describe(GROUP)).generation != before:
            self._rebalanced_by_coordinator += 1

    async def _settled_generation(self, groups: GroupAdmin) -> int:
        """The group's generation once it has all its members and nothing moves any more: what an earlier blow at a
        consumer set going must not be laid to the coordinator's charge."""
        async with asyncio.timeout(LEADER_DEADLINE_S):
            while True:
                group = await groups.describe(GROUP)
                if group.state == "STABLE" and len(group.members) == CONSUMERS:
                    return group.generation
                await asyncio.sleep(POLL_S)

    async def _leader(self, admin: Admin, topic: str, partition: int) -> int:
        async with asyncio.timeout(LEADER_DEADLINE_S):
            while True:
                leader = (await admin.describe_topic(topic)).partitions[partition].leader
                if leader:
                    return leader
                await asyncio.sleep(POLL_S)

    # ---- the end

    async def _drained(self, groups: GroupAdmin) -> None:
        """Returns when everything is committed. Raises CommandFailed when that takes too long."""
        partitions = await groups.offsets.partitions([TOPIC])
        deadline = time.perf_counter() + DRAIN_DEADLINE_S
        while time.perf_counter() < deadline:
            lags = await groups.offsets.lag([GROUP], partitions)
            if all(not isinstance(each, QuorumlogError) and each and not each[0].records for each in lags.values()):
                return
            await asyncio.sleep(POLL_S)
        shown = ", ".join(
            f"{where}: {each if isinstance(each, QuorumlogError) else [lag.records for lag in each]}"
            for where, each in lags.items()
        )
        raise CommandFailed(f"the group has not committed everything in time; still to do: {shown}")

    async def _positions(self, groups: GroupAdmin) -> list[str]:
        """Complaints about final positions: each must be the log's end."""
        partitions = [TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
        complaints = []
        for where, lags in (await groups.offsets.lag([GROUP], partitions)).items():
            if isinstance(lags, QuorumlogError):
                raise lags
            found = [(each.committed, each.log_end) for each in lags]
            if not found or found[0][0] != found[0][1]:
                complaints.append(f"{where}: committed and end are {found}")
        return complaints

    async def _read_back(self) -> dict[int, list[int]]:
        log: dict[int, list[int]] = {number: [] for number in range(PARTITIONS)}
        async with Reader(self._cluster.servers, TOPIC, start="earliest", stop_at_end=True) as reader:
            async for batch in reader.batches():
                log[batch[0].partition].extend(zlib.crc32(record.value or b"") for record in batch)
        return log
