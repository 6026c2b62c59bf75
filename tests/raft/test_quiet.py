"""Quiet groups: nothing to do costs nothing, and nobody is forgotten (RAFT.md §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from raft.raft_kit import Cluster, change, vote_request, voters

from quorumlog.raft import AppendRequest, EntryKind, Heartbeat, HeartbeatResponse, Raft, ReadState, VoteResponse

if TYPE_CHECKING:
    from collections.abc import Callable

LEADER_INPUTS: dict[str, Callable[[Raft], object]] = {
    "propose": lambda raft: raft.propose(EntryKind.DATA, b"x"),
    "configuration": lambda raft: raft.propose_configuration(change(1, 2, 3)),
    "read": lambda raft: raft.read_index(1),
    "transfer": lambda raft: raft.transfer_leadership(2),
    "wake": lambda raft: raft.wake(),
    "message": lambda raft: raft.step(vote_request(3, 1, 1, (0, 0))),
}
FOLLOWER_INPUTS: dict[str, Callable[[Raft], object]] = {
    "read": lambda raft: raft.read_index(1),
    "campaign": lambda raft: raft.campaign(),
    "leader_lost": lambda raft: raft.leader_lost(),
    "wake": lambda raft: raft.wake(),
    "message": lambda raft: raft.step(vote_request(3, 2, 1, (0, 0))),
}


def quiet_group() -> Cluster:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    cluster.propose(1, b"a")
    cluster.settle()
    assert cluster[1].idle
    assert cluster[1].become_quiet()
    cluster.settle()
    assert [cluster[replica].quiet for replica in (1, 2, 3)] == [True] * 3
    return cluster


def test_a_quiet_group_sends_nothing_and_changes_nothing() -> None:
    cluster = quiet_group()
    before = [cluster[replica].status() for replica in (1, 2, 3)]
    cluster.tick(500)
    assert [cluster[replica].status() for replica in (1, 2, 3)] == before


@pytest.mark.parametrize("name", ["propose", "configuration", "read", "transfer"])
def test_a_leader_with_something_to_do_is_not_idle(name: str) -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    assert cluster[1].idle
    LEADER_INPUTS[name](cluster[1])
    assert not cluster[1].idle
    assert not cluster[1].become_quiet()
    assert not cluster[1].quiet


def test_followers_and_a_leader_whose_own_entry_is_not_applied_are_not_idle() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster[1].campaign()
    cluster.settle(lambda message: not isinstance(message, AppendRequest))
    assert not cluster[1].idle
    assert not cluster[2].idle


def test_a_follower_that_lags_keeps_the_group_awake_unless_it_is_known_to_be_dead() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(1, b"a")
    cluster.settle()
    assert not cluster[1].idle
    assert not cluster[1].become_quiet()
    assert not cluster[1].become_quiet(absent=frozenset({2}))
    assert cluster[1].become_quiet(absent=frozenset({3}))
    cluster.drain()
    assert [heartbeat.to for heartbeat in cluster.pick(Heartbeat)] == [2]


def test_no_group_rests_on_a_minority() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    cluster.isolate(1)
    cluster.propose(1, b"a")
    cluster.settle()
    assert not cluster[1].become_quiet(absent=frozenset({2, 3}))


def test_a_leader_cut_off_from_a_group_that_is_level_does_not_rest() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    assert not cluster[1].become_quiet(absent=frozenset({2, 3})), "it has yet to find out that it leads no more"
    assert cluster[1].become_quiet(absent=frozenset({3}))


def test_a_follower_that_is_not_where_the_leader_thinks_stays_awake() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    for commit in (0, 1):
        cluster[2].step(Heartbeat(1, 2, 1, commit, 0, True))
        assert cluster[2].quiet == (commit == 1)
    cluster[2].step(Heartbeat(1, 2, 1, 1, 0, False))
    assert not cluster[2].quiet, "any heartbeat but a quiet one ends it"


@pytest.mark.parametrize("name", ["propose", "configuration", "read", "transfer", "wake", "message"])
def test_every_input_of_a_leader_ends_the_quiet(name: str) -> None:
    cluster = quiet_group()
    LEADER_INPUTS[name](cluster[1])
    assert not cluster[1].quiet
    cluster.drain()
    assert sorted(heartbeat.to for heartbeat in cluster.pick(Heartbeat)) == [2, 3], "and it is heard at once"


@pytest.mark.parametrize("name", ["read", "campaign", "leader_lost", "wake", "message"])
def test_every_input_of_a_follower_ends_the_quiet(name: str) -> None:
    cluster = quiet_group()
    follower = cluster[2]
    FOLLOWER_INPUTS[name](follower)
    assert not follower.quiet


def test_a_heartbeat_response_ends_no_quiet() -> None:
    cluster = quiet_group()
    cluster[1].step(HeartbeatResponse(2, 1, cluster[1].term, 0))
    assert cluster[1].quiet


def test_a_read_in_a_quiet_group_is_served_by_leader_and_follower() -> None:
    for replica in (1, 2):
        cluster = quiet_group()
        cluster[replica].read_index(5)
        cluster.settle()
        assert cluster.members[replica].reads == [ReadState(5, 2)]


def test_a_follower_that_waits_for_a_read_does_not_fall_quiet() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    cluster[2].read_index(5)
    cluster.drain()
    cluster.wire.clear()
    cluster[2].step(Heartbeat(1, 2, 1, 1, 0, True))
    assert not cluster[2].quiet


def test_a_quiet_group_whose_host_wakes_it_finds_out_that_its_leader_is_dead() -> None:
    cluster = quiet_group()
    cluster.isolate(1)
    cluster.tick(100, only=[2, 3])
    assert cluster.leaders() == [1], "nobody looks: that is what quiet means"
    for replica in (2, 3):
        cluster[replica].wake()
    cluster.tick(60, only=[2, 3])
    assert cluster[2].leader == cluster[3].leader != 1


def test_a_leader_that_was_cut_off_while_quiet_steps_down_after_waking() -> None:
    cluster = quiet_group()
    cluster.isolate(1)
    cluster[1].wake()
    cluster.tick(9, only=[1])
    assert cluster[1].is_leader, "no time has passed for it while it slept"
    cluster.tick(12, only=[1])
    assert not cluster[1].is_leader


def test_a_leader_that_wakes_gives_its_followers_a_full_election_timeout() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    cluster.isolate(1)
    cluster.tick(10, only=[1])  # it checks its quorum, and has heard nobody since
    assert cluster[1].become_quiet()
    cluster[1].wake()
    cluster.tick(10, only=[1])
    assert cluster[1].is_leader
    cluster.tick(10, only=[1])
    assert not cluster[1].is_leader


def test_a_follower_that_wakes_gives_its_leader_a_full_election_timeout() -> None:
    cluster = quiet_group()
    cluster[2].wake()
    cluster[2].step(vote_request(3, 2, 9, (50, 8), pre=True))
    cluster.drain()
    assert [answer.granted for answer in cluster.pick(VoteResponse)] == [False]
    for _ in range(9):
        cluster[2].tick()
    assert cluster[2].leader == 1


def test_after_leader_lost_a_quiet_follower_grants_at_once() -> None:
    cluster = quiet_group()
    cluster.isolate(1)
    cluster[2].leader_lost()
    cluster[3].leader_lost()
    cluster[3].campaign()
    cluster.settle()
    assert cluster[3].is_leader


def test_an_absent_follower_that_returns_wakes_the_leader() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(1, b"a")
    cluster.settle()
    assert cluster[1].become_quiet(absent=frozenset({3}))
    cluster.settle()
    cluster.heal()
    cluster.tick(60)
    assert [cluster[replica].applied for replica in (1, 2, 3)] == [2, 2, 2]
    assert cluster.leader() == 1
