"""One test, at least, for each bug that a real Raft had (RAFT.md §5, by number), as far as the core can have it.

Elsewhere, because the core never sees what they are about:

* 23, a retried proposal applied twice: producer sessions, in the state machine;
* 24, a timeout reported as a failure: the client and the server. (The core's part, that every refusal is definite,
  is tested here.)
* 25, the applied index not atomic with the state: checkpoints in storage and machine;
* 27, checkpoint chunks of two leaders mixed: the host, which steps a checkpoint only when it is complete. (The
  core's part, that a deposed leader's checkpoint is refused, is tested here.)
"""

from __future__ import annotations

from typing import Any

import pytest
from raft.raft_kit import (
    Cluster,
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
    ChangePending,
    Checkpoint,
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Heartbeat,
    HeartbeatResponse,
    InstallCheckpoint,
    InvariantViolated,
    LearnerBehind,
    Message,
    NotLeader,
    NotVoter,
    Overloaded,
    ProgressState,
    Raft,
    RaftConfig,
    ReadIndexRequest,
    ReadIndexResponse,
    ReadState,
    Role,
    TermUncommitted,
    TimeoutNow,
    Transferring,
    VoteRequest,
    VoteResponse,
    encode_configuration,
)
from quorumlog.raft.progress import Progress


def leader_of_three(**options: Any) -> Cluster:
    """1 leads 2 and 3; its no-op (index 1) is committed everywhere."""
    cluster = Cluster(voters(1, 2, 3), **options)
    cluster.elect(1)
    return cluster


def acknowledge(cluster: Cluster, sender: int, index: int) -> None:
    """A hand-made success of ``sender`` to leader 1."""
    cluster[1].step(AppendResponse(sender, 1, cluster[1].term, True, index, 0, 0))


# --- 1 to 6: what must be durable before what


def test_01_a_vote_leaves_only_when_it_is_on_disk() -> None:
    voter = member()
    voter.raft.step(vote_request(1, 2, 5, (0, 0)))
    ready, left = voter.take()
    assert left == ()
    assert ready.hard_state == HardState(5, 1, 0)
    assert [type(m) for m in ready.persisted_messages] == [VoteResponse]

    voter.crash()  # before the write: the vote never left, so another may have it
    voter.raft.step(vote_request(3, 2, 5, (0, 0)))
    (answer,) = voter.drain()
    assert answer == VoteResponse(2, 3, 5, True, False)

    voter.crash()  # after the write: it is spent
    voter.raft.step(vote_request(1, 2, 5, (9, 4)))
    (answer,) = voter.drain()
    assert answer == VoteResponse(2, 1, 5, False, False)


def test_01_a_candidate_neither_asks_nor_counts_itself_before_its_vote_is_on_disk() -> None:
    candidate = member(id=1, configuration=voters(1))
    candidate.raft.campaign()
    ready, _ = candidate.take()
    assert ready.hard_state == HardState(1, 1, 0)
    assert candidate.role() is Role.CANDIDATE, "its own vote is all it needs, and does not count yet"
    candidate.persist()
    assert candidate.role() is Role.LEADER

    candidate = member(id=1)
    candidate.raft.campaign()
    candidate.drain()
    candidate.raft.step(VoteResponse(2, 1, 1, True, True))
    ready, left = candidate.take()
    assert left == ()
    assert [m.to for m in ready.persisted_messages if isinstance(m, VoteRequest)] == [2, 3]


def test_02_an_acknowledgement_waits_for_the_disk_even_when_the_append_was_empty() -> None:
    follower = member()
    follower.raft.step(append((0, 0), *entries(1, 1)))
    first, left = follower.take()
    assert left == ()
    follower.raft.step(append((2, 1)))
    second, left = follower.take()
    assert left == (), "an empty append acknowledges what came before it"
    assert not second.entries
    assert follower.persist() == (AppendResponse(2, 1, 1, True, 2, 0, 0),) == first.persisted_messages
    assert follower.persist() == (AppendResponse(2, 1, 1, True, 2, 0, 0),)


def test_02_a_heartbeat_response_waits_only_for_a_term_that_is_not_on_disk() -> None:
    follower = member(hard_state=HardState(3))
    follower.raft.step(Heartbeat(1, 2, 4, 0, 7, False))
    _, left = follower.take()
    assert left == ()
    assert follower.persist() == (HeartbeatResponse(2, 1, 4, 7),)
    follower.raft.step(append((0, 0), data(1, 4)))
    follower.take()
    follower.raft.step(Heartbeat(1, 2, 4, 0, 8, False))
    _, left = follower.take()
    assert left == (HeartbeatResponse(2, 1, 4, 8),), "reads do not queue behind the disk"


def test_03_the_leaders_own_copy_counts_only_when_it_is_on_its_disk() -> None:
    cluster = leader_of_three()
    leader = cluster.members[1]
    index = leader.raft.propose(EntryKind.DATA, b"x")
    leader.take()
    acknowledge(cluster, 2, index)
    assert leader.raft.commit == index - 1, "one follower and an unwritten copy are no majority"
    leader.persist()
    assert leader.raft.commit == index


