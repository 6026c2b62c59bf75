"""PySyncObj's ``Transport`` over a node's links: its messages become ours on the way out, and its on the way in.

The library expects what a TCP connection gives: messages of a pair arrive in order, or the connection breaks and
it is told. So all of them travel on one lane (``quorumlog.replica.mesh``), and a link that goes down, or a node
that falls silent, is a disconnection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quorumlog.engines.pysyncobj.library import Member, Transport
from quorumlog.engines.seam import EngineMessage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quorumlog.engines.pysyncobj.library import Surroundings


class NodeTransport(Transport):  # type: ignore[misc]  # the library has no types
    """One group's. What is sent gathers in ``outbox`` until the core's next Ready."""

    def __init__(self, own: int, peers: Iterable[int], surroundings: Surroundings) -> None:
        super().__init__(None, None, ())
        self._own = own
        self._surroundings = surroundings
        self.members = {peer: Member(peer) for peer in sorted(peers)}
        self.outbox: list[EngineMessage] = []
        self._connected: set[int] = set()

    def send(self, node: Member, message: dict[str, Any]) -> bool:
        """Called by the library."""
        if node.replica not in self._connected:
            return False
        entries = message.get("entries")
        size = sum([len(entry[0]) for entry in entries]) if entries else 0
        self._surroundings.sent(size)
        self.outbox.append(EngineMessage(self._own, node.replica, message.get("term", 0), message, size))
        return True

    def connect(self, peer: int, reachable: bool) -> None:
        """The link to ``peer`` is as ``reachable`` says; the library is told when that is news."""
        if reachable and peer not in self._connected:
            self._connected.add(peer)
            self._onNodeConnected(self.members[peer])
        elif not reachable and peer in self._connected:
            self._connected.discard(peer)
            self._onNodeDisconnected(self.members[peer])

    @property
    def connected(self) -> frozenset[int]:
        return frozenset(self._connected)

    def deliver(self, message: EngineMessage) -> None:
        """A message from another replica. One of a stranger is dropped: the library would stumble over it."""
        member = self.members.get(message.sender)
        if member is not None:
            self._onMessageReceived(member, message.body)
