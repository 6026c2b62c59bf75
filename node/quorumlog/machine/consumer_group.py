"""One consumer group: its members, who is to own which partition, and who holds it until then.

Two maps say it all. ``targets`` is the assignment (``quorumlog.machine.assignment``); every change of members, of
what they want or of the topics makes a new one, and a new generation. ``holders`` is the **handover barrier**: a
partition is granted to its target only when nobody holds it, and it is held until the holder gives it back or is
gone. So at most one member owns a partition at any time, and only what moves stops (KIP-429, KIP-848).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.machine.assignment import Subscriber, Targets, assign
from quorumlog.machine.coordinator_commands import (
    MAX_MEMBERS,
    Assignment,
    GroupFull,
    GroupPartition,
    GroupView,
    JoinGroup,
    MemberView,
    OtherStrategy,
    Strategy,
    UnknownMember,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EMPTY = "EMPTY"
STABLE = "STABLE"
REBALANCING = "REBALANCING"


@dataclass(frozen=True, slots=True)
class Member:
    """A member. ``topics`` are sorted. ``predecessor``: the member that was this static instance before."""

    member: str
    instance: str
    client: str
    topics: tuple[str, ...]
    session_timeout_ms: int
    predecessor: str = ""


class Held(NamedTuple):
    """Who holds a partition, and since which generation."""

    member: str
    generation: int


class ConsumerGroup:
    """See the module. ``generation`` grows with every new assignment; ``partitions`` counts those of the topics
    that somebody wants."""

    __slots__ = (
        "_assignments",
        "_surplus",
        "generation",
        "holders",
        "members",
        "name",
        "partitions",
        "strategy",
        "targets",
    )

    def __init__(self, name: str, generation: int) -> None:
        self.name = name
        self.generation = generation
        self.strategy = Strategy.STICKY
        self.members: dict[str, Member] = {}
        self.partitions: dict[str, int] = {}
        self.targets: Targets = {}
        self.holders: dict[GroupPartition, Held] = {}
        #: Follows from the maps; a heartbeat must not cost a walk over them. Empty: to be made again.
        self._assignments: dict[str, Assignment] = {}
        self._surplus: dict[str, tuple[GroupPartition, ...]] = {}

    # --- changes ---

    def join(self, command: JoinGroup) -> Assignment | UnknownMember | OtherStrategy | GroupFull:
        """A member comes, comes back, or wants something else. Who wants what it wants already changes nothing."""
        if self.members and command.strategy is not self.strategy:
            return OtherStrategy(command.strategy, self.strategy)
        known = self.members.get(command.member)
        earlier = self._earlier(command)
        refusal = self._refusal(command.member, known or earlier)
        if refusal is not None:
            return refusal
        predecessor = earlier.member if earlier else known.predecessor if known else ""
        wanted = dict(sorted(zip(command.topics, command.partitions, strict=True)))
        member = Member(
            command.member,
            command.instance,
            command.client,
            tuple(wanted),
            command.session_timeout_ms,
            predecessor,
        )
        alike = known and replace(known, client=member.client, session_timeout_ms=member.session_timeout_ms)
        self.members[member.member] = member
        if member != alike or any(self.partitions[topic] != count for topic, count in wanted.items()):
            self.strategy = command.strategy
            if earlier is not None:
                self._take_over(earlier.member, member.member)
            self.partitions.update(wanted)
            self._assign()
        return self.assignment(member.member)

    def _earlier(self, command: JoinGroup) -> Member | None:
        """The other member that is the same static instance."""
        if not command.instance:
            return None
        for member in self.members.values():
            if member.instance == command.instance and member.member != command.member:
                return member
        return None

    def _refusal(self, name: str, present: Member | None) -> UnknownMember | GroupFull | None:
        # Two processes started with one instance name would otherwise take the partitions from each other for ever:
        # the later one keeps them, and the earlier learns that it is out.
        if any(member.predecessor == name for member in self.members.values()):
            return UnknownMember(self.name, name)
        if present is None and len(self.members) >= MAX_MEMBERS:
            return GroupFull(MAX_MEMBERS)
        return None

    def _take_over(self, earlier: str, member: str) -> None:
        """The instance was started anew: what was the earlier's is the new one's, and nothing moves. Acquiring a
        partition in the new generation fences the earlier, should it still live."""
        del self.members[earlier]
        self.targets = {
            partition: member if owner == earlier else owner for partition, owner in self.targets.items()
        }
        self.holders = {
            partition: Held(member, held.generation) if held.member == earlier else held
            for partition, held in self.holders.items()
        }

    def give_back(self, member: str, generation: int, partitions: Iterable[GroupPartition]) -> None:
        """Frees what the member holds of ``partitions`` and grants it to whose it is to be, which may be the same
        member. What it was granted after ``generation`` stays its own."""
        for partition in partitions:
            if self._frees(partition, member, generation):
                del self.holders[partition]
        self._grant()

    def remove(self, member: str) -> None:
        """The member is gone, and with it what it held."""
        del self.members[member]
        self._assign()

    def topics_changed(self, partitions: Mapping[str, int]) -> bool:
        """Takes the new counts of those topics that somebody wants; False if there is nothing new."""
        new = {topic: partitions.get(topic, count) for topic, count in self.partitions.items()}
        if new == self.partitions:
            return False
        self.partitions = new
        self._assign()
        return True

    def _assign(self) -> None:
        self.generation += 1
        wanted = {topic for member in self.members.values() for topic in member.topics}
        self.partitions = {topic: count for topic, count in sorted(self.partitions.items()) if topic in wanted}
        self.holders = {
            (topic, number): held
            for (topic, number), held in self.holders.items()
            if held.member in self.members and number < self.partitions.get(topic, number + 1)
        }
        held_by = {partition: held.member for partition, held in self.holders.items()}
        # Where the target is gone, the holder may as well keep what it still reads.
        current = held_by | {
            partition: owner for partition, owner in self.targets.items() if self._wants(owner, partition[0])
        }
        # A static member keeps its place in the order when it is started anew.
        in_order = sorted(self.members.values(), key=lambda one: (one.instance or one.member, one.member))
        subscribers = [Subscriber(member.member, member.topics) for member in in_order]
        self.targets = assign(self.strategy, subscribers, self.partitions, current, held_by)
        self._grant()

    def _wants(self, name: str, topic: str) -> bool:
        member = self.members.get(name)
        return member is not None and topic in member.topics

    def _grant(self) -> None:
        """Whatever nobody holds is its target's from now on."""
        holders, generation = self.holders, self.generation
        for partition, owner in self.targets.items():
            if partition not in holders:
                holders[partition] = Held(owner, generation)
        self._assignments.clear()

    # --- questions ---

    def assignment(self, member: str) -> Assignment:
        """What the member, who must be one, owns and is to own."""
        if not self._assignments:
            self._walk()
        return self._assignments[member]

    def surplus(self, member: str) -> tuple[GroupPartition, ...]:
        """What the member holds and has yet to give back."""
        if not self._assignments:
            self._walk()
        return self._surplus[member]

    def _walk(self) -> None:
        assigned: dict[str, list[GroupPartition]] = {member: [] for member in self.members}
        pending: dict[str, list[GroupPartition]] = {member: [] for member in self.members}
        surplus: dict[str, list[GroupPartition]] = {member: [] for member in self.members}
        for partition, owner in self.targets.items():
            granted = self.holders[partition].member == owner
            (assigned if granted else pending)[owner].append(partition)
        for partition, held in self.holders.items():
            if self.targets.get(partition) != held.member:
                surplus[held.member].append(partition)
        self._assignments = {
            member: Assignment(self.generation, tuple(assigned[member]), tuple(pending[member]))
            for member in self.members
        }
        self._surplus = {member: tuple(sorted(partitions)) for member, partitions in surplus.items()}

    def given_back(
        self,
        member: str,
        generation: int,
        owned: tuple[GroupPartition, ...],
        released: tuple[GroupPartition, ...],
    ) -> tuple[GroupPartition, ...]:
        """What a heartbeat, of a member that knows ``generation``, gives back of what the member holds; sorted.

        Beside what it says (``released``), also what it cannot say: a partition that was granted and taken away
        again before it heard of either. It is not to own it, knows so (it has the present generation), and does not
        own it.
        """
        partitions = set(released)
        if generation == self.generation:
            partitions |= {partition for partition in self.surplus(member) if partition not in owned}
        return tuple(partition for partition in sorted(partitions) if self._frees(partition, member, generation))

    def _frees(self, partition: GroupPartition, member: str, generation: int) -> bool:
        """Whether the member holds the partition, and did so in ``generation``."""
        held = self.holders.get(partition)
        return held is not None and held.member == member and held.generation <= generation

    @property
    def state(self) -> str:
        """EMPTY without members; REBALANCING while a partition waits to be given back; otherwise STABLE."""
        if not self.members:
            return EMPTY
        waits = any(self.targets.get(partition) != held.member for partition, held in self.holders.items())
        return REBALANCING if waits else STABLE

    def view(self) -> GroupView:
        """The group, for people."""
        owned: dict[str, list[GroupPartition]] = {member: [] for member in self.members}
        for partition, held in sorted(self.holders.items()):
            owned[held.member].append(partition)
        target: dict[str, list[GroupPartition]] = {member: [] for member in self.members}
        for partition, owner in self.targets.items():
            target[owner].append(partition)
        members = tuple(
            MemberView(
                name,
                member.instance,
                member.client,
                member.topics,
                tuple(owned[name]),
                tuple(target[name]),
                member.session_timeout_ms,
            )
            for name, member in sorted(self.members.items())
        )
        return GroupView(self.name, self.state, self.generation, self.strategy, members)
