"""How long nobody was served: the stretches in which somebody waited for a partition, a register or a group.

Availability is not the share of operations that succeeded: one client that retries fast makes it as small as it
likes. Here it is what an application feels: the time from the first unserved wish to the next answer, for each
*service* of each key:

=========== ==================================== ==============================================================
service     key                                  somebody waits while
=========== ==================================== ==============================================================
``append``  a partition                          a send is under way, or the next follows a failed one soon
``read``    a partition                          the same of reads and ends; long polls wait without a fault too
``offsets`` a register                           the same of everything that is done to it
``consume`` a group in a partition               records are acknowledged that the group has not processed
=========== ==================================== ==============================================================

Prior art: "Availability" in Gray and Siewiorek (1991) as the user's view; the unavailability windows of etcd's and
Redpanda's failover measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from quorumlog.check.history import Event, EventType
from quorumlog.check.offset_evidence import partition_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: operation -> the service that it asks for.
SERVICES = {
    "send": "append",
    "read": "read",
    "final_read": "read",
    "end": "read",
    **dict.fromkeys(("acquire", "commit", "fetch", "final_fetch", "reset", "resolve", "release"), "offsets"),
}
#: Shorter stretches are no gaps: that is how long operations take.
SHORTEST_NS = 20_000_000
#: A client that tries again within so long was waiting all the time.
_RETRY_NS = 1_000_000_000
#: A stretch that begins so soon after a fault is its doing: a kill is over at once, and is felt later.
_AFTERMATH_NS = 2_000_000_000


class Gap(NamedTuple):
    """Somebody waited for ``service`` of ``key`` and nobody was served. Not ``recovered``: nor ever was again, or
    the one who waited gave up."""

    service: str
    key: str
    began_ns: int
    ended_ns: int
    recovered: bool

    @property
    def length_ms(self) -> float:
        return (self.ended_ns - self.began_ns) / 1e6


@dataclass(frozen=True, slots=True)
class FaultSpan:
    """One strike as the history has it. ``ended_ns`` is the history's end for one that was never undone."""

    name: str
    began_ns: int
    ended_ns: int
    told: Any
    """What was done, to whom."""
    effect: int | None
    """The size of the effect that was seen; None if it was never undone."""


@dataclass(frozen=True, slots=True)
class Watched:
    """All gaps and all faults of a history, in order of their beginning."""

    gaps: tuple[Gap, ...]
    faults: tuple[FaultSpan, ...]


class _Wait:
    """One service of one key: who waits, since when."""

    __slots__ = ("gaps", "key", "open", "partition", "paused_ns", "reached", "service", "since_ns")

    def __init__(self, service: str, key: str, gaps: list[Gap]) -> None:
        self.service, self.key, self.gaps = service, key, gaps
        self.partition = partition_of(key)
        self.open = 0
        self.since_ns: int | None = None
        self.paused_ns = 0
        """When the last one that waited gave up, while ``open`` is 0."""
        self.reached = 0
        """Of a group: the records below have been processed."""

    def asks(self, now_ns: int) -> None:
        if self.since_ns is not None and not self.open and now_ns - self.paused_ns > _RETRY_NS:
            self.close(self.paused_ns, recovered=False)
        self.open += 1
        if self.since_ns is None:
            self.since_ns = now_ns

    def ends(self, now_ns: int, *, served: bool) -> None:
        self.open -= 1
        if served:
            self.close(now_ns, recovered=True)
            self.since_ns = now_ns if self.open else None
        elif not self.open:
            self.paused_ns = now_ns

    def wants(self, end: int, now_ns: int) -> None:
        """Of a group: the records below ``end`` are there to be processed."""
        if self.since_ns is None and self.reached < end:
            self.since_ns = now_ns

    def close(self, now_ns: int, *, recovered: bool) -> None:
        if self.since_ns is not None and now_ns - self.since_ns >= SHORTEST_NS:
            self.gaps.append(Gap(self.service, self.key, self.since_ns, now_ns, recovered))
        self.since_ns = None


def watch(events: Sequence[Event]) -> Watched:
    """One pass over the history. Raises KeyError for a completion without its invocation."""
    watcher = _Watcher()
    for event in events:
        watcher.take(event)
    return watcher.watched(events[-1].time_ns if events else 0)


