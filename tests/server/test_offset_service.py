"""Offsets between messages and the node: nothing is lost, one refused item refuses no other, and what a message
leaves open is a typed error."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest
from server.scripted_desks import Context, InputCounter, ScriptedNode, outcome_of, reason_of, shell

from quorumlog.machine.offset_commands import CommitItem, Fingerprint
from quorumlog.machine.offset_results import Change, ChangeKind, Fate, FateKnown, Stored
from quorumlog.replica import offset_api as api
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.server.offset_messages import start_at
from quorumlog.server.offsets import OffsetsService
from quorumlog.v1 import offsets_pb2 as pb

STORED = Stored(41, 1207, 3, 1_700_000_000_000, Fingerprint(3, 0xFEEDBEEF), b"meta")
PLAIN = Stored(0, 7, 1, 1_700_000_000_000, None, b"")
MESSAGE = pb.StoredOffset(
    offset=41,
    version=1207,
    term=3,
    wall_ms=1_700_000_000_000,
    metadata=b"meta",
    fingerprint=pb.Fingerprint(term=3, crc32c=0xFEEDBEEF),
)


@pytest.fixture
def node() -> ScriptedNode:
    return ScriptedNode()


@pytest.fixture
def desk(node: ScriptedNode) -> Any:
    return node.offsets


class Served:
    """The service, and its calls with a context of their own."""

    def __init__(self, node: ScriptedNode) -> None:
        self.shell, self.loop = shell(node)
        self.service = OffsetsService(self.shell, node_id=2)

    async def call(self, name: str, request: Any, remaining: float | None = None) -> Any:
        context: Any = Context(remaining)
        return await getattr(self.service, name)(request, context)

    async def refused(self, name: str, request: Any) -> Context:
        context: Any = Context()
        with pytest.raises(grpc.aio.AbortError):
            await getattr(self.service, name)(request, context)
        ended: Context = context
        return ended


@pytest.fixture
def served(node: ScriptedNode) -> Served:
    return Served(node)


def at(partition: int, topic: str = "t") -> pb.TopicPartition:
    return pb.TopicPartition(topic=topic, partition=partition)


def commit(group: str = "g", **fields: Any) -> pb.Commit:
    given = {"topic": "t", "offset": 5, "owner_epoch": 1, "session": 9, "sequence": 1, **fields}
    return pb.Commit(group=group, **given)


# --- commits --------------------------------------------------------------------------------------------------


async def test_every_field_of_a_commit_reaches_the_node(served: Served, desk: Any) -> None:
    desk.answers["commit"] = api.CommittedOffset(5, 100, 2, False)
    whole = commit(partition=3, fingerprint=pb.Fingerprint(term=2, crc32c=77), metadata=b"m")
    await served.call("Commit", pb.CommitRequest(commits=[whole], timeout_ms=700))
    item = CommitItem("g", 5, 1, 9, 1, Fingerprint(2, 77), b"m")
    assert desk.asked == [("commit", "t", 3, item, 700)]


async def test_a_commit_without_fingerprint_has_none_rather_than_zeros(served: Served, desk: Any) -> None:
    desk.answers["commit"] = api.CommittedOffset(5, 100, 2, False)
    await served.call("Commit", pb.CommitRequest(commits=[commit()]))
    assert desk.asked[0][3].fingerprint is None


async def test_all_commits_of_a_call_are_given_to_the_node_in_one_go(served: Served, desk: Any) -> None:
    desk.answers["commit"] = lambda topic, partition, item, timeout_ms: api.CommittedOffset(
        item.offset, 100 + partition, 2, False
    )
    commits = [commit(f"g{number}", partition=number % 3, offset=number) for number in range(50)]
    answer = await served.call("Commit", pb.CommitRequest(commits=commits))
    assert served.loop.inputs == 1
    assert [result.receipt for result in answer.results] == [
        pb.Receipt(group=f"g{n}", topic="t", partition=n % 3, offset=n, version=100 + n % 3, term=2)
        for n in range(50)
    ]


async def test_answers_stand_in_the_order_of_the_commits_whatever_came_first(node: ScriptedNode) -> None:
    """The node answers the last item first."""

    class Backwards(InputCounter):
        def input(self, step: Any) -> Any:
            result = super().input(step)
            for number, done in reversed(list(enumerate(node.offsets.held))):
                done(api.CommittedOffset(number, 1, 1, False))
            return result

    served = Served(node)
    served.shell.node_loop = Backwards(node)  # type: ignore[assignment]
    commits = [commit(f"g{number}", offset=number) for number in range(5)]
    answer = await served.call("Commit", pb.CommitRequest(commits=commits))
    assert [result.receipt.offset for result in answer.results] == [0, 1, 2, 3, 4]


async def test_a_refused_commit_refuses_no_other(served: Served, desk: Any) -> None:
    fenced = Failure(Reason.FENCED, "no longer", fields={"owner": "other"})

    def answer(topic: str, partition: int, item: CommitItem, timeout_ms: int) -> Any:
        return fenced if item.group == "b" else api.CommittedOffset(item.offset, 8, 1, item.group == "c")

    desk.answers["commit"] = answer
    found = await served.call("Commit", pb.CommitRequest(commits=[commit(group) for group in "abc"]))
    assert [result.WhichOneof("result") for result in found.results] == ["receipt", "error", "receipt"]
    assert [result.duplicate for result in found.results] == [False, False, True]
    error = found.results[1].error
    assert (reason_of(error), outcome_of(error), error.fields["owner"]) == ("FENCED", "NOT_DONE", "other")


async def test_a_second_commit_of_one_group_in_one_partition_is_refused(served: Served, desk: Any) -> None:
    desk.answers["commit"] = api.CommittedOffset(5, 100, 2, False)
    commits = [commit(), commit(offset=6, sequence=2), commit(partition=1), commit("other")]
    answer = await served.call("Commit", pb.CommitRequest(commits=commits))
    assert [result.HasField("error") for result in answer.results] == [False, True, False, False]
    assert reason_of(answer.results[1].error) == "INVALID_REQUEST"
    assert [item.offset for _, _, _, item, _ in desk.asked] == [5, 5, 5], "the first one went its way"


async def test_commits_that_share_an_entry_are_counted_together_whatever_call_they_came_in(
    served: Served, desk: Any
) -> None:
    def committed(version: int, *groups: str) -> Any:
        desk.answers["commit"] = lambda topic, partition, *rest: api.CommittedOffset(5, version, 1, False)
        return served.call("Commit", pb.CommitRequest(commits=[commit(group) for group in groups]))

    def observed() -> tuple[float, float]:
        (metric,) = served.service.meter.per_entry.collect()
        found = {sample.name.rpartition("_")[2]: sample.value for sample in metric.samples if not sample.labels}
        return found["count"], found["sum"]

    await committed(8, "a", "b")
    await committed(9, "a")
    await committed(8, "c")
    served.service.meter.settle()
    assert observed() == (0, 0), "a call that shared an entry may be answered a moment later"
    await committed(8, "d")
    served.service.meter.settle()
    assert observed() == (2, 5), "an entry of four and one of one"


@pytest.mark.parametrize("call", ["Commit", "Acquire"])
async def test_a_call_with_endless_items_is_refused_before_it_holds_up_the_node(
    served: Served, desk: Any, call: str
) -> None:
    request: Any
    if call == "Commit":
        request = pb.CommitRequest(commits=[commit()] * 10_001)
    else:
        request = acquire(partitions=[at(0)] * 10_001)
    refused = await served.refused(call, request)
    assert (refused.reason, refused.error.fields["max_items"], desk.asked) == ("INVALID_REQUEST", "10000", [])


async def test_no_commits_are_no_work(served: Served) -> None:
    assert not (await served.call("Commit", pb.CommitRequest())).results


async def test_commits_that_the_node_is_silent_about_are_unknown_before_the_deadline(
    served: Served, desk: Any
) -> None:
    answer = await served.call("Commit", pb.CommitRequest(commits=[commit("a"), commit("b")]), remaining=0.03)
    for result in answer.results:
        assert (reason_of(result.error), outcome_of(result.error)) == ("DEADLINE", "UNKNOWN")
    for done in desk.held:
        done(api.CommittedOffset(1, 1, 1, False))
    assert [result.HasField("error") for result in answer.results] == [True, True], "a late answer changes nothing"


async def test_commits_are_counted_by_what_became_of_them(served: Served, desk: Any) -> None:
    results = iter(
        [
            api.CommittedOffset(1, 1, 1, False),
            api.CommittedOffset(1, 1, 1, True),
            Failure(Reason.OFFSET_BEYOND_END, ""),
            Failure(Reason.FENCED, ""),
            Failure(Reason.FENCED, ""),
        ]
    )
    desk.answers["commit"] = lambda *asked: next(results)
    await served.call("Commit", pb.CommitRequest(commits=[commit(group) for group in "abcde"]))
    assert served.service.meter.by_result() == {
        "committed": 1,
        "duplicate": 1,
        "fenced": 2,
        "offset_beyond_end": 1,
    }


# --- acquire and release --------------------------------------------------------------------------------------


def acquire(**fields: Any) -> pb.AcquireRequest:
    given: dict[str, Any] = {
        "group": "g",
        "owner": "worker-1",
        "session": 9,
        "partitions": [at(0), at(1)],
        "start": pb.Start(latest=True),
        **fields,
    }
    return pb.AcquireRequest(**given)


ACQUIRED = api.AcquiredOffset(
    owner_epoch=4,
    start_offset=41,
    reason=api.StartReason.STORED,
    explanation="stored 41 of version 1207, log 0..9000",
    stored=STORED,
    log_start=0,
    log_end=9000,
    previous_owner="worker-0",
    released=False,
    may_repeat=12,
)


async def test_acquire_passes_everything_on_and_everything_back(served: Served, desk: Any) -> None:
    unknown = Failure(Reason.UNKNOWN_PARTITION, "no such partition")
    desk.answers["acquire"] = lambda topic, partition, *rest: ACQUIRED if partition == 0 else unknown
    answer = await served.call(
        "Acquire",
        acquire(
            generation=6,
            force_start=True,
            on_out_of_range=pb.FALLBACK_EARLIEST,
            on_truncated=pb.FALLBACK_LATEST,
            exclusive=True,
            lease_ms=5_000,
        ),
    )
    asked = api.AcquireRequest(
        group="g",
        owner="worker-1",
        session=9,
        start=api.StartAt(api.StartRule.LATEST),
        generation=6,
        force_start=True,
        on_out_of_range=api.Fallback.EARLIEST,
        on_truncated=api.Fallback.LATEST,
        exclusive=True,
        lease_ms=5_000,
    )
    assert desk.asked == [("acquire", "t", 0, asked, 1500), ("acquire", "t", 1, asked, 1500)]
    assert served.loop.inputs == 1
    assert answer.results[0].acquired == pb.Acquired(
        owner_epoch=4,
        start_offset=41,
        reason=pb.START_REASON_STORED,
        explanation="stored 41 of version 1207, log 0..9000",
        stored=MESSAGE,
        log_start=0,
        log_end=9000,
        previous_owner="worker-0",
        released=False,
        may_repeat=12,
    )
    assert reason_of(answer.results[1].error) == "UNKNOWN_PARTITION"


async def test_what_acquire_leaves_out_is_the_careful_choice(served: Served, desk: Any) -> None:
    desk.answers["acquire"] = ACQUIRED
    await served.call("Acquire", acquire())
    asked = desk.asked[0][3]
    assert (asked.on_out_of_range, asked.on_truncated) == (api.Fallback.FAIL, api.Fallback.FAIL)
    assert (asked.force_start, asked.exclusive, asked.lease_ms) == (False, False, 30_000)


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        (pb.Start(earliest=True), api.StartAt(api.StartRule.EARLIEST)),
        (pb.Start(latest=True), api.StartAt(api.StartRule.LATEST)),
        (pb.Start(offset=0), api.StartAt(api.StartRule.OFFSET, 0)),
        (pb.Start(offset=7), api.StartAt(api.StartRule.OFFSET, 7)),
        (pb.Start(from_begin=3), api.StartAt(api.StartRule.FROM_BEGIN, 3)),
        (pb.Start(from_end=4), api.StartAt(api.StartRule.FROM_END, 4)),
        (pb.Start(timestamp_ms=5), api.StartAt(api.StartRule.TIMESTAMP_MS, 5)),
        (pb.Start(age_ms=6), api.StartAt(api.StartRule.AGE_MS, 6)),
    ],
    ids=str,
)
def test_every_start_rule_has_its_value(message: pb.Start, rule: api.StartAt) -> None:
    assert start_at(message, "start") == rule


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"start": pb.Start()}, "start"),
        ({"start": None}, "start"),
        ({"on_out_of_range": 99}, "on_out_of_range"),
        ({"on_truncated": 99}, "on_truncated"),
    ],
    ids=["empty start", "no start", "out of range", "truncated"],
)
async def test_an_acquire_that_leaves_something_open_asks_nothing(
    served: Served, desk: Any, fields: dict[str, Any], field: str
) -> None:
    refused = await served.refused("Acquire", acquire(**fields))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert (refused.error.fields["field"], outcome_of(refused.error)) == (field, "NOT_DONE")
    assert desk.asked == []


async def test_release_gives_each_partition_back_under_its_own_epoch(served: Served, desk: Any) -> None:
    desk.answers["release"] = lambda topic, partition, *rest: (
        api.ReleasedOffset() if partition == 0 else Failure(Reason.NOT_LEADER, "", leader_node=2)
    )
    items = [pb.Release(partition=at(number), owner_epoch=10 + number) for number in range(2)]
    answer = await served.call("Release", pb.ReleaseRequest(group="g", session=9, partitions=items))
    assert desk.asked == [("release", "t", 0, "g", 9, 10, 1500), ("release", "t", 1, "g", 9, 11, 1500)]
    assert not answer.results[0].HasField("error")
    assert answer.results[1].error.leader.address == "two:7401"


# --- questions ------------------------------------------------------------------------------------------------


async def test_a_fetch_tells_stored_none_and_failed_apart(served: Served, desk: Any) -> None:
    found = [
        api.FetchedOffset(STORED, "w", 4, 2000),
        api.FetchedOffset(None, "", 0, 2001),
        api.FetchedOffset(PLAIN, "", 2, 2002),
        Failure(Reason.OFFSETS_EXPIRED, "expired"),
    ]
    desk.answers["fetch"] = lambda topic, partition, *rest: found[partition]
    answer = await served.call("Fetch", pb.FetchRequest(group="g", partitions=map(at, range(4))))
    first, none, zero, expired = answer.results
    assert first == pb.FetchResult(stored=MESSAGE, owner="w", owner_epoch=4, applied_index=2000)
    assert none == pb.FetchResult(none=True, applied_index=2001)
    assert (zero.WhichOneof("result"), zero.stored.offset) == ("stored", 0), "0 is an offset, not its absence"
    assert not zero.stored.HasField("fingerprint")
    assert reason_of(expired.error) == "OFFSETS_EXPIRED"


async def test_a_fetch_is_linearizable_unless_it_names_versions(served: Served, desk: Any) -> None:
    desk.answers["fetch"] = api.FetchedOffset(None, "", 0, 1)
    await served.call("Fetch", pb.FetchRequest(group="g", partitions=[at(0), at(1)]))
    await served.call("Fetch", pb.FetchRequest(group="g", partitions=[at(0), at(1)], min_versions=[5, 0]))
    assert [version for _, _, _, _, version, _ in desk.asked] == [0, 0, 5, 0]


async def test_versions_for_some_partitions_only_are_refused(served: Served, desk: Any) -> None:
    refused = await served.refused("Fetch", pb.FetchRequest(group="g", partitions=[at(0), at(1)], min_versions=[5]))
    assert (refused.reason, refused.error.fields["field"], desk.asked) == ("INVALID_REQUEST", "min_versions", [])


async def test_questions_without_an_answer_have_changed_nothing(served: Served) -> None:
    answer = await served.call("Fetch", pb.FetchRequest(group="g", partitions=[at(0)]), remaining=0.03)
    error = answer.results[0].error
    assert (reason_of(error), outcome_of(error)) == ("DEADLINE", "NOT_DONE")


COMMIT = Change(ChangeKind.COMMIT, 1207, 3, 1_700_000_000_000, 41, "w", 4, 9, 12, 1, "")


async def test_history_is_told_line_by_line(served: Served, desk: Any) -> None:
    taken = Change(ChangeKind.ACQUIRE, 1100, 3, 1_600_000_000_000, None, "w", 4, 9, 0, 1, "")
    undone = Change(ChangeKind.RESET, 1300, 3, 1_800_000_000_000, 0, "", 5, 0, 0, 2, "bad deploy")
    desk.answers["history"] = api.OffsetHistory((taken, COMMIT, undone), 900)
    answer = await served.call("History", pb.HistoryRequest(group="g", partition=at(1)))
    assert desk.asked == [("history", "t", 1, "g", 1500)]
    assert answer.forgotten_version == 900
    assert list(answer.entries) == [
        pb.HistoryEntry(
            kind=pb.CHANGE_KIND_ACQUIRE,
            version=1100,
            term=3,
            wall_ms=1_600_000_000_000,
            owner="w",
            owner_epoch=4,
            session=9,
            node_id=1,
        ),
        pb.HistoryEntry(
            kind=pb.CHANGE_KIND_COMMIT,
            version=1207,
            term=3,
            wall_ms=1_700_000_000_000,
            offset=41,
            owner="w",
            owner_epoch=4,
            session=9,
            sequence=12,
            node_id=1,
        ),
        pb.HistoryEntry(
            kind=pb.CHANGE_KIND_RESET,
            version=1300,
            term=3,
            wall_ms=1_800_000_000_000,
            offset=0,
            owner_epoch=5,
            node_id=2,
            reason="bad deploy",
        ),
    ]
    assert [entry.HasField("offset") for entry in answer.entries] == [False, True, True]


RECEIPT = pb.Receipt(group="g", topic="t", partition=1, offset=41, version=1207, term=3)


async def test_a_receipt_is_resolved(served: Served, desk: Any) -> None:
    desk.answers["resolve"] = FateKnown(Fate.SUPERSEDED, COMMIT, PLAIN)
    answer = await served.call("Resolve", pb.ResolveRequest(receipt=RECEIPT, timeout_ms=300))
    assert desk.asked == [("resolve", "t", 1, api.ReceiptAt("g", 41, 1207, 3), 300)]
    assert (answer.fate, answer.receipt, answer.stored.version) == (pb.FATE_SUPERSEDED, RECEIPT, 7)


async def test_an_attempt_that_never_happened_has_no_receipt(served: Served, desk: Any) -> None:
    desk.answers["resolve"] = FateKnown(Fate.NEVER_HAPPENED, None, None)
    attempt = pb.Attempt(group="g", topic="t", partition=1, owner_epoch=4, session=9, sequence=12)
    answer = await served.call("Resolve", pb.ResolveRequest(attempt=attempt))
    assert desk.asked == [("resolve", "t", 1, api.AttemptAt("g", 4, 9, 12), 1500)]
    assert answer.fate == pb.FATE_NEVER_HAPPENED
    assert not answer.HasField("receipt")
    assert not answer.HasField("stored")


async def test_resolving_nothing_is_refused(served: Served) -> None:
    refused = await served.refused("Resolve", pb.ResolveRequest())
    assert (refused.reason, refused.error.fields["field"]) == ("INVALID_REQUEST", "commit")


async def test_a_receipt_from_before_memory_is_a_typed_error(served: Served, desk: Any) -> None:
    desk.answers["resolve"] = Failure(Reason.UNKNOWN_RECEIPT, "forgotten")
    refused = await served.refused("Resolve", pb.ResolveRequest(receipt=RECEIPT))
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_RECEIPT")


def lag(group: str, topic: str, partition: int, committed: int | None = 7) -> api.GroupLag:
    return api.GroupLag(
        group=group,
        topic=topic,
        partition=partition,
        committed=committed,
        log_start=2,
        log_end=10,
        records=3,
        bytes=300,
        age_ms=1234,
        verdict=api.LagVerdict.STOPPED,
        owner="",
        committed_wall_ms=99,
    )


async def test_lag_without_partitions_is_that_of_all_led_here(served: Served, desk: Any) -> None:
    desk.led_here = [("u", 0), ("t", 1)]
    desk.answers["lag"] = lambda topic, partition, groups, timeout_ms: (
        lag("b", topic, partition),
        lag("a", topic, partition, None),
    )
    answer = await served.call("Lag", pb.LagRequest(groups=["a", "b"]))
    assert desk.asked == [("lag", "u", 0, ("a", "b"), 1500), ("lag", "t", 1, ("a", "b"), 1500)]
    assert [(entry.partition.topic, entry.partition.partition, entry.group) for entry in answer.lags] == [
        ("t", 1, "a"),
        ("t", 1, "b"),
        ("u", 0, "a"),
        ("u", 0, "b"),
    ]
    assert answer.lags[1] == pb.GroupLag(
        group="b",
        partition=at(1),
        committed=7,
        log_start=2,
        log_end=10,
        records=3,
        bytes=300,
        age_ms=1234,
        verdict=pb.VERDICT_STOPPED,
        committed_wall_ms=99,
    )
    assert not answer.lags[0].HasField("committed")


async def test_a_partition_that_cannot_be_asked_hides_no_other(served: Served, desk: Any) -> None:
    gone = Failure(Reason.NO_QUORUM, "alone")
    desk.answers["lag"] = lambda topic, partition, *rest: gone if partition else (lag("a", "t", 0),)
    answer = await served.call("Lag", pb.LagRequest(partitions=[at(0), at(1)]))
    assert [entry.group for entry in answer.lags] == ["a"]
    assert [(error.partition, reason_of(error.error)) for error in answer.errors] == [(at(1), "NO_QUORUM")]


# --- operators ------------------------------------------------------------------------------------------------

DONE = api.ResetOffset(STORED, PLAIN, 0, 50)


async def test_each_way_to_reset_reaches_the_node(served: Served, desk: Any) -> None:
    desk.answers["reset"] = DONE
    items = [
        pb.ResetItem(partition=at(0), position=pb.Start(from_end=3), expected_version=7),
        pb.ResetItem(partition=at(1), version=1100),
        pb.ResetItem(partition=at(2), restore=True),
    ]
    answer = await served.call("Reset", pb.ResetRequest(group="g", items=items, reason="why", force=True))

    def asked(to: api.ResetTo, expected_version: int = 0) -> api.ResetRequest:
        return api.ResetRequest("g", to, "why", expected_version, force=True, dry_run=False)

    assert [entry[3] for entry in desk.asked] == [
        asked(api.ResetTo(start=api.StartAt(api.StartRule.FROM_END, 3)), 7),
        asked(api.ResetTo(version=1100)),
        asked(api.ResetTo(restore=True)),
    ]
    assert answer.results[0] == pb.ResetResult(
        stored=MESSAGE,
        before=pb.StoredOffset(version=7, term=1, wall_ms=1_700_000_000_000),
        log_start=0,
        log_end=50,
    )


async def test_a_dry_run_is_passed_on_as_one(served: Served, desk: Any) -> None:
    desk.answers["reset"] = DONE
    item = pb.ResetItem(partition=at(0), position=pb.Start(earliest=True))
    await served.call("Reset", pb.ResetRequest(group="g", items=[item], reason="why", dry_run=True))
    assert desk.asked[0][3].dry_run


@pytest.mark.parametrize(("dry_run", "outcome"), [(False, "UNKNOWN"), (True, "NOT_DONE")])
async def test_a_late_reset_may_have_happened_unless_it_was_dry(
    served: Served, dry_run: bool, outcome: str
) -> None:
    item = pb.ResetItem(partition=at(0), position=pb.Start(earliest=True))
    request = pb.ResetRequest(group="g", items=[item], reason="why", dry_run=dry_run)
    answer = await served.call("Reset", request, remaining=0.03)
    assert outcome_of(answer.results[0].error) == outcome


async def test_a_reset_to_a_position_without_a_rule_refuses_only_itself(served: Served, desk: Any) -> None:
    desk.answers["reset"] = DONE
    items = [
        pb.ResetItem(partition=at(0), position=pb.Start()),
        pb.ResetItem(partition=at(0), position=pb.Start(offset=3)),
    ]
    answer = await served.call("Reset", pb.ResetRequest(group="g", items=items, reason="why"))
    error = answer.results[0].error
    assert (reason_of(error), error.fields["field"]) == ("INVALID_REQUEST", "position")
    assert answer.results[1].WhichOneof("result") == "stored"
    assert len(desk.asked) == 1


async def test_an_audit_and_what_a_replica_noted(served: Served, desk: Any) -> None:
    desk.answers["audit"] = api.AuditBegun(500, (1, 2, 3))
    begun = await served.call("Audit", pb.AuditRequest(partition=at(1)))
    assert (begun.index, list(begun.voters)) == (500, [1, 2, 3])
    group = api.InspectedGroup("g", STORED, "w", 4, api.Finding.EVICTED, "41 < 50")
    bare = api.InspectedGroup("h", None, "", 0, api.Finding.OK, "")
    desk.answers["inspect"] = api.Inspection(b"digest", (group, bare), 50, 90)
    found = await served.call("Inspect", pb.InspectRequest(partition=at(1), index=500))
    assert desk.asked == [("audit", "t", 1, 1500), ("inspect", "t", 1, 500, 1500)]
    assert found == pb.InspectResponse(
        node_id=2,
        digest=b"digest",
        groups=[
            pb.InspectedGroup(
                group="g",
                stored=MESSAGE,
                owner="w",
                owner_epoch=4,
                finding=pb.FINDING_EVICTED,
                explanation="41 < 50",
            ),
            pb.InspectedGroup(group="h", finding=pb.FINDING_OK),
        ],
        log_start=50,
        log_end=90,
    )


async def test_mark_and_forget_answer_partition_by_partition(served: Served, desk: Any) -> None:
    active = Failure(Reason.GROUP_ACTIVE, "in use", fields={"owner": "w"})
    desk.answers["mark"] = api.GroupMarked()
    desk.answers["forget"] = lambda topic, partition, *rest: api.GroupForgotten() if partition else active
    marked = await served.call(
        "Mark", pb.MarkRequest(group="g", partitions=[at(0), at(1)], critical=True, hold_bytes=1 << 30)
    )
    forgotten = await served.call("Forget", pb.ForgetRequest(group="g", partitions=[at(0), at(1)], force=True))
    assert desk.asked == [
        ("mark", "t", 0, "g", True, 1 << 30, 1500),
        ("mark", "t", 1, "g", True, 1 << 30, 1500),
        ("forget", "t", 0, "g", True, 1500),
        ("forget", "t", 1, "g", True, 1500),
    ]
    assert [result.HasField("error") for result in marked.results] == [False, False]
    assert [result.HasField("error") for result in forgotten.results] == [True, False]
    assert reason_of(forgotten.results[0].error) == "GROUP_ACTIVE"


def test_the_outcome_of_a_failure_is_the_nodes_own_word(served: Served) -> None:
    lost = Failure(Reason.NO_QUORUM, "unconfirmed", Outcome.UNKNOWN)
    assert outcome_of(served.shell.errors.message(lost)) == "UNKNOWN"
