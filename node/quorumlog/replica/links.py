"""The link to one other node: what is to be sent, what was heard, and whether it can be relied on.

Liveness is a matter between two *nodes* (RAFT.md §4; compare CockroachDB's store liveness and Redpanda's
lightweight heartbeats): a frame proves that a node is alive, and stands for a heartbeat in every quiet group the
two share. That holds only while nothing between them was missed. So frames are numbered, and the moment a number is
missing, a stream begins anew or a node falls silent, the link says so and every quiet group shared with that node
is woken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.engines import EngineMessage
from quorumlog.replica.frames import (
    CheckpointChunk,
    CheckpointResult,
    Frame,
    Lane,
    ReplaceReplica,
    StateDigest,
)

if TYPE_CHECKING:
    from quorumlog.raft.types import Message


#: Entries of another engine per frame. A frame arrives whole or not at all; were everything that such an engine
#: says in one turn a single frame, crashes between two of its messages, which its own transport knows, would not
#: happen here.
ENGINE_FRAME_BYTES = 64 << 10


class Outgoing:
    """One lane towards the peer: gathers until it is flushed, numbers what leaves."""

    __slots__ = ("chunks", "digests", "lane", "messages", "replacements", "results", "sequence", "session", "up")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.up = False
        self.session = 0
        self.sequence = 0
        self.clear()

    def clear(self) -> None:
        self.messages: list[tuple[int, Message | EngineMessage]] = []
        self.chunks: list[CheckpointChunk] = []
        self.results: list[CheckpointResult] = []
        self.replacements: list[ReplaceReplica] = []
        self.digests: list[StateDigest] = []

    def begin_session(self, session: int) -> None:
        """A stream was opened. What was gathered for the one before is dropped: Raft will say it again."""
        self.clear()
        self.up = True
        self.session = session
        self.sequence = 0

    def __bool__(self) -> bool:
        return bool(self.messages or self.chunks or self.results or self.replacements or self.digests)

    def flush(self, sender: int, to: int, *, alive: bool, resync: bool) -> Frame:
        """What was gathered, as the next frame of the session: everything, unless another engine's entries exceed
        what fits one frame; call again while anything is left."""
        self.sequence += 1
        rest = _cut(self.messages)
        frame = Frame(
            sender,
            to,
            self.lane,
            self.session,
            self.sequence,
            tuple(self.messages),
            tuple(self.chunks),
            tuple(self.results),
            tuple(self.replacements),
            tuple(self.digests),
            alive,
            resync,
        )
        self.clear()
        self.messages = rest
        return frame


class Incoming:
    """One lane from the peer: tells stale, repeated and missing frames."""

    __slots__ = ("sequence", "session")

    def __init__(self) -> None:
        self.session = 0
        self.sequence = 0

    def accept(self, frame: Frame) -> tuple[bool, bool]:
        """(take the frame, something before it was missed).

        A frame of an older session, or one seen before, is not taken. A new session counts as something missed.
        """
        if frame.session < self.session:
            return False, False
        if frame.session > self.session:
            self.session = frame.session
            self.sequence = frame.sequence
            return True, True
        if frame.sequence <= self.sequence:
            return False, False
        missed = frame.sequence != self.sequence + 1
        self.sequence = frame.sequence
        return True, missed


class PeerLink:
    """Both directions between this node and one other."""

    __slots__ = (
        "_alive_due_ms",
        "_incoming",
        "_lanes",
        "_node",
        "heard_ms",
        "heard_since_ms",
        "peer",
        "resync_wanted",
        "silent",
    )

    def __init__(self, node: int, peer: int, now_ms: int) -> None:
        self._node = node
        self.peer = peer
        self._lanes = tuple(Outgoing(lane) for lane in Lane)
        self._incoming = tuple(Incoming() for _ in Lane)
        self.heard_ms = now_ms
        self.heard_since_ms = now_ms
        self.silent = True
        """Nothing heard for an election timeout, or never."""
        self.resync_wanted = False
        self._alive_due_ms = now_ms

    # --- sending ---

    @property
    def up(self) -> bool:
        """Votes and heartbeats can leave."""
        return self._lanes[Lane.URGENT].up

    def lane(self, lane: Lane) -> Outgoing:
        return self._lanes[lane]

    def begin_session(self, lane: Lane, session: int) -> None:
        self._lanes[lane].begin_session(session)
        self._alive_due_ms = 0

    def end_session(self, lane: Lane) -> None:
        outgoing = self._lanes[lane]
        outgoing.up = False
        outgoing.clear()

    def flush(self, now_ms: int, heartbeat_ms: int, frames: list[Frame]) -> None:
        """Appends the frames that are due: what was gathered, and a sign of life if none has left lately."""
        for outgoing in self._lanes:
            if not outgoing.up:
                outgoing.clear()
                continue
            urgent = outgoing.lane is Lane.URGENT
            due = urgent and (now_ms >= self._alive_due_ms or self.resync_wanted)
            if not due and not outgoing:
                continue
            frames.append(outgoing.flush(self._node, self.peer, alive=urgent, resync=urgent and self.resync_wanted))
            while outgoing:
                frames.append(outgoing.flush(self._node, self.peer, alive=False, resync=False))
            if urgent:
                self._alive_due_ms = now_ms + heartbeat_ms
                self.resync_wanted = False

    # --- hearing ---

    def hear(self, frame: Frame, now_ms: int) -> tuple[bool, bool]:
        """(take the frame, what relied on the link must be renewed).

        Only the urgent lane carries what quiet groups rely on; a gap in the others costs a resend, which Raft does.
        """
        taken, missed = self._incoming[frame.lane].accept(frame)
        if not taken:
            return False, False
        self.heard_ms = now_ms
        renewed = self.silent
        self.silent = False
        if frame.lane is not Lane.URGENT:
            return True, renewed
        if missed:
            self.resync_wanted = True
        return True, renewed or missed or frame.resync


def _cut(messages: list[tuple[int, Message | EngineMessage]]) -> list[tuple[int, Message | EngineMessage]]:
    """Removes from ``messages`` and returns what is not to leave with the first frame."""
    if not messages or type(messages[0][1]) is not EngineMessage:
        return []
    size = 0
    for number, (_, message) in enumerate(messages):
        size += message.size_bytes  # type: ignore[union-attr]  # all are of one engine
        if size > ENGINE_FRAME_BYTES and number:
            rest = messages[number:]
            del messages[number:]
            return rest
    return []
