"""What waits for its entry to be applied, and for how long.

A request that was proposed has an unknown outcome until its entry is applied here, or until somebody asks. When
leadership is lost or time runs out, the answer must say so: the entry stands in a log that may yet win.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Proposals:
    """Callbacks by log index, in the order proposed, with their deadlines."""

    __slots__ = ("_by_index", "_next_deadline_ms")

    def __init__(self) -> None:
        self._by_index: dict[int, list[tuple[int, Callable[[object], None]]]] = {}
        self._next_deadline_ms: int | None = None

    def __len__(self) -> int:
        return len(self._by_index)

    def add(self, index: int, deadline_ms: int, done: Callable[[object], None]) -> None:
        """``done`` waits for the entry at ``index``, until ``deadline_ms``."""
        waiting = self._by_index.get(index)
        if waiting is None:
            self._by_index[index] = [(deadline_ms, done)]
        else:
            waiting.append((deadline_ms, done))
        if self._next_deadline_ms is None or deadline_ms < self._next_deadline_ms:
            self._next_deadline_ms = deadline_ms

    def applied(self, index: int, result: object) -> None:
        """Answers what waited for ``index``."""
        for _, done in self._by_index.pop(index, ()):
            done(result)

    def expired(self, now_ms: int) -> Iterator[Callable[[object], None]]:
        """Takes out and yields what has waited too long; a pass over all only when something is due."""
        if self._next_deadline_ms is None or now_ms < self._next_deadline_ms:
            return
        due: list[Callable[[object], None]] = []
        kept: dict[int, list[tuple[int, Callable[[object], None]]]] = {}
        next_deadline: int | None = None
        for index, waiting in self._by_index.items():
            still = [item for item in waiting if item[0] > now_ms]
            due.extend(done for deadline, done in waiting if deadline <= now_ms)
            if still:
                kept[index] = still
                earliest = min(deadline for deadline, _ in still)
                next_deadline = earliest if next_deadline is None else min(next_deadline, earliest)
        self._by_index = kept
        self._next_deadline_ms = next_deadline
        yield from due

    def take_all(self) -> list[Callable[[object], None]]:
        """Takes out everything: leadership was lost or the replica goes out of service."""
        waiting = [done for items in self._by_index.values() for _, done in items]
        self._by_index.clear()
        self._next_deadline_ms = None
        return waiting
