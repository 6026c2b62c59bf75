"""What a replica asks of the state machine behind its log, whatever the group is for.

The narrow waist between consensus and meaning (Schneider, "Implementing fault-tolerant services using the state
machine approach", 1990; dissertation §2.1): entries come in order, once each; everything a machine knows follows
from them and from nothing else. No clock, no randomness, no iteration in hash order: two replicas that differ in
any of these would disagree, and the running digest would say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from quorumlog.raft.types import Entry


class StateMachine(Protocol):
    """A deterministic function of the committed log."""

    def apply(self, entry: Entry) -> object:
        """Take the entry at ``applied_index + 1`` and return the result for whoever proposed it.

        Of every kind: NOOP and CONFIGURATION move index and digest, and return None. A refusal is a returned value,
        the same on all replicas. Raises MachineInvariantViolated or TooNew, with the machine unchanged: the replica
        must stop and not apply this entry again.
        """

    def snapshot(self) -> bytes:
        """All of the state, versioned; equal states give equal bytes. Its integrity is the checkpoint file's
        affair."""

    def restore(self, data: bytes) -> None:
        """Replace all of the state by that of ``snapshot``'s bytes.

        Raises SnapshotTooNew or MalformedSnapshot, with the machine unchanged.
        """

    @property
    def digest(self) -> bytes:
        """16 bytes that follow from every entry applied so far (``quorumlog.machine.digest``)."""

    @property
    def applied_index(self) -> int:
        """The index of the last entry applied; 0 before the first."""
