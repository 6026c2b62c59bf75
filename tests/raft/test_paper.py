"""The Raft paper (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", extended version),
sentence by sentence, as far as it concerns the core. Each test is named for what a sentence says; sections in the
order of the paper. Where this core does otherwise on purpose, the test says so.
"""

from __future__ import annotations

import random

import pytest
from raft.raft_kit import (
    Cluster,
    Member,
    MemoryStorage,
    append,
    change,
    data,
    entries,
    member,
    vote_request,
    voters,
)

from quorumlog.raft import (
    AppendRequest,
    AppendResponse,
    Checkpoint,
    EntryKind,
    HardState,
    Heartbeat,
    InstallCheckpoint,
    Message,
    NotLeader,
    Raft,
    RaftConfig,
    ReadState,
    Role,
    VoteRequest,
    VoteResponse,
)


def answers(replica: Member, message: Message) -> list[Message]:
    """What ``replica`` says to a message, once everything is durable."""
    replica.raft.step(message)
    return replica.drain()


# --- §5.1, Raft basics


def test_5_1_at_any_time_a_server_is_in_one_state_and_starts_as_a_follower() -> None:
    assert member().role() is Role.FOLLOWER
    assert member(entries(1, 2), HardState(7, 2, 1)).role() is Role.FOLLOWER


def test_5_1_followers_are_passive_and_issue_no_requests_on_their_own() -> None:
    follower = member()
    for _ in range(9):
        follower.raft.tick()
    assert follower.drain() == []


def test_5_1_a_client_that_contacts_a_follower_is_told_the_leader() -> None:
    """The paper redirects it; here the refusal names the leader."""
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(2)
    with pytest.raises(NotLeader) as refusal:
        cluster[1].propose(EntryKind.DATA, b"x")
    assert refusal.value.leader == 2


def test_5_1_terms_increase_by_one_with_each_election() -> None:
    cluster = Cluster(voters(1, 2, 3))
    assert [cluster.elect(replica).term for replica in (1, 2, 1, 3)] == [1, 2, 3, 4]


def test_5_1_a_smaller_current_term_is_updated_to_the_larger() -> None:
    follower = member(hard_state=HardState(3, 2))
    (answer,) = answers(follower, append((0, 0), term=6))
    assert answer.term == follower.raft.term == 6
    assert follower.raft.vote is None, "a vote belongs to its term"


@pytest.mark.parametrize(
    "message",
    [
        append((0, 0), term=6, sender=3, to=1),
        Heartbeat(3, 1, 6, 0, 0, False),
        AppendResponse(3, 1, 6, False, 0, 0, 0),
        VoteResponse(3, 1, 6, False, False),
    ],
)
def test_5_1_a_candidate_or_leader_whose_term_is_out_of_date_reverts_to_follower(message: Message) -> None:
    leading = Cluster(voters(1, 2, 3))
    leading.elect(1)
    leading[1].step(message)
    assert (leading[1].role, leading[1].term) == (Role.FOLLOWER, 6)

    running = Cluster(voters(1, 2, 3))
    running[1].campaign()
    running.settle(lambda m: not isinstance(m, VoteRequest) or m.pre)
    assert running[1].role is Role.CANDIDATE
    running[1].step(message)
    assert (running.members[1].role(), running[1].term) == (Role.FOLLOWER, 6)


@pytest.mark.parametrize(
    "stale", [append((0, 0), data(1, 2)), vote_request(1, 2, 2, (9, 2)), Heartbeat(1, 2, 2, 0, 0, False)]
)
def test_5_1_a_request_with_a_stale_term_is_rejected(stale: Message) -> None:
    follower = member(hard_state=HardState(5))
    (answer,) = answers(follower, stale)
    assert answer.term == 5
    assert not getattr(answer, "success", False)
    assert not getattr(answer, "granted", False)
    assert (follower.raft.last_index, follower.raft.leader, follower.raft.vote) == (0, None, None)


# --- §5.2, leader election


def test_5_2_after_a_split_vote_the_host_may_have_a_candidate_stand_again_at_once() -> None:
    cluster = Cluster(voters(1, 2, 3))
    for candidate in (1, 2):
        cluster[candidate].campaign()
    cluster.settle(lambda message: message.to != 3 and not (isinstance(message, VoteRequest) and not message.pre))
    assert {cluster[one].role for one in (1, 2)} == {Role.CANDIDATE}
    term = cluster[1].term
    cluster[1].campaign()
    cluster.settle()
    assert cluster[1].is_leader
    assert cluster[1].term > term


