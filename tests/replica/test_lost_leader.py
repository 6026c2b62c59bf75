"""A leader's replica is lost while its node lives on: the group must notice, although the node is heard."""

from __future__ import annotations

from replica.trio import Trio

from quorumlog.replica import Appended
from quorumlog.replica.events import ReplicaReplaced
from quorumlog.replica.ids import incarnation_of


def test_a_quiet_group_whose_leaders_replica_was_lost_elects_another_leader() -> None:
    """Quiet followers rely on their leader's node being heard, and it is; only the fresh incarnation there can tell
    them that what led them is no more."""
    trio = Trio()
    trio.make_topic()
    group, lost = trio.group(), trio.leader(trio.group())
    assert lost is not None
    trio.until(lambda: all(trio.replica(node, group).quiet for node in trio.ids))
    trio.nodes[lost].quarantine(trio.nodes[lost]._replicas[group], "a test says so")
    trio.settle()
    trio.until(lambda: trio.leader(group) not in (None, lost), within_ms=5_000)
    successor = trio.leader(group)
    assert successor is not None
    answer = trio.append(successor, [b"after"])[0]
    assert isinstance(answer, Appended)
    trio.until(lambda: any(isinstance(event, ReplicaReplaced) for event in trio.events[lost]), within_ms=10_000)
    fresh = trio.nodes[lost]._replicas[group]
    assert incarnation_of(fresh.replica_id) == 1
    assert fresh.replica_id in fresh.raft.configuration.voters


def test_a_word_of_a_fresh_incarnation_elsewhere_does_not_unseat_a_living_leader() -> None:
    trio = Trio()
    trio.make_topic()
    group, leader = trio.group(), trio.leader(trio.group())
    assert leader is not None
    term = trio.replica(leader, group).term
    other = next(node for node in trio.ids if node != leader)
    trio.nodes[other].quarantine(trio.nodes[other]._replicas[group], "a test says so")
    trio.settle()
    trio.until(lambda: any(isinstance(event, ReplicaReplaced) for event in trio.events[other]), within_ms=10_000)
    assert (trio.leader(group), trio.replica(leader, group).term) == (leader, term)
