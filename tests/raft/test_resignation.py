"""A leader that can be of no use, not even by handing over, leaves it to the others to elect."""

from __future__ import annotations

import pytest
from raft.raft_kit import Cluster, voters

from quorumlog.raft import EntryKind, NotLeader, Role


def test_who_resigns_follows_and_the_others_elect_without_it() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    cluster.propose(1, b"kept")
    cluster.settle()
    cluster[1].resign()
    assert cluster[1].role is Role.FOLLOWER
    assert cluster[1].leader is None
    with pytest.raises(NotLeader):
        cluster[1].propose(EntryKind.DATA, b"too late")
    # It does not come to stand itself: a disk that hangs does not let it vote.
    cluster.tick(60, only=(2, 3))
    (leader,) = cluster.leaders()
    assert leader != 1
    assert cluster[1].leader == leader
    assert cluster[leader].commit > 2


def test_nobody_but_a_leader_can_resign() -> None:
    cluster = Cluster(voters(1, 2, 3))
    cluster.elect(1)
    before = cluster[2].status()
    cluster[2].resign()
    assert cluster[2].status() == before
