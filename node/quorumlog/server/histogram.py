"""A histogram that costs the hot path a bisection and two additions.

``prometheus_client.Histogram.observe`` takes a lock and walks its buckets in Python, some 3 µs; per request and per
fsync that would be felt. Everything here is touched by the event loop's thread only; a scrape reads it there too.
"""

from __future__ import annotations

from bisect import bisect_left

#: Upper bounds in seconds: from a write in the page cache to an election.
LATENCY_BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip


class Histogram:
    """Counts of observations by upper bound, and their sum."""

    __slots__ = ("_counts", "total")

    def __init__(self) -> None:
        self._counts = [0] * (len(LATENCY_BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        return sum(self._counts)

    def buckets(self) -> list[tuple[str, float]]:
        """(upper bound, observations up to it), as the Prometheus text format wants it."""
        running = 0
        found: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, LATENCY_BOUNDS), "+Inf"), self._counts, strict=True):
            running += count
            found.append((bound, float(running)))
        return found