def test_5_2_a_server_remains_a_follower_as_long_as_it_hears_from_a_leader() -> None:
    follower = member()
    for _ in range(50):
        for _ in range(9):
            follower.raft.tick()
        follower.raft.step(Heartbeat(1, 2, 1, 0, 0, False))
    assert follower.role() is Role.FOLLOWER
    assert follower.raft.leader == 1


def test_5_2_without_communication_over_an_election_timeout_it_begins_an_election() -> None:
    """With a pre-vote first (dissertation §9.6): the paper's increment comes when that is won."""
    follower = member()
    ticks = 0
    while follower.role() is Role.FOLLOWER:
        follower.raft.tick()
        ticks += 1
    assert 10 <= ticks < 20
    assert follower.role() is Role.PRE_CANDIDATE
    assert follower.raft.term == 0
    assert [(m.to, m.term) for m in follower.drain() if isinstance(m, VoteRequest)] == [(1, 1), (3, 1)]


def test_5_2_a_candidate_increments_its_term_votes_for_itself_and_asks_all_others() -> None:
    candidate = member()
    candidate.raft.campaign()
    candidate.drain()
    candidate.raft.step(VoteResponse(1, 2, 1, True, True))
    requests = candidate.drain()
    assert (candidate.raft.term, candidate.raft.vote) == (1, 2)
    assert [(m.to, m.pre) for m in requests if isinstance(m, VoteRequest)] == [(1, False), (3, False)]


def test_5_2_votes_of_a_majority_for_the_same_term_win() -> None:
    cluster = Cluster(voters(1, 2, 3, 4, 5))
    cluster.isolate(4, 5)
    cluster[1].campaign()
    cluster.settle()
    assert cluster[1].is_leader
    cluster = Cluster(voters(1, 2, 3, 4, 5))
    cluster.isolate(3, 4, 5)
    cluster[1].campaign()
    cluster.settle()
    assert not cluster[1].is_leader


def test_5_2_each_server_votes_for_at_most_one_candidate_in_a_term_first_come_first_served() -> None:
    voter = member()
    granted = [answers(voter, vote_request(sender, 2, 1, (5, 1)))[0] for sender in (3, 1, 3)]
    assert [isinstance(a, VoteResponse) and a.granted for a in granted] == [True, False, True]


def test_5_2_a_winner_tells_all_others_at_once_to_prevent_new_elections() -> None:
    """By its first append rather than an empty one: the no-op of §8."""
    cluster = Cluster(voters(1, 2, 3))
    cluster[1].campaign()
    cluster.settle(lambda message: not isinstance(message, AppendRequest))
    lost = Cluster(voters(1, 2, 3))
    sent: list[Message] = []
    lost[1].campaign()
    lost.settle(seen=sent)
    first = next(m for m in sent if isinstance(m, AppendRequest))
    assert [entry.kind for entry in first.entries] == [EntryKind.NOOP]


def test_5_2_a_candidate_that_hears_a_legitimate_leader_returns_to_follower() -> None:
    candidate = member()
    candidate.raft.campaign()
    candidate.drain()
    candidate.raft.step(VoteResponse(1, 2, 1, True, True))
    candidate.drain()
    assert candidate.role() is Role.CANDIDATE
    candidate.raft.step(append((0, 0), term=1, sender=3))
    assert candidate.role() is Role.FOLLOWER
    assert candidate.raft.leader == 3


def test_5_2_a_candidate_rejects_a_leader_of_a_smaller_term_and_continues() -> None:
    candidate = member(hard_state=HardState(4))
    candidate.raft.campaign()
    candidate.drain()
    candidate.raft.step(VoteResponse(1, 2, 5, True, True))
    candidate.drain()
    candidate.raft.step(append((0, 0), term=4, sender=3))
    assert candidate.role() is Role.CANDIDATE


