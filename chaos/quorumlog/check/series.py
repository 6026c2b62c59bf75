"""A run over time, in buckets of equal width: how much was answered how fast, what is exposed, what is unseen.

A history of a million events is drawn from a few hundred points; making them is one pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from quorumlog.check.history import Event, EventType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.check.history import Value

#: About how many points a series has unless one asks for more.
BUCKETS = 300
#: Marks and what members note about themselves: nobody waits for them.
_NOT_TIMED = frozenset({"fault", "healed", "members_stop", "assigned", "own", "assign", "gap", "elections"})


@dataclass(frozen=True, slots=True)
class OperationSeries:
    """One operation over time: what ended in each bucket, and how long those that were ok had taken (None where
    none was)."""

    operation: str
    ok: list[int]
    fail: list[int]
    info: list[int]
    latency_p50_ms: list[float | None]
    latency_p99_ms: list[float | None]
    latency_max_ms: list[float | None]


@dataclass(frozen=True, slots=True)
class Series:
    """Bucket i is the time from ``began_ns + i * width_ns`` to the next. Levels (``exposed``, ``unseen``) are the
    highest in the bucket, in records, over all groups and partitions."""

    began_ns: int
    width_ns: int
    operations: tuple[OperationSeries, ...]
    records_acknowledged: list[int]
    records_read: list[int]
    exposed: list[int]
    """Processed by the present owners, and not committed."""
    unseen: list[int]
    """Acknowledged, and read by nobody yet."""

    @property
    def buckets(self) -> int:
        return len(self.exposed)

    @property
    def width_s(self) -> float:
        return self.width_ns / 1e9


def series(events: Sequence[Event], buckets: int = BUCKETS) -> Series:
    """One pass over a history; ``buckets`` is about how many there will be, the width being a round one."""
    began_ns, ended_ns = (events[0].time_ns, events[-1].time_ns) if events else (0, 0)
    width_ns = _round_width(max(1, ended_ns - began_ns) / buckets)
    made = _Maker(began_ns, width_ns, (ended_ns - began_ns) // width_ns + 1)
    for event in events:
        made.take(event)
    return made.series()


def _round_width(least_ns: float) -> int:
    """1, 2 or 5 times a power of ten, not less than ``least_ns``."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power >= least_ns:
                return digit * power
        power *= 10


@dataclass(slots=True)
class _Timed:
    """One operation's buckets in the making."""

    counts: dict[EventType, list[int]]
    latencies_ns: list[list[int]]


@dataclass(slots=True)
class _Owned:
    """One register: how far its present owner has processed, and committed."""

    epoch: int = 0
    processed: int = 0
    committed: int = 0

    @property
    def exposed(self) -> int:
        return max(0, self.processed - self.committed)


class _Level:
    """A number that goes up and down, and its highest in each bucket."""

    __slots__ = ("_at", "_highest", "_now")

    def __init__(self, count: int) -> None:
        self._highest = [0] * count
        self._now = 0
        self._at = 0

    def move(self, bucket: int, by: int) -> None:
        """Buckets never go back."""
        self.fill(bucket)
        self._now += by
        if self._now > self._highest[bucket]:
            self._highest[bucket] = self._now

    def fill(self, bucket: int) -> list[int]:
        """Where nothing moved it stays as it was; the highest of each bucket so far."""
        while self._at < bucket:
            self._at += 1
            self._highest[self._at] = self._now
        return self._highest


