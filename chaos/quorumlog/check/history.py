"""Histories: what clients asked, what they were told, and when; the only evidence a checker believes.

Every operation is an ``invoke`` and, later, one of ``ok``, ``fail`` (it definitely did not happen) and ``info``
(nobody knows; it stays concurrent with everything after it, so the process that did it does nothing more). Checkers
run offline: a history written as JSON lines (``write_history``) can be judged again years later, by another
checker.

Where this departs from Jepsen's histories: a completion names its invocation by index, because a producer that
pipelines has several sends outstanding and "the last invoke of this process" would pair them wrongly.

The operations and their values (``Value`` is a unique number or string):

=============== ============================== =============================================================
operation       invoke                         ok
=============== ============================== =============================================================
``send``        the values, in order           the offset of the first; the others follow without a hole
``assign``      the offset to go on from       the same: this reader's position was moved on purpose
``read``        the offset to read from        ``{"start", "end", "batches": [[offset, [value, …]], …]}``
``final_read``  the offset to read from        the same, by a fresh client after all faults have ended
``end``         nothing                        the partition's end, linearizably
``fault``       what is about to be done       what it was seen to do, ``{"effect": n}``
=============== ============================== =============================================================

Those of offsets, whose key is ``group@partition``; ``stored`` is ``[offset, version, token]`` or null, with the
commit's token, or "" if a reset or the first Acquire set it:

=============== ============================================= ==============================================
operation       invoke                                        ok
=============== ============================================= ==============================================
``acquire``     ``{"start": [rule, value], "force"}``         ``{"epoch", "offset", "reason", "stored",
                                                              "log_start", "log_end", "released"}``
``release``     ``{"epoch"}``                                 nothing
``commit``      ``{"offset", "epoch", "token", "below"}``     ``{"version"}``
``fetch``       nothing; or a version that will do            ``{"stored", "epoch"}``
``final_fetch`` nothing; by a fresh client after everything   the same
``reset``       ``{"offset"}``                                ``{"version"}``
``resolve``     ``{"token"}``                                 ``{"fate", "version"}``
=============== ============================================= ==============================================

Those of the members of groups; all but the first have the key ``group@partition``:

============= ============================================ ==================================================
operation     invoke                                       ok
============= ============================================ ==================================================
``assigned``  ``{"member", "generation", "partitions"}``   nothing: it was told so; the key is the group
``own``       ``{"member", "generation"}``                 nothing: it stopped processing
``give_back`` ``{"member"}``                               nothing: its coordinator took it and knew it
``process``   ``{"epoch", "first", "last"}``               nothing: the application finished them
``gap``       ``{"from", "to"}``                           nothing: it was told that they are gone
============= ============================================ ==================================================

``elections`` says how often any node began to lead anything while faults lasted, ok ``{"count": n}``, as their
logs have it. ``healed`` and ``members_stop`` mark the moments at which all faults had ended, and at which members
were told to go.

Prior art: Jepsen's ``jepsen.history``; Porcupine's events; the format of CHAOS.md §1.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

#: What a record holds in a history: unique within it.
Value = int | str

#: Time that never comes: when an operation that never completed "returned".
NEVER = 1 << 62


class EventType(Enum):
    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"
    INFO = "info"


class MalformedHistory(Exception):
    """The history itself is wrong, so nothing can be said about the system: the recorder has a bug."""


class Event(NamedTuple):
    """One line of a history. ``index`` orders events; ``time_ns`` is monotonic and only for people and plots.

    ``invocation`` is the index of the invoke event that this one completes, None on an invoke. ``key`` is the
    partition (``topic/number``), or the name of a fault. ``node`` is who answered, as far as the client knows.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    time_ns: int
    process: int
    type: EventType
    operation: str
    key: str
    value: Any = None
    invocation: int | None = None
    error: str | None = None
    node: int | None = None


class Operation(NamedTuple):
    """An invocation with its completion, None while nobody knows how it ended."""

    invoked: Event
    completed: Event | None

    @property
    def type(self) -> EventType:
        """OK, FAIL, or INFO for all that may or may not have happened."""
        return EventType.INFO if self.completed is None else self.completed.type

    @property
    def returned(self) -> int:
        """The index before which the operation had certainly ended; NEVER when its outcome is unknown."""
        if self.completed is None or self.completed.type is EventType.INFO:
            return NEVER
        return self.completed.index


