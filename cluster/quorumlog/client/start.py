"""Where reading begins: the positions of OFFSETS.md §3, how they are written, and what they mean for a given log.

Pure: the clock is passed in, and looking a position up in a partition is left to who can ask its leader.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime


class InvalidStart(ValueError):
    """The text is no start position; the message says what was wrong and what is allowed."""


@dataclass(frozen=True, slots=True)
class Earliest:
    """The log's first record."""


@dataclass(frozen=True, slots=True)
class Latest:
    """The committed end: only what comes from now on."""


@dataclass(frozen=True, slots=True)
class AtOffset:
    """Exactly this offset; reading fails with OffsetOutOfRange when it is not in the log."""

    offset: int


@dataclass(frozen=True, slots=True)
class FromBegin:
    """``count`` records after the log's start; at most its end."""

    count: int


@dataclass(frozen=True, slots=True)
class FromEnd:
    """``count`` records before the committed end; at least the log's start."""

    count: int


@dataclass(frozen=True, slots=True)
class AtTime:
    """The first record whose timestamp is this (milliseconds since the Unix epoch) or later."""

    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Age:
    """The first record not older than this many milliseconds when reading begins."""

    age_ms: int


Start = Earliest | Latest | AtOffset | FromBegin | FromEnd | AtTime | Age

_ALLOWED = "earliest, latest, offset:N, begin+K, end-K, time:T (ISO 8601 or ms), age:D (such as 90s, 1h30m, 2d)"
_NUMBER = re.compile(r"\d{1,19}", re.ASCII)
_RELATIVE = re.compile(r"(begin\+|end-)(.*)", re.ASCII | re.DOTALL)
_DURATION = re.compile(r"(\d{1,15})(ms|s|m|h|d|w)", re.ASCII)
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def parse_start(text: str | Start) -> Start:
    """The position that ``text`` names; a Start is returned as it is.

    ``time:`` takes milliseconds since the Unix epoch or ISO 8601; a time without a zone is UTC, because the same
    command must mean the same record on every machine. Raises InvalidStart.
    """
    if not isinstance(text, str):
        return text
    if text == "earliest":
        return Earliest()
    if text == "latest":
        return Latest()
    relative = _RELATIVE.fullmatch(text)
    if relative:
        count = _number(text, relative[2])
        return FromBegin(count) if relative[1] == "begin+" else FromEnd(count)
    name, colon, rest = text.partition(":")
    if colon and name == "offset":
        return AtOffset(_number(text, rest))
    if colon and name == "time":
        return AtTime(_time_ms(text, rest))
    if colon and name == "age":
        return Age(_duration_ms(text, rest))
    raise InvalidStart(f"{text!r} is no start position; use one of: {_ALLOWED}")


def format_start(start: Start) -> str:
    """The text that ``parse_start`` reads as ``start``."""
    match start:
        case Earliest():
            return "earliest"
        case Latest():
            return "latest"
        case AtOffset(offset):
            return f"offset:{offset}"
        case FromBegin(count):
            return f"begin+{count}"
        case FromEnd(count):
            return f"end-{count}"
        case AtTime(timestamp_ms):
            return f"time:{timestamp_ms}"
        case Age(age_ms):
            return f"age:{age_ms}ms"


def clamped(start: FromBegin | FromEnd, log_start: int, log_end: int) -> int:
    """The offset a relative position means in a log that holds ``log_start`` to ``log_end`` (exclusive)."""
    if isinstance(start, FromBegin):
        return min(log_start + start.count, log_end)
    return max(log_end - start.count, log_start)


def _number(text: str, digits: str) -> int:
    if not _NUMBER.fullmatch(digits):
        raise InvalidStart(f"{text!r}: {digits!r} is not a whole number of records")
    return int(digits)


def _time_ms(text: str, value: str) -> int:
    if _NUMBER.fullmatch(value):
        return int(value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise InvalidStart(f"{text!r}: {value!r} is neither milliseconds nor an ISO 8601 time") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    timestamp_ms = round(moment.timestamp() * 1000)
    if timestamp_ms < 0:
        raise InvalidStart(f"{text!r} lies before 1970")
    return timestamp_ms


def _duration_ms(text: str, value: str) -> int:
    total = position = 0
    while match := _DURATION.match(value, position):
        total += int(match[1]) * _UNIT_MS[match[2]]
        position = match.end()
    if not value or position != len(value):
        raise InvalidStart(f"{text!r}: {value!r} is no duration; write it like 500ms, 90s, 1h30m or 2d")
    return total
