"""Scenarios about reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.sim.network import apart

if TYPE_CHECKING:
    from quorumlog.sim.directed.stage import Stage


def pause_of_a_cut_off_leader(stage: Stage) -> None:
    """A leader is cut off and its process stops for a while, in which its clock does not tick. Meanwhile another is
    elected and acknowledges a record. The first goes on and is asked for the end of the log."""
    leader = stage.leader
    assert leader is not None, "the stage is set"
    stage.appended(leader)
    # The others' promises, that a lease leans on, are made; and a round of heartbeats renews the leader's.
    stage.run_ms(2 * stage.cluster.options.election_ms)
    stage.ask_end(leader)
    others = [node for node in stage.cluster.nodes if node != leader]
    stage.cluster.network.cut |= apart([leader], others)
    stage.host(leader).pause()
    stage.until("another leads", lambda: stage.leader not in (None, leader))
    successor = stage.leader
    assert successor is not None, "just seen"
    stage.appended(successor)
    stage.host(leader).resume()
    stage.ask_end(leader)
    stage.works()
