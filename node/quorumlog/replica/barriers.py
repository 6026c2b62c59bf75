"""Linearizable reads that wait: first for a confirmation by a majority, then for the state machine to get that far.

Contexts are never used twice, not even by a replica's next life (a late answer to a question of the former would
confirm a read of the latter), which is why the first one is drawn at random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Barriers:
    """The reads of one replica (ReadIndex, dissertation §6.4)."""

    __slots__ = ("_asked", "_confirmed", "_context")

    def __init__(self, first_context: int) -> None:
        self._context = first_context
        self._asked: dict[int, tuple[int, Callable[[bool], None]]] = {}
        self._confirmed: list[tuple[int, Callable[[bool], None]]] = []

    def __bool__(self) -> bool:
        return bool(self._asked or self._confirmed)

    def next_context(self) -> int:
        self._context += 1
        return self._context

    def ask(self, context: int, deadline_ms: int, done: Callable[[bool], None]) -> None:
        """``done`` waits for ``context`` to be confirmed, until the deadline."""
        self._asked[context] = (deadline_ms, done)

    def confirm(self, context: int, index: int) -> None:
        """The read may be served once ``index`` is applied."""
        asked = self._asked.pop(context, None)
        if asked is not None:
            self._confirmed.append((index, asked[1]))

    def drop(self, context: int) -> None:
        """The read can no longer be confirmed."""
        asked = self._asked.pop(context, None)
        if asked is not None:
            asked[1](False)

    def serve(self, applied: int) -> None:
        """Serves what is confirmed and applied."""
        if not self._confirmed:
            return
        served = [done for index, done in self._confirmed if index <= applied]
        self._confirmed = [item for item in self._confirmed if item[0] > applied]
        for done in served:
            done(True)

    def expire(self, now_ms: int) -> None:
        """Gives up what nobody confirmed in time: a forwarded question or its answer may have been lost."""
        for context in [context for context, (deadline_ms, _) in self._asked.items() if deadline_ms <= now_ms]:
            self.drop(context)

    def fail(self) -> None:
        """Gives up all of them: the replica goes out of service."""
        waiting = [*self._asked.values(), *self._confirmed]
        self._asked.clear()
        self._confirmed.clear()
        for _, done in waiting:
            done(False)
