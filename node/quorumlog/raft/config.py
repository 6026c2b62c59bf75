"""The settings of one core. Times are in ticks of the host; sizes count the bytes of entries' data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .types import ReplicaId


@dataclass(frozen=True, slots=True)
class RaftConfig:
    """Raises ValueError for settings under which no leader could hold."""

    replica: ReplicaId
    election_ticks: int = 10
    """A follower waits this long, and up to twice as long (at random), for a sign of its leader before it
    campaigns. Also: how long a voter stands by a leader it heard from, how often a leader checks its quorum, and
    how long a leadership transfer may take."""
    heartbeat_ticks: int = 2
    max_append_bytes: int = 1 << 20
    """Per append request; an entry larger than that still goes, alone."""
    max_in_flight_bytes: int = 8 << 20
    """Unacknowledged, per follower."""
    max_in_flight_messages: int = 64
    """Unacknowledged, per follower."""
    max_uncommitted_bytes: int = 64 << 20
    """Proposed and not yet committed; beyond it proposals are refused."""
    max_apply_bytes: int = 8 << 20
    """Committed entries per Ready."""
    lease_reads: bool = False
    """Reads within a lease cost no messages, and trust the clocks of all voters (see ``reads``). While it is on,
    ``leader_lost`` and ``campaign`` cannot cut short a promise that a lease leans on: failover is slower."""

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_ticks < self.election_ticks:
            raise ValueError("0 < heartbeat_ticks < election_ticks")
        if min(self.max_append_bytes, self.max_in_flight_bytes, self.max_in_flight_messages) < 1:
            raise ValueError("a follower must be allowed one message and one byte")
        if min(self.max_uncommitted_bytes, self.max_apply_bytes) < 1:
            raise ValueError("max_uncommitted_bytes and max_apply_bytes are at least 1")
