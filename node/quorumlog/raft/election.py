"""Counting votes: a ballot is a map from voter to answer, so that a doubled answer is one vote.

One real system counted messages instead, and a retransmission elected a leader in a five-node cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .quorum import VoteResult, vote_result

if TYPE_CHECKING:
    from .types import Configuration, ReplicaId


class Ballot:
    """One election, or one pre-vote: the answers so far. A new attempt is a new ballot."""

    __slots__ = ("pre", "votes")

    def __init__(self, pre: bool) -> None:
        self.pre = pre
        self.votes: dict[ReplicaId, bool] = {}

    def record(self, voter: ReplicaId, granted: bool) -> None:
        """A voter answers once; what it said first stands."""
        self.votes.setdefault(voter, granted)

    def result(self, configuration: Configuration) -> VoteResult:
        """Answers of replicas that are no voters are kept, and do not count."""
        return vote_result(configuration, self.votes)
