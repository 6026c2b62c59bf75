"""Each property of a Raft group is broken once, by the tap that would show it, and found; what is legitimate is let
pass."""

from __future__ import annotations

from quorumlog.check import RaftChecker, RaftProperty

GROUP = 16


def terms(*by_index: int):  # type: ignore[no-untyped-def]
    """A log whose entries have these terms, from index 1 on; nothing is compacted."""
    return lambda index: by_index[index - 1] if 0 < index <= len(by_index) else 0


def found(checker: RaftChecker) -> list[RaftProperty]:
    return [violation.kind for violation in checker.violations]


def test_two_leaders_of_one_term() -> None:
    checker = RaftChecker()
    checker.became_leader(GROUP, 1, 5, terms())
    checker.became_leader(GROUP, 1, 5, terms())
    assert found(checker) == []
    checker.became_leader(GROUP, 2, 5, terms())
    assert found(checker) == [RaftProperty.ONE_LEADER]


def test_the_same_term_in_another_group_is_another_matter() -> None:
    checker = RaftChecker()
    checker.became_leader(GROUP, 1, 5, terms())
    checker.became_leader(GROUP + 1, 2, 5, terms())
    assert found(checker) == []


def test_two_votes_in_one_term() -> None:
    checker = RaftChecker()
    checker.voted(GROUP, 3, 5, 1)
    checker.voted(GROUP, 3, 6, 2)
    checker.voted(GROUP, 3, 5, 1)
    assert found(checker) == []
    checker.voted(GROUP, 3, 5, 2)
    assert found(checker) == [RaftProperty.ONE_VOTE]


def test_logs_that_agree_on_index_and_term_but_not_on_the_entry() -> None:
    checker = RaftChecker()
    checker.entry(GROUP, 3, 2, 1, b"a")
    checker.entry(GROUP, 3, 3, 2, b"b")
    assert found(checker) == []
    checker.entry(GROUP, 3, 2, 1, b"c")
    assert found(checker) == [RaftProperty.LOG_MATCHING]


def test_logs_that_agree_on_an_entry_but_not_on_what_precedes_it() -> None:
    checker = RaftChecker()
    checker.entry(GROUP, 3, 4, 1, b"a")
    checker.entry(GROUP, 3, 4, 2, b"a")
    assert found(checker) == [RaftProperty.LOG_MATCHING]


def test_a_leader_without_what_was_committed() -> None:
    checker = RaftChecker()
    checker.progressed(GROUP, 1, 2, 3, 3, terms(1, 1, 2))
    checker.became_leader(GROUP, 2, 3, terms(1, 1, 2))
    assert found(checker) == []
    checker.became_leader(GROUP, 3, 4, terms(1, 1))
    assert found(checker) == [RaftProperty.LEADER_COMPLETENESS]


def test_a_compacted_log_is_not_asked_for_what_it_no_longer_has() -> None:
    checker = RaftChecker()
    checker.progressed(GROUP, 1, 2, 3, 3, terms(1, 1, 2))
    checker.became_leader(GROUP, 2, 3, lambda index: None)
    assert found(checker) == []


def test_two_replicas_commit_different_entries_at_one_index() -> None:
    checker = RaftChecker()
    checker.progressed(GROUP, 1, 2, 2, 2, terms(1, 2))
    checker.progressed(GROUP, 2, 3, 2, 2, terms(1, 3))
    assert found(checker) == [RaftProperty.STATE_MACHINE_SAFETY]


def test_state_machines_that_differ() -> None:
    checker = RaftChecker()
    checker.digest(GROUP, 1, 7, b"x")
    checker.digest(GROUP, 2, 8, b"y")
    checker.digest(GROUP, 2, 7, b"x")
    assert found(checker) == []
    checker.digest(GROUP, 3, 7, b"z")
    assert found(checker) == [RaftProperty.DIGEST_EQUALITY]


def test_nothing_goes_back_while_a_replica_lives() -> None:
    for before, after in (((3, 2, 2), (2, 2, 2)), ((3, 2, 2), (3, 1, 1)), ((3, 2, 2), (3, 2, 1))):
        checker = RaftChecker()
        checker.progressed(GROUP, 1, *before, terms(1, 1))
        checker.progressed(GROUP, 1, *after, terms(1, 1))
        assert found(checker) == [RaftProperty.MONOTONIC]


def test_commit_and_applied_may_begin_anew_after_a_restart() -> None:
    checker = RaftChecker()
    checker.progressed(GROUP, 1, 3, 2, 2, terms(1, 1))
    checker.restarted(GROUP, 1, 3, 2, terms(1, 1))
    checker.progressed(GROUP, 1, 3, 1, 1, terms(1, 1))
    assert found(checker) == []


def test_a_term_that_was_answered_in_is_remembered() -> None:
    checker = RaftChecker()
    checker.answered(GROUP, 1, 6)
    checker.restarted(GROUP, 1, 6, 0, terms())
    assert found(checker) == []
    checker.restarted(GROUP, 1, 5, 0, terms())
    assert found(checker) == [RaftProperty.DURABLE_PROMISE]


def test_an_acknowledged_entry_is_still_there() -> None:
    checker = RaftChecker()
    checker.acknowledged(GROUP, 1, 1, 2, 1)
    checker.restarted(GROUP, 1, 1, 3, terms(1, 1, 1))
    assert found(checker) == []
    checker.restarted(GROUP, 1, 1, 1, terms(1))
    assert found(checker) == [RaftProperty.DURABLE_PROMISE]


def test_an_acknowledged_entry_that_a_later_leader_may_have_replaced_need_not_be_there() -> None:
    checker = RaftChecker()
    checker.acknowledged(GROUP, 1, 1, 3, 1)
    checker.restarted(GROUP, 1, 2, 1, terms(1))
    assert found(checker) == []


def test_an_acknowledged_entry_that_a_checkpoint_covers_is_there() -> None:
    checker = RaftChecker()
    checker.acknowledged(GROUP, 1, 1, 3, 1)
    checker.restarted(GROUP, 1, 1, 9, lambda index: None)
    assert found(checker) == []


def test_a_leader_of_an_earlier_term_need_not_hold_what_a_later_one_committed() -> None:
    checker = RaftChecker()
    checker.progressed(GROUP, 1, 5, 2, 2, terms(1, 5))
    checker.became_leader(GROUP, 2, 4, terms(1, 1))
    assert found(checker) == []


def test_a_term_in_which_a_vote_was_given_is_remembered() -> None:
    checker = RaftChecker()
    checker.voted(GROUP, 1, 6, 2)
    checker.restarted(GROUP, 1, 5, 0, terms())
    assert found(checker) == [RaftProperty.DURABLE_PROMISE]
