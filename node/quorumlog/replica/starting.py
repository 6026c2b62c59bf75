"""Where a consumer begins, and why: a pure function of what is stored, what was asked and what the log holds.

"Where do I start?" is the question that other systems answer wrongly most often: a start of "end" that ignores the
stored offset, a relative start counted from the stored one, a jump to the latest record because retention removed
the stored position (OFFSETS.md §1). So the rules are in one place without a clock, a disk or a network, and every
answer says which rule made it and which numbers it compared.

The stored offset wins unless the caller forces its start. Three policies are kept apart, as Kafka's single
``auto.offset.reset`` does not: nothing stored (the start rule), stored but outside the log, stored but the record
under its fingerprint is another one now.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.replica.failures import Failure, Reason
from quorumlog.replica.offset_api import AcquireRequest, Fallback, StartAt, StartReason, StartRule

if TYPE_CHECKING:
    from quorumlog.machine.offset_results import Stored


class Bounds(NamedTuple):
    """The log: its first offset, and the offset after its last committed record."""

    start: int
    end: int


class Start(NamedTuple):
    """Where to begin, why, and the same for people."""

    offset: int
    reason: StartReason
    explanation: str


class FingerprintCheck(Enum):
    """What became of the record under a stored fingerprint."""

    SAME = 1
    CHANGED = 2
    UNCHECKED = 3
    """There is no fingerprint, or the record is gone with the log's start: nothing speaks against the offset."""


def resolve_start(
    asked: AcquireRequest, stored: Stored | None, fingerprint: FingerprintCheck, log: Bounds, found: int | None
) -> Start | Failure:
    """The start of the owner that asked. ``found``: the offset of the rule's time, if it has one.

    Fails with OFFSET_OUT_OF_RANGE or FINGERPRINT_MISMATCH where the policies say so, or where ``offset:N`` names
    none of the log's offsets.
    """
    if stored is None:
        return _by_rule(asked, StartReason.RULE, "nothing stored", log, found)
    what = f"stored {stored.offset} of version {stored.version}"
    if asked.force_start:
        return _by_rule(asked, StartReason.FORCED, f"forced in spite of {what}", log, found)
    if not log.start <= stored.offset <= log.end:
        where = "below the start" if stored.offset < log.start else "beyond the end"
        what = f"{what} is {where} of log {log.start}..{log.end}"
        return _fall_back(asked.on_out_of_range, StartReason.OUT_OF_RANGE, what, log) or out_of_range(
            stored.offset, log, what
        )
    if fingerprint is FingerprintCheck.CHANGED:
        what = f"the record before {what} is another one now"
        return _fall_back(asked.on_truncated, StartReason.TRUNCATED, what, log) or Failure(
            Reason.FINGERPRINT_MISMATCH, what, fields={"offset": str(stored.offset), **_bounds(log)}
        )
    return Start(stored.offset, StartReason.STORED, f"{what}, log {log.start}..{log.end}")


def _by_rule(
    asked: AcquireRequest, reason: StartReason, why: str, log: Bounds, found: int | None
) -> Start | Failure:
    resolved = resolve_rule(asked.start, log, found)
    if isinstance(resolved, Failure):
        return resolved
    offset, said = resolved
    return Start(offset, reason, f"{why}: {said}, log {log.start}..{log.end}")


def _fall_back(policy: Fallback, reason: StartReason, why: str, log: Bounds) -> Start | None:
    if policy is Fallback.EARLIEST:
        return Start(log.start, reason, f"{why}: earliest, {log.start}")
    if policy is Fallback.LATEST:
        return Start(log.end, reason, f"{why}: latest, {log.end}")
    return None


def resolve_rule(rule: StartAt, log: Bounds, found: int | None) -> tuple[int, str] | Failure:
    """The offset that ``rule`` names in ``log``, and the rule in words; OFFSET_OUT_OF_RANGE for an exact one that
    is not there. Relative ones count from the log's own bounds and stop at them."""
    value = rule.value
    match rule.rule:
        case StartRule.EARLIEST:
            return log.start, "earliest"
        case StartRule.LATEST:
            return log.end, "latest"
        case StartRule.OFFSET:
            if not log.start <= value <= log.end:
                return out_of_range(value, log, f"offset:{value} is not within log {log.start}..{log.end}")
            return value, f"offset:{value}"
        case StartRule.FROM_BEGIN:
            offset = min(log.start + value, log.end)
            return offset, _clamped(f"begin+{value}", "end", offset, offset < log.start + value)
        case StartRule.FROM_END:
            offset = max(log.end - value, log.start)
            return offset, _clamped(f"end-{value}", "start", offset, offset > log.end - value)
        case StartRule.TIMESTAMP_MS | StartRule.AGE_MS:
            name = "time" if rule.rule is StartRule.TIMESTAMP_MS else "age"
            offset = log.end if found is None else min(max(found, log.start), log.end)
            none = " (no record is that new)" if offset == log.end else ""
            return offset, f"{name}:{value} is {offset}{none}"


def _clamped(name: str, bound: str, offset: int, clamped: bool) -> str:
    return f"{name} clamped to the {bound}, {offset}" if clamped else f"{name} is {offset}"


def out_of_range(offset: int, log: Bounds, why: str) -> Failure:
    """The offset is none of the log's."""
    return Failure(Reason.OFFSET_OUT_OF_RANGE, why, fields={"offset": str(offset), **_bounds(log)})


def _bounds(log: Bounds) -> dict[str, str]:
    return {"start_offset": str(log.start), "end_offset": str(log.end)}