def test_03_a_write_that_is_done_vouches_only_for_its_own_entries() -> None:
    cluster = leader_of_three()
    leader = cluster.members[1]
    first = leader.raft.propose(EntryKind.DATA, b"a")
    leader.take()
    second = leader.raft.propose(EntryKind.DATA, b"b")
    leader.take()
    acknowledge(cluster, 2, second)
    leader.persist()
    assert leader.raft.commit == first
    leader.persist()
    assert leader.raft.commit == second


def test_03_a_new_leader_counts_only_what_its_disk_has_of_what_it_inherits() -> None:
    candidate = member()
    candidate.raft.step(append((0, 0), *entries(1, 1)))
    candidate.take()  # being written when it is elected for term 2
    candidate.raft.leader_lost()
    candidate.raft.campaign()
    candidate.raft.step(VoteResponse(3, 2, 2, True, True))
    candidate.take()
    candidate.raft.step(VoteResponse(1, 2, 2, True, False))
    candidate.raft.step(VoteResponse(3, 2, 2, True, False))
    assert candidate.raft.is_leader
    own = candidate.raft.progress(2)
    assert own is not None
    assert own.match == 0


def test_03_two_followers_commit_without_the_leaders_disk() -> None:
    cluster = leader_of_three()
    leader = cluster.members[1]
    index = leader.raft.propose(EntryKind.DATA, b"x")
    leader.take()
    acknowledge(cluster, 2, index)
    acknowledge(cluster, 3, index)
    assert leader.raft.commit == index
    ready, _ = leader.take()
    assert [entry.index for entry in ready.committed_entries] == [index], "applied before it is durable here"


def test_04_a_write_in_flight_vouches_for_nothing_that_a_truncation_replaced() -> None:
    follower = member()
    follower.raft.step(append((0, 0), *entries(1, 1, 1)))
    follower.take()  # write 1: 1..3 of term 1
    follower.raft.step(append((1, 1), data(2, 2), data(3, 2), sender=3))
    follower.take()  # write 2: 2..3 of term 2
    follower.persist()
    assert follower.raft.status().durable == 1
    follower.persist()
    assert follower.raft.status().durable == 3


def test_05_a_late_completion_does_not_vouch_for_an_entry_that_came_back() -> None:
    """Entry 1 of term 1 is written, replaced by term 2's, and brought back by term 3's leader: the first completion
    finds the very entry it wrote, at the place it wrote it, and must still not vouch for it: two writes are to
    come."""
    follower = member()
    follower.raft.step(append((0, 0), data(1, 1)))
    follower.take()
    follower.raft.step(append((0, 0), data(1, 2), sender=3))
    follower.take()
    follower.raft.step(append((0, 0), data(1, 1), term=3))
    follower.take()
    assert follower.raft._log.term(1) == 1
    follower.persist()
    assert follower.raft.status().durable == 0
    follower.persist()
    assert follower.raft.status().durable == 0
    follower.persist()
    assert follower.raft.status().durable == 1


def test_05_a_checkpoint_outdates_every_write_in_flight() -> None:
    follower = member()
    follower.raft.step(append((0, 0), *entries(1, 1, 1)))
    follower.take()
    follower.raft.step(InstallCheckpoint(1, 2, 1, Checkpoint(9, 1, voters(1, 2, 3))))
    follower.take()
    follower.persist()
    assert follower.raft.status().durable == 0
    follower.persist()
    assert follower.raft.status().durable == 9


def test_05_a_write_from_before_a_checkpoint_vouches_for_nothing_behind_it() -> None:
    follower = member()
    follower.raft.step(append((0, 0), *entries(*[1] * 12)))
    follower.take()
    follower.raft.step(InstallCheckpoint(1, 2, 2, Checkpoint(9, 2, voters(1, 2, 3))))
    follower.take()
    follower.raft.step(append((9, 2), *entries(2, 2, 2, start=10)))
    follower.take()
    follower.persist()
    follower.persist()
    assert follower.raft.status().durable == 9, "10 to 12 were written once, as other entries"
    follower.persist()
    assert follower.raft.status().durable == 12


def test_04_an_acknowledgement_not_yet_sent_is_withdrawn_with_its_entries() -> None:
    follower = member()
    follower.raft.step(append((0, 0), *entries(1, 1, 1)))
    follower.raft.step(append((1, 1), data(2, 2), sender=3))
    ready, _ = follower.take()
    assert [entry.term for entry in ready.entries] == [1, 2]
    assert ready.persisted_messages == (AppendResponse(2, 3, 2, True, 2, 0, 0),), "entry 3 never reached a disk"


def test_06_a_term_is_written_no_later_than_its_entries() -> None:
    follower = member(hard_state=HardState(1))
    follower.raft.step(append((0, 0), data(1, 4), term=4))
    ready, _ = follower.take()
    assert ready.hard_state is not None
    assert ready.hard_state.term == 4
    assert ready.entries
    with pytest.raises(InvariantViolated, match="never recorded"):
        member(entries(1, 4), HardState(3))


