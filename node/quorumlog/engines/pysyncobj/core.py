"""One SyncObj as one replica's core: driven by our ticks and messages, read out after every turn.

*Indices are the library's own.* Its log begins with a no-op at index 1 and is never compacted here, so index for
index it becomes our log: a no-op of its elections is our NOOP, and a command whose first byte is ``16 + kind`` is
an entry of that kind. What it has applied is read from its journal after each turn and handed on as one Ready,
entries to be persisted and committed at once: for the replica above, this is a Raft whose entries arrive
committed.

*Offsets are assigned when a batch is proposed*, exactly as with our own engine, although an entry of this one may
be lost or cut off when leaders change. That is safe for the order of a log, because a leader only appends to its
own, and a new one assigns nothing before the no-op of its term is applied and with it whatever it had inherited:
in each leader's log offsets are dense. Where the library then lets two replicas apply different entries at one
index, the state machine of one of them meets a batch that does not begin where its log ends, or a digest differs,
and that replica is taken out of service, loudly.

*After a restart* the library applies its log from the beginning again. What our log holds already is compared by
term and not written twice; a difference means that the library has replaced what was applied here, and stops the
replica.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quorumlog.engines.pysyncobj.journal import open_journal
from quorumlog.engines.pysyncobj.library import FAIL_REASON, Member, Surroundings, SyncObj, SyncObjConf
from quorumlog.engines.pysyncobj.transport import NodeTransport
from quorumlog.engines.seam import CoreSettings, EngineMessage, UnsupportedChange
from quorumlog.raft import (
    FollowerStatus,
    InvariantViolated,
    NoLeader,
    NotLeader,
    NotVoter,
    Overloaded,
    ProgressState,
    Status,
    Transferring,
    ensure,
)
from quorumlog.raft.types import (
    Configuration,
    ConfigurationChange,
    Entry,
    EntryKind,
    HardState,
    Message,
    ReadState,
    Ready,
    ReplicaId,
    Role,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: What the library's own types of commands are followed by (``_COMMAND_TYPE``: 0 regular, 1 no-op, 2 membership,
#: 3 version).
_FIRST_TYPE = 16
_NO_OP = 1
_KINDS = {_FIRST_TYPE + int(kind): kind for kind in (EntryKind.NOOP, EntryKind.DATA, EntryKind.COMMAND)}
_BARRIER = bytes([_FIRST_TYPE + EntryKind.NOOP])
#: Proposed here and not yet applied, in bytes; beyond it proposals are refused. The library has no bound of its
#: own but a count of commands.
_MAX_UNCOMMITTED_BYTES = 64 << 20
#: Entries per message: the library's own default. An entry of that size or more it cuts into chunks, and miscounts
#: them (RAFT.md §6: the entry never arrives), so the size is raised to that of the largest entry in the log.
_MESSAGE_BYTES = 64 << 10
_NEVER = 1 << 62
_ROLES = (Role.FOLLOWER, Role.CANDIDATE, Role.LEADER)


class PySyncObjCore:
    """See the module. Implements ``quorumlog.engines.seam.Core``."""

    def __init__(self, settings: CoreSettings) -> None:
        self._id = settings.replica
        self._log = settings.log
        self._now_ms = settings.now_ms
        self._reachable = settings.reachable
        self._election_ms = settings.election_ticks * settings.tick_ms
        self._configuration = settings.log.checkpoint.configuration
        self._surroundings = Surroundings(settings.now_ms, settings.rng)
        self._journal = open_journal(settings.files, settings.directory)
        peers = sorted(self._configuration.voters - {self._id})
        self._transport = NodeTransport(self._id, peers, self._surroundings)
        self._library = self._turn_of(self._make_library, settings)
        self._make_room_for(self._journal[:])

        self._skip_to = settings.applied
        self._known_to = settings.log.last_index
        self._read_to = 0
        self._applied = settings.applied
        self._served_term = 0
        self._served_from = 0
        self._uncommitted_bytes = 0
        self._transfer: tuple[ReplicaId, int] | None = None
        self._asking: list[int] = []
        self._due = True
        self._broken: InvariantViolated | None = None

        self._number = 0
        self._hard_term = settings.log.hard_state.term
        self._entries: list[Entry] = []
        self._committed: list[Entry] = []
        self._read_states: list[ReadState] = []
        self._dropped_reads: list[int] = []

    def _make_library(self, settings: CoreSettings) -> Any:
        heartbeat_s = settings.heartbeat_ticks * settings.tick_ms / 1000
        election_s = self._election_ms / 1000
        conf = SyncObjConf(
            autoTick=False,
            # A new entry leaves at once; with batches it would wait for the next heartbeat.
            appendEntriesUseBatch=False,
            appendEntriesPeriod=heartbeat_s,
            appendEntriesBatchSizeBytes=_MESSAGE_BYTES,
            raftMinTimeout=election_s,
            raftMaxTimeout=2 * election_s,
            connectionTimeout=2 * election_s,
            leaderFallbackTimeout=2 * election_s,
            journalFile=self._journal,
            # No dump: a follower that is given one has holes where the records were.
            logCompactionMinEntries=_NEVER,
            logCompactionMinTime=_NEVER,
            dynamicMembershipChange=False,
        )
        return SyncObj(Member(self._id), tuple(self._transport.members.values()), conf, transport=self._transport)

    def _make_room_for(self, entries: Iterable[tuple[bytes, int, int]]) -> None:
        """The library must never cut one of these into chunks."""
        conf = self._library.conf
        for command, _, _ in entries:
            if len(command) >= conf.appendEntriesBatchSizeBytes:
                conf.appendEntriesBatchSizeBytes = len(command) + 1

    def _turn_of(self, action: Callable[..., Any], *arguments: object) -> Any:
        """Calls into the library with this core's clock and chance. Whatever it stumbles over (KeyError,
        struct.error, OSError of its journal) has no meaning that anybody could act on: the replica stops."""
        self._surroundings.enter()
        try:
            return action(*arguments)
        except Exception as error:
            raise InvariantViolated(f"PySyncObj: {type(error).__name__}: {error}") from error
        finally:
            self._surroundings.leave()

    # --- questions ---

    @property
    def role(self) -> Role:
        return _ROLES[self._library.getStatus()["state"]]

    @property
    def term(self) -> int:
        return int(self._library.raftCurrentTerm)

    @property
    def leader(self) -> ReplicaId | None:
        leader = self._library._getLeader()
        return None if leader is None else leader.replica

    @property
    def is_leader(self) -> bool:
        return bool(self._library._isLeader())

    @property
    def can_serve(self) -> bool:
        """The no-op of its own term is applied here, and with it all that it inherited."""
        return self.is_leader and self._served_term == self.term and self._applied >= self._served_from

    @property
    def commit(self) -> int:
        return int(self._library.raftCommitIndex)

    @property
    def applied(self) -> int:
        return self._applied

    @property
    def configuration(self) -> Configuration:
        return self._configuration

    def configuration_at(self, index: int) -> Configuration:
        return self._configuration

    @property
    def idle(self) -> bool:
        return False

    @property
    def quiet(self) -> bool:
        return False

    def status(self) -> Status:
        told = self._library.getStatus()
        connected = self._transport.connected
        followers = []
        if self.is_leader:
            for peer in self._transport.members:
                followers.append(
                    FollowerStatus(
                        replica=peer,
                        match=told[f"match_idx_server_{peer}"],
                        next=told[f"next_node_idx_server_{peer}"],
                        state=ProgressState.REPLICATE if peer in connected else ProgressState.PROBE,
                        in_flight_messages=0,
                        in_flight_bytes=0,
                        recent_active=peer in connected,
                    )
                )
        return Status(
            replica=self._id,
            role=_ROLES[told["state"]],
            term=self.term,
            vote=None,
            leader=self.leader,
            first_index=1,
            last_index=self._last_index,
            durable=self._last_index,
            commit=self.commit,
            applied=self._applied,
            configuration=self._configuration,
            configuration_index=0,
            quiet=False,
            transferring_to=self._transfer[0] if self._transfer is not None else None,
            uncommitted_bytes=self._uncommitted_bytes,
            followers=tuple(followers),
        )

    @property
    def _last_index(self) -> int:
        return int(self._journal[-1][1])

    # --- inputs ---

    def tick(self) -> None:
        self._due = True

    def step(self, message: Message | EngineMessage) -> None:
        if not isinstance(message, EngineMessage):
            raise InvariantViolated("a message of another engine")
        if message.size_bytes >= _MESSAGE_BYTES:
            self._make_room_for(message.body["entries"])  # type: ignore[arg-type]  # a dict of the library
        self._connect()
        self._turn_of(self._transport.deliver, message)
        self._due = True

    def propose(self, kind: EntryKind, data: bytes) -> int:
        if not self.is_leader:
            raise NotLeader(self.leader)
        if self._transfer is not None:
            raise Transferring("leadership is being handed over")
        if self._uncommitted_bytes + len(data) > _MAX_UNCOMMITTED_BYTES:
            raise Overloaded("too many bytes are not yet applied")
        command = bytes([_FIRST_TYPE + kind]) + data
        self._make_room_for(((command, 0, 0),))
        try:
            self._enqueue(command)
        except InvariantViolated as error:
            # Not the asker's affair: the replica stops when its turn comes.
            self._broken = error
            raise NotLeader(None) from error
        self._uncommitted_bytes += len(data)
        self._due = True
        return self._last_index

    def _enqueue(self, command: bytes) -> None:
        self._connect()
        self._turn_of(self._library._applyCommand, command, None)
        # It takes commands from its queue for as long as a heartbeat lasts, then goes on to other things.
        while self._journal[-1][0] is not command:
            self._turn_of(self._library._checkCommandsToApply)

    def propose_configuration(self, change: ConfigurationChange) -> int:
        raise UnsupportedChange("PySyncObj as it is used here cannot change a group's members")

    def read_index(self, context: int) -> None:
        """The library has no ReadIndex. A barrier command stands in: it goes through the log, from a follower by
        way of its leader, and once it is applied here, so is everything that was acknowledged before it was asked
        for. All questions of a round share one."""
        if self.leader is None:
            raise NoLeader("no leader is known")
        self._asking.append(context)
        self._due = True

    def transfer_leadership(self, to: ReplicaId) -> None:
        """The library refuses while ``to`` lacks anything; so proposals wait, and it is asked again each turn."""
        if not self.is_leader:
            raise NotLeader(self.leader)
        if to not in self._configuration.voters:
            raise NotVoter(f"{to} is no voter")
        if to != self._id:
            self._transfer = (to, self._now_ms() + self._election_ms)
            self._due = True

    def campaign(self) -> None:
        """The library stands for election when its own time-out says so, and not before."""

    def leader_lost(self) -> None:
        """Nor does it forget a leader earlier."""

    def resign(self) -> None:
        """Nor can it be told to lead no more."""

    def wake(self) -> None:
        """It is always awake."""

    def become_quiet(self, absent: frozenset[ReplicaId] = frozenset()) -> bool:
        return False

    def report_unreachable(self, peer: ReplicaId) -> None:
        self._due = True

    def report_checkpoint(self, peer: ReplicaId, installed: bool) -> None:
        """There are no checkpoints to send: its log is never compacted."""

    def on_entries_loaded(self) -> None:
        """It reads nothing from our log."""

    # --- a turn ---

    def _connect(self) -> None:
        transport, reachable = self._transport, self._reachable
        for peer in transport.members:
            transport.connect(peer, reachable(peer))

    def _turn(self) -> None:
        self._due = False
        self._connect()
        if self._asking:
            contexts, self._asking = self._asking, []
            self._turn_of(self._library._applyCommand, _BARRIER, self._answer_to(contexts))
        self._turn_of(self._library.doTick)
        if self._transfer is not None:
            self._go_on_transferring(*self._transfer)
        self._take_applied()

    def _answer_to(self, contexts: list[int]) -> Callable[[object, int], None]:
        def answer(_: object, reason: int) -> None:
            """Called while the barrier is being applied, before the library counts it as such."""
            if reason == FAIL_REASON.SUCCESS:
                index = int(self._library.raftLastApplied) + 1
                self._read_states += [ReadState(context, index) for context in contexts]
            else:
                self._dropped_reads += contexts

        return answer

    def _go_on_transferring(self, to: ReplicaId, until_ms: int) -> None:
        if not self.is_leader or self._now_ms() >= until_ms:
            self._transfer = None
        else:
            self._turn_of(self._library.transferLeadership, self._transport.members[to])

    def _take_applied(self) -> None:
        """Reads what the library has applied since the last turn. Between the two nothing can have been cut off: it
        only takes messages when we hand it one, and a turn ends with this."""
        applied = self._library.raftLastApplied
        if applied == self._read_to:
            return
        journal = self._journal
        leading, term_now = self.is_leader, self.term
        while self._read_to < applied:
            command, index, term = journal[self._read_to]
            self._read_to += 1
            ensure(index == self._read_to, f"PySyncObj's journal holds entry {index} where {self._read_to} is due")
            if leading:
                self._uncommitted_bytes = max(self._uncommitted_bytes - len(command) + 1, 0)
                if term == term_now and command[0] == _NO_OP:
                    self._served_term, self._served_from = term, index
            if index > self._skip_to:
                self._take(index, term, command)
        if not leading:
            self._uncommitted_bytes = 0

    def _take(self, index: int, term: int, command: bytes) -> None:
        kind = EntryKind.NOOP if command[0] == _NO_OP else _KINDS.get(command[0])
        if kind is None:
            raise InvariantViolated(f"PySyncObj's entry {index} is of a type {command[0]} that nobody here wrote")
        entry = Entry(index, term, kind, command[1:])
        self._committed.append(entry)
        if index > self._known_to:
            self._entries.append(entry)
            self._hard_term = max(self._hard_term, term)
        else:
            ensure(
                self._log.term(index) == term,
                f"PySyncObj has entry {index} of term {term}, but what was applied here was of term"
                f" {self._log.term(index)}: it has replaced what it had committed",
            )

    # --- outputs ---

    def has_ready(self) -> bool:
        if self._broken is not None:
            raise self._broken
        if self._due:
            self._turn()
        return bool(self._committed or self._transport.outbox or self._read_states or self._dropped_reads)

    def ready(self) -> Ready:
        self._number += 1
        entries = tuple(self._entries)
        ready = Ready(
            self._number,
            messages=tuple(self._transport.outbox),  # type: ignore[arg-type]  # the host's frames carry both
            hard_state=HardState(self._hard_term, None, entries[-1].index) if entries else None,
            entries=entries,
            committed_entries=tuple(self._committed),
            read_states=tuple(self._read_states),
            dropped_reads=tuple(self._dropped_reads),
        )
        self._transport.outbox.clear()
        self._entries.clear()
        self._committed.clear()
        self._read_states.clear()
        self._dropped_reads.clear()
        return ready

    def on_persisted(self, number: int) -> None:
        """Nothing waits for it: the library acknowledges what is in memory."""

    def on_applied(self, index: int) -> None:
        self._applied = index

    def close(self) -> None:
        self._turn_of(self._library.destroy)
