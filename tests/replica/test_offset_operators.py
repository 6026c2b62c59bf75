"""What operators do to committed offsets, on three nodes: reset, mark, forget; and what time does: expiry, holds,
checkpoints."""

from __future__ import annotations

from typing import Any

from replica.offset_trio import EARLIEST, LATEST, OffsetTrio

from quorumlog.machine.offset_results import ChangeKind
from quorumlog.replica import Failure, Reason
from quorumlog.replica.events import CheckpointInstalled, CheckpointSaved, GroupExpired, GroupExpiring
from quorumlog.replica.offset_api import (
    GroupForgotten,
    GroupMarked,
    ResetOffset,
    ResetTo,
    StartAt,
    StartRule,
)

SMALL = {"segment_bytes": 1 << 16, "max_batch_bytes": 1 << 14}
DAY_MS = 24 * 3_600_000


def idle(trio: OffsetTrio) -> None:
    """The owner gives back, as a consumer does that is stopped before its group is reset."""
    trio.ask(trio.led(), lambda one, done: one.offsets.release("t", 0, "g", 7, 1, 0, done))


def reason_of(answer: object) -> Reason:
    assert isinstance(answer, Failure), answer
    return answer.reason


# --- reset ----------------------------------------------------------------------------------------------------


def test_a_reset_moves_the_offset_either_way_and_is_on_record() -> None:
    trio = OffsetTrio()
    trio.acquire()
    trio.commit(6, 1)
    idle(trio)
    back = trio.resetting(ResetTo(StartAt(StartRule.OFFSET, 2)), reason="once more from two")
    assert isinstance(back, ResetOffset)
    assert back.before is not None
    assert (back.stored.offset, back.before.offset, back.log_start, back.log_end) == (2, 6, 0, 10)
    assert trio.stored() == 2
    assert (ChangeKind.RESET, 2) in trio.history()
    forward = trio.resetting(ResetTo(LATEST))
    assert isinstance(forward, ResetOffset)
    assert forward.stored.offset == 10


def test_a_reset_of_an_active_group_needs_force_and_fences_the_owner() -> None:
    trio = OffsetTrio()
    trio.acquire()
    trio.commit(6, 1)
    assert reason_of(trio.resetting(ResetTo(EARLIEST))) is Reason.GROUP_ACTIVE
    assert trio.stored() == 6
    assert isinstance(trio.resetting(ResetTo(EARLIEST), force=True), ResetOffset)
    assert trio.refused(7, 2).reason is Reason.FENCED
    assert trio.stored() == 0


def test_a_reset_with_the_wrong_expected_version_changes_nothing() -> None:
    trio = OffsetTrio()
    trio.acquire()
    receipt = trio.commit(6, 1)
    idle(trio)
    wrong = trio.resetting(ResetTo(EARLIEST), expected_version=receipt.version - 1)
    assert reason_of(wrong) is Reason.VERSION_MISMATCH
    assert isinstance(wrong, Failure)
    assert wrong.fields == {"expected_version": str(receipt.version - 1), "version": str(receipt.version)}
    assert trio.stored() == 6
    assert isinstance(trio.resetting(ResetTo(EARLIEST), expected_version=receipt.version), ResetOffset)


