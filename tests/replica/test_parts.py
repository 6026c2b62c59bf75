"""The small parts of a node: budgets, proposals, campaigns, digests, ids."""

import random
from functools import partial

from quorumlog.replica.budget import ByteBudget
from quorumlog.replica.digests import EVERY, DigestLedger
from quorumlog.replica.failover import MAX_TRIES, TURN_MS, Campaigns
from quorumlog.replica.ids import incarnation_of, node_of, replica_id
from quorumlog.replica.proposals import Proposals


def test_a_budget_refuses_what_goes_over_but_never_a_lone_request() -> None:
    budget = ByteBudget(100)
    assert budget.take(250), "nothing else is held"
    assert not budget.take(1)
    budget.give_back(250)
    assert budget.take(60)
    assert not budget.take(41)
    assert budget.take(40)


def test_each_waiter_is_answered_once_with_the_result_of_its_own_entry() -> None:
    proposals, heard = Proposals(), []
    proposals.add(5, 1000, lambda result: heard.append(("a", result)))
    proposals.add(5, 1000, lambda result: heard.append(("b", result)))
    proposals.add(6, 1000, lambda result: heard.append(("c", result)))
    proposals.applied(5, "five")
    proposals.applied(5, "again")
    assert heard == [("a", "five"), ("b", "five")]
    assert len(proposals) == 1


def test_only_what_is_late_expires() -> None:
    proposals = Proposals()
    heard: list[tuple[int, object]] = []
    for index, deadline in ((1, 100), (2, 50), (3, 200)):
        proposals.add(index, deadline, partial(lambda index, result: heard.append((index, result)), index))
    assert list(proposals.expired(49)) == []
    for settled in proposals.expired(100):
        settled("late")
    assert sorted(heard) == [(1, "late"), (2, "late")]
    proposals.applied(3, "ok")
    assert heard[-1] == (3, "ok")


def test_the_first_in_rank_campaigns_before_the_second_can() -> None:
    for seed in range(50):
        first, second = Campaigns(random.Random(seed)), Campaigns(random.Random(seed + 1000))
        first.plan(9, 1000, 0, 5)
        second.plan(9, 1000, 1, 5)
        assert first.next_ms is not None
        assert second.next_ms is not None
        assert second.next_ms - first.next_ms > 10, "an election takes less"


def test_a_settled_group_does_not_campaign() -> None:
    campaigns = Campaigns(random.Random(1))
    campaigns.plan(9, 0, 0, 5)
    campaigns.settled(9)
    assert list(campaigns.due(10_000)) == []


def test_a_campaign_planned_before_somebody_else_stood_is_overtaken() -> None:
    campaigns = Campaigns(random.Random(1))
    campaigns.plan(9, 0, 1, 5)
    assert not campaigns.overtaken(9, 5)
    assert campaigns.overtaken(9, 6)
    campaigns.plan_again(9, 0, 3, 6)
    assert not campaigns.overtaken(9, 6), "its own turn, in the term it knows"


def test_a_campaign_that_comes_to_nothing_is_given_up_after_some_tries() -> None:
    campaigns, now, tries = Campaigns(random.Random(1)), 0, 0
    campaigns.plan(9, now, 0, 5)
    while campaigns.next_ms is not None:
        now = campaigns.next_ms
        for group_id in campaigns.due(now):
            tries += 1
            campaigns.plan_again(group_id, now, 3, 5)
    assert tries == MAX_TRIES
    assert now < 10 * MAX_TRIES * TURN_MS


def test_a_replica_is_outvoted_only_by_a_majority_with_one_digest() -> None:
    ledger, voters = DigestLedger(), frozenset({1, 2, 3})
    ledger.note(EVERY, b"mine")
    ledger.hear(2, EVERY, b"other")
    assert not ledger.outvoted(EVERY, voters), "one against one"
    ledger.hear(3, EVERY, b"third")
    assert not ledger.outvoted(EVERY, voters), "three opinions: nobody knows"
    ledger.hear(3, EVERY, b"other")
    assert ledger.outvoted(EVERY, voters)


def test_a_replica_that_agrees_with_one_of_two_is_not_outvoted() -> None:
    ledger, voters = DigestLedger(), frozenset({1, 2, 3})
    ledger.note(EVERY, b"mine")
    ledger.hear(2, EVERY, b"mine")
    ledger.hear(3, EVERY, b"other")
    assert not ledger.outvoted(EVERY, voters)


def test_a_digest_is_told_once() -> None:
    ledger = DigestLedger()
    assert ledger.to_tell() is None
    ledger.note(EVERY, b"a")
    ledger.note(2 * EVERY, b"b")
    assert ledger.to_tell() == (2 * EVERY, b"b")
    assert ledger.to_tell() is None


def test_a_replicas_next_life_is_another_replica_on_the_same_node() -> None:
    lives = [replica_id(3, incarnation) for incarnation in range(4)]
    assert lives[0] == 3
    assert len(set(lives)) == 4
    assert {node_of(life) for life in lives} == {3}
    assert [incarnation_of(life) for life in lives] == [0, 1, 2, 3]
