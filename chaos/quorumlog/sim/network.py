"""The network between nodes: streams that open, break and are refused; frames that are late, lost, doubled,
overtaken.

It behaves towards a node as the gRPC shell does (``quorumlog.server.peers``): each node keeps one outgoing stream
per peer and lane; it learns that a stream opened (``link_up``) or broke (``link_down``), and that a peer's
connections were refused (``peer_lost``). A killed process resets its connections at once; a machine that lost
power, and a network that is cut, say nothing at all.

A stream keeps order unless the seed says otherwise. In reality TCP also never loses a frame while a stream lives;
here a frame may be lost or doubled all the same, because a bounded queue before the stream drops frames under load,
and because what survives more will survive less.

A cut is directed, so that half-open links can be made: ``cut`` holds the pairs (from, to) whose frames vanish. A
stream opens only if both directions work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from quorumlog.engines import EngineMessage
from quorumlog.raft.types import AppendRequest
from quorumlog.replica.frames import Frame, Lane
from quorumlog.sim.world import MS, SLICE_US

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from quorumlog.sim.world import World

_LANES = tuple(Lane)


@dataclass(slots=True)
class Weather:
    """How the network is at present; the faults change it. Delays in µs, the rest are probabilities per frame."""

    delay_us_min: int = 100
    delay_us_max: int = 400
    slow: float = 0.0
    """Share of frames that take up to ``slow_us_max`` instead."""
    slow_us_max: int = 50 * MS
    bytes_per_ms: int = 0
    """That a stream carries, counting entries only; 0: as many as one likes."""
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    """Share of frames that need not keep their stream's order."""
    reset: float = 0.0
    """Share of frames after which their stream breaks, with everything that is still under way on it."""


_FAIR = Weather()


class Endpoint(Protocol):
    """What the network needs of a host (``quorumlog.sim.host.Host``)."""

    @property
    def life(self) -> int:
        """Which of its lives the process is in; 0 while it is dead."""

    def receive(self, frame: Frame) -> None: ...

    def link_up(self, peer: int, lane: Lane) -> None: ...

    def link_down(self, peer: int, lane: Lane) -> None: ...

    def peer_lost(self, peer: int) -> None: ...


class _Stream:
    """One outgoing stream. ``attempt`` grows with each opening or break, so that what was planned for an earlier
    one is told from what is meant now."""

    __slots__ = ("arrival_us", "attempt", "peer_life", "up")

    def __init__(self) -> None:
        self.up = False
        self.attempt = 0
        self.peer_life = 0
        """The life of the peer's process that the stream was opened to."""
        self.arrival_us = 0
        """When the last frame sent arrives: the next must not arrive before."""


