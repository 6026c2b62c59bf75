"""What may go wrong in a Raft core, by who erred.

``InvariantViolated`` is a bug, lost data or a lying disk: the replica must stop, because going on could let it
vouch for what it does not hold.  Everything under ``RaftError`` is operation as usual: the request was refused
*before* it had any effect, so each of them means "this definitely did not happen".

Prior art: h11's local and remote protocol errors; TigerBeetle's assertions, which stay on in production.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .types import ReplicaId


class InvariantViolated(Exception):
    """A rule that no schedule of messages and crashes can break was broken. The replica stops; nothing is
    retried."""


def ensure(condition: bool, rule: str) -> None:
    """An assertion that ``python -O`` keeps. Raises InvariantViolated(rule)."""
    if not condition:
        raise InvariantViolated(rule)


class RaftError(Exception):
    """A request was refused, and nothing came of it."""


class NotLeader(RaftError):
    """Only the leader takes this request; ``leader`` is who that probably is, None when unknown."""

    def __init__(self, leader: ReplicaId | None) -> None:
        super().__init__(f"not the leader (it may be {leader})" if leader is not None else "not the leader")
        self.leader = leader


class NoLeader(RaftError):
    """No leader is known to ask: there may be none, or this replica is cut off."""


class Overloaded(RaftError):
    """Too many bytes are proposed and not yet committed (``max_uncommitted_bytes``): try again when some are."""


class Transferring(RaftError):
    """Leadership is being handed over: nothing is accepted until it has moved, or one election timeout has
    passed."""


class NotVoter(RaftError, ValueError):
    """Leadership can only be handed to a voter of the present configuration."""


class ChangeRefused(RaftError):
    """A configuration change cannot be taken now, or at all."""


class ChangePending(ChangeRefused):
    """An earlier change is not committed yet, or its joint configuration has not been left."""


class TermUncommitted(ChangeRefused):
    """No entry of the leader's own term is committed yet, so that it cannot know whether an earlier change is
    pending (Ongaro's 2015 erratum to single-server changes: "bug in single-server membership changes",
    raft-dev)."""


class LearnerBehind(ChangeRefused):
    """A learner that is to become a voter has not caught up: promoted now, it could cost the group its quorum."""


class InvalidChange(ChangeRefused, ValueError):
    """The configuration asked for is none: no voters, or a replica that is both voter and learner."""
