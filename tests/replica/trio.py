"""A small cluster in one process, driven by hand: real nodes on simulated disks, a perfect network that can be cut.

Time passes only in ``pass_time``; everything that follows from an input happens in ``settle``. The simulator
explores what may happen; here a test says what does.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from quorumlog.machine import TopicConfig
from quorumlog.replica import (
    Appended,
    Failure,
    Frame,
    Job,
    JobPriority,
    Lane,
    Node,
    NodeConfig,
    OffsetFound,
    Position,
)
from quorumlog.sim.disk import SimulatedDisk
from quorumlog.storage import NodeDirectory, StorageError
from quorumlog.wire.batch import encode_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.replica.events import Event

TICK_MS = 50


class HandClock:
    """Shows what the test set it to."""

    def __init__(self) -> None:
        self.time_ms = 1_000
        self.wall_ms_ahead = 0

    def now_ms(self) -> int:
        return self.time_ms

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + self.time_ms + self.wall_ms_ahead


class Trio:
    """``nodes`` by id. ``cut`` holds (from, to) pairs whose frames are lost; ``stalled`` the nodes whose disk does
    not answer writes, ``unreadable`` those whose disk does not answer reads."""

    def __init__(self, count: int = 3, **settings: Any) -> None:
        self.clock = HandClock()
        self.ids = tuple(range(1, count + 1))
        self.settings = {"coordinators": 0, **settings}
        self.disks = {node: SimulatedDisk(random.Random(node)) for node in self.ids}
        self.nodes: dict[int, Node] = {}
        self.events: dict[int, list[Event]] = {node: [] for node in self.ids}
        self.cut: set[tuple[int, int]] = set()
        self.stalled: set[int] = set()
        self.unreadable: set[int] = set()
        self.withheld: list[tuple[int, Job]] = []
        self.frames = 0
        for node in self.ids:
            self.start(node)
        self.settle()

    # --- nodes ---

    def start(self, node: int) -> None:
        directory = NodeDirectory.open(self.disks[node], "/data", "test", node)
        config = NodeConfig("test", node, self.ids, tick_ms=TICK_MS, **self.settings)
        self.nodes[node] = Node(config, directory, self.clock, random.Random(node), self.events[node].append)
        self.nodes[node].start()
        for other in self.nodes:
            if other != node:
                for lane in Lane:
                    self.nodes[node].link_up(other, lane)
                    self.nodes[other].link_up(node, lane)

    def kill(self, node: int) -> None:
        """SIGKILL: what was written stays, what was not synced may be lost in a power cut only."""
        del self.nodes[node]
        self.disks[node].crash(keep_all=True)
        self.withheld = [item for item in self.withheld if item[0] != node]
        for other in self.nodes.values():
            for lane in Lane:
                other.link_down(node, lane)
            other.peer_lost(node)

    def isolate(self, node: int) -> None:
        """Nothing gets to it or from it; nobody is told."""
        for other in self.ids:
            if other != node:
                self.cut |= {(node, other), (other, node)}

    def heal(self) -> None:
        self.cut.clear()

    def durable_log(self, node: int, group: int) -> bytes:
        """What a power cut now would leave of the group's segments on the node's disk."""
        disk, directory = self.disks[node], f"/data/groups/{group}/replica-0"
        names = [name for name in disk.listdir(directory) if name.endswith(".segment")]
        return b"".join(disk.durable_content(f"{directory}/{name}") for name in names)

    # --- time ---

    def settle(self, rounds: int = 1_000) -> None:
        """Everything that follows without time passing. Messages are faster than disks: a disk answers only when
        nobody has anything left to say, so that whoever speaks too early is heard too early."""
        jobs: list[tuple[int, Job]] = []
        for _ in range(rounds):
            spoke = False
            for node in list(self.nodes):
                effects = self.nodes[node].process()
                jobs += [(node, job) for job in effects.jobs]
                for frame in effects.frames:
                    spoke = True
                    self._deliver(frame)
            if spoke:
                continue
            if not jobs:
                return
            node, job = jobs.pop(0)
            silent = {JobPriority.WRITE: self.stalled, JobPriority.READ: self.unreadable}.get(job.priority, ())
            if node in silent:
                self.withheld.append((node, job))
            elif node in self.nodes:
                self._run(node, job)
        raise AssertionError("the cluster does not come to rest")

    def _run(self, node: int, job: Job) -> None:
        try:
            job.run()
        except (OSError, StorageError) as error:
            self.nodes[node].job_failed(job, error)
        else:
            self.nodes[node].job_done(job)

    def _deliver(self, frame: Frame) -> None:
        self.frames += 1
        if frame.to in self.nodes and (frame.sender, frame.to) not in self.cut:
            self.nodes[frame.to].receive(frame)

    def release(self, node: int) -> None:
        """The stalled disk answers."""
        self.stalled.discard(node)
        self.unreadable.discard(node)
        jobs = [job for owner, job in self.withheld if owner == node]
        self.withheld = [item for item in self.withheld if item[0] != node]
        for job in jobs:
            self._run(node, job)
        self.settle()

    def pass_time(self, duration_ms: int) -> None:
        for _ in range(duration_ms // 10):
            self.clock.time_ms += 10
            if self.clock.time_ms % TICK_MS == 0:
                for node in list(self.nodes.values()):
                    node.tick()
            self.settle()

    def until(self, condition: Callable[[], bool], within_ms: int = 10_000) -> None:
        """Lets time pass until ``condition`` holds."""
        end = self.clock.time_ms + within_ms
        while not condition():
            assert self.clock.time_ms < end, "it does not come about"
            self.pass_time(10)

    # --- requests ---

    def ask(self, node: int, request: Callable[[Node, Callable[[Any], None]], object]) -> list[Any]:
        """Makes a request; the list receives its one answer."""
        answers: list[Any] = []
        request(self.nodes[node], answers.append)
        self.settle()
        return answers

    def make_topic(self, name: str = "t", **settings: int) -> None:
        """A topic of one partition on all nodes, led by somebody."""
        self.until(lambda: self.leader(1) is not None)
        leader = self.leader(1)
        assert leader is not None
        config = TopicConfig(**{"partitions": 1, "replication_factor": len(self.ids), **settings})
        answers = self.ask(leader, lambda node, done: node.create_topic(name, config, done))
        assert not isinstance(answers[0], Failure), answers
        self.until(lambda: self.leader(self.group(name)) is not None)

    def group(self, name: str = "t", partition: int = 0) -> int:
        for node in self.nodes.values():
            for replica in node.describe().replicas:
                if (replica.topic, replica.partition) == (name, partition):
                    return replica.group_id
        raise AssertionError(f"no node has {name}/{partition}")

    def replica(self, node: int, group: int) -> Any:
        """The description of one replica; None if the node has none."""
        found = [replica for replica in self.nodes[node].describe().replicas if replica.group_id == group]
        return found[0] if found else None

    def leader(self, group: int) -> int | None:
        """The node that leads and serves ``group``, by the highest term."""
        best: tuple[int, int] | None = None
        for node in self.nodes:
            replica = self.replica(node, group)
            if replica is not None and replica.role == "leader" and replica.commit_index >= 1:
                best = max(best or (0, 0), (replica.term, node))
        return best[1] if best else None

    def led(self, name: str = "t") -> int:
        """The leader of a topic's only partition; lets time pass until there is one that serves."""
        group = self.group(name)
        self.until(lambda: self.leader(group) is not None)
        leader = self.leader(group)
        assert leader is not None
        return leader

    def append(
        self, node: int, values: list[bytes], name: str = "t", producer: tuple[int, int, int] = (0, 0, 0)
    ) -> list[Appended | Failure]:
        return self.append_batch(node, batch(values, producer), name)

    def append_batch(self, node: int, data: bytes, name: str = "t") -> list[Appended | Failure]:
        return self.ask(node, lambda one, done: one.append(name, 0, data, 0, done))

    def find(self, node: int, position: Position) -> list[OffsetFound | Failure]:
        return self.ask(node, lambda one, done: one.list_offsets("t", 0, position, done))

    def read(self, node: int, offset: int = 0, name: str = "t", max_bytes: int = 1 << 20) -> list[Any]:
        return self.ask(node, lambda one, done: one.read(name, 0, offset, max_bytes, 0, done))


def batch(
    values: list[bytes], producer: tuple[int, int, int] = (0, 0, 0), time_ms: int = 1_700_000_000_000
) -> bytes:
    """A record batch; ``producer`` is (id, epoch, sequence)."""
    return encode_batch(
        values,
        timestamps_ms=[time_ms] * len(values),
        producer_id=producer[0],
        producer_epoch=producer[1],
        base_sequence=producer[2],
    )
