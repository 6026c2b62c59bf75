"""A coordinator's state machine: the consumer groups whose ids hash to one partition of the internal topic.

Who lives is not here (heartbeats are the leader's), only what followed from it: members, assignments, generations,
and who holds which partition. So a change of the coordinator's leader moves nothing.

Groups are bounded: where there are ``max_groups``, a new one costs the one that has been without members for
longest. That forgets no offset (those are in the partitions), and no generation either: whatever is forgotten
raises the floor that new groups begin above, or the partitions, which remember a later generation, would refuse the
group when it comes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.machine.commands import canonical_json
from quorumlog.machine.consumer_group import ConsumerGroup
from quorumlog.machine.coordinator_codec import decode_coordinator_command
from quorumlog.machine.coordinator_commands import (
    MAX_GROUPS,
    CoordinatorResult,
    DropGroup,
    Dropped,
    GiveBack,
    GroupFull,
    GroupHasMembers,
    JoinGroup,
    Removed,
    RemoveMember,
    TopicsChanged,
    TopicsTaken,
    UnknownConsumerGroup,
    UnknownMember,
)
from quorumlog.machine.coordinator_snapshot import CoordinatorState, decode_state, encode_state, placement
from quorumlog.machine.digest import chain
from quorumlog.machine.errors import MachineInvariantViolated, MalformedSnapshot, UnknownCommand
from quorumlog.raft.types import Entry, EntryKind

if TYPE_CHECKING:
    from collections.abc import Iterator


class CoordinatorMachine:
    """See ``StateMachine`` for the four calls. The questions answer from what is applied.

    ``max_groups`` must be the same on all replicas.
    """

    __slots__ = ("_max_groups", "_state", "_touched")

    def __init__(self, max_groups: int = MAX_GROUPS) -> None:
        self._max_groups = max_groups
        self._state = CoordinatorState()
        #: The groups that the command being applied has changed.
        self._touched: list[ConsumerGroup] = []

    # --- the machine ---

    @property
    def applied_index(self) -> int:
        return self._state.applied_index

    @property
    def digest(self) -> bytes:
        return self._state.digest

    def apply(self, entry: Entry) -> CoordinatorResult | None:
        """Raises MachineInvariantViolated for an entry out of turn or of no meaning here, UnknownCommand for what
        a newer node wrote. The machine is unchanged then."""
        state = self._state
        if entry.index != state.applied_index + 1:
            raise MachineInvariantViolated(f"entry {entry.index} after {state.applied_index}")
        result: CoordinatorResult | None = None
        summary = entry.data
        match entry.kind:
            case EntryKind.COMMAND:
                result = self._execute(entry.data)
                summary += b"".join(_decision(group) for group in self._touched)
                self._touched.clear()
            case EntryKind.NOOP | EntryKind.CONFIGURATION:
                pass
            case EntryKind.DATA:
                raise MachineInvariantViolated(f"entry {entry.index}: records in a coordinator's log")
            case _:
                raise UnknownCommand(f"entry {entry.index} is of kind {entry.kind}")
        state.digest = chain(state.digest, entry.index, entry.term, entry.kind, summary)
        state.applied_index = entry.index
        return result

    def snapshot(self) -> bytes:
        return encode_state(self._state)

    def restore(self, data: bytes) -> None:
        state = decode_state(data)
        if len(state.groups) > self._max_groups:
            raise MalformedSnapshot(f"{len(state.groups)} groups, more than any replica remembers")
        self._state = state

    # --- what it knows ---

    def group(self, name: str) -> ConsumerGroup | None:
        """To be looked at only: it changes by applying, and by nothing else."""
        return self._state.groups.get(name)

    def groups(self) -> Iterator[ConsumerGroup]:
        """All of them, by id."""
        for _, group in sorted(self._state.groups.items()):
            yield group

    # --- the commands ---

    def _execute(self, data: bytes) -> CoordinatorResult:
        command = decode_coordinator_command(data)
        match command:
            case JoinGroup():
                return self._join(command)
            case GiveBack():
                return self._give_back(command)
            case RemoveMember():
                return self._remove(command)
            case TopicsChanged(partitions):
                return self._topics_changed(dict(partitions))
            case DropGroup(name):
                return self._drop(name)

    def _join(self, command: JoinGroup) -> CoordinatorResult:
        state = self._state
        group = state.groups.get(command.group)
        if group is None:
            if len(state.groups) >= self._max_groups:
                if not state.emptied:
                    return GroupFull(self._max_groups)
                self._forget(next(iter(state.emptied)))
            group = state.groups[command.group] = ConsumerGroup(command.group, state.floor)
        state.emptied.pop(command.group, None)
        self._touched.append(group)
        return group.join(command)

    def _give_back(self, command: GiveBack) -> CoordinatorResult:
        group = self._state.groups.get(command.group)
        if group is None or command.member not in group.members:
            return UnknownMember(command.group, command.member)
        group.give_back(command.member, command.generation, command.partitions)
        self._touched.append(group)
        return group.assignment(command.member)

    def _remove(self, command: RemoveMember) -> Removed:
        group = self._state.groups.get(command.group)
        member = group.members.get(command.member) if group is not None else None
        if group is None or member is None:
            return Removed()
        # A static member that stops is expected back: what it holds waits for it until its session runs out.
        if command.expired or command.for_good or not member.instance:
            group.remove(command.member)
            self._touched.append(group)
            if not group.members:
                self._state.emptied[group.name] = None
        return Removed()

    def _topics_changed(self, partitions: dict[str, int]) -> TopicsTaken:
        for group in self.groups():
            if group.topics_changed(partitions):
                self._touched.append(group)
        return TopicsTaken()

    def _drop(self, name: str) -> CoordinatorResult:
        group = self._state.groups.get(name)
        if group is None:
            return UnknownConsumerGroup(name)
        if group.members:
            return GroupHasMembers(len(group.members))
        self._forget(name)
        return Dropped()

    def _forget(self, name: str) -> None:
        state = self._state
        del state.emptied[name]
        state.floor = max(state.floor, state.groups.pop(name).generation)


def _decision(group: ConsumerGroup) -> bytes:
    """What the digest must hold of a change: the generation given out, the owners and holders chosen."""
    return canonical_json([group.name, group.generation, placement(group)])