def test_5_2_a_candidate_that_neither_wins_nor_loses_times_out_and_starts_again() -> None:
    candidate = member()
    candidate.raft.campaign()
    candidate.drain()
    candidate.raft.step(VoteResponse(1, 2, 1, True, True))
    candidate.drain()
    for _ in range(20):
        candidate.raft.tick()
    requests = candidate.drain()
    assert [(m.term, m.pre) for m in requests if isinstance(m, VoteRequest)][:2] == [(2, True), (2, True)]


def test_5_2_election_timeouts_are_chosen_randomly_from_a_fixed_interval() -> None:
    chosen = set()
    for seed in range(300):
        raft = Raft(RaftConfig(1), MemoryStorage(voters(1, 2, 3)), 0, random.Random(seed))
        ticks = 0
        while raft.role is Role.FOLLOWER:
            raft.tick()
            ticks += 1
        chosen.add(ticks)
    assert chosen == set(range(10, 20))


def test_5_2_a_split_vote_is_resolved_quickly() -> None:
    for seed in range(20):
        cluster = Cluster(voters(1, 2, 3, 4), seed=seed)
        for _ in range(150):
            cluster.tick()
            if cluster.leaders():
                break
        assert len(cluster.leaders()) == 1


# --- §5.3, log replication


def test_5_3_the_leader_appends_the_command_and_sends_it_to_each_of_the_others() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    index = cluster.propose(1, b"x")
    cluster.drain()
    assert {m.to: m.entries[-1] for m in cluster.pick(AppendRequest)} == {
        2: data(index, 1, b"x"),
        3: data(index, 1, b"x"),
    }


def test_5_3_an_entry_is_applied_when_it_is_on_a_majority_and_not_before() -> None:
    cluster = Cluster(voters(1, 2, 3, 4, 5))
    cluster.elect(1)
    cluster.isolate(3, 4, 5)
    cluster.propose(1, b"x")
    cluster.settle()
    assert cluster.members[1].payloads == []
    cluster.heal()
    cluster.isolate(4, 5)
    cluster.tick(5)
    assert [cluster.members[r].payloads for r in (1, 2, 3, 4)] == [[b"x"], [b"x"], [b"x"], []]


def test_5_3_the_leader_retries_indefinitely_until_all_followers_store_all_entries() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    cluster.isolate(3)
    for payload in (b"a", b"b", b"c"):
        cluster.propose(1, payload)
        cluster.tick(30, only=[1, 2])
    cluster.heal()
    cluster.tick(10)
    assert cluster.members[3].payloads == [b"a", b"b", b"c"]


def test_5_3_committing_commits_all_preceding_entries_too() -> None:
    storage = MemoryStorage(voters(1, 2, 3), entries(1, 1, 2), HardState(2))
    cluster = Cluster.of(storage, *(MemoryStorage(voters(1, 2, 3), (), HardState(2)) for _ in range(2)))
    cluster.elect(1)
    assert cluster[1].commit == 4
    cluster.tick()
    assert [entry.index for entry in cluster.members[3].machine] == [1, 2, 3, 4]


def test_5_3_a_follower_that_lacks_the_preceding_entry_refuses_the_new_ones() -> None:
    follower = member(entries(1, 1))
    for previous in ((5, 1), (2, 3)):
        (answer,) = answers(follower, append(previous, data(previous[0] + 1, 3)))
        assert isinstance(answer, AppendResponse)
        assert not answer.success
    assert follower.log == [(1, 1), (2, 1)]


@pytest.mark.parametrize(
    "terms",
    [
        (1, 1, 1, 4, 4, 5, 5, 6, 6),  # a: lacks an entry
        (1, 1, 1, 4),  # b: lacks many
        (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),  # c: has one too many
        (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),  # d: of a later term
        (1, 1, 1, 4, 4, 4, 4),  # e: both
        (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),  # f: both, over several terms
    ],
)
def test_5_3_figure_7_every_followers_log_comes_to_equal_the_leaders(terms: tuple[int, ...]) -> None:
    configuration = voters(1, 2, 3)
    cluster = Cluster.of(
        MemoryStorage(configuration, entries(1, 1, 1, 4, 4, 5, 5, 6, 6, 6), HardState(7)),
        MemoryStorage(configuration, entries(*terms), HardState(7)),
        MemoryStorage(configuration, (), HardState(7)),
    )
    cluster[1].campaign()
    cluster.settle()
    cluster.tick(3)
    assert cluster[1].is_leader
    assert cluster[1].term == 8
    assert cluster.members[2].storage.log == cluster.members[1].storage.log