def test_06_the_commit_index_on_disk_never_exceeds_what_earlier_writes_hold() -> None:
    """Power fails between the hard state and the entries of one write: recovery must not see lost entries."""
    follower = member()
    follower.raft.step(append((0, 0), *entries(1, 1), commit=2))
    ready, _ = follower.take()
    assert ready.hard_state == HardState(1, None, 0)
    follower.raft.step(append((2, 1), data(3, 1), commit=3))
    ready, _ = follower.take()
    assert ready.hard_state == HardState(1, None, 2)


def test_a_log_that_ends_below_its_commit_index_is_not_clamped() -> None:
    with pytest.raises(InvariantViolated, match="committed entries were lost"):
        member(entries(1, 1), HardState(1, None, 3))


# --- 7 to 13: replication


def test_07_an_entry_of_an_older_term_is_not_committed_by_counting() -> None:
    """Figure 8: entry 2 of term 2 reaches a majority under the leader of term 4, and may still be overwritten."""
    cluster = Cluster.of(
        MemoryStorage(voters(1, 2, 3), entries(1, 2), HardState(3)),
        MemoryStorage(voters(1, 2, 3), entries(1), HardState(3)),
        MemoryStorage(voters(1, 2, 3), entries(1), HardState(3)),
    )
    cluster[1].campaign()
    cluster.settle(lambda message: not isinstance(message, AppendRequest))
    leader = cluster[1]
    assert leader.term == 4
    acknowledge(cluster, 2, 2)
    acknowledge(cluster, 3, 2)
    assert leader.commit == 0
    acknowledge(cluster, 2, 3)
    assert leader.commit == 3, "with an entry of its own term everything before it is committed too"


def test_08_an_append_that_does_not_conflict_leaves_the_log_unchanged() -> None:
    follower = member(entries(1, 1, 2, 2, 3))
    log = follower.storage.log.copy()
    for first in range(5):
        for last in range(first, 6):
            previous = (first, log[first - 1].term if first else 0)
            follower.raft.step(append(previous, *log[first:last], term=3))
            (answer,) = follower.drain()
            assert answer == AppendResponse(2, 1, 3, True, last, 0, 0)
            assert follower.storage.log == log
            assert follower.raft.last_index == 5


def test_08_a_conflict_truncates_from_there() -> None:
    follower = member(entries(1, 1, 2, 2, 2))
    follower.raft.step(append((2, 1), data(3, 2), data(4, 4)))
    follower.drain()
    assert follower.log == [(1, 1), (2, 1), (3, 2), (4, 4)]


@pytest.mark.parametrize("previous", [(1, 1), (2, 9)])
def test_09_a_conflict_at_or_below_the_commit_index_stops_the_replica(previous: tuple[int, int]) -> None:
    follower = member(entries(1, 1, 1), HardState(1, None, 2))
    with pytest.raises(InvariantViolated, match="contradicts"):
        follower.raft.step(append(previous, data(previous[0] + 1, 9)))


def test_10_a_follower_commits_no_further_than_the_message_verified() -> None:
    """Entries 2 and 3 are an earlier leader's; the new one's commit index 3 means *its* entries there."""
    follower = member(entries(1, 2, 2))
    follower.raft.step(append((1, 1), term=4, commit=3))
    assert follower.raft.commit == 1
    (answer,) = follower.drain()
    assert answer == AppendResponse(2, 1, 4, True, 1, 0, 0), "and it acknowledges no further either"


def test_10_a_heartbeat_carries_no_more_commit_than_the_follower_surely_holds() -> None:
    cluster = leader_of_three()
    cluster.isolate(3)
    cluster.propose(1, b"a", b"b")
    cluster.settle()
    cluster.wire.clear()
    for _ in range(2):
        cluster[1].tick()
    cluster.drain()
    assert {h.to: h.commit for h in cluster.pick(Heartbeat)} == {2: 3, 3: 1}


def test_11_acknowledgements_of_an_earlier_term_count_for_nothing() -> None:
    cluster = leader_of_three()
    leader = cluster[1]
    old = leader.term
    cluster.elect(2)
    cluster.elect(1)
    cluster.isolate(1)
    index = cluster.propose(1, b"x")
    cluster.settle()
    for sender in (2, 3):
        leader.step(AppendResponse(sender, 1, old, True, index, 0, 0))
    assert leader.commit == index - 1


def test_11_an_acknowledgement_beyond_the_last_index_is_not_believed() -> None:
    """Believed, an acknowledgement of index 999 commits whatever comes to stand there."""
    cluster = leader_of_three()
    acknowledge(cluster, 2, 999)
    acknowledge(cluster, 3, 999)
    status = cluster[1].progress(2)
    assert status is not None
    assert status.match == 1
    cluster.isolate(1)
    index = cluster.propose(1, b"x")
    cluster.settle()
    assert cluster[1].commit == index - 1


def test_11_a_stranger_acknowledges_nothing() -> None:
    cluster = leader_of_three()
    cluster.isolate(1)
    index = cluster.propose(1, b"x")
    cluster.settle()
    for stranger in (1, 7, 8):
        acknowledge(cluster, stranger, index)
    assert cluster[1].commit == index - 1


