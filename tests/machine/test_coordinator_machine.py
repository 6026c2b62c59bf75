"""The coordinator's rules, command by command: who is a member, who is to own what, and who holds it until then."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine.logs import Log, apply_all

from quorumlog.machine import MachineInvariantViolated, MalformedSnapshot, SnapshotTooNew, UnknownCommand
from quorumlog.machine.consumer_group import EMPTY, REBALANCING, STABLE, ConsumerGroup
from quorumlog.machine.coordinator import CoordinatorMachine
from quorumlog.machine.coordinator_codec import decode_coordinator_command, encode_coordinator_command
from quorumlog.machine.coordinator_commands import (
    MAX_MEMBERS,
    Assignment,
    CoordinatorCommand,
    DropGroup,
    Dropped,
    GiveBack,
    GroupFull,
    GroupHasMembers,
    GroupPartition,
    JoinGroup,
    OtherStrategy,
    Removed,
    RemoveMember,
    Strategy,
    TopicsChanged,
    TopicsTaken,
    UnknownConsumerGroup,
    UnknownMember,
)
from quorumlog.raft.types import EntryKind

if TYPE_CHECKING:
    from collections.abc import Iterable

GROUP = "g"
WHOLE = tuple(("t", number) for number in range(6))


def join_of(member: str, **fields: Any) -> JoinGroup:
    command = JoinGroup(GROUP, member, "", "a test", ("t",), (6,), Strategy.STICKY, 10_000)
    return replace(command, **fields)


class Coordinator:
    """A machine and the log that it follows from."""

    def __init__(self, machine: CoordinatorMachine | None = None) -> None:
        self.machine = machine or CoordinatorMachine()
        self.log = Log()

    def __call__(self, command: CoordinatorCommand) -> Any:
        return self.machine.apply(self.log.add(EntryKind.COMMAND, encode_coordinator_command(command)))

    def join(self, member: str, **fields: Any) -> Any:
        return self(join_of(member, **fields))

    def give_back(self, member: str, *partitions: GroupPartition) -> Any:
        return self(GiveBack(GROUP, member, self.group.generation, partitions))

    def hand_over(self, *members: str) -> None:
        """The members give back what they hold and are not to own."""
        for member in members:
            self.give_back(member, *self.group.surplus(member))

    def remove(self, member: str, *, expired: bool = False, for_good: bool = False) -> Any:
        return self(RemoveMember(GROUP, member, expired, for_good))

    @property
    def group(self) -> ConsumerGroup:
        group = self.machine.group(GROUP)
        assert group is not None
        return group

    def held_by(self, member: str) -> set[GroupPartition]:
        return {partition for partition, held in self.group.holders.items() if held.member == member}


# --- joining --------------------------------------------------------------------------------------------------


def test_the_first_member_gets_everything_at_once() -> None:
    coordinator = Coordinator()
    assert coordinator.join("a") == Assignment(1, WHOLE, ())
    assert coordinator.group.state == STABLE


def test_the_second_waits_for_what_the_first_gives_back() -> None:
    coordinator = Coordinator()
    coordinator.join("a")
    assert coordinator.join("b") == Assignment(2, (), WHOLE[3:])
    assert coordinator.group.state == REBALANCING
    assert coordinator.give_back("a", WHOLE[3], WHOLE[4]) == Assignment(2, WHOLE[:3], ())
    assert coordinator.group.assignment("b") == Assignment(2, WHOLE[3:5], WHOLE[5:])
    coordinator.give_back("a", WHOLE[5])
    assert coordinator.group.assignment("b") == Assignment(2, WHOLE[3:], ())
    assert coordinator.group.state == STABLE


def test_a_repeated_join_is_answered_and_changes_nothing() -> None:
    coordinator = Coordinator()
    first = coordinator.join("a", topics=("s", "t"), partitions=(1, 6))
    again = coordinator.join("a", topics=("t", "s"), partitions=(6, 1))
    assert again == first, "in whatever order it names its topics"
    assert coordinator.join("a", topics=("s", "t"), partitions=(1, 6), session_timeout_ms=30_000) == first
    assert coordinator.group.members["a"].session_timeout_ms == 30_000


def test_a_member_that_wants_other_topics_is_assigned_anew() -> None:
    coordinator = Coordinator()
    coordinator.join("a")
    told = coordinator.join("a", topics=("u",), partitions=(2,))
    assert told == Assignment(2, (("u", 0), ("u", 1)), ())
    assert coordinator.held_by("a") == {*WHOLE, ("u", 0), ("u", 1)}, "until it has given them back"
    assert coordinator.group.state == REBALANCING
    coordinator.hand_over("a")
    assert coordinator.held_by("a") == {("u", 0), ("u", 1)}
    assert coordinator.group.state == STABLE


def test_the_first_members_strategy_is_the_groups() -> None:
    coordinator = Coordinator()
    coordinator.join("a", strategy=Strategy.ROUND_ROBIN)
    assert coordinator.join("b") == OtherStrategy(Strategy.STICKY, Strategy.ROUND_ROBIN)
    coordinator.join("b", strategy=Strategy.ROUND_ROBIN)
    assert coordinator.group.assignment("a").assigned == WHOLE[::2]
    coordinator.remove("a")
    coordinator.remove("b")
    coordinator.join("c", strategy=Strategy.RANGE)
    assert coordinator.group.strategy is Strategy.RANGE, "an empty group takes the next joiner's"


def test_a_group_has_a_thousand_members_and_no_more() -> None:
    coordinator = Coordinator()
    for number in range(MAX_MEMBERS):
        coordinator.join(f"m{number}", topics=("t",), partitions=(1,))
    assert coordinator.join("one more", partitions=(1,)) == GroupFull(MAX_MEMBERS)
    assert isinstance(coordinator.join("m7", partitions=(1,)), Assignment), "a repeat is not one more"


# --- giving back ----------------------------------------------------------------------------------------------


def test_only_the_holder_gives_back() -> None:
    coordinator = Coordinator()
    coordinator.join("a")
    coordinator.join("b")
    coordinator.give_back("b", *WHOLE)
    assert coordinator.held_by("a") == set(WHOLE)
    assert coordinator.give_back("nobody", *WHOLE) == UnknownMember(GROUP, "nobody")
    assert coordinator(GiveBack("none", "a", 1, WHOLE)) == UnknownMember("none", "a")


def test_what_its_holder_is_to_own_is_granted_to_it_again() -> None:
    coordinator = Coordinator()
    coordinator.join("a")
    assert coordinator.give_back("a", *WHOLE) == Assignment(1, WHOLE, ())


def test_a_give_back_from_before_the_grant_frees_nothing() -> None:
    coordinator = Coordinator()
    coordinator.join("a")
    coordinator.join("b")
    coordinator.hand_over("a")
    coordinator.remove("b")
    coordinator.join("c")
    assert coordinator.held_by("a") == set(WHOLE), "granted to it again in generation 3"
    coordinator(GiveBack(GROUP, "a", 2, WHOLE[3:]))
    assert coordinator.group.assignment("c").assigned == ()
    coordinator(GiveBack(GROUP, "a", 4, WHOLE[3:]))
    assert coordinator.group.assignment("c").assigned == WHOLE[3:]


# --- leaving --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expired", [True, False])
def test_what_a_member_held_is_granted_when_it_is_gone(expired: bool) -> None:
    coordinator = Coordinator()
    coordinator.join("a")
    coordinator.join("b")
    assert coordinator.remove("a", expired=expired) == Removed()
    assert coordinator.group.assignment("b") == Assignment(3, WHOLE, ())
    assert coordinator.remove("a", expired=expired) == Removed(), "long since"


def test_an_empty_group_keeps_its_generation() -> None:
    coordinator = Coordinator()
    coordinator.join("a")
    coordinator.remove("a")
    assert (coordinator.group.state, coordinator.group.generation) == (EMPTY, 2)
    assert coordinator.join("b").generation == 3


def test_a_partition_on_its_way_to_a_member_that_leaves_stays_with_whom_it_still_is() -> None:
    coordinator = Coordinator()
    coordinator.join("a")
    coordinator.join("b")
    coordinator.join("c")
    coordinator.remove("b")
    coordinator.remove("c")
    assert coordinator.group.assignment("a") == Assignment(5, WHOLE, ())


def test_partitions_on_their_way_to_a_member_that_leaves_stay_each_with_whom_it_still_is() -> None:
    coordinator = Coordinator()
    coordinator.join("z")
    coordinator.join("a")
    coordinator.hand_over("z")
    before = {member: coordinator.held_by(member) for member in "za"}
    told = coordinator.join("b")
    assert {coordinator.group.holders[partition].member for partition in told.pending} == {"a", "z"}
    coordinator.remove("b")
    assert {member: coordinator.held_by(member) for member in "za"} == before
    assert coordinator.group.state == STABLE


# --- static members -------------------------------------------------------------------------------------------


def static(coordinator: Coordinator, member: str, **fields: Any) -> Any:
    return coordinator.join(member, instance="disk-7", **fields)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_static_member_comes_back_to_what_it_had_whatever_it_is_called_now(strategy: Strategy) -> None:
    coordinator = Coordinator()
    static(coordinator, "a", strategy=strategy, partitions=(7,))
    for member in ("b", "d"):
        coordinator.join(member, strategy=strategy, partitions=(7,))
    coordinator.hand_over("a", "b", "d")
    before = {member: coordinator.held_by(member) for member in "abd"}
    assert coordinator.remove("a") == Removed()
    assert coordinator.held_by("a") == before["a"], "it is expected back"
    told = static(coordinator, "z", strategy=strategy, partitions=(7,))
    assert (told.generation, set(told.assigned), told.pending) == (4, before["a"], ())
    assert [coordinator.held_by(member) for member in "bd"] == [before["b"], before["d"]]
    assert "a" not in coordinator.group.members


def test_the_former_life_of_a_static_member_cannot_take_its_place_back() -> None:
    coordinator = Coordinator()
    static(coordinator, "life-1")
    static(coordinator, "life-2")
    assert static(coordinator, "life-1") == UnknownMember(GROUP, "life-1")
    assert coordinator.give_back("life-1", *WHOLE) == UnknownMember(GROUP, "life-1")
    assert coordinator.held_by("life-2") == set(WHOLE)


@pytest.mark.parametrize(("expired", "for_good"), [(True, False), (False, True)])
def test_a_static_member_that_expires_or_leaves_for_good_is_gone(expired: bool, for_good: bool) -> None:
    coordinator = Coordinator()
    static(coordinator, "a")
    coordinator.remove("a", expired=expired, for_good=for_good)
    assert coordinator.group.state == EMPTY


def test_a_member_that_takes_an_instance_over_owns_what_both_had() -> None:
    coordinator = Coordinator()
    coordinator.join("a")
    static(coordinator, "b")
    coordinator.hand_over("a")
    told = static(coordinator, "a")
    assert told == Assignment(3, WHOLE, ())


# --- topics ---------------------------------------------------------------------------------------------------


def test_deleted_and_remade_topics_are_followed() -> None:
    coordinator = Coordinator()
    coordinator.join("a", topics=("t", "u"), partitions=(6, 2))
    assert coordinator(TopicsChanged((("u", 0),))) == TopicsTaken()
    assert coordinator.group.assignment("a") == Assignment(2, WHOLE, ())
    assert coordinator.held_by("a") == set(WHOLE), "there is nothing to give back"
    coordinator(TopicsChanged((("u", 3), ("elsewhere", 9))))
    assert len(coordinator.group.assignment("a").assigned) == 9


def test_a_topic_that_nobody_wants_changes_nothing() -> None:
    coordinator = Coordinator()
    coordinator.join("a")
    coordinator(TopicsChanged((("elsewhere", 9), ("t", 6))))
    assert coordinator.group.generation == 1


# --- groups ---------------------------------------------------------------------------------------------------


def test_a_dropped_group_comes_back_above_its_generation() -> None:
    coordinator = Coordinator()
    coordinator.join("a")
    coordinator.join("b")
    assert coordinator(DropGroup(GROUP)) == GroupHasMembers(2)
    coordinator.remove("a")
    coordinator.remove("b")
    assert coordinator(DropGroup(GROUP)) == Dropped()
    assert coordinator(DropGroup(GROUP)) == UnknownConsumerGroup(GROUP)
    assert coordinator.join("c").generation == 5, "partitions remember generation 4"


def test_where_there_are_too_many_groups_the_one_empty_for_longest_is_forgotten() -> None:
    coordinator = Coordinator(CoordinatorMachine(max_groups=3))
    for name in ("one", "two", "three"):
        coordinator.join("a", group=name)
    assert coordinator.join("a", group="four") == GroupFull(3)
    for name in ("two", "one"):
        coordinator(RemoveMember(name, "a", expired=True))
    coordinator.join("a", group="one")
    coordinator(RemoveMember("one", "a", expired=True))
    assert coordinator.join("a", group="four").generation == 3, "above what was forgotten"
    assert [group.name for group in coordinator.machine.groups()] == ["four", "one", "three"]


# --- any history ----------------------------------------------------------------------------------------------

NAMES = st.sampled_from("abcd")
INSTANCES = st.sampled_from(("", "", "i", "j"))
TOPICS = st.dictionaries(st.sampled_from("tuv"), st.integers(1, 4), min_size=1)
PLACES = st.lists(st.tuples(st.sampled_from("tuv"), st.integers(0, 3)), max_size=6).map(tuple)
GROUPS = st.sampled_from(("g", "h", "k"))


def joins(group: str, member: str, instance: str, topics: dict[str, int], strategy: Strategy) -> JoinGroup:
    return JoinGroup(group, member, instance, "", tuple(topics), tuple(topics.values()), strategy, 10_000)


COMMANDS: st.SearchStrategy[CoordinatorCommand] = st.one_of(
    st.builds(joins, GROUPS, NAMES, INSTANCES, TOPICS, st.sampled_from((*[Strategy.STICKY] * 3, Strategy.RANGE))),
    st.builds(joins, GROUPS, NAMES, st.just(""), TOPICS, st.just(Strategy.STICKY)),
    st.builds(GiveBack, GROUPS, NAMES, st.integers(0, 20), PLACES),
    st.builds(RemoveMember, GROUPS, NAMES, st.booleans(), st.booleans()),
    st.builds(TopicsChanged, TOPICS.map(lambda topics: tuple(sorted(topics.items())))),
    st.builds(lambda topic: TopicsChanged(((topic, 0),)), st.sampled_from("tuv")),
    st.builds(DropGroup, GROUPS),
)
HISTORIES = st.lists(COMMANDS, max_size=40)


def holders(machine: CoordinatorMachine) -> dict[tuple[str, GroupPartition], str]:
    return {
        (group.name, partition): held.member
        for group in machine.groups()
        for partition, held in group.holders.items()
    }


def targets(machine: CoordinatorMachine) -> dict[str, dict[GroupPartition, str]]:
    return {group.name: dict(group.targets) for group in machine.groups()}


@settings(max_examples=200)
@given(HISTORIES)
def test_a_partition_changes_hands_only_when_its_holder_gave_it_back_or_is_gone(
    history: list[CoordinatorCommand],
) -> None:
    coordinator = Coordinator()
    for command in history:
        before = holders(coordinator.machine)
        coordinator(command)
        for (name, partition), member in holders(coordinator.machine).items():
            former = before.get((name, partition), member)
            if former == member:
                continue
            group = coordinator.machine.group(name)
            assert group is not None
            if isinstance(command, GiveBack):
                assert (command.group, command.member) == (name, former)
                assert partition in command.partitions
            else:
                assert former not in group.members


@settings(max_examples=200)
@given(HISTORIES)
def test_every_wanted_partition_is_held_and_every_change_of_targets_has_its_generation(
    history: list[CoordinatorCommand],
) -> None:
    coordinator = Coordinator(CoordinatorMachine(max_groups=2))
    highest: dict[str, tuple[int, dict[GroupPartition, str]]] = {}
    for command in history:
        coordinator(command)
        for group in coordinator.machine.groups():
            wanted = {
                (topic, number)
                for member in group.members.values()
                for topic in member.topics
                for number in range(group.partitions[topic])
            }
            assert wanted == set(group.targets)
            assert wanted <= set(group.holders)
            assert {held.member for held in group.holders.values()} <= set(group.members)
            generation, known = highest.get(group.name, (0, {}))
            assert group.generation >= generation
            assert group.generation > generation or known == group.targets
            highest[group.name] = (group.generation, dict(group.targets))
            owned = [p for member in group.members for p in group.assignment(member).assigned]
            assert len(owned) == len(set(owned))


@given(HISTORIES, st.data())
def test_snapshot_and_tail_equal_replay_from_the_start(
    history: list[CoordinatorCommand], data: st.DataObject
) -> None:
    log = Log()
    for command in history:
        log.add(EntryKind.COMMAND, encode_coordinator_command(command))
    cut = data.draw(st.integers(0, len(history)))
    whole, first, second = (CoordinatorMachine(max_groups=2) for _ in range(3))
    results = [whole.apply(entry) for entry in log.entries]
    second.restore(apply_all(first, log.entries[:cut]).snapshot())
    assert second.snapshot() == first.snapshot()
    assert [second.apply(entry) for entry in log.entries[cut:]] == results[cut:]
    assert (second.digest, second.snapshot()) == (whole.digest, whole.snapshot())
    assert targets(second) == targets(whole)


def test_two_coordinators_that_grant_differently_have_different_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Coordinator(), Coordinator()
    for coordinator in (one, other):
        coordinator.join("a")
        coordinator.join("b")
    assert one.machine.digest == other.machine.digest
    one.give_back("a", WHOLE[3])
    monkeypatch.setattr(ConsumerGroup, "_frees", lambda *_: False)
    other.give_back("a", WHOLE[3])
    assert one.log.entries == other.log.entries
    assert one.machine.digest != other.machine.digest


def state_after_a_long_history() -> str:
    """Digest and snapshot after a history drawn from a fixed seed."""
    draw = random.Random(2014)
    coordinator = Coordinator()
    for _ in range(300):
        group, member = f"g{draw.randrange(3)}", f"m{draw.randrange(6)}"
        topics = {f"t{draw.randrange(4)}": draw.randrange(1, 6) for _ in range(3)}
        match draw.randrange(4):
            case 0 | 1:
                instance = draw.choice(("", f"i{draw.randrange(3)}"))
                coordinator(joins(group, member, instance, topics, Strategy.STICKY))
            case 2:
                held = coordinator.machine.group(group)
                if held is not None and member in held.members:
                    coordinator(GiveBack(group, member, held.generation, held.surplus(member)))
            case _:
                coordinator(RemoveMember(group, member, expired=draw.random() < 0.5))
    return f"{coordinator.machine.digest.hex()} {coordinator.machine.snapshot().hex()}"


def test_the_hash_seed_of_a_process_does_not_show() -> None:
    states = set()
    for seed in ("0", "4242"):
        environment = dict(os.environ, PYTHONHASHSEED=seed, PYTHONPATH=os.pathsep.join(sys.path))
        program = "import machine.test_coordinator_machine as m; print(m.state_after_a_long_history())"
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        states.add(run.stdout.strip())
    assert states == {state_after_a_long_history()}
    assert len(states.pop()) > 1000


# --- bytes ----------------------------------------------------------------------------------------------------


@given(COMMANDS)
def test_a_command_comes_back_as_it_was(command: CoordinatorCommand) -> None:
    assert decode_coordinator_command(encode_coordinator_command(command)) == command


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", MachineInvariantViolated),
        (b"[]", MachineInvariantViolated),
        (b'{"command":"drop","version":2,"group":"g"}', UnknownCommand),
        (b'{"command":"merge","version":1}', UnknownCommand),
        (b'{"command":"drop","version":1,"band":"g"}', MachineInvariantViolated),
        (b'{"command":"give_back","version":1,"partitions":[1]}', MachineInvariantViolated),
    ],
)
def test_what_is_no_command_stops_the_replica_unchanged(data: bytes, error: type[Exception]) -> None:
    coordinator = Coordinator()
    coordinator.join("a")
    before = coordinator.machine.snapshot()
    with pytest.raises(error):
        coordinator.machine.apply(coordinator.log.add(EntryKind.COMMAND, data))
    assert coordinator.machine.snapshot() == before


def test_records_and_entries_out_of_turn_are_no_coordinators() -> None:
    coordinator = Coordinator()
    coordinator.join("a")
    with pytest.raises(MachineInvariantViolated):
        coordinator.machine.apply(coordinator.log.entries[0])
    with pytest.raises(MachineInvariantViolated):
        coordinator.machine.apply(coordinator.log.data(1))


def whole_snapshot() -> bytes:
    coordinator = Coordinator()
    coordinator.join("a")
    coordinator.join("b", instance="i")
    coordinator.join("a", group="h")
    coordinator(RemoveMember("h", "a", expired=True))
    return coordinator.machine.snapshot()


def spoiled() -> Iterable[tuple[bytes, type[Exception]]]:
    whole = whole_snapshot()
    yield whole.replace(b'"version":1', b'"version":2'), SnapshotTooNew
    yield whole.replace(b'"version":1', b'"version":0'), MalformedSnapshot
    yield whole.replace(b'"coordinator"', b'"controller"'), MalformedSnapshot
    yield whole.replace(b'"digest":"', b'"digest":"00'), MalformedSnapshot
    yield whole.replace(b'"emptied":["h"]', b'"emptied":[]'), MalformedSnapshot
    yield whole.replace(b'"strategy":1', b'"strategy":9'), MalformedSnapshot
    yield whole[:-1], MalformedSnapshot
    yield b"", MalformedSnapshot


@pytest.mark.parametrize(("data", "error"), list(spoiled()))
def test_a_spoiled_snapshot_is_refused_and_changes_nothing(data: bytes, error: type[Exception]) -> None:
    coordinator = Coordinator()
    coordinator.join("a")
    before = coordinator.machine.snapshot()
    with pytest.raises(error):
        coordinator.machine.restore(data)
    assert coordinator.machine.snapshot() == before


def test_more_groups_than_a_replica_remembers_are_refused() -> None:
    with pytest.raises(MalformedSnapshot):
        CoordinatorMachine(max_groups=1).restore(whole_snapshot())
