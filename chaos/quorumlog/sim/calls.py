"""The clients' connections: a request that arrives late or never, an answer that is lost, a connection that breaks.

What gRPC is otherwise. A call ends exactly once: with what the node answered, or with ``Lost``, which says whether
the request may have reached the node. Requests of one client to one node arrive in the order in which they were
made, as on one stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from quorumlog.replica import Node
from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quorumlog.sim.host import Host
    from quorumlog.sim.world import World

#: What a request is: something done to a node, which calls back once, perhaps at once.
Request: TypeAlias = Callable[[Node, Callable[[Any], None]], object]


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer came. ``sent``: the request may have arrived and been carried out."""

    sent: bool


class _Call:
    __slots__ = ("answer", "life", "node")

    def __init__(self, node: int, answer: Callable[[Any], None]) -> None:
        self.node = node
        self.answer: Callable[[Any], None] | None = answer
        self.life = 0


class Calls:
    """All calls of all clients. ``unreachable`` are the nodes that no client can reach at present; ``loss`` is the
    probability that an answer never comes because the connection breaks on its way."""

    def __init__(self, world: World, hosts: Mapping[int, Host]) -> None:
        self.unreachable: set[int] = set()
        self.loss = 0.0
        self.unreached = 0
        """Requests and answers that were lost because their node was cut off from clients."""
        self._world = world
        self._hosts = hosts
        self._random = world.sliced_random("calls")
        self._open: dict[int, _Call] = {}
        self._made = 0
        self._last_arrival_us: dict[tuple[int, int], int] = {}

    def call(
        self, client: int, node: int, request: Request, answer: Callable[[Any], None], timeout_ms: int
    ) -> None:
        """Has ``request`` done to ``node``; ``answer`` gets the node's answer, or Lost after ``timeout_ms`` at the
        latest."""
        self._made += 1
        number = self._made
        self._open[number] = _Call(node, answer)
        arrival = max(self._world.now_us + self._delay(), self._last_arrival_us.get((client, node), 0))
        self._last_arrival_us[client, node] = arrival
        self._world.after(arrival - self._world.now_us, self._arrive, number, request)
        self._world.after(timeout_ms * MS, self._settle, number, Lost(True))

    def connects(self, node: int) -> bool:
        """A connection to the node could be made now."""
        return bool(self._hosts[node].life) and node not in self.unreachable and not self._hosts[node].paused

    def reset(self, node: int) -> None:
        """The node's process died: its connections are reset."""
        for number, call in self._open.items():
            if call.node == node and call.life:
                self._world.after(self._delay(), self._settle, number, Lost(True))

    def _arrive(self, number: int, request: Request) -> None:
        call = self._open.get(number)
        if call is None:
            return
        if call.node in self.unreachable:
            self.unreached += 1
            return
        host = self._hosts[call.node]
        if not host.life:
            if not host.silent:
                self._world.after(self._delay(), self._settle, number, Lost(False))
            return
        call.life = host.life

        def done(result: object) -> None:
            if call.node in self.unreachable:
                self.unreached += 1
                return
            if host.life != call.life:
                return
            lost = self.loss and self._random.random() < self.loss
            self._world.after(self._delay(), self._settle, number, Lost(True) if lost else result)

        host.request(lambda node: request(node, done))

    def _settle(self, number: int, result: object) -> None:
        call = self._open.pop(number, None)
        if call is not None and call.answer is not None:
            call.answer(result)

    def _delay(self) -> int:
        return 80 + int(self._random.random() * 420)
