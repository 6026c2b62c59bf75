"""A disk, a network and a handful of hosts for Raft cores: small, real, and obedient to the test that holds them.

``MemoryStorage`` keeps what was written and forgets the rest in a crash. ``Member`` is a host: it performs Readys,
one write at a time and in order, and applies what is committed. ``Cluster`` carries messages between members in the
order they were sent, unless a test takes, holds, doubles or drops them. Nothing here runs by itself.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from quorumlog.raft import (
    AppendRequest,
    Checkpoint,
    Compacted,
    Configuration,
    ConfigurationChange,
    Entry,
    EntryKind,
    HardState,
    InstallCheckpoint,
    Message,
    NotInMemory,
    Raft,
    RaftConfig,
    ReadState,
    Ready,
    ReplicaId,
    Role,
    VoteRequest,
    decode_configuration,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

M = TypeVar("M", bound=object)


def voters(*replicas: ReplicaId, learners: Iterable[ReplicaId] = ()) -> Configuration:
    return Configuration(frozenset(replicas), learners=frozenset(learners))


def change(*replicas: ReplicaId, learners: Iterable[ReplicaId] = ()) -> ConfigurationChange:
    return ConfigurationChange(frozenset(replicas), frozenset(learners))


def data(index: int, term: int, payload: bytes = b"") -> Entry:
    return Entry(index, term, EntryKind.DATA, payload)


def entries(*terms: int, start: int = 1) -> tuple[Entry, ...]:
    """Data entries from ``start`` on, one for each term given."""
    return tuple(data(index, term) for index, term in enumerate(terms, start))


def append(
    previous: tuple[int, int],
    *news: Entry,
    commit: int = 0,
    term: int | None = None,
    sender: ReplicaId = 1,
    to: ReplicaId = 2,
) -> AppendRequest:
    """An append behind ``previous`` (index, term); the leader's term is that of the newest entry unless given."""
    if term is None:
        term = news[-1].term if news else previous[1]
    return AppendRequest(sender, to, term, previous[0], previous[1], commit, news)


def vote_request(
    sender: ReplicaId, to: ReplicaId, term: int, last: tuple[int, int], *, pre: bool = False, transfer: bool = False
) -> VoteRequest:
    """``last``: (index, term) of the candidate's last entry."""
    return VoteRequest(sender, to, term, last[0], last[1], pre, transfer)


