"""What a broken log would have shown its producers and readers."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from quorumlog.check.anomaly import AnomalyKind
from quorumlog.check.mutators.mutator import (
    Mutator,
    answered,
    failed,
    is_ok,
    places_by_index,
    told,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from quorumlog.check.history import Event, Value


class _Sent(NamedTuple):
    """An acknowledged send: where it was invoked and acknowledged, and what it sent to where."""

    invoked: int
    done: int
    event: Event
    values: list[Value]

    @property
    def offset(self) -> int:
        offset: int = self.event.value
        return offset


def _sends(events: Sequence[Event]) -> list[_Sent]:
    at = places_by_index(events)
    return [
        _Sent(at[event.invocation or 0], place, event, events[at[event.invocation or 0]].value)
        for place, event in enumerate(events)
        if is_ok(event, "send")
    ]


def _records(event: Event) -> list[tuple[int, Value]]:
    return [
        (offset + position, value)
        for offset, values in event.value["batches"]
        for position, value in enumerate(values)
    ]


def _with_records(events: Sequence[Event], place: int, found: Sequence[tuple[int, Value]]) -> list[Event]:
    return told(events, place, batches=[[offset, [value]] for offset, value in found])


def _finals(events: Sequence[Event]) -> Iterator[int]:
    return (place for place, event in enumerate(events) if is_ok(event, "final_read"))


def _acknowledged_before(events: Sequence[Event], place: int) -> set[tuple[str, int]]:
    """(partition, offset) of everything acknowledged before the process at ``place`` began."""
    process = events[place].process
    began = next(where for where, event in enumerate(events) if event.process == process)
    return {
        (sent.event.key, sent.offset + position)
        for sent in _sends(events)
        if sent.done < began
        for position in range(len(sent.values))
    }


def drop_a_record(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """One record, not the last, is missing from a final read."""
    choices = []
    for place in _finals(events):
        known = _acknowledged_before(events, place)
        choices += [(place, one) for one in _records(events[place])[:-1] if (events[place].key, one[0]) in known]
    if not choices:
        return None
    place, gone = random.choice(choices)
    return _with_records(events, place, [one for one in _records(events[place]) if one != gone])


def cut_the_tail(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """A final read ends before the log did, and says that this is the end."""
    last = {events[place].process: place for place in _finals(events) if _records(events[place])}
    choices = []
    for place in last.values():
        tail = _records(events[place])[-1]
        if (events[place].key, tail[0]) in _acknowledged_before(events, place):
            choices.append((place, tail))
    if not choices:
        return None
    place, gone = random.choice(choices)
    # Its process asked again at the end, perhaps: it was told that nothing is there.
    process, changed = events[place].process, list(events)
    changed = _with_records(changed, place, _records(events[place])[:-1])
    for where in _finals(events):
        if events[where].process == process:
            changed = told(changed, where, end=min(events[where].value["end"], gone[0]))
    return changed


def swap_two_records(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """Two neighbours of a final read, of which one was acknowledged there, have changed places."""
    choices = []
    for place in _finals(events):
        known = _acknowledged_before(events, place)
        choices += [
            (place, position)
            for position, one in enumerate(_records(events[place])[:-1])
            if (events[place].key, one[0]) in known
        ]
    if not choices:
        return None
    place, position = random.choice(choices)
    found = _records(events[place])
    (low, first), (high, second) = found[position], found[position + 1]
    found[position : position + 2] = [(low, second), (high, first)]
    return _with_records(events, place, found)


def repeat_a_record(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """The last record of a final read comes once more."""
    choices = [place for place in _finals(events) if _records(events[place])]
    if not choices:
        return None
    place = random.choice(choices)
    found = _records(events[place])
    return _with_records(events, place, [*found, (found[-1][0] + 1, found[-1][1])])


def change_a_record(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """A record that is read is not what anybody sent."""
    choices = [
        place for place, event in enumerate(events) if is_ok(event, "read", "final_read") and _records(event)
    ]
    if not choices:
        return None
    place = random.choice(choices)
    found = _records(events[place])
    position = random.randrange(len(found))
    found[position] = (found[position][0], "b'nobody sent this'")
    return _with_records(events, place, found)


def _read_sends(events: Sequence[Event]) -> list[_Sent]:
    seen = {value for event in events if is_ok(event, "read", "final_read") for _, value in _records(event)}
    return [sent for sent in _sends(events) if seen.intersection(sent.values)]


def fail_a_send(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """A send whose records are read is said to have failed."""
    choices = _read_sends(events)
    return failed(events, random.choice(choices).done) if choices else None


def forget_a_send(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """Nobody sent what is read."""
    choices = _read_sends(events)
    return without(events, [random.choice(choices).event.invocation or 0]) if choices else None


def swap_two_sends(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """Of two sends, one after the other, the later got the lower offset."""
    sends = sorted(_sends(events), key=lambda sent: sent.event.key)
    choices = [
        (one, other)
        for one, other in pairwise(sends)
        if one.event.key == other.event.key and one.done < other.invoked and one.offset < other.offset
    ]
    if not choices:
        return None
    one, other = random.choice(choices)
    return answered(answered(events, one.done, other.offset), other.done, one.offset)


def swap_two_sends_of_one_process(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """One producer's sends are stored in another order than it sent them in."""
    sends = sorted(_sends(events), key=lambda sent: (sent.event.key, sent.event.process, sent.invoked))
    choices = [
        (one, other)
        for one, other in pairwise(sends)
        if (one.event.key, one.event.process) == (other.event.key, other.event.process)
        and one.offset < other.offset
    ]
    if not choices:
        return None
    one, other = random.choice(choices)
    return answered(answered(events, one.done, other.offset), other.done, one.offset)


