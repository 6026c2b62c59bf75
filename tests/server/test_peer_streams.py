"""Streams between nodes over real gRPC on the loopback: what arrives, who is refused, how a death is noticed."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from quorumlog.peer.v1 import peer_pb2 as pb
from quorumlog.peer.v1 import peer_pb2_grpc
from quorumlog.raft.types import AppendRequest, Entry, EntryKind
from quorumlog.replica.frames import Frame, Lane
from quorumlog.server import listen
from quorumlog.server.codec import EntryCache, encode_frame
from quorumlog.server.exchange import Exchange
from quorumlog.server.peers import MAX_FRAME_BYTES, Backoff, Links

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

PATIENCE_SECONDS = 10


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Inbox:
    """What a node's loop is told about its links, in order."""

    def __init__(self) -> None:
        self._told: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()

    def link_up(self, peer: int, lane: Lane) -> None:
        self._told.put_nowait(("up", peer, lane))

    def link_down(self, peer: int, lane: Lane) -> None:
        self._told.put_nowait(("down", peer, lane))

    def peer_lost(self, peer: int) -> None:
        self._told.put_nowait(("lost", peer))

    def receive(self, frame: Frame) -> None:
        self._told.put_nowait(("frame", frame))

    async def next(self) -> tuple[Any, ...]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._told.get()

    async def take(self, count: int) -> list[tuple[Any, ...]]:
        return [await self.next() for _ in range(count)]

    @property
    def empty(self) -> bool:
        return self._told.empty()


def fail(error: BaseException) -> None:
    raise AssertionError("a link's task ended") from error


def open_stream(channel: grpc.aio.Channel) -> Any:
    """A stream of frames to a peer listener, written by hand."""
    stub: Any = peer_pb2_grpc.PeerStub(channel)
    return stub.Exchange()


class Side:
    """One node's links and, unless it is dead, its peer listener."""

    def __init__(self, node_id: int, addresses: dict[int, str], cluster_id: str = "c") -> None:
        self.address = addresses[node_id]
        self.inbox = Inbox()
        inbox: Any = self.inbox
        self.links = Links(cluster_id, node_id, 1, addresses, inbox, fail)
        self.exchange = Exchange(cluster_id, node_id, inbox, self.links)
        self._server: grpc.aio.Server | None = None

    async def listen(self) -> None:
        self._server = listen.server(MAX_FRAME_BYTES)
        peer_pb2_grpc.add_PeerServicer_to_server(self.exchange, self._server)
        listen.bind(self._server, self.address, "peers")
        await self._server.start()

    async def stop_listening(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def close(self) -> None:
        await self.links.stop()
        await self.stop_listening()


@asynccontextmanager
async def pair(**first: str) -> AsyncIterator[tuple[Side, Side]]:
    """Node 1, which speaks, and node 2, which listens."""
    addresses = {node: f"127.0.0.1:{free_port()}" for node in (1, 2)}
    async with AsyncExitStack() as stack:
        one, two = Side(1, addresses, **first), Side(2, addresses)
        for side in (two, one):
            stack.push_async_callback(side.close)
        await two.listen()
        one.links.start()
        yield one, two


def data_frame(sequence: int, size: int = 10) -> Frame:
    entry = Entry(9, 5, EntryKind.DATA, bytes(size))
    return Frame(1, 2, Lane.BULK, 0, sequence, messages=((16, AppendRequest(1, 2, 5, 8, 5, 3, (entry,))),))


async def test_each_lane_is_told_to_be_up_and_frames_arrive_in_order() -> None:
    async with pair() as (one, two):
        assert {told[2] for told in await one.inbox.take(3)} == set(Lane)
        one.links.send([Frame(1, 2, lane, 0, number, alive=True) for number in (1, 2, 3) for lane in Lane])
        frames = [told[1] for told in await two.inbox.take(9)]
        for lane in Lane:
            assert [frame.sequence for frame in frames if frame.lane is lane] == [1, 2, 3]
        assert len({frame.session for frame in frames}) == 3


async def test_a_closed_listener_is_reported_as_the_peers_loss_at_once_and_once() -> None:
    async with pair() as (one, two):
        await one.inbox.take(3)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await two.stop_listening()
        told = await one.inbox.take(4)
        assert loop.time() - began < 0.5
        assert sorted(told) == sorted([*(("down", 2, lane) for lane in Lane), ("lost", 2)])
        await asyncio.sleep(0.2)
        assert one.inbox.empty, "lost is said once, not at every attempt"


async def test_a_node_that_was_never_up_is_not_lost() -> None:
    one = Side(1, {node: f"127.0.0.1:{free_port()}" for node in (1, 2)})
    one.links.start()
    await asyncio.sleep(0.2)
    told_nothing = one.inbox.empty
    await one.close()
    assert told_nothing


async def test_links_come_back_by_themselves_in_a_newer_session() -> None:
    async with pair() as (one, two):
        await one.inbox.take(3)
        one.links.send([data_frame(1)])
        before = (await two.inbox.next())[1]
        await two.stop_listening()
        await one.inbox.take(4)
        await two.listen()
        assert sorted(await one.inbox.take(3)) == [("up", 2, lane) for lane in Lane]
        one.links.send([data_frame(1)])
        after = (await two.inbox.next())[1]
        assert after.session > before.session


async def test_a_node_of_another_cluster_is_refused_and_stays_out() -> None:
    async with pair(cluster_id="other") as (one, two):
        await asyncio.sleep(0.3)
        assert one.inbox.empty
        assert two.inbox.empty


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"cluster_id": "x"}, "cluster 'x'"),
        ({"to_node_id": 3}, "mixed up"),
        ({"node_id": 9}, "not among the nodes"),
        ({"node_id": 2}, "not among the nodes"),
        ({"protocol": 2}, "protocol 2"),
        ({"purpose": "gossip"}, "unknown purpose"),
    ],
)
async def test_a_stream_that_does_not_belong_here_is_refused_with_the_reason(
    wrong: dict[str, Any], why: str
) -> None:
    right = {"cluster_id": "c", "node_id": 1, "to_node_id": 2, "protocol": 1, "purpose": "bulk", "session": 1}
    async with pair() as (_, two), grpc.aio.insecure_channel(two.address) as channel:
        call = open_stream(channel)
        await call.write(pb.Frame(hello=pb.Hello(**{**right, **wrong})))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
                assert why in await call.details()
        finally:
            call.cancel()


