"""The vocabulary of the Raft core: entries, messages, and the work a core hands to its host.

Everything here is a value: immutable, comparable, free of I/O. A host (the gRPC node or the simulator) moves
messages between cores and makes ``Ready`` batches durable; a core never does either itself.

Prior art: the paper's figure 2 and the dissertation's chapters 3, 4, 6 and 10; etcd-io/raft ``raftpb`` and
``node.go`` (Ready).  Where etcd has one wide ``Message`` with a type field, each message here is a type of its own,
so that a field that means nothing cannot be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NamedTuple, Protocol

#: One incarnation of one voter or learner of one group. A replica that lost its disk comes back under a *new* id
#: and is replaced by a configuration change, so that acknowledgements of the lost incarnation can never be counted
#: for the new one.
ReplicaId = int


class EntryKind(IntEnum):
    """What an entry holds. The core interprets only NOOP and CONFIGURATION; everything else is the host's."""

    NOOP = 0
    CONFIGURATION = 1
    DATA = 2
    """A record batch (``quorumlog.wire.batch``); the only kind that consumes offsets."""
    COMMAND = 3
    """A command for the group's state machine, encoded by ``quorumlog.machine``."""


class Entry(NamedTuple):
    """One slot of the replicated log. ``data`` is shared, never copied, by log, network and readers."""

    index: int  # type: ignore[assignment]  # the field's word; tuple.index() is of no use on an entry
    term: int
    kind: EntryKind
    data: bytes


class HardState(NamedTuple):
    """What must be durable before any message that depends on it leaves: the paper's currentTerm and votedFor.

    ``commit`` rides along: not needed for safety, but a log that ends below a commit index it once knew has lost
    data, and recovery must be able to tell (RAFT.md §3).
    """

    term: int = 0
    vote: ReplicaId | None = None
    commit: int = 0


@dataclass(frozen=True, slots=True)
class Configuration:
    """Who decides. With ``outgoing`` non-empty the configuration is joint: both majorities are needed.

    ``learners_next`` are voters of ``outgoing`` that become learners when the joint configuration is left
    (they cannot be both at once).  Source: dissertation §4.3, etcd-io/raft ``confchange`` and ``tracker.Config``.
    """

    voters: frozenset[ReplicaId]
    outgoing: frozenset[ReplicaId] = frozenset()
    learners: frozenset[ReplicaId] = frozenset()
    learners_next: frozenset[ReplicaId] = frozenset()

    @property
    def joint(self) -> bool:
        return bool(self.outgoing)


@dataclass(frozen=True, slots=True)
class ConfigurationChange:
    """A wish: the voters and learners to end with. The core works out whether it needs the joint form."""

    voters: frozenset[ReplicaId]
    learners: frozenset[ReplicaId] = frozenset()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The metadata of a state machine snapshot; the state itself never passes through the core.

    ``index``/``term`` name the last entry it covers; ``configuration`` is the one in force there.
    """

    index: int
    term: int
    configuration: Configuration


class Role(Enum):
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"
    LEARNER = "learner"


# --- messages -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VoteRequest:
    """RequestVote (§3.4), or its dry run before the term is raised (``pre``: §9.6)."""

    sender: ReplicaId
    to: ReplicaId
    term: int
    """The candidate's term; for a pre-vote the term it *would* take."""
    last_index: int
    last_term: int
    pre: bool
    transfer: bool
    """A leadership transfer: the voter must not refuse because its leader is alive (§4.2.3)."""


@dataclass(frozen=True, slots=True)
class VoteResponse:
    sender: ReplicaId
    to: ReplicaId
    term: int
    """A granted pre-vote echoes the requested term; everything else carries the voter's own."""
    granted: bool
    pre: bool