class _Maker:
    """A series in the making."""

    def __init__(self, began_ns: int, width_ns: int, count: int) -> None:
        self._began_ns, self._width_ns, self._count = began_ns, width_ns, count
        self._timed: dict[str, _Timed] = {}
        self._open: dict[int, Event] = {}
        self._owned: dict[str, _Owned] = {}
        self._seen: set[Value] = set()
        self._waiting: dict[str, dict[Value, int]] = {}
        """partition -> what was acknowledged and not read, with its offset."""
        self._starts: dict[str, int] = {}
        self._exposed, self._unseen = _Level(count), _Level(count)
        self._acknowledged, self._read = [0] * count, [0] * count

    def take(self, event: Event) -> None:
        if event.type is EventType.INVOKE:
            self._open[event.index] = event
            return
        began = self._open.pop(event.invocation or 0)
        bucket = (event.time_ns - self._began_ns) // self._width_ns
        name = event.operation
        if name not in _NOT_TIMED:
            timed = self._timed.get(name)
            if timed is None:
                counts = {kind: [0] * self._count for kind in (EventType.OK, EventType.FAIL, EventType.INFO)}
                timed = self._timed[name] = _Timed(counts, [[] for _ in range(self._count)])
            timed.counts[event.type][bucket] += 1
            if event.type is EventType.OK:
                timed.latencies_ns[bucket].append(event.time_ns - began.time_ns)
        if event.type is EventType.OK:
            if name == "send":
                self._sent(event.key, began.value, event.value, bucket)
            elif name in ("read", "final_read"):
                self._was_read(event.key, event.value, bucket)
            elif name in ("acquire", "process", "commit"):
                self._owner_went_on(began, event, bucket)

    def _sent(self, key: str, values: Sequence[Value], offset: int, bucket: int) -> None:
        self._acknowledged[bucket] += len(values)
        seen = self._seen
        new = {value: at for at, value in enumerate(values, offset) if value not in seen}
        self._waiting.setdefault(key, {}).update(new)
        self._unseen.move(bucket, len(new))

    def _was_read(self, key: str, answer: dict[str, Any], bucket: int) -> None:
        waiting = self._waiting.get(key)
        before = 0 if waiting is None else len(waiting)
        for _, values in answer["batches"]:
            self._read[bucket] += len(values)
            self._seen.update(values)
            if waiting:
                for value in values:
                    waiting.pop(value, None)
        start = answer["start"]
        if start > self._starts.get(key, 0):
            # What retention has taken nobody will see.
            self._starts[key] = start
            if waiting:
                for value in [value for value, offset in waiting.items() if offset < start]:
                    del waiting[value]
        if waiting is not None and len(waiting) < before:
            self._unseen.move(bucket, len(waiting) - before)

    def _owner_went_on(self, began: Event, event: Event, bucket: int) -> None:
        owned = self._owned.get(event.key)
        if owned is None:
            owned = self._owned[event.key] = _Owned()
        before = owned.exposed
        if event.operation == "acquire":
            if event.value["epoch"] >= owned.epoch:
                owned.epoch = event.value["epoch"]
                owned.processed = owned.committed = event.value["offset"]
        elif began.value["epoch"] == owned.epoch:
            if event.operation == "process":
                owned.processed = began.value["last"] + 1
            else:
                owned.committed = max(owned.committed, began.value["offset"])
        if owned.exposed != before:
            self._exposed.move(bucket, owned.exposed - before)

    def series(self) -> Series:
        last = self._count - 1
        return Series(
            self._began_ns,
            self._width_ns,
            tuple(_finished(name, timed) for name, timed in sorted(self._timed.items())),
            self._acknowledged,
            self._read,
            self._exposed.fill(last),
            self._unseen.fill(last),
        )


def _finished(name: str, timed: _Timed) -> OperationSeries:
    for latencies in timed.latencies_ns:
        latencies.sort()
    return OperationSeries(
        name,
        timed.counts[EventType.OK],
        timed.counts[EventType.FAIL],
        timed.counts[EventType.INFO],
        *([_quantile_ms(one, share) for one in timed.latencies_ns] for share in (0.5, 0.99, 1.0)),
    )


def _quantile_ms(ordered_ns: Sequence[int], share: float) -> float | None:
    """The value that at least this share of them does not exceed (the nearest rank)."""
    return ordered_ns[max(0, ceil(share * len(ordered_ns)) - 1)] / 1e6 if ordered_ns else None
