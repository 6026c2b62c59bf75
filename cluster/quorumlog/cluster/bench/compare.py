"""Both engines in turn, A B A B, in one run: what they do alike is the same machine in the same minutes.

Each turn has three nodes of its own. Everything outside the engine is the same code over both: the gRPC shell, the
client, the state machine, the log of applied entries. After each turn comes PySyncObj by itself
(``bare_pysyncobj``), which is what its users have without us: *as it comes*, and *tuned* to large commands. Behind
our shell it is faster than by itself, because our transport spares it pickling and compression.

Our own engine fsyncs on a majority before it acknowledges; PySyncObj never fsyncs, and its leader here only waits
until the applied entry is in its own log.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quorumlog.client import Producer, QuorumlogError, Reader
from quorumlog.cluster.bench import bare_pysyncobj, commits
from quorumlog.cluster.bench.failover import kills
from quorumlog.cluster.bench.ledger import compare, read_numbers
from quorumlog.cluster.bench.limits import MEGABYTE
from quorumlog.cluster.bench.load import Sent, awaited_one_by_one, flood, settle
from quorumlog.cluster.bench.statistics import Distribution
from quorumlog.cluster.bench.surroundings import surroundings
from quorumlog.cluster.failures import VerificationFailed
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.cluster.bench.surroundings import Surroundings
    from quorumlog.cluster.launcher import LocalCluster

ENGINES = ("raft", "pysyncobj")
PARTITIONS = 3
SIZES = (100, 1000, 64 << 10)
#: Leaders killed per turn, and all nodes killed once.
KILLS = 2
LARGE = 64 << 10
#: What a batch of one record has besides its value, at most.
BATCH_HEAD_BYTES = 256
#: PySyncObj by itself, in the two ways that it is measured.
ALONE = ("as it comes", "tuned")
#: Our engine, fsyncing, against PySyncObj by itself in either way, at batches of 64 KiB.
FLOOR_LARGE = 8.0
RESTART_RECORDS = 2000
CONSUMERS = 64


@dataclass(slots=True)
class Row:
    """One figure over the turns, by who reached it: one of ``ENGINES``, or of ``ALONE``."""

    name: str
    unit: str
    lower: bool = False
    """Lower is better."""
    values: dict[str, list[float]] = field(default_factory=dict)

    def median(self, who: str) -> float | None:
        values = self.values.get(who)
        return statistics.median(values) if values else None

    def ratio(self, to: str) -> float | None:
        """How many times as good our own engine is."""
        own, other = self.median(ENGINES[0]), self.median(to)
        if not own or not other:
            return None
        return other / own if self.lower else own / other

    def as_record(self) -> dict[str, object]:
        return {
            "name": self.name,
            "unit": self.unit,
            "better": "lower" if self.lower else "higher",
            "turns": self.values,
            "median": {who: self.median(who) for who in self.values},
            "ratio": {who: self.ratio(who) for who in self.values if who != ENGINES[0]},
        }


@dataclass(slots=True)
class Comparison:
    """All rows, and what was found wrong on the way (losses are not hidden in an average)."""

    rows: list[Row] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def note(self, who: str, name: str, unit: str, value: float, *, lower: bool = False) -> None:
        row = next((row for row in self.rows if row.name == name), None)
        if row is None:
            row = Row(name, unit, lower)
            self.rows.append(row)
        row.values.setdefault(who, []).append(value)

    @property
    def missed(self) -> bool:
        """The floor at 64 KiB is not held, or could not be judged."""
        ratios = [row.ratio(how) for row in self.rows if row.name == _batches(LARGE) for how in ALONE]
        return not ratios or any(ratio is None or ratio < FLOOR_LARGE for ratio in ratios)


def _batches(size: int) -> str:
    return f"batches of {size >> 10} KiB" if size >= 1024 else f"records of {size} B"


def _one_record(outstanding: int) -> str:
    return f"one record, {outstanding} outstanding, p50"


async def measure(seconds: float, turns: int, tell: Callable[[str], None]) -> Comparison:
    """``turns`` turns of each engine. ``tell`` hears what is being done."""
    found = Comparison()
    for turn in range(turns):
        for engine in ENGINES:
            tell(f"turn {turn + 1} of {turns}: {engine}")
            with running_cluster(engine=engine) as cluster:
                async with surroundings(cluster.servers, cluster.directory) as around:
                    await _turn(found, engine, cluster, around, seconds)
        tell(f"turn {turn + 1} of {turns}: PySyncObj by itself")
        for how in ALONE:
            await _alone(found, how, seconds)
    return found


async def _turn(
    found: Comparison, engine: str, cluster: LocalCluster, around: Surroundings, seconds: float
) -> None:
    for size in SIZES:
        await _throughput(found, engine, around, size, seconds)
    for tasks in (1, 64):
        async with around.topic(1) as topic, Producer(around.servers) as producer:
            await awaited_one_by_one(producer, topic, 100, 1, 0.3)
            _, waits = await awaited_one_by_one(producer, topic, 100, tasks, seconds)
        waited = Distribution(waits)
        found.note(engine, _one_record(tasks), "ms", waited.percentile(50) * 1000, lower=True)
        found.note(engine, f"one record, {tasks} outstanding, p99", "ms", waited.percentile(99) * 1000, lower=True)
    async with around.topic(1) as topic:
        await commits.fill(around, topic, 1)
        committed = await commits.commit_in_turns(around, topic, 1, CONSUMERS, seconds)
    found.note(engine, f"commits of {CONSUMERS} consumers", "/s", len(committed.commits) / committed.commits_s)
    try:
        blows = await kills(around, cluster, KILLS)
        worst = max(blows.seconds) * 1000
        found.note(engine, "leader killed: next acknowledged write, worst", "ms", worst, lower=True)
    except (VerificationFailed, TimeoutError) as error:
        found.remarks.append(f"{engine}, leader killed: {error or 'no write was acknowledged in time'}")
    await _restart(found, engine, cluster, around)


async def _throughput(found: Comparison, engine: str, around: Surroundings, size: int, seconds: float) -> None:
    """Records of 100 B and 1 KB in the producer's own batches; or batches that hold one record of 64 KiB, as a
    command of PySyncObj's by itself does."""
    value_bytes = LARGE - BATCH_HEAD_BYTES if size == LARGE else size
    settings = {"batch_bytes": size} if size == LARGE else {}
    async with around.topic(PARTITIONS) as topic:
        async with Producer(around.servers, **settings) as producer:  # type: ignore[arg-type]  # one int
            await flood(producer, topic, value_bytes, 0.3)
        async with around.topic(PARTITIONS) as measured:
            async with Producer(around.servers, **settings) as producer:  # type: ignore[arg-type]
                sent = await flood(producer, measured, value_bytes, seconds)
            try:
                compare(sent.acknowledged, sent.unknown, await read_numbers(around.servers, measured))
            except VerificationFailed as error:
                found.remarks.append(f"{engine}, {_batches(size)}: {error}")
    megabytes = len(sent.acknowledged) * value_bytes / sent.elapsed_s / MEGABYTE
    found.note(engine, _batches(size), "MB/s", megabytes)


