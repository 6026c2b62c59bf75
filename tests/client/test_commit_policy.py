"""When a partition's progress is committed, and that whatever happens on the way no commit is lost or made up.

The known forms of lingering commits (OFFSETS.md §1) are here by name, with a clock that the test moves.
"""

from __future__ import annotations

import pytest
from client.commit_world import ADDRESSES, CommitWorld, Owner
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from quorumlog.client.errors import (
    Fenced,
    MetadataTooLarge,
    NotDone,
    OffsetBeyondEnd,
    OutcomeUnknown,
    Reason,
    make_error,
)
from quorumlog.client.policy.commits import CommitMode, CommitSettings, ReadBack, Resolve
from quorumlog.client.policy.committer import BESIDE_AFTER_MS, MAX_BESIDE, Attempt

MANUAL = CommitSettings(CommitMode.MANUAL)


def one(settings: CommitSettings | None = None) -> tuple[CommitWorld, Owner]:
    world = CommitWorld(settings, partitions=1)
    return world, world.owners[0]


class TestLingering:
    def test_an_idle_consumers_last_record_is_durable_within_the_bound(self) -> None:
        world, owner = one(CommitSettings(interval_ms=1000))
        owner.finish(1)
        finished_ms = world.now_ms
        while owner.progress.durable < 1:
            wake_at_ms = owner.commits.wake_at_ms()
            assert wake_at_ms is not None, "nothing would ever commit it"
            world.now_ms = max(world.now_ms, wake_at_ms)
            world.go()
        assert world.now_ms - finished_ms < 1000
        assert world.registers[0].offset == 1

    def test_the_bound_counts_from_the_record_not_from_the_last_commit(self) -> None:
        world, owner = one(CommitSettings(interval_ms=1000))
        owner.finish(1)
        world.pass_ms(900)
        world.go()
        owner.finish(1)
        world.pass_ms(500)
        world.go()
        assert owner.progress.durable == 1
        world.pass_ms(350)
        world.go()
        assert owner.progress.durable == 2

    def test_so_many_records_are_committed_before_the_time_is_over(self) -> None:
        world, owner = one(CommitSettings(count=10))
        owner.finish(9)
        world.go()
        assert owner.progress.durable == 0
        owner.finish(1)
        world.go()
        assert owner.progress.durable == 10

    def test_nothing_is_committed_that_was_only_handed_out(self) -> None:
        world, owner = one()
        owner.finish(3)
        owner.progress.deliver(10)
        owner.commits.flush()
        world.pass_ms(5000)
        world.go()
        assert world.registers[0].offset == 3

    def test_a_flush_commits_what_is_processed_at_once(self) -> None:
        world, owner = one()
        owner.finish(3)
        owner.commits.flush()
        world.go()
        assert owner.progress.durable == 3
        assert owner.commits.settled

    def test_what_is_finished_during_a_flush_is_part_of_it(self) -> None:
        world, owner = one()
        owner.finish(3)
        owner.commits.flush()
        world.poll()
        owner.finish(2)
        assert not owner.commits.settled
        world.go()
        assert world.registers[0].offset == 5
        assert owner.commits.settled

    def test_a_commit_is_durable_when_it_is_answered_not_when_it_is_sent(self) -> None:
        world, owner = one()
        owner.finish(3)
        owner.commits.flush()
        world.poll()
        assert (owner.progress.sent, owner.progress.durable) == (3, 0)
        assert not owner.commits.settled

    def test_a_failed_flush_is_made_again_under_a_new_number(self) -> None:
        world, owner = one()
        owner.finish(3)
        owner.commits.flush()
        world.poll()
        world.refuse(Reason.DISK_FULL)
        assert owner.progress.durable == 0
        world.pass_ms(1000)
        world.go()
        assert world.registers[0].offset == 3
        assert [sequence for _, sequence in world.registers[0].history] == [2]

    def test_each_record_at_once(self) -> None:
        world, owner = one(CommitSettings(CommitMode.EACH))
        owner.finish(1)
        world.go()
        assert owner.progress.durable == 1

    def test_offset_0_is_a_commit_like_any_other(self) -> None:
        world, owner = one(MANUAL)
        owner.commits.ask()
        world.go()
        assert [receipt.offset for receipt in owner.receipts] == [0]
        assert world.registers[0].version == 1

    def test_by_hand_nothing_is_committed_unasked(self) -> None:
        world, owner = one(MANUAL)
        owner.finish(3)
        owner.commits.flush()
        world.pass_ms(60_000)
        world.go()
        assert world.registers[0].version == 0
        assert owner.commits.wake_at_ms() is None
        assert owner.commits.broken_bound(world.now_ms) is None

    def test_a_broken_bound_is_told_once_and_again_after_the_next_commit(self) -> None:
        world, owner = one(CommitSettings(interval_ms=1000))
        owner.finish(2)
        world.pass_ms(1000)
        assert owner.commits.broken_bound(world.now_ms) is None
        world.pass_ms(1)
        broken = owner.commits.broken_bound(world.now_ms)
        assert broken is not None
        assert (broken.records, broken.age_ms) == (2, 1001)
        assert owner.commits.broken_bound(world.now_ms) is None
        world.go()
        owner.finish(1)
        world.pass_ms(2000)
        assert owner.commits.broken_bound(world.now_ms) is not None

    def test_a_replay_below_the_stored_offset_is_not_committed(self) -> None:
        world, owner = one()
        owner.progress.durable = owner.progress.sent = 50
        owner.finish(50)
        owner.commits.flush()
        world.pass_ms(5000)
        world.go()
        assert world.registers[0].version == 0
        assert owner.commits.settled


