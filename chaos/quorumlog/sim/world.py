"""One seeded world: virtual time, the order of events, the streams of chance, and the trace that proves a replay.

Everything that happens in a simulation happens in an event of this scheduler, one after another; nothing waits and
nothing sleeps. Two events of the same moment run in the order they were planned, so that the order is a matter of
the seed alone. Chance comes in named streams, each seeded by (seed, name): what one part of the world draws does
not shift what another part gets, and a schedule can be shrunk without everything after it becoming a different run.
Streams from which everything draws (the network's, the hosts') begin anew with every slice of time, so that one
frame less does not mean other weather for ever.

Prior art: FoundationDB's simulator; TigerBeetle's VOPR; simloop.
"""

from __future__ import annotations

from hashlib import blake2b
from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MS = 1000
"""Microseconds in a millisecond: the world counts in µs."""
SLICE_US = 250 * MS
"""How long a slice of time is, with which sliced streams begin anew."""


class World:
    """Virtual time and the events still to come. All times are µs since the world began."""

    __slots__ = ("_planned", "_queue", "_sliced", "halted", "now_us", "seed", "trace")

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now_us = 0
        self.halted = False
        """Something was found: nothing more happens."""
        self.trace = Trace(self)
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._planned = 0
        self._sliced: list[tuple[str, Random]] = []

    def random(self, name: str) -> Random:
        """The stream of chance of this name: the same for the same seed, whatever else is drawn."""
        return Random(f"{self.seed}/{name}")

    def sliced_random(self, name: str) -> Random:
        """A stream that begins anew with every slice of time."""
        if not self._sliced:
            self.after(SLICE_US - self.now_us % SLICE_US, self._turn)
        stream = self.random(f"{name} {self.now_us // SLICE_US}")
        self._sliced.append((name, stream))
        return stream

    def _turn(self) -> None:
        number = self.now_us // SLICE_US
        for name, stream in self._sliced:
            stream.seed(f"{self.seed}/{name} {number}")
        self.after(SLICE_US, self._turn)

    def after(self, delay_us: int, action: Callable[..., None], *arguments: Any) -> None:
        """Plans ``action(*arguments)`` for ``delay_us`` from now. There is no cancelling: who plans for something
        that may end (a node's life, a request) passes along which one was meant, and the action looks."""
        self._planned += 1
        heappush(self._queue, (self.now_us + delay_us, self._planned, action, arguments))

    def run_until(self, time_us: int) -> None:
        """Lets everything happen up to ``time_us``, or until somebody sets ``halted``: then at the event that did
        it."""
        queue = self._queue
        while queue and queue[0][0] <= time_us and not self.halted:
            self.now_us, _, action, arguments = heappop(queue)
            action(*arguments)
        if not self.halted:
            self.now_us = time_us


class Trace:
    """What happened, event by event. Two runs are the same if and only if their traces are.

    Events are kept as tuples and only turned into text when somebody looks: most runs are never looked at.
    """

    __slots__ = ("_world", "events")

    def __init__(self, world: World) -> None:
        self._world = world
        self.events: list[tuple[Any, ...]] = []

    def note(self, node: int, what: str, *details: object) -> None:
        """``node`` 0 stands for the world outside the nodes. Details are numbers and strings, whose text is the
        same in every process."""
        self.events.append((self._world.now_us, node, what, *details))

    @property
    def hash(self) -> str:
        """16 hexadecimal digits over everything noted so far."""
        return blake2b(repr(self.events).encode(), digest_size=8).hexdigest()

    def last(self, node: int, count: int) -> list[str]:
        """The last ``count`` events of ``node``, oldest first, as text."""
        found: list[str] = []
        for event in reversed(self.events):
            if event[1] == node:
                found.append(format_event(event))
                if len(found) == count:
                    break
        return found[::-1]


def format_event(event: tuple[Any, ...]) -> str:
    """One line of a printed trace."""
    time_us, node, what, *details = event
    where = f"node {node}" if node else "world "
    return f"{time_us / 1e6:11.6f}  {where}  {what} {' '.join(map(str, details))}".rstrip()