async def _restart(found: Comparison, engine: str, cluster: LocalCluster, around: Surroundings) -> None:
    """All nodes killed in the middle of a load; what was acknowledged must be there when they are back."""
    async with around.topic(1) as topic:
        sent = Sent()
        async with Producer(around.servers) as producer:
            deliveries = [
                await producer.send(topic, number.to_bytes(8, "big") + bytes(92))
                for number in range(RESTART_RECORDS)
            ]
            await producer.flush()
            await settle(deliveries, 0, sent)
            for node_id in cluster.node_ids:
                cluster.send_signal(node_id, signal.SIGKILL)
            for node_id in cluster.node_ids:
                cluster.kill(node_id)
            begin = time.perf_counter()
            cluster.start()
            async with asyncio.timeout(60), Producer(around.servers) as prober:
                while True:
                    try:
                        await (await prober.send(topic, (1 << 40).to_bytes(8, "big")))
                        break
                    except QuorumlogError:
                        await asyncio.sleep(0.05)
            found.note(
                engine, "all nodes killed: next acknowledged write", "s", time.perf_counter() - begin, lower=True
            )
        present = set(await _first_numbers(around, topic))
        kept = sum(number in present for number in sent.acknowledged)
        found.note(engine, "all nodes killed: acknowledged records still there", "%", 100 * kept / len(deliveries))


async def _first_numbers(around: Surroundings, topic: str) -> list[int]:
    numbers: list[int] = []
    async with Reader(around.servers, topic, partitions=[0], start="earliest") as reader:
        async for record in reader:
            number = int.from_bytes((record.value or b"")[:8], "big")
            if number == 1 << 40:
                return numbers
            numbers.append(number)
    return numbers


async def _alone(found: Comparison, how: str, seconds: float) -> None:
    """Commands of 64 KiB, 16 at a time; and small ones, one and 64 at a time."""
    for size, outstanding in ((LARGE, 16), (100, 1), (100, 64)):
        try:
            reached = await asyncio.to_thread(
                bare_pysyncobj.measure, size, outstanding, seconds, tuned=how == ALONE[1]
            )
        except TimeoutError as error:
            found.remarks.append(f"{how}: {error}")
        else:
            if size == LARGE:
                found.note(how, _batches(size), "MB/s", reached.commands_per_second * size / MEGABYTE)
            else:
                found.note(how, _one_record(outstanding), "ms", reached.p50_ms, lower=True)
