"""Start positions: every form of OFFSETS.md is read, everything else is refused with the forms there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumlog.client.start import (
    Age,
    AtOffset,
    AtTime,
    Earliest,
    FromBegin,
    FromEnd,
    InvalidStart,
    Latest,
    Start,
    clamped,
    format_start,
    parse_start,
)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("earliest", Earliest()),
        ("latest", Latest()),
        ("offset:0", AtOffset(0)),
        ("offset:18446744073709", AtOffset(18446744073709)),
        ("begin+10", FromBegin(10)),
        ("end-0", FromEnd(0)),
        ("time:1700000000000", AtTime(1700000000000)),
        ("time:2023-11-14T22:13:20Z", AtTime(1700000000000)),
        ("time:2023-11-14T22:13:20", AtTime(1700000000000)),
        ("time:2023-11-14T23:13:20.5+01:00", AtTime(1700000000500)),
        ("time:2023-11-14", AtTime(1699920000000)),
        ("age:90s", Age(90_000)),
        ("age:1h30m", Age(5_400_000)),
        ("age:250ms", Age(250)),
        ("age:2d", Age(172_800_000)),
    ],
)
def test_every_form_is_read(text: str, start: Start) -> None:
    assert parse_start(text) == start


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Earliest",
        "end",
        "begin",
        "offset:",
        "offset:-1",
        "offset:1.5",
        "offset:\u0663",
        "begin+",
        "begin+-1",
        "begin-1",
        "end+1",
        "end-x",
        "time:",
        "time:yesterday",
        "time:1960-01-01",
        "age:",
        "age:5",
        "age:5y",
        "age:-5s",
        "age:1h 30m",
        "nonsense:1",
        "offset:99999999999999999999",
    ],
)
def test_everything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidStart) as caught:
        parse_start(text)
    assert repr(text) in str(caught.value)


@given(
    st.sampled_from([Earliest(), Latest()])
    | st.builds(AtOffset, st.integers(0, 10**18))
    | st.builds(FromBegin, st.integers(0, 10**18))
    | st.builds(FromEnd, st.integers(0, 10**18))
    | st.builds(AtTime, st.integers(0, 10**15))
    | st.builds(Age, st.integers(0, 10**14))
)
def test_what_is_written_is_read_again(start: Start) -> None:
    assert parse_start(format_start(start)) == start
    assert parse_start(start) is start


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 300))
def test_relative_positions_stay_within_the_log(log_start: int, length: int, count: int) -> None:
    log_end = log_start + length
    begin = clamped(FromBegin(count), log_start, log_end)
    end = clamped(FromEnd(count), log_start, log_end)
    assert log_start <= begin <= log_end
    assert log_start <= end <= log_end
    if count <= length:
        assert (begin, end) == (log_start + count, log_end - count)