def test_12_nothing_regresses_when_everything_arrives_again_and_backwards() -> None:
    cluster = leader_of_three()
    seen: list[Message] = []
    for payload in (b"a", b"b", b"c"):
        cluster.propose(1, payload)
        cluster.settle(seen=seen)
    before = {r: (cluster[r].term, cluster[r].commit, cluster[r].applied) for r in (1, 2, 3)}
    progress = [cluster[1].progress(r) for r in (2, 3)]
    for message in reversed(seen):
        cluster[message.to].step(message)
    assert {r: (cluster[r].term, cluster[r].commit, cluster[r].applied) for r in (1, 2, 3)} == before
    assert [cluster[1].progress(r) for r in (2, 3)] == progress


def test_12_match_stays_below_next_whatever_is_refused() -> None:
    cluster = leader_of_three()
    cluster.propose(1, b"a", b"b", b"c")
    cluster.settle()
    for index in (0, 1, 4, 3, 9):
        cluster[1].step(AppendResponse(2, 1, cluster[1].term, False, index, 0, 0))
        status = cluster[1].progress(2)
        assert status is not None
        assert status.match == 4
        assert status.next > status.match
        if index <= 4:
            assert status.state is ProgressState.REPLICATE, "what it holds it cannot lack: an old refusal"


def test_13_a_refusal_that_later_ones_have_overtaken_does_not_undo_them() -> None:
    """Acted on, it would send probing back to where it was, and doubled messages could keep it there."""
    progress = Progress(2, next_index=10, recent_active=True)
    progress.sent(9, 0, tick=0)
    assert progress.refused(9, agree_index=4)
    assert progress.next == 5
    assert not progress.refused(9, agree_index=8)
    assert not progress.refused(7, agree_index=7)
    assert progress.next == 5
    assert progress.acknowledged(4, tick=0)
    assert (progress.match, progress.next) == (4, 5)


@pytest.mark.parametrize(
    ("ours", "theirs", "rounds"),
    [
        (entries(1, 4, 4, 4, 4, 4), entries(1, *[2] * 40, *[3] * 40), 4),  # a long tail, two foreign terms
        (entries(*range(1, 30)), entries(1), 2),  # short
        (entries(1, *[5] * 40), entries(1, *[2] * 40), 3),
        (entries(*[2] * 50), entries(*[1] * 50), 3),  # nothing in common
        (entries(1, 3, 3, 5, 5, 7, 7), entries(1, 2, 2, 4, 4, 6, 6), 8),  # a new term at every step
    ],
)
def test_13_divergent_tails_converge_in_few_rounds(
    ours: tuple[Entry, ...], theirs: tuple[Entry, ...], rounds: int
) -> None:
    configuration = voters(1, 2, 3)
    cluster = Cluster.of(
        MemoryStorage(configuration, ours, HardState(60)),
        MemoryStorage(configuration, theirs, HardState(60)),
        MemoryStorage(configuration, (), HardState(60)),
    )
    refusals = 0

    def count(message: Message) -> bool:
        nonlocal refusals
        refusals += isinstance(message, AppendResponse) and message.sender == 2 and not message.success
        return not isinstance(message, VoteRequest) or message.to == 3

    cluster[1].campaign()
    cluster.settle(count)
    assert cluster[1].is_leader
    assert cluster.members[2].storage.log == cluster.members[1].storage.log
    assert 0 < refusals <= rounds


def test_13_a_lost_append_is_found_out_by_the_next_heartbeat() -> None:
    cluster = leader_of_three()
    cluster.propose(1, b"a")
    cluster.settle(lambda message: not isinstance(message, AppendRequest) or message.to != 2)
    assert cluster[2].last_index == 1
    cluster.tick(5)
    assert cluster[2].applied == 2


# --- 14 to 18: membership


def test_14_no_change_before_an_entry_of_the_term_is_committed() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster[1].campaign()
    cluster.settle(lambda message: not isinstance(message, AppendRequest))
    with pytest.raises(TermUncommitted):
        cluster[1].propose_configuration(change(1, 2))
    cluster.tick(5)
    cluster[1].propose_configuration(change(1, 2))


def test_15_no_second_change_while_one_is_uncommitted_or_joint() -> None:
    cluster = leader_of_three()
    cluster[1].propose_configuration(change(1, 2))
    with pytest.raises(ChangePending):
        cluster[1].propose_configuration(change(1, 2, 3))
    cluster.settle()
    cluster[1].propose_configuration(change(3, 4))  # joint
    with pytest.raises(ChangePending):
        cluster[1].propose_configuration(change(1, 2))


def test_16_a_configuration_goes_with_the_entry_that_held_it() -> None:
    cluster = leader_of_three()
    cluster.isolate(1)
    cluster[1].propose_configuration(change(1, 2, 3, learners=[4]))
    cluster.settle()
    assert cluster[1].configuration.learners == {4}
    cluster[2].leader_lost()
    cluster[3].leader_lost()
    cluster[2].campaign()
    cluster.settle()
    cluster.heal()
    cluster.tick(4)
    assert cluster[1].leader == 2
    assert cluster[1].configuration == voters(1, 2, 3)


