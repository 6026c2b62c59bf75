"""Between the messages of offsets.proto and groups.proto and this client's plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.client.offset_types import (
    Change,
    ChangeKind,
    DescribedGroup,
    Fate,
    FetchedOffset,
    Finding,
    Fingerprint,
    GroupLag,
    GroupMember,
    InspectedGroup,
    Inspection,
    Resolution,
    StoredOffset,
    Strategy,
    TopicPartition,
    Verdict,
)
from quorumlog.client.receipt import Receipt
from quorumlog.client.start import Age, AtOffset, AtTime, Earliest, FromBegin, FromEnd, Latest
from quorumlog.v1 import offsets_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quorumlog.client.start import Start
    from quorumlog.v1 import groups_pb2


def start_message(start: Start) -> offsets_pb2.Start:
    """A start rule as a node takes it; an age is counted by the node's clock."""
    match start:
        case Earliest():
            return offsets_pb2.Start(earliest=True)
        case Latest():
            return offsets_pb2.Start(latest=True)
        case AtOffset(offset):
            return offsets_pb2.Start(offset=offset)
        case FromBegin(count):
            return offsets_pb2.Start(from_begin=count)
        case FromEnd(count):
            return offsets_pb2.Start(from_end=count)
        case AtTime(timestamp_ms):
            return offsets_pb2.Start(timestamp_ms=timestamp_ms)
        case Age(age_ms):
            return offsets_pb2.Start(age_ms=age_ms)


def partition_message(partition: TopicPartition) -> offsets_pb2.TopicPartition:
    return offsets_pb2.TopicPartition(topic=partition.topic, partition=partition.partition)


def partitions_of(messages: Iterable[offsets_pb2.TopicPartition]) -> tuple[TopicPartition, ...]:
    return tuple(TopicPartition(each.topic, each.partition) for each in messages)


def stored_of(message: offsets_pb2.StoredOffset) -> StoredOffset:
    fingerprint = None
    if message.HasField("fingerprint"):
        fingerprint = Fingerprint(message.fingerprint.term, message.fingerprint.crc32c)
    return StoredOffset(
        message.offset, message.version, message.term, message.wall_ms, fingerprint, message.metadata
    )


def fetched_of(message: offsets_pb2.FetchResult) -> FetchedOffset:
    stored = stored_of(message.stored) if message.WhichOneof("result") == "stored" else None
    return FetchedOffset(stored, message.owner, message.owner_epoch, message.applied_index)


def receipt_of(message: offsets_pb2.Receipt) -> Receipt:
    return Receipt(message.group, message.topic, message.partition, message.offset, message.version, message.term)


def receipt_message(receipt: Receipt) -> offsets_pb2.Receipt:
    return offsets_pb2.Receipt(**receipt._asdict())


def resolution_of(message: offsets_pb2.ResolveResponse) -> Resolution:
    return Resolution(
        Fate(message.fate),
        receipt_of(message.receipt) if message.HasField("receipt") else None,
        stored_of(message.stored) if message.HasField("stored") else None,
    )


def change_of(message: offsets_pb2.HistoryEntry) -> Change:
    return Change(
        kind=ChangeKind(message.kind),
        version=message.version,
        term=message.term,
        wall_ms=message.wall_ms,
        offset=message.offset if message.HasField("offset") else None,
        owner=message.owner,
        owner_epoch=message.owner_epoch,
        session=message.session,
        sequence=message.sequence,
        node_id=message.node_id,
        reason=message.reason,
    )


def lag_of(message: offsets_pb2.GroupLag) -> GroupLag:
    return GroupLag(
        group=message.group,
        topic=message.partition.topic,
        partition=message.partition.partition,
        committed=message.committed if message.HasField("committed") else None,
        log_start=message.log_start,
        log_end=message.log_end,
        records=message.records,
        bytes=message.bytes,
        age_ms=message.age_ms,
        verdict=Verdict(message.verdict or Verdict.UNKNOWN),
        owner=message.owner,
        committed_wall_ms=message.committed_wall_ms,
    )


def inspection_of(message: offsets_pb2.InspectResponse) -> Inspection:
    return Inspection(
        node_id=message.node_id,
        digest=message.digest,
        groups=tuple(
            InspectedGroup(
                group=each.group,
                stored=stored_of(each.stored) if each.HasField("stored") else None,
                owner=each.owner,
                owner_epoch=each.owner_epoch,
                finding=Finding(each.finding),
                explanation=each.explanation,
            )
            for each in message.groups
        ),
        log_start=message.log_start,
        log_end=message.log_end,
    )


def described_of(message: groups_pb2.DescribeGroupResponse) -> DescribedGroup:
    return DescribedGroup(
        group=message.group,
        state=message.state,
        generation=message.generation,
        strategy=Strategy(message.strategy or Strategy.STICKY),
        members=tuple(
            GroupMember(
                member=each.member,
                instance=each.instance,
                client=each.client,
                topics=tuple(each.topics),
                owned=partitions_of(each.owned),
                target=partitions_of(each.target),
                session_timeout_ms=each.session_timeout_ms,
                silent_ms=each.silent_ms,
            )
            for each in message.members
        ),
        coordinator_node=message.coordinator_node_id,
        coordinator_partition=message.coordinator_partition,
    )
