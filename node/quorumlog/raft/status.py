"""A core's state at a glance: for people, metrics and tests. Values only; reading it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .progress import Progress, ProgressState
    from .types import Configuration, ReplicaId, Role


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """One follower (voter or learner) as its leader sees it."""

    replica: ReplicaId
    match: int
    """Highest index that is durable there and equal to the leader's log."""
    next: int
    """The index it is sent next."""
    state: ProgressState
    in_flight_messages: int
    in_flight_bytes: int
    recent_active: bool
    """It answered since the leader last checked its quorum (at most one election timeout ago)."""

    @classmethod
    def of(cls, progress: Progress) -> FollowerStatus:
        return cls(
            replica=progress.replica,
            match=progress.match,
            next=progress.next,
            state=progress.state,
            in_flight_messages=len(progress.in_flight),
            in_flight_bytes=progress.in_flight_bytes,
            recent_active=progress.recent_active,
        )


@dataclass(frozen=True, slots=True)
class Status:
    """One core. ``followers`` is empty on everyone but the leader."""

    replica: ReplicaId
    role: Role
    term: int
    vote: ReplicaId | None
    leader: ReplicaId | None
    first_index: int
    last_index: int
    durable: int
    """Up to here the log is on this replica's own disk."""
    commit: int
    applied: int
    configuration: Configuration
    configuration_index: int
    """The index of the entry that holds ``configuration``, or of the checkpoint it came with."""
    quiet: bool
    transferring_to: ReplicaId | None
    uncommitted_bytes: int
    followers: tuple[FollowerStatus, ...]