def test_16_a_learner_by_truncated_entry_is_a_voter_again() -> None:
    configuration = voters(1, 3, learners=[2])
    entry = holding(data(2, 1), configuration)
    follower = member((data(1, 1), entry))
    assert follower.role() is Role.LEARNER
    follower.raft.step(append((1, 1), data(2, 2), sender=3))
    assert follower.role() is Role.FOLLOWER
    assert follower.raft.configuration == voters(1, 2, 3)


def holding(entry: Entry, configuration: Configuration) -> Entry:
    """The entry, as one that holds a configuration."""
    return entry._replace(kind=EntryKind.CONFIGURATION, data=encode_configuration(configuration))


def test_17_a_learner_is_not_promoted_while_it_lags() -> None:
    cluster = Cluster(voters(1, 2, 3, learners=[4]), max_append_bytes=10, max_in_flight_messages=1)
    cluster.elect(1)
    cluster.isolate(4)
    cluster.propose(1, *[b"0123456789"] * 5)
    cluster.settle()
    with pytest.raises(LearnerBehind):
        cluster[1].propose_configuration(change(1, 2, 3, 4))
    cluster.heal()
    cluster.tick(5)
    cluster[1].propose_configuration(change(1, 2, 3, 4))
    cluster.settle()
    assert cluster[4].role is Role.FOLLOWER


def test_17_a_learners_copy_and_vote_do_not_count() -> None:
    cluster = Cluster(voters(1, 2, 3, learners=[4, 5]))
    cluster.elect(1)
    cluster.isolate(2, 3)
    index = cluster.propose(1, b"x")
    cluster.settle()
    assert cluster[1].commit == index - 1
    assert cluster[4].last_index == cluster[5].last_index == index

    candidate = member(id=1, configuration=voters(1, 2, 3, learners=[4, 5]))
    candidate.raft.campaign()
    for learner in (4, 5):
        candidate.raft.step(VoteResponse(learner, 1, 1, True, True))
    assert candidate.role() is Role.PRE_CANDIDATE


def test_17_a_learner_grants_votes_but_never_campaigns() -> None:
    """The candidate's configuration may be newer: there, this learner is a voter, and may be needed."""
    learner = member(id=4, configuration=voters(1, 2, 3, learners=[4]))
    for pre in (True, False):
        learner.raft.step(vote_request(1, 4, 1, (0, 0), pre=pre))
        (answer,) = learner.drain()
        assert answer == VoteResponse(4, 1, 1, True, pre)
    learner.raft.campaign()
    for _ in range(100):
        learner.raft.tick()
    learner.raft.step(TimeoutNow(1, 4, 1))
    assert learner.role() is Role.LEARNER
    assert learner.drain() == []


def test_18_a_removed_leader_does_not_count_itself_and_steps_down_once_it_is_committed() -> None:
    cluster = leader_of_three()
    index = cluster[1].propose_configuration(change(2, 3))
    cluster.drain()  # durable on 1, which is no voter any more
    acknowledge(cluster, 2, index)
    assert cluster[1].commit == index - 1, "2 alone is no majority of {2, 3}"
    assert cluster[1].is_leader
    acknowledge(cluster, 3, index)
    assert cluster[1].commit == index
    assert not cluster[1].is_leader
    cluster.settle()
    cluster.tick(50)
    assert cluster.leader() in (2, 3)
    assert cluster[1].role is Role.FOLLOWER


def test_18_a_removed_replica_leads_once_more_if_only_it_can() -> None:
    """2 appends its own removal, and crashes. 1 cannot win, because 2's log is longer; so 2 must (§4.2.2)."""
    cluster = Cluster(voters(1, 2))
    cluster.elect(2)
    cluster.isolate(2)
    cluster[2].propose_configuration(change(1))
    cluster.settle()
    cluster.crash(2)
    cluster.heal()
    cluster.tick(80)
    assert cluster.leaders() == [1]
    assert cluster[1].configuration == voters(1)
    assert cluster[1].can_serve


# --- 19 to 22: elections and reads


def test_19_a_replica_that_was_cut_off_does_not_disturb_a_healthy_leader() -> None:
    cluster = leader_of_three()
    term = cluster[1].term
    cluster.isolate(3)
    cluster.tick(100)
    assert cluster[3].role is Role.PRE_CANDIDATE
    cluster.heal()
    cluster.tick(20)
    assert (cluster.leader(), cluster[1].term) == (1, term)
    assert cluster[3].leader == 1


def test_19_a_vote_request_of_a_higher_term_is_refused_while_the_leader_lives() -> None:
    cluster = leader_of_three()
    for pre in (True, False):
        for voter in (1, 2):
            cluster[voter].step(vote_request(3, voter, 9, (50, 8), pre=pre))
            cluster.drain()
            (answer,) = cluster.pick(VoteResponse)
            assert (answer.granted, answer.term, cluster[voter].term) == (False, 1, 1)
    cluster[2].leader_lost()
    cluster[2].step(vote_request(3, 2, 9, (50, 8), pre=True))
    cluster.drain()
    (answer,) = cluster.pick(VoteResponse)
    assert (answer.granted, answer.term, cluster[2].term) == (True, 9, 1)


