"""All links of one cluster, as a process: ``python -m quorumlog.cluster.links``.

It takes orders over the socket that is its standard input, a JSON object a line in each direction, and ends when
that socket does: a parent that is killed leaves no relays behind. The first line lays the links out::

    {"nodes": {"1": "127.0.0.1:7501", …}, "first_port": 7701}     -> {"ports": [[1, 2, 7701], …]}

and those that follow change them or ask::

    {"do": "set", "source": 1, "target": 2, "condition": {"open": false}}   -> {}
    {"do": "reset", "source": 1, "target": 2}                               -> {}
    {"do": "counts", "source": 1, "target": 2}                              -> {"passed_bytes": 12, …}
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import sys
from random import Random
from typing import TYPE_CHECKING, Any

from quorumlog.cluster.asynchronous import run
from quorumlog.cluster.links.condition import LinkCondition
from quorumlog.cluster.links.flow import DirectedLink
from quorumlog.cluster.links.relay import Relay, Target, Tasks

if TYPE_CHECKING:
    from collections.abc import Mapping


class LinkBoard:
    """The links between every two of some nodes."""

    def __init__(self, addresses: Mapping[int, tuple[str, int]]) -> None:
        self._tasks = Tasks()
        self._targets = {node: Target(*address, self._tasks) for node, address in addresses.items()}
        pairs = [(source, target) for source in addresses for target in addresses if source != target]
        self._links = {pair: DirectedLink(*pair, Random(f"link {pair}")) for pair in pairs}
        self._relays = {
            (source, target): Relay(
                self._targets[source],
                self._targets[target],
                self._links[source, target],
                self._links[target, source],
                self._tasks,
            )
            for source, target in pairs
        }

    def start(self, first_port: int) -> dict[tuple[int, int], int]:
        """Begins to relay; for each directed pair the port that the source is to connect to. Raises OSError."""
        ports: dict[tuple[int, int], int] = {}
        for pair, relay in self._relays.items():
            ports[pair] = relay.bind(max(ports.values(), default=first_port - 1) + 1)
        for target in self._targets.values():
            target.start()
        return ports

    def obey(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """One order; the answer. Raises KeyError, TypeError when it makes no sense."""
        source, target = order["source"], order["target"]
        link = self._links[source, target]
        match order["do"]:
            case "set":
                link.change(LinkCondition(**order["condition"]))
                self._relays[source, target].refresh()
                self._relays[target, source].refresh()
                return {}
            case "reset":
                self._relays[source, target].reset()
                return {}
            case "counts":
                return {"passed_bytes": link.passed_bytes, "held_bytes": link.held_bytes, "reset": link.reset}
        raise KeyError(order["do"])

    async def close(self) -> None:
        for relay in self._relays.values():
            relay.close()
        await self._tasks.end()


async def serve(orders: socket.socket) -> None:
    """Obeys until the other end of ``orders`` is closed."""
    reader, writer = await asyncio.open_unix_connection(sock=orders)
    layout = json.loads(await reader.readline())
    addresses = {int(node): _address(text) for node, text in layout["nodes"].items()}
    board = LinkBoard(addresses)
    try:
        ports = board.start(layout["first_port"])
        answer: dict[str, Any] = {"ports": [[*pair, port] for pair, port in ports.items()]}
        while True:
            writer.write(json.dumps(answer).encode() + b"\n")
            line = await reader.readline()
            if not line:
                return
            try:
                answer = board.obey(json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
    finally:
        await board.close()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    # Twelve connections a pair of nodes, two sockets each, and those of cut links that nobody has given up yet.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.suppress(ConnectionError, KeyboardInterrupt):
        run(serve(socket.socket(fileno=sys.stdin.fileno())))


if __name__ == "__main__":
    main()
