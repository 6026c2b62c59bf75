"""What goes into a node and what comes out: requests, results, effects.

The node is synchronous and deterministic. Whoever runs it (the gRPC shell, the simulator) feeds inputs, calls
``Node.process`` and carries out the ``Effects``; clock, randomness and disk are passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol, TypeVar

from quorumlog.replica.failures import Failure

if TYPE_CHECKING:
    from quorumlog.machine import TopicConfig
    from quorumlog.replica.frames import Frame

MIB = 1 << 20

T = TypeVar("T")
#: Called exactly once, perhaps at once, with the result or the failure.
Done = Callable[[T | Failure], None]


class Clock(Protocol):
    """Time, from outside."""

    def now_ms(self) -> int:
        """Milliseconds that only grow; for time-outs."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch; for retention."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """One node's place in the cluster, its timing and its bounds."""

    cluster_id: str
    node_id: int
    nodes: tuple[int, ...]
    """All configured nodes, ascending."""
    tick_ms: int = 50
    election_ticks: int = 16
    """A follower campaigns after one to two times this many ticks without its leader (0.8 to 1.6 s)."""
    heartbeat_ticks: int = 4
    append_timeout_ms: int = 1500
    """For requests that bring no deadline of their own."""
    max_in_flight_bytes: int = 256 * MIB
    """Appends accepted and not yet answered, over all partitions; more are refused with OVERLOADED."""
    tail_cache_bytes: int = 64 * MIB
    """Recent entries kept in memory for followers and readers, over all partitions."""
    coordinators: int = 4
    """Partitions of the internal topic that coordinates consumer groups, at most 14; 0: there is none. What the
    cluster was first started with counts."""
    engine: str = "raft"
    """What replicates (``quorumlog.engines``): the same on all nodes."""
    balance_leaders: bool = True
    """Hand leadership back to a partition's preferred replica once that has been up for a while."""

    offsets_retention_ms: int = 7 * 24 * 3_600_000
    """Committed offsets that a group has not used for so long expire, with a warning before."""
    tombstones_retention_ms: int = 7 * 24 * 3_600_000
    """An expired offset can be restored for so long."""

    @property
    def election_ms(self) -> int:
        return self.tick_ms * self.election_ticks

    @property
    def offset_policy(self) -> OffsetPolicy:
        return OffsetPolicy(self.offsets_retention_ms, self.tombstones_retention_ms)


@dataclass(frozen=True, slots=True)
class OffsetPolicy:
    """How long unused offsets last, and how long their tombstones."""

    retention_ms: int
    tombstone_ms: int


# --- results --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Appended:
    """The batch is durable on a majority."""

    base_offset: int
    duplicate: bool
    start_offset: int


@dataclass(frozen=True, slots=True)
class ReadResult:
    """Committed batches as stored, and the log's bounds when they were read."""

    batches: list[bytes]
    start_offset: int
    end_offset: int
    terms: list[int] = field(default_factory=list)
    """The Raft term of each batch's entry."""


@dataclass(frozen=True, slots=True)
class Earliest:
    """The first offset still there."""


@dataclass(frozen=True, slots=True)
class End:
    """The offset after the last committed record."""


@dataclass(frozen=True, slots=True)
class AtTime:
    """The first record whose timestamp is this or later."""

    timestamp_ms: int


Position = Earliest | End | AtTime


@dataclass(frozen=True, slots=True)
class OffsetFound:
    """An offset, and the log's bounds at that moment."""

    offset: int
    start_offset: int
    end_offset: int


@dataclass(frozen=True, slots=True)
class PartitionDescription:
    """Where a partition is; ``leader_node`` 0 when this node does not know."""

    partition: int
    group_id: int
    replicas: tuple[int, ...]
    leader_node: int
    leader_term: int


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic as the controller has it, with the leaders this node knows."""

    name: str
    topic_id: int
    config: TopicConfig
    partitions: tuple[PartitionDescription, ...]


@dataclass(frozen=True, slots=True)
class TopicCreated:
    """The topic exists; ``existed`` if it did before, with the same settings."""

    topic: TopicDescription
    existed: bool


@dataclass(frozen=True, slots=True)
class TopicDeleted:
    """The topic is gone."""


@dataclass(frozen=True, slots=True)
class TransferBegun:
    """The leader is handing over."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The cluster as this node knows it."""

    alive: frozenset[int]
    topics: tuple[TopicDescription, ...]
    controller_node: int


@dataclass(frozen=True, slots=True)
class FollowerDescription:
    """A follower as its leader sees it."""

    node_id: int
    match_index: int
    state: str
    learner: bool


@dataclass(frozen=True, slots=True)
class ReplicaDescription:
    """One replica from within."""

    group_id: int
    topic: str
    partition: int
    role: str
    leader_node: int
    term: int
    commit_index: int
    applied_index: int
    last_index: int
    start_offset: int
    end_offset: int
    size_bytes: int
    digest: bytes
    quiet: bool
    damage: str
    followers: tuple[FollowerDescription, ...]
    voters: tuple[int, ...]
    disk_full: bool
    waiting: int
    """Requests that wait for this replica."""


@dataclass(frozen=True, slots=True)
class LinkDescription:
    """A link to another node."""

    node_id: int
    up: bool
    silent_ms: int


@dataclass(frozen=True, slots=True)
class NodeDescription:
    """One node from within."""

    replicas: tuple[ReplicaDescription, ...]
    links: tuple[LinkDescription, ...]
    in_flight_bytes: int


# --- effects --------------------------------------------------------------------------------------------------


class JobPriority(IntEnum):
    """Which job goes first when workers are short: acknowledgements wait for WRITE, a reader for READ."""

    WRITE = 0
    READ = 1
    MAINTENANCE = 2


class Runnable(Protocol):
    """Blocking work; touches nothing but its own files and buffers."""

    def run(self) -> None: ...


@dataclass(slots=True, eq=False)
class Job:
    """Blocking work for a worker thread; then ``Node.job_done`` or ``Node.job_failed`` in the loop."""

    group_id: int
    priority: JobPriority
    work: Runnable
    finish: Callable[[BaseException | None], None] = field(repr=False)
    """The node's own continuation; called by job_done and job_failed, nobody else."""

    def run(self) -> None:
        self.work.run()


@dataclass(slots=True)
class Effects:
    """What the node wants done now."""

    frames: list[Frame]
    jobs: list[Job]
    wake_at_ms: int | None
    """Call ``process`` again at this time of ``Clock.now_ms``, even without input."""
