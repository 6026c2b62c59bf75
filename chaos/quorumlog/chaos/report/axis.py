"""A time axis that cuts out the long silences, so that what happened can be seen.

A lost write is shown by an append at 0.4 s and a read at 62 s: drawn to scale, two dots. Here a stretch in which
nothing begins or ends is shortened if it alone would take much of the width, and marked as a break; all else stays
to scale. (Electrical and geological charts break their axes the same way.)
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A silence that takes more than this share of what is left of the width is cut.
_TOO_MUCH = 0.4
_MOST_BREAKS = 5


class Break(NamedTuple):
    """A silence that was shortened, and where."""

    began_ns: int
    ended_ns: int
    x0: float
    x1: float


class Axis:
    """Places on 0…1 for the times between the first and the last of ``times``."""

    __slots__ = ("_times", "_xs", "breaks")

    def __init__(self, times: Iterable[int]) -> None:
        self._times = sorted(set(times))
        steps = [later - earlier for earlier, later in zip(self._times, self._times[1:], strict=False)]
        longest = _longest_uncut(steps)
        total = sum(min(step, longest) for step in steps) or 1
        place = 0
        self._xs = [0.0]
        self.breaks: list[Break] = []
        for i, step in enumerate(steps):
            place += min(step, longest)
            self._xs.append(place / total)
            if step > longest:
                self.breaks.append(Break(self._times[i], self._times[i + 1], self._xs[i], self._xs[i + 1]))

    @property
    def first_ns(self) -> int:
        return self._times[0]

    @property
    def last_ns(self) -> int:
        return self._times[-1]

    def place(self, time_ns: int) -> float:
        """Where it is; what lies outside is at the edge."""
        i = bisect_right(self._times, time_ns) - 1
        if i < 0:
            return 0.0
        if i == len(self._times) - 1:
            return 1.0 if i else 0.0
        share = (time_ns - self._times[i]) / (self._times[i + 1] - self._times[i])
        return self._xs[i] + share * (self._xs[i + 1] - self._xs[i])


def _longest_uncut(steps: list[int]) -> int:
    left = sorted(steps, reverse=True)
    for cut in range(min(_MOST_BREAKS, len(left) - 1)):
        if left[cut] <= _TOO_MUCH * sum(left[cut:]):
            return left[cut]
    return left[min(_MOST_BREAKS, len(left) - 1)] if left else 0
