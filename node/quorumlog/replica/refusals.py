"""What a partition or a coordinator answers when it cannot do what was asked, in words and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.replica.ids import node_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.machine import OutOfSequence, ProducerFenced
    from quorumlog.replica.replica import Replica

OVERLOADED_RETRY_MS = 50


class Refusals:
    """Knows the partition's ``name`` ("topic/number") and where its leader is."""

    __slots__ = ("_now_ms", "_patience_ms", "_replica", "name")

    def __init__(self, replica: Replica, patience_ms: int, now_ms: Callable[[], int]) -> None:
        self.name = ""
        self._replica = replica
        self._patience_ms = patience_ms
        self._now_ms = now_ms

    @property
    def leader_node(self) -> int:
        """The leader's node as this replica knows it; 0 if it does not."""
        leader = self._replica.raft.leader
        return node_of(leader) if leader else 0

    @property
    def lost_quorum(self) -> bool:
        """There has been no leader for longer than an election takes."""
        if self._replica.raft.leader is not None:
            return False
        return self._now_ms() - self._replica.leaderless_since_ms > self._patience_ms

    def not_leader(self, outcome: Outcome = Outcome.NOT_DONE) -> Failure:
        """Sends the caller on. A group that has had no leader for longer than an election takes has lost its
        quorum, or this node its way to it; "somebody else leads" would keep the caller looking."""
        leader = self.leader_node
        if self.lost_quorum:
            return Failure(Reason.NO_QUORUM, f"{self.name} has no leader in this node's reach", outcome)
        where = f"node {leader} leads it" if leader else "its leader is not known"
        return Failure(Reason.NOT_LEADER, f"this node does not lead {self.name}; {where}", outcome, leader)

    def no_quorum(self) -> Failure:
        """A read that no majority confirmed; it changed nothing."""
        if not self._replica.raft.is_leader:
            return self.not_leader()
        return Failure(Reason.NO_QUORUM, f"no majority of {self.name} answered in time")

    def unreached(self) -> Failure:
        """A read that neither this replica nor the leader it knows of could confirm; it changed nothing."""
        why = f"no majority of {self.name} confirmed in time that nothing newer is committed"
        return Failure(Reason.NO_QUORUM, why, leader_node=self.leader_node)

    def unconfirmed(self, what: str = "append") -> Failure:
        """What no majority confirmed in time; it stands in a log that may yet win."""
        why = f"no majority of {self.name} confirmed the {what} in time"
        return Failure(Reason.NO_QUORUM, why, Outcome.UNKNOWN)

    def deposed(self) -> Failure:
        """What was proposed by a leader that is none any more. Without another leader it is the quorum that was
        lost."""
        if self.leader_node:
            return self.not_leader(Outcome.UNKNOWN)
        return Failure(Reason.NO_QUORUM, f"this node lost its majority of {self.name}", Outcome.UNKNOWN)

    def out_of_range(self, offset: int, start: int, end: int) -> Failure:
        return Failure(
            Reason.OFFSET_OUT_OF_RANGE,
            f"offset {offset} is not within {start}..{end} of {self.name}",
            fields={"offset": str(offset), "start_offset": str(start), "end_offset": str(end)},
        )

    def unreadable(self, error: BaseException | None) -> Failure:
        return Failure(Reason.REPLICA_DAMAGED, f"the log could not be read: {error or 'a segment is missing'}")


def out_of_sequence(refusal: OutOfSequence) -> Failure:
    """A batch from before what is remembered was appended once, in whole or in part; only a gap is certain not to
    be there."""
    return Failure(
        Reason.OUT_OF_SEQUENCE,
        str(refusal),
        Outcome.UNKNOWN if refusal.before_remembered else Outcome.NOT_DONE,
        fields={"expected_sequence": str(refusal.expected_sequence), "base_sequence": str(refusal.base_sequence)},
    )


def fenced(refusal: ProducerFenced) -> Failure:
    return Failure(Reason.PRODUCER_FENCED, str(refusal), fields={"current_epoch": str(refusal.current_epoch)})


def overloaded(message: str) -> Failure:
    return Failure(Reason.OVERLOADED, message, retry_after_ms=OVERLOADED_RETRY_MS)
