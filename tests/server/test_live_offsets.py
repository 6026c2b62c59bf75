"""Offsets and groups over the wire, on three real nodes, with generated stubs alone: no client library."""

from __future__ import annotations

import contextlib
import itertools
import time
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any

import google_crc32c
import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from server.live_nodes import LiveCluster, LiveNode, Refused, live_cluster, one_batch, until
from server.scripted_desks import outcome_of, reason_of

from quorumlog.v1 import errors_pb2, groups_pb2, log_pb2
from quorumlog.v1 import offsets_pb2 as pb
from quorumlog.wire.header import parse_header

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

TOPIC = "events"
EARLIEST = pb.Start(earliest=True)
SESSIONS = itertools.count(1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    with live_cluster(tmp_path_factory.mktemp("offsets"), 3) as running:
        running.create_topic(TOPIC, partitions=2)
        append(running.leader(TOPIC), *(str(number).encode() for number in range(10)))
        yield running


@pytest.fixture
def whole(cluster: LiveCluster) -> LiveCluster:
    """The cluster, with every node running and connected to every other."""
    for node in cluster.nodes.values():
        if node.process is not None and node.process.poll() is not None:
            node.start()
    for node in cluster.nodes.values():
        until(node.serving, f"node {node.node_id} serves")
    until(
        lambda: all(link.up for node in cluster.nodes.values() for link in node.describe().links),
        "all links are up",
    )
    return cluster


@pytest.fixture
def leader(whole: LiveCluster) -> LiveNode:
    return whole.leader(TOPIC)


@pytest.fixture
def group() -> str:
    return f"g-{uuid.uuid4().hex[:8]}"


def append(node: LiveNode, *values: bytes, topic: str = TOPIC, partition: int = 0) -> None:
    for value in values:
        request = log_pb2.AppendRequest(topic=topic, partition=partition, batch=one_batch(value))
        node.log.Append(request, timeout=5)


def at(partition: int = 0, topic: str = TOPIC) -> pb.TopicPartition:
    return pb.TopicPartition(topic=topic, partition=partition)


class Owner:
    """Who acquired: what goes into every commit."""

    def __init__(self, node: LiveNode, group: str, **acquire: Any) -> None:
        self.node = node
        self.group = group
        self.session = next(SESSIONS)
        self.sequence = itertools.count(1)
        (self.result,) = node.offsets.Acquire(self.acquire(**acquire), timeout=5).results
        self.epoch = self.result.acquired.owner_epoch

    def acquire(self, **fields: Any) -> pb.AcquireRequest:
        given: dict[str, Any] = {"owner": "me", "partitions": [at()], "start": EARLIEST, **fields}
        return pb.AcquireRequest(group=self.group, session=self.session, **given)

    def message(self, offset: int, **fields: Any) -> pb.Commit:
        given: dict[str, Any] = {
            "topic": TOPIC,
            "owner_epoch": self.epoch,
            "session": self.session,
            "sequence": next(self.sequence) if "sequence" not in fields else 0,
            **fields,
        }
        return pb.Commit(group=self.group, offset=offset, **given)

    def commit(self, offset: int, timeout_ms: int = 0, **fields: Any) -> pb.CommitResult:
        request = pb.CommitRequest(commits=[self.message(offset, **fields)], timeout_ms=timeout_ms)
        result: pb.CommitResult
        (result,) = self.node.offsets.Commit(request, timeout=5).results
        return result


def fetch(node: LiveNode, group: str, partition: pb.TopicPartition | None = None, **fields: Any) -> pb.FetchResult:
    request = pb.FetchRequest(group=group, partitions=[partition or at()], **fields)
    result: pb.FetchResult
    (result,) = node.offsets.Fetch(request, timeout=5).results
    return result


def refused(error: errors_pb2.Error, reason: str, outcome: str = "NOT_DONE", **fields: str) -> None:
    """The error is this one, and carries these facts."""
    assert (reason_of(error), outcome_of(error)) == (reason, outcome), error
    assert {name: error.fields[name] for name in fields} == fields


def others(cluster: LiveCluster, node: LiveNode) -> list[LiveNode]:
    return [other for other in cluster.nodes.values() if other is not node]


# --- a commit's life ------------------------------------------------------------------------------------------


def test_what_is_committed_is_fetched_from_every_node(whole: LiveCluster, leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    assert (owner.result.acquired.start_offset, owner.result.acquired.reason) == (0, pb.START_REASON_RULE)
    receipt = owner.commit(4, metadata=b"m").receipt
    assert (receipt.group, receipt.topic, receipt.partition, receipt.offset) == (group, TOPIC, 0, 4)
    for node in whole.nodes.values():
        found = fetch(node, group)
        assert (found.stored.offset, found.stored.version, found.stored.term, found.stored.metadata) == (
            4,
            receipt.version,
            receipt.term,
            b"m",
        )
        assert (found.owner, found.owner_epoch) == ("me", owner.epoch)


def test_a_replica_that_is_asked_for_a_version_has_it(whole: LiveCluster, leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    for offset in range(1, 8):
        version = owner.commit(offset).receipt.version
        for node in others(whole, leader):
            found = fetch(node, group, min_versions=[version])
            assert found.stored.offset == offset
            assert found.applied_index >= version


def test_nothing_stored_is_none_and_not_a_number(leader: LiveNode, group: str) -> None:
    assert fetch(leader, group).WhichOneof("result") == "none"


def test_zero_is_a_commit(leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    assert owner.commit(0).receipt.offset == 0
    found = fetch(leader, group)
    assert (found.WhichOneof("result"), found.stored.offset) == ("stored", 0)


def test_commits_of_one_call_share_an_entry_for_each_partition(whole: LiveCluster, leader: LiveNode) -> None:
    owners = [Owner(leader, f"many-{number}") for number in range(40)]
    request = pb.CommitRequest(commits=[owner.message(3) for owner in owners])
    results = leader.offsets.Commit(request, timeout=5).results
    assert [result.receipt.group for result in results] == [owner.group for owner in owners]
    assert len({result.receipt.version for result in results}) == 1


def test_a_repeated_commit_has_one_effect(leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    first, second = owner.commit(2, sequence=1), owner.commit(2, sequence=1)
    assert (first.duplicate, second.duplicate) == (False, True)
    assert first.receipt == second.receipt


def test_one_bad_commit_of_a_call_refuses_only_itself(leader: LiveNode, group: str) -> None:
    owner, wordy = Owner(leader, group), Owner(leader, f"{group}-wordy")
    request = pb.CommitRequest(
        commits=[
            pb.Commit(group="stranger", topic=TOPIC, offset=1, owner_epoch=1, session=1, sequence=1),
            owner.message(1, topic="nowhere"),
            owner.message(1, partition=99),
            wordy.message(1, metadata=bytes(4097)),
            owner.message(1),
            owner.message(2),
        ]
    )
    results = leader.offsets.Commit(request, timeout=5).results
    refused(results[0].error, "NOT_OWNER")
    refused(results[1].error, "UNKNOWN_TOPIC")
    refused(results[2].error, "UNKNOWN_PARTITION")
    refused(results[3].error, "METADATA_TOO_LARGE")
    assert results[4].receipt.offset == 1
    refused(results[5].error, "INVALID_REQUEST", field="commits")


def test_receipt_and_attempt_resolve_on_every_node(whole: LiveCluster, leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    first = owner.commit(1, sequence=1).receipt
    second = owner.commit(2, sequence=2).receipt
    attempt = pb.Attempt(group=group, topic=TOPIC, owner_epoch=owner.epoch, session=owner.session, sequence=1)
    for node in whole.nodes.values():
        old = node.offsets.Resolve(pb.ResolveRequest(receipt=first), timeout=5)
        new = node.offsets.Resolve(pb.ResolveRequest(receipt=second), timeout=5)
        sent = node.offsets.Resolve(pb.ResolveRequest(attempt=attempt), timeout=5)
        assert (old.fate, new.fate, sent.fate) == (pb.FATE_SUPERSEDED, pb.FATE_PRESENT, pb.FATE_SUPERSEDED)
        assert (sent.receipt, new.stored.offset) == (first, 2)


def test_what_was_resolved_as_never_happened_never_does(leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    owner.commit(1, sequence=1)
    attempt = pb.Attempt(group=group, topic=TOPIC, owner_epoch=owner.epoch, session=owner.session, sequence=2)
    assert leader.offsets.Resolve(pb.ResolveRequest(attempt=attempt), timeout=5).fate == pb.FATE_NEVER_HAPPENED
    refused(owner.commit(2, sequence=2).error, "COMMIT_SETTLED")
    assert fetch(leader, group).stored.offset == 1


def test_an_attempt_without_its_owner_epoch_is_refused(leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    owner.commit(1, sequence=1)
    attempt = pb.Attempt(group=group, topic=TOPIC, session=owner.session, sequence=1)
    with pytest.raises(grpc.RpcError) as caught:
        leader.offsets.Resolve(pb.ResolveRequest(attempt=attempt), timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_history_tells_who_did_what(leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    owner.commit(3)
    where = pb.ReleaseRequest(
        group=group, session=owner.session, partitions=[pb.Release(partition=at(), owner_epoch=owner.epoch)]
    )
    assert not leader.offsets.Release(where, timeout=5).results[0].HasField("error")
    entries = leader.offsets.History(pb.HistoryRequest(group=group, partition=at()), timeout=5).entries
    kinds = [entry.kind for entry in entries]
    assert kinds[0] == pb.CHANGE_KIND_ACQUIRE
    assert kinds[-2:] == [pb.CHANGE_KIND_COMMIT, pb.CHANGE_KIND_RELEASE]
    assert entries[-2].offset == 3
    assert {entry.owner for entry in entries if entry.kind == pb.CHANGE_KIND_COMMIT} == {"me"}


def test_a_released_partition_repeats_nothing(leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    owner.commit(3)
    where = pb.ReleaseRequest(
        group=group, session=owner.session, partitions=[pb.Release(partition=at(), owner_epoch=owner.epoch)]
    )
    leader.offsets.Release(where, timeout=5)
    taken = Owner(leader, group).result.acquired
    assert (taken.start_offset, taken.reason, taken.released, taken.may_repeat) == (
        3,
        pb.START_REASON_STORED,
        True,
        0,
    )


# --- the zombie -----------------------------------------------------------------------------------------------


def test_an_owner_that_was_replaced_is_fenced_and_its_commit_is_nowhere(leader: LiveNode, group: str) -> None:
    zombie = Owner(leader, group)
    zombie.commit(2)
    successor = Owner(leader, group, owner="successor")
    assert successor.epoch == zombie.epoch + 1
    assert not successor.result.acquired.released
    refused(zombie.commit(5).error, "FENCED")
    assert fetch(leader, group).stored.offset == 2
    assert successor.commit(3).receipt.offset == 3


@pytest.mark.parametrize("call", ["read", "subscribe"])
def test_a_replaced_owner_learns_of_it_from_its_next_read(leader: LiveNode, group: str, call: str) -> None:
    zombie = Owner(leader, group)
    token = log_pb2.Owner(group=group, epoch=zombie.epoch)
    request: Any
    if call == "read":
        request = log_pb2.ReadRequest(topic=TOPIC, owner=token)
        assert leader.log.Read(request, timeout=5).batches
    else:
        request = log_pb2.SubscribeRequest(topic=TOPIC, owner=token, stop_at_end=True)
        assert next(leader.log.Subscribe(request, timeout=5)).batches
    Owner(leader, group)
    with Refused() as fenced:
        if call == "read":
            leader.log.Read(request, timeout=5)
        else:
            next(leader.log.Subscribe(request, timeout=5))
    assert (fenced.code, fenced.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FENCED")


def test_a_waiting_read_is_ended_by_the_new_owner(leader: LiveNode, group: str) -> None:
    zombie = Owner(leader, group)
    request = log_pb2.SubscribeRequest(
        topic=TOPIC,
        offset=end_of(leader),
        heartbeat_ms=60_000,
        owner=log_pb2.Owner(group=group, epoch=zombie.epoch),
    )
    stream = leader.log.Subscribe(request, timeout=30)
    Owner(leader, group)
    with Refused() as fenced:
        next(stream)
    assert fenced.reason == "FENCED"
    assert fenced.seconds < 5


def end_of(node: LiveNode, partition: int = 0) -> int:
    request = log_pb2.ListOffsetsRequest(topic=TOPIC, partition=partition, end=True)
    return int(node.log.ListOffsets(request, timeout=5).offset)


# --- fingerprints ---------------------------------------------------------------------------------------------


def fingerprint_below(node: LiveNode, offset: int) -> pb.Fingerprint:
    answer = node.log.Read(log_pb2.ReadRequest(topic=TOPIC, offset=offset - 1, max_bytes=1), timeout=5)
    assert len(answer.terms) == len(answer.batches)
    return pb.Fingerprint(term=answer.terms[0], crc32c=parse_header(answer.batches[0]).crc32c)


def test_a_commit_names_the_record_it_has_processed(leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    right = fingerprint_below(leader, 4)
    receipt = owner.commit(4, fingerprint=right).receipt
    assert fetch(leader, group).stored.fingerprint == right
    for wrong in (
        pb.Fingerprint(term=right.term + 1, crc32c=right.crc32c),
        pb.Fingerprint(term=right.term, crc32c=right.crc32c ^ 1),
    ):
        refused(owner.commit(4, fingerprint=wrong).error, "FINGERPRINT_MISMATCH")
    assert fetch(leader, group).stored.version == receipt.version


# --- what it refuses ------------------------------------------------------------------------------------------


def test_a_commit_beyond_the_end_is_refused_with_the_numbers(leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    end = end_of(leader)
    refused(owner.commit(end + 1).error, "OFFSET_BEYOND_END", offset=str(end + 1), end_offset=str(end))
    assert owner.commit(end).receipt.offset == end


def test_a_commit_below_the_stored_one_is_refused_with_the_numbers(leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    owner.commit(5)
    refused(owner.commit(4).error, "OFFSET_REGRESSED", offset="4", stored="5")


def test_a_commit_of_somebody_who_owns_nothing_is_refused(leader: LiveNode, group: str) -> None:
    lone = pb.Commit(group=group, topic=TOPIC, offset=1, owner_epoch=1, session=77, sequence=1)
    (result,) = leader.offsets.Commit(pb.CommitRequest(commits=[lone]), timeout=5).results
    refused(result.error, "NOT_OWNER")
    owner = Owner(leader, group)
    refused(owner.commit(1, session=12345).error, "NOT_OWNER")
    refused(owner.commit(1, owner_epoch=owner.epoch + 1).error, "NOT_OWNER")
    refused(owner.commit(1, owner_epoch=0).error, "NOT_OWNER")


def test_an_older_generation_cannot_acquire(leader: LiveNode, group: str) -> None:
    Owner(leader, group, generation=5)
    result = Owner(leader, group, generation=4).result
    refused(result.error, "STALE_GENERATION", generation="5")


def test_an_exclusive_owner_keeps_others_out(leader: LiveNode, group: str) -> None:
    Owner(leader, group, exclusive=True, owner="first", lease_ms=60_000)
    refused(Owner(leader, group).result.error, "OWNED", owner="first")


def test_only_the_leader_takes_commits_and_names_itself(whole: LiveCluster, leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    owner.node = others(whole, leader)[0]
    error = owner.commit(1).error
    refused(error, "NOT_LEADER")
    assert (error.leader.node_id, error.leader.address) == (leader.node_id, leader.address)


GROUP_IDS = ["", "a b", "ä", "__mine", "x" * 250, "a/b"]


@pytest.mark.parametrize("name", GROUP_IDS)
def test_an_invalid_group_id_is_refused_everywhere(leader: LiveNode, name: str) -> None:
    refused(Owner(leader, name).result.error, "INVALID_GROUP")
    refused(fetch(leader, name).error, "INVALID_GROUP")
    item = pb.ResetItem(partition=at(), position=EARLIEST)
    reset = leader.offsets.Reset(pb.ResetRequest(group=name, items=[item], reason="why"), timeout=5)
    refused(reset.results[0].error, "INVALID_GROUP")
    with Refused() as ended:
        leader.groups.Join(groups_pb2.JoinRequest(group=name, member="m", topics=[TOPIC]), timeout=5)
    assert (ended.code, ended.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_GROUP")


def test_a_start_without_a_rule_is_refused(leader: LiveNode, group: str) -> None:
    with Refused() as ended:
        Owner(leader, group, start=pb.Start())
    assert (ended.reason, ended.error.fields["field"]) == ("INVALID_REQUEST", "start")


def test_an_acquire_without_a_session_or_with_an_endless_name_is_refused(leader: LiveNode, group: str) -> None:
    for fields, field in (
        ({"session": 0, "owner": "me"}, "session"),
        ({"session": 1, "owner": "ä" * 125}, "owner"),
    ):
        request = pb.AcquireRequest(group=group, partitions=[at()], start=EARLIEST, **fields)  # type: ignore[arg-type]
        (result,) = leader.offsets.Acquire(request, timeout=5).results
        refused(result.error, "INVALID_REQUEST", field=field)


def test_a_commit_without_a_number_is_refused(leader: LiveNode, group: str) -> None:
    refused(Owner(leader, group).commit(1, sequence=0).error, "INVALID_REQUEST", field="sequence")


def test_a_start_outside_the_log_is_refused(leader: LiveNode, group: str) -> None:
    refused(Owner(leader, group, start=pb.Start(offset=10**6)).result.error, "OFFSET_OUT_OF_RANGE")


@pytest.mark.parametrize("call", ["History", "Reset", "Mark"])
def test_partitions_that_are_not_there_are_refused(leader: LiveNode, group: str, call: str) -> None:
    for where, reason in ((at(99), "UNKNOWN_PARTITION"), (at(topic="nowhere"), "UNKNOWN_TOPIC")):
        if call == "History":
            with Refused() as ended:
                leader.offsets.History(pb.HistoryRequest(group=group, partition=where), timeout=5)
            assert ended.reason == reason
        elif call == "Reset":
            item = pb.ResetItem(partition=where, position=EARLIEST)
            answer = leader.offsets.Reset(pb.ResetRequest(group=group, items=[item], reason="why"), timeout=5)
            refused(answer.results[0].error, reason)
        else:
            answer = leader.offsets.Mark(pb.MarkRequest(group=group, partitions=[where]), timeout=5)
            refused(answer.results[0].error, reason)


def test_a_group_that_was_never_here_is_unknown(leader: LiveNode, group: str) -> None:
    with Refused() as ended:
        leader.offsets.History(pb.HistoryRequest(group=group, partition=at()), timeout=5)
    assert (ended.code, ended.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_GROUP")


def test_a_receipt_from_before_what_is_remembered_is_unknown(leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    oldest = owner.commit(1).receipt
    for _ in range(40):
        owner.commit(1)
    with Refused() as ended:
        leader.offsets.Resolve(pb.ResolveRequest(receipt=oldest), timeout=5)
    assert (ended.code, ended.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_RECEIPT")


def test_a_receipt_that_nobody_gave_never_happened(leader: LiveNode, group: str) -> None:
    receipt = pb.Receipt(group=group, topic=TOPIC, offset=1, version=5, term=1)
    assert leader.offsets.Resolve(pb.ResolveRequest(receipt=receipt), timeout=5).fate == pb.FATE_NEVER_HAPPENED


# --- reset ----------------------------------------------------------------------------------------------------


def reset(node: LiveNode, group: str, reason: str = "why", force: bool = False, **item: Any) -> pb.ResetResult:
    dry_run = item.pop("dry_run", False)
    request = pb.ResetRequest(
        group=group, items=[pb.ResetItem(partition=at(), **item)], reason=reason, force=force, dry_run=dry_run
    )
    result: pb.ResetResult
    (result,) = node.offsets.Reset(request, timeout=5).results
    return result


def test_a_reset_under_an_owner_needs_force_and_fences_it(leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    owner.commit(6)
    refused(reset(leader, group, position=pb.Start(offset=2)).error, "GROUP_ACTIVE", owner="me")
    done = reset(leader, group, position=pb.Start(offset=2), force=True)
    assert (done.stored.offset, done.before.offset) == (2, 6)
    refused(owner.commit(7).error, "FENCED")
    assert fetch(leader, group).stored.offset == 2


def test_a_reset_that_expects_another_version_is_refused_with_both(leader: LiveNode, group: str) -> None:
    receipt = Owner(leader, group).commit(6).receipt
    wrong = receipt.version + 1
    result = reset(leader, group, position=EARLIEST, expected_version=wrong, force=True)
    refused(result.error, "VERSION_MISMATCH", expected_version=str(wrong), version=str(receipt.version))
    assert reset(leader, group, position=EARLIEST, expected_version=receipt.version, force=True).stored.offset == 0


@pytest.mark.parametrize("reason", ["", "x" * 1025], ids=["none", "a long one"])
def test_a_reset_needs_a_reason_of_bounded_length(leader: LiveNode, group: str, reason: str) -> None:
    refused(reset(leader, group, reason=reason, position=EARLIEST).error, "INVALID_REQUEST", field="reason")


@pytest.mark.parametrize(
    "to", [{}, {"version": 0}, {"restore": False}], ids=["nowhere", "version 0", "not restore"]
)
def test_a_reset_to_nowhere_is_refused(leader: LiveNode, group: str, to: dict[str, Any]) -> None:
    refused(reset(leader, group, **to).error, "INVALID_REQUEST", field="to")


def test_a_reset_to_a_position_without_a_rule_is_refused(leader: LiveNode, group: str) -> None:
    refused(reset(leader, group, position=pb.Start()).error, "INVALID_REQUEST", field="position")


def test_a_reset_out_of_the_log_is_refused(leader: LiveNode, group: str) -> None:
    refused(reset(leader, group, position=pb.Start(offset=10**6)).error, "OFFSET_OUT_OF_RANGE")


def test_a_dry_run_says_what_it_would_do_and_does_not(leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    receipt = owner.commit(6).receipt
    would = reset(leader, group, position=pb.Start(from_end=1), force=True, dry_run=True)
    assert (would.stored.offset, would.before.version) == (end_of(leader) - 1, receipt.version)
    found = fetch(leader, group)
    assert (found.stored.offset, found.stored.version, found.owner_epoch) == (6, receipt.version, owner.epoch)
    refused(reset(leader, group, position=EARLIEST, dry_run=True).error, "GROUP_ACTIVE")


def test_a_reset_is_undone_by_the_version_before_it(leader: LiveNode, group: str) -> None:
    receipt = Owner(leader, group).commit(6).receipt
    reset(leader, group, position=EARLIEST, force=True)
    assert reset(leader, group, version=receipt.version, force=True).stored.offset == 6


# --- lag, audit, marks ----------------------------------------------------------------------------------------


def test_lag_counts_to_the_record(leader: LiveNode, group: str) -> None:
    Owner(leader, group).commit(3)
    answer = leader.offsets.Lag(pb.LagRequest(groups=[group], partitions=[at()]), timeout=5)
    (entry,) = answer.lags
    end = end_of(leader)
    assert (entry.committed, entry.log_end, entry.records, entry.owner) == (3, end, end - 3, "me")
    assert entry.bytes > 0
    assert entry.age_ms > 0
    assert entry.verdict != pb.VERDICT_UNSPECIFIED


def test_lag_without_names_is_all_that_the_node_leads(whole: LiveCluster, group: str) -> None:
    where = [(number, whole.leader(TOPIC, number)) for number in range(2)]
    for number, node in where:
        Owner(node, group, partitions=[at(number)])
    found = {
        (entry.partition.partition, node.node_id)
        for node in whole.nodes.values()
        for entry in node.offsets.Lag(pb.LagRequest(groups=[group]), timeout=5).lags
    }
    assert found == {(number, node.node_id) for number, node in where}


def test_an_audit_finds_the_same_on_all_replicas(whole: LiveCluster, leader: LiveNode, group: str) -> None:
    Owner(leader, group).commit(3)
    begun = leader.offsets.Audit(pb.AuditRequest(partition=at()), timeout=5)
    assert sorted(begun.voters) == [1, 2, 3]
    found = [
        node.offsets.Inspect(pb.InspectRequest(partition=at(), index=begun.index), timeout=5)
        for node in whole.nodes.values()
    ]
    assert [answer.node_id for answer in found] == [1, 2, 3]
    assert len({answer.digest for answer in found}) == 1
    for answer in found:
        (mine,) = (entry for entry in answer.groups if entry.group == group)
        assert (mine.stored.offset, mine.finding) == (3, pb.FINDING_OK)


def test_a_group_is_marked_and_forgotten(leader: LiveNode, group: str) -> None:
    owner = Owner(leader, group)
    owner.commit(3)
    (marked,) = leader.offsets.Mark(
        pb.MarkRequest(group=group, partitions=[at()], critical=True), timeout=5
    ).results
    assert not marked.HasField("error")
    request = pb.ForgetRequest(group=group, partitions=[at()])
    refused(leader.offsets.Forget(request, timeout=5).results[0].error, "GROUP_ACTIVE")
    request.force = True
    assert not leader.offsets.Forget(request, timeout=5).results[0].HasField("error")
    assert fetch(leader, group).WhichOneof("result") == "none"


# --- groups ---------------------------------------------------------------------------------------------------

COORDINATORS = "__groups"


def coordinator_partition(node: LiveNode, group: str) -> tuple[int, int]:
    """(partition, leader's node) of the group's coordinator, by metadata alone."""
    partitions = node.topics(COORDINATORS)[COORDINATORS].partitions
    number = google_crc32c.value(group.encode()) % len(partitions)
    return number, partitions[number].leader_node_id


def coordinator(cluster: LiveCluster, group: str) -> LiveNode:
    """The node that answers for the group."""

    def found() -> LiveNode | None:
        for node in cluster.nodes.values():
            with contextlib.suppress(grpc.RpcError, KeyError):
                _, leading = coordinator_partition(node, group)
                if leading:
                    cluster.nodes[leading].groups.List(groups_pb2.ListGroupsRequest(), timeout=2)
                    return cluster.nodes[leading]
        return None

    return until(found, f"{group} has a coordinator")  # type: ignore[no-any-return]


def join(node: LiveNode, group: str, member: str, **fields: Any) -> groups_pb2.JoinResponse:
    # A session that outlasts the module: no member of another test goes while something is being counted.
    given: dict[str, Any] = {"topics": [TOPIC], "session_timeout_ms": 600_000, **fields}
    answer: groups_pb2.JoinResponse = node.groups.Join(
        groups_pb2.JoinRequest(group=group, member=member, **given), timeout=5
    )
    return answer


def heartbeat(node: LiveNode, group: str, member: str, **fields: Any) -> groups_pb2.HeartbeatResponse:
    answer: groups_pb2.HeartbeatResponse = node.groups.Heartbeat(
        groups_pb2.HeartbeatRequest(group=group, member=member, **fields), timeout=5
    )
    return answer


def test_two_members_share_what_one_had_after_it_gave_back(whole: LiveCluster, group: str) -> None:
    node = coordinator(whole, group)
    first = join(node, group, "first")
    assert sorted(where.partition for where in first.assigned) == [0, 1]
    assert first.heartbeat_interval_ms > 0
    second = join(node, group, "second")
    assert (second.generation > first.generation, list(second.assigned)) == (True, [])
    told = heartbeat(node, group, "first", generation=first.generation, owned=first.assigned)
    assert len(told.assigned) == 1
    (moved,) = (where for where in first.assigned if where not in list(told.assigned))
    assert heartbeat(node, group, "second", generation=second.generation).pending == [moved]
    heartbeat(node, group, "first", generation=told.generation, owned=told.assigned, released=[moved])
    assert heartbeat(node, group, "second", generation=told.generation).assigned == [moved]
    described = node.groups.Describe(groups_pb2.DescribeGroupRequest(group=group), timeout=5)
    assert (described.state, [member.member for member in described.members]) == ("STABLE", ["first", "second"])
    assert (described.coordinator_partition, described.coordinator_node_id) == coordinator_partition(node, group)
    assert group in [entry.group for entry in node.groups.List(groups_pb2.ListGroupsRequest(), timeout=5).groups]


def test_a_group_is_deleted_once_it_is_empty(whole: LiveCluster, group: str) -> None:
    node = coordinator(whole, group)
    join(node, group, "m")
    delete = groups_pb2.DeleteGroupRequest(group=group)
    with Refused() as ended:
        node.groups.Delete(delete, timeout=5)
    assert (ended.code, ended.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "GROUP_ACTIVE")
    node.groups.Leave(groups_pb2.LeaveRequest(group=group, member="m"), timeout=5)
    node.groups.Delete(delete, timeout=5)
    with Refused() as ended:
        node.groups.Describe(groups_pb2.DescribeGroupRequest(group=group), timeout=5)
    assert (ended.code, ended.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_GROUP")


def test_the_wrong_node_names_the_coordinator(whole: LiveCluster, group: str) -> None:
    node = coordinator(whole, group)
    with Refused() as ended:
        join(others(whole, node)[0], group, "m")
    assert (ended.reason, ended.error.leader.address) == ("NOT_LEADER", node.address)


def test_a_member_that_is_not_one_must_join(whole: LiveCluster, group: str) -> None:
    node = coordinator(whole, group)
    join(node, group, "m")
    with Refused() as ended:
        heartbeat(node, group, "stranger")
    assert (ended.code, ended.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_MEMBER")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"member": ""}, "INVALID_GROUP"),
        ({"topics": ["nowhere"]}, "UNKNOWN_TOPIC"),
        ({"session_timeout_ms": 999}, "INVALID_REQUEST"),
        ({"session_timeout_ms": 600_001}, "INVALID_REQUEST"),
        ({"strategy": 9}, "INVALID_GROUP"),
    ],
    ids=["no member id", "unknown topic", "short session", "long session", "unknown strategy"],
)
def test_a_join_that_cannot_be_is_refused(
    whole: LiveCluster, group: str, fields: dict[str, Any], reason: str
) -> None:
    given = {"member": "m", **fields}
    with Refused() as ended:
        join(coordinator(whole, group), group, **given)
    assert (ended.reason, ended.outcome) == (reason, "NOT_DONE")


def test_another_strategy_than_the_groups_is_refused(whole: LiveCluster, group: str) -> None:
    node = coordinator(whole, group)
    join(node, group, "first", strategy=groups_pb2.STRATEGY_RANGE)
    with Refused() as ended:
        join(node, group, "second", strategy=groups_pb2.STRATEGY_STICKY)
    assert (ended.code, ended.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_GROUP")


def test_the_topic_of_coordinators_is_not_for_users(whole: LiveCluster) -> None:
    with Refused() as ended:
        append(next(iter(whole.nodes.values())), b"x", topic=COORDINATORS)
    assert ended.reason in ("INVALID_TOPIC", "UNKNOWN_TOPIC")


# --- any language ---------------------------------------------------------------------------------------------


class Reflected:
    """Knows nothing but an address: descriptors by reflection, messages as JSON, as grpcurl does it."""

    def __init__(self, node: LiveNode) -> None:
        self._channel = node.channel
        self._reflection: Any = reflection_pb2_grpc.ServerReflectionStub(node.channel)
        self._pool = descriptor_pool.DescriptorPool()
        self._known: set[str] = set()

    def _ask(self, **question: str) -> Any:
        request = reflection_pb2.ServerReflectionRequest(**question)
        (answer,) = self._reflection.ServerReflectionInfo(iter([request]), timeout=5)
        return answer

    def services(self) -> set[str]:
        return {service.name for service in self._ask(list_services="").list_services_response.service}

    def _learn(self, answer: Any) -> None:
        for packed in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(packed)
            if file.name in self._known:
                continue
            self._known.add(file.name)
            for dependency in file.dependency:
                self._learn(self._ask(file_by_filename=dependency))
            self._pool.Add(file)

    def call(self, service: str, method: str, request: dict[str, Any]) -> dict[str, Any]:
        self._learn(self._ask(file_containing_symbol=service))
        described = self._pool.FindServiceByName(service).methods_by_name[method]
        question = message_factory.GetMessageClass(described.input_type)
        answer = message_factory.GetMessageClass(described.output_type)
        stub = self._channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=question.SerializeToString,
            response_deserializer=answer.FromString,
        )
        found: dict[str, Any] = json_format.MessageToDict(
            stub(json_format.ParseDict(request, question()), timeout=5)
        )
        return found


def test_reflection_and_json_are_enough_to_commit(leader: LiveNode, group: str) -> None:
    tool = Reflected(leader)
    assert {"quorumlog.v1.Offsets", "quorumlog.v1.Groups"} <= tool.services()
    where = {"topic": TOPIC, "partition": 0}
    taken = tool.call(
        "quorumlog.v1.Offsets",
        "Acquire",
        {"group": group, "owner": "grpcurl", "session": "7", "partitions": [where], "start": {"earliest": True}},
    )
    epoch = taken["results"][0]["acquired"]["ownerEpoch"]
    commit = {**where, "group": group, "offset": "2", "ownerEpoch": epoch, "session": "7", "sequence": "1"}
    done = tool.call("quorumlog.v1.Offsets", "Commit", {"commits": [commit]})
    assert done["results"][0]["receipt"]["offset"] == "2"
    found = tool.call("quorumlog.v1.Offsets", "Fetch", {"group": group, "partitions": [where]})
    assert found["results"][0]["stored"]["version"] == done["results"][0]["receipt"]["version"]


@pytest.mark.parametrize("service", ["quorumlog.v1.Offsets", "quorumlog.v1.Groups"])
def test_health_is_told_for_the_services_of_groups(leader: LiveNode, service: str) -> None:
    assert leader.serving(service)


# --- metrics --------------------------------------------------------------------------------------------------


def metrics(node: LiveNode) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{node.metrics_port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_commits_are_counted_by_result(leader: LiveNode, group: str) -> None:
    def counted(result: str) -> float:
        return metrics(leader).get(f'quorumlog_commits_total{{result="{result}"}}', 0.0)

    names = ("committed", "duplicate", "fenced", "offset_beyond_end")
    before = {name: counted(name) for name in names}
    owner = Owner(leader, group)
    owner.commit(1, sequence=1)
    owner.commit(1, sequence=1)
    owner.commit(10**6, sequence=2)
    Owner(leader, group)
    owner.commit(2, sequence=2)
    assert {name: counted(name) - before[name] for name in names} == dict.fromkeys(names, 1)


def test_lag_is_told_by_the_leader_alone_and_to_the_record(
    whole: LiveCluster, leader: LiveNode, group: str
) -> None:
    Owner(leader, group).commit(3)
    labels = f'{{group="{group}",partition="0",topic="{TOPIC}"}}'
    found = metrics(leader)
    assert found[f"quorumlog_group_lag_records{labels}"] == end_of(leader) - 3
    assert found[f"quorumlog_group_committed_offset{labels}"] == 3
    assert found[f"quorumlog_group_lag_bytes{labels}"] > 0
    assert found[f"quorumlog_group_lag_seconds{labels}"] > 0
    for node in others(whole, leader):
        assert f"quorumlog_group_lag_records{labels}" not in metrics(node)


def test_members_are_counted_by_their_coordinator(whole: LiveCluster, group: str) -> None:
    node = coordinator(whole, group)
    before = metrics(node)
    join(node, group, "m")
    after = metrics(node)
    for name in ("quorumlog_consumer_group_members", 'quorumlog_consumer_groups{state="STABLE"}'):
        assert after[name] == before[name] + 1
    join(node, group, "n")
    assert metrics(node)["quorumlog_rebalances_total"] > after["quorumlog_rebalances_total"]


# --- a minority -----------------------------------------------------------------------------------------------


def test_a_minority_answers_commit_and_fetch_with_no_quorum_within_two_seconds(
    whole: LiveCluster, leader: LiveNode, group: str
) -> None:
    owner = Owner(leader, group)
    owner.commit(1)
    for node in others(whole, leader):
        node.kill()
    began = time.monotonic()
    refused(owner.commit(2).error, "NO_QUORUM", "UNKNOWN")
    assert time.monotonic() - began < 2.0
    began = time.monotonic()
    refused(fetch(leader, group).error, "NO_QUORUM")
    assert time.monotonic() - began < 2.0
    until(lambda: leader_knows_itself_alone(owner), "the lone node knows that it has no quorum")
    began = time.monotonic()
    refused(owner.commit(3).error, "NO_QUORUM")
    assert time.monotonic() - began < 2.0
    assert leader.serving(), "it lives, and says so"
    began = time.monotonic()
    assert metrics(leader)['quorumlog_commits_total{result="no_quorum"}'] >= 2
    assert time.monotonic() - began < 2.0, "a scrape does not hang either"


def test_a_lone_follower_serves_nothing_stale_and_says_so_within_two_seconds(
    whole: LiveCluster, leader: LiveNode, group: str
) -> None:
    Owner(leader, group).commit(1)
    lone = others(whole, leader)[0]
    for node in others(whole, lone):
        node.kill()
    until(lambda: outcome_alone(lone, group) == "NO_QUORUM", "it knows that it is alone")
    began = time.monotonic()
    refused(fetch(lone, group).error, "NO_QUORUM")
    lost = pb.Commit(group=group, topic=TOPIC, offset=2, owner_epoch=1, session=1, sequence=9)
    (result,) = lone.offsets.Commit(pb.CommitRequest(commits=[lost]), timeout=5).results
    refused(result.error, "NO_QUORUM")
    assert time.monotonic() - began < 4.0, "two seconds each"


def outcome_alone(node: LiveNode, group: str) -> str:
    """Why the node does not answer; it must not."""
    result = fetch(node, group)
    assert result.HasField("error"), "one of three has answered for all"
    assert reason_of(result.error) in ("NOT_LEADER", "NO_QUORUM", "DEADLINE")
    return reason_of(result.error)


def leader_knows_itself_alone(owner: Owner) -> bool:
    error = owner.commit(3, timeout_ms=200).error
    return (reason_of(error), outcome_of(error)) == ("NO_QUORUM", "NOT_DONE")


def test_a_commit_survives_its_leader(whole: LiveCluster, group: str) -> None:
    owner = Owner(whole.leader(TOPIC), group)
    receipt = owner.commit(4).receipt
    owner.node.kill()
    rest = others(whole, owner.node)

    def found() -> pb.FetchResult | None:
        for node in rest:
            with contextlib.suppress(grpc.RpcError):
                result = fetch(node, group)
                if not result.HasField("error"):
                    return result
        return None

    kept = until(found, "the others serve the offset")
    assert (kept.stored.offset, kept.stored.version, kept.stored.term) == (4, receipt.version, receipt.term)
    assert (kept.owner_epoch, kept.owner) == (owner.epoch, "me")
