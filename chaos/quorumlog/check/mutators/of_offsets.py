"""What broken registers of committed offsets would have shown their owners and watchers."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING, Any

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
from quorumlog.check.offset_evidence import partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

    from quorumlog.check.history import Event

_SIGHTS = ("fetch", "final_fetch", "acquire")
#: Beyond the end of every log.
_FAR = 1_000_000_000


def _seen_tokens(events: Sequence[Event]) -> dict[str, int]:
    """token -> the version it was seen with."""
    return {
        event.value["stored"][2]: event.value["stored"][1]
        for event in events
        if is_ok(event, *_SIGHTS) and event.value["stored"] is not None
    }


def _commits(events: Sequence[Event]) -> list[tuple[int, int]]:
    """(place invoked, place acknowledged) of every acknowledged commit."""
    at = places_by_index(events)
    return [(at[event.invocation or 0], place) for place, event in enumerate(events) if is_ok(event, "commit")]


def _seen_commits(events: Sequence[Event]) -> list[tuple[int, int]]:
    seen = _seen_tokens(events)
    return [(invoked, done) for invoked, done in _commits(events) if events[invoked].value["token"] in seen]


def _with_resets(events: Sequence[Event]) -> set[str]:
    """Registers that may have gone back on purpose."""
    return {
        event.key
        for event in events
        if event.operation == "reset" or (event.operation == "acquire" and _forces(event))
    }


def _forces(event: Event) -> bool:
    if event.invocation is None:
        return bool(event.value.get("force"))
    answer = event.value
    return answer is not None and answer["stored"] is not None and answer["offset"] < answer["stored"][0]


class _Known:
    """What had been seen of each register, and when."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._at = places_by_index(events)
        self._moments: dict[str, list[int]] = {}
        self._stored: dict[str, list[list[Any]]] = {}
        for place, event in enumerate(events):
            stored = None
            if is_ok(event, "commit"):
                asked = events[self._at[event.invocation or 0]].value
                stored = [asked["offset"], event.value["version"], asked["token"]]
            elif is_ok(event, *_SIGHTS):
                stored = event.value["stored"]
            if stored is not None:
                self._moments.setdefault(event.key, []).append(place)
                self._stored.setdefault(event.key, []).append(stored)

    def before(self, event: Event) -> list[list[Any]]:
        """All that was known of its register when it was asked, in the order in which it was told."""
        moments = self._moments.get(event.key, [])
        return self._stored.get(event.key, [])[: bisect_left(moments, self._at[event.invocation or 0])]


def _rolled_back(random: Random, events: Sequence[Event], which: Callable[[Event], bool]) -> list[Event] | None:
    """An answer of such an operation is what had been stored before."""
    known = _Known(events)
    choices = []
    for place, event in enumerate(events):
        if not which(event) or event.value["stored"] is None:
            continue
        before = known.before(event)
        highest = max((stored[1] for stored in before), default=0)
        choices += [(place, stored) for stored in before if stored[1] < highest]
    if not choices:
        return None
    place, stored = random.choice(choices)
    return told(events, place, stored=stored)


