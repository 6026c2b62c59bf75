"""Who is given up, and when: by the clock of a coordinator that may itself have been stopped."""

from __future__ import annotations

from quorumlog.replica.liveness import RETRY_MS, Liveness

ANN, BEN = ("g", "ann"), ("g", "ben")


def watch(liveness: Liveness, from_ms: int, to_ms: int) -> list[tuple[int, tuple[str, str]]]:
    """Looks ten times a second, as a node does: who was due, and when."""
    return [(now_ms, who) for now_ms in range(from_ms, to_ms, 100) for who in liveness.due(now_ms)]


def test_each_is_due_when_its_own_session_has_run_out() -> None:
    liveness = Liveness()
    liveness.begin([(ANN, 2_000), (BEN, 3_000)], 0)
    liveness.heard(ANN, 2_000, 500)
    assert watch(liveness, 0, 3_100) == [(2_500, ANN), (3_000, BEN)]


def test_who_is_heard_in_time_is_not_due() -> None:
    liveness = Liveness()
    liveness.begin([(ANN, 2_000)], 0)
    for now_ms in range(0, 10_000, 1_900):
        liveness.heard(ANN, 2_000, now_ms)
        assert watch(liveness, now_ms, now_ms + 1_900) == []


def test_who_was_given_up_and_is_still_there_is_due_again_until_it_is_dropped() -> None:
    liveness = Liveness()
    liveness.begin([(ANN, 1_000)], 0)
    assert watch(liveness, 0, 2_100 + RETRY_MS) == [
        (1_000, ANN),
        (1_000 + RETRY_MS, ANN),
        (1_000 + 2 * RETRY_MS, ANN),
    ]
    liveness.drop(ANN)
    assert watch(liveness, 2_100 + RETRY_MS, 10_000) == []


def test_the_time_for_which_a_coordinator_was_stopped_is_nobodys_silence() -> None:
    liveness = Liveness()
    liveness.begin([(ANN, 5_000), (BEN, 2_000)], 0)
    assert watch(liveness, 0, 1_100) == []
    assert liveness.due(61_000) == []
    liveness.heard(ANN, 5_000, 61_050)
    assert watch(liveness, 61_100, 66_200) == [(62_000, BEN), (62_000 + RETRY_MS, BEN)] + [
        (62_000 + n * RETRY_MS, BEN) for n in range(2, 5)
    ] + [(66_100, ANN)]


def test_the_first_member_after_an_idle_hour_has_its_session_and_no_hour() -> None:
    liveness = Liveness()
    liveness.begin([], 0)
    liveness.heard(ANN, 2_000, 3_600_000)
    assert watch(liveness, 3_600_100, 3_602_200) == [(3_602_100, ANN)]
