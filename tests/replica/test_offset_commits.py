"""Committing on three nodes: what is durable, what is refused and why, and who may say so."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from replica.offset_trio import EARLIEST, LATEST, OffsetTrio
from replica.trio import batch

from quorumlog.machine.offset_commands import CommitItem, Fingerprint
from quorumlog.machine.offset_results import Fate, FateKnown
from quorumlog.replica import Appended, Failure, Outcome, Reason
from quorumlog.replica.offset_api import AttemptAt, CommittedOffset, ReceiptAt


def test_a_commit_is_answered_with_its_receipt_and_fetched_from_every_replica() -> None:
    trio = OffsetTrio()
    trio.acquire()
    receipt = trio.commit(4, 1, fingerprint=trio.fingerprint(4), metadata=b"note")
    assert (receipt.offset, receipt.duplicate) == (4, False)
    for node in trio.ids:
        fetched = trio.fetch(node)
        assert fetched.stored is not None
        assert (fetched.stored.offset, fetched.stored.metadata) == (4, b"note")
        assert (fetched.stored.version, fetched.stored.term) == (receipt.version, receipt.term)
        assert (fetched.owner, fetched.owner_epoch) == ("owner-7", 1)
        assert fetched.applied_index >= receipt.version


def test_zero_is_an_offset_and_never_committed_is_none() -> None:
    trio = OffsetTrio()
    assert trio.fetch().stored is None
    trio.acquire()
    trio.commit(0, 1)
    assert trio.stored() == 0


def test_no_commit_is_acknowledged_before_a_majority_has_it_on_disk() -> None:
    trio = OffsetTrio()
    trio.acquire()
    leader = trio.led()
    trio.stalled = set(trio.ids) - {leader}
    answers = trio.committing(leader, 4, 1)
    assert answers == [], "only the leader's disk has it"
    trio.release(min(trio.stalled))
    assert [type(answer) for answer in answers] == [CommittedOffset]


def test_at_the_moment_of_every_acknowledgement_the_commit_is_durable_on_a_majority() -> None:
    trio = OffsetTrio()
    trio.acquire()
    leader, group = trio.led(), trio.group()
    copies: list[int] = []
    for number in range(10):
        token = b"token %d." % number

        def acknowledged(result: object, token: bytes = token) -> None:
            assert isinstance(result, CommittedOffset)
            copies.append(sum(token in trio.durable_log(node, group) for node in trio.ids))

        item = CommitItem("g", number + 1, 1, 7, number + 1, None, token)
        trio.nodes[leader].offsets.commit("t", 0, item, 0, acknowledged)
        if number % 3 == 2:
            trio.settle()
    trio.settle()
    assert len(copies) == 10
    assert min(copies) >= 2


def test_what_comes_in_one_round_shares_an_entry_and_a_second_commit_of_a_group_takes_the_next() -> None:
    trio = OffsetTrio()
    leader = trio.led()
    for number in range(8):
        trio.acquire(f"g{number}")
    answers: dict[tuple[str, int], Any] = {}
    for sequence in (1, 2):
        for number in range(8):
            key = (f"g{number}", sequence)
            item = CommitItem(key[0], sequence, 1, 7, sequence)
            trio.nodes[leader].offsets.commit("t", 0, item, 0, partial(answers.__setitem__, key))
    trio.settle()
    first = {answers[f"g{number}", 1].version for number in range(8)}
    second = {answers[f"g{number}", 2].version for number in range(8)}
    assert len(first) == len(second) == 1
    assert first.pop() + 1 == second.pop()
    assert {trio.stored(group=f"g{number}") for number in range(8)} == {2}


def test_a_repeat_is_recognised_and_has_no_second_effect() -> None:
    trio = OffsetTrio()
    trio.acquire()
    first = trio.commit(4, 1)
    trio.commit(6, 2)
    again = trio.commit(4, 1)
    assert (again.offset, again.version, again.duplicate) == (4, first.version, True)
    assert trio.stored() == 6


def test_each_refusal_has_its_own_reason_its_numbers_and_no_effect() -> None:
    trio = OffsetTrio(records=10)
    assert trio.refused(1, 1).reason is Reason.NOT_OWNER, "a commit without ownership"
    trio.acquire()
    trio.commit(5, 1)
    beyond = trio.refused(11, 2)
    assert (beyond.reason, beyond.fields) == (Reason.OFFSET_BEYOND_END, {"offset": "11", "end_offset": "10"})
    below = trio.refused(4, 2)
    assert (below.reason, below.fields) == (Reason.OFFSET_REGRESSED, {"offset": "4", "stored": "5"})
    stranger = trio.refused(6, 2, session=8)
    assert stranger.reason is Reason.NOT_OWNER
    assert trio.refused(6, 2, epoch=0).reason is Reason.NOT_OWNER
    assert trio.refused(6, 0).reason is Reason.INVALID_REQUEST
    large = trio.refused(6, 2, metadata=b"x" * 4097)
    assert (large.reason, large.fields["max_metadata_bytes"]) == (Reason.METADATA_TOO_LARGE, "4096")
    for name in ("", "a b", "ü", "x" * 250, "__canary"):
        assert trio.refused(6, 2, group=name).reason is Reason.INVALID_GROUP, name
    for failure in (beyond, below, stranger, large):
        assert failure.outcome is Outcome.NOT_DONE
    assert trio.stored() == 5
    assert trio.commit(6, 2, metadata=b"x" * 4096).offset == 6, "a refused commit does not use its sequence up"


@pytest.mark.parametrize("on_disk", [False, True])
def test_the_fingerprint_must_name_the_record_that_is_there(on_disk: bool) -> None:
    trio = OffsetTrio(tail_cache_bytes=1 if on_disk else 1 << 20)
    trio.acquire()
    trio.chill()
    assert trio.service(trio.led()).replica.log.read_batches(3, 10, 1).on_disk is on_disk
    right = trio.fingerprint(4)
    for wrong in (Fingerprint(right.term, right.crc32c ^ 1), Fingerprint(right.term + 1, right.crc32c)):
        failure = trio.refused(4, 1, fingerprint=wrong)
        assert (failure.reason, failure.outcome) == (Reason.FINGERPRINT_MISMATCH, Outcome.NOT_DONE)
    assert trio.refused(0, 1, fingerprint=right).reason is Reason.FINGERPRINT_MISMATCH, (
        "there is no record before 0"
    )
    assert trio.commit(4, 1, fingerprint=right).offset == 4


def test_commits_do_not_overtake_one_whose_fingerprint_comes_from_the_disk() -> None:
    trio = OffsetTrio(tail_cache_bytes=1)
    trio.acquire()
    trio.chill()
    leader = trio.led()
    prints = {offset: trio.fingerprint(offset) for offset in (3, 9)}
    answers: list[object] = []
    for sequence, offset in ((1, 3), (2, 9)):
        item = CommitItem("g", offset, 1, 7, sequence, prints[offset])
        trio.nodes[leader].offsets.commit("t", 0, item, 0, answers.append)
    trio.nodes[leader].offsets.commit("t", 0, CommitItem("g", 10, 1, 7, 3), 0, answers.append)
    trio.settle()
    assert [answer.offset for answer in answers if isinstance(answer, CommittedOffset)] == [3, 9, 10]


# --- owners ---------------------------------------------------------------------------------------------------


def test_a_zombie_is_fenced_and_its_commit_is_nowhere() -> None:
    trio = OffsetTrio()
    trio.acquire(session=7)
    trio.commit(3, 1, session=7)
    taken = trio.acquire(session=8)
    assert (taken.owner_epoch, taken.start_offset, taken.previous_owner) == (2, 3, "owner-7")
    zombie = trio.refused(9, 2, session=7, epoch=1, metadata=b"from beyond")
    assert (zombie.reason, zombie.outcome) == (Reason.FENCED, Outcome.NOT_DONE)
    assert zombie.fields["owner_epoch"] == "2"
    assert trio.stored() == 3
    history = trio.ask(trio.led(), lambda one, done: one.offsets.history("t", 0, "g", 0, done))[0]
    assert all(change.offset != 9 for change in history.changes)
    for node in trio.ids:
        assert trio.fetch(node).stored is not None
        assert b"from beyond" not in trio.fetch(node).stored.metadata  # type: ignore[union-attr]


def test_a_commit_on_its_way_while_the_partition_is_taken_over_is_refused_when_it_arrives() -> None:
    trio = OffsetTrio()
    trio.acquire(session=7)
    leader = trio.led()
    trio.stalled = set(trio.ids) - {leader}
    taken = trio.acquiring(leader, session=8)
    zombie = trio.committing(leader, 9, 1, session=7, epoch=1)
    assert taken == zombie == [], "neither is decided yet"
    for node in sorted(trio.stalled):
        trio.release(node)
    assert isinstance(zombie[0], Failure)
    assert zombie[0].reason is Reason.FENCED
    assert taken[0].owner_epoch == 2


def test_a_fenced_reader_is_refused_and_one_that_waits_is_told_at_once() -> None:
    trio = OffsetTrio(records=3)
    trio.acquire(session=7)
    leader = trio.led()

    def read(owner: tuple[str, int], offset: int, wait_ms: int = 0) -> list[object]:
        return trio.ask(leader, lambda one, done: one.read("t", 0, offset, 1 << 20, wait_ms, done, owner=owner))

    assert not isinstance(read(("g", 1), 0)[0], Failure)
    waiting = read(("g", 1), 3, wait_ms=5_000)
    bystander = read(("other", 1), 3, wait_ms=5_000)
    assert waiting == bystander == []
    trio.acquire(session=8)
    assert isinstance(waiting[0], Failure)
    assert waiting[0].reason is Reason.FENCED
    assert bystander == []
    late = read(("g", 1), 0)[0]
    assert isinstance(late, Failure)
    assert late.reason is Reason.FENCED
    assert not isinstance(read(("g", 2), 0)[0], Failure)
    trio.ask(leader, lambda one, done: one.offsets.forget("t", 0, "g", True, 0, done))
    forgotten = read(("g", 2), 0)[0]
    assert isinstance(forgotten, Failure)
    assert forgotten.reason is Reason.FENCED, "a forgotten group has no owner"


# --- leaders --------------------------------------------------------------------------------------------------


def test_a_follower_sends_commits_and_acquisitions_to_the_leader() -> None:
    trio = OffsetTrio()
    trio.acquire()
    for answers in (trio.committing(trio.follower(), 4, 1), trio.acquiring(trio.follower(), session=9)):
        assert isinstance(answers[0], Failure)
        assert (answers[0].reason, answers[0].leader_node) == (Reason.NOT_LEADER, trio.led())


def test_committed_offsets_survive_their_leader_and_repeats_are_still_recognised() -> None:
    trio = OffsetTrio()
    trio.acquire()
    first = trio.commit(4, 1, fingerprint=trio.fingerprint(4))
    trio.kill(trio.led())
    assert trio.stored() == 4
    again = trio.commit(4, 1)
    assert (again.version, again.duplicate) == (first.version, True)
    assert trio.commit(7, 2).offset == 7
    assert trio.acquire(session=8).start_offset == 7


def test_a_commit_cut_off_with_its_leader_is_unknown_and_what_became_of_it_is_told_on_both_sides() -> None:
    trio = OffsetTrio()
    trio.acquire()
    kept = trio.commit(2, 1)
    old = trio.led()
    trio.isolate(old)
    begun = trio.clock.time_ms
    lost = trio.committing(old, 5, 2)
    stale = trio.fetching(old)
    trio.pass_time(2_000)
    assert trio.clock.time_ms - begun <= 2_000
    assert [(answer.reason, answer.outcome) for answer in lost] == [(Reason.NO_QUORUM, Outcome.UNKNOWN)]
    assert [answer.reason for answer in stale] == [Reason.NO_QUORUM]
    trio.until(lambda: trio.leader(trio.group()) not in (None, old))
    new = trio.leader(trio.group())
    assert new is not None
    assert trio.stored(new) == 2
    fate = trio.resolve(AttemptAt("g", 1, 7, 2), new)
    assert isinstance(fate, FateKnown)
    assert fate.fate is Fate.NEVER_HAPPENED
    trio.heal()
    trio.until(lambda: trio.digests_agree())
    for node in trio.ids:
        assert trio.resolve(AttemptAt("g", 1, 7, 2), node).fate is Fate.NEVER_HAPPENED  # type: ignore[union-attr]
        present = trio.resolve(ReceiptAt("g", 2, kept.version, kept.term), node)
        assert isinstance(present, FateKnown)
        assert present.fate is Fate.PRESENT
    assert trio.refused(5, 2).reason is Reason.COMMIT_SETTLED, "it arrives after all"
    assert trio.commit(5, 3).offset == 5


def test_a_leader_that_is_deposed_says_that_what_it_proposed_may_have_happened() -> None:
    trio = OffsetTrio()
    trio.acquire()
    old = trio.led()
    trio.isolate(old)
    item = CommitItem("g", 5, 1, 7, 1)
    commit = trio.ask(old, lambda one, done: one.offsets.commit("t", 0, item, 60_000, done))
    release = trio.ask(old, lambda one, done: one.offsets.release("t", 0, "g", 7, 1, 60_000, done))
    trio.pass_time(2_000)
    for answer in (commit, release):
        assert [(failure.reason, failure.outcome) for failure in answer] == [(Reason.NO_QUORUM, Outcome.UNKNOWN)]


def test_a_commit_that_reached_the_others_before_its_leader_was_lost_is_found_present() -> None:
    trio = OffsetTrio()
    trio.acquire()
    old = trio.led()
    others = sorted(set(trio.ids) - {old})
    # The others hear the leader, but their answers are lost: they have the commit and it does not know.
    trio.cut |= {(node, old) for node in others}
    lost = trio.committing(old, 5, 1)
    trio.cut |= {(old, node) for node in others}
    trio.until(lambda: trio.leader(trio.group()) not in (None, old))
    trio.pass_time(1_000)
    assert [(answer.reason, answer.outcome) for answer in lost] == [(Reason.NO_QUORUM, Outcome.UNKNOWN)]
    new = trio.leader(trio.group())
    assert new is not None
    fate = trio.resolve(AttemptAt("g", 1, 7, 1), new)
    assert isinstance(fate, FateKnown)
    assert fate.fate is Fate.PRESENT
    assert fate.commit is not None
    assert fate.commit.offset == 5


def test_a_follower_can_tell_what_is_final_and_sends_on_what_only_the_leader_can_make_so() -> None:
    trio = OffsetTrio()
    trio.acquire()
    receipt = trio.commit(2, 1)
    follower = trio.follower()
    present = trio.resolve(AttemptAt("g", 1, 7, 1), follower)
    assert isinstance(present, FateKnown)
    assert present.commit is not None
    assert (present.fate, present.commit.version) == (Fate.PRESENT, receipt.version)
    trio.commit(3, 2)
    superseded = trio.resolve(ReceiptAt("g", 2, receipt.version, receipt.term), follower)
    assert isinstance(superseded, FateKnown)
    assert superseded.fate is Fate.SUPERSEDED
    sent_on = trio.resolve(AttemptAt("g", 1, 7, 9), follower)
    assert isinstance(sent_on, Failure)
    assert (sent_on.reason, sent_on.leader_node) == (Reason.NOT_LEADER, trio.led())


def test_an_attempt_is_named_in_full_and_by_an_epoch_that_somebody_was_given() -> None:
    trio = OffsetTrio()
    trio.acquire()
    trio.commit(2, 1)
    for what in (AttemptAt("g", 0, 7, 1), AttemptAt("g", 2, 7, 1)):
        for node in trio.ids:
            failure = trio.resolve(what, node)
            assert isinstance(failure, Failure)
            assert (failure.reason, failure.outcome) == (Reason.INVALID_REQUEST, Outcome.NOT_DONE)
            assert failure.fields["field"] == "owner_epoch"
    unnumbered = trio.resolve(AttemptAt("g", 1, 7, 0))
    assert isinstance(unnumbered, Failure)
    assert (unnumbered.reason, unnumbered.fields) == (Reason.INVALID_REQUEST, {"field": "sequence"})
    assert trio.commit(3, 2).offset == 3, "nothing was settled by asking so"


def test_what_lies_before_the_remembered_is_unknown_and_not_never_happened() -> None:
    trio = OffsetTrio(records=40)
    trio.acquire()
    receipts = [trio.commit(number, number) for number in range(1, 41)]
    for what in (AttemptAt("g", 1, 7, 1), ReceiptAt("g", 1, receipts[0].version, receipts[0].term)):
        failure = trio.resolve(what)
        assert isinstance(failure, Failure)
        assert (failure.reason, failure.outcome) == (Reason.UNKNOWN_RECEIPT, Outcome.NOT_DONE)


def test_a_minority_answers_no_quorum_within_two_seconds_whoever_it_was() -> None:
    for was_leader in (True, False):
        trio = OffsetTrio()
        trio.acquire()
        survivor = trio.led() if was_leader else trio.follower()
        for node in trio.ids:
            if node != survivor:
                trio.kill(node)
        for settling_ms in (0, 3_000):
            trio.pass_time(settling_ms)
            begun = trio.clock.time_ms
            answers = [trio.committing(survivor, 4, 1), trio.fetching(survivor), trio.acquiring(survivor)]
            trio.until(partial(all, answers), within_ms=2_000)
            assert trio.clock.time_ms - begun <= 2_000
            assert {answer[0].reason for answer in answers} == {Reason.NO_QUORUM}, (was_leader, settling_ms)
            assert not settling_ms or trio.clock.time_ms == begun, "once it is known, nobody waits for it"


def test_a_commit_held_while_the_leader_takes_up_its_office_is_served() -> None:
    trio = OffsetTrio()
    trio.acquire()
    old, group = trio.led(), trio.group()
    trio.kill(old)
    survivors = sorted(trio.nodes)
    answers = {node: trio.committing(node, 4, 1) for node in survivors}
    trio.until(lambda: all(answers.values()))
    new = trio.leader(group)
    assert new is not None
    assert isinstance(answers[new][0], CommittedOffset)
    other = next(node for node in survivors if node != new)
    assert isinstance(answers[other][0], Failure)
    assert (answers[other][0].reason, answers[other][0].leader_node) == (Reason.NOT_LEADER, new)


class StalledOnceLed(set[int]):
    """Every node, as soon as ``group`` has a leader."""

    def __init__(self, trio: OffsetTrio, group: int) -> None:
        super().__init__()
        self.trio = trio
        self.group = group

    def __contains__(self, node: object) -> bool:
        return bool(self)

    def __bool__(self) -> bool:
        return any(self.trio.replica(node, self.group).role == "leader" for node in self.trio.nodes)


def test_a_new_leader_serves_nothing_about_offsets_before_its_terms_first_entry_is_applied() -> None:
    trio = OffsetTrio()
    trio.acquire()
    trio.commit(4, 1)
    old, group = trio.led(), trio.group()
    trio.commit(6, 2)
    trio.append(old, [b"acknowledged, and the others do not know it yet"])
    trio.kill(old)
    # From the election on no write completes: the no-op cannot be committed, and nobody may answer.
    trio.stalled = StalledOnceLed(trio, group)
    trio.until(lambda: bool(trio.stalled))
    new = next(node for node in trio.nodes if trio.replica(node, group).role == "leader")
    answers = [trio.fetching(new), trio.committing(new, 11, 3), trio.acquiring(new, session=9, start=LATEST)]
    assert answers == [[], [], []]
    trio.stalled = set()
    for node in sorted(trio.nodes):
        trio.release(node)
    trio.settle()
    assert answers[0][0].stored.offset >= 6, "what the old leader acknowledged is seen"
    assert isinstance(answers[1][0], CommittedOffset)
    assert answers[2][0].start_offset == 11, "they came in this order"


def test_read_your_commit_through_any_replica() -> None:
    trio = OffsetTrio()
    trio.acquire()
    follower = trio.follower()
    trio.isolate(follower)
    receipt = trio.commit(4, 1)
    waiting = trio.fetching(follower, min_version=receipt.version)
    assert waiting == [], "it has not applied that far"
    trio.heal()
    trio.until(lambda: bool(waiting), within_ms=1_000)
    assert waiting[0].stored.offset == 4
    trio.isolate(follower)
    later = trio.commit(6, 2)
    assert trio.fetching(follower, min_version=receipt.version)[0].stored.offset == 4, "as of that version or later"
    late = trio.fetching(follower, min_version=later.version)
    trio.pass_time(1_900)
    assert late[0].reason in (Reason.DEADLINE, Reason.NO_QUORUM)


def test_a_lagging_follower_does_not_answer_a_linearizable_fetch_from_yesterday() -> None:
    trio = OffsetTrio()
    trio.acquire()
    trio.commit(4, 1)
    follower = trio.follower()
    trio.stalled = {follower}
    trio.commit(6, 2)
    waiting = trio.fetching(follower)
    assert waiting == []
    trio.release(follower)
    trio.until(lambda: bool(waiting), within_ms=1_000)
    assert waiting[0].stored.offset == 6


def test_a_deposed_leader_that_does_not_know_it_answers_no_fetch() -> None:
    trio = OffsetTrio()
    trio.acquire()
    trio.commit(4, 1)
    old, group = trio.led(), trio.group()
    trio.isolate(old)
    trio.until(lambda: any(trio.replica(n, group).role == "leader" for n in trio.ids if n != old))
    new = next(node for node in trio.ids if node != old and trio.replica(node, group).role == "leader")
    trio.settle()
    assert isinstance(trio.committing(new, 6, 2)[0], CommittedOffset)
    stale = trio.fetching(old)
    assert stale == [] or isinstance(stale[0], Failure)
    trio.pass_time(2_000)
    assert isinstance(stale[0], Failure)
    assert stale[0].reason is Reason.NO_QUORUM


def test_too_many_waiting_commits_are_refused_as_overloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorumlog.replica.commits.MAX_WAITING", 2)
    trio = OffsetTrio()
    for number in range(3):
        trio.acquire(f"g{number}")
    leader = trio.led()
    trio.stalled = set(trio.ids) - {leader}
    answers = [trio.committing(leader, 4, 1, group=f"g{number}") for number in range(3)]
    assert answers[:2] == [[], []]
    assert (answers[2][0].reason, answers[2][0].outcome) == (Reason.OVERLOADED, Outcome.NOT_DONE)
    for node in sorted(trio.stalled):
        trio.release(node)
    assert all(isinstance(answer[0], CommittedOffset) for answer in answers[:2])
    assert trio.committing(leader, 4, 1, group="g2")[0].offset == 4


def test_commits_stand_in_the_records_own_log_and_use_no_offset_up() -> None:
    trio = OffsetTrio(records=2)
    trio.acquire()
    trio.commit(2, 1)
    assert trio.append(trio.led(), [b"next"]) == [Appended(2, False, 0)]
    trio.pass_time(200)
    assert trio.digests_agree()


def test_commits_under_a_quiet_group_wake_it() -> None:
    trio = OffsetTrio()
    trio.acquire()
    group = trio.group()
    trio.until(lambda: all(trio.replica(node, group).quiet for node in trio.ids))
    assert trio.commit(4, 1).offset == 4
    assert trio.acquire("h", start=EARLIEST).start_offset == 0
    trio.append_batch(trio.led(), batch([b"more"]))
    assert trio.commit(11, 2).offset == 11
