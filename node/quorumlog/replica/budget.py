"""Back-pressure: how many bytes of appends a node may hold that nobody has been answered for."""

from __future__ import annotations


class ByteBudget:
    """A count with a limit. One request larger than the limit is admitted when nothing else is held."""

    __slots__ = ("_limit", "held")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def take(self, size: int) -> bool:
        """Whether ``size`` bytes were admitted."""
        if self.held and self.held + size > self._limit:
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        """Bytes admitted earlier have been answered for."""
        self.held -= size
