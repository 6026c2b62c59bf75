"""Each anomaly of committed offsets is found in a short history that has it, and in that one only."""

from __future__ import annotations

from random import Random

import pytest
from check.offset_histories import REGISTER, OffsetScript, acquired, healthy_offsets

from quorumlog.check import AnomalyKind, EventType, Expectations, Verdict, judge

NO_RECORDS = Expectations(final_reads=False)


def found(script: OffsetScript) -> set[AnomalyKind]:
    return {anomaly.kind for anomaly in judge(script.events, NO_RECORDS).anomalies}


def owned(stored: tuple[int, int, str] | None = None) -> OffsetScript:
    """A history that begins with an owner of epoch 1."""
    script = OffsetScript()
    script.acquire(1, 1, stored)
    return script


def test_a_plain_good_history_has_none_and_the_verdict_is_true() -> None:
    script = owned()
    script.commit(1, 3, 10, "a")
    script.fetch(5, (3, 10, "a"))
    script.commit(1, 3, 11, "b")
    script.acquire(2, 2, (3, 11, "b"))
    script.commit(2, 7, 15, "c", epoch=2)
    script.fetch(5, (3, 11, "b"), at=11)
    script.fetch(9, (7, 15, "c"), epoch=2, final=True)
    report = judge(script.events, NO_RECORDS)
    assert report.anomalies == ()
    assert report.verdict is Verdict.TRUE


def test_without_a_final_fetch_nobody_knows_whether_a_commit_was_lost() -> None:
    script = owned()
    script.commit(1, 3, 10, "a")
    report = judge(script.events, NO_RECORDS)
    assert report.verdicts[AnomalyKind.LOST_COMMIT] is Verdict.UNKNOWN
    assert report.verdict is Verdict.UNKNOWN


def test_a_history_of_records_alone_says_nothing_of_offsets() -> None:
    script = OffsetScript()
    script.sent(0, ["a"], 0)
    script.final(9, 0, ["a"])
    assert AnomalyKind.STALE_FETCH not in judge(script.events).verdicts


def test_a_fetch_that_misses_an_acknowledged_commit_is_stale() -> None:
    script = owned()
    script.commit(1, 3, 10, "a")
    script.commit(1, 4, 11, "b")
    script.fetch(5, (3, 10, "a"))
    assert found(script) == {AnomalyKind.STALE_FETCH}


def test_a_fetch_may_miss_a_commit_that_was_under_way() -> None:
    script = owned()
    script.commit(1, 3, 10, "a")
    fetch = script.invoke(5, "fetch", None, REGISTER)
    script.commit(1, 4, 11, "b")
    script.complete(fetch, EventType.OK, {"stored": [3, 10, "a"], "epoch": 1})
    assert found(script) == set()


def test_a_fetch_that_goes_back_behind_another_fetch_is_stale_though_nothing_was_acknowledged() -> None:
    script = owned()
    script.commit(1, 3, 10, "a")
    script.commit(1, 4, None, "b")
    script.fetch(5, (4, 11, "b"))
    script.fetch(6, (3, 10, "a"))
    assert found(script) == {AnomalyKind.STALE_FETCH}


def test_an_answer_as_of_a_version_may_be_old_but_not_older_than_that() -> None:
    script = owned()
    script.commit(1, 3, 10, "a")
    script.commit(1, 4, 11, "b")
    script.fetch(5, (3, 10, "a"), at=10)
    assert found(script) == set()
    script.fetch(5, (3, 10, "a"), at=11)
    assert found(script) == {AnomalyKind.STALE_FETCH}


def test_an_acknowledged_commit_that_a_fresh_client_does_not_find_is_lost() -> None:
    script = owned()
    script.commit(1, 3, 10, "a")
    script.commit(1, 4, 11, "b")
    script.fetch(9, (3, 10, "a"), final=True)
    assert found(script) == {AnomalyKind.LOST_COMMIT}


def test_an_acquisition_is_a_fetch() -> None:
    script = owned()
    script.commit(1, 3, 10, "a")
    script.commit(1, 4, 11, "b")
    script.acquire(2, 2, (3, 10, "a"))
    assert found(script) == {AnomalyKind.STALE_FETCH, AnomalyKind.SUCCESSOR_MISMATCH}


@pytest.mark.parametrize("stored", [None, (-1, 0, "")])
def test_none_or_minus_one_after_an_acknowledged_commit_is_spurious(stored: tuple[int, int, str] | None) -> None:
    script = owned()
    script.commit(1, 3, 10, "a")
    script.fetch(5, stored)
    assert AnomalyKind.SPURIOUS_NONE in found(script)


@pytest.mark.parametrize(
    ("offset", "reset_to", "at", "spurious"),
    [(3, None, None, True), (0, None, None, False), (3, 0, None, False), (3, 1, None, True), (3, None, 5, False)],
    ids=["after 3", "after 0", "a reset to 0", "a reset to 1", "as of an early version"],
)
def test_zero_after_more_was_committed_is_spurious_unless_it_was_set_back(
    offset: int, reset_to: int | None, at: int | None, spurious: bool
) -> None:
    script = owned()
    script.commit(1, offset, 10, "a")
    if reset_to is not None:
        script.reset(7, reset_to, None)
    script.fetch(5, (0, 20, ""), at=at)
    assert (AnomalyKind.SPURIOUS_NONE in found(script)) is spurious