class TestOutcomes:
    def test_a_repeat_keeps_its_number_and_has_one_effect(self) -> None:
        world, owner = one()
        owner.finish(3)
        owner.commits.flush()
        world.poll()
        world.lose(done=True, late=False)
        world.pass_ms(100)
        world.go()
        assert world.registers[0].version == 1
        assert [receipt.version for receipt in owner.receipts] == [1]

    def test_a_commit_without_an_answer_is_asked_about_and_not_guessed(self) -> None:
        for done in (True, False):
            world, owner = one()
            owner.finish(3)
            owner.commits.flush()
            for _ in range(40):
                world.poll()
                world.lose(done=done, late=False)
                world.pass_ms(100)
            world.poll()
            (question,) = owner.questions
            assert isinstance(question, Resolve)
            assert isinstance(question.attempt.error, OutcomeUnknown)
            assert owner.progress.durable == 0
            owner.answer_question()
            assert owner.progress.durable == (3 if done else 0)
            world.go()
            assert world.registers[0].offset == 3
            assert world.registers[0].version == 1

    def test_a_settled_attempt_that_arrives_late_has_no_effect(self) -> None:
        world, owner = one()
        owner.finish(3)
        owner.commits.flush()
        for _ in range(40):
            world.poll()
            world.lose(done=False, late=True)
            world.pass_ms(100)
        world.poll()
        owner.answer_question()
        late = list(world.limbo)
        assert late
        for _ in late:
            world.do_late(0)
        assert world.registers[0].version == 0
        world.go()
        assert world.registers[0].offset == 3

    def test_an_answer_that_nobody_knows_any_more_does_not_stop_committing(self) -> None:
        world, owner = one()
        owner.finish(3)
        owner.commits.flush()
        for _ in range(40):
            world.poll()
            world.lose(done=False, late=False)
            world.pass_ms(100)
        world.poll()
        owner.answer_question(make_error(Reason.UNKNOWN_RECEIPT, "forgotten", not_done=True))
        world.heal(1000)
        assert owner.progress.durable == 3

    def test_fenced_is_the_end(self) -> None:
        world, owner = one()
        world.registers[0].take_over()
        owner.finish(3)
        owner.commits.flush()
        world.go()
        assert isinstance(owner.commits.lost, Fenced)
        assert isinstance(owner.commits.lost, NotDone)
        owner.finish(3)
        owner.commits.flush()
        world.pass_ms(10_000)
        world.poll()
        assert not world.calls
        assert world.registers[0].version == 0

    def test_fenced_after_a_lost_answer_is_resolved_before_it_is_told(self) -> None:
        for done in (True, False):
            world, owner = one()
            owner.finish(3)
            owner.commits.flush()
            world.poll()
            world.lose(done=done, late=False)
            world.registers[0].take_over()
            world.pass_ms(100)
            world.go()
            assert isinstance(owner.commits.lost, Fenced)
            assert isinstance(owner.commits.lost, OutcomeUnknown)
            assert not owner.commits.settled
            owner.answer_question()
            assert owner.commits.settled
            assert (owner.commits.receipt is not None) is done
            assert isinstance(owner.commits.lost, NotDone) is not done

    def test_a_refusal_that_no_repeating_can_mend_is_the_end_too(self) -> None:
        world, owner = one()
        owner.finish(3)
        owner.commits.flush()
        world.poll()
        world.refuse(Reason.OFFSET_BEYOND_END)
        assert isinstance(owner.commits.lost, OffsetBeyondEnd)

    def test_by_hand_a_refusal_is_final_because_the_caller_was_told(self) -> None:
        world, owner = one(MANUAL)
        owner.finish(3)
        owner.commits.ask()
        world.poll()
        world.refuse(Reason.DISK_FULL)
        world.pass_ms(60_000)
        world.go()
        assert world.registers[0].version == 0
        owner.commits.ask()
        world.go()
        assert world.registers[0].offset == 3

    def test_by_hand_that_holds_for_a_commit_of_the_same_offset_too(self) -> None:
        world, owner = one(MANUAL)
        owner.commits.ask()
        world.poll()
        assert not owner.commits.settled
        world.refuse(Reason.DISK_FULL)
        world.pass_ms(60_000)
        world.go()
        assert owner.commits.settled
        assert world.registers[0].version == 0

    def test_otherwise_a_commit_that_was_asked_for_is_made_again_even_of_the_same_offset(self) -> None:
        world, owner = one()
        owner.commits.ask()
        world.poll()
        world.refuse(Reason.DISK_FULL)
        world.pass_ms(60_000)
        world.go()
        assert world.registers[0].version == 1

    def test_a_commit_asked_for_up_to_an_offset_leaves_the_rest_for_later(self) -> None:
        world, owner = one(CommitSettings(interval_ms=1000))
        owner.finish(5)
        owner.commits.ask(offset=3)
        world.go()
        assert (world.registers[0].offset, owner.progress.fresh) == (3, 2)
        world.pass_ms(900)
        world.go()
        assert world.registers[0].offset == 5

    def test_what_was_refused_after_a_lost_answer_may_have_been_stored_and_goes_on(self) -> None:
        world, owner = one()
        owner.finish(3)
        owner.commits.flush()
        world.poll()
        world.lose(done=False, late=True)
        world.pass_ms(100)
        world.poll()
        world.refuse(Reason.DISK_FULL)
        assert owner.commits.lost is None
        world.heal()
        assert world.registers[0].offset == 3

    def test_metadata_of_more_than_4_kib_is_refused_here(self) -> None:
        _, owner = one(MANUAL)
        owner.commits.ask(b"x" * 4096)
        with pytest.raises(MetadataTooLarge):
            owner.commits.ask(b"x" * 4097)


