"""Scenarios about what a disk gives back, and about one that does not answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.sim.directed.stage import BEAT_MS, LIVENESS, NOT_PLAYED
from quorumlog.storage.format import HEADER_SIZE

if TYPE_CHECKING:
    from quorumlog.sim.directed.stage import Stage

#: Into the head of a record: its commit index, or an entry's own.
_IN_THE_HEAD = 24


def _rot(stage: Stage, node: int, position: int) -> None:
    """One bit of the node's newest segment flips while its process is down."""
    stage.cluster.atlas.harm(node, stage.group, "flipped bit")
    stage.host(node).disk.flip_bit(stage.segment(node), position)


def _noticed(stage: Stage) -> None:
    if "ReplicaDamaged" not in stage.cluster.taps.events:
        stage.find(NOT_PLAYED, "the damage is not noticed, and nothing comes of it")


def damage_below_the_tail(stage: Stage) -> None:
    """Nodes 1 and 2 hold two acknowledged records that node 3 does not; while node 2 is down, a bit flips in
    the write that brought it the first of them. The second write proves that the first had been durable."""
    stage.elect(1)
    stage.appended(1)
    stage.only_between(1, 2)
    disk = stage.host(2).disk
    before = len(disk.content(stage.segment(2)).rstrip(b"\0"))
    stage.appended(1)
    stage.run_ms()
    stage.appended(1)
    stage.run_ms(3 * BEAT_MS)
    stage.cluster.kill(2)
    # Behind what was there before comes the hard state that opens the next write, and then the record.
    _rot(stage, 2, before + 8 + _IN_THE_HEAD)
    stage.cluster.revive(2)
    stage.run_ms(3 * BEAT_MS)
    _noticed(stage)
    stage.works()


def damaged_vote(stage: Stage) -> None:
    """Node 2 has voted and acknowledged; while it is down, a bit flips in the first hard state of its only segment,
    so that nothing in it can be read any more."""
    stage.elect(1)
    stage.appended(1)
    stage.run_ms()
    stage.cluster.kill(2)
    _rot(stage, 2, HEADER_SIZE + _IN_THE_HEAD)
    stage.cluster.revive(2)
    stage.run_ms(3 * BEAT_MS)
    _noticed(stage)
    stage.works()


def stalled_disk(stage: Stage) -> None:
    """The leader's disk raises no error and ends no write. Its heartbeats go on, and so do the followers' disks;
    but a leader applies, and acknowledges, what is durable on its own."""
    stage.elect(1)
    stage.appended(1)
    stage.host(1).stall_disk()
    stage.serving(LIVENESS)
    stage.host(1).unstall_disk()
    stage.works()