class _Watcher:
    """Everybody who waits, while the history goes by."""

    def __init__(self) -> None:
        self._gaps: list[Gap] = []
        self._faults: list[FaultSpan] = []
        self._waits: dict[tuple[str, str], _Wait] = {}
        self._consumers: dict[str, list[_Wait]] = {}
        """partition -> the groups that are to process it."""
        self._open: dict[int, Event] = {}
        """Sends, faults and processings under way."""
        self._ends: dict[str, int] = {}
        """partition -> what has been acknowledged lies below."""

    def take(self, event: Event) -> None:
        name = event.operation
        service = SERVICES.get(name)
        if service is not None:
            self._served(service, event)
        elif name == "process":
            self._processed(event)
        elif name == "fault":
            self._struck(event)
        elif name == "members_stop" and event.type is EventType.INVOKE:
            # From now on nobody is there to process what comes.
            for one in (one for some in self._consumers.values() for one in some):
                one.close(event.time_ns, recovered=False)
            self._consumers.clear()

    def _wait(self, service: str, key: str) -> _Wait:
        found = self._waits.get((service, key))
        if found is None:
            found = self._waits[service, key] = _Wait(service, key, self._gaps)
            if service == "consume":
                self._consumers.setdefault(found.partition, []).append(found)
        return found

    def _served(self, service: str, event: Event) -> None:
        wait = self._wait(service, event.key)
        if event.type is EventType.INVOKE:
            wait.asks(event.time_ns)
            if service == "append":
                self._open[event.index] = event
            return
        wait.ends(event.time_ns, served=event.type is EventType.OK)
        if service == "append":
            values = self._open.pop(event.invocation or 0).value
            if event.type is EventType.OK:
                end = self._ends[event.key] = max(event.value + len(values), self._ends.get(event.key, 0))
                for group in self._consumers.get(event.key, ()):
                    group.wants(end, event.time_ns)

    def _processed(self, event: Event) -> None:
        group = self._wait("consume", event.key)
        if event.type is EventType.INVOKE:
            self._open[event.index] = event
        else:
            last = self._open.pop(event.invocation or 0).value["last"]
            if event.type is EventType.OK:
                group.reached = max(group.reached, last + 1)
                group.close(event.time_ns, recovered=True)
        if group in self._consumers.get(group.partition, ()):
            group.wants(self._ends.get(group.partition, 0), event.time_ns)

    def _struck(self, event: Event) -> None:
        if event.type is EventType.INVOKE:
            self._open[event.index] = event
            return
        began = self._open.pop(event.invocation or 0)
        # After a failure there was nobody to do it to.
        if event.type is not EventType.FAIL:
            effect = event.value["effect"] if event.type is EventType.OK else None
            self._faults.append(FaultSpan(began.key, began.time_ns, event.time_ns, began.value, effect))

    def watched(self, last_ns: int) -> Watched:
        """The history ends at ``last_ns``."""
        for one in self._waits.values():
            waits_still = one.service == "consume" or one.open
            one.close(last_ns if waits_still else one.paused_ns, recovered=False)
        self._faults += [
            FaultSpan(event.key, event.time_ns, last_ns, event.value, None)
            for event in self._open.values()
            if event.operation == "fault"
        ]
        gaps = sorted(self._gaps, key=lambda gap: gap.began_ns)
        return Watched(tuple(gaps), tuple(sorted(self._faults, key=lambda fault: fault.began_ns)))


def gaps_amid(watched: Watched, began_ns: int, ended_ns: int, aftermath_ns: int = _AFTERMATH_NS) -> tuple[Gap, ...]:
    """The longest gap of each service and key that lies, in part at least, between the two moments or begins soon
    after; what of it was before does not count. Longest first."""
    cut = [
        gap._replace(began_ns=max(gap.began_ns, began_ns))
        for gap in watched.gaps
        if gap.ended_ns > began_ns and gap.began_ns <= ended_ns + aftermath_ns
    ]
    return _longest(cut)


def gaps_after(watched: Watched, moment_ns: int) -> tuple[Gap, ...]:
    """The longest gap of each service and key after the moment, longest first."""
    return gaps_amid(watched, moment_ns, 1 << 62, 0)


def _longest(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    longest: dict[tuple[str, str], Gap] = {}
    for gap in gaps:
        known = longest.get((gap.service, gap.key))
        if known is None or gap.length_ms > known.length_ms:
            longest[gap.service, gap.key] = gap
    return tuple(sorted(longest.values(), key=lambda gap: (-gap.length_ms, gap.service, gap.key)))
