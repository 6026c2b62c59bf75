"""One seed from its beginning to its verdict.

A run has four parts. *Setting up*, without faults: the cluster elects its leaders and makes its topics. *Safety*:
load and faults together; nothing but correctness is asked. *Liveness*: a majority drawn by the seed is healed for
good, the rest stays broken; within ten election timeouts every partition of which that majority holds a majority
must have elected a leader, acknowledged an append, served a fresh reader up to the linearizable end, and have equal
digests. *Recovery*: the rest is healed too, and everything must come together within the same time again.

The taps watch every moment; the history is judged at the end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from quorumlog.check import EventType, Expectations, Verdict, judge
from quorumlog.check.history import describe
from quorumlog.client.policy.accumulator import ProducerSettings
from quorumlog.sim.clients import partition_key
from quorumlog.sim.cluster import Cluster
from quorumlog.sim.group_load import GroupLoad
from quorumlog.sim.nemesis import Nemesis
from quorumlog.sim.options import Options, Workload, draw
from quorumlog.sim.producers import Producer
from quorumlog.sim.readers import Reader, TailProbe
from quorumlog.sim.register_load import RegisterLoad
from quorumlog.sim.world import MS, format_event
from quorumlog.wire.header import Codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from random import Random

    from quorumlog.check import Anomaly, Report
    from quorumlog.replica import Node
    from quorumlog.sim.group_load import Drained
    from quorumlog.sim.register_load import FinalFetch, Proof
    from quorumlog.sim.schedule import Turns

#: Within so many election timeouts a healed majority must serve again (CHAOS.md §3).
PATIENCE_ELECTIONS = 10
#: Events of each node that a report shows.
_LAST_EVENTS = 25
#: How often the end of a phase is looked for.
_LOOK_EVERY_US = 10 * MS
_RETAIN_EVERY_US = 300 * MS
#: The fewest operations of each kind that must have succeeded for a run to have proved anything.
LEAST_OK = {"send": 5, "final_read": 1}
#: Registers with no more operations are searched for a linearization.
_SEARCH_STEPS = 150
#: Appends to each partition that prove it to be alive.
_PROOFS = 3


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken property. ``name`` is its stable name (an anomaly of ``quorumlog.check``, ``liveness``, ``node
    crashed``, ``proves nothing``), ``witness`` the few operations or events that show it."""

    name: str
    message: str
    witness: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one seed."""

    seed: int
    options: Options
    trace_hash: str
    violations: tuple[Violation, ...]
    statistics: dict[str, int]
    last_events: dict[int, list[str]] = field(default_factory=dict)
    """The last events of each node, only if there are violations; 0 is the world outside."""
    virtual_ms: int = 0
    cpu_s: float = 0.0


def run_seed(seed: int, options: Options | None = None, workload: Workload = Workload.LOG) -> Result:
    """Runs one seed. ``options`` replaces what the seed would draw, to try a variation of its world."""
    return Run(options or draw(seed, workload)).result()


class Run:
    """One run under way; ``result`` carries it out. Keep it to look at its trace and history afterwards."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.cluster = Cluster(options)
        self.nemesis = Nemesis(self.cluster)
        self.registers = RegisterLoad(self.cluster)
        self.groups = GroupLoad(self.cluster)
        self.violations: list[Violation] = []
        self._producers: list[Producer] = []
        self._watchers: list[Reader | TailProbe] = []
        self._load_until_us = 0
        self.expectations = Expectations()
        self.report: Report | None = None
        """What the history's judge said."""
        self.load_began_us = self.healed_us = self.alive_us = 0
        """When the phases began; ``alive_us`` when the healed majority served again, 0 if it did not."""

    def result(self) -> Result:
        began = time.process_time()
        if self._set_up() and self._safety() and self._liveness() and self._recovery():
            self._stop_clients()
        self.cluster.recorder.close(self.cluster.shared.now_ns)
        self._judge()
        world = self.cluster.world
        return Result(
            self.options.seed,
            self.options,
            self._trace_hash(),
            tuple(self.violations),
            self._statistics(),
            {node: world.trace.last(node, _LAST_EVENTS) for node in (0, *self.cluster.nodes)}
            if self.violations
            else {},
            world.now_us // MS,
            time.process_time() - began,
        )

    @property
    def turns(self) -> list[Turns]:
        """What every client set out to do."""
        return self.cluster.shared.turns

    def trace_lines(self) -> list[str]:
        """The whole trace, one line an event."""
        return [format_event(event) for event in self.cluster.world.trace.events]

    # --- the phases ---

    def _set_up(self) -> bool:
        cluster, options = self.cluster, self.options
        cluster.start()
        made: list[str] = []
        for number in range(options.topics):
            name = f"topic-{number}"
            cluster.create_topic(name, cluster.topic_config, lambda name=name: made.append(name))  # type: ignore[misc]
        return self._wait(
            "setting up",
            lambda: "" if len(made) == options.topics else f"{options.topics - len(made)} topics to make",
        )

    def _safety(self) -> bool:
        cluster, options = self.cluster, self.options
        world = cluster.world
        self.load_began_us = world.now_us
        self._load_until_us = world.now_us + options.duration_ms * MS
        settings = ProducerSettings(
            idempotent=options.idempotent,
            codec=Codec[options.codec],
            batch_bytes=options.batch_bytes,
            delivery_timeout_ms=float(options.delivery_timeout_ms),
            attempt_timeout_ms=float(min(1500, options.delivery_timeout_ms)),
        )
        topics = sorted(cluster.topics)
        for number in range(options.producers):
            producer = Producer(cluster.shared, topics, settings)
            self._producers.append(producer)
            turns, random = cluster.shared.new_turns(f"producer {number}"), world.random(f"load {number}")
            if turns.present:
                world.after(random.randrange(50 * MS), self._load, producer, turns, random)
        for topic, part in cluster.partitions():
            if cluster.shared.new_turns("reader").present:
                self._watchers.append(Reader(cluster.shared, topic, part.partition, max_bytes=options.read_bytes))
            if cluster.shared.new_turns("probe").present:
                self._watchers.append(TailProbe(cluster.shared, topic, part.partition))
        if options.retention_bytes:
            self._retain()
        self.registers.begin()
        self.groups.begin()
        self.nemesis.begin()
        world.run_until(self._load_until_us)
        return not world.halted

    def _load(self, producer: Producer, turns: Turns, random: Random) -> None:
        cluster, options = self.cluster, self.options
        world = cluster.world
        if world.now_us >= self._load_until_us:
            return
        topic, part = random.choice(cluster.partitions())
        sizes = [random.randrange(options.record_bytes) for _ in range(random.randint(1, options.burst))]
        if turns.take() and producer.knows(topic):
            for size in sizes:
                producer.send(topic, part.partition, size)
        pause_us = int(random.expovariate(1.0 / options.send_every_ms) * MS) + 1
        world.after(pause_us, self._load, producer, turns, random)

    def _retain(self) -> None:
        """Has every node look for segments to drop, more often than it does by itself: a run lasts seconds only."""

        def look(node: Node) -> None:
            wall_ms = self.cluster.hosts[node.config.node_id].clock.wall_ms()
            for service in node._groups.partitions.values():
                service.retain(wall_ms)

        world = self.cluster.world
        for host in self.cluster.hosts.values():
            host.request(look)
        if world.now_us < self._load_until_us:
            world.after(_RETAIN_EVERY_US, self._retain)

    def _liveness(self) -> bool:
        cluster = self.cluster
        nodes, random = cluster.nodes, cluster.world.random("healed")
        healed = sorted(random.sample(nodes, random.randint(len(nodes) // 2 + 1, len(nodes))))
        if cluster.atlas.harmed or self.options.engine != "raft":
            # A replica that lost its log needs a majority of the others to be replaced.
            healed = list(nodes)
        broken = [node for node in nodes if node not in healed]
        cluster.world.trace.note(0, "heals", *healed)
        if broken and not self.options.calm:
            self.nemesis.leave_broken(broken)
        self.nemesis.heal(healed)
        self.healed_us = cluster.world.now_us
        for watcher in self._watchers:
            watcher.stop()
        self.registers.stop()
        self.groups.stop()
        if not self._everything_works("liveness", healed if not self.options.calm else list(nodes)):
            return False
        self.alive_us = cluster.world.now_us
        return True

    def _recovery(self) -> bool:
        self.cluster.world.trace.note(0, "heals all")
        self.nemesis.heal(self.cluster.nodes)
        self.groups.mark("healed")
        return (
            self._everything_works("recovery", list(self.cluster.nodes))
            and (self.options.engine != "raft" or self._wait("recovery", self.cluster.unreplaced))
            and self._wait("recovery", self.groups.unowned)
            and self._ended()
        )

    def _ended(self) -> bool:
        """Consumers end in order, and what they and everybody else committed is there."""
        self.groups.close()
        if not self._wait("recovery", self.groups.not_closed):
            return False
        fetches = self.registers.finally_fetched() + self.groups.finally_fetched()
        return self._wait("recovery", lambda: _unfinished(fetches, "registers cannot be fetched"))

    def _everything_works(self, phase: str, nodes: list[int]) -> bool:
        """A fresh producer, fresh readers up to the linearizable end, equal digests; in time."""
        cluster = self.cluster
        deadline_us = cluster.world.now_us + PATIENCE_ELECTIONS * self.options.election_ms * MS
        served = self._partitions_served_by(nodes)
        topics = sorted({topic for topic, _ in served})
        producer = Producer(cluster.shared, topics, ProducerSettings(delivery_timeout_ms=3_600_000.0))
        acknowledged, under_way = producer.acknowledged, producer.under_way

        def lacking(topic: str, partition: int) -> int:
            return _PROOFS - acknowledged.get(partition_key(topic, partition), 0)

        def send() -> None:
            """What fails for good (a full disk that is about to be freed) is sent again, as an application
            would."""
            for topic, partition in served:
                due = lacking(topic, partition) - under_way.get(partition_key(topic, partition), 0)
                if producer.knows(topic):
                    for _ in range(due):
                        producer.send(topic, partition, 10)
            if unacknowledged():
                cluster.world.after(20 * MS, send)

        def unacknowledged() -> str:
            missing = sum(lacking(topic, partition) > 0 for topic, partition in served)
            return f"{missing} of {len(served)} partitions acknowledge no append" if missing else ""

        send()
        if not self._wait(phase, unacknowledged, deadline_us):
            return False
        readers = [
            Reader(cluster.shared, topic, partition, max_bytes=64 << 10, final=True) for topic, partition in served
        ]
        producer.stop()
        proofs = self.registers.prove(served)
        drained = self.groups.prove(served, nodes)
        for ones, what in (
            (readers, "fresh readers do not reach the end"),
            (proofs, "registers accept no commit"),
            (drained, "groups do not consume to the end"),
        ):
            if not self._wait(phase, partial(_unfinished, ones, what), deadline_us):
                return False
        return self._wait(phase, lambda: cluster.disagreement(nodes), deadline_us)

    def _partitions_served_by(self, nodes: list[int]) -> list[tuple[str, int]]:
        """The partitions of which ``nodes`` hold a majority."""
        return [
            (topic, part.partition)
            for topic, part in self.cluster.partitions()
            if 2 * len(set(part.replicas) & set(nodes)) > len(part.replicas)
        ]

    def _stop_clients(self) -> None:
        for producer in self._producers:
            producer.stop()

    # --- judging ---

    def _wait(self, phase: str, missing: Callable[[], str], deadline_us: int | None = None) -> bool:
        """Runs on until ``missing()`` is empty; what is missing at the deadline is a violation."""
        world = self.cluster.world
        if deadline_us is None:
            deadline_us = world.now_us + PATIENCE_ELECTIONS * self.options.election_ms * MS
        while what := missing():
            if world.now_us >= deadline_us:
                name = "liveness" if phase != "recovery" else "recovery"
                self.violations.append(
                    Violation(name, f"{phase}: after {PATIENCE_ELECTIONS} election timeouts {what}")
                )
                return False
            world.run_until(min(deadline_us, world.now_us + _LOOK_EVERY_US))
            if world.halted:
                return False
        return True

    def _judge(self) -> None:
        taps = self.cluster.taps
        self.violations += [Violation("node crashed", why) for why in taps.failures]
        self.violations += [
            Violation(found.kind.value, f"group {found.group}: {found.message}")
            for found in taps.checker.violations
        ]
        self.violations += [Violation("replica diverged", why) for why in taps.diverged]
        self.violations += [Violation("audit", why) for why in self.cluster.contradictions]
        interrupted = bool(self.violations)
        expectations = Expectations(
            ok={} if interrupted else self._least_ok(),
            final_reads=not interrupted,
            retention=frozenset(self._partition_keys()) if self.options.retention_bytes else frozenset(),
            orphan_ms=PATIENCE_ELECTIONS * self.options.election_ms,
            search_steps=_SEARCH_STEPS,
        )
        report = judge(self.cluster.recorder.events, expectations)
        self.expectations, self.report = expectations, report
        self.violations += [_as_violation(anomaly) for anomaly in report.anomalies]
        if report.verdict is not Verdict.FALSE and not interrupted:
            self.violations += [Violation("proves nothing", why) for why in report.vacuous]

    def _least_ok(self) -> dict[str, int]:
        least = dict(LEAST_OK)
        if self.options.registers:
            least |= {"acquire": 2, "commit": 2, "fetch": 2, "final_fetch": 1}
        if self.options.groups:
            least |= {"assigned": 1, "acquire": 1, "process": 1, "commit": 1, "final_fetch": 1}
        return least

    def _partition_keys(self) -> Iterable[str]:
        for topic, part in self.cluster.partitions():
            yield partition_key(topic, part.partition)

    def _trace_hash(self) -> str:
        """Over everything that happened, what the clients saw, and the state that the nodes ended in."""
        trace = self.cluster.world.trace
        for event in self.cluster.recorder.events:
            trace.note(0, "history", event.index, event.time_ns, event.type.value, repr(event.value))
        for node, host in self.cluster.hosts.items():
            for group, replica in host.replicas():
                trace.note(node, "ends", group, replica.machine.applied_index, replica.machine.digest.hex())
        return trace.hash

    def _statistics(self) -> dict[str, int]:
        cluster = self.cluster
        statistics: dict[str, int] = {}
        for event in cluster.recorder.events:
            if event.type is not EventType.INVOKE and event.operation != "fault":
                name = f"{event.operation} {event.type.value}"
                statistics[name] = statistics.get(name, 0) + 1
        for name, count in self.nemesis.struck.items():
            statistics[f"struck {name}"] = count
        for name, count in self.nemesis.counts.items():
            statistics[f"fault {name}"] = count
        for name, count in self.nemesis.effects.items():
            statistics[f"effect {name}"] = count
        for name in ("lost", "duplicated", "reordered", "slow"):
            statistics[f"frames {name}"] = cluster.network.counts[name]
        statistics["replicas harmed"] = cluster.atlas.harmed
        for name, count in cluster.taps.events.items():
            statistics[f"event {name}"] = count
        statistics["frames"] = cluster.network.counts["frames"]
        statistics["events"] = len(cluster.world.trace.events)
        statistics["leaders killed"] = len(self.nemesis.killed_leaders)
        statistics["failovers"] = self._failovers()
        return statistics

    def _failovers(self) -> int:
        """Leaders that were killed and followed by another node."""
        elections = self.cluster.taps.elections
        return sum(
            next((node for at, _, node in elections.get(group, ()) if at > killed_at), killed) != killed
            for killed_at, group, killed in self.nemesis.killed_leaders
        )


def _unfinished(whom: Sequence[Reader | Proof | Drained | FinalFetch], what: str) -> str:
    missing = sum(not one.finished for one in whom)
    return f"{missing} of {len(whom)} {what}" if missing else ""


def _as_violation(anomaly: Anomaly) -> Violation:
    return Violation(anomaly.kind.value, f"{anomaly.key}: {anomaly.message}", tuple(map(describe, anomaly.witness)))