class TestDoubleConfirmation:
    def test_a_commit_counts_as_confirmed_when_the_read_back_shows_it(self) -> None:
        world, owner = one(CommitSettings(CommitMode.MANUAL, double=True))
        owner.finish(1)
        owner.commits.ask()
        world.go()
        assert owner.commits.confirming
        assert isinstance(owner.questions[0], ReadBack)
        owner.answer_question()
        assert not owner.commits.confirming
        assert owner.commits.unconfirmed == []

    def test_an_older_version_leaves_it_unconfirmed_until_a_later_read_shows_it(self) -> None:
        world, owner = one(CommitSettings(CommitMode.MANUAL, double=True))
        owner.finish(1)
        owner.commits.ask()
        world.go()
        owner.questions.clear()
        owner.commits.read_back(0, world.now_ms)
        assert [each.receipt.offset for each in owner.commits.unconfirmed] == [1]
        assert isinstance(owner.commits.unconfirmed[0].error, OutcomeUnknown)
        owner.finish(1)
        owner.commits.ask()
        world.go()
        owner.answer_question()
        assert owner.commits.unconfirmed == []

    def test_a_read_back_that_fails_is_tried_for_a_while(self) -> None:
        world, owner = one(CommitSettings(CommitMode.MANUAL, double=True, confirm_timeout_ms=500))
        owner.finish(1)
        owner.commits.ask()
        world.go()
        error = make_error(Reason.NO_QUORUM, "none", not_done=True)
        owner.answer_question(error)
        assert owner.commits.confirming
        world.pass_ms(600)
        world.poll()
        owner.answer_question(error)
        assert not owner.commits.confirming
        assert [each.receipt.offset for each in owner.commits.unconfirmed] == [1]