def test_a_dry_run_says_the_same_and_changes_nothing() -> None:
    trio = OffsetTrio()
    trio.acquire()
    receipt = trio.commit(6, 1)
    before = (trio.machine(trio.led()).applied_index, trio.machine(trio.led()).digest)
    wishes: list[tuple[ResetTo, dict[str, Any]]] = [
        (ResetTo(EARLIEST), {"force": True}),
        (ResetTo(EARLIEST), {}),
        (ResetTo(EARLIEST), {"force": True, "expected_version": receipt.version + 1}),
        (ResetTo(StartAt(StartRule.OFFSET, 11)), {"force": True}),
        (ResetTo(version=999), {"force": True}),
        (ResetTo(restore=True), {"force": True}),
    ]
    dry = [trio.resetting(to, dry_run=True, **asked) for to, asked in wishes]
    assert (trio.machine(trio.led()).applied_index, trio.machine(trio.led()).digest) == before
    assert trio.stored() == 6
    wet = [trio.resetting(to, **asked) for to, asked in reversed(wishes)][::-1]
    for said, done in zip(dry, wet, strict=True):
        if isinstance(said, Failure):
            assert isinstance(done, Failure)
            assert (said.reason, said.fields) == (done.reason, done.fields)
        else:
            assert isinstance(done, ResetOffset)
            assert (said.stored.offset, said.before) == (done.stored.offset, done.before)
    assert [type(said) for said in dry].count(ResetOffset) == 1


def test_a_reset_to_an_earlier_version_undoes_what_came_later() -> None:
    trio = OffsetTrio()
    trio.acquire()
    good = trio.commit(3, 1)
    trio.commit(9, 2)
    idle(trio)
    undone = trio.resetting(ResetTo(version=good.version), reason="undo")
    assert isinstance(undone, ResetOffset)
    assert undone.stored.offset == 3
    assert reason_of(trio.resetting(ResetTo(version=good.version + 500))) is Reason.UNKNOWN_RECEIPT


def test_bad_resets_are_refused_by_name() -> None:
    trio = OffsetTrio()
    trio.acquire()
    idle(trio)
    assert reason_of(trio.resetting(ResetTo(EARLIEST), reason="")) is Reason.INVALID_REQUEST
    assert reason_of(trio.resetting(ResetTo(EARLIEST), reason="x" * 1_025)) is Reason.INVALID_REQUEST
    assert reason_of(trio.resetting(ResetTo())) is Reason.INVALID_REQUEST
    assert reason_of(trio.resetting(ResetTo(EARLIEST, version=3))) is Reason.INVALID_REQUEST
    assert reason_of(trio.resetting(ResetTo(StartAt(StartRule.OFFSET, 11)))) is Reason.OFFSET_OUT_OF_RANGE
    assert reason_of(trio.resetting(ResetTo(restore=True))) is Reason.UNKNOWN_GROUP, "it has no tombstone"
    assert reason_of(trio.resetting(ResetTo(EARLIEST), group="no such\n")) is Reason.INVALID_GROUP
    assert reason_of(trio.resetting(ResetTo(EARLIEST), group="new", expected_version=3)) is Reason.UNKNOWN_GROUP
    assert isinstance(trio.resetting(ResetTo(EARLIEST), group="new"), ResetOffset), "a group may begin with a reset"


# --- history, forget ------------------------------------------------------------------------------------------


def test_the_history_tells_who_did_what_and_an_unknown_group_is_an_error_of_its_own() -> None:
    trio = OffsetTrio()
    trio.acquire()
    trio.commit(4, 1)
    idle(trio)
    answer = trio.ask(trio.follower(), lambda one, done: one.offsets.history("t", 0, "g", 0, done))[0]
    kinds = [change.kind for change in answer.changes]
    assert kinds == [ChangeKind.ACQUIRE, ChangeKind.RESET, ChangeKind.COMMIT, ChangeKind.RELEASE]
    commit = answer.changes[2]
    assert (commit.owner, commit.owner_epoch, commit.session, commit.sequence) == ("owner-7", 1, 7, 1)
    assert commit.node_id == trio.led()
    assert abs(commit.wall_ms - trio.clock.wall_ms()) < 10_000
    unknown = trio.ask(trio.led(), lambda one, done: one.offsets.history("t", 0, "nobody", 0, done))[0]
    assert reason_of(unknown) is Reason.UNKNOWN_GROUP