class MemoryStorage:
    """What a disk holds. ``write`` is atomic; ``resident_from`` says which entries a read finds in memory."""

    def __init__(
        self,
        configuration: Configuration,
        log: Iterable[Entry] = (),
        hard_state: HardState | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.checkpoint = checkpoint or Checkpoint(0, 0, configuration)
        self.log = list(log)
        self.hard_state = hard_state or HardState(self.log[-1].term if self.log else self.checkpoint.term)
        self.resident_from = 0
        self.wishes = 0

    @property
    def first_index(self) -> int:
        return self.checkpoint.index + 1

    @property
    def last_index(self) -> int:
        return self.checkpoint.index + len(self.log)

    def term(self, index: int) -> int:
        if index == self.checkpoint.index:
            return self.checkpoint.term
        if index < self.checkpoint.index:
            raise Compacted
        return self.log[index - self.first_index].term

    def entries(self, low: int, high: int, max_bytes: int) -> tuple[Entry, ...]:
        assert low < high <= self.last_index + 1
        if low < self.first_index:
            raise Compacted
        if low < self.resident_from:
            self.wishes += 1
            raise NotInMemory
        found: list[Entry] = []
        for entry in self.log[low - self.first_index : high - self.first_index]:
            max_bytes -= len(entry.data)
            if found and max_bytes < 0:
                break
            found.append(entry)
        return tuple(found)

    def configurations(self) -> tuple[tuple[int, Configuration], ...]:
        kind = EntryKind.CONFIGURATION
        return tuple((e.index, decode_configuration(e.data)) for e in self.log if e.kind == kind)

    def write(self, ready: Ready) -> None:
        if ready.checkpoint is not None:
            self.checkpoint = ready.checkpoint
            self.log = []
        if ready.hard_state is not None:
            self.hard_state = ready.hard_state
        if ready.entries:
            first = ready.entries[0].index
            assert self.first_index <= first <= self.last_index + 1, "a write leaves a hole"
            del self.log[first - self.first_index :]
            self.log.extend(ready.entries)

    def compact(self, index: int, configuration: Configuration) -> None:
        """Everything up to ``index`` is in a checkpoint now."""
        term = self.term(index)
        del self.log[: index - self.checkpoint.index]
        self.checkpoint = Checkpoint(index, term, configuration)


@dataclass
class Member:
    """One replica and its host. What survives ``crash`` is ``storage`` and the options; the rest is memory."""

    id: ReplicaId
    storage: MemoryStorage
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    starts: int = 0

    def __post_init__(self) -> None:
        self.machine: list[Entry] = []
        self.start()

    def start(self) -> None:
        self.starts += 1
        self.writes: deque[Ready] = deque()
        self.reads: list[ReadState] = []
        self.dropped: list[int] = []
        self.applied_from = self.storage.checkpoint.index
        self.machine = []
        chance = random.Random(f"{self.seed}/{self.id}/{self.starts}")
        config = RaftConfig(self.id, **self.options)
        self.raft = Raft(config, self.storage, self.storage.checkpoint.index, chance)

    def role(self) -> Role:
        return self.raft.role

    def crash(self) -> None:
        """The power fails: what was not written is gone."""
        self.start()

    def take(self) -> tuple[Ready, tuple[Message, ...]]:
        """One Ready: (it, what may leave at once). Its write joins the queue; its committed entries are applied."""
        ready = self.raft.ready()
        self.reads += ready.read_states
        self.dropped += ready.dropped_reads
        leaving = ready.messages
        if ready.must_persist or self.writes:
            self.writes.append(ready)
        else:
            self.raft.on_persisted(ready.number)
            leaving += ready.persisted_messages
        for entry in ready.committed_entries:
            assert entry.index == self.applied_from + len(self.machine) + 1, "entries are applied in order, once"
            self.machine.append(entry)
        if ready.committed_entries:
            self.raft.on_applied(ready.committed_entries[-1].index)
        return ready, leaving

    def persist(self) -> tuple[Message, ...]:
        """The oldest write reaches the disk; what was held for it."""
        ready = self.writes.popleft()
        self.storage.write(ready)
        if ready.checkpoint is not None:
            self.applied_from = ready.checkpoint.index
            self.machine = []
        self.raft.on_persisted(ready.number)
        return ready.persisted_messages

    def drain(self) -> list[Message]:
        """Everything there is to do, disk included; what left."""
        left: list[Message] = []
        while self.writes or self.raft.has_ready():
            while self.raft.has_ready():
                left += self.take()[1]
            while self.writes:
                left += self.persist()
        return left

    @property
    def log(self) -> list[tuple[int, int]]:
        """(index, term) of the log on disk: what is drained."""
        return [(entry.index, entry.term) for entry in self.storage.log]

    @property
    def payloads(self) -> list[bytes]:
        """What the state machine has seen of data."""
        return [entry.data for entry in self.machine if entry.kind == EntryKind.DATA]


def member(
    log: Iterable[Entry] = (),
    hard_state: HardState | None = None,
    *,
    id: ReplicaId = 2,
    configuration: Configuration | None = None,
    checkpoint: Checkpoint | None = None,
    **options: Any,
) -> Member:
    """One replica by itself; by default number 2 of {1, 2, 3}. Its hard state's term defaults to its log's."""
    configuration = configuration or voters(1, 2, 3)
    return Member(id, MemoryStorage(configuration, log, hard_state, checkpoint), options)


class Cluster:
    """Members and the messages between them, in ``wire``, oldest first."""

    def __init__(
        self, configuration: Configuration, *, spare: Iterable[ReplicaId] = (), seed: int = 0, **options: Any
    ) -> None:
        self.wire: list[Message] = []
        self.cut: set[tuple[ReplicaId, ReplicaId]] = set()
        """Directed links that lose everything."""
        self.members: dict[ReplicaId, Member] = {}
        self.options = options
        self.seed = seed
        for replica in sorted(configuration.voters | configuration.learners):
            self.add(replica, MemoryStorage(configuration))
        for replica in spare:
            self.add(replica, MemoryStorage(Configuration(frozenset())))

    @classmethod
    def of(cls, *storages: MemoryStorage, **options: Any) -> Cluster:
        """Members 1, 2, … with the disks given."""
        cluster = cls(Configuration(frozenset()), **options)
        for replica, storage in enumerate(storages, 1):
            cluster.add(replica, storage)
        return cluster

    def add(self, replica: ReplicaId, storage: MemoryStorage) -> None:
        self.members[replica] = Member(replica, storage, self.options, self.seed)

    def __getitem__(self, replica: ReplicaId) -> Raft:
        return self.members[replica].raft

    def crash(self, replica: ReplicaId) -> None:
        self.members[replica].crash()

    # --- the network

    def send(self, messages: Iterable[Message]) -> None:
        self.wire += messages

    def deliver(self, message: Message) -> None:
        """To the core it is for; a checkpoint arrives with its state, and the sender's host says so."""
        if (message.sender, message.to) in self.cut or message.to not in self.members:
            return
        self[message.to].step(message)
        if isinstance(message, InstallCheckpoint) and message.sender in self.members:
            self[message.sender].report_checkpoint(message.to, True)

    def isolate(self, *replicas: ReplicaId) -> None:
        """Cuts every link between these and the others, both ways."""
        for inside in replicas:
            for outside in self.members:
                if outside not in replicas:
                    self.cut |= {(inside, outside), (outside, inside)}

    def heal(self) -> None:
        self.cut.clear()

    def pick(self, kind: type[M], *, to: ReplicaId | None = None, sender: ReplicaId | None = None) -> list[M]:
        """Takes the messages of a kind off the wire."""
        found: list[M] = [
            message
            for message in self.wire
            if isinstance(message, kind) and to in (None, message.to) and sender in (None, message.sender)
        ]
        self.wire = [message for message in self.wire if not any(message is other for other in found)]
        return found

    # --- running

    def drain(self) -> None:
        """Every member does what it has to do; nothing is delivered."""
        for member in self.members.values():
            self.send(member.drain())

    def settle(
        self,
        keep: Callable[[Message], bool] = lambda _: True,
        rounds: int = 200,
        seen: list[Message] | None = None,
    ) -> None:
        """Delivers until nothing moves any more; messages that ``keep`` rejects are lost. ``seen`` takes the
        others."""
        for _ in range(rounds):
            self.drain()
            if not self.wire:
                return
            batch, self.wire = self.wire, []
            for message in batch:
                if keep(message):
                    if seen is not None:
                        seen.append(message)
                    self.deliver(message)
        raise AssertionError(f"still {len(self.wire)} messages after {rounds} rounds: {self.wire[:3]}")

    def tick(self, times: int = 1, only: Iterable[ReplicaId] | None = None) -> None:
        """Time passes for everyone (or ``only`` some), and all that follows from it happens. Quiet cores sleep."""
        chosen = sorted(self.members) if only is None else list(only)
        for _ in range(times):
            for replica in chosen:
                if not self[replica].quiet:
                    self[replica].tick()
            self.settle()

    def elect(self, replica: ReplicaId) -> Raft:
        """``replica`` becomes leader, by an election that the others have no reason to refuse."""
        for other in self.members:
            self[other].leader_lost()
        self[replica].campaign()
        self.settle()
        assert self[replica].role is Role.LEADER
        return self[replica]

    def propose(self, replica: ReplicaId, *payloads: bytes) -> int:
        index = 0
        for payload in payloads:
            index = self[replica].propose(EntryKind.DATA, payload)
        return index

    def leaders(self) -> list[ReplicaId]:
        return [replica for replica in sorted(self.members) if self[replica].is_leader]

    def leader(self) -> ReplicaId:
        (leader,) = self.leaders()
        return leader