class TestSharingRequests:
    def test_what_gathers_while_a_request_is_under_way_leaves_together(self) -> None:
        world = CommitWorld(CommitSettings(CommitMode.EACH), partitions=20)
        world.owners[0].finish(1)
        world.poll()
        for owner in world.owners[1:]:
            owner.finish(1)
        world.poll()
        assert world.requests == 1
        world.go()
        assert world.requests == 2
        assert [register.offset for register in world.registers] == [1] * 20

    def test_a_request_that_takes_long_holds_nobody_else_up(self) -> None:
        world = CommitWorld(CommitSettings(CommitMode.EACH), partitions=20)
        for number, owner in enumerate(world.owners):
            owner.finish(1)
            world.poll()
            assert len(world.calls) == min(number + 1, MAX_BESIDE)
            world.pass_ms(BESIDE_AFTER_MS)

    def test_two_owners_of_one_partition_never_share_a_request(self) -> None:
        world = CommitWorld(CommitSettings(CommitMode.EACH), partitions=1)
        zombie = world.owners[0]
        world.registers[0].take_over()
        successor = Owner(world, world.registers[0], CommitSettings(CommitMode.EACH))
        world.owners.append(successor)
        zombie.finish(1)
        successor.finish(2)
        world.poll()
        assert [len(call.attempts) for call in world.calls] == [1]
        world.go()
        assert isinstance(zombie.commits.lost, Fenced)
        assert successor.progress.durable == 2

    def test_a_new_leader_is_tried_while_the_old_one_is_silent(self) -> None:
        world, owner = one(CommitSettings(CommitMode.EACH))
        owner.finish(1)
        world.poll()
        silent = world.calls.popleft()
        assert silent.address == ADDRESSES[1]
        world.elect(0)
        world.learn()
        world.pass_ms(300)
        world.go()
        assert owner.progress.durable == 1

    def test_the_answer_of_an_older_sending_counts_if_it_says_stored(self) -> None:
        world, owner = one(CommitSettings(CommitMode.EACH))
        owner.finish(1)
        world.poll()
        world.serve()
        world.elect(0)
        world.learn()
        world.pass_ms(300)
        world.poll()
        assert len(world.calls) == 1
        world.answer()
        assert owner.progress.durable == 1

    def test_a_refusal_of_an_older_sending_changes_nothing(self) -> None:
        world, owner = one(CommitSettings(CommitMode.EACH))
        owner.finish(1)
        world.poll()
        old = world.calls.popleft()
        world.elect(0)
        world.learn()
        world.pass_ms(300)
        world.poll()
        assert world.requests == 2
        error = make_error(Reason.NOT_LEADER, "not leader", not_done=True)
        world.committer.answered(old.address, old.correlation, [error], world.now_ms)
        assert world.router.leader("t", 0) == ADDRESSES[2], "the new leader was blamed for what the old one said"
        world.pass_ms(100)
        world.poll()
        assert world.requests == 2
        world.go()
        assert owner.progress.durable == 1

    def test_an_attempt_given_up_after_it_was_sent_may_have_happened(self) -> None:
        world, owner = one(CommitSettings(CommitMode.EACH))
        owner.finish(1)
        action = owner.commits.poll(world.now_ms)
        assert isinstance(action, Attempt)
        world.committer.submit(action, world.now_ms)
        world.poll()
        world.committer.give_up(action, make_error(Reason.CLOSED, "over", not_done=True))
        assert isinstance(action.error, OutcomeUnknown)
        assert world.committer.unsettled == 0


