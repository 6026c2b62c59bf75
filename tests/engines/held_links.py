"""A small cluster whose links are ordered, as TCP is, and can be held: what is sent on a held link waits in
order, and is let through frame by frame, or is gone with its sender."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from replica.trio import Trio

if TYPE_CHECKING:
    from quorumlog.replica import Frame


class HeldTrio(Trio):
    """``held`` are the (from, to) pairs whose frames wait."""

    def __init__(self, **settings: Any) -> None:
        self.held: set[tuple[int, int]] = set()
        self.waiting: dict[tuple[int, int], deque[Frame]] = {}
        super().__init__(**settings)

    def hold(self, sender: int, to: int) -> None:
        self.held.add((sender, to))

    def let_through(self, sender: int, to: int, frames: int | None = None) -> None:
        """The oldest ``frames`` that carry a message arrive, one by one, and with them the signs of life between
        them; all that wait, and the link is free again, if None."""
        waiting = self.waiting.get((sender, to), deque())
        left = len(waiting) if frames is None else frames
        while waiting and left:
            frame = waiting.popleft()
            left -= bool(frame.messages) or frames is None
            super()._deliver(frame)
            self.settle()
        if frames is None:
            self.held.discard((sender, to))

    def kill(self, node: int) -> None:
        """Its frames that have not arrived are gone with it."""
        for pair in [pair for pair in self.waiting if node in pair]:
            del self.waiting[pair]
        self.held = {pair for pair in self.held if node not in pair}
        super().kill(node)

    def _deliver(self, frame: Frame) -> None:
        pair = (frame.sender, frame.to)
        if pair in self.held:
            self.waiting.setdefault(pair, deque()).append(frame)
        else:
            super()._deliver(frame)
