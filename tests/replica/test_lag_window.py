"""What a lag comes to: verdicts from samples, with time fed by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quorumlog.replica.lag_window import SAMPLE_MS, SETTLED_MS, WINDOW_MS, LagWindow
from quorumlog.replica.offset_api import LagVerdict

if TYPE_CHECKING:
    from collections.abc import Callable


def watched(seconds: int, committed: Callable[[int], int], end: Callable[[int], int]) -> LagVerdict:
    """The verdict on an owned group after ``seconds`` of samples; committed and end are functions of the second."""
    window = LagWindow()
    for at in range(0, seconds, SAMPLE_MS // 1000):
        window.add(at * 1000, committed(at), end(at))
    return window.verdict(seconds * 1000, committed(seconds), end(seconds), owned=True)


def test_no_lag_is_ok_even_if_nobody_ever_watched() -> None:
    assert LagWindow().verdict(0, 5, 5, owned=True) is LagVerdict.OK
    assert LagWindow().verdict(0, 5, 5, owned=False) is LagVerdict.OK


def test_a_lag_without_an_owner_is_stopped_at_once() -> None:
    assert LagWindow().verdict(0, 5, 6, owned=False) is LagVerdict.STOPPED


def test_a_leader_that_has_not_watched_long_enough_does_not_guess() -> None:
    assert LagWindow().verdict(0, 5, 6, owned=True) is LagVerdict.UNKNOWN
    assert watched(SETTLED_MS // 1000 - 1, lambda at: 0, lambda at: 9) is LagVerdict.UNKNOWN
    assert watched(SETTLED_MS // 1000, lambda at: 0, lambda at: 9) is LagVerdict.STALLED


@pytest.mark.parametrize("seconds", [40, 120, 600])
def test_verdicts_of_steady_groups(seconds: int) -> None:
    assert watched(seconds, lambda at: 0, lambda at: 1000) is LagVerdict.STALLED
    assert watched(seconds, lambda at: 0, lambda at: 1000 + at) is LagVerdict.STALLED
    assert watched(seconds, lambda at: 10 * at, lambda at: 100_000) is LagVerdict.CATCHING_UP
    assert watched(seconds, lambda at: 10 * at, lambda at: 100_000 + at) is LagVerdict.CATCHING_UP
    assert watched(seconds, lambda at: at, lambda at: 100_000 + 10 * at) is LagVerdict.FALLING_BEHIND


def test_a_group_that_is_always_a_second_behind_is_ok() -> None:
    assert watched(300, lambda at: 1000 * at, lambda at: 1000 * (at + 1)) is LagVerdict.OK


def test_a_lag_that_has_just_begun_is_ok_until_it_lasts() -> None:
    def end(at: int) -> int:
        return 10 if at < 60 else 11

    assert watched(85, lambda at: 10, end) is LagVerdict.OK
    assert watched(60 + SETTLED_MS // 1000, lambda at: 10, end) is LagVerdict.STALLED


def test_a_group_that_starts_again_is_no_longer_stalled() -> None:
    def committed(at: int) -> int:
        return max(0, at - 200)

    assert watched(200, committed, lambda at: 10_000) is LagVerdict.STALLED
    assert watched(206, committed, lambda at: 10_000) is LagVerdict.CATCHING_UP


def test_the_trend_is_that_of_the_window_and_not_of_all_time() -> None:
    turn = 500

    def committed(at: int) -> int:
        return at if at < turn else turn + 20 * (at - turn)

    def end(at: int) -> int:
        return 100_000 + 10 * at

    assert watched(turn, committed, end) is LagVerdict.FALLING_BEHIND
    assert watched(turn + WINDOW_MS // 1000, committed, end) is LagVerdict.CATCHING_UP
