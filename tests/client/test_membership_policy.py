"""One member of a group: it takes what it is given, gives back what it must, and never believes old news.

With a coordinator of a few lines, whose rules are the documented ones: a partition is granted to its target when
nobody holds it; what a member of the present generation neither owns nor is to own, it has given back.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from quorumlog.client.errors import InvalidGroup, Reason, UnknownMember, make_error
from quorumlog.client.offset_types import Strategy, TopicPartition
from quorumlog.client.policy.membership import Answer, Heartbeat, Join, Leave, Membership

A, B, C = (TopicPartition("t", number) for number in range(3))
GONE = make_error(Reason.UNKNOWN_MEMBER, "gone", not_done=True)
DOWN = make_error(Reason.NO_QUORUM, "no quorum", not_done=False)


def member(instance: str = "") -> Membership:
    return Membership("g", ["t"], Random(1), instance=instance, client="me", session_timeout_ms=10_000)


def joined(*assigned: TopicPartition, instance: str = "") -> Membership:
    """A member since 1000, its first heartbeat answered."""
    membership = member(instance)
    membership.poll(0.0)
    membership.answered(Answer(5, assigned, (), 2500))
    membership.poll(1000.0)
    membership.answered(Answer(5, assigned, (), 0))
    return membership


class TestJoining:
    def test_it_joins_and_takes_what_it_is_given(self) -> None:
        membership = member()
        call = membership.poll(1000.0)
        assert isinstance(call, Join)
        assert (call.group, call.topics, call.strategy, call.client) == ("g", ("t",), Strategy.STICKY, "me")
        change = membership.answered(Answer(5, (A, B), (), 2500))
        assert change.gained == (A, B)
        assert membership.generation == 5
        assert membership.holds(A)

    def test_one_call_at_a_time(self) -> None:
        membership = member()
        assert membership.poll(1000.0)
        assert membership.poll(1000.0) is None
        assert membership.wake_at_ms() is None

    def test_after_joining_it_looks_soon_because_what_is_on_its_way_was_not_told(self) -> None:
        membership = member()
        membership.poll(1000.0)
        membership.answered(Answer(5, (), (), 2500))
        wake_at_ms = membership.wake_at_ms()
        assert wake_at_ms is not None
        assert wake_at_ms <= 1200.0

    def test_a_repeated_join_has_the_same_id(self) -> None:
        membership = member()
        first = membership.poll(1000.0)
        membership.failed(DOWN, 1000.0)
        wake_at_ms = membership.wake_at_ms()
        assert wake_at_ms is not None
        assert wake_at_ms > 1000.0
        assert membership.poll(wake_at_ms) == first

    def test_what_cannot_be_joined_is_the_end(self) -> None:
        membership = member()
        membership.poll(1000.0)
        membership.failed(make_error(Reason.INVALID_GROUP, "bad", not_done=True), 1000.0)
        assert membership.over
        assert isinstance(membership.error, InvalidGroup)


class TestHeartbeats:
    def test_they_come_at_the_coordinators_pace(self) -> None:
        membership = joined(A)
        assert membership.poll(3499.0) is None
        assert membership.wake_at_ms() == 3500.0
        call = membership.poll(3500.0)
        assert isinstance(call, Heartbeat)
        assert (call.owned, call.released, call.generation) == ((A,), (), 5)

    def test_a_partition_to_be_given_back_goes_back_at_once_when_it_is_ready(self) -> None:
        membership = joined(A, B)
        membership.poll(3500.0)
        change = membership.answered(Answer(6, (A,), (), 0))
        assert change.revoked == (B,)
        assert not membership.holds(B)
        assert membership.poll(3501.0) is None
        membership.gave_back([B])
        call = membership.poll(3501.0)
        assert isinstance(call, Heartbeat)
        assert (call.owned, call.released) == ((A,), (B,))

    def test_what_was_given_back_is_told_until_it_is_heard(self) -> None:
        membership = joined(A, B)
        membership.gave_back([B])
        membership.poll(1001.0)
        membership.failed(DOWN, 1001.0)
        call = membership.poll(2000.0)
        assert isinstance(call, Heartbeat)
        assert call.released == (B,)
        membership.answered(Answer(6, (A,), (), 0))
        call = membership.poll(9000.0)
        assert isinstance(call, Heartbeat)
        assert call.released == ()

    def test_an_answer_to_an_earlier_heartbeat_does_not_bring_back_what_was_given_back_since(self) -> None:
        membership = joined(A, B)
        membership.poll(3500.0)
        membership.gave_back([B])
        change = membership.answered(Answer(5, (A, B), (), 0))
        assert change.gained == ()
        assert membership.held == (A,)
        call = membership.poll(3501.0)
        assert isinstance(call, Heartbeat)
        assert call.released == (B,)

    def test_a_partition_given_back_and_given_again_is_new(self) -> None:
        membership = joined(A, B)
        membership.gave_back([B])
        membership.poll(1001.0)
        assert membership.answered(Answer(6, (A, B), (), 0)).gained == (B,)

    def test_an_answer_of_an_older_generation_changes_nothing(self) -> None:
        membership = joined(A, B)
        membership.poll(3500.0)
        change = membership.answered(Answer(4, (C,), (), 0))
        assert (change.gained, change.revoked) == ((), ())
        assert membership.generation == 5
        assert membership.held == (A, B)

    def test_while_partitions_are_on_their_way_it_looks_more_often(self) -> None:
        membership = joined(A)
        membership.poll(3500.0)
        membership.answered(Answer(6, (A,), (B,), 0))
        wake_at_ms = membership.wake_at_ms()
        assert wake_at_ms is not None
        assert wake_at_ms <= 3700.0


class TestSilence:
    def test_without_an_answer_for_the_session_it_must_expect_to_have_been_given_up(self) -> None:
        membership = joined(A)
        assert membership.silent_at_ms() == 11_000.0
        assert not membership.silent(10_999.0)
        assert membership.silent(11_000.0)

    def test_the_time_counts_from_the_sending_of_what_was_answered(self) -> None:
        membership = joined(A)
        membership.poll(3500.0)
        membership.answered(Answer(5, (A,), (), 0))
        assert membership.silent_at_ms() == 13_500.0
        membership.poll(6000.0)
        membership.failed(DOWN, 9000.0)
        assert membership.silent_at_ms() == 13_500.0


class TestGivenUp:
    def test_it_drops_everything_before_it_joins_again_under_a_new_id(self) -> None:
        membership = joined(A, B)
        before = membership.member
        membership.poll(3500.0)
        assert membership.failed(GONE, 3500.0) == (A, B)
        assert membership.poll(4000.0) is None
        membership.dropped()
        call = membership.poll(4000.0)
        assert isinstance(call, Join)
        assert call.member != before
        assert membership.held == ()
        assert not membership.silent(99_000.0)
        assert membership.answered(Answer(2, (A,), (), 0)).gained == (A,)

    def test_a_static_member_that_was_not_silent_has_been_replaced_and_stays_away(self) -> None:
        membership = joined(A, instance="one")
        membership.poll(3500.0)
        assert membership.failed(GONE, 3500.0) == (A,)
        membership.dropped()
        assert membership.over
        assert isinstance(membership.error, UnknownMember)

    def test_a_static_member_that_was_silent_comes_back(self) -> None:
        membership = joined(A, instance="one")
        membership.poll(3500.0)
        membership.failed(GONE, 20_000.0)
        membership.dropped()
        assert isinstance(membership.poll(20_000.0), Join)


class TestLeaving:
    def test_a_member_leaves_with_one_call(self) -> None:
        membership = joined(A)
        membership.leave(for_good=True)
        call = membership.poll(2000.0)
        assert call == Leave("g", membership.member, True)
        membership.left()
        assert membership.over
        assert membership.poll(9000.0) is None

    def test_who_has_asked_to_join_leaves_too(self) -> None:
        membership = member()
        membership.poll(1000.0)
        membership.leave(for_good=False)
        assert isinstance(membership.poll(1001.0), Leave)

    def test_who_never_asked_has_nothing_to_leave(self) -> None:
        membership = member()
        membership.leave(for_good=False)
        assert membership.over

    def test_a_group_that_does_not_know_the_member_any_more_has_been_left(self) -> None:
        membership = joined(A)
        membership.leave(for_good=False)
        membership.poll(2000.0)
        membership.failed(GONE, 2000.0)
        assert membership.over

    @pytest.mark.parametrize("error", [DOWN])
    def test_a_leave_that_fails_is_tried_again(self, error: Exception) -> None:
        membership = joined(A)
        membership.leave(for_good=False)
        membership.poll(2000.0)
        membership.failed(DOWN, 2000.0)
        assert isinstance(membership.poll(3000.0), Leave)


class Coordinator:
    """Targets, holders, and members that are known; a generation for each change of targets."""

    def __init__(self) -> None:
        self.generation = 1
        self.members: dict[str, int] = {}
        self.target: dict[TopicPartition, str] = {}
        self.holder: dict[TopicPartition, tuple[str, int]] = {}

    def spread(self, random: Random) -> None:
        self.generation += 1
        names = sorted(self.members)
        self.target = {each: random.choice(names) for each in (A, B, C)} if names else {}
        self.grant()

    def grant(self) -> None:
        for partition, name in self.target.items():
            self.holder.setdefault(partition, (name, self.generation))

    def answer(self, name: str) -> Answer:
        mine = [each for each in (A, B, C) if self.target.get(each) == name]
        assigned = tuple(each for each in mine if self.holder[each][0] == name)
        return Answer(self.generation, assigned, tuple(set(mine) - set(assigned)), 100)

    def take(self, call: Join | Heartbeat | Leave, random: Random) -> Answer | None:
        if isinstance(call, Join):
            if call.member not in self.members:
                self.members[call.member] = 1
                self.spread(random)
            return self.answer(call.member)
        if isinstance(call, Leave) or call.member not in self.members:
            return None
        for partition, (holder, generation) in list(self.holder.items()):
            surplus = self.target.get(partition) != call.member and partition not in call.owned
            told = partition in call.released or (surplus and call.generation == self.generation)
            if holder == call.member and told and generation <= call.generation:
                del self.holder[partition]
        self.grant()
        return self.answer(call.member)

    def expire(self, name: str, random: Random) -> None:
        del self.members[name]
        for partition in [each for each, (holder, _) in self.holder.items() if holder == name]:
            del self.holder[partition]
        self.spread(random)


class TwoMembers(RuleBasedStateMachine):
    """Two members, lost calls and answers, late flushes, expiry: what both hold has been expired from one."""

    def __init__(self) -> None:
        super().__init__()
        self.random = Random(7)
        self.coordinator = Coordinator()
        self.members = [Membership("g", ["t"], Random(number)) for number in range(2)]
        self.revoking: list[set[TopicPartition]] = [set(), set()]
        self.reading: list[set[TopicPartition]] = [set(), set()]
        self.expired = [False, False]
        self.now_ms = 1000.0

    @rule(which=st.integers(0, 1), arrives=st.booleans(), answered=st.booleans())
    def call(self, which: int, arrives: bool, answered: bool) -> None:
        membership = self.members[which]
        self.now_ms += 200.0
        call = membership.poll(self.now_ms)
        if call is None:
            return
        answer = self.coordinator.take(call, self.random) if arrives else None
        if arrives and answered and answer is None:
            self.reading[which].clear()
            self.revoking[which].clear()
            membership.failed(GONE, self.now_ms)
            membership.dropped()
            self.expired[which] = False
        elif answer is None or not answered:
            membership.failed(DOWN, self.now_ms)
        else:
            change = membership.answered(answer)
            self.reading[which].update(change.gained)
            self.revoking[which].update(change.revoked)

    @rule(which=st.integers(0, 1))
    def finish_revoking(self, which: int) -> None:
        for partition in sorted(self.revoking[which]):
            self.reading[which].discard(partition)
            self.members[which].gave_back([partition])
        self.revoking[which].clear()

    @rule()
    def spread_anew(self) -> None:
        self.coordinator.spread(self.random)

    @rule(which=st.integers(0, 1))
    def expire(self, which: int) -> None:
        name = self.members[which].member
        if name in self.coordinator.members:
            self.coordinator.expire(name, self.random)
            self.expired[which] = True

    @invariant()
    def two_read_one_partition_only_after_one_was_given_up(self) -> None:
        if not any(self.expired):
            assert not self.reading[0] & self.reading[1]

    def teardown(self) -> None:
        for _ in range(30):
            for which in range(2):
                self.call(which, True, True)
                self.finish_revoking(which)
        known = [member.member in self.coordinator.members for member in self.members]
        if all(known):
            assert sorted(self.reading[0] | self.reading[1]) == [A, B, C]
            assert not self.reading[0] & self.reading[1]


TestTwoMembers = TwoMembers.TestCase
TestTwoMembers.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
