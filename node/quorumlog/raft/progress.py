"""One follower as the leader sees it: what it surely holds, what to send next, and how much is on its way.

    PROBE ──(an append is acknowledged)──▶ REPLICATE ──(refused, or unreachable)──▶ PROBE
      └────(its next entry is gone)──▶ CHECKPOINT ──(installed, or it failed)──▶ PROBE

*Probe*: we do not know where the logs part; one message at a time, the next one after an answer or a heartbeat's.
*Replicate*: optimistic; ``next`` runs ahead of what is acknowledged, bounded by a window of messages and bytes.
*Checkpoint*: nothing is sent until the state machine's checkpoint has arrived there or failed to.

The invariant that binds the fields: ``match < next`` always, and ``match`` never falls.

Prior art: etcd-io/raft ``tracker/progress.go`` and ``tracker/inflights.go``.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .types import ReplicaId


class ProgressState(Enum):
    PROBE = "probe"
    REPLICATE = "replicate"
    CHECKPOINT = "checkpoint"


class Progress:
    """What a leader knows of one replica in its own term. A new term starts with a new object, so that nothing an
    earlier term learned can leak into it."""

    __slots__ = (
        "awaiting_disk",
        "in_flight",
        "in_flight_bytes",
        "match",
        "next",
        "paused",
        "pending_checkpoint",
        "recent_active",
        "replica",
        "sent_commit",
        "state",
        "stirred_tick",
    )

    def __init__(self, replica: ReplicaId, next_index: int, recent_active: bool) -> None:
        self.replica = replica
        self.match = 0
        """Highest index known to be durable there and equal to our log."""
        self.next = next_index
        """The index to send next; always above ``match``."""
        self.state = ProgressState.PROBE
        self.recent_active = recent_active
        """It answered since the last check of the quorum."""
        self.paused = False
        """In PROBE: the one message is out."""
        self.awaiting_disk = False
        """Its entries are being read from our disk."""
        self.pending_checkpoint = 0
        """In CHECKPOINT: the index that is on its way."""
        self.in_flight: deque[tuple[int, int]] = deque()
        """(last index, bytes of data) of every unacknowledged append, oldest first."""
        self.in_flight_bytes = 0
        self.sent_commit = 0
        """The newest commit index it was told."""
        self.stirred_tick = 0
        """The leader's clock when something was last sent into an empty window, or acknowledged."""

    # --- transitions

    def become_probe(self, next_index: int) -> None:
        self._leave(ProgressState.PROBE)
        self.next = max(next_index, self.match + 1)

    def become_replicate(self) -> None:
        self._leave(ProgressState.REPLICATE)
        self.next = self.match + 1

    def become_checkpoint(self, index: int) -> None:
        self._leave(ProgressState.CHECKPOINT)
        self.pending_checkpoint = index

    def _leave(self, state: ProgressState) -> None:
        self.state = state
        self.paused = False
        self.awaiting_disk = False
        self.pending_checkpoint = 0
        self.in_flight.clear()
        self.in_flight_bytes = 0

    # --- what was sent

    def window_bytes(self, max_messages: int, max_bytes: int) -> int:
        """How many more bytes may be on their way; 0 when the window is full by count or by bytes."""
        if len(self.in_flight) >= max_messages:
            return 0
        return max(0, max_bytes - self.in_flight_bytes)

    def sent(self, last_index: int, data_bytes: int, tick: int) -> None:
        """An append that ends at ``last_index`` has left."""
        if self.state is ProgressState.PROBE:
            self.paused = True
            self.stirred_tick = tick
            return
        if not self.in_flight:
            self.stirred_tick = tick
        self.next = last_index + 1
        self.in_flight.append((last_index, data_bytes))
        self.in_flight_bytes += data_bytes

    # --- what came back

    def acknowledged(self, index: int, tick: int) -> bool:
        """It holds everything up to ``index``, durably. False if that is no news.

        A late or doubled acknowledgement is no news and changes nothing: ``match`` is a maximum.
        """
        probing = self.state is ProgressState.PROBE
        if index < self.match or (index == self.match and not probing):
            return False
        self.match = index
        self.stirred_tick = tick
        if probing or (self.state is ProgressState.CHECKPOINT and index >= self.pending_checkpoint):
            self.become_replicate()
            return True
        if self.next <= index:
            self.next = index + 1
        in_flight = self.in_flight
        while in_flight and in_flight[0][0] <= index:
            self.in_flight_bytes -= in_flight.popleft()[1]
        return True

    def refused(self, rejected: int, agree_index: int) -> bool:
        """It has no entry at ``rejected`` that equals ours; the logs may agree up to ``agree_index``.

        False if the refusal answers a message that later ones have overtaken: acting on it would undo what was
        learned since. Every refusal that is acted on lowers ``next``, so that probing ends.
        """
        if self.state is ProgressState.REPLICATE:
            if rejected <= self.match:
                return False
            # It surely holds ``match``: one probe there succeeds, and the window starts afresh behind it.
            self.become_probe(self.match + 1)
            return True
        if self.state is not ProgressState.PROBE or rejected != self.next - 1 or rejected <= self.match:
            return False
        self.next = max(min(rejected, agree_index + 1), self.match + 1)
        self.paused = False
        return True
