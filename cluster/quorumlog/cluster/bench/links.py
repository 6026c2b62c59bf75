"""Links between nodes that can be cut without the kernel's help.

Cutting a node off with netfilter needs privileges and a network of its own. Here every ordered pair of nodes gets a
TCP relay, and each node is told the relay's port instead of its peer's: a cut link swallows bytes and answers
nothing, with its connections left open. That is what a failed switch looks like, and the hard case: a broken
connection would tell both ends at once. (Toxiproxy does the same for other programs; Jepsen uses iptables.)
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from quorumlog.cluster import layout as layouts

if TYPE_CHECKING:
    from quorumlog.cluster.launcher import LocalCluster

CHUNK_BYTES = 1 << 16


class Link:
    """Relays connections from one node to another's peer listener, until it is cut."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()

    async def listen(self) -> int:
        """Begins to relay; the port to connect to."""
        self._server = await asyncio.start_server(self._accept, layouts.HOST, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """From now on nothing passes, in either direction; connections stay open."""
        self._open.clear()

    def heal(self) -> None:
        """What was held back passes now, in order."""
        self._open.set()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        try:
            onward_reader, onward_writer = await asyncio.open_connection(layouts.HOST, self._target_port)
        except OSError:
            writer.close()
            return
        for source, sink in ((reader, onward_writer), (onward_reader, writer)):
            relay = asyncio.create_task(self._relay(source, sink))
            self._relays.add(relay)
            relay.add_done_callback(self._relays.discard)

    async def _relay(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(CHUNK_BYTES):
                await self._open.wait()
                sink.write(chunk)
                await sink.drain()
        sink.close()


class LinkedCluster:
    """Puts a link between every two nodes of a cluster that has not been started yet."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._links: dict[tuple[int, int], Link] = {}

    async def install(self) -> None:
        """Starts the relays and rewrites each node's configuration to use its own."""
        cluster = self._cluster
        for own in cluster.nodes:
            seen = []
            for peer in cluster.nodes:
                if peer.node_id != own.node_id:
                    link = self._links[own.node_id, peer.node_id] = Link(layouts.port_of(peer.peer_address))
                    seen.append(replace(peer, peer_address=f"{layouts.HOST}:{await link.listen()}"))
                else:
                    seen.append(peer)
            cluster.rewrite_config(own.node_id, tuple(seen))

    def cut_off(self, node_id: int) -> None:
        """Node ``node_id`` hears no other node, and none hears it; clients still reach it."""
        for pair, link in self._links.items():
            if node_id in pair:
                link.cut()

    def heal(self) -> None:
        for link in self._links.values():
            link.heal()

    async def close(self) -> None:
        for link in self._links.values():
            await link.close()
