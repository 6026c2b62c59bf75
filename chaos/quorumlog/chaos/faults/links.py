"""The links as all faults together want them: each fault lays its condition on a link and takes it off again.

What holds is the worst of what lies on a link: closed if anybody closed it, the longest latency, the least
bandwidth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.chaos.places.place import GOOD, LinkCondition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quorumlog.chaos.places import Place

    Pair = tuple[int, int]


class Links:
    """See the module."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._laid: dict[Pair, list[LinkCondition]] = {}

    async def lay(self, pairs: Iterable[Pair], condition: LinkCondition) -> None:
        """Adds ``condition`` to each directed link; the same object must be taken off again."""
        for pair in sorted(pairs):
            self._laid.setdefault(pair, []).append(condition)
            await self._apply(pair)

    async def lift(self, pairs: Iterable[Pair], condition: LinkCondition) -> None:
        for pair in sorted(pairs):
            laid = self._laid[pair]
            laid.remove(condition)
            await self._apply(pair)

    async def clear(self) -> None:
        """Everything is a good link again."""
        for pair, laid in self._laid.items():
            if laid:
                laid.clear()
                await self._apply(pair)

    async def held_bytes(self, pairs: Iterable[Pair]) -> int:
        """What these links have held back so far, refusals and resets counted as one each."""
        total = 0
        for pair in pairs:
            counts = await self._place.link_counts(*pair)
            total += counts.held_bytes + counts.refused + counts.reset
        return total

    async def _apply(self, pair: Pair) -> None:
        await self._place.set_link(*pair, worst(self._laid[pair]))


def worst(conditions: Iterable[LinkCondition]) -> LinkCondition:
    """All of them at once."""
    result = GOOD
    for one in conditions:
        limits = [limit for limit in (result.bytes_per_s, one.bytes_per_s) if limit]
        result = LinkCondition(
            open=result.open and one.open,
            reject=result.reject or one.reject,
            latency_ms=max(result.latency_ms, one.latency_ms),
            jitter_ms=max(result.jitter_ms, one.jitter_ms),
            bytes_per_s=min(limits, default=0),
            stall_rate=max(result.stall_rate, one.stall_rate),
            stall_ms=max(result.stall_ms, one.stall_ms) if one.stall_rate else result.stall_ms,
        )
    return result
