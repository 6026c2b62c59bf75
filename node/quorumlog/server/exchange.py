"""Incoming streams: what other nodes send to this one.

The first frame of a stream says who speaks and to whom. A stream is accepted with an Ack; anything that does not
belong here is refused with FAILED_PRECONDITION and a sentence for whoever reads the log: a node of another cluster,
one that takes this node for another, one that speaks another protocol.

**Sessions are numbered here, in the order in which streams were accepted**, not with the numbers the sender chose:
the node drops what belongs to an older session than the newest it has seen, and a sender whose clock was set back
between two starts would otherwise be deaf-eared until its numbers have caught up. So that a stream which is still
open somewhere cannot speak up after its successor, only the newest stream of a peer's lane is listened to.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog

from quorumlog.peer.v1 import peer_pb2 as pb
from quorumlog.peer.v1 import peer_pb2_grpc
from quorumlog.replica.frames import Lane
from quorumlog.server.codec import BadFrame, decode_frame
from quorumlog.server.peers import PROTOCOL, Links

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quorumlog.server.loop import NodeLoop

log = structlog.get_logger("quorumlog.exchange")

_LANES = {lane.name.lower(): lane for lane in Lane}


class Exchange(peer_pb2_grpc.PeerServicer):
    """The peer listener's service."""

    def __init__(self, cluster_id: str, node_id: int, node_loop: NodeLoop, links: Links) -> None:
        self._cluster_id = cluster_id
        self._node_id = node_id
        self._node_loop = node_loop
        self._links = links
        self._sessions = itertools.count(1)
        self._newest: dict[tuple[int, Lane], int] = {}
        self._refused: dict[int, str] = {}
        self.bad_frames = 0
        self.received_frames = 0

    async def Exchange(
        self, request_iterator: AsyncIterator[pb.Frame], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.Ack]:
        """Takes the frames of one stream until it breaks."""
        hello = (await anext(aiter(request_iterator), pb.Frame())).hello
        why = self.objection(hello)
        if why:
            self._note_refusal(hello.node_id, why)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, why)
        sender, lane = hello.node_id, _LANES[hello.purpose]
        session = self._newest[sender, lane] = next(self._sessions)
        log.debug("stream accepted", peer=sender, lane=hello.purpose, session=session)
        yield pb.Ack()
        try:
            async for wire in request_iterator:
                if self._newest[sender, lane] != session:
                    await context.abort(grpc.StatusCode.ABORTED, "a newer stream of this lane has taken over")
                self._take(wire, sender, lane, session)
        finally:
            if self._newest[sender, lane] == session:
                self._links.suspect(sender)

    def objection(self, hello: pb.Hello) -> str:
        """Why the speaker does not belong here; empty if it does."""
        if hello.protocol != PROTOCOL:
            return f"protocol {hello.protocol}; node {self._node_id} speaks {PROTOCOL}"
        if hello.cluster_id != self._cluster_id:
            return f"a node of cluster {hello.cluster_id!r}; node {self._node_id} belongs to {self._cluster_id!r}"
        if hello.to_node_id != self._node_id:
            return f"meant for node {hello.to_node_id}; this is node {self._node_id}: the addresses are mixed up"
        if hello.node_id not in self._links.peers:
            return f"node {hello.node_id} is not among the nodes that node {self._node_id} is configured with"
        if (hello.engine or "raft") != self._links.engine:
            theirs, ours = hello.engine or "raft", self._links.engine
            return f"runs engine {theirs!r}; node {self._node_id} runs {ours!r}: all nodes must run the same"
        if hello.purpose not in _LANES:
            return f"unknown purpose {hello.purpose!r}"
        return ""

    def _note_refusal(self, peer: int, why: str) -> None:
        """Logs a refusal once: the peer comes back several times a second for as long as it is configured so."""
        if self._refused.get(peer) != why:
            self._refused[peer] = why
            log.error("peer refused", peer=peer, why=why)

    def _take(self, wire: pb.Frame, sender: int, lane: Lane, session: int) -> None:
        self.received_frames += 1
        try:
            frame = decode_frame(wire, sender, self._node_id, lane, session)
        except BadFrame as error:
            # The whole frame goes: its number is then missing, and whatever relied on it is said again.
            self.bad_frames += 1
            log.error("damaged frame dropped", peer=sender, lane=lane.name.lower(), why=str(error))
            return
        self._node_loop.receive(frame)