async def test_only_the_newest_stream_of_a_lane_is_listened_to() -> None:
    hello = pb.Frame(hello=pb.Hello(cluster_id="c", node_id=1, to_node_id=2, protocol=1, purpose="checkpoint"))
    two = Side(2, {node: f"127.0.0.1:{free_port()}" for node in (1, 2)})
    async with AsyncExitStack() as stack:
        stack.push_async_callback(two.close)
        await two.listen()
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(two.address))
        older, newer = open_stream(channel), open_stream(channel)
        for call in (older, newer):
            stack.callback(call.cancel)
            await call.write(hello)
            await call.read()
        await older.write(pb.Frame(sequence=1))
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await older.code() is grpc.StatusCode.ABORTED
        await newer.write(pb.Frame(sequence=2))
        frame = (await two.inbox.next())[1]
        assert frame.sequence == 2


async def test_a_damaged_frame_is_dropped_and_counted_and_the_next_one_arrives() -> None:
    async with pair() as (one, two):
        await one.inbox.take(3)
        wire = pb.Frame.FromString(encode_frame(data_frame(1), EntryCache()))
        wire.messages[0].append_request.entries[0].crc32c ^= 1
        one.links.peers[2].lanes[Lane.BULK].send(wire.SerializeToString())
        one.links.send([data_frame(2)])
        assert (await two.inbox.next())[1].sequence == 2
        assert two.exchange.bad_frames == 1


class Deaf(peer_pb2_grpc.PeerServicer):
    """Accepts streams and reads nothing more from bulk ones; urgent ones it hears."""

    def __init__(self) -> None:
        self.urgent: asyncio.Queue[int] = asyncio.Queue()

    async def Exchange(self, request_iterator: AsyncIterator[pb.Frame], context: Any) -> AsyncIterator[pb.Ack]:
        hello = (await anext(aiter(request_iterator))).hello
        yield pb.Ack()
        if hello.purpose != "urgent":
            await asyncio.Event().wait()
        async for frame in request_iterator:
            self.urgent.put_nowait(frame.sequence)


@asynccontextmanager
async def beside_a_deaf_peer() -> AsyncIterator[tuple[Side, Deaf]]:
    addresses = {node: f"127.0.0.1:{free_port()}" for node in (1, 2)}
    deaf, server, one = Deaf(), listen.server(MAX_FRAME_BYTES), Side(1, addresses)
    peer_pb2_grpc.add_PeerServicer_to_server(deaf, server)
    listen.bind(server, addresses[2], "peers")
    await server.start()
    one.links.start()
    try:
        yield one, deaf
    finally:
        await one.close()
        await server.stop(None)


async def test_a_lane_whose_peer_does_not_read_is_reset_and_the_urgent_lane_goes_on() -> None:
    async with beside_a_deaf_peer() as (one, deaf):
        await one.inbox.take(3)
        bulk = one.links.peers[2].lanes[Lane.BULK]
        for number in range(1, 60):
            one.links.send([data_frame(number, 1 << 20)])
            assert bulk.queued_bytes <= 32 << 20
            await asyncio.sleep(0)
            if bulk.resets:
                break
        one.links.send([Frame(1, 2, Lane.URGENT, 0, 77, alive=True)])
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await deaf.urgent.get() == 77
        assert bulk.resets == 1
        assert await one.inbox.take(2) == [("down", 2, Lane.BULK), ("up", 2, Lane.BULK)]
        assert bulk.queued_bytes == 0, "what was queued belongs to the session that ended"


class Middle:
    """Randomness that is not random."""

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


def test_reconnection_is_immediate_then_quick_for_a_second_then_patient() -> None:
    middle: Any = Middle()
    rng: random.Random = middle
    backoff = Backoff(rng)
    delays = [backoff.next_seconds() for _ in range(60)]
    assert delays[0] == 0
    quick = [delay for delay in delays[1:] if delay <= 0.05]
    assert 0.9 < sum(quick) < 1.2
    assert max(delays) <= 0.5
    assert delays[-1] > 0.3
    backoff.reset()
    assert backoff.next_seconds() == 0
