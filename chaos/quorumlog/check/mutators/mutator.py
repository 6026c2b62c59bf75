"""What a mutator is, and how a history is changed without becoming one that no recorder could have written.

A mutator turns the history of an intact system into what a broken one would have shown, and names the anomalies of
which a judge must then find one. So it tests the judge on real evidence: histories of thousands of operations, in
which a finder that only works on examples fails.

Prior art: mutation testing (DeMillo, Lipton and Sayward, 1978), with the history in the place of the program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from quorumlog.check.history import Event, EventType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random

    from quorumlog.check.anomaly import AnomalyKind

#: A history changed in one place of the random's choice; None if there is nothing in it that could be changed so.
Mutate: TypeAlias = Callable[["Random", "Sequence[Event]"], "list[Event] | None"]


@dataclass(frozen=True, slots=True)
class Mutator:
    """``broken`` says what a system does that shows this history; a judge must find one of ``kinds`` in it."""

    name: str
    broken: str
    kinds: frozenset[AnomalyKind]
    mutate: Mutate


def is_ok(event: Event, *operations: str) -> bool:
    return event.type is EventType.OK and event.operation in operations


def answered(events: Sequence[Event], place: int, value: Any) -> list[Event]:
    """Another answer, or another question, at ``place``."""
    return [*events[:place], events[place]._replace(value=value), *events[place + 1 :]]


def told(events: Sequence[Event], place: int, **changes: Any) -> list[Event]:
    """Other words in the answer or question at ``place``."""
    return answered(events, place, {**events[place].value, **changes})


def failed(events: Sequence[Event], place: int) -> list[Event]:
    """What was ok at ``place`` was a failure."""
    refused = events[place]._replace(type=EventType.FAIL, value=None)
    return [*events[:place], refused, *events[place + 1 :]]


def without(events: Sequence[Event], indices: Iterable[int]) -> list[Event]:
    """The operations with these invocations never were."""
    gone = set(indices)
    return [event for event in events if event.index not in gone and event.invocation not in gone]


def with_operation(
    events: Sequence[Event], place: int, process: int, operation: str, key: str, asked: Any, answer: Any = None
) -> list[Event]:
    """One more operation, begun and done just before what is at ``place``."""
    time_ns = events[place].time_ns
    moved = [_shifted(event, events[place].index, 2) for event in events]
    index = events[place].index
    invoke = Event(index, time_ns, process, EventType.INVOKE, operation, key, asked)
    done = Event(index + 1, time_ns, process, EventType.OK, operation, key, answer, index)
    return [*moved[:place], invoke, done, *moved[place:]]


def _shifted(event: Event, from_index: int, by: int) -> Event:
    index = event.index + by if event.index >= from_index else event.index
    invocation = event.invocation
    if invocation is not None and invocation >= from_index:
        invocation += by
    return event._replace(index=index, invocation=invocation)


def places_by_index(events: Sequence[Event]) -> dict[int, int]:
    """index -> where it stands."""
    return {event.index: place for place, event in enumerate(events)}


def fresh_process(events: Sequence[Event]) -> int:
    """A process that does nothing in this history."""
    return max((event.process for event in events), default=0) + 1