def test_forgetting_an_owned_group_needs_force_and_leaves_nothing_but_the_fence() -> None:
    trio = OffsetTrio()
    trio.acquire()
    trio.commit(4, 1)

    def forget(force: bool) -> object:
        return trio.ask(trio.led(), lambda one, done: one.offsets.forget("t", 0, "g", force, 0, done))[0]

    assert reason_of(forget(False)) is Reason.GROUP_ACTIVE
    assert forget(True) == GroupForgotten()
    assert trio.fetch().stored is None
    assert trio.refused(5, 2).reason is Reason.NOT_OWNER
    assert trio.acquire(session=8).owner_epoch == 2, "epochs go on: the forgotten owner stays fenced"
    assert trio.refused(5, 2).reason is Reason.FENCED
    assert forget(True) == GroupForgotten()
    assert forget(False) == GroupForgotten()


# --- expiry ---------------------------------------------------------------------------------------------------


def expiring(days: int = 10, **settings: Any) -> OffsetTrio:
    """A partition whose unused offsets last ``days`` and tombstones as long; the group is idle."""
    trio = OffsetTrio(offsets_retention_ms=days * DAY_MS, tombstones_retention_ms=days * DAY_MS, **settings)
    trio.acquire()
    trio.commit(6, 1)
    idle(trio)
    return trio


def days_pass(trio: OffsetTrio, days: float) -> None:
    """Nobody was watching; then the nodes look around for a while."""
    trio.clock.wall_ms_ahead += int(days * DAY_MS)
    trio.pass_time(66_000)


def told(trio: OffsetTrio, kind: type) -> list[Any]:
    return [event for node in trio.ids for event in trio.events[node] if isinstance(event, kind)]


def test_an_unused_offset_warns_once_expires_into_a_tombstone_and_can_be_restored() -> None:
    trio = expiring(days=10)
    days_pass(trio, 7)
    assert told(trio, GroupExpiring) == []
    days_pass(trio, 1.5)
    trio.pass_time(66_000)
    (warning,) = told(trio, GroupExpiring)
    assert (warning.group, warning.offset, warning.partition) == ("g", 6, "t/0")
    assert 1 * DAY_MS < warning.left_ms < 2 * DAY_MS
    assert trio.stored() == 6
    days_pass(trio, 2)
    assert [event.group for event in told(trio, GroupExpired)] == ["g"]
    for answer in (trio.fetching(trio.led())[0], trio.acquiring(trio.led(), session=8)[0], trio.refused(7, 2)):
        assert reason_of(answer) is Reason.OFFSETS_EXPIRED
        assert answer.fields["offset"] == "6"
    assert isinstance(trio.resetting(ResetTo(restore=True)), ResetOffset)
    assert trio.acquire(session=8).start_offset == 6
    assert trio.history()[-2:] == [(ChangeKind.RESTORE, 6), (ChangeKind.ACQUIRE, 6)]


def test_a_tombstone_goes_in_its_time_and_the_group_is_new_again() -> None:
    trio = expiring(days=10)
    days_pass(trio, 11)
    days_pass(trio, 11)
    assert trio.fetch().stored is None
    assert trio.acquire(session=8, start=EARLIEST).start_offset == 0


def test_a_group_whose_owner_reads_and_has_nothing_to_commit_does_not_expire() -> None:
    trio = expiring(days=10)
    acquired = trio.acquire(session=7)

    def read() -> None:
        owner = ("g", acquired.owner_epoch)
        trio.ask(trio.led(), lambda node, done: node.read("t", 0, 6, 1000, 0, done, owner))

    for _ in range(15):
        read()
        days_pass(trio, 1)
    assert told(trio, GroupExpired) == told(trio, GroupExpiring) == []
    assert trio.stored() == 6
    days_pass(trio, 11)
    assert [event.group for event in told(trio, GroupExpired)] == ["g"]


def test_only_a_critical_group_may_hold_retention_back() -> None:
    trio = expiring()
    answer = trio.ask(trio.led(), lambda one, done: one.offsets.mark("t", 0, "g", False, 1000, 0, done))[0]
    assert reason_of(answer) is Reason.INVALID_REQUEST
    assert answer.fields == {"field": "hold_bytes"}