class Network:
    """All links of one world."""

    __slots__ = (
        "_hosts",
        "_random",
        "_streams",
        "_world",
        "counts",
        "cut",
        "fair_slices",
        "lag",
        "narrow",
        "sieve",
        "weather",
    )

    def __init__(self, world: World, nodes: Iterable[int]) -> None:
        self._world = world
        self._random = world.sliced_random("network")
        self._hosts: dict[int, Endpoint] = {}
        self.weather = Weather()
        self.sieve: Callable[[Frame], Frame] | None = None
        """What a directed scenario lets through of a frame that leaves (``quorumlog.sim.directed``)."""
        self.cut: set[tuple[int, int]] = set()
        """Directed pairs whose frames vanish. Only ever asked for membership, never iterated."""
        self.lag: dict[tuple[int, int], int] = {}
        """µs that frames of a directed pair take longer."""
        self.narrow: dict[tuple[int, int], int] = {}
        """Bytes per ms that streams of a directed pair carry, where a fault has narrowed them."""
        self.fair_slices: frozenset[int] = frozenset()
        """Slices of time in which nothing is slow, lost, doubled or overtaken, whatever the weather: how
        a schedule's deviations are taken away one by one."""
        self.counts = {"frames": 0, "cut": 0, "lost": 0, "duplicated": 0, "reordered": 0, "slow": 0, "resets": 0}
        self.counts["narrowed"] = 0
        names = tuple(nodes)
        self._streams = {
            (sender, to, lane): _Stream() for sender in names for to in names if sender != to for lane in _LANES
        }

    def attach(self, node: int, host: Endpoint) -> None:
        self._hosts[node] = host

    # --- streams ---

    def started(self, node: int) -> None:
        """A process came up: it opens its streams; those of its peers find it when they next try."""
        for sender, to, lane in self._streams:
            if sender == node:
                self._reconnect(node, to, lane, self._random.randrange(500))

    def stopped(self, node: int, *, silently: bool) -> None:
        """A process died. Its kernel resets its connections, unless the machine went with it (``silently``)."""
        for (sender, to, lane), stream in self._streams.items():
            if sender == node:
                stream.up = False
                stream.attempt += 1
            elif to == node and stream.up and not silently:
                self._world.after(self._delay(), self._reset, sender, to, lane, stream.attempt)

    def reset(self, sender: int, to: int) -> None:
        """Breaks the streams of one direction, as a restarted router would."""
        for lane in _LANES:
            self._break(sender, to, lane)

    def _reset(self, sender: int, to: int, lane: Lane, attempt: int) -> None:
        if self._streams[sender, to, lane].attempt == attempt and (to, sender) not in self.cut:
            self._break(sender, to, lane)

    def _break(self, sender: int, to: int, lane: Lane) -> None:
        stream = self._streams[sender, to, lane]
        if not stream.up or not self._hosts[sender].life:
            return
        stream.up = False
        self.counts["resets"] += 1
        self._hosts[sender].link_down(to, lane)
        self._reconnect(sender, to, lane, self._random.randrange(200))

    def _reconnect(self, sender: int, to: int, lane: Lane, delay_us: int) -> None:
        stream = self._streams[sender, to, lane]
        stream.attempt += 1
        self._world.after(delay_us, self._open, sender, to, lane, stream.attempt, self._hosts[sender].life, True)

    def _open(self, sender: int, to: int, lane: Lane, attempt: int, life: int, first: bool) -> None:
        stream = self._streams[sender, to, lane]
        host = self._hosts[sender]
        if stream.attempt != attempt or host.life != life:
            return
        reachable = (sender, to) not in self.cut and (to, sender) not in self.cut
        if reachable and self._hosts[to].life:
            stream.up = True
            stream.peer_life = self._hosts[to].life
            stream.arrival_us = 0
            host.link_up(to, lane)
            return
        if reachable and first and lane is Lane.URGENT:
            host.peer_lost(to)
        pause = self._random.randrange(20 * MS, 60 * MS)
        self._world.after(pause, self._open, sender, to, lane, attempt, life, False)

    # --- frames ---

    def send(self, frame: Frame) -> None:
        """Takes a frame from a living node: it arrives, or does not."""
        stream = self._streams[frame.sender, frame.to, frame.lane]
        if not stream.up:
            return
        if self.sieve is not None:
            frame = self.sieve(frame)
        random, weather, counts = self._random, self.weather, self.counts
        counts["frames"] += 1
        life = self._hosts[frame.to].life
        if life and life != stream.peer_life:
            # A machine that lost power and is back knows nothing of the connection, and says so.
            self._world.after(self._delay(), self._reset, frame.sender, frame.to, frame.lane, stream.attempt)
            return
        if (frame.sender, frame.to) in self.cut:
            counts["cut"] += 1
            return
        if self.fair_slices and self._world.now_us // SLICE_US in self.fair_slices:
            weather = _FAIR
        if weather.loss and random.random() < weather.loss:
            counts["lost"] += 1
            return
        arrival = self._world.now_us + self._delay()
        if self.lag:
            arrival += self.lag.get((frame.sender, frame.to), 0)
        if weather.reorder and random.random() < weather.reorder:
            counts["reordered"] += 1
        elif arrival < stream.arrival_us:
            arrival = stream.arrival_us
        width = weather.bytes_per_ms
        if self.narrow:
            width = self.narrow.get((frame.sender, frame.to), width)
        if width:
            carried_us = _entry_bytes(frame) * MS // width
            arrival += carried_us
            if self.narrow and carried_us > MS:
                counts["narrowed"] += 1
        if arrival > stream.arrival_us:
            stream.arrival_us = arrival
        self._world.after(arrival - self._world.now_us, self._arrive, frame, life)
        if weather.duplicate and random.random() < weather.duplicate:
            counts["duplicated"] += 1
            self._world.after(arrival - self._world.now_us + self._delay(), self._arrive, frame, life)
        if weather.reset and random.random() < weather.reset:
            self._world.after(self._delay(), self._reset, frame.sender, frame.to, frame.lane, stream.attempt)

    def _arrive(self, frame: Frame, life: int) -> None:
        host = self._hosts[frame.to]
        # A frame sent to an earlier life of the process went to a connection that died with it.
        if host.life == life and life and (frame.sender, frame.to) not in self.cut:
            host.receive(frame)

    def _delay(self) -> int:
        weather = self.weather
        if self.fair_slices and self._world.now_us // SLICE_US in self.fair_slices:
            return (weather.delay_us_min + weather.delay_us_max) // 2
        if weather.slow and self._random.random() < weather.slow:
            self.counts["slow"] += 1
            return self._random.randrange(weather.delay_us_min, weather.slow_us_max)
        return weather.delay_us_min + int(self._random.random() * (weather.delay_us_max - weather.delay_us_min))