def roll_an_end_back(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """A linearizable end lacks what was acknowledged before it was asked for."""
    at = places_by_index(events)
    first: dict[str, int] = {}
    for sent in _sends(events):
        first.setdefault(sent.event.key, sent.done)
    choices = [
        place
        for place, event in enumerate(events)
        if is_ok(event, "end") and first.get(event.key, len(events)) < at[event.invocation or 0]
    ]
    return answered(events, random.choice(choices), 0) if choices else None


def _followed(events: Sequence[Event]) -> Iterator[tuple[int, int]]:
    """Successive reads of one reader that both brought something, without its being moved between."""
    last: dict[tuple[int, str], int] = {}
    for place, event in enumerate(events):
        reader = (event.process, event.key)
        if event.operation == "assign":
            last.pop(reader, None)
        elif is_ok(event, "read") and _records(event):
            if reader in last:
                yield last[reader], place
            last[reader] = place


def jump_over_a_record(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """A reader never gets a record between two that it gets."""
    choices = [
        (place, position)
        for place, event in enumerate(events)
        if is_ok(event, "read")
        for position in range(1, len(_records(event)) - 1)
    ]
    choices += [(place, 0) for _, place in _followed(events) if len(_records(events[place])) > 1]
    if not choices:
        return None
    place, position = random.choice(choices)
    found = _records(events[place])
    return _with_records(events, place, found[:position] + found[position + 1 :])


def read_a_record_again(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """A reader gets the last record of its fetch again with the next."""
    choices = list(_followed(events))
    if not choices:
        return None
    before, place = random.choice(choices)
    return _with_records(events, place, [_records(events[before])[-1], *_records(events[place])])


def _one(name: str, broken: str, mutate: Any, *kinds: AnomalyKind) -> Mutator:
    return Mutator(name, broken, frozenset(kinds), mutate)


OF_RECORDS: tuple[Mutator, ...] = (
    _one("drop a record", "an acknowledged record is lost", drop_a_record, AnomalyKind.LOST_WRITE),
    _one(
        "cut the tail",
        "the last acknowledged record is truncated",
        cut_the_tail,
        AnomalyKind.LOST_WRITE,
        AnomalyKind.UNSEEN,
    ),
    _one("swap two records", "replicas differ in order", swap_two_records, AnomalyKind.INCONSISTENT_OFFSET),
    _one("repeat a record", "a retried append took effect twice", repeat_a_record, AnomalyKind.DUPLICATE),
    _one("change a record", "damage is served", change_a_record, AnomalyKind.PHANTOM),
    _one("fail a send", "a timeout is reported as a failure", fail_a_send, AnomalyKind.ABORTED_READ),
    _one("forget a send", "records come from nowhere", forget_a_send, AnomalyKind.PHANTOM),
    _one("swap two sends", "order is not that of real time", swap_two_sends, AnomalyKind.REAL_TIME_INVERSION),
    _one(
        "swap two sends of one process",
        "a producer's batches overtake each other",
        swap_two_sends_of_one_process,
        AnomalyKind.NON_MONOTONIC_SEND,
    ),
    _one("roll an end back", "a former leader answers", roll_an_end_back, AnomalyKind.STALE_TAIL),
    _one("jump over a record", "a reader is led past a record", jump_over_a_record, AnomalyKind.SKIP),
    _one("read a record again", "a reader is led back", read_a_record_again, AnomalyKind.NON_MONOTONIC_READ),
)
