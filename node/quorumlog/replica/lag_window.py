"""What a group's lag comes to over the last minutes: a verdict from samples, pure.

A lag by itself says little: a thousand records are nothing for a group that takes ten thousand a second and a
disaster for one that has stopped. What counts is whether the committed offset *moves*, and whether it has reached
by now what was the end a while ago (LinkedIn's Burrow judges consumers so; no threshold on the lag itself is
needed).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from quorumlog.replica.offset_api import LagVerdict

SAMPLE_MS = 5_000
"""The leader samples about this often (``care``'s look at its partitions)."""
SETTLED_MS = 30_000
"""A group that has processed by now what was the end so long ago is not behind; one whose offset has not moved for
so long does not work."""
WINDOW_MS = 120_000
"""The trend is told over this time."""


class Sample(NamedTuple):
    """Where a group and its log stood. ``committed``: the next record to process."""

    at_ms: int
    committed: int
    end: int


class LagWindow:
    """One leader's samples of one group in one partition."""

    __slots__ = ("_level", "_samples")

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()
        self._level = False
        """At the sample before the first there was no lag: it is not older than the samples."""

    def add(self, now_ms: int, committed: int, end: int) -> None:
        """A sample; times never go back."""
        if committed >= end:
            self._samples.clear()
            self._level = True
            return
        samples = self._samples
        samples.append(Sample(now_ms, committed, end))
        while samples[0].at_ms < now_ms - WINDOW_MS:
            samples.popleft()
            self._level = False

    def verdict(self, now_ms: int, committed: int, end: int, *, owned: bool) -> LagVerdict:
        """Of the present moment, in the light of the samples."""
        if committed >= end:
            return LagVerdict.OK
        if not owned:
            return LagVerdict.STOPPED
        samples = self._samples
        then = next((sample for sample in reversed(samples) if sample.at_ms <= now_ms - SETTLED_MS), None)
        if then is None:
            return LagVerdict.OK if self._level else LagVerdict.UNKNOWN
        if committed >= then.end:
            return LagVerdict.OK
        if committed <= then.committed:
            return LagVerdict.STALLED
        first = samples[0]
        return (
            LagVerdict.FALLING_BEHIND if end - committed > first.end - first.committed else LagVerdict.CATCHING_UP
        )
