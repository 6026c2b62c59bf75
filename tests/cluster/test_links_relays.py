"""Real sockets through a real board of links: every condition does what its name says, to one direction only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from quorumlog.cluster import layout as layouts
from quorumlog.cluster.layout import HOST
from quorumlog.cluster.links.__main__ import LinkBoard
from quorumlog.cluster.links.condition import LinkCondition
from quorumlog.cluster.links.control import LinkedCluster, LinksFailed
from quorumlog.cluster.links.flow import HELD_BYTES_MAX
from quorumlog.cluster.throwaway import base_port, planned_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Long for a relay on one machine, short for a test: silence is only observed for so long.
SILENCE_S = 0.15
PATIENCE_S = 10.0
#: Timers may fire early by their resolution.
TIMER_S = 0.005


class Peer:
    """A node's peer listener: what it has been told, by everybody together, and every connection over which
    something was said (relays knock without a word)."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.endings: list[str] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop_listening(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spoken = False
        try:
            while chunk := await reader.read(1 << 16):
                if not spoken:
                    self.connections.append((reader, writer))
                spoken = True
                self.heard += chunk
            ending = "fin"
        except ConnectionResetError:
            ending = "rst"
        if spoken:
            self.endings.append(ending)

    async def hears(self, expected: bytes) -> None:
        await until(lambda: len(self.heard) >= len(expected))
        assert bytes(self.heard) == expected

    async def hears_nothing_more(self) -> None:
        before = len(self.heard)
        await asyncio.sleep(SILENCE_S)
        assert len(self.heard) == before

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for _, writer in self.connections:
            writer.transport.abort()


