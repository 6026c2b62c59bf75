"""How long writing stood still: the longest time between two acknowledgements of one partition."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorumlog.client import Delivery


class Gaps:
    """Watches a sample of the deliveries; keeps each partition's longest silence between two acknowledgements."""

    def __init__(self) -> None:
        self._last: dict[int, float] = {}
        self._longest: dict[int, float] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    def watch(self, delivery: Delivery) -> None:
        watcher = asyncio.create_task(self._watch(delivery))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    def longest_s(self, partitions: set[int]) -> float:
        """Over these partitions, in seconds; 0 when none of them was acknowledged twice."""
        return max((self._longest.get(partition, 0.0) for partition in sorted(partitions)), default=0.0)

    async def _watch(self, delivery: Delivery) -> None:
        partition = (await delivery).partition
        now = time.perf_counter()
        before = self._last.get(partition, now)
        self._longest[partition] = max(self._longest.get(partition, 0.0), now - before)
        self._last[partition] = now