PARTITION = st.integers(0, 1)
SMALL = st.integers(0, 3)
DEFINITE = st.sampled_from([Reason.OVERLOADED, Reason.NO_QUORUM, Reason.NOT_LEADER, Reason.DISK_FULL])
INDEFINITE = st.sampled_from([Reason.NO_QUORUM, Reason.DEADLINE, Reason.INTERNAL])


class AnyTrouble(RuleBasedStateMachine):
    """Every interleaving of finished records, losses, refusals, elections, take-overs and late arrivals."""

    def __init__(self) -> None:
        super().__init__()
        self.world = CommitWorld(CommitSettings(interval_ms=200, count=5))
        self.offsets = [0, 0]

    @rule(partition=PARTITION, count=st.integers(1, 4))
    def finish(self, partition: int, count: int) -> None:
        self.world.owners[partition].finish(count)

    @rule(partition=PARTITION)
    def flush(self, partition: int) -> None:
        self.world.owners[partition].commits.flush()

    @rule()
    def poll(self) -> None:
        self.world.poll()

    @rule(ms=st.sampled_from([1.0, 30.0, 200.0, 1000.0]))
    def pass_time(self, ms: float) -> None:
        self.world.pass_ms(ms)
        self.world.poll()

    @rule()
    def serve(self) -> None:
        self.world.serve()

    @rule(which=SMALL)
    def answer(self, which: int) -> None:
        self.world.answer(which)

    @rule(done=st.booleans(), late=st.booleans())
    def lose(self, done: bool, late: bool) -> None:
        self.world.lose(done=done, late=late)

    @rule(reason=DEFINITE)
    def refuse(self, reason: Reason) -> None:
        self.world.refuse(reason)

    @rule(reason=INDEFINITE, done=st.booleans())
    def leave_open(self, reason: Reason, done: bool) -> None:
        self.world.refuse(reason, not_done=False, done=done)

    @rule(which=SMALL)
    def do_late(self, which: int) -> None:
        self.world.do_late(which)

    @rule(partition=PARTITION, learn=st.booleans())
    def elect(self, partition: int, learn: bool) -> None:
        self.world.elect(partition)
        if learn:
            self.world.learn()

    @rule(partition=PARTITION, works=st.booleans())
    def answer_question(self, partition: int, works: bool) -> None:
        error = None if works else make_error(Reason.NO_QUORUM, "none", not_done=True)
        self.world.owners[partition].answer_question(error)

    @invariant()
    def no_commit_outruns_the_processing_and_none_is_made_up(self) -> None:
        for number, owner in enumerate(self.world.owners):
            stored = self.world.registers[number].offset
            assert stored <= owner.progress.processed
            assert owner.progress.durable <= stored, "told to be durable, and is not stored"
            assert stored >= self.offsets[number]
            self.offsets[number] = stored

    def teardown(self) -> None:
        self.world.heal()
        for number, owner in enumerate(self.world.owners):
            assert owner.commits.lost is None
            assert self.world.registers[number].offset == owner.progress.processed
            assert owner.progress.durable == owner.progress.processed
            assert owner.commits.settled
        assert self.world.committer.unsettled == 0


TestAnyTrouble = AnyTrouble.TestCase
TestAnyTrouble.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)