def test_none_before_anything_is_known_to_be_stored_is_right() -> None:
    script = OffsetScript()
    script.fetch(5, None, epoch=0)
    script.acquire(1, 1, None)
    script.commit(1, 0, None, "a")
    script.fetch(5, None)
    assert found(script) == set()


def test_an_owner_that_finds_nothing_after_a_commit_starts_by_its_rule() -> None:
    script = owned()
    script.commit(1, 3, 10, "a")
    script.acquire(2, 2, None)
    assert found(script) == {AnomalyKind.SPURIOUS_NONE, AnomalyKind.SUCCESSOR_MISMATCH}


def test_a_token_nobody_committed_is_a_phantom() -> None:
    script = owned()
    script.fetch(5, (3, 10, "a"))
    assert found(script) == {AnomalyKind.PHANTOM_COMMIT}


def test_a_commit_of_the_future_is_a_phantom() -> None:
    script = owned()
    script.fetch(5, (3, 10, "a"))
    script.commit(1, 3, None, "a")
    assert found(script) == {AnomalyKind.PHANTOM_COMMIT}


def test_a_commit_seen_with_another_offset_is_a_phantom() -> None:
    script = owned()
    script.commit(1, 3, None, "a")
    script.fetch(5, (4, 10, "a"))
    assert found(script) == {AnomalyKind.PHANTOM_COMMIT}


def test_an_offset_without_a_token_needs_a_reset_or_an_acquisition() -> None:
    script = OffsetScript()
    script.fetch(5, (3, 10, ""))
    assert found(script) == {AnomalyKind.PHANTOM_COMMIT}
    reset = OffsetScript()
    reset.reset(7, 3, None)
    reset.fetch(5, (3, 10, ""))
    assert found(reset) == set()


def test_a_refused_commit_that_is_seen_was_aborted() -> None:
    script = owned()
    script.commit(1, 3, None, "a", kind=EventType.FAIL)
    script.fetch(5, (3, 10, "a"))
    assert found(script) == {AnomalyKind.ABORTED_COMMIT}


def test_one_version_with_two_values_is_a_fork() -> None:
    script = owned()
    script.commit(1, 3, 10, "a")
    script.acquire(2, 2, (3, 10, "a"))
    script.commit(2, 3, None, "b", epoch=2)
    script.fetch(5, (3, 10, "b"))
    assert found(script) == {AnomalyKind.VERSION_FORK}


def test_a_version_given_out_after_a_higher_one_contradicts_real_time() -> None:
    script = owned()
    script.commit(1, 3, 10, "a")
    script.commit(1, 4, 9, "b")
    assert AnomalyKind.VERSION_INVERSION in found(script)


def test_a_commit_with_two_versions_took_effect_twice() -> None:
    script = owned()
    script.commit(1, 3, 10, "a")
    script.fetch(5, (3, 11, "a"))
    assert found(script) == {AnomalyKind.DOUBLE_COMMIT}


def test_a_commit_below_an_earlier_one_regresses() -> None:
    script = owned()
    script.commit(1, 5, 10, "a")
    script.commit(1, 3, 11, "b")
    assert found(script) == {AnomalyKind.REGRESS}


@pytest.mark.parametrize("version", [11, None])
def test_a_reset_between_the_two_excuses_going_back(version: int | None) -> None:
    script = owned()
    script.commit(1, 5, 10, "a")
    script.reset(7, 2, version)
    script.commit(1, 3, 12, "b")
    assert found(script) == set()


def test_a_commit_under_an_epoch_that_was_known_to_be_over_is_a_zombies() -> None:
    script = owned()
    script.acquire(2, 2, None)
    script.commit(1, 3, 10, "a", epoch=1)
    assert AnomalyKind.ZOMBIE_COMMIT in found(script)


def test_a_zombies_commit_of_unknown_outcome_counts_once_it_is_seen() -> None:
    script = owned()
    script.acquire(2, 2, None)
    script.commit(1, 3, None, "a", epoch=1)
    assert found(script) == set()
    script.fetch(5, (3, 10, "a"), epoch=2)
    assert AnomalyKind.ZOMBIE_COMMIT in found(script)


def test_versions_show_a_zombie_that_real_time_does_not() -> None:
    script = owned()
    slow = script.begin_commit(1, 3, "a", epoch=1)
    script.acquire(2, 2, None)
    script.commit(2, 1, 10, "b", epoch=2)
    script.complete(slow, EventType.OK, {"version": 11})
    assert AnomalyKind.ZOMBIE_COMMIT in found(script)


