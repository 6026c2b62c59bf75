"""A stage for directed scenarios: a whole simulated cluster in which nothing happens by chance, and each message
leaves, or not, as the scenario says.

Some bugs need half a dozen things to happen in one order, within milliseconds, to messages that this implementation
usually sends together; random search may not meet that in any budget. A scenario plays it out instead. What runs is
the same as under random search: whole nodes on simulated disks, the same taps and the same checkers; only the
schedule is written by hand. Every scenario must pass on the intact system, where the cluster must also work at its
end: what a scenario does is within what a network, a disk and a crash may do.

One thing needs saying. A *sieve* may lose a message, and may cut an append short: that is the append which a leader
with a lower limit of bytes would have sent first.

Prior art: the transcripts of etcd-io/raft (``testdata/``), which play messages by hand over cores without disks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from quorumlog.check import EventType, judge
from quorumlog.replica import Appended, End, Failure, OffsetFound, Outcome
from quorumlog.replica.ids import node_of
from quorumlog.sim.clients import partition_key
from quorumlog.sim.cluster import Cluster
from quorumlog.sim.host import DATA
from quorumlog.sim.options import Options
from quorumlog.sim.run import PATIENCE_ELECTIONS, Violation
from quorumlog.sim.world import MS
from quorumlog.wire.batch import encode_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.raft.types import AppendRequest, Message, ReplicaId
    from quorumlog.replica import Frame, Node
    from quorumlog.replica.replica import Replica
    from quorumlog.sim.host import Host

    #: What becomes of a message from one node to another: itself, a shorter one, or None if it is lost.
    Rule = Callable[[int, int, Message], Message | None]

TOPIC: Final = "staged"
KEY: Final = partition_key(TOPIC, 0)
#: Long enough for a message, a write and the answer where nothing is slow; far too short for a time-out.
BEAT_MS: Final = 20
#: Long enough for what was lost to be sent again: two heartbeats and what follows them.
RESENT_MS: Final = 500
_VALUE_BYTES = 20
#: What is found when a scenario cannot be played as it is written: no planted bug is expected to show so.
NOT_PLAYED: Final = "scenario not played"
LIVENESS: Final = "liveness"


class CurtainFalls(Exception):
    """The play is over before its end: something was found, or what was waited for does not come about."""


class Stage:
    """See the module. One topic of one partition, whose replicas are on all ``count`` nodes; node 1 is not the
    leader unless it was elected (``elect``). ``findings`` are what the scenario itself found."""

    def __init__(self, count: int = 3) -> None:
        options = Options(1, nodes=count, replication=count)
        self.cluster = Cluster(options)
        self.world = self.cluster.world
        self.hosts = self.cluster.hosts
        self.findings: list[Violation] = []
        self.group = 0
        self._rule: Rule | None = None
        self.cluster.network.sieve = self._sieve

    def set(self) -> None:
        """The cluster is up, the topic is there and somebody leads it. Raises CurtainFalls."""
        self.cluster.start()
        made: list[str] = []
        self.cluster.create_topic(TOPIC, self.cluster.topic_config, lambda: made.append(TOPIC))
        self.until("the topic is made", lambda: bool(made))
        self.group = self.cluster.topics[TOPIC][0].group_id
        self.until(
            "everybody has the replica", lambda: all(host.replica(self.group) for host in self.hosts.values())
        )
        self.until("somebody leads and serves", lambda: self.leader is not None)
        self.run_ms(BEAT_MS)

    # --- time ---

    def run_ms(self, duration_ms: int = BEAT_MS) -> None:
        """Lets the world go on. Raises CurtainFalls when something was found."""
        self.world.run_until(self.world.now_us + duration_ms * MS)
        if self.world.halted:
            raise CurtainFalls

    def until(self, what: str, condition: Callable[[], bool], within_ms: int = 0, name: str = NOT_PLAYED) -> None:
        """Lets time pass until ``condition`` holds; by default as long as an intact cluster may need to recover.
        Raises CurtainFalls, having found a violation called ``name``."""
        within_ms = within_ms or self.patience_ms
        end_us = self.world.now_us + within_ms * MS
        while not condition():
            if self.world.now_us >= end_us:
                self.find(name, f"not within {within_ms} ms: {what}")
                raise CurtainFalls
            self.run_ms(5)

    @property
    def patience_ms(self) -> int:
        """The liveness bound (CHAOS.md §3)."""
        return PATIENCE_ELECTIONS * self.cluster.options.election_ms

    # --- who is who ---

    def host(self, node: int) -> Host:
        return self.hosts[node]

    def replica(self, node: int) -> Replica:
        found = self.hosts[node].replica(self.group)
        if found is None:
            raise CurtainFalls
        return found

    @property
    def leader(self) -> int | None:
        """The node that leads in the highest term and may serve."""
        leader = self.cluster.leader(self.group)
        return leader if leader is not None and self.replica(leader).raft.can_serve else None

    def voters(self, *nodes: int) -> frozenset[ReplicaId]:
        """The replica ids of these nodes, as they were in the beginning."""
        configuration = self.replica(nodes[0]).raft.configuration
        everyone = configuration.voters | configuration.outgoing | configuration.learners
        return frozenset(each for each in everyone if node_of(each) in nodes)

    # --- messages ---

    def let_through(self, rule: Rule | None) -> None:
        """From here on ``rule`` decides about the messages of the topic's group; None: all arrive."""
        self._rule = rule

    def only_between(self, *nodes: int) -> None:
        """Messages of the group pass between these nodes and nobody else."""
        self.let_through(lambda sender, to, message: message if sender in nodes and to in nodes else None)

    def _sieve(self, frame: Frame) -> Frame:
        rule = self._rule
        if rule is None or not frame.messages:
            return frame
        kept: list[tuple[int, Any]] = []
        for group, message in frame.messages:
            passed = rule(frame.sender, frame.to, message) if group == self.group else message  # type: ignore[arg-type]
            if passed is not None:
                kept.append((group, passed))
        return replace(frame, messages=tuple(kept))

    # --- what is done ---

    def elect(self, node: int) -> None:
        """``node`` becomes leader of the highest term there is, by elections that those who hear it have no reason
        to refuse. If it leads an older one, it first has to notice that it has lost its quorum."""

        def forget(process: Node) -> None:
            replica = process._replicas.get(self.group)
            if replica is not None:
                replica.raft.leader_lost()
                process.touch(replica)

        def stand(process: Node) -> None:
            replica = process._replicas[self.group]
            replica.raft.campaign()
            process.touch(replica)

        end_us = self.world.now_us + 2 * self.cluster.options.election_ms * MS
        while self.world.now_us < end_us:
            for other, host in self.hosts.items():
                if other != node:
                    host.request(forget)
            self.hosts[node].request(stand)
            self.run_ms(BEAT_MS)
            newest = max(replica.raft.term for host in self.hosts.values() if (replica := host.replica(self.group)))
            if self.replica(node).raft.is_leader and self.replica(node).raft.term == newest:
                return
        self.find(NOT_PLAYED, f"node {node} is not elected")
        raise CurtainFalls

    def append(self, node: int) -> Callable[[], bool]:
        """Has ``node`` append a record; what it answers goes into the history. Returns whether it was
        acknowledged."""
        shared = self.cluster.shared
        number = shared.values.new(_VALUE_BYTES)
        batch = encode_batch([shared.values.encode(number)], timestamps_ms=[0])
        process = shared.new_process()
        invocation = shared.recorder.invoke(shared.now_ns, process, "send", KEY, [number])
        acknowledged: list[int] = []

        def answered(result: Appended | Failure) -> None:
            if isinstance(result, Appended):
                acknowledged.append(result.base_offset)
                shared.recorder.complete(shared.now_ns, invocation, EventType.OK, result.base_offset, node=node)
            else:
                kind = EventType.FAIL if result.outcome is Outcome.NOT_DONE else EventType.INFO
                shared.recorder.complete(shared.now_ns, invocation, kind, error=result.message, node=node)

        self.hosts[node].request(lambda one: one.append(TOPIC, 0, batch, 0, answered))
        return lambda: bool(acknowledged)

    def serving(self, name: str) -> None:
        """Within the liveness bound whoever leads acknowledges a record; every tenth of a second another is
        sent, as clients would."""
        sent: list[Callable[[], bool]] = []
        due_us = self.world.now_us

        def acknowledged() -> bool:
            nonlocal due_us
            leader = self.leader
            if leader is not None and self.world.now_us >= due_us:
                due_us = self.world.now_us + 100 * MS
                sent.append(self.append(leader))
            return any(done() for done in sent)

        self.until("a record is acknowledged", acknowledged, name=name)

    def appended(self, node: int) -> None:
        """Has ``node`` append a record, and waits for the acknowledgement."""
        self.until("a record is acknowledged", self.append(node), 1000)

    def ask_end(self, node: int) -> None:
        """Asks ``node`` for the log's linearizable end; the answer goes into the history."""
        shared = self.cluster.shared
        invocation = shared.recorder.invoke(shared.now_ns, shared.new_process(), "end", KEY)

        def answered(result: OffsetFound | Failure) -> None:
            if isinstance(result, OffsetFound):
                shared.recorder.complete(shared.now_ns, invocation, EventType.OK, result.end_offset, node=node)
            else:
                shared.recorder.complete(shared.now_ns, invocation, EventType.FAIL, error=result.message, node=node)

        self.hosts[node].request(lambda one: one.list_offsets(TOPIC, 0, End(), answered))
        self.run_ms(BEAT_MS)

    def segment(self, node: int) -> str:
        """The path of the group's newest segment on the node's disk."""
        disk = self.hosts[node].disk
        directory = f"{DATA}/groups/{self.group}"
        paths = [
            f"{directory}/{replica}/{name}"
            for replica in disk.listdir(directory)
            if replica.startswith("replica-")
            for name in disk.listdir(f"{directory}/{replica}")
            if name.endswith(".segment")
        ]
        return max(paths)

    def works(self) -> None:
        """At the end: all is healed, and within the liveness bound a record is acknowledged and every voter has the
        same state."""
        self.let_through(None)
        self.cluster.network.cut.clear()
        for node in self.cluster.nodes:
            self.cluster.revive(node)
        self.serving(LIVENESS)
        self.until(
            "all have the same state", lambda: not self.cluster.disagreement(self.cluster.nodes), name=LIVENESS
        )

    # --- what came of it ---

    def find(self, name: str, message: str) -> None:
        """The scenario itself saw what must not be."""
        self.findings.append(Violation(name, message))

    def violations(self) -> tuple[Violation, ...]:
        """Everything found: by the scenario, by the taps, in the history."""
        taps = self.cluster.taps
        self.cluster.recorder.close(self.cluster.shared.now_ns)
        found = [Violation("node crashed", why) for why in taps.failures]
        found += [Violation(one.kind.value, f"group {one.group}: {one.message}") for one in taps.checker.violations]
        anomalies = judge(self.cluster.recorder.events).anomalies
        found += [Violation(each.kind.value, f"{each.key}: {each.message}") for each in anomalies]
        return (*self.findings, *found)


def play(scenario: Callable[[Stage], None], count: int) -> tuple[Violation, ...]:
    """Plays a scenario on a stage of ``count`` nodes; what was found, nothing on the intact system."""
    stage = Stage(count)
    try:
        stage.set()
        scenario(stage)
    except CurtainFalls:
        pass  # whatever ended it is among the findings
    return stage.violations()


def cut_short(message: AppendRequest, last_index: int) -> AppendRequest:
    """The append with its entries up to ``last_index`` only."""
    return replace(message, entries=tuple(entry for entry in message.entries if entry.index <= last_index))