def _entry_bytes(frame: Frame) -> int:
    size = 0
    for _, message in frame.messages:
        if isinstance(message, EngineMessage):
            size += message.size_bytes
        elif isinstance(message, AppendRequest):
            size += sum(len(entry.data) for entry in message.entries)
    return size


# --- shapes of partition (CHAOS.md §3): the directed pairs they cut
# ------------------------------------------------


def apart(nodes: Iterable[int], others: Iterable[int]) -> set[tuple[int, int]]:
    """Two sides that do not hear each other."""
    left, right = tuple(nodes), tuple(others)
    return {(a, b) for a in left for b in right} | {(b, a) for a in left for b in right}


def one_way(deaf: int, nodes: Iterable[int]) -> set[tuple[int, int]]:
    """``deaf`` is heard by everybody and hears nobody."""
    return {(other, deaf) for other in nodes if other != deaf}


def mute(silent: int, nodes: Iterable[int]) -> set[tuple[int, int]]:
    """``silent`` hears everybody and is heard by nobody."""
    return {(silent, other) for other in nodes if other != silent}


def bridge(middle: int, nodes: tuple[int, ...]) -> set[tuple[int, int]]:
    """Two halves that only ``middle`` can talk to."""
    rest = [node for node in nodes if node != middle]
    half = len(rest) // 2
    return apart(rest[:half], rest[half:])


def chain(nodes: tuple[int, ...]) -> set[tuple[int, int]]:
    """Each node hears only the one before it and the one after it."""
    count = len(nodes)
    return {(nodes[i], nodes[j]) for i in range(count) for j in range(count) if abs(i - j) > 1}


def ring(nodes: tuple[int, ...]) -> set[tuple[int, int]]:
    """Each node sees a majority (itself and its neighbours on both sides), and no two the same one. Of three nodes
    it would cut nothing, so there one link is cut: a chain."""
    if len(nodes) <= 3:
        return apart(nodes[:1], nodes[-1:])
    count = len(nodes)
    return {
        (nodes[i], nodes[j])
        for i in range(count)
        for j in range(count)
        if i != j and (i - j) % count not in (1, count - 1)
    }
