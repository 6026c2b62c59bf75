"""Majorities and joint majorities as pure functions: the arithmetic that everything else trusts.

In a joint configuration a decision needs a majority of the incoming *and* of the outgoing voters (dissertation
§4.3), so every question here is asked of each half and the weaker answer counts. Learners never appear.

An empty set of voters decides nothing: a replica that does not know its group yet must not find itself a majority
of nobody. (etcd's ``quorum`` package answers the other way, for its convenience with empty outgoing halves.)

Prior art: etcd-io/raft ``quorum/majority.go`` and ``quorum/joint.go``.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Set

    from .types import Configuration, ReplicaId


class VoteResult(Enum):
    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def majority(voters: int) -> int:
    """The smallest number of ``voters`` such that any two groups of that size share one."""
    return voters // 2 + 1


def is_majority(voters: Collection[ReplicaId], agreeing: Set[ReplicaId]) -> bool:
    """Whether ``agreeing`` holds a majority of ``voters``; never true of no voters at all."""
    if not voters:
        return False
    return sum(1 for voter in voters if voter in agreeing) >= majority(len(voters))


def has_quorum(configuration: Configuration, agreeing: Set[ReplicaId]) -> bool:
    """Whether ``agreeing`` may decide for the group; others than voters in it are not counted."""
    if not is_majority(configuration.voters, agreeing):
        return False
    return not configuration.outgoing or is_majority(configuration.outgoing, agreeing)


def majority_index(matches: Iterable[int]) -> int:
    """The highest index that a majority of ``matches`` (one per voter) has reached; 0 for no voters."""
    ascending = sorted(matches)
    # Of n ascending values the one at (n - 1) // 2 is reached by itself and all after it: n // 2 + 1 of n.
    return ascending[(len(ascending) - 1) // 2] if ascending else 0


def _majority_result(voters: Collection[ReplicaId], votes: Mapping[ReplicaId, bool]) -> VoteResult:
    granted = refused = 0
    for voter in voters:
        vote = votes.get(voter)
        if vote is True:
            granted += 1
        elif vote is False:
            refused += 1
    needed = majority(len(voters))
    if voters and granted >= needed:
        return VoteResult.WON
    return VoteResult.LOST if len(voters) - refused < needed else VoteResult.PENDING


def vote_result(configuration: Configuration, votes: Mapping[ReplicaId, bool]) -> VoteResult:
    """What an election stands at. A joint one is lost as soon as either half is, won only when both are."""
    result = _majority_result(configuration.voters, votes)
    if not configuration.outgoing:
        return result
    other = _majority_result(configuration.outgoing, votes)
    if VoteResult.LOST in (result, other):
        return VoteResult.LOST
    return VoteResult.WON if result is other is VoteResult.WON else VoteResult.PENDING