def roll_a_fetch_back(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """A fetch is answered with what had been stored before."""
    at = places_by_index(events)
    return _rolled_back(
        random,
        events,
        lambda event: is_ok(event, "fetch") and events[at[event.invocation or 0]].value is None,
    )


def roll_a_final_fetch_back(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """So is that of a fresh client in the end."""
    return _rolled_back(random, events, lambda event: is_ok(event, "final_fetch"))


def say_none(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """Nothing is said to be stored."""
    return _say(random, events, None)


def say_minus_one(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """−1 is said to be stored."""
    return _say(random, events, [-1, 0, ""])


def say_zero(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """0 is said to be stored, as if the group had just begun."""
    return _say(random, events, [0, 0, ""])


def _say(random: Random, events: Sequence[Event], stored: list[Any] | None) -> list[Event] | None:
    at, known, resets = places_by_index(events), _Known(events), _with_resets(events)
    choices = [
        place
        for place, event in enumerate(events)
        if is_ok(event, "fetch", "final_fetch") and event.key not in resets
        # As of a version an answer may be old.
        if events[at[event.invocation or 0]].value is None
        if any(one[0] for one in known.before(event))
    ]
    return told(events, random.choice(choices), stored=stored) if choices else None


def fail_a_commit(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """A commit that is seen is said to have been refused."""
    choices = _seen_commits(events)
    return failed(events, random.choice(choices)[1]) if choices else None


def forget_a_commit(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """Nobody made a commit that is seen."""
    choices = _seen_commits(events)
    return without(events, [events[random.choice(choices)[0]].index]) if choices else None


def move_a_commit(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """A commit is seen with another offset than it asked for."""
    choices = _seen_commits(events)
    if not choices:
        return None
    invoked, _ = random.choice(choices)
    return told(events, invoked, offset=events[invoked].value["offset"] + 1)


def _neighbours(events: Sequence[Event]) -> list[tuple[int, int, int, int]]:
    """(invoked, done, invoked, done) of commits of one register, the second begun after the first had ended."""
    commits = sorted(_commits(events), key=lambda commit: (events[commit[0]].key, commit))
    return [
        (*one, *other)
        for one, other in pairwise(commits)
        if events[one[0]].key == events[other[0]].key and one[1] < other[0]
    ]


def give_a_version_twice(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """Two commits got one version."""
    choices = _neighbours(events)
    if not choices:
        return None
    _, first, _, second = random.choice(choices)
    return told(events, second, version=events[first].value["version"])


def swap_two_versions(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """The later of two commits got the lower version."""
    choices = _neighbours(events)
    if not choices:
        return None
    _, first, _, second = random.choice(choices)
    one, other = events[first].value["version"], events[second].value["version"]
    return told(told(events, first, version=other), second, version=one)


def do_a_commit_twice(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """A commit was acknowledged at one version and is seen at another."""
    choices = _seen_commits(events)
    if not choices:
        return None
    _, done = random.choice(choices)
    return told(events, done, version=events[done].value["version"] + _FAR)


def commit_backwards(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """A commit below the one before it is accepted."""
    resets = _with_resets(events)
    choices = [
        (first, second)
        for first, _, second, _ in _neighbours(events)
        if events[first].value["offset"] > 0 and events[first].key not in resets
    ]
    if not choices:
        return None
    first, second = random.choice(choices)
    asked, lower = events[second].value, events[first].value["offset"] - 1
    changed = told(events, second, offset=lower)
    for place, event in enumerate(events):
        if is_ok(event, *_SIGHTS) and event.value["stored"] and event.value["stored"][2] == asked["token"]:
            changed = told(changed, place, stored=[lower, *event.value["stored"][1:]])
    return changed


def commit_as_a_zombie(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """A commit of an owner that had been fenced is accepted."""
    choices = [
        invoked
        for invoked, _ in _commits(events)
        if any(
            is_ok(event, "acquire")
            and event.key == events[invoked].key
            and event.value["epoch"] == events[invoked].value["epoch"]
            for event in events[:invoked]
        )
    ]
    if not choices:
        return None
    invoked = random.choice(choices)
    return told(events, invoked, epoch=events[invoked].value["epoch"] - 1)


def commit_beyond_the_end(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """An offset that the log never had is accepted."""
    at = places_by_index(events)
    asked = {event.key: at[event.invocation or 0] for event in events if is_ok(event, "end")}
    resets = _with_resets(events)
    choices = [
        invoked
        for invoked, done in _commits(events)
        if done < asked.get(partition_of(events[invoked].key), 0) and events[invoked].key not in resets
    ]
    return told(events, random.choice(choices), offset=_FAR) if choices else None


def replace_the_record_below(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """The record that a committer had processed last is another one now."""
    there = {
        (event.key, offset + position)
        for event in events
        if is_ok(event, "final_read")
        for offset, values in event.value["batches"]
        for position in range(len(values))
    }
    choices = [
        invoked
        for invoked, _ in _commits(events)
        if events[invoked].value.get("below") is not None
        and (partition_of(events[invoked].key), events[invoked].value["offset"] - 1) in there
    ]
    return told(events, random.choice(choices), below="what was there before") if choices else None


def deny_a_commit(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """Of a commit that took effect it is said that it never happened."""
    happened = _seen_tokens(events) | {
        events[invoked].value["token"]: events[done].value["version"] for invoked, done in _commits(events)
    }
    at = places_by_index(events)
    choices = [
        place
        for place, event in enumerate(events)
        if is_ok(event, "resolve") and events[at[event.invocation or 0]].value["token"] in happened
    ]
    if not choices:
        return None
    return answered(events, random.choice(choices), {"fate": "NEVER_HAPPENED", "version": 0})


def hide_from_the_successor(random: Random, events: Sequence[Event]) -> list[Event] | None:
    """A new owner is shown what had been stored before its predecessor's last commit."""
    known = _Known(events)
    epochs = {events[invoked].value["token"]: events[invoked].value["epoch"] for invoked, _ in _commits(events)}
    choices = []
    for place, event in enumerate(events):
        if not is_ok(event, "acquire") or event.value["stored"] is None:
            continue
        before = known.before(event)
        predecessors = (stored[1] for stored in before if epochs.get(stored[2], _FAR) < event.value["epoch"])
        highest = max(predecessors, default=0)
        choices += [(place, stored) for stored in before if stored[1] < highest]
    if not choices:
        return None
    place, stored = random.choice(choices)
    return told(events, place, stored=stored, offset=stored[0])


def _all() -> Iterator[Mutator]:
    def one(name: str, broken: str, mutate: Any, *kinds: AnomalyKind) -> Mutator:
        return Mutator(name, broken, frozenset(kinds), mutate)

    yield one("roll a fetch back", "a stale leader answers", roll_a_fetch_back, AnomalyKind.STALE_FETCH)
    yield one("roll a final fetch back", "a commit is lost", roll_a_final_fetch_back, AnomalyKind.LOST_COMMIT)
    yield one("say none", "a checkpoint lacks its offsets", say_none, AnomalyKind.SPURIOUS_NONE)
    yield one("say minus one", "−1 while it recovers", say_minus_one, AnomalyKind.SPURIOUS_NONE)
    yield one("say zero", "an empty state is served", say_zero, AnomalyKind.SPURIOUS_NONE)
    yield one("fail a commit", "a timeout is reported as a refusal", fail_a_commit, AnomalyKind.ABORTED_COMMIT)
    yield one("forget a commit", "commits come from nowhere", forget_a_commit, AnomalyKind.PHANTOM_COMMIT)
    yield one("move a commit", "another offset is stored", move_a_commit, AnomalyKind.PHANTOM_COMMIT)
    yield one("give a version twice", "two leaders commit", give_a_version_twice, AnomalyKind.VERSION_FORK)
    yield one("swap two versions", "versions go back", swap_two_versions, AnomalyKind.VERSION_INVERSION)
    yield one("do a commit twice", "a retry has its own effect", do_a_commit_twice, AnomalyKind.DOUBLE_COMMIT)
    yield one("commit backwards", "nobody compares offsets", commit_backwards, AnomalyKind.REGRESS)
    yield one("commit as a zombie", "nobody checks epochs", commit_as_a_zombie, AnomalyKind.ZOMBIE_COMMIT)
    yield one("commit beyond the end", "nobody checks the end", commit_beyond_the_end, AnomalyKind.BEYOND_LOG)
    yield one("replace the record below", "the log was truncated", replace_the_record_below, AnomalyKind.BEYOND_LOG)
    yield one("deny a commit", "receipts are forgotten", deny_a_commit, AnomalyKind.WRONG_FATE)
    yield one(
        "hide from the successor",
        "a takeover reads stale state",
        hide_from_the_successor,
        AnomalyKind.SUCCESSOR_MISMATCH,
    )


OF_OFFSETS: tuple[Mutator, ...] = tuple(_all())
