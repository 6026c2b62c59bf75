"""Holding the links of a cluster that is about to start: lay them, harm them, ask what they did.

The relays are another process, so that they share no interpreter lock with clients that load the cluster; orders go
to it one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from quorumlog.cluster import layout as layouts
from quorumlog.cluster.links.condition import GOOD, LinkCondition, LinkCounts

if TYPE_CHECKING:
    from quorumlog.cluster.launcher import LocalCluster

END_TIMEOUT_S = 5.0
_CUT = LinkCondition(open=False)


class LinksFailed(Exception):
    """The process of the links is gone, or does not know such a link."""


class LinkedCluster:
    """Puts a link between every two nodes of a cluster that has not been started yet. Of one event loop."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._lock = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def install(self) -> None:
        """Starts the relays and has each node's configuration name its own ones. Raises LinksFailed."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _start(theirs)
        self._reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        nodes = self._cluster.nodes
        first_port = layouts.port_of(nodes[0].client_address) - layouts.CLIENT_PORT + layouts.LINK_PORT
        answer = await self._ask(
            {"nodes": {str(node.node_id): node.peer_address for node in nodes}, "first_port": first_port}
        )
        ports = {(source, target): port for source, target, port in answer["ports"]}
        for own in nodes:
            seen = tuple(
                peer
                if peer.node_id == own.node_id
                else replace(peer, peer_address=f"{layouts.HOST}:{ports[own.node_id, peer.node_id]}")
                for peer in nodes
            )
            self._cluster.configure(own.node_id, seen=seen)

    async def set(self, source: int, target: int, condition: LinkCondition) -> None:
        """What flows from ``source`` to ``target`` obeys ``condition`` from now on. Raises LinksFailed."""
        await self._ask({"do": "set", "source": source, "target": target, "condition": asdict(condition)})

    async def reset(self, source: int, target: int) -> None:
        """Breaks the connections that ``source`` has made to ``target``, at both ends. Raises LinksFailed."""
        await self._ask({"do": "reset", "source": source, "target": target})

    async def counts(self, source: int, target: int) -> LinkCounts:
        """Raises LinksFailed."""
        return LinkCounts(**await self._ask({"do": "counts", "source": source, "target": target}))

    async def cut_off(self, node_id: int) -> None:
        """Node ``node_id`` hears no other node, and none hears it; clients still reach it."""
        for other in self._cluster.node_ids:
            if other != node_id:
                await self.set(node_id, other, _CUT)
                await self.set(other, node_id, _CUT)

    async def heal(self) -> None:
        """All links are good; what was held back passes now, in order."""
        for source in self._cluster.node_ids:
            for target in self._cluster.node_ids:
                if source != target:
                    await self.set(source, target, GOOD)

    async def close(self) -> None:
        """Ends the relays. Once more does nothing."""
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        if self._process is not None:
            try:
                await asyncio.to_thread(self._process.wait, END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)

    async def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        # Whoever gives up waiting must not leave the answer to the next order.
        return await asyncio.shield(self._exchange(order))

    async def _exchange(self, order: dict[str, Any]) -> dict[str, Any]:
        if self._reader is None or self._writer is None:
            raise LinksFailed("the links are not installed")
        async with self._lock:
            try:
                self._writer.write(json.dumps(order).encode() + b"\n")
                line = await self._reader.readline()
            except OSError as error:
                raise LinksFailed(f"the links' process does not answer: {error}") from None
        if not line:
            raise LinksFailed("the links' process has ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise LinksFailed(f"{order}: {answer['error']}")
        return answer


def _start(orders: socket.socket) -> subprocess.Popen[bytes]:
    # In a session of its own: a Ctrl-C at the terminal is the parent's to deal with.
    return subprocess.Popen(
        [sys.executable, "-m", "quorumlog.cluster.links"], stdin=orders.fileno(), start_new_session=True
    )