def test_19_a_leader_of_a_lower_term_gets_an_answer_so_that_a_stuck_replica_recovers() -> None:
    """3's term ran ahead in an election that failed. It ignores the leader of term 1; the voters stand by that
    leader and ignore
    3. Only the leader can end this, and only if it is told."""
    cluster = leader_of_three()
    cluster.members[3].storage.hard_state = HardState(5, 3)
    cluster.crash(3)
    for stale in (
        Heartbeat(1, 3, 1, 0, 0, False),
        append((1, 1), to=3),
        InstallCheckpoint(1, 3, 1, Checkpoint(9, 1, voters(1, 2, 3))),
        vote_request(2, 3, 2, (9, 1)),
        vote_request(2, 3, 2, (9, 1), pre=True),
    ):
        cluster[3].step(stale)
        (answer,) = cluster.members[3].drain()
        assert answer.term == 5
    cluster.propose(1, b"x")
    cluster.tick(60)
    assert cluster[cluster.leader()].term > 5
    assert len({cluster[r].applied for r in (1, 2, 3)}) == 1


def test_19_a_leader_that_hears_no_quorum_steps_down() -> None:
    cluster = leader_of_three()
    cluster.isolate(1)
    cluster.tick(20, only=[1])
    assert cluster[1].role is Role.FOLLOWER
    with pytest.raises(NotLeader):
        cluster.propose(1, b"x")


def test_20_no_read_is_confirmed_before_the_terms_own_entry_is_committed() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(2)
    cluster.propose(2, b"x")
    cluster.settle()
    cluster[1].leader_lost()
    cluster[3].leader_lost()
    cluster[1].campaign()
    cluster.settle(lambda message: not isinstance(message, AppendRequest))
    assert cluster[1].is_leader
    cluster[1].read_index(7)
    cluster[1].step(ReadIndexRequest(3, 1, cluster[1].term, 70))
    cluster.tick(1)
    cluster.wire.clear()
    assert cluster.members[1].reads == []
    cluster.tick(4)
    assert [read.context for read in cluster.members[3].reads] == []
    assert cluster.members[1].reads == [ReadState(7, cluster[1].last_index)]


def test_21_a_late_response_confirms_no_newer_read() -> None:
    cluster = leader_of_three()
    leader = cluster[1]
    leader.read_index(1)
    cluster.drain()
    first = cluster.pick(Heartbeat)[0].read_context
    leader.read_index(2)
    leader.step(HeartbeatResponse(2, 1, leader.term, first))
    cluster.drain()
    assert [read.context for read in cluster.members[1].reads] == [1]
    second = cluster.pick(Heartbeat)[0].read_context
    assert second > first
    for context in (first, 0):
        leader.step(HeartbeatResponse(3, 1, leader.term, context))
        leader.step(HeartbeatResponse(2, 1, leader.term, context))
    cluster.drain()
    assert [read.context for read in cluster.members[1].reads] == [1]
    leader.step(HeartbeatResponse(3, 1, leader.term, second))
    cluster.drain()
    assert [read.context for read in cluster.members[1].reads] == [1, 2]


def test_21_a_restarted_follower_does_not_take_the_answer_to_its_former_self() -> None:
    cluster = leader_of_three()
    cluster[2].read_index(1)
    cluster.drain()
    (old,) = cluster.pick(ReadIndexRequest)
    cluster.crash(2)
    cluster.tick(2)  # it hears its leader again
    cluster[2].read_index(2)
    cluster.drain()
    (new,) = cluster.pick(ReadIndexRequest)
    assert new.context != old.context
    cluster[2].step(ReadIndexResponse(1, 2, cluster[1].term, old.context, 1))
    cluster.drain()
    assert cluster.members[2].reads == []


def test_21_one_followers_doubled_response_is_one() -> None:
    cluster = Cluster(voters(1, 2, 3, 4, 5))
    cluster.elect(1)
    cluster[1].read_index(1)
    cluster.drain()
    context = cluster.pick(Heartbeat)[0].read_context
    for _ in range(3):
        cluster[1].step(HeartbeatResponse(2, 1, cluster[1].term, context))
    cluster.drain()
    assert cluster.members[1].reads == []


def test_22_a_lease_counts_from_the_sending_of_the_heartbeat() -> None:
    cluster = Cluster(voters(1, 2, 3), lease_reads=True, election_ticks=20, heartbeat_ticks=2)
    for _ in range(20):  # until the promises that their former selves may have made have lapsed
        for replica in (1, 2, 3):
            cluster[replica].tick()
    leader = cluster.elect(1)
    for _ in range(2):
        leader.tick()
    cluster.drain()
    (sent,) = cluster.pick(Heartbeat, to=2)
    cluster.wire.clear()
    for _ in range(8):  # the answer takes its time; heartbeats in between go unanswered
        leader.tick()
    cluster.drain()
    cluster.wire.clear()
    leader.step(HeartbeatResponse(2, 1, leader.term, sent.read_context))
    leader.tick()
    leader.read_index(1)
    ready, _ = cluster.members[1].take()
    assert ready.read_states == (ReadState(1, 1),), "9 of 10 ticks since it was sent"
    leader.tick()
    leader.read_index(2)
    ready, _ = cluster.members[1].take()
    assert ready.read_states == (), "10 of 10, though only 2 since the answer"


