"""Outgoing streams: one to every other node for each lane, reopened for as long as this process lives.

Each lane has a connection of its own (gRPC would otherwise share one between channels), for within one TCP
connection a megabyte of records stands before the vote that follows it.

**How a dead peer is noticed.** The kernel resets a killed process's connections at once, which ends our streams to
it and its streams to us. Either is reason to look: a plain TCP connect to its peer listener. Refused: nothing
listens there any more, and the node is told ``peer_lost`` within a millisecond or two of the death, long before any
time-out. Accepted: the process lives (or lives again) and the streams are reopened. No answer: a hung process or a
lost network says nothing either way, and the election timeout decides. The look is not done through gRPC because a
channel's own reconnecting backs off, and keeps its back-off when asked again; a connect
is cheap and its outcome cannot be misunderstood.

**Why a queue may be dropped.** A lane's queue holds what gRPC's flow control does not take: the peer reads too
slowly or not at all. It is bounded in bytes, since an isolated leader must not grow without bound. When a lane's
queue is full the lane is *reset*: everything in it is dropped, the stream is closed and a new session begins.
Dropping a single frame would do harm (later ones would arrive and be refused one by one, each refusal costing a
round trip); a new session tells Raft that nothing is in flight any more, and it resends from what the follower has
acknowledged. The urgent lane is never behind the bulk lane's bytes, so votes and heartbeats go on throughout.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import TYPE_CHECKING, Any

import grpc.aio
import structlog

from quorumlog.peer.v1 import peer_pb2 as pb
from quorumlog.replica.frames import Frame, Lane
from quorumlog.server.codec import EntryCache, encode_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from quorumlog.server.loop import NodeLoop

PROTOCOL = 1
EXCHANGE = "/quorumlog.peer.v1.Peer/Exchange"
#: Nothing that a node has for another is larger; frames are cut far below it.
MAX_FRAME_BYTES = 256 << 20

_OPEN_TIMEOUT_SECONDS = 1.0
_CONNECT_TIMEOUT_SECONDS = 1.0
#: A lane whose queue grows beyond this is reset. An urgent frame is small: so many bytes of them mean a dead
#: reader.
_QUEUE_BYTES = {Lane.URGENT: 8 << 20, Lane.BULK: 32 << 20, Lane.CHECKPOINT: 32 << 20}

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.keepalive_time_ms", 3_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_send_message_length", MAX_FRAME_BYTES),
    ("grpc.max_receive_message_length", 1 << 20),
)

log = structlog.get_logger("quorumlog.peers")


class Backoff:
    """How long to wait before the next attempt: not at all, then 20 to 50 ms for a second, then up to 500 ms.

    The first second is quick because that is how long a restart takes; the jitter keeps nodes that lost the same
    peer from knocking in step.
    """

    __slots__ = ("_attempts", "_random", "_waited")

    def __init__(self, random: random.Random) -> None:
        self._random = random
        self.reset()

    def reset(self) -> None:
        self._attempts = 0
        self._waited = 0.0

    def next_seconds(self) -> float:
        self._attempts += 1
        if self._attempts == 1:
            return 0.0
        if self._waited < 1.0:
            delay = self._random.uniform(0.02, 0.05)
        else:
            delay = self._random.uniform(0.5, 1.0) * min(0.5, 0.05 * 2 ** min(10, self._attempts - 25))
            delay = max(delay, 0.05)
        self._waited += delay
        return delay


class LaneStream:
    """The stream of one lane to one peer."""

    def __init__(self, peer: Outbound, lane: Lane) -> None:
        self._peer = peer
        self.lane = lane
        self.up = False
        self.queue: deque[bytes] = deque()
        self.queued_bytes = 0
        self.sent_bytes = 0
        self.sent_frames = 0
        self.dropped_frames = 0
        self.resets = 0
        self._sessions = 0
        self._backoff = Backoff(peer.random)
        self._wakeup: asyncio.Future[None] | None = None
        self._call: Any = None
        self._last_refusal = ""

    def send(self, data: bytes) -> None:
        """Queues a frame of a stream that is up; resets the lane when its queue is full."""
        if self.queued_bytes + len(data) > _QUEUE_BYTES[self.lane]:
            self._reset()
            return
        self.queue.append(data)
        self.queued_bytes += len(data)
        self._wake()

    def _reset(self) -> None:
        self.resets += 1
        self.dropped_frames += len(self.queue) + 1
        log.warning(
            "lane reset: the peer does not read what it is sent",
            peer=self._peer.node_id,
            lane=self.lane.name.lower(),
            queued_bytes=self.queued_bytes,
        )
        self._forget()
        # The pump may be waiting for flow control that will never let it go on.
        self._call.cancel()
        self._wake()

    def _forget(self) -> None:
        self.up = False
        self.queue.clear()
        self.queued_bytes = 0

    def _wake(self, _: object = None) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def run(self) -> None:
        """Keeps the stream open until cancelled."""
        while True:
            await self._peer.reachable()
            channel = grpc.aio.insecure_channel(self._peer.address, options=_OPTIONS)
            try:
                await self._session(channel)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as error:
                self._note_refusal(error)
            finally:
                await channel.close(None)
            await asyncio.sleep(self._backoff.next_seconds())

    async def _session(self, channel: grpc.aio.Channel) -> None:
        exchange: Any = channel.stream_stream(EXCHANGE, None, None)
        call = exchange()
        call.add_done_callback(self._wake)
        self._sessions += 1
        async with asyncio.timeout(_OPEN_TIMEOUT_SECONDS):
            await call.write(self._peer.hello(self.lane, self._sessions))
            await call.read()
        self.up = True
        self._backoff.reset()
        self._last_refusal = ""
        self._peer.lane_up(self.lane)
        self._call = call
        try:
            await self._pump(call)
        except asyncio.CancelledError:
            # gRPC raises this in whoever writes to a call that was cancelled, as a reset does. Only when somebody
            # cancelled this *task* is it ours to obey.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
        finally:
            self._forget()
            call.cancel()
            self._peer.lane_down(self.lane)

    async def _pump(self, call: Any) -> None:
        queue = self.queue
        loop = asyncio.get_running_loop()
        while self.up and not call.done():
            if not queue:
                self._wakeup = loop.create_future()
                await self._wakeup
                continue
            data = queue.popleft()
            self.queued_bytes -= len(data)
            await call.write(data)
            self.sent_frames += 1
            self.sent_bytes += len(data)

    def _note_refusal(self, error: Exception) -> None:
        """Logs that the peer will not have us, once, not at every attempt; breaks are ordinary."""
        if not isinstance(error, grpc.aio.AioRpcError) or error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
            return
        refusal = error.details() or ""
        if refusal != self._last_refusal:
            self._last_refusal = refusal
            log.error(
                "the peer refuses this node", peer=self._peer.node_id, lane=self.lane.name.lower(), why=refusal
            )


class Outbound:
    """All that this node keeps up towards one other."""

    def __init__(self, links: Links, node_id: int, address: str, random: random.Random) -> None:
        self._links = links
        self.node_id = node_id
        self.address = address
        self.random = random
        host, _, port = address.rpartition(":")
        self._endpoint = (host.strip("[]"), int(port))
        self.lanes = {lane: LaneStream(self, lane) for lane in Lane}
        self._looking: asyncio.Task[None] | None = None
        self._was_up = False
        self.lost_count = 0

    def hello(self, lane: Lane, session: int) -> bytes:
        """The frame with which a stream begins."""
        return pb.Frame(
            hello=pb.Hello(
                cluster_id=self._links.cluster_id,
                node_id=self._links.node_id,
                to_node_id=self.node_id,
                incarnation=self._links.incarnation,
                session=session,
                purpose=lane.name.lower(),
                protocol=PROTOCOL,
                engine=self._links.engine,
            )
        ).SerializeToString()

    def lane_up(self, lane: Lane) -> None:
        self._was_up = True
        self._links.node_loop.link_up(self.node_id, lane)

    def lane_down(self, lane: Lane) -> None:
        self._links.node_loop.link_down(self.node_id, lane)

    def suspect(self) -> None:
        """Something about the peer broke: look at once whether it still listens."""
        if self._looking is None:
            self._looking = self._links.supervise(self._look())

    async def reachable(self) -> None:
        """Returns when the peer accepts a connection; all lanes share one look."""
        self.suspect()
        looking = self._looking
        if looking is not None:
            await asyncio.shield(looking)

    async def _look(self) -> None:
        backoff = Backoff(self.random)
        backoff.next_seconds()
        try:
            while True:
                if await self._accepts():
                    return
                await asyncio.sleep(backoff.next_seconds())
        finally:
            self._looking = None

    async def _accepts(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_SECONDS):
                transport, _ = await loop.create_connection(asyncio.Protocol, *self._endpoint)
        except TimeoutError:
            return False
        except OSError:
            # Refused, unreachable or unknown by name: told once for each time it was up, so that a node which has
            # not started yet is no alarm.
            if self._was_up:
                self._was_up = False
                self.lost_count += 1
                log.warning("peer lost: it does not accept connections any more", peer=self.node_id)
                self._links.node_loop.peer_lost(self.node_id)
            return False
        transport.abort()
        return True


class Links:
    """The outgoing side of this node: takes the frames of each round to their streams."""

    def __init__(
        self,
        cluster_id: str,
        node_id: int,
        incarnation: int,
        addresses: Mapping[int, str],
        node_loop: NodeLoop,
        on_defect: Callable[[BaseException], object],
        engine: str = "raft",
    ) -> None:
        self.engine = engine
        self.cluster_id = cluster_id
        self.node_id = node_id
        self.incarnation = incarnation
        self.node_loop = node_loop
        self._on_defect = on_defect
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        jitter = random.Random(incarnation * 65_537 + node_id)
        self.peers = {
            peer: Outbound(self, peer, address, jitter)
            for peer, address in sorted(addresses.items())
            if peer != node_id
        }

    def start(self) -> None:
        """Begins to open the streams."""
        for peer in self.peers.values():
            for lane in peer.lanes.values():
                self.supervise(lane.run())

    def send(self, frames: list[Frame]) -> None:
        """Encodes the frames of one round, each entry once, and queues them. Frames for a
        closed lane are dropped.
        """
        cache = EntryCache()
        for frame in frames:
            lane = self.peers[frame.to].lanes[frame.lane]
            if lane.up:
                lane.send(encode_frame(frame, cache))
            else:
                lane.dropped_frames += 1

    def suspect(self, peer: int) -> None:
        """A stream from the peer broke."""
        if not self._stopping:
            self.peers[peer].suspect()

    def supervise(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a task whose unexpected end is a defect: a link that nobody keeps up must not go unnoticed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_defect(error)

    async def stop(self) -> None:
        """Closes all streams."""
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