@dataclass(frozen=True, slots=True)
class AppendRequest:
    """AppendEntries with entries, or empty as a probe (§3.5)."""

    sender: ReplicaId
    to: ReplicaId
    term: int
    previous_index: int
    previous_term: int
    commit: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class AppendResponse:
    sender: ReplicaId
    to: ReplicaId
    term: int
    success: bool
    index: int
    """On success the last index *this request verified*; on refusal the request's ``previous_index``."""
    hint_index: int
    """On refusal, the highest index at which the logs may still agree, with the follower's term there (§5.3 of the
    paper, end; etcd ``findConflictByTerm``). Both 0 on success."""
    hint_term: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Leader to follower, without entries: proves leadership, carries min(match, commit), confirms reads."""

    sender: ReplicaId
    to: ReplicaId
    term: int
    commit: int
    read_context: int
    """The number of the newest read round that this heartbeat would confirm; 0 for none. Never reused in a term."""
    quiet: bool
    """The group has nothing to do: from here on, liveness is a matter between the two *nodes* (RAFT.md §4)."""


@dataclass(frozen=True, slots=True)
class HeartbeatResponse:
    sender: ReplicaId
    to: ReplicaId
    term: int
    read_context: int


@dataclass(frozen=True, slots=True)
class InstallCheckpoint:
    """The follower's next entry is gone from the leader's log: the host must bring it ``checkpoint``.

    The host streams the state in chunks; on the receiving side, when the state is complete and verified on disk, it
    steps this message into the core, which answers with an AppendResponse at ``checkpoint.index``.
    """

    sender: ReplicaId
    to: ReplicaId
    term: int
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class TimeoutNow:
    """The leader asks its chosen successor to campaign at once (§3.10)."""

    sender: ReplicaId
    to: ReplicaId
    term: int


@dataclass(frozen=True, slots=True)
class ReadIndexRequest:
    """A follower asks the leader for a read index on behalf of its own clients (§6.4)."""

    sender: ReplicaId
    to: ReplicaId
    term: int
    context: int


@dataclass(frozen=True, slots=True)
class ReadIndexResponse:
    sender: ReplicaId
    to: ReplicaId
    term: int
    context: int
    index: int


Message = (
    VoteRequest
    | VoteResponse
    | AppendRequest
    | AppendResponse
    | Heartbeat
    | HeartbeatResponse
    | InstallCheckpoint
    | TimeoutNow
    | ReadIndexRequest
    | ReadIndexResponse
)


# --- what a core gives its host -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadState:
    """The read asked for under ``context`` may be served once ``index`` has been applied."""

    context: int
    index: int


@dataclass(frozen=True, slots=True)
class Ready:
    """One batch of work. What must precede what:

    1. ``messages`` may leave at once, before anything here is durable (the leader's appends are among them:
       dissertation §10.2.1).
    2. ``checkpoint``, ``hard_state`` and ``entries`` are made durable in one write. ``entries`` replace whatever
       the log held at and above ``entries[0].index``; a ``checkpoint`` replaces the whole log.
    3. Only after that write is durable: ``persisted_messages`` may leave (every vote and acknowledgement, empty
       ones and refusals too), and the host calls ``on_persisted(number)``.
    4. ``committed_entries`` are applied in order; the host then calls ``on_applied(index)``. They may be applied
       before step 3: they are durable on a majority, though perhaps not yet here.
    5. ``read_states`` are served once their index is applied.

    Several may be in flight; writes of Ready n precede those of n+1, so ``on_persisted(n)`` covers all before n.
    """

    number: int
    messages: tuple[Message, ...] = ()
    hard_state: HardState | None = None
    entries: tuple[Entry, ...] = ()
    checkpoint: Checkpoint | None = None
    persisted_messages: tuple[Message, ...] = ()
    committed_entries: tuple[Entry, ...] = ()
    read_states: tuple[ReadState, ...] = ()
    dropped_reads: tuple[int, ...] = ()
    """Contexts of reads that can no longer be confirmed (leadership was lost): definitely not served."""

    @property
    def must_persist(self) -> bool:
        return bool(self.entries) or self.hard_state is not None or self.checkpoint is not None


# --- what a core needs of its host ----------------------------------------------------------------------------


class Compacted(Exception):
    """The entries asked for lie below the first index: only a checkpoint can bring a follower there."""


class NotInMemory(Exception):
    """The entries asked for are on disk only. The storage has noted the wish; when it has been met the host calls
    ``Raft.on_entries_loaded()``, and whatever was waiting goes on. So the event loop never waits for a disk."""


class Storage(Protocol):
    """The *durable and staged* log as the core reads it. Writing is the host's business (see ``Ready``).

    Indices below ``first_index`` are covered by ``checkpoint``; an empty log has ``last_index == first_index - 1``.
    """

    @property
    def hard_state(self) -> HardState: ...

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint just below ``first_index`` (index == first_index - 1): what a follower that is too far
        behind is given, so that it then receives every entry the leader still has. Newer checkpoints may exist (a
        restart applies from the newest); a follower given one of those would lack the records below it. A fresh
        group has one at index 0, term 0 with its bootstrap configuration."""

    @property
    def first_index(self) -> int: ...

    @property
    def last_index(self) -> int: ...

    def term(self, index: int) -> int:
        """The term of the entry at ``index``, for first_index - 1 <= index <= last_index.

        Always from memory. Raises Compacted below that range.
        """

    def entries(self, low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
        """Entries low..high-1, cut so that their data stays within ``max_bytes``, but never fewer than one.

        Raises Compacted if ``low`` < first_index, NotInMemory if the first of them is not in memory.
        """

    def configurations(self) -> tuple[tuple[int, Configuration], ...]:
        """(index, configuration) of every CONFIGURATION entry in the log, ascending: read once, at start."""