def test_a_commit_under_way_while_another_takes_over_is_no_zombie() -> None:
    script = owned()
    slow = script.begin_commit(1, 3, "a", epoch=1)
    acquire = script.invoke(2, "acquire", {"start": ["EARLIEST", 0]}, REGISTER)
    script.complete(slow, EventType.OK, {"version": 10})
    answer = {"epoch": 2, "offset": 3, "reason": "STORED", "stored": [3, 10, "a"], "released": False}
    script.complete(acquire, EventType.OK, {**answer, "log_start": 0, "log_end": 9})
    assert found(script) == set()


def test_a_commit_above_an_end_asked_for_afterwards_outran_the_log() -> None:
    script = owned()
    script.commit(1, 8, 10, "a")
    script.acquire(2, 2, (8, 10, "a"), log=(0, 7))
    assert AnomalyKind.BEYOND_LOG in found(script)


def test_a_commit_above_the_final_end_outran_the_log() -> None:
    script = owned()
    script.sent(3, ["x", "y"], 0)
    script.commit(1, 3, 10, "a")
    script.final(9, 0, ["x", "y"])
    assert AnomalyKind.BEYOND_LOG in found(script)


def test_the_record_that_was_processed_last_is_another_one_now() -> None:
    script = owned()
    script.does(1, "commit", {"offset": 1, "epoch": 1, "token": "a", "below": "x"}, EventType.OK, {"version": 9})
    script.sent(3, ["y"], 0)
    script.final(9, 0, ["y"])
    assert found(script) == {AnomalyKind.BEYOND_LOG}


@pytest.mark.parametrize(
    ("fate", "version", "wrong"),
    [("PRESENT", 10, False), ("NEVER_HAPPENED", 0, True), ("SUPERSEDED", 10, False)],
)
def test_the_fate_of_a_commit_that_is_seen(fate: str, version: int, wrong: bool) -> None:
    script = owned()
    script.commit(1, 3, None, "a")
    script.resolve(7, "a", fate, version)
    script.fetch(5, (3, 10, "a"))
    assert found(script) == ({AnomalyKind.WRONG_FATE} if wrong else set())


def test_present_after_a_later_commit_was_known_is_wrong() -> None:
    script = owned()
    script.commit(1, 3, None, "a")
    script.acquire(2, 2, (3, 10, "a"))
    script.commit(2, 4, 12, "b", epoch=2)
    script.resolve(7, "a", "PRESENT", 10)
    assert found(script) == {AnomalyKind.WRONG_FATE}


def test_a_refused_commit_has_no_other_fate() -> None:
    script = owned()
    script.commit(1, 3, None, "a", kind=EventType.FAIL)
    script.resolve(7, "a", "SUPERSEDED", 10)
    assert found(script) == {AnomalyKind.WRONG_FATE}


@pytest.mark.parametrize(
    ("stored", "offset", "reason", "start", "right"),
    [
        (None, 5, "RULE", ("EARLIEST", 0), True),
        (None, 100, "RULE", ("LATEST", 0), True),
        (None, 0, "RULE", ("EARLIEST", 0), False),
        (None, 7, "RULE", ("OFFSET", 7), True),
        (None, 8, "RULE", ("FROM_BEGIN", 3), True),
        (None, 5, "RULE", ("FROM_END", 200), True),
        (None, 97, "RULE", ("FROM_END", 3), True),
        ((9, 2, ""), 9, "STORED", ("LATEST", 0), True),
        ((9, 2, ""), 100, "STORED", ("LATEST", 0), False),
        ((9, 2, ""), 100, "RULE", ("LATEST", 0), False),
        ((9, 2, ""), 100, "FORCED", ("LATEST", 0), True),
        ((2, 2, ""), 5, "OUT_OF_RANGE", ("LATEST", 0), True),
        ((2, 2, ""), 2, "STORED", ("LATEST", 0), False),
    ],
)
def test_a_start_follows_from_what_is_stored_or_from_the_rule(
    stored: tuple[int, int, str] | None, offset: int, reason: str, start: tuple[str, int], right: bool
) -> None:
    script = OffsetScript()
    script.reset(7, 9 if stored is None else stored[0], None)
    script.acquire(1, 1, stored, offset=offset, reason=reason, start=start, log=(5, 100))
    assert found(script) == (set() if right else {AnomalyKind.BAD_RESUME})


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_what_a_correct_system_shows_is_never_called_wrong(seed: int, resets: bool) -> None:
    report = judge(healthy_offsets(Random(seed), resets=resets), NO_RECORDS)
    assert report.anomalies == ()
    assert report.verdict is Verdict.TRUE


@pytest.mark.parametrize("force", [True, False])
def test_an_acquire_that_was_forced_may_find_its_own_reset_stored(force: bool) -> None:
    """It went back to 0 in a sending whose answer was lost, and was answered when it was sent again. Simulated seed
    20068 of the consumers showed it."""
    script = owned()
    script.commit(1, 3, 10, "a")
    answer = acquired(2, (0, 16, ""), 0, "FORCED", (0, 100), False)
    script.does(2, "acquire", {"start": ["EARLIEST", 0], "force": force}, EventType.OK, answer)
    script.fetch(5, (0, 16, ""), epoch=2)
    assert (AnomalyKind.SPURIOUS_NONE in found(script)) is not force
