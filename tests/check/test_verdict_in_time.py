"""A judge that runs out of its time or of its patience does not know; it never says true. And what it found before
counts."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from check.histories import Script, healthy_history
from check.long_histories import long_history
from check.offset_histories import OffsetScript, healthy_offsets

from quorumlog.check import AnomalyKind, Event, Expectations, Verdict, judge, operations
from quorumlog.check.linearizable import linearizable, steps
from quorumlog.check.offset_evidence import gather_offsets
from quorumlog.check.verdict import MOST_OF_A_KIND

if TYPE_CHECKING:
    from collections.abc import Callable

NO_RECORDS = Expectations(final_reads=False)


def spent_after(questions: int) -> Callable[[], bool]:
    asked = 0

    def spent() -> bool:
        nonlocal asked
        asked += 1
        return asked > questions

    return spent


def test_a_judge_without_any_time_knows_nothing() -> None:
    report = judge(healthy_history(Random(1)), spent=lambda: True)
    assert set(report.verdicts.values()) == {Verdict.UNKNOWN}
    assert report.verdict is Verdict.UNKNOWN
    assert "inconsistent offset: no time was left for lines/0" in report.doubts


@pytest.mark.parametrize("questions", range(0, 30, 3))
def test_what_was_not_looked_for_in_time_is_unknown_and_the_rest_is_known(questions: int) -> None:
    events = healthy_offsets(Random(1))
    known = [
        verdict
        for verdict in judge(events, NO_RECORDS, spent_after(questions)).verdicts.values()
        if verdict is Verdict.TRUE
    ]
    assert len(known) <= questions
    assert judge(events, NO_RECORDS, spent_after(questions)).verdict is (
        Verdict.UNKNOWN if len(known) < len(judge(events, NO_RECORDS).verdicts) else Verdict.TRUE
    )


def test_what_was_found_in_time_is_false_though_the_rest_is_unknown() -> None:
    script = Script()
    script.sent(0, ["a"], 0)
    script.read(5, 0, ["b"])
    report = judge(script.events, spent=spent_after(1))
    assert report.verdicts[AnomalyKind.INCONSISTENT_OFFSET] is Verdict.FALSE
    assert report.verdicts[AnomalyKind.PHANTOM] is Verdict.UNKNOWN
    assert report.verdict is Verdict.FALSE


def test_a_search_that_was_given_up_is_unknown() -> None:
    events = healthy_offsets(Random(3), steps=120)
    asked = Expectations(final_reads=False, search_steps=1000)
    report = judge(events, asked, search_budget=5)
    assert report.verdicts[AnomalyKind.NOT_LINEARIZABLE] is Verdict.UNKNOWN
    assert report.verdict is Verdict.UNKNOWN
    assert any("was given up" in doubt for doubt in report.doubts)
    assert report.examined["registers searched"] == 0


def test_a_search_that_was_carried_through_is_true_and_counted() -> None:
    events = healthy_offsets(Random(3), steps=120)
    report = judge(events, Expectations(final_reads=False, search_steps=1000))
    assert report.verdicts[AnomalyKind.NOT_LINEARIZABLE] is Verdict.TRUE
    assert report.examined["registers searched"] == 1


def test_a_search_ends_when_the_time_does() -> None:
    evidence = next(iter(gather_offsets(operations(healthy_offsets(Random(3), steps=120))).values()))
    assert linearizable(steps(evidence)) is True
    assert linearizable(steps(evidence), spent=lambda: True) is None


def test_registers_too_large_for_the_search_are_not_claimed_to_have_been_searched() -> None:
    events = healthy_offsets(Random(3), steps=120)
    report = judge(events, Expectations(final_reads=False, search_steps=5))
    assert AnomalyKind.NOT_LINEARIZABLE not in report.verdicts


def test_orphans_cannot_be_ruled_out_when_nobody_says_when_everything_was_healed() -> None:
    script = OffsetScript()
    script.own(1, "one", 3)
    report = judge(script.events, Expectations(final_reads=False, orphan_ms=1000))
    assert report.verdicts[AnomalyKind.ORPHAN] is Verdict.UNKNOWN


def test_a_log_that_lost_everything_is_told_in_few_findings() -> None:
    """Neighbours are one finding, and nobody reads a million of them."""
    script = Script()
    for number in range(3 * MOST_OF_A_KIND):
        script.sent(0, [number], number)
    script.read(5, 0, list(range(3 * MOST_OF_A_KIND)))
    script.final(9, 0, [])
    lost = [found for found in judge(script.events).anomalies if found.kind is AnomalyKind.LOST_WRITE]
    assert [found.message for found in lost] == [
        "3000 values at offsets 0..2999 are lost (postfix); read from node 1"
    ]
    holes = Script()
    for number in range(4 * MOST_OF_A_KIND):
        holes.sent(0, [number], number)
    for number in range(0, 4 * MOST_OF_A_KIND, 2):
        holes.final(9, number, [number], end=4 * MOST_OF_A_KIND - 1)
    found = [one for one in judge(holes.events).anomalies if one.kind is AnomalyKind.LOST_WRITE]
    assert len(found) == MOST_OF_A_KIND


@pytest.fixture(scope="module")
def sixty_thousand() -> list[Event]:
    return long_history(60_000)


@pytest.mark.timeout(30)
def test_a_long_intact_history_is_true(sixty_thousand: list[Event]) -> None:
    """At this rate a million events take well below a minute on a core of their own; a finder that compares
    everything with everything would need hours for these."""
    report = judge(sixty_thousand)
    assert report.verdict is Verdict.TRUE
    assert report.examined["records read"] > 50_000
    assert report.examined["commits"] > 4_000
    assert report.examined["records processed"] > 20_000
