"""One direction of one relayed connection: pieces in order, each let go when its directed link allows it.

A piece that need not wait is passed on at once, without a queue. What must wait is bounded: beyond
``HELD_BYTES_MAX`` the flow stops reading, TCP's window closes, and the sender feels it as it would feel a network
that takes nothing more. The end of a direction (FIN or RST) waits in the queue like a piece: a cut link keeps even
that secret.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, cast

from quorumlog.cluster.links.condition import GOOD, LinkCondition

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

HELD_BYTES_MAX = 256 << 10
#: A narrow link is shared in turns of so long, so that a vote need not wait for a batch on another connection.
TURN_S = 0.01
PIECE_BYTES_MIN = 512

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Ending(Enum):
    """How a direction ends."""

    FIN = "fin"
    RST = "rst"


@dataclass(slots=True, eq=False)
class DirectedLink:
    """What flows from one node to another, on all connections between them, whoever opened them."""

    source: int
    target: int
    random: Random
    condition: LinkCondition = GOOD
    passed_bytes: int = 0
    held_bytes: int = 0
    reset: int = 0
    free_at: float = 0.0
    """When a narrow link has passed everything that was given a turn (event loop's time, seconds)."""
    flows: dict[Flow, None] = field(default_factory=dict)

    def change(self, condition: LinkCondition) -> None:
        """Takes effect at once, also on what waits."""
        self.condition = GOOD if condition == GOOD else condition
        self.free_at = 0.0
        for flow in list(self.flows):
            flow.reconsider()

    def delay_s(self) -> float:
        """How long the next piece takes, apart from the bandwidth."""
        condition = self.condition
        delay_ms = condition.latency_ms
        if condition.jitter_ms:
            delay_ms += self.random.uniform(0, condition.jitter_ms)
        if condition.stall_rate and self.random.random() < condition.stall_rate:
            delay_ms += condition.stall_ms
        return delay_ms / 1000


class Flow:
    """See the module. ``source`` is read, ``sink`` (None until its connection stands) is written to."""

    __slots__ = (
        "_blocked",
        "_held",
        "_link",
        "_loop",
        "_paused",
        "_queue",
        "_timer",
        "_turn",
        "on_told",
        "sink",
        "source",
    )

    def __init__(
        self, link: DirectedLink, source: asyncio.Transport, on_told: Callable[[Flow, Ending], None]
    ) -> None:
        """``on_told`` is called when the sink has been told of the end."""
        self._link = link
        self.on_told = on_told
        self._loop = asyncio.get_running_loop()
        self.source = source
        self.sink: asyncio.Transport | None = None
        self._queue: deque[tuple[float, bytes | Ending]] = deque()
        """With the time before which none may go; none before those that came earlier, either."""
        self._held = 0
        self._timer: asyncio.TimerHandle | None = None
        self._turn: float | None = None
        """When a narrow link will have passed the first piece; None: it has not been given a turn yet."""
        self._blocked = False
        self._paused = False
        link.flows[self] = None

    def take(self, piece: bytes) -> None:
        """Bytes that the source has sent."""
        link = self._link
        condition = link.condition
        if condition is GOOD:
            sink = self.sink
            if sink is not None and not self._queue and not self._blocked:
                link.passed_bytes += len(piece)
                if not sink.is_closing():
                    sink.write(piece)
                return
        else:
            link.held_bytes += len(piece)
        due = self._arrival()
        size = max(PIECE_BYTES_MIN, int(condition.bytes_per_s * TURN_S)) if condition.bytes_per_s else len(piece)
        for begin in range(0, len(piece), size):
            self._queue.append((due, piece[begin : begin + size]))
        self._held += len(piece)
        self._pump()
        if self._held > HELD_BYTES_MAX and not self._paused and not self.source.is_closing():
            self._paused = True
            self.source.pause_reading()

    def end(self, ending: Ending) -> None:
        """The source has ended its direction, or the whole connection; the other side learns of it in its turn."""
        self._queue.append((self._arrival(), ending))
        self._pump()

    def block(self) -> None:
        """The sink takes nothing more for now."""
        self._blocked = True

    def unblock(self) -> None:
        self._blocked = False
        self._pump()

    def attach(self, sink: asyncio.Transport) -> None:
        """The connection onward stands: what has waited for it may go."""
        self.sink = sink
        self._pump()

    def reconsider(self) -> None:
        """The link's condition has changed: nothing waits longer than it would if it came now."""
        latest = self._loop.time() + (self._link.condition.latency_ms + self._link.condition.jitter_ms) / 1000
        self._queue = deque((min(due, latest), piece) for due, piece in self._queue)
        self._turn = None
        self._pump()

    def close(self) -> None:
        """Forgets everything; the transports are the connection's."""
        self._link.flows.pop(self, None)
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arrival(self) -> float:
        return self._loop.time() + self._link.delay_s() if self._link.condition.delays else 0.0

    def _pump(self) -> None:
        """Lets go what may go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        link, queue, sink = self._link, self._queue, self.sink
        while queue and sink is not None and not self._blocked and link.condition.passes:
            due, piece = queue[0]
            now = self._loop.time()
            bytes_per_s = link.condition.bytes_per_s
            if bytes_per_s and not isinstance(piece, Ending):
                if self._turn is None:
                    self._turn = link.free_at = max(link.free_at, now) + len(piece) / bytes_per_s
                due = max(due, self._turn)
            if due > now:
                self._timer = self._loop.call_at(due, self._pump)
                break
            queue.popleft()
            self._turn = None
            if isinstance(piece, Ending):
                self._tell(sink, piece)
                continue
            self._held -= len(piece)
            link.passed_bytes += len(piece)
            if not sink.is_closing():
                sink.write(piece)
        if self._paused and self._held <= HELD_BYTES_MAX // 2:
            self._paused = False
            if not self.source.is_closing():
                self.source.resume_reading()

    def _tell(self, sink: asyncio.Transport, ending: Ending) -> None:
        if ending is Ending.RST:
            abort(sink)
        elif not sink.is_closing():
            sink.write_eof()
        self.on_told(self, ending)


def abort(transport: asyncio.Transport) -> None:
    """Ends a connection with RST, as a killed process's kernel or a firewall does, not with FIN."""
    if not transport.is_closing():
        connection = cast("socket.socket", transport.get_extra_info("socket"))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