class Recorder:
    """Writes a history as it happens. One recorder numbers all events, so their order is the order of its calls."""

    __slots__ = ("_open", "events")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._open: dict[int, Event] = {}

    def invoke(
        self, time_ns: int, process: int, operation: str, key: str, value: Any = None, node: int | None = None
    ) -> int:
        """Notes that ``process`` is about to act; call it before anything leaves. Returns the event's index."""
        index = len(self.events)
        event = Event(index, time_ns, process, EventType.INVOKE, operation, key, value, None, None, node)
        self.events.append(event)
        self._open[index] = event
        return index

    def complete(
        self,
        time_ns: int,
        invocation: int,
        kind: EventType,
        value: Any = None,
        error: str | None = None,
        node: int | None = None,
    ) -> None:
        """Notes how the operation invoked at ``invocation`` ended. Raises KeyError if it has ended already."""
        # ``began`` may have moved since (``absorb``): its own index counts, not the one it was known by.
        began = self._open.pop(invocation)
        self.events.append(
            Event(
                len(self.events),
                time_ns,
                began.process,
                kind,
                began.operation,
                began.key,
                value,
                began.index,
                error,
                node,
            )
        )

    def absorb(self, others: Iterable[Sequence[Event]]) -> None:
        """Takes in what other processes of this machine have written meanwhile, each with indices of its own: all
        events are put into the order of their times, which one monotonic clock gave.

        The indices that ``invoke`` has returned stay good for ``complete``.
        """
        sources = [self.events, *others]
        # At the same nanosecond nobody knows: then an invocation comes first, so that the two are concurrent.
        order = sorted(
            ((source, event) for source, events in enumerate(sources) for event in events),
            key=lambda entry: (entry[1].time_ns, entry[1].type is not EventType.INVOKE),
        )
        moved: dict[tuple[int, int], int] = {}
        merged: list[Event] = []
        for index, (source, event) in enumerate(order):
            moved[source, event.index] = index
            invocation = None if event.invocation is None else moved[source, event.invocation]
            merged.append(event._replace(index=index, invocation=invocation))
        self._open = {handle: merged[moved[0, began.index]] for handle, began in self._open.items()}
        self.events[:] = merged

    def close(self, time_ns: int) -> None:
        """Ends everything still open as ``info``: the run is over and nobody will ever know."""
        for invocation in list(self._open):
            self.complete(time_ns, invocation, EventType.INFO, error="run ended")


def operations(events: Sequence[Event]) -> list[Operation]:
    """The history as operations, in order of invocation.

    Raises MalformedHistory when indices do not ascend, time goes back, a completion answers nothing or answers
    twice, or a process goes on after an outcome that it does not know.
    """
    completions: dict[int, Event] = {}
    invoked: dict[int, Event] = {}
    retired: dict[int, int] = {}
    last_index, last_time = -1, 0
    for event in events:
        if event.index <= last_index or event.time_ns < last_time:
            raise MalformedHistory(f"event {event.index} follows event {last_index} but is not after it")
        last_index, last_time = event.index, event.time_ns
        if event.type is EventType.INVOKE:
            if event.process in retired:
                raise MalformedHistory(
                    f"process {event.process} acts at {event.index} though its outcome at"
                    f" {retired[event.process]} is unknown"
                )
            invoked[event.index] = event
            continue
        began = None if event.invocation is None else invoked.get(event.invocation)
        if began is None or event.invocation in completions:
            raise MalformedHistory(f"event {event.index} completes {event.invocation}, which is not open")
        if (began.process, began.operation, began.key) != (event.process, event.operation, event.key):
            raise MalformedHistory(f"event {event.index} does not belong to its invocation {began.index}")
        completions[began.index] = event
        if event.type is EventType.INFO:
            retired[event.process] = event.index
    return [Operation(event, completions.get(index)) for index, event in invoked.items()]


def describe(operation: Operation) -> str:
    """One operation as a line for people; long values are shortened."""
    invoked, completed = operation.invoked, operation.completed
    asked = f"[{invoked.index}] process {invoked.process} {invoked.operation} {_short(invoked.value)}"
    if completed is None:
        return f"{asked} -> no answer"
    where = f" from node {completed.node}" if completed.node else ""
    answer = completed.error if completed.error else _short(completed.value)
    return f"{asked} -> [{completed.index}] {completed.type.value} {answer}{where}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:110]} ... {text[-45:]}"


def to_json(event: Event) -> str:
    """One line; what is None is left out."""
    fields = {name: value for name, value in event._asdict().items() if value is not None}
    fields["type"] = event.type.value
    return json.dumps(fields, separators=(",", ":"))


def from_json(line: str) -> Event:
    """Raises MalformedHistory for a line that ``to_json`` cannot have written."""
    try:
        fields = json.loads(line)
        return Event(**{**fields, "type": EventType(fields["type"])})
    except (ValueError, TypeError, KeyError) as error:
        raise MalformedHistory(f"not an event: {line[:80]!r}: {error}") from error


def write_history(path: Path, events: Iterable[Event]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(to_json(event) + "\n" for event in events)


def read_history(path: Path) -> list[Event]:
    """Raises OSError, MalformedHistory."""
    with path.open(encoding="utf-8") as file:
        return list(_parse(file))


def _parse(lines: Iterable[str]) -> Iterator[Event]:
    return (from_json(line) for line in lines if line.strip())
