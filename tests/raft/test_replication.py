"""How the log reaches a follower: window, probe, checkpoint, entries that are on disk only."""

from __future__ import annotations

import random
from typing import Any

import pytest
from raft.raft_kit import Cluster, MemoryStorage, append, data, entries, member, voters

from quorumlog.raft import (
    AppendRequest,
    AppendResponse,
    Checkpoint,
    Configuration,
    EntryKind,
    FollowerStatus,
    HardState,
    Heartbeat,
    InstallCheckpoint,
    InvariantViolated,
    Message,
    ProgressState,
    Raft,
    RaftConfig,
)


def three(**options: Any) -> Cluster:
    cluster = Cluster(voters(1, 2, 3), **options)
    cluster.elect(1)
    return cluster


def seen_from_leader(cluster: Cluster, replica: int) -> FollowerStatus:
    status = cluster[1].progress(replica)
    assert status is not None
    return status


def test_everything_proposed_between_two_readys_leaves_in_one_append_per_follower() -> None:
    cluster = three()
    cluster.propose(1, b"a", b"b", b"c")
    ready, _ = cluster.members[1].take()
    first, second = (message for message in ready.messages if isinstance(message, AppendRequest))
    assert [entry.data for entry in first.entries] == [b"a", b"b", b"c"]
    assert first.entries is second.entries, "framed once, sent twice"


def test_appends_leave_before_the_leaders_own_write() -> None:
    cluster = three()
    cluster.propose(1, b"a")
    ready, left = cluster.members[1].take()
    assert ready.must_persist
    assert [message.to for message in left if isinstance(message, AppendRequest)] == [2, 3]


def test_a_message_carries_at_most_max_append_bytes() -> None:
    cluster = three(max_append_bytes=10)
    cluster.propose(1, *[b"1234"] * 5)
    cluster.drain()
    assert [len(message.entries) for message in cluster.pick(AppendRequest, to=2)] == [2, 2, 1]


def test_the_news_of_a_commit_reaches_a_follower_that_has_nothing_to_come() -> None:
    cluster = three()
    cluster.tick()
    cluster.propose(1, b"a")
    seen: list[Message] = []
    cluster.settle(seen=seen)
    assert [cluster[replica].applied for replica in (1, 2, 3)] == [2, 1, 1]
    assert len(seen) == 4, "an append to each and an answer from each; the news is no message of its own"
    cluster.tick()
    assert [cluster[replica].applied for replica in (1, 2, 3)] == [2, 2, 2]


def test_the_news_of_a_commit_rides_on_the_next_append() -> None:
    cluster = three()
    cluster.tick()
    cluster.propose(1, b"a")
    cluster.settle()
    cluster.propose(1, b"b")
    cluster.settle()
    assert [cluster[replica].applied for replica in (1, 2, 3)] == [3, 2, 2]


def test_an_unreachable_follower_is_left_alone_until_it_gives_a_sign_of_life() -> None:
    cluster = three()
    cluster.isolate(2)
    cluster.propose(1, b"a")
    cluster.settle()
    cluster[1].report_unreachable(2)
    cluster.propose(1, b"b")
    cluster.drain()
    assert cluster.pick(AppendRequest, to=2) == []
    assert seen_from_leader(cluster, 2).state is ProgressState.PROBE
    assert not cluster[1].has_ready(), "and the host does not spin"
    cluster.heal()
    cluster.tick(5)
    assert cluster[2].applied == cluster[1].applied == 3
    assert seen_from_leader(cluster, 2).state is ProgressState.REPLICATE


def test_reads_do_not_make_a_probe_repeat_itself() -> None:
    """Each read round brings a heartbeat response; a probe may hold a megabyte."""
    cluster = three()
    cluster.propose(1, b"a")
    cluster.settle(lambda message: not isinstance(message, AppendRequest) or message.to != 2)
    cluster[1].report_unreachable(2)
    sent: list[Message] = []
    for context in range(20):
        cluster[1].read_index(context)
        cluster.settle(seen=sent)
    assert [message for message in sent if isinstance(message, AppendRequest)] == []
    assert len(cluster.members[1].reads) == 20


def test_a_follower_below_the_first_entry_gets_the_checkpoint_and_then_entries() -> None:
    cluster = three()
    cluster.isolate(3)
    cluster.propose(1, b"a", b"b", b"c")
    cluster.settle()
    cluster.members[1].storage.compact(3, voters(1, 2, 3))
    cluster.tick(30, only=[1, 2])
    cluster.heal()
    for _ in range(3):
        cluster[1].tick()
    cluster.settle(lambda message: not isinstance(message, InstallCheckpoint))
    assert seen_from_leader(cluster, 3).state is ProgressState.CHECKPOINT
    cluster.propose(1, b"d")
    cluster.drain()
    assert cluster.pick(AppendRequest, to=3) == [], "nothing is sent while the checkpoint travels"
    cluster.settle()

    cluster[1].report_checkpoint(3, False)
    cluster.drain()
    assert cluster.pick(InstallCheckpoint) == [], "a failed transfer is not repeated in a loop"
    cluster.tick(4)
    assert cluster.members[3].storage.checkpoint.index == 3
    assert cluster.members[3].payloads == [b"c", b"d"]
    assert cluster[3].commit == cluster[1].commit