def test_22_leases_are_off_by_default() -> None:
    cluster = leader_of_three()
    cluster.tick(4)
    cluster[1].read_index(1)
    ready, _ = cluster.members[1].take()
    assert ready.read_states == ()


def test_22_with_leases_nobody_breaks_the_promise_they_lean_on() -> None:
    cluster = Cluster(voters(1, 2, 3), lease_reads=True)
    cluster[1].campaign()
    assert cluster[1].role is Role.FOLLOWER, "just started: its former self may have promised"
    cluster.tick(40)
    leader, follower = cluster.leader(), 1 + cluster.leader() % 3
    cluster[follower].leader_lost()
    cluster[follower].campaign()
    cluster.settle()
    assert cluster.leaders() == [leader]
    cluster[follower].step(vote_request(9, follower, 50, (90, 49), pre=True))
    cluster.drain()
    assert [answer.granted for answer in cluster.pick(VoteResponse)] == [False]


def test_22_a_transfer_ends_every_lease_of_the_term() -> None:
    cluster = Cluster(voters(1, 2, 3), lease_reads=True)
    cluster.tick(60)
    leader = cluster.leader()
    target = 1 + leader % 3
    cluster[leader].transfer_leadership(target)
    cluster.settle(lambda message: not isinstance(message, TimeoutNow))
    cluster.tick(30)  # the transfer is given up, heartbeats are answered
    cluster[leader].read_index(1)
    ready, _ = cluster.members[leader].take()
    assert ready.read_states == (), "TimeoutNow may still arrive, and voters would obey it"


# --- 24, 26 to 31


def test_24_every_refusal_is_definite() -> None:
    cluster = leader_of_three(max_uncommitted_bytes=4)
    cluster.isolate(1)
    cluster.propose(1, b"1234")
    before = cluster[1].last_index
    with pytest.raises(Overloaded):
        cluster.propose(1, b"5")
    cluster[1].transfer_leadership(2)
    with pytest.raises(Transferring):
        cluster.propose(1, b"6")
    with pytest.raises(NotLeader) as refusal:
        cluster.propose(2, b"7")
    assert refusal.value.leader == 1
    assert (cluster[1].last_index, cluster[2].last_index) == (before, before - 1)


def test_26_an_old_checkpoint_does_not_truncate_a_newer_log() -> None:
    follower = member(entries(1, 1, 1, 1, 1), HardState(1, None, 1))
    checkpoint = Checkpoint(3, 1, voters(1, 2, 3))
    follower.raft.step(InstallCheckpoint(1, 2, 1, checkpoint))
    ready, _ = follower.take()
    assert ready.checkpoint is None
    assert (follower.raft.last_index, follower.raft.commit) == (5, 3)
    assert ready.persisted_messages == (AppendResponse(2, 1, 1, True, 3, 0, 0),)

    follower.raft.step(InstallCheckpoint(1, 2, 1, Checkpoint(2, 1, voters(1, 2, 3))))  # below the commit index
    follower.drain()
    assert (follower.raft.last_index, follower.raft.commit) == (5, 3)


def test_26_a_checkpoint_replaces_a_log_that_lacks_its_point() -> None:
    for log in (entries(1), entries(1, *[1] * 8)):
        follower = member(log, HardState(2))
        follower.raft.step(InstallCheckpoint(1, 2, 3, Checkpoint(7, 2, voters(1, 2))))
        ready, left = follower.take()
        assert ready.checkpoint == Checkpoint(7, 2, voters(1, 2))
        assert left == ()
        assert follower.persist() == (AppendResponse(2, 1, 3, True, 7, 0, 0),)
        status = follower.raft.status()
        assert (status.first_index, status.last_index, status.commit, status.applied) == (8, 7, 7, 7)
        assert follower.raft.configuration == voters(1, 2)


def test_27_a_checkpoint_of_a_deposed_leader_is_refused() -> None:
    follower = member(hard_state=HardState(4))
    follower.raft.step(InstallCheckpoint(1, 2, 3, Checkpoint(7, 2, voters(1, 2))))
    assert follower.drain() == [AppendResponse(2, 1, 4, False, 7, 0, 0)]
    assert follower.raft.last_index == 0


def test_28_one_voters_doubled_vote_is_one() -> None:
    candidate = member(id=1, configuration=voters(1, 2, 3, 4, 5))
    candidate.raft.campaign()
    for pre, term in ((True, 1), (False, 1)):
        for _ in range(3):
            candidate.raft.step(VoteResponse(2, 1, term, True, pre))
        candidate.drain()
        assert candidate.role() is (Role.PRE_CANDIDATE if pre else Role.CANDIDATE)
        candidate.raft.step(VoteResponse(3, 1, term, True, pre))
        candidate.drain()
    assert candidate.raft.is_leader


