"""Values of the offsets' API and their messages, there and back; what a message leaves open is refused here.

A message can say less than a value must: no rule in a ``Start``, a number that no enumeration knows. Those are
INVALID_REQUEST with the field's name; everything else is for the node to judge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.replica import offset_api as api
from quorumlog.replica.failures import Failure, Reason
from quorumlog.v1 import offsets_pb2 as pb

if TYPE_CHECKING:
    from quorumlog.machine.offset_results import Change, FateKnown, Stored

DEFAULT_LEASE_MS = 30_000

_RULES = {
    "earliest": api.StartRule.EARLIEST,
    "latest": api.StartRule.LATEST,
    "offset": api.StartRule.OFFSET,
    "from_begin": api.StartRule.FROM_BEGIN,
    "from_end": api.StartRule.FROM_END,
    "timestamp_ms": api.StartRule.TIMESTAMP_MS,
    "age_ms": api.StartRule.AGE_MS,
}


def invalid(field: str, message: str) -> Failure:
    """The request itself is wrong, in ``field``."""
    return Failure(Reason.INVALID_REQUEST, message, fields={"field": field})


# --- requests -------------------------------------------------------------------------------------------------


def start_at(message: pb.Start, field: str) -> api.StartAt | Failure:
    """The rule of a ``Start``; there must be one."""
    name = message.WhichOneof("rule")
    if name is None:
        return invalid(field, "no start rule given")
    rule = _RULES[name]
    if rule in (api.StartRule.EARLIEST, api.StartRule.LATEST):
        return api.StartAt(rule)
    return api.StartAt(rule, getattr(message, name))


def _fallback(number: int, field: str) -> api.Fallback | Failure:
    if number == pb.FALLBACK_UNSPECIFIED:
        return api.Fallback.FAIL
    try:
        return api.Fallback(number)
    except ValueError:
        return invalid(field, f"there is no fallback {number}")


def acquire_request(message: pb.AcquireRequest) -> api.AcquireRequest | Failure:
    """What is the same for all partitions of the call."""
    start = start_at(message.start, "start")
    if isinstance(start, Failure):
        return start
    on_out_of_range = _fallback(message.on_out_of_range, "on_out_of_range")
    if isinstance(on_out_of_range, Failure):
        return on_out_of_range
    on_truncated = _fallback(message.on_truncated, "on_truncated")
    if isinstance(on_truncated, Failure):
        return on_truncated
    return api.AcquireRequest(
        group=message.group,
        owner=message.owner,
        session=message.session,
        start=start,
        generation=message.generation,
        force_start=message.force_start,
        on_out_of_range=on_out_of_range,
        on_truncated=on_truncated,
        exclusive=message.exclusive,
        lease_ms=message.lease_ms or DEFAULT_LEASE_MS,
    )


def reset_request(message: pb.ResetRequest, item: pb.ResetItem) -> api.ResetRequest | Failure:
    """One partition's reset."""
    start = None
    if item.HasField("position"):
        told = start_at(item.position, "position")
        if isinstance(told, Failure):
            return told
        start = told
    return api.ResetRequest(
        group=message.group,
        to=api.ResetTo(start, item.version, item.restore),
        reason=message.reason,
        expected_version=item.expected_version,
        force=message.force,
        dry_run=message.dry_run,
    )


def to_resolve(message: pb.ResolveRequest) -> tuple[str, int, api.ReceiptAt | api.AttemptAt] | Failure:
    """Topic, partition, and which commit there."""
    match message.WhichOneof("commit"):
        case "receipt":
            receipt = message.receipt
            what = api.ReceiptAt(receipt.group, receipt.offset, receipt.version, receipt.term)
            return receipt.topic, receipt.partition, what
        case "attempt":
            attempt = message.attempt
            return (
                attempt.topic,
                attempt.partition,
                api.AttemptAt(attempt.group, attempt.owner_epoch, attempt.session, attempt.sequence),
            )
        case _:
            return invalid("commit", "neither a receipt nor an attempt given")


# --- results --------------------------------------------------------------------------------------------------


def stored_offset(stored: Stored) -> pb.StoredOffset:
    """A committed offset."""
    message = pb.StoredOffset(
        offset=stored.offset,
        version=stored.version,
        term=stored.term,
        wall_ms=stored.wall_ms,
        metadata=stored.metadata,
    )
    if stored.fingerprint is not None:
        message.fingerprint.term, message.fingerprint.crc32c = stored.fingerprint
    return message


def _or_absent(stored: Stored | None) -> pb.StoredOffset | None:
    return None if stored is None else stored_offset(stored)


def acquired(result: api.AcquiredOffset) -> pb.Acquired:
    """Ownership."""
    return pb.Acquired(
        owner_epoch=result.owner_epoch,
        start_offset=result.start_offset,
        reason=pb.StartReason.ValueType(result.reason),
        explanation=result.explanation,
        stored=_or_absent(result.stored),
        log_start=result.log_start,
        log_end=result.log_end,
        previous_owner=result.previous_owner,
        released=result.released,
        may_repeat=result.may_repeat,
    )


def fetched(result: api.FetchedOffset) -> pb.FetchResult:
    """What is stored, or that nothing is."""
    message = pb.FetchResult(owner=result.owner, owner_epoch=result.owner_epoch, applied_index=result.applied_index)
    if result.stored is None:
        message.none = True
    else:
        message.stored.CopyFrom(stored_offset(result.stored))
    return message


def was_reset(result: api.ResetOffset) -> pb.ResetResult:
    """The offset as it is, or would be, stored."""
    return pb.ResetResult(
        stored=stored_offset(result.stored),
        before=_or_absent(result.before),
        log_start=result.log_start,
        log_end=result.log_end,
    )


def history_entry(change: Change) -> pb.HistoryEntry:
    """One line of history."""
    return pb.HistoryEntry(
        kind=pb.ChangeKind.ValueType(change.kind),
        version=change.version,
        term=change.term,
        wall_ms=change.wall_ms,
        offset=change.offset,
        owner=change.owner,
        owner_epoch=change.owner_epoch,
        session=change.session,
        sequence=change.sequence,
        node_id=change.node_id,
        reason=change.reason,
    )


def resolved(group: str, topic: str, partition: int, known: FateKnown) -> pb.ResolveResponse:
    """What became of a commit; its receipt if it was stored."""
    message = pb.ResolveResponse(fate=pb.Fate.ValueType(known.fate), stored=_or_absent(known.stored))
    commit = known.commit
    if commit is not None:
        message.receipt.group = group
        message.receipt.topic = topic
        message.receipt.partition = partition
        message.receipt.offset = commit.offset or 0
        message.receipt.version = commit.version
        message.receipt.term = commit.term
    return message


def inspected(group: api.InspectedGroup) -> pb.InspectedGroup:
    """One group in one replica."""
    return pb.InspectedGroup(
        group=group.group,
        stored=_or_absent(group.stored),
        owner=group.owner,
        owner_epoch=group.owner_epoch,
        finding=pb.Finding.ValueType(group.finding),
        explanation=group.explanation,
    )


def group_lag(lag: api.GroupLag) -> pb.GroupLag:
    """One group's lag in one partition."""
    return pb.GroupLag(
        group=lag.group,
        partition=pb.TopicPartition(topic=lag.topic, partition=lag.partition),
        committed=lag.committed,
        log_start=lag.log_start,
        log_end=lag.log_end,
        records=lag.records,
        bytes=lag.bytes,
        age_ms=lag.age_ms,
        verdict=pb.Verdict.ValueType(lag.verdict),
        owner=lag.owner,
        committed_wall_ms=lag.committed_wall_ms,
    )
