"""One checkpoint on its way to one follower.

A follower whose next entry is gone from the leader's log is given the state just before the leader's first entry,
in chunks, and then plain entries. A transfer is keyed by (leader, its term, checkpoint index): chunks of two
leaders, or of two attempts, never mix. One chunk is under way at a time, each answered before the next is read, so
that a big state does not push records aside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.replica.frames import CheckpointChunk

if TYPE_CHECKING:
    from quorumlog.raft.types import InstallCheckpoint
    from quorumlog.storage import CheckpointReader

CHUNK_BYTES = 256 << 10
#: Without an answer for this long a transfer is given up; Raft will begin another.
PATIENCE_MS = 5_000


class Sending:
    """The leader's side. ``announcement`` is what the core wants said once the state has arrived."""

    __slots__ = ("announcement", "deadline_ms", "group_id", "position", "reader", "reading")

    def __init__(
        self, group_id: int, announcement: InstallCheckpoint, reader: CheckpointReader, now_ms: int
    ) -> None:
        self.group_id = group_id
        self.announcement = announcement
        self.reader = reader
        self.position = 0
        self.reading = False
        self.deadline_ms = now_ms + PATIENCE_MS

    def chunk(self, data: bytes) -> CheckpointChunk:
        """``data``, which stands at ``position`` of the file, as it travels."""
        message = self.announcement
        return CheckpointChunk(
            self.group_id,
            message.sender,
            message.to,
            message.term,
            message.checkpoint.index,
            message.checkpoint.term,
            self.position,
            self.reader.size,
            data,
        )
