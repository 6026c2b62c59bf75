"""Quorums against brute force: every question is answered again from its definition, over all small groups."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumlog.raft import Configuration
from quorumlog.raft.quorum import VoteResult, has_quorum, is_majority, majority, majority_index, vote_result

PEOPLE = (1, 2, 3, 4, 5)
GROUPS = [frozenset(chosen) for size in range(1, 6) for chosen in combinations(PEOPLE, size)]
SMALL = [frozenset(chosen) for size in range(1, 4) for chosen in combinations((1, 2, 3, 4), size)]


def more_than_half(voters: frozenset[int], agreeing: frozenset[int]) -> bool:
    return 2 * len(voters & agreeing) > len(voters)


@pytest.mark.parametrize("count", range(1, 12))
def test_two_majorities_always_meet_and_one_less_may_not(count: int) -> None:
    assert 2 * majority(count) > count
    assert 2 * (majority(count) - 1) <= count


def test_a_majority_is_more_than_half() -> None:
    for voters, agreeing in product(GROUPS, GROUPS):
        assert is_majority(voters, agreeing) == more_than_half(voters, agreeing)


def test_nobody_is_no_majority_of_nobody() -> None:
    nobody = Configuration(frozenset())
    assert not has_quorum(nobody, {1, 2, 3})
    assert vote_result(nobody, {1: True}) is not VoteResult.WON
    assert majority_index([]) == 0


def test_a_joint_quorum_is_a_majority_of_either_half() -> None:
    for incoming, outgoing, agreeing in product(SMALL, SMALL, SMALL):
        joint = Configuration(incoming, outgoing)
        both = more_than_half(incoming, agreeing) and more_than_half(outgoing, agreeing)
        assert has_quorum(joint, agreeing) == both


def test_learners_never_make_a_quorum() -> None:
    assert not has_quorum(Configuration(frozenset({1, 2, 3}), learners=frozenset({4, 5})), {1, 4, 5})


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=9))
def test_the_majority_index_is_the_highest_that_a_majority_has_reached(matches: list[int]) -> None:
    reached = [i for i in range(21) if 2 * sum(match >= i for match in matches) > len(matches)]
    assert majority_index(matches) == max(reached)


def test_a_vote_is_won_when_no_further_answer_can_lose_it_and_lost_when_none_can_win_it() -> None:
    """By definition: over every way in which the voters who are silent may still answer."""
    for incoming, outgoing in product(SMALL, [frozenset(), *SMALL]):
        configuration = Configuration(incoming, outgoing)
        everyone = sorted(incoming | outgoing)
        for answers in product((True, False, None), repeat=len(everyone)):
            votes = {voter: answer for voter, answer in zip(everyone, answers, strict=True) if answer is not None}
            silent = [voter for voter in everyone if voter not in votes]
            endings = []
            for rest in product((True, False), repeat=len(silent)):
                final = {**votes, **dict(zip(silent, rest, strict=True))}
                granted = {voter for voter, answer in final.items() if answer}
                endings.append(has_quorum(configuration, granted))
            expected = VoteResult.WON if all(endings) else VoteResult.PENDING if any(endings) else VoteResult.LOST
            assert vote_result(configuration, votes) is expected