def test_5_3_a_leader_never_overwrites_or_deletes_entries_in_its_own_log() -> None:
    storage = MemoryStorage(voters(1, 2, 3), entries(1, 2, 2), HardState(2))
    cluster = Cluster.of(storage, *(MemoryStorage(voters(1, 2, 3), entries(1), HardState(2)) for _ in range(2)))
    before = storage.log.copy()
    cluster.elect(1)
    cluster.tick(50)
    assert storage.log[:3] == before


# --- §5.4, safety


@pytest.mark.parametrize(
    ("candidate", "granted"),
    [
        ((9, 2), False),  # "the log with the later term is more up-to-date", however long the other
        ((3, 4), True),
        ((1, 4), True),
        ((4, 3), True),  # same last term: "whichever log is longer"
        ((3, 3), True),
        ((2, 3), False),
        ((0, 0), False),
    ],
)
def test_5_4_1_a_voter_denies_its_vote_if_its_own_log_is_more_up_to_date(
    candidate: tuple[int, int], granted: bool
) -> None:
    for pre in (True, False):
        voter = member(entries(1, 3, 3), HardState(4))
        (answer,) = answers(voter, vote_request(1, 2, 5, candidate, pre=pre))
        assert isinstance(answer, VoteResponse)
        assert answer.granted == granted


def test_5_4_1_a_candidate_without_all_committed_entries_cannot_win() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(1, b"committed")
    cluster.settle()
    cluster.heal()
    cluster.isolate(1)
    for replica in (2, 3):
        cluster[replica].leader_lost()
    cluster[3].campaign()
    cluster.settle()
    assert not cluster[3].is_leader
    cluster.tick(60, only=[2, 3])
    assert cluster[2].is_leader
    assert cluster.members[2].payloads == [b"committed"]


def test_5_4_2_only_entries_of_the_current_term_are_committed_by_counting_replicas() -> None:
    """More closely in ``test_known_bugs`` (7) and ``scenarios/figure_8.txt``."""
    cluster = Cluster.of(*(MemoryStorage(voters(1, 2, 3), entries(1, 2), HardState(2)) for _ in range(3)))
    cluster[1].campaign()
    cluster.settle(lambda message: not isinstance(message, AppendRequest))
    assert cluster[1].is_leader
    for sender in (2, 3):
        cluster[1].step(AppendResponse(sender, 1, 3, True, 2, 0, 0))
    assert cluster[1].commit == 0


# --- §5.5, follower and candidate crashes


def test_5_5_raft_requests_are_idempotent() -> None:
    follower = member()
    message = append((0, 0), *entries(1, 1), commit=1)
    once = answers(follower, message)
    state = follower.raft.status()
    assert answers(follower, message) == once
    assert follower.raft.status() == state


def test_5_5_a_server_that_crashed_before_it_responded_receives_the_same_again() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    cluster.propose(1, b"x")
    cluster.settle(lambda message: message.sender != 2)
    cluster.crash(2)
    cluster.tick(5)
    assert cluster.members[2].payloads == [b"x"]


# --- §6, cluster membership changes


def test_6_a_server_always_uses_the_latest_configuration_in_its_log_committed_or_not() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    cluster.isolate(1)
    cluster[1].propose_configuration(change(1, 2))
    assert cluster[1].configuration == voters(1, 2)
    assert cluster[1].commit == 1


@pytest.mark.parametrize("silent", [(2, 3), (4, 5)])
def test_6_agreement_requires_separate_majorities_from_old_and_new(silent: tuple[int, int]) -> None:
    """From {1 2 3} to {3 4 5}: without 2 and 3 there is most of the new and too little of the old, and the
    reverse."""
    cluster = Cluster(voters(1, 2, 3), spare=(4, 5))
    cluster.elect(1)
    cluster[1].propose_configuration(change(3, 4, 5))
    assert cluster[1].configuration.joint
    cluster.isolate(*silent)
    cluster.settle()
    cluster.tick(4)
    assert cluster[1].commit == 1
    cluster.heal()
    cluster.tick(8)
    assert all(not cluster[replica].configuration.joint for replica in (3, 4, 5))


