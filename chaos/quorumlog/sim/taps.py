"""The taps on every node: after each round, what its replicas now say of themselves goes to the checker.

The nodes do not know that they are watched: messages are seen as they leave, states are read off when a round is
over. A violation ends the run at once, so that the last events of the trace are those that led to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.check import RaftChecker
from quorumlog.engines import EngineMessage
from quorumlog.machine import PartitionMachine
from quorumlog.raft.types import AppendRequest, AppendResponse, Compacted, VoteResponse
from quorumlog.replica.events import LeaderElected, ReplicaDamaged, ReplicaReplaced

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.raft.types import Message
    from quorumlog.replica import Frame
    from quorumlog.replica.events import Event
    from quorumlog.replica.replica import Replica
    from quorumlog.sim.atlas import FaultAtlas
    from quorumlog.sim.host import Host
    from quorumlog.sim.world import World


class Taps:
    """See the module. Without ``judges_raft`` (another engine) only what clients see is judged. ``failures`` are
    things that must not happen to a node at all: an exception, a refusal to start, damage found where nothing was
    damaged."""

    def __init__(
        self, world: World, atlas: FaultAtlas, *, judges_raft: bool = True, with_offsets: bool = False
    ) -> None:
        self._judges_raft = judges_raft
        self.diverged: list[str] = []
        """Replicas of another engine that were stopped because they contradict what they had applied."""
        self.checker = RaftChecker()
        self.failures: list[str] = []
        self.events: dict[str, int] = {}
        """How often each kind of event was told by the nodes."""
        self.elections: dict[int, list[tuple[int, int, int]]] = {}
        """group -> (time in µs, term, node) of each leader that could serve."""
        self.doomed: dict[int, None] = {}
        """Groups that are being removed: not judged any more. A node that has removed its replica and comes back
        with a controller's state from before makes it anew, empty, until it learns better."""
        self.to_be_replaced: dict[tuple[int, int], None] = {}
        """(node, group) of replicas that called themselves damaged and have not said that they were replaced."""
        self._world = world
        self._atlas = atlas
        self._with_offsets = with_offsets
        self._states: dict[tuple[int, int], tuple[int, int, int, bool]] = {}

    # --- a node's life ---

    def started(self, host: Host) -> None:
        """A process has opened its replicas: they must remember what they promised."""
        for group, replica in host.replicas() if self._judges_raft else ():
            if group in self.doomed:
                continue
            log = replica.log
            self.checker.restarted(group, replica.replica_id, replica.raft.term, log.last_index, _term_at(replica))
        if self.checker.violations:
            self._world.halted = True

    def stopped(self, host: Host) -> None:
        for key in [key for key in self._states if key[0] == host.node_id]:
            del self._states[key]
        for damaged in [damaged for damaged in self.to_be_replaced if damaged[0] == host.node_id]:
            # The next process knows of its own damage only.
            del self.to_be_replaced[damaged]

    def crashed(self, host: Host, why: str) -> None:
        """The process did what no process may do."""
        self._fail(f"node {host.node_id}: {why}")
        self._world.trace.note(host.node_id, "CRASHED", why)

    def _fail(self, why: str) -> None:
        self.failures.append(why)
        self._world.halted = True

    def listener(self, host: Host) -> Callable[[Event], None]:
        """What the node is to tell its events to."""

        def hear(event: Event) -> None:
            name = type(event).__name__
            self.events[name] = self.events.get(name, 0) + 1
            self._world.trace.note(host.node_id, name, *(getattr(event, field) for field in event.__slots__))
            if isinstance(event, LeaderElected):
                history = self.elections.setdefault(event.group_id, [])
                history.append((self._world.now_us, event.term, host.node_id))
            elif isinstance(event, ReplicaReplaced):
                self.to_be_replaced.pop((host.node_id, event.group_id), None)
            elif isinstance(event, ReplicaDamaged) and not self._judges_raft:
                self.diverged.append(f"node {host.node_id}, group {event.group_id}: {event.why}")
            elif isinstance(event, ReplicaDamaged) and not self._atlas.may_be_damaged(host.node_id, event.group_id):
                self._fail(f"node {host.node_id} calls its replica of group {event.group_id} damaged: {event.why}")
            elif isinstance(event, ReplicaDamaged):
                self.to_be_replaced[host.node_id, event.group_id] = None

        return hear

    # --- after each round ---

    def looked(self, host: Host, frames: list[Frame]) -> None:
        """The node has finished a round, and these frames are about to leave it."""
        if not self._judges_raft:
            return
        node = host.node_id
        states, checker = self._states, self.checker
        for replica in host.touched():
            group, raft = replica.group_id, replica.raft
            state = (raft.term, raft.commit, raft.applied, raft.is_leader)
            key = (node, group)
            before = states.get(key)
            if state == before or group in self.doomed:
                continue
            states[key] = state
            term, commit, applied, leads = state
            term_at = _term_at(replica)
            name = replica.replica_id
            if leads and (before is None or not before[3] or before[0] != term):
                checker.became_leader(group, name, term, _held_at(replica))
            checker.progressed(group, name, term, commit, applied, term_at)
            if before is None or applied != before[2]:
                checker.digest(group, name, replica.machine.applied_index, self._state_of(replica))
        for frame in frames:
            for group, message in frame.messages:
                if not isinstance(message, EngineMessage) and group not in self.doomed:
                    self._leaves(host, group, message)
        if checker.violations:
            self._world.halted = True

    def _state_of(self, replica: Replica) -> bytes:
        """What must be equal on all replicas at one applied index. Where offsets are used, the table of offsets is
        asked as well: the running digest tells what was decided, the table what is there."""
        machine = replica.machine
        if self._with_offsets and isinstance(machine, PartitionMachine):
            return machine.digest + machine.offsets.digest()
        return machine.digest

    def _leaves(self, host: Host, group: int, message: Message) -> None:
        checker = self.checker
        kind = type(message)
        if kind is AppendRequest:
            self._entries(group, message)  # type: ignore[arg-type]
        elif kind is AppendResponse:
            self._acknowledges(host, group, message)  # type: ignore[arg-type]
        elif kind is VoteResponse:
            assert isinstance(message, VoteResponse)
            if message.granted and not message.pre:
                checker.voted(group, message.sender, message.term, message.to)
            elif not message.granted:
                checker.answered(group, message.sender, message.term)

    def _entries(self, group: int, message: AppendRequest) -> None:
        previous = message.previous_term
        for entry in message.entries:
            self.checker.entry(group, entry.index, entry.term, previous, entry.data)
            previous = entry.term

    def _acknowledges(self, host: Host, group: int, message: AppendResponse) -> None:
        self.checker.answered(group, message.sender, message.term)
        replica = host.replica(group)
        # Only within its own term is the log still the one that was acknowledged: a later leader may have replaced
        # it.
        if message.success and replica is not None and replica.raft.term == message.term:
            entry_term = _term_at(replica)(message.index)
            if entry_term is not None:
                self.checker.acknowledged(group, message.sender, message.term, message.index, entry_term)


def _held_at(replica: Replica) -> Callable[[int], int | None]:
    """As ``_term_at``, of a leader: what lies beyond its log's end it does not have, which is term 0."""
    log, term_at = replica.log, _term_at(replica)
    return lambda index: 0 if index > log.last_index else term_at(index)


def _term_at(replica: Replica) -> Callable[[int], int | None]:
    log = replica.log

    def term_at(index: int) -> int | None:
        if index > log.last_index:
            return None
        try:
            return log.term(index)
        except Compacted:
            return None

    return term_at
