"""A coordinator's service: membership of consumer groups, on the replica that leads one partition of "__groups".

What members are, own and are to own is replicated (``quorumlog.machine.coordinator``); who lives is this leader's
to know (``liveness``), and only what follows from it is proposed. A heartbeat is answered from the applied state of
the leader, without asking a majority: what a leader says that has been deposed without knowing is only old, and an
assignment that is old does no harm, because partitions refuse owners of an earlier generation. Only "you are no
member", on which a client gives everything up, is confirmed first.

Prior art: Kafka's ``GroupMetadataManager`` (KIP-848) has the same division between timeline and timers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from quorumlog.machine.coordinator_codec import decode_coordinator_command, encode_coordinator_command
from quorumlog.machine.coordinator_commands import (
    Assignment,
    CoordinatorCommand,
    DropGroup,
    Dropped,
    GiveBack,
    GroupPartition,
    JoinGroup,
    Removed,
    RemoveMember,
    TopicsChanged,
    UnknownConsumerGroup,
    UnknownMember,
)
from quorumlog.raft import NotLeader, Overloaded, Transferring
from quorumlog.raft.types import Entry, EntryKind
from quorumlog.replica.coordinator_refusals import refused
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.replica.ids import node_of
from quorumlog.replica.leader_wait import LeaderWait
from quorumlog.replica.liveness import Liveness
from quorumlog.replica.offset_api import (
    DescribedGroup,
    DescribedMember,
    GroupDropped,
    ListedGroup,
    MemberAssignment,
    MemberLeft,
)
from quorumlog.replica.proposals import Proposals
from quorumlog.replica.refusals import Refusals, overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.machine import DesiredGroup
    from quorumlog.machine.consumer_group import ConsumerGroup
    from quorumlog.machine.coordinator import CoordinatorMachine
    from quorumlog.replica.api import Done
    from quorumlog.replica.replica import Replica

#: A member that gives a sign this often is not given up for one that was lost, or for three.
HEARTBEATS_PER_SESSION = 4
MAX_HEARTBEAT_INTERVAL_MS = 3_000


class Topics(Protocol):
    """What a coordinator needs to know of topics."""

    def partitions_of(self, topic: str) -> int:
        """How many partitions the topic has, as far as this node knows; 0 if there is none."""

    def confirm(self, done: Callable[[bool], None]) -> None:
        """Calls back once this node knows all that the controller had decided; False if it cannot."""


class CoordinatorService:
    """See the module. One per replica of a partition of "__groups"; a ``quorumlog.replica.seam.Service``."""

    __slots__ = (
        "_asking",
        "_liveness",
        "_look_at_topics",
        "_machine",
        "_now_ms",
        "_proposals",
        "_replica",
        "_topics",
        "_wait",
        "partition",
        "preferred_node",
        "refuse",
        "topic",
    )

    def __init__(
        self,
        replica: Replica,
        machine: CoordinatorMachine,
        topics: Topics,
        patience_ms: int,
        now_ms: Callable[[], int],
    ) -> None:
        self.topic = ""
        self.partition = 0
        self.preferred_node = 0
        self.refuse = Refusals(replica, patience_ms, now_ms)
        self._replica = replica
        self._machine = machine
        self._topics = topics
        self._now_ms = now_ms
        self._proposals = Proposals()
        self._wait = LeaderWait(replica, self.refuse, now_ms)
        self._liveness = Liveness()
        self._look_at_topics = False
        self._asking = False

    def bind(self, group: DesiredGroup) -> None:
        """The controller says which partition this is. Until then no request finds its way here."""
        self.topic = group.topic
        self.partition = group.partition
        self.preferred_node = group.replicas[0]
        self.refuse.name = f"{group.topic}/{group.partition}"

    # --- members ---

    def join(self, command: JoinGroup, timeout_ms: int, done: Done[MemberAssignment]) -> None:
        """A member comes, or wants something else."""
        deadline_ms = self._now_ms() + timeout_ms

        def settled(result: object) -> None:
            if isinstance(result, Assignment):
                done(_told(result, command.session_timeout_ms))
            else:
                done(refused(result))

        self._wait.lead(deadline_ms, lambda: self._propose(command, deadline_ms, settled), done)

    def heartbeat(
        self,
        group: str,
        member: str,
        generation: int,
        owned: tuple[GroupPartition, ...],
        released: tuple[GroupPartition, ...],
        timeout_ms: int,
        done: Done[MemberAssignment],
    ) -> None:
        """A member lives; answered once what it gives back has been given on."""
        deadline_ms = self._now_ms() + timeout_ms
        self._wait.lead(
            deadline_ms,
            lambda: self._heard(group, member, generation, owned, released, deadline_ms, done),
            done,
        )

    def _heard(
        self,
        name: str,
        member: str,
        generation: int,
        owned: tuple[GroupPartition, ...],
        released: tuple[GroupPartition, ...],
        deadline_ms: int,
        done: Done[MemberAssignment],
    ) -> None:
        group = self._group_of(name, member)
        if group is None:
            self._deny(name, member, deadline_ms, done)
            return
        timeout_ms = group.members[member].session_timeout_ms
        self._hear(name, member, timeout_ms)

        def settled(result: object) -> None:
            done(_told(result, timeout_ms) if isinstance(result, Assignment) else refused(result))

        given_back = group.given_back(member, generation, owned, released)
        if given_back:
            self._propose(GiveBack(name, member, generation, given_back), deadline_ms, settled)
        else:
            settled(group.assignment(member))

    def _group_of(self, name: str, member: str) -> ConsumerGroup | None:
        """The group, if ``member`` is one of its members."""
        group = self._machine.group(name)
        return group if group is not None and member in group.members else None

    def _deny(self, name: str, member: str, deadline_ms: int, done: Done[MemberAssignment]) -> None:
        """Says that somebody is no member, when a majority confirms that this is how things are."""

        def confirmed(current: bool) -> None:
            group = self._group_of(name, member)
            if not current:
                done(self.refuse.no_quorum())
            elif group is None:
                done(refused(UnknownMember(name, member)))
            else:
                done(_told(group.assignment(member), group.members[member].session_timeout_ms))

        self._replica.barrier(deadline_ms, confirmed)

    def leave(self, group: str, member: str, for_good: bool, timeout_ms: int, done: Done[MemberLeft]) -> None:
        """Ends a membership, or (static, not ``for_good``) announces a pause."""
        deadline_ms = self._now_ms() + timeout_ms

        def settled(result: object) -> None:
            done(MemberLeft() if isinstance(result, Removed) else refused(result))

        command = RemoveMember(group, member, expired=False, for_good=for_good)
        self._wait.lead(deadline_ms, lambda: self._propose(command, deadline_ms, settled), done)

    # --- groups ---

    def describe(self, name: str, timeout_ms: int, done: Done[DescribedGroup]) -> None:
        """One group; linearizable."""

        def confirmed() -> None:
            group = self._machine.group(name)
            done(refused(UnknownConsumerGroup(name)) if group is None else self._described(group))

        self._confirm(timeout_ms, confirmed, done)

    def _described(self, group: ConsumerGroup) -> DescribedGroup:
        now_ms, view = self._now_ms(), group.view()
        members = tuple(
            DescribedMember(member, self._liveness.silent_ms((group.name, member.member), now_ms))
            for member in view.members
        )
        node = node_of(self._replica.replica_id)
        return DescribedGroup(view.group, view.state, view.generation, view.strategy, members, node, self.partition)

    def list(self, timeout_ms: int, done: Done[tuple[ListedGroup, ...]]) -> None:
        """All groups here; linearizable."""

        def confirmed() -> None:
            groups = self._machine.groups()
            done(tuple(ListedGroup(one.name, one.state, len(one.members), one.generation) for one in groups))

        self._confirm(timeout_ms, confirmed, done)

    def _confirm(self, timeout_ms: int, serve: Callable[[], None], refuse: Callable[[Failure], None]) -> None:
        """``serve`` once this replica leads, and has applied all that was committed before."""
        deadline_ms = self._now_ms() + timeout_ms

        def confirmed(current: bool) -> None:
            if current:
                serve()
            else:
                refuse(self.refuse.no_quorum())

        self._wait.lead(deadline_ms, lambda: self._replica.barrier(deadline_ms, confirmed), refuse)

    def drop(self, group: str, timeout_ms: int, done: Done[GroupDropped]) -> None:
        """Forgets a group that has no members."""
        deadline_ms = self._now_ms() + timeout_ms

        def settled(result: object) -> None:
            done(GroupDropped() if isinstance(result, Dropped) else refused(result))

        self._wait.lead(deadline_ms, lambda: self._propose(DropGroup(group), deadline_ms, settled), done)

    # --- proposing ---

    def _propose(self, command: CoordinatorCommand, deadline_ms: int, settled: Callable[[object], None]) -> None:
        """``settled`` gets what ``command`` comes to, or a Failure."""
        if self._replica.disk_full:
            settled(Failure(Reason.DISK_FULL, "the coordinator's disk is full"))
            return
        try:
            index = self._replica.propose(EntryKind.COMMAND, encode_coordinator_command(command))
        except NotLeader:
            settled(self.refuse.not_leader())
        except Overloaded:
            settled(overloaded("the coordinator has too much to do"))
        except Transferring:
            self._wait.hold(deadline_ms, lambda: self._propose(command, deadline_ms, settled), settled)
        else:
            self._proposals.add(index, deadline_ms, settled)
            self._replica.watch()

    def _propose_own(self, command: CoordinatorCommand) -> bool:
        """Proposes what nobody waits for; whether it was. If it comes to nothing, ``tick`` finds it due again."""
        try:
            self._replica.propose(EntryKind.COMMAND, encode_coordinator_command(command))
        except (NotLeader, Overloaded, Transferring):
            return False
        return True

    # --- who lives ---

    def _hear(self, group: str, member: str, timeout_ms: int) -> None:
        self._liveness.heard((group, member), timeout_ms, self._now_ms())
        self._replica.watch()

    def _give_up_silent(self, now_ms: int) -> None:
        for group, member in self._liveness.due(now_ms):
            if self._group_of(group, member) is None:
                self._liveness.drop((group, member))
            else:
                self._propose_own(RemoveMember(group, member, expired=True))

    # --- topics ---

    def topics_changed(self) -> None:
        """This node has learned of other topics or partitions."""
        if self._replica.leading:
            self._look_at_topics = True
            self._follow_topics()

    def _follow_topics(self) -> None:
        """Has the groups follow the topics. Only what the controller confirms: a node that starts knows of no topic
        yet, and must not take every partition from every member for that."""
        if not self._replica.leading or self._asking:
            return
        if not self._differences():
            self._look_at_topics = False
            return
        self._asking = True
        self._replica.watch()

        def confirmed(current: bool) -> None:
            self._asking = False
            differences = self._differences()
            if current and self._replica.leading:
                self._look_at_topics = bool(differences) and not self._propose_own(TopicsChanged(differences))

        self._topics.confirm(confirmed)

    def _differences(self) -> tuple[tuple[str, int], ...]:
        """The topics that groups think of otherwise than this node does, with what it thinks."""
        differences: dict[str, int] = {}
        for group in self._machine.groups():
            for topic, count in group.partitions.items():
                now = self._topics.partitions_of(topic)
                if now != count:
                    differences[topic] = now
        return tuple(sorted(differences.items()))

    # --- what the replica tells ---

    def flush(self) -> None:
        """Every request proposes for itself: they are few."""

    def applied(self, entry: Entry, result: object) -> None:
        if isinstance(result, Assignment) and self._replica.leading:
            command = decode_coordinator_command(entry.data)
            if isinstance(command, JoinGroup):
                # Whether or not anybody waits for it any more: a member without a session would never expire.
                self._hear(command.group, command.member, command.session_timeout_ms)
                self._look_at_topics = True
        self._proposals.applied(entry.index, result)

    def advanced(self) -> None:
        if self._look_at_topics:
            self._follow_topics()

    def leading(self) -> None:
        self._liveness.begin(
            (
                ((group.name, member.member), member.session_timeout_ms)
                for group in self._machine.groups()
                for _, member in sorted(group.members.items())
            ),
            self._now_ms(),
        )
        self._replica.watch()
        self._wait.leading()
        self.topics_changed()

    def deposed(self) -> None:
        self._liveness.clear()
        self._look_at_topics = False
        failure = self.refuse.deposed()
        for settled in self._proposals.take_all():
            settled(failure)

    def tick(self, now_ms: int) -> None:
        for settled in self._proposals.expired(now_ms):
            settled(self.refuse.unconfirmed("change"))
        self._wait.look(now_ms)
        if self._replica.leading:
            self._give_up_silent(now_ms)
            if self._look_at_topics:
                self._follow_topics()

    def close(self, failure: Failure) -> None:
        self._liveness.clear()
        unknown = Failure(failure.reason, failure.message, Outcome.UNKNOWN, failure.leader_node)
        for settled in self._proposals.take_all():
            settled(unknown)
        self._wait.refuse_all(failure)

    # --- questions ---

    @property
    def replica(self) -> Replica:
        return self._replica

    @property
    def start_offset(self) -> int:
        """The log holds no records; all of it may go once a checkpoint stands for it."""
        return 0

    @property
    def requests(self) -> int:
        """Requests that wait for something."""
        return len(self._proposals) + len(self._wait)

    @property
    def waiting(self) -> int:
        """Sessions run out, and topics are asked about, whether or not a request waits."""
        return self.requests + len(self._liveness) + self._look_at_topics


def _told(assignment: Assignment, session_timeout_ms: int) -> MemberAssignment:
    interval_ms = min(session_timeout_ms // HEARTBEATS_PER_SESSION, MAX_HEARTBEAT_INTERVAL_MS)
    return MemberAssignment(assignment.generation, assignment.assigned, assignment.pending, interval_ms)
