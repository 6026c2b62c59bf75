"""What the state machine refuses, as what a caller is told: a reason for each, and the numbers compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.machine.offset_results import (
    BeyondEnd,
    EpochNotGiven,
    Expired,
    FateForgotten,
    Fenced,
    GroupActive,
    NotExpired,
    NotOwner,
    OutOfRange,
    Owned,
    Regressed,
    Settled,
    StaleGeneration,
    TooManyGroups,
    UnknownGroup,
    VersionMismatch,
)
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.replica.starting import Bounds, out_of_range

if TYPE_CHECKING:
    from quorumlog.machine.offset_commands import CommitItem


def refusal(group: str, partition: str, result: object) -> Failure:
    """The failure that ``result`` comes to; a Failure is one already. ``partition`` as "topic/number"."""
    if isinstance(result, Failure):
        return result
    where = f"group {group!r} in {partition}"
    match result:
        case Fenced(asked, epoch, owner):
            by = f"{owner!r} has epoch {epoch}" if owner else f"the epoch is {epoch} and nobody owns it"
            fields = {"owner_epoch": str(epoch), "asked_epoch": str(asked), "owner": owner}
            return Failure(Reason.FENCED, f"owner epoch {asked} of {where} is over: {by}", fields=fields)
        case NotOwner():
            return Failure(Reason.NOT_OWNER, f"{where} is not owned by the session that asks: acquire it first")
        case Owned(owner, until):
            fields = {"owner": owner, "until_wall_ms": str(until)}
            return Failure(Reason.OWNED, f"{where} is held exclusively by {owner!r}", fields=fields)
        case StaleGeneration(asked, generation):
            fields = {"generation": str(generation), "asked_generation": str(asked)}
            return Failure(
                Reason.STALE_GENERATION, f"{where} is at generation {generation}, not {asked}", fields=fields
            )
        case Settled(sequence):
            why = f"commit {sequence} of {where} was settled as never happened"
            return Failure(Reason.COMMIT_SETTLED, why, fields={"sequence": str(sequence)})
        case EpochNotGiven(asked, given):
            why = f"nobody has been given owner epoch {asked} of {where}; the newest is {given}"
            fields = {"field": "owner_epoch", "owner_epoch": str(given)}
            return Failure(Reason.INVALID_REQUEST, why, fields=fields)
        case GroupActive(owner):
            return Failure(Reason.GROUP_ACTIVE, f"{where} is owned by {owner!r}", fields={"owner": owner})
        case UnknownGroup() | NotExpired():
            what = "has no tombstone" if isinstance(result, NotExpired) else "has nothing stored"
            return Failure(Reason.UNKNOWN_GROUP, f"{where} {what}", fields={"group": group})
        case TooManyGroups(limit):
            why = f"{partition} has offsets of {limit} groups, as many as it may"
            return Failure(Reason.GROUP_FULL, why, fields={"limit": str(limit)})
        case FateForgotten(version):
            # Whether it was stored is the very thing that is not known.
            why = f"what became of this commit of {where} is not remembered (forgotten up to version {version})"
            fields = {"forgotten_version": str(version)}
            return Failure(Reason.UNKNOWN_RECEIPT, why, Outcome.UNKNOWN, fields=fields)
        case _:
            return _about_numbers(where, result)


def _about_numbers(where: str, result: object) -> Failure:
    match result:
        case BeyondEnd(offset, end):
            return beyond_end(where, offset, end)
        case Regressed(offset, stored):
            fields = {"offset": str(offset), "stored": str(stored)}
            why = f"offset {offset} lies below {stored}, which {where} has stored; going back is a reset"
            return Failure(Reason.OFFSET_REGRESSED, why, fields=fields)
        case OutOfRange(offset, start, end):
            return out_of_range(
                offset, Bounds(start, end), f"offset {offset} is not within log {start}..{end} of {where}"
            )
        case VersionMismatch(expected, version):
            fields = {"expected_version": str(expected), "version": str(version)}
            why = f"{where} has version {version} stored, not {expected}"
            return Failure(Reason.VERSION_MISMATCH, why, fields=fields)
        case Expired(stored, expired_wall_ms):
            fields = {
                "offset": str(stored.offset),
                "version": str(stored.version),
                "expired_wall_ms": str(expired_wall_ms),
            }
            why = f"the offset {stored.offset} of {where} expired; a reset can restore it while its tombstone lasts"
            return Failure(Reason.OFFSETS_EXPIRED, why, fields=fields)
        case _:
            return Failure(Reason.INTERNAL, f"unexpected result {result!r}", Outcome.UNKNOWN)


def beyond_end(where: str, offset: int, end: int) -> Failure:
    fields = {"offset": str(offset), "end_offset": str(end)}
    return Failure(Reason.OFFSET_BEYOND_END, f"offset {offset} of {where} lies beyond the end {end}", fields=fields)


def fingerprint_mismatch(item: CommitItem, partition: str) -> Failure:
    """The commit names a record that is not in the log: whoever processed it processed something else."""
    why = f"the record before offset {item.offset} of {partition} is not the one that group {item.group!r} names"
    return Failure(Reason.FINGERPRINT_MISMATCH, why, fields={"offset": str(item.offset)})