def test_an_acknowledgement_of_the_checkpoint_ends_the_wait_without_a_report() -> None:
    cluster = three()
    cluster.isolate(3)
    cluster.propose(1, b"a", b"b")
    cluster.settle()
    cluster.members[1].storage.compact(2, voters(1, 2, 3))
    cluster.heal()
    cluster.tick(4, only=[1])
    cluster[1].step(AppendResponse(3, 1, cluster[1].term, True, 2, 0, 0))
    cluster.settle()
    assert seen_from_leader(cluster, 3).state is ProgressState.REPLICATE


def test_no_checkpoint_is_sent_to_the_dead() -> None:
    cluster = three()
    cluster.isolate(3)
    cluster.propose(1, b"a", b"b")
    cluster.settle()
    cluster.tick(25, only=[1, 2])
    cluster.members[1].storage.compact(3, voters(1, 2, 3))
    cluster[1].report_unreachable(3)
    cluster.tick(5, only=[1, 2])
    assert not any(isinstance(message, InstallCheckpoint) for message in cluster.wire)
    assert seen_from_leader(cluster, 3).state is not ProgressState.CHECKPOINT


def test_entries_on_disk_hold_up_one_follower_and_nobody_else() -> None:
    cluster = three()
    cluster.isolate(3)
    cluster.propose(1, b"a", b"b")
    cluster.settle()
    leader = cluster.members[1]
    leader.storage.resident_from = 4
    cluster.heal()
    cluster.tick(4)
    assert leader.storage.wishes > 0
    assert cluster[3].last_index == 1
    cluster.propose(1, b"c")
    cluster.settle()
    cluster.tick()
    assert cluster[2].applied == 4
    assert not cluster[1].has_ready(), "the host does not spin while the disk reads"
    leader.storage.resident_from = 0
    cluster[1].on_entries_loaded()
    assert cluster[1].has_ready()
    cluster.settle()
    cluster.tick()
    assert cluster[3].applied == 4


def test_entries_on_disk_hold_up_the_state_machine_and_no_acknowledgement() -> None:
    follower = member(entries(1, 1, 1), HardState(1))
    follower.storage.resident_from = 3
    follower.raft.step(append((3, 1), commit=3))
    ready, left = follower.take()
    assert ready.committed_entries == ()
    assert left == (AppendResponse(2, 1, 1, True, 3, 0, 0),)
    assert not follower.raft.has_ready()
    follower.storage.resident_from = 0
    follower.raft.on_entries_loaded()
    follower.drain()
    assert follower.raft.applied == 3


def test_a_batch_may_straddle_what_is_durable_and_what_is_not() -> None:
    cluster = three()
    cluster.isolate(2)
    cluster.propose(1, b"a", b"b")
    cluster.settle()
    cluster.propose(1, b"c")
    cluster.members[1].take()  # c is being written
    cluster.wire.clear()
    cluster.heal()
    cluster[1].step(AppendResponse(2, 1, cluster[1].term, False, 3, 1, 1))
    _, left = cluster.members[1].take()
    (message,) = (m for m in left if isinstance(m, AppendRequest) and m.to == 2)
    assert [entry.data for entry in message.entries] == [b"a", b"b", b"c"]


def test_committed_entries_wait_for_a_checkpoint_that_is_being_written() -> None:
    follower = member(hard_state=HardState(1))
    follower.raft.step(InstallCheckpoint(1, 2, 1, Checkpoint(5, 1, voters(1, 2, 3))))
    follower.raft.step(append((5, 1), data(6, 1), commit=6))
    ready, _ = follower.take()
    assert ready.checkpoint is not None
    assert [entry.index for entry in ready.entries] == [6]
    assert ready.committed_entries == ()
    assert not follower.raft.has_ready()
    follower.persist()
    ready, _ = follower.take()
    assert [entry.index for entry in ready.committed_entries] == [6]


def test_an_append_from_before_the_checkpoint_is_no_news() -> None:
    log = (data(6, 1),)
    follower = member(log, HardState(1, None, 5), checkpoint=Checkpoint(5, 1, voters(1, 2, 3)))
    follower.raft.step(append((2, 1), data(3, 1), data(4, 1)))
    assert follower.drain() == [AppendResponse(2, 1, 1, True, 4, 0, 0)]
    follower.raft.step(append((4, 1), data(5, 1), data(6, 1), data(7, 1), commit=7))
    assert follower.drain() == [AppendResponse(2, 1, 1, True, 7, 0, 0)]
    assert follower.raft.applied == 7


def test_a_heartbeat_that_proves_lost_entries_stops_the_replica() -> None:
    follower = member(entries(1, 1))
    with pytest.raises(InvariantViolated, match="lost"):
        follower.raft.step(Heartbeat(1, 2, 1, 3, 0, False))


def test_a_restart_goes_on_from_the_state_machines_checkpoint() -> None:
    storage = MemoryStorage(voters(1), entries(1, 1, 1, 1), HardState(1, None, 2))
    raft = Raft(RaftConfig(1), storage, 3, random.Random(0))
    assert (raft.applied, raft.commit, raft.last_index) == (3, 3, 4)
    assert not raft.has_ready()


def test_a_group_of_one_needs_no_messages() -> None:
    cluster = Cluster(voters(1))
    cluster.elect(1)
    cluster[1].propose(EntryKind.DATA, b"a")
    cluster[1].read_index(4)
    ready, _ = cluster.members[1].take()
    assert ready.messages == ()
    assert [read.context for read in ready.read_states] == [4]
    cluster.settle()
    assert cluster.members[1].payloads == [b"a"]


def test_a_replica_that_knows_no_group_waits() -> None:
    stranger = member(configuration=Configuration(frozenset()))
    for _ in range(100):
        stranger.raft.tick()
    stranger.raft.campaign()
    assert stranger.drain() == []
