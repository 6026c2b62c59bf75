"""What was sent and lost may be gone from the leader's log when it finds out: the follower gets a checkpoint
then."""

from __future__ import annotations

import pytest
from raft.raft_kit import Cluster, voters


@pytest.mark.parametrize("proposals_after", [0, 3])
def test_a_follower_whose_lost_window_was_compacted_meanwhile_catches_up(proposals_after: int) -> None:
    """Found by the simulator (seeds 1671, 1677, 1859, 2273): the window was full of appends that were lost,
    retention passed what followed them, and the empty append that finds out about losses could not be made. The
    follower answered every heartbeat, and never got another entry."""
    cluster = Cluster(voters(1, 2, 3), max_in_flight_messages=2)
    cluster.elect(1)
    cluster.isolate(3)
    for payload in (b"a", b"b", b"c", b"d", b"e"):
        cluster.propose(1, payload)
        cluster.settle()
    compacted = cluster.members[1].storage.last_index
    cluster.members[1].storage.compact(compacted, voters(1, 2, 3))
    for number in range(proposals_after):
        cluster.propose(1, b"%d" % number)
        cluster.settle()
    cluster.heal()
    cluster.tick(8)
    assert cluster[3].commit == cluster[1].commit == cluster[1].last_index
    assert cluster.members[3].storage.checkpoint.index == compacted
