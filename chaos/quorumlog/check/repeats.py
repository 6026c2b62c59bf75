"""What groups processed more than once, and how much they might have: the price of at-least-once delivery.

A record that an owner had finished and not committed when another took over is *exposed*: the new owner processes
it again. So no owner may repeat more than was exposed to it; one that does was shown less than had been committed.
What was finished but not committed is counted by the commits that were *acknowledged* before the takeover began,
not by what the takeover found: else a lost commit would excuse itself.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.check.groups import POLICIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quorumlog.check.groups import GroupEvidence, Processed
    from quorumlog.check.offset_evidence import Acquisition, OffsetEvidence


@dataclass(frozen=True, slots=True)
class OwnerAccount:
    """One owner epoch of one group in one partition; all but the epoch are numbers of records."""

    epoch: int
    processed: int
    exposed: int
    """Finished by earlier owners and not committed when this one took over."""
    repeated: int
    """Of what this one finished, what an earlier owner had finished or will have."""


@dataclass(frozen=True, slots=True)
class GroupAccount:
    """One group in one partition; numbers of records. ``repeats`` counts every processing but the first."""

    key: str
    processed: int
    different: int
    repeats: int
    exposed: int
    """Over all changes of owner."""
    abandoned: int
    """Handed to an application that never said that it had finished."""
    owners: tuple[OwnerAccount, ...]
    """In order of their epochs."""


class Spans:
    """A set of offsets as disjoint ranges in order: few, because owners process from one end to the other."""

    __slots__ = ("_highs", "_lows")

    def __init__(self) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []

    def add(self, low: int, high: int) -> int:
        """Adds low to high - 1; returns how many of them were there already."""
        first = bisect_left(self._highs, low)
        last = first
        there = 0
        new_low, new_high = low, high
        while last < len(self._lows) and self._lows[last] <= high:
            there += max(0, min(self._highs[last], high) - max(self._lows[last], low))
            new_low, new_high = min(new_low, self._lows[last]), max(new_high, self._highs[last])
            last += 1
        self._lows[first:last] = [new_low]
        self._highs[first:last] = [new_high]
        return there

    def ranges(self) -> list[tuple[int, int]]:
        """(low, high) of each, high not included."""
        return list(zip(self._lows, self._highs, strict=True))

    def count_from(self, low: int = 0) -> int:
        """How many are at ``low`` or above."""
        return sum(max(0, high - max(low, begin)) for begin, high in zip(self._lows, self._highs, strict=True))


def group_account(evidence: GroupEvidence) -> GroupAccount:
    """One pass over what its owners finished, epoch by epoch."""
    by_epoch: dict[int, list[Processed]] = {}
    for one in evidence.processed:
        by_epoch.setdefault(one.epoch, []).append(one)
    taken = {acquired.epoch: acquired for acquired in evidence.offsets.acquisitions}
    known = _Known(evidence.offsets)
    done = Spans()
    owners = []
    for epoch in sorted(by_epoch.keys() | taken.keys()):
        acquired = taken.get(epoch)
        exposed = done.count_from(0 if acquired is None else known.committed_before(acquired))
        spans = by_epoch.get(epoch, ())
        mine, repeated = Spans(), 0
        for one in spans:
            # Its own are repeats as well: an owner that goes back was not told to.
            repeated += mine.add(one.first, one.last + 1)
        for low, high in mine.ranges():
            repeated += done.add(low, high)
        owners.append(OwnerAccount(epoch, _records(spans), exposed, repeated))
    return GroupAccount(
        evidence.key,
        sum(owner.processed for owner in owners),
        done.count_from(),
        sum(owner.repeated for owner in owners),
        sum(owner.exposed for owner in owners),
        _records(evidence.begun) - _records(evidence.processed),
        tuple(owners),
    )


class _Known:
    """The offset below which a group was known to be done, at any moment."""

    __slots__ = ("_moments", "_offsets", "_resets")

    def __init__(self, offsets: OffsetEvidence) -> None:
        acknowledged = sorted(
            (commit.operation.returned, commit.offset) for commit in offsets.commits if commit.version is not None
        )
        self._moments: list[int] = []
        self._offsets: list[int] = []
        highest = 0
        for moment, offset in acknowledged:
            highest = max(highest, offset)
            self._moments.append(moment)
            self._offsets.append(highest)
        self._resets = [reset.operation.invoked.index for reset in offsets.resets]

    def committed_before(self, acquired: Acquisition) -> int:
        """Where this owner should begin at the latest. One that was sent elsewhere on purpose (a reset, a forced
        start, a policy for what is gone) repeats on purpose: then it is where it began."""
        reset = any(moment < acquired.operation.returned for moment in self._resets)
        if reset or acquired.reason == "FORCED" or acquired.reason in POLICIES:
            return acquired.offset
        place = bisect_left(self._moments, acquired.operation.invoked.index)
        return self._offsets[place - 1] if place else 0


def _records(spans: Iterable[Processed]) -> int:
    return sum(one.last + 1 - one.first for one in spans)
