"""What broken consumer groups would have shown their members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quorumlog.check.anomaly import AnomalyKind
from quorumlog.check.mutators.mutator import (
    Mutator,
    failed,
    fresh_process,
    is_ok,
    places_by_index,
    told,
    with_operation,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from quorumlog.check.history import Event

_HOUR_NS = 3_600_000_000_000


def tell_two_members(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """Another member is told in the same generation that it owns the same."""
    choices = [
        place
        for place, event in enumerate(events)
        if event.operation == "assigned" and event.invocation is None and event.value["partitions"]
    ]
    if not choices:
        return None
    place = random.choice(choices)
    asked = {**events[place].value, "member": "somebody else"}
    return with_operation(events, place, fresh_process(events), "assigned", events[place].key, asked)


def grant_what_is_owned(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """A member is granted a partition that another has and later gives back in order."""
    at = places_by_index(events)
    gave_back = {
        (event.key, events[at[event.invocation or 0]].value["member"])
        for event in events
        if is_ok(event, "give_back")
    }
    choices = [
        (place, event)
        for place, event in enumerate(events)
        if is_ok(event, "own")
        and (event.key, events[at[event.invocation or 0]].value["member"]) in gave_back
        # The last of this member's, which is the one that it gave back.
        and not any(
            other.operation == "own"
            and other.invocation is None
            and other.key == event.key
            and other.value["member"] == events[at[event.invocation or 0]].value["member"]
            for other in events[place:]
        )
    ]
    if not choices:
        return None
    place, ended = random.choice(choices)
    generation = events[at[ended.invocation or 0]].value["generation"]
    asked = {"member": "somebody else", "generation": generation}
    return with_operation(events, place, fresh_process(events), "own", ended.key, asked)


def leave_an_orphan(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """Nobody ever owns a partition, and an hour passes after everything was healed."""
    keys = sorted({event.key for event in events if event.operation == "own"})
    stops = [place for place, event in enumerate(events) if event.operation == "members_stop"]
    if not keys or not stops or not any(event.operation == "healed" for event in events):
        return None
    key = random.choice(keys)
    # The last that say so count.
    last = max(place for place in stops if events[place].invocation is None)
    late = [
        event._replace(time_ns=event.time_ns + (_HOUR_NS if place >= last else 0))
        for place, event in enumerate(events)
    ]
    return without(late, [event.index for event in events if event.operation == "own" and event.key == key])


def _processed(events: Sequence[Event]) -> Iterator[tuple[int, int]]:
    """(place begun, place finished) of what owners finished."""
    at = places_by_index(events)
    return ((at[event.invocation or 0], place) for place, event in enumerate(events) if is_ok(event, "process"))


def skip_a_record(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """An owner leaves its next record out."""
    choices = [
        begun for begun, _ in _processed(events) if events[begun].value["last"] > events[begun].value["first"]
    ]
    if not choices:
        return None
    begun = random.choice(choices)
    return told(events, begun, first=events[begun].value["first"] + 1)


def start_elsewhere(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """An owner is sent past the first record after what is stored."""
    choices = [
        place for place, event in enumerate(events) if is_ok(event, "acquire") and event.value["reason"] == "STORED"
    ]
    if not choices:
        return None
    place = random.choice(choices)
    return told(events, place, offset=events[place].value["offset"] + 1)


def commit_what_is_unfinished(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """Records below the last commit were never finished, by anybody."""
    at = places_by_index(events)
    jumped = {event.key for event in events if event.operation in ("reset", "gap")}
    committed: dict[str, int] = {}
    for event in events:
        if is_ok(event, "commit"):
            # The last known commit is the one that is judged.
            committed[event.key] = events[at[event.invocation or 0]].value["offset"]
    finished: dict[tuple[str, int], int] = {}
    for begun, _ in _processed(events):
        value = events[begun].value
        for offset in range(value["first"], value["last"] + 1):
            finished[events[begun].key, offset] = finished.get((events[begun].key, offset), 0) + 1
    choices = []
    for begun, done in _processed(events):
        key, first = events[begun].key, events[begun].value["first"]
        if key not in jumped and first < committed.get(key, 0) and finished[key, first] == 1:
            choices.append(done)
    return failed(events, random.choice(choices)) if choices else None


def promise_no_repeats(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """An owner is told that its predecessor gave back in order, which it did not: it repeats."""
    at = places_by_index(events)
    resets = {event.key for event in events if event.operation == "reset"}
    furthest: dict[tuple[str, int], int] = {}
    for begun, _ in _processed(events):
        value, key = events[begun].value, events[begun].key
        furthest[key, value["epoch"]] = max(value["last"], furthest.get((key, value["epoch"]), -1))
    choices = [
        place
        for place, event in enumerate(events)
        if is_ok(event, "acquire")
        and event.key not in resets
        and not events[at[event.invocation or 0]].value.get("force")
        and not event.value["released"]
        and event.value["offset"] <= furthest.get((event.key, event.value["epoch"] - 1), -1)
    ]
    return told(events, random.choice(choices), released=True) if choices else None


def _one(name: str, broken: str, mutate: Any, *kinds: AnomalyKind) -> Mutator:
    return Mutator(name, broken, frozenset(kinds), mutate)


OF_GROUPS: tuple[Mutator, ...] = (
    _one(
        "tell two members",
        "an assignment gives one partition to two members",
        tell_two_members,
        AnomalyKind.DOUBLE_OWNERSHIP,
    ),
    _one(
        "grant what is owned",
        "a partition moves before it was given back",
        grant_what_is_owned,
        AnomalyKind.DOUBLE_OWNERSHIP,
    ),
    _one("leave an orphan", "a partition is assigned to nobody", leave_an_orphan, AnomalyKind.ORPHAN),
    _one("skip a record", "a consumer's position runs ahead", skip_a_record, AnomalyKind.BAD_RESUME),
    _one("start elsewhere", "a start is off by one", start_elsewhere, AnomalyKind.BAD_RESUME),
    _one(
        "commit what is unfinished",
        "commits come before processing",
        commit_what_is_unfinished,
        AnomalyKind.GAP_UNDER_COMMIT,
    ),
    _one(
        "promise no repeats",
        "a release is granted with commits open",
        promise_no_repeats,
        AnomalyKind.REPEAT_AFTER_RELEASE,
    ),
)
