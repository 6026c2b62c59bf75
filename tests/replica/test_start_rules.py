"""Where a consumer begins: the whole table of (start rule, stored or none, where the stored one lies, force), and
the policies for a stored offset that cannot be resumed from."""

from __future__ import annotations

import pytest

from quorumlog.machine.offset_commands import Fingerprint
from quorumlog.machine.offset_results import Stored
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.replica.offset_api import AcquireRequest, Fallback, StartAt, StartReason, StartRule
from quorumlog.replica.starting import Bounds, FingerprintCheck, Start, resolve_start

LOG = Bounds(100, 200)
#: What the search by time found, where a rule needs it.
FOUND = 150

#: A start rule and what it comes to in LOG when it is the rule that decides.
RULES = [
    (StartAt(StartRule.EARLIEST), 100),
    (StartAt(StartRule.LATEST), 200),
    (StartAt(StartRule.OFFSET, 130), 130),
    (StartAt(StartRule.OFFSET, 100), 100),
    (StartAt(StartRule.OFFSET, 200), 200),
    (StartAt(StartRule.OFFSET, 99), Reason.OFFSET_OUT_OF_RANGE),
    (StartAt(StartRule.OFFSET, 0), Reason.OFFSET_OUT_OF_RANGE),
    (StartAt(StartRule.OFFSET, 201), Reason.OFFSET_OUT_OF_RANGE),
    (StartAt(StartRule.FROM_BEGIN, 0), 100),
    (StartAt(StartRule.FROM_BEGIN, 7), 107),
    (StartAt(StartRule.FROM_BEGIN, 1_000), 200),
    (StartAt(StartRule.FROM_END, 0), 200),
    (StartAt(StartRule.FROM_END, 7), 193),
    (StartAt(StartRule.FROM_END, 1_000), 100),
    (StartAt(StartRule.TIMESTAMP_MS, 1_700), FOUND),
    (StartAt(StartRule.AGE_MS, 5_000), FOUND),
]

#: What is stored: its offset, what its fingerprint says, and where it lies.
SAME, CHANGED, UNCHECKED = FingerprintCheck.SAME, FingerprintCheck.CHANGED, FingerprintCheck.UNCHECKED
STORED = [
    (None, UNCHECKED, "none"),
    (100, UNCHECKED, "in range"),
    (140, SAME, "in range"),
    (140, UNCHECKED, "in range"),
    (200, SAME, "in range"),
    (140, CHANGED, "truncated"),
    (99, UNCHECKED, "below"),
    (0, UNCHECKED, "below"),
    (201, UNCHECKED, "beyond"),
    (201, CHANGED, "beyond"),
]


def asked(start: StartAt, force: bool, fallback: Fallback = Fallback.FAIL) -> AcquireRequest:
    """``fallback`` for both policies."""
    return AcquireRequest("g", "me", 7, start, 0, force, fallback, fallback)


def stored(offset: int | None) -> Stored | None:
    return None if offset is None else Stored(offset, 41, 3, 0, Fingerprint(1, 2), b"")


def expected(
    rule: int | Reason, where: str, offset: int | None, force: bool, fallback: Fallback
) -> tuple[int, StartReason] | Reason:
    """OFFSETS.md §3 in six lines."""
    if offset is None or force:
        reason = StartReason.RULE if offset is None else StartReason.FORCED
        return rule if isinstance(rule, Reason) else (rule, reason)
    if where == "in range":
        return offset, StartReason.STORED
    policy = {"truncated": StartReason.TRUNCATED}.get(where, StartReason.OUT_OF_RANGE)
    refusal = Reason.FINGERPRINT_MISMATCH if where == "truncated" else Reason.OFFSET_OUT_OF_RANGE
    return refusal if fallback is Fallback.FAIL else (100 if fallback is Fallback.EARLIEST else 200, policy)


@pytest.mark.parametrize("fallback", list(Fallback), ids=lambda policy: f"fallback={policy.name}")
@pytest.mark.parametrize("force", [False, True], ids=["", "forced"])
@pytest.mark.parametrize(("offset", "fingerprint", "where"), STORED, ids=lambda value: str(value))
@pytest.mark.parametrize(("start", "by_rule"), RULES, ids=lambda value: str(value))
def test_the_resolved_start_and_its_reason(
    start: StartAt,
    by_rule: int | Reason,
    offset: int | None,
    fingerprint: FingerprintCheck,
    where: str,
    force: bool,
    fallback: Fallback,
) -> None:
    result = resolve_start(asked(start, force, fallback), stored(offset), fingerprint, LOG, FOUND)
    wanted = expected(by_rule, where, offset, force, fallback)
    if isinstance(result, Failure):
        assert result.reason == wanted
        assert result.outcome is Outcome.NOT_DONE
        assert (result.fields["start_offset"], result.fields["end_offset"]) == ("100", "200")
    else:
        assert (result.offset, result.reason) == wanted
        assert "100" in result.explanation or "200" in result.explanation, "the numbers compared are told"


def explain(start: StartAt, offset: int | None = None, fallback: Fallback = Fallback.FAIL) -> str:
    result = resolve_start(asked(start, False, fallback), stored(offset), UNCHECKED, LOG, FOUND)
    assert isinstance(result, Start)
    return result.explanation


def test_the_explanation_says_what_was_compared() -> None:
    earliest = StartAt(StartRule.EARLIEST)
    assert explain(earliest, 140) == "stored 140 of version 41, log 100..200"
    assert explain(earliest) == "nothing stored: earliest, log 100..200"
    assert explain(StartAt(StartRule.FROM_END, 7)) == "nothing stored: end-7 is 193, log 100..200"
    assert "clamped to the start, 100" in explain(StartAt(StartRule.FROM_END, 101))
    assert "clamped to the end, 200" in explain(StartAt(StartRule.FROM_BEGIN, 101))
    assert "clamped" not in explain(StartAt(StartRule.FROM_END, 100)) + explain(StartAt(StartRule.FROM_BEGIN, 100))
    below = explain(earliest, 99, Fallback.LATEST)
    assert below == "stored 99 of version 41 is below the start of log 100..200: latest, 200"


def test_a_committed_zero_is_a_stored_offset_and_not_none() -> None:
    log = Bounds(0, 9)
    result = resolve_start(asked(StartAt(StartRule.LATEST), False), stored(0), UNCHECKED, log, None)
    assert isinstance(result, Start)
    assert (result.offset, result.reason) == (0, StartReason.STORED)


def test_relative_starts_count_from_the_log_and_never_from_the_stored_offset() -> None:
    for start, offset in ((StartAt(StartRule.FROM_BEGIN, 5), 105), (StartAt(StartRule.FROM_END, 5), 195)):
        result = resolve_start(asked(start, True), stored(140), SAME, LOG, None)
        assert isinstance(result, Start)
        assert result.offset == offset


@pytest.mark.parametrize("rule", list(StartRule), ids=lambda rule: str(rule.name))
def test_in_an_empty_log_every_relative_start_is_its_only_offset(rule: StartRule) -> None:
    result = resolve_start(asked(StartAt(rule, 7), False), None, UNCHECKED, Bounds(7, 7), None)
    assert isinstance(result, Start)
    assert result.offset == 7