def test_a_group_in_use_or_marked_critical_does_not_expire() -> None:
    trio = expiring(days=10)
    trio.acquire("busy", session=9)
    trio.ask(trio.led(), lambda one, done: one.offsets.mark("t", 0, "g", True, 0, 0, done))
    for day in range(12):
        days_pass(trio, 1)
        trio.commit(day % 10, day + 1, group="busy", session=9) if day < 10 else None
    assert told(trio, GroupExpired) == told(trio, GroupExpiring) == []
    assert trio.stored() == 6


# --- retention ------------------------------------------------------------------------------------------------


def held(hold_bytes: int) -> tuple[OffsetTrio, int]:
    """A partition that wants to keep 128 KiB, and a critical group far behind; its start after retention."""
    trio = OffsetTrio(topic={**SMALL, "retention_bytes": 1 << 17})
    trio.acquire()
    trio.commit(5, 1)
    answers = trio.ask(trio.led(), lambda one, done: one.offsets.mark("t", 0, "g", True, hold_bytes, 0, done))
    assert answers == [GroupMarked()]
    trio.fill(150)
    trio.pass_time(11_000)
    return trio, trio.machine(trio.led()).start_offset


def test_a_critical_group_holds_retention_back_and_lets_go_when_it_has_caught_up() -> None:
    trio, start = held(1 << 30)
    assert start <= 5
    trio.commit(trio.machine(trio.led()).end_offset, 2)
    trio.pass_time(11_000)
    assert trio.machine(trio.led()).start_offset > 50


def test_a_hold_is_bounded_in_bytes() -> None:
    _, unheld = held(0)
    trio, start = held(3 << 16)
    assert 5 < start < unheld
    kept = sum(4_000 for _ in range(start, unheld))
    assert 1 << 16 < kept <= 3 << 16, "the segments that are kept beyond what retention would keep"
    assert trio.acquiring(trio.led(), session=8)[0].reason is Reason.OFFSET_OUT_OF_RANGE


# --- checkpoints ----------------------------------------------------------------------------------------------


def test_offsets_survive_in_checkpoints_when_all_nodes_restart() -> None:
    trio = OffsetTrio(topic=SMALL)
    trio.acquire()
    receipt = trio.commit(6, 1, metadata=b"note")
    trio.fill(60)
    assert any(isinstance(event, CheckpointSaved) for event in trio.events[trio.led()])
    for node in trio.ids:
        trio.kill(node)
    for node in trio.ids:
        trio.start(node)
    trio.until(lambda: trio.leader(1) is not None)
    trio.pass_time(500)
    for node in trio.ids:
        fetched = trio.fetch(node)
        assert fetched.stored is not None
        assert (fetched.stored.offset, fetched.stored.version) == (6, receipt.version)
        assert fetched.stored.metadata == b"note"
    again = trio.commit(6, 1)
    assert (again.version, again.duplicate) == (receipt.version, True)
    assert trio.commit(8, 2).offset == 8


def test_a_follower_that_was_away_too_long_gets_the_offsets_with_its_checkpoint() -> None:
    trio = OffsetTrio(topic={**SMALL, "retention_bytes": 1 << 17})
    trio.acquire()
    trio.commit(6, 1)
    away = trio.follower()
    trio.kill(away)
    trio.fill(120)
    trio.pass_time(11_000)
    receipt = trio.commit(100, 2)
    trio.start(away)
    group = trio.group()
    trio.until(lambda: trio.replica(away, group).applied_index >= receipt.version)
    assert any(isinstance(event, CheckpointInstalled) and event.group_id == group for event in trio.events[away])
    assert trio.stored(away) == 100
    assert trio.machine(away).offsets.digest() == trio.machine(trio.led()).offsets.digest()