class Two:
    """Nodes 1 and 2 and the links between them; the tests speak for node 1 and listen as node 2."""

    def __init__(self, board: LinkBoard, peers: dict[int, Peer], ports: dict[tuple[int, int], int]) -> None:
        self.board = board
        self.peers = peers
        self.ports = ports
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, source: int = 1, target: int = 2) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(HOST, self.ports[source, target])
        self._writers.append(writer)
        return reader, writer

    async def speaking(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection from 1 to 2 over which something has gone."""
        reader, writer = await self.connect()
        writer.write(b"hello")
        await self.peers[2].hears(b"hello")
        self.peers[2].heard.clear()
        return reader, writer

    def answer(self, data: bytes) -> None:
        """Node 2 says something on the connection last made to it."""
        self.peers[2].connections[-1][1].write(data)

    def set(self, source: int, target: int, **condition: Any) -> None:
        self.board.obey({"do": "set", "source": source, "target": target, "condition": condition})

    def counts(self, source: int, target: int) -> dict[str, Any]:
        return self.board.obey({"do": "counts", "source": source, "target": target})

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


async def until(holds: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - sockets and other processes, which set no event of ours
            await asyncio.sleep(0.002)


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    async with two_linked() as linked:
        yield linked


@asynccontextmanager
async def two_linked() -> AsyncIterator[Two]:
    peers = {1: Peer(), 2: Peer()}
    for peer in peers.values():
        await peer.listen()
    board = LinkBoard({node: (HOST, peer.port) for node, peer in peers.items()})
    linked = Two(board, peers, board.start(base_port() + 301))
    await until(lambda: can_connect(linked.ports[1, 2]) and can_connect(linked.ports[2, 1]))
    try:
        yield linked
    finally:
        linked.close()
        await board.close()
        for peer in peers.values():
            peer.close()


def can_connect(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex((HOST, port)) == 0


async def silent(reader: asyncio.StreamReader) -> bool:
    """Nothing comes, not even an end."""
    try:
        await asyncio.wait_for(reader.read(1), SILENCE_S)
    except TimeoutError:
        return True
    return False


# --- a good link


async def test_a_good_link_passes_both_ways_and_counts(two: Two) -> None:
    reader, writer = await two.connect()
    writer.write(b"question")
    await two.peers[2].hears(b"question")
    two.answer(b"reply")
    assert await reader.readexactly(5) == b"reply"
    assert two.counts(1, 2) == {"passed_bytes": 8, "held_bytes": 0, "reset": 0}
    assert two.counts(2, 1) == {"passed_bytes": 5, "held_bytes": 0, "reset": 0}


async def test_megabytes_pass_whole_while_the_reader_is_slow(two: Two) -> None:
    payload = bytes(range(256)) * (1 << 15)
    reader, writer = await two.speaking()
    two.answer(payload)
    await asyncio.sleep(SILENCE_S)
    received = await asyncio.wait_for(reader.readexactly(len(payload)), PATIENCE_S)
    assert received == payload
    writer.write(payload)
    await two.peers[2].hears(payload)


async def test_an_end_that_closes_is_closed_at_the_other_and_may_still_be_answered(two: Two) -> None:
    reader, writer = await two.speaking()
    writer.write_eof()
    await until(lambda: two.peers[2].endings == ["fin"])
    two.answer(b"last words")
    two.peers[2].connections[-1][1].close()
    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b"last words"


async def test_a_connection_that_is_reset_at_one_end_is_reset_at_the_other(two: Two) -> None:
    _, writer = await two.speaking()
    writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
    await until(lambda: two.peers[2].endings == ["rst"])


# --- black holes


async def test_a_link_cut_one_way_passes_the_other_way(two: Two) -> None:
    reader, writer = await two.speaking()
    two.set(1, 2, open=False)
    writer.write(b"unheard")
    await two.peers[2].hears_nothing_more()
    two.answer(b"heard")
    assert await asyncio.wait_for(reader.readexactly(5), PATIENCE_S) == b"heard"
    assert two.counts(1, 2)["held_bytes"] == len(b"unheard")


async def test_what_the_accepted_side_says_obeys_the_link_of_its_own_direction(two: Two) -> None:
    reader, writer = await two.speaking()
    two.set(2, 1, open=False)
    two.answer(b"unheard")
    writer.write(b"heard")
    await two.peers[2].hears(b"heard")
    assert await silent(reader)
    two.set(2, 1)
    assert await asyncio.wait_for(reader.readexactly(7), PATIENCE_S) == b"unheard"


async def test_what_a_cut_link_held_passes_in_order_when_it_is_healed(two: Two) -> None:
    _, writer = await two.speaking()
    two.set(1, 2, open=False)
    for number in range(100):
        writer.write(b"%d " % number)
        await asyncio.sleep(0)
    await two.peers[2].hears_nothing_more()
    two.set(1, 2)
    writer.write(b"later")
    await two.peers[2].hears(b"".join(b"%d " % number for number in range(100)) + b"later")


@pytest.mark.parametrize("closed", [(1, 2), (2, 1)])
async def test_a_connection_made_while_either_direction_is_cut_stands_only_when_both_are_open(
    two: Two, closed: tuple[int, int]
) -> None:
    two.set(*closed, open=False)
    reader, writer = await two.connect()
    writer.write(b"hello")
    assert await silent(reader)
    assert two.peers[2].heard == b""
    two.set(*closed)
    await two.peers[2].hears(b"hello")


async def test_a_connection_that_was_given_up_behind_a_cut_never_comes_into_being(two: Two) -> None:
    two.set(1, 2, open=False)
    await asyncio.sleep(SILENCE_S)
    _, writer = await two.connect()
    writer.write(b"hello")
    await asyncio.sleep(SILENCE_S)
    writer.close()
    await asyncio.sleep(SILENCE_S)
    two.set(1, 2)
    await two.peers[2].hears_nothing_more()
    assert two.peers[2].connections == []


async def test_a_cut_hides_even_that_a_connection_ended(two: Two) -> None:
    _, writer = await two.speaking()
    two.set(1, 2, open=False)
    writer.transport.abort()
    await asyncio.sleep(SILENCE_S)
    assert two.peers[2].endings == []
    two.set(1, 2)
    await until(lambda: two.peers[2].endings)


async def test_a_cut_link_holds_little_and_then_lets_the_sender_wait(two: Two) -> None:
    _, writer = await two.speaking()
    two.set(1, 2, open=False)
    writer.write(bytes(64 << 20))
    await asyncio.sleep(SILENCE_S)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(writer.drain(), SILENCE_S)
    assert two.counts(1, 2)["held_bytes"] <= 2 * HELD_BYTES_MAX


# --- refusals and resets


async def test_a_link_that_rejects_breaks_connections_and_refuses_new_ones(two: Two) -> None:
    reader, _ = await two.speaking()
    two.set(1, 2, reject=True)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), PATIENCE_S)
    await until(lambda: two.peers[2].endings == ["rst"])
    with pytest.raises(ConnectionRefusedError):
        await two.connect()
    assert two.counts(1, 2)["reset"] == 1
    two.set(1, 2)
    await two.speaking()


async def test_the_other_way_a_rejecting_link_lets_nothing_come_to_stand(two: Two) -> None:
    two.set(1, 2, reject=True)
    reader, writer = await two.connect(2, 1)
    writer.write(b"hello")
    assert await silent(reader)
    assert two.peers[1].heard == b""


async def test_a_reset_breaks_what_stands_and_nothing_else(two: Two) -> None:
    reader, _ = await two.speaking()
    two.board.obey({"do": "reset", "source": 1, "target": 2})
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), PATIENCE_S)
    await until(lambda: two.peers[2].endings == ["rst"])
    assert two.counts(1, 2)["reset"] == 1
    await two.speaking()


# --- a dead target


async def test_a_target_that_died_refuses_through_the_relay_before_the_news_arrives(two: Two) -> None:
    reader, _ = await two.speaking()
    two.peers[2].stop_listening()
    two.peers[2].connections[-1][1].transport.abort()
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(1), PATIENCE_S) == b""
    with pytest.raises(ConnectionRefusedError):
        await two.connect()
    await two.peers[2].listen()
    await until(lambda: can_connect(two.ports[1, 2]))
    await two.speaking()


@pytest.mark.parametrize("closed", [(1, 2), (2, 1)])
async def test_a_cut_hides_that_the_target_is_dead(two: Two, closed: tuple[int, int]) -> None:
    await two.speaking()
    two.set(*closed, open=False)
    two.peers[2].stop_listening()
    two.peers[2].connections[-1][1].transport.abort()
    await asyncio.sleep(SILENCE_S)
    reader, _ = await two.connect()
    assert await silent(reader)
    two.set(*closed)
    with pytest.raises(ConnectionRefusedError):
        await two.connect()


# --- slow links


async def test_latency_delays_one_direction_and_keeps_order(two: Two) -> None:
    reader, writer = await two.speaking()
    two.set(1, 2, latency_ms=300, jitter_ms=100)
    begun = time.monotonic()
    for number in range(10):
        writer.write(b"%02d" % number)
        await asyncio.sleep(0.001)
    two.answer(b"at once")
    await asyncio.wait_for(reader.readexactly(7), PATIENCE_S)
    assert two.peers[2].heard == b"", "what flows back is not delayed"
    await two.peers[2].hears(b"".join(b"%02d" % number for number in range(10)))
    assert time.monotonic() - begun >= 0.3 - TIMER_S
    assert two.counts(1, 2)["held_bytes"] == 20


async def test_a_healed_link_does_not_wait_out_its_old_latency(two: Two) -> None:
    _, writer = await two.speaking()
    two.set(1, 2, latency_ms=60_000)
    writer.write(b"first")
    await two.peers[2].hears_nothing_more()
    two.set(1, 2)
    writer.write(b"second")
    await two.peers[2].hears(b"firstsecond")


async def test_bandwidth_is_shared_by_the_connections_of_a_link(two: Two) -> None:
    _, bulk = await two.speaking()
    _, urgent = await two.speaking()
    two.set(1, 2, bytes_per_s=100_000)
    begun = time.monotonic()
    bulk.write(bytes(30_000))
    await until(lambda: two.peers[2].heard)
    urgent.write(b"vote")
    await until(lambda: b"vote" in two.peers[2].heard)
    assert len(two.peers[2].heard) < 25_000, "it did not wait behind all of the other connection's bytes"
    await until(lambda: len(two.peers[2].heard) == 30_004)
    assert time.monotonic() - begun >= 0.3 - TIMER_S


async def test_a_stalled_piece_holds_up_those_behind_it(two: Two) -> None:
    _, writer = await two.speaking()
    two.set(1, 2, stall_rate=1.0, stall_ms=100)
    begun = time.monotonic()
    writer.write(b"lost once")
    await asyncio.sleep(0.01)
    two.board.obey({"do": "set", "source": 2, "target": 1, "condition": {"stall_rate": 0.0}})
    await two.peers[2].hears(b"lost once")
    assert time.monotonic() - begun >= 0.1 - TIMER_S


# --- the process


async def test_the_links_end_with_the_socket_that_orders_them() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        process = start_links(theirs)
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    layout = {"nodes": {"1": f"{HOST}:1", "2": f"{HOST}:2"}, "first_port": base_port() + 301}
    writer.write(json.dumps(layout).encode() + b"\n")
    ports = json.loads(await reader.readline())["ports"]
    assert [[source, target] for source, target, _ in ports] == [[1, 2], [2, 1]]
    writer.write(b'{"do": "dance", "source": 1, "target": 2}\n')
    assert "error" in json.loads(await reader.readline())
    writer.close()
    assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0


def start_links(orders: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "quorumlog.cluster.links"], stdin=orders.fileno())


async def test_a_cluster_is_told_its_relays_and_orders_go_to_them() -> None:
    with planned_cluster() as cluster:
        links = LinkedCluster(cluster)
        with pytest.raises(LinksFailed, match="not installed"):
            await links.heal()
        await links.install()
        config = layouts.config_path(cluster.directory, 1).read_text()
        assert cluster.nodes[0].peer_address in config
        assert cluster.nodes[1].peer_address not in config
        await links.cut_off(1)
        await links.heal()
        assert (await links.counts(1, 2)).held_bytes == 0
        with pytest.raises(LinksFailed, match="KeyError"):
            await links.set(1, 7, LinkCondition())
        await links.close()
        with pytest.raises(LinksFailed):
            await links.counts(1, 2)
        await links.close()
