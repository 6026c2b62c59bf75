"""What a run says of itself in short: what was found, how soon, and why its verdict is what it is."""

from __future__ import annotations

from quorumlog.chaos.outcome import RunRecord, reasons, summary
from quorumlog.chaos.suites import Tally
from quorumlog.check import Anomaly, AnomalyKind, Event, EventType, Operation

SECOND = 1_000_000_000


def operation(index: int, invoked_s: float, completed_s: float | None) -> Operation:
    invoked = Event(index, int(invoked_s * SECOND), 1, EventType.INVOKE, "read", "t/0")
    if completed_s is None:
        return Operation(invoked, None)
    return Operation(invoked, Event(index + 1, int(completed_s * SECOND), 1, EventType.OK, "read", "t/0"))


def test_an_anomaly_is_shown_when_the_last_of_its_witness_is_complete() -> None:
    first, last, open_end = operation(0, 1, 2), operation(2, 3, 7), operation(4, 5, None)
    assert Anomaly.of(AnomalyKind.DUPLICATE, "t/0", "", first, last).shown_ns == 7 * SECOND
    assert Anomaly.of(AnomalyKind.DUPLICATE, "t/0", "", first, open_end).shown_ns == 5 * SECOND
    assert Anomaly.of(AnomalyKind.DUPLICATE, "t/0", "").shown_ns is None


def test_what_was_found_is_summed_by_kind_in_the_order_in_which_it_was_shown() -> None:
    lost = [Anomaly.of(AnomalyKind.LOST_WRITE, "t/0", "", operation(0, 1, at)) for at in (9.5, 9.0)]
    early = Anomaly.of(AnomalyKind.INCONSISTENT_OFFSET, "t/0", "", operation(2, 3, 4.25))
    bare = Anomaly.of(AnomalyKind.NOT_LINEARIZABLE, "g@t/0", "")
    found = summary([*lost, early, bare], 2 * SECOND)
    assert found == {
        "not linearizable": {"times": 1},
        "inconsistent offset": {"times": 1, "first_s": 2.25},
        "lost write": {"times": 2, "first_s": 7.0},
    }
    assert list(found) == ["not linearizable", "inconsistent offset", "lost write"]


def test_of_reasons_alike_two_are_told_and_the_others_counted() -> None:
    why = ["lost write: a", "lost write: b", "no quorum", "lost write: c", "lost write: d"]
    assert reasons(why) == [("lost write: a", 0), ("lost write: b", 2), ("no quorum", 0)]


def test_a_tally_says_in_how_many_runs_each_anomaly_was_found_and_the_soonest() -> None:
    def record(verdict: str, **found: dict[str, float]) -> RunRecord:
        return RunRecord("s", "", "local", "raft", 3, 1, verdict, found=found)

    tally = Tally.of(
        [
            record("false", duplicate={"times": 2, "first_s": 5.0}, skip={"times": 1}),
            record("false", duplicate={"times": 3, "first_s": 4.0}),
            record("true"),
        ]
    )
    assert (tally.true, tally.false) == (1, 2)
    assert tally.found == {"duplicate": {"runs": 2, "times": 5, "first_s": 4.0}, "skip": {"runs": 1, "times": 1}}
