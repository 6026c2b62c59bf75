"""A group's status, put together from what its replicas say."""

from __future__ import annotations

from quorumlog.client.types import Follower, NodeDescription, Replica
from quorumlog.cluster.commands_cluster import digests_agree, gather


def replica(role: str = "follower", **changes: object) -> Replica:
    """Partition 0 of topic t, three voters, all at index 10."""
    told: dict[str, object] = {
        "group_id": 5,
        "topic": "t",
        "partition": 0,
        "role": role,
        "leader": 1,
        "term": 3,
        "commit_index": 10,
        "applied_index": 10,
        "last_index": 10,
        "start_offset": 0,
        "end_offset": 8,
        "size_bytes": 100,
        "digest": b"same",
        "quiet": True,
        "damage": "",
        "followers": tuple(Follower(each, 10, "replicate", False) for each in (2, 3)) if role == "leader" else (),
        "voters": (1, 2, 3),
    }
    return Replica(**(told | changes))  # type: ignore[arg-type]


def node(node_id: int, *replicas: Replica) -> NodeDescription:
    return NodeDescription(node_id, "c", "0", 1.0, "raft", replicas, ())


def test_a_healthy_group() -> None:
    (group,) = gather([node(1, replica("leader")), node(2, replica()), node(3, replica())])
    assert (group.name, group.leader, group.term, group.end_offset) == ("t/0", 1, 3, 8)
    assert group.lag == {2: 0, 3: 0}
    assert group.digests_agree is True
    assert group.healthy


def test_of_two_that_claim_to_lead_the_higher_term_counts() -> None:
    (group,) = gather([node(1, replica("leader", term=3)), node(2, replica("leader", term=4))])
    assert (group.leader, group.term) == (2, 4)


def test_a_group_without_a_leader_has_none_and_is_not_healthy() -> None:
    (group,) = gather([node(2, replica("candidate", term=9)), node(3, replica())])
    assert (group.leader, group.term) == (0, 9)
    assert not group.healthy


def test_a_node_that_did_not_answer_is_missing() -> None:
    (group,) = gather([node(1, replica("leader")), node(2, replica())])
    assert group.missing == (3,)


def test_lag_is_in_entries_behind_the_leaders_log() -> None:
    followers = (Follower(2, 7, "replicate", False), Follower(3, 0, "probe", False))
    (group,) = gather([node(1, replica("leader", followers=followers))])
    assert group.lag == {2: 3, 3: 10}


def test_digests_are_compared_at_equal_applied_index_only() -> None:
    assert digests_agree([replica(), replica()]) is True
    assert digests_agree([replica(), replica(digest=b"other")]) is False
    assert digests_agree([replica(), replica(digest=b"other", applied_index=9)]) is None
    assert digests_agree([replica(), replica(digest=b"")]) is None


def test_a_damaged_replica_is_named() -> None:
    (group,) = gather([node(1, replica("leader")), node(2, replica("damaged", damage="segment 3"))])
    assert group.damaged == (2,)


def test_the_controller_comes_first_then_topics_by_name() -> None:
    controller = replica("leader", group_id=1, topic="")
    late, early = replica("leader", group_id=2, topic="z"), replica("leader", group_id=9, topic="a")
    assert [group.name for group in gather([node(1, late, early, controller)])] == ["controller", "a/0", "z/0"]