def test_28_an_answer_to_an_earlier_pre_vote_is_none_to_this_one() -> None:
    candidate = member(id=1)
    candidate.raft.campaign()
    candidate.drain()
    candidate.raft.step(append((0, 0), term=3, sender=2, to=1))
    candidate.raft.leader_lost()
    candidate.raft.campaign()
    for earlier in (1, 3):
        candidate.raft.step(VoteResponse(2, 1, earlier, True, True))
        assert candidate.role() is Role.PRE_CANDIDATE
    candidate.raft.step(VoteResponse(2, 1, 4, True, True))
    assert candidate.role() is Role.CANDIDATE


def test_29_a_transfer_with_writes_in_flight_loses_none() -> None:
    cluster = leader_of_three()
    cluster.propose(1, b"a", b"b")
    cluster[1].transfer_leadership(2)
    with pytest.raises(Transferring):
        cluster.propose(1, b"c")
    cluster.drain()
    assert not cluster.pick(TimeoutNow), "2 does not hold a and b yet"
    cluster.settle()
    assert cluster.leaders() == [2]
    cluster.tick()
    assert [cluster.members[r].payloads for r in (1, 2, 3)] == [[b"a", b"b"]] * 3


def test_29_a_transfer_that_fails_is_given_up_after_one_election_timeout() -> None:
    cluster = leader_of_three(election_ticks=10)
    cluster.isolate(2)
    cluster.propose(1, b"a")
    cluster[1].transfer_leadership(2)
    cluster.tick(9)
    with pytest.raises(Transferring):
        cluster.propose(1, b"b")
    cluster.tick(1)
    cluster.propose(1, b"b")
    with pytest.raises(NotVoter):
        cluster[1].transfer_leadership(9)


def test_30_uncommitted_bytes_are_bounded_and_one_entry_always_passes() -> None:
    cluster = leader_of_three(max_uncommitted_bytes=10)
    cluster.isolate(1)
    cluster.propose(1, b"larger than ten bytes")
    with pytest.raises(Overloaded):
        cluster.propose(1, b"x")
    cluster.heal()
    cluster.tick(4)
    assert cluster[1].status().uncommitted_bytes == 0
    cluster.propose(1, b"x")


def test_30_what_is_in_flight_is_bounded_by_count_and_by_bytes() -> None:
    for limits, most in (({"max_in_flight_messages": 3}, 3), ({"max_in_flight_bytes": 25}, 3)):
        cluster = leader_of_three(max_append_bytes=10, **limits)
        cluster.isolate(3)
        cluster.propose(1, *[b"0123456789"] * 20)
        cluster.drain()
        assert len(cluster.pick(AppendRequest, to=2)) == most
        status = cluster[1].progress(2)
        assert status is not None
        assert (status.in_flight_messages, status.next) == (most, 2 + most)
        cluster.tick(8)
        assert cluster[2].applied == 21, "and it flows on when answers come"


def test_30_what_is_applied_at_once_is_bounded() -> None:
    follower = member(entries(*[1] * 9), HardState(1), max_apply_bytes=2)
    follower.storage.log = [entry._replace(data=b"x") for entry in follower.storage.log]
    follower.raft.step(append((9, 1), commit=9))
    assert [len(follower.take()[0].committed_entries) for _ in range(5)] == [2, 2, 2, 2, 1]


def test_31_an_entry_larger_than_every_limit_is_sent_alone() -> None:
    cluster = leader_of_three(max_append_bytes=4, max_in_flight_bytes=4, max_apply_bytes=4)
    cluster.propose(1, b"a", b"much larger than four bytes", b"b")
    cluster.settle()
    cluster.tick()
    assert [cluster.members[r].payloads for r in (1, 2, 3)] == [[b"a", b"much larger than four bytes", b"b"]] * 3


def test_progress_of_nobody_is_none() -> None:
    cluster = leader_of_three()
    assert cluster[1].progress(9) is None
    assert cluster[2].progress(1) is None
    status = cluster[1].progress(3)
    assert status is not None
    assert status.state is ProgressState.REPLICATE


@pytest.mark.parametrize(
    "bad", [{"heartbeat_ticks": 10}, {"heartbeat_ticks": 0}, {"max_append_bytes": 0}, {"max_apply_bytes": 0}]
)
def test_settings_under_which_no_leader_could_hold_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        RaftConfig(1, **bad)


def test_the_core_is_the_same_for_the_same_inputs() -> None:
    def run() -> list[Message]:
        cluster = Cluster(voters(1, 2, 3), seed=4)
        seen: list[Message] = []
        cluster.settle()
        for _ in range(40):
            for replica in (1, 2, 3):
                cluster[replica].tick()
            cluster.settle(seen=seen)
        return seen

    assert run() == run()
    assert isinstance(Cluster(voters(1))[1], Raft)