def test_6_new_servers_join_as_non_voting_members_first() -> None:
    cluster = Cluster(voters(1, 2, 3), spare=(4,))
    cluster.elect(1)
    cluster.propose(1, b"a")
    cluster[1].read_index(0)
    cluster.settle()
    cluster[1].propose_configuration(change(1, 2, 3, learners=[4]))
    cluster.settle()
    assert cluster[4].role is Role.LEARNER
    assert cluster.members[4].payloads == [b"a"]


def test_6_a_leader_that_is_not_in_the_new_configuration_steps_down_when_it_is_committed() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    cluster[1].propose_configuration(change(2, 3))
    assert cluster[1].is_leader, "it manages a cluster that does not include itself"
    cluster.settle()
    assert not cluster[1].is_leader


def test_6_removed_servers_do_not_disrupt_the_cluster() -> None:
    """The paper: disregard vote requests while a leader is believed to exist. Here, pre-vote besides."""
    cluster = Cluster(voters(1, 2, 3, 4))
    cluster.elect(1)
    cluster.isolate(4)
    cluster[1].propose_configuration(change(1, 2, 3))
    cluster.settle()
    cluster.heal()
    term = cluster[1].term
    cluster.tick(100)
    assert cluster.leaders() == [1]
    assert cluster[1].term == term


# --- §7, log compaction


def test_7_the_leader_sends_a_snapshot_when_it_has_discarded_what_the_follower_needs() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(1, b"a", b"b", b"c")
    cluster.settle()
    cluster.members[1].storage.compact(4, voters(1, 2, 3))
    cluster.heal()
    sent: list[Message] = []
    for _ in range(6):
        cluster[1].tick()
        cluster.settle(seen=sent)
    assert [m.checkpoint.index for m in sent if isinstance(m, InstallCheckpoint)] == [4]
    assert cluster[3].applied == cluster[1].applied


def test_7_a_snapshot_includes_the_latest_configuration_as_of_its_last_index() -> None:
    cluster = Cluster(voters(1, 2, 3), spare=(4,))
    cluster.elect(1)
    cluster[1].propose_configuration(change(1, 2, 3, learners=[4]))
    cluster.settle()
    assert cluster[1].configuration_at(cluster[1].applied) == voters(1, 2, 3, learners=[4])


def test_7_a_snapshot_of_a_prefix_leaves_the_entries_that_follow_it() -> None:
    follower = member(entries(1, 1, 1, 1))
    follower.raft.step(InstallCheckpoint(1, 2, 1, follower_checkpoint(2)))
    follower.drain()
    assert follower.log == [(1, 1), (2, 1), (3, 1), (4, 1)]


def follower_checkpoint(index: int) -> Checkpoint:
    return Checkpoint(index, 1, voters(1, 2, 3))


# --- §8, client interaction


def test_8_a_leader_commits_a_blank_no_op_at_the_start_of_its_term() -> None:
    cluster = Cluster(voters(1, 2, 3))
    for term, replica in enumerate((1, 3, 2), 1):
        cluster.elect(replica)
        assert cluster[replica].commit == cluster[replica].last_index == term
        assert cluster.members[replica].machine[-1].kind is EntryKind.NOOP
        assert cluster[replica].can_serve


def test_8_a_leader_serves_only_when_that_entry_is_applied() -> None:
    cluster = Cluster(voters(1))
    cluster[1].campaign()
    lone = cluster.members[1]
    lone.take()
    lone.persist()
    assert lone.raft.is_leader
    assert not lone.raft.can_serve
    lone.take()
    lone.persist()
    assert lone.raft.commit == 1
    assert not lone.raft.can_serve, "committed, not applied"
    lone.take()
    assert lone.raft.can_serve


def test_8_a_leader_exchanges_heartbeats_with_a_majority_before_it_answers_a_read() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    cluster.isolate(1)
    cluster.elect(2)
    assert cluster.leaders() == [1, 2], "the old leader does not know yet"
    cluster[1].read_index(7)
    cluster.settle()
    assert cluster.members[1].reads == []
    cluster[2].read_index(8)
    cluster.settle()
    assert cluster.members[2].reads == [ReadState(8, 2)]
    cluster.tick(25)
    assert cluster.members[1].dropped == [7]
