"""Taking over on three nodes: who may, where the new owner begins, and what it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from replica.offset_trio import EARLIEST, LATEST, OffsetTrio
from replica.trio import batch

from quorumlog.machine.offset_commands import CommitItem
from quorumlog.machine.offset_results import ChangeKind
from quorumlog.replica import Failure, Outcome, Reason
from quorumlog.replica.offset_api import (
    AcquiredOffset,
    AcquireRequest,
    CommittedOffset,
    Fallback,
    ReleasedOffset,
    ResetOffset,
    ResetTo,
    StartAt,
    StartReason,
    StartRule,
)
from quorumlog.replica.offset_desk import acquire_fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.replica import Node


def release(trio: OffsetTrio, session: int = 7, epoch: int = 1) -> object:
    return trio.ask(trio.led(), lambda one, done: one.offsets.release("t", 0, "g", session, epoch, 0, done))[0]


def test_the_stored_offset_wins_over_every_start_rule() -> None:
    trio = OffsetTrio()
    trio.acquire()
    trio.commit(4, 1, fingerprint=trio.fingerprint(4))
    for session, start in enumerate(
        (EARLIEST, LATEST, StartAt(StartRule.OFFSET, 7), StartAt(StartRule.FROM_END, 1))
    ):
        taken = trio.acquire(session=100 + session, start=start)
        assert (taken.start_offset, taken.reason) == (4, StartReason.STORED)
        assert "stored 4" in taken.explanation
        assert (taken.log_start, taken.log_end) == (0, 10)


def test_the_first_position_is_stored_before_it_is_told() -> None:
    """A group that began at "latest" and crashed before its first commit does not jump over what came meanwhile."""
    trio = OffsetTrio(records=3)
    first = trio.acquire(session=7, start=LATEST)
    assert (first.start_offset, first.reason, first.stored) == (3, StartReason.RULE, None)
    trio.append(trio.led(), [b"came meanwhile"])
    trio.kill(trio.led())
    second = trio.acquire(session=8, start=LATEST)
    assert (second.start_offset, second.reason) == (3, StartReason.STORED)
    assert (ChangeKind.RESET, 3) in trio.history(), "and the history says where it came from"


def test_the_pin_is_refused_in_silence_when_something_is_stored_by_then() -> None:
    trio = OffsetTrio(records=5)
    leader = trio.led()
    trio.stalled = set(trio.ids) - {leader}
    slow = trio.acquiring(leader, session=7, start=LATEST)
    quick = trio.acquiring(leader, session=8, start=EARLIEST)
    for node in sorted(trio.stalled):
        trio.release(node)
    assert isinstance(quick[0], AcquiredOffset)
    assert isinstance(slow[0], AcquiredOffset)
    assert (quick[0].owner_epoch, slow[0].owner_epoch) == (2, 1)
    assert trio.stored() == quick[0].start_offset == 0, "the fenced one pinned nothing"
    assert trio.refused(5, 1, session=7, epoch=1).reason is Reason.FENCED


def test_a_start_by_time_and_by_age_is_found_in_the_log() -> None:
    trio = OffsetTrio(records=0)
    wall_ms = trio.clock.wall_ms()
    for number in range(5):
        trio.append_batch(trio.led(), batch([b"a", b"b"], time_ms=wall_ms - 50_000 + 10_000 * number))
    by_time = trio.acquire("a", start=StartAt(StartRule.TIMESTAMP_MS, wall_ms - 30_000))
    assert (by_time.start_offset, by_time.reason) == (4, StartReason.RULE)
    by_age = trio.acquire("b", start=StartAt(StartRule.AGE_MS, 25_000))
    assert by_age.start_offset == 6
    newest = trio.acquire("c", start=StartAt(StartRule.TIMESTAMP_MS, wall_ms + 1))
    assert newest.start_offset == 10
    assert "no record is that new" in newest.explanation


def test_the_same_session_renews_and_keeps_its_epoch() -> None:
    trio = OffsetTrio()
    assert trio.acquire().owner_epoch == 1
    trio.commit(4, 1)
    again = trio.acquire()
    assert (again.owner_epoch, again.start_offset, again.may_repeat) == (1, 4, 0)
    assert trio.commit(5, 2).offset == 5


def test_who_takes_over_learns_what_may_be_done_twice() -> None:
    trio = OffsetTrio(records=10)
    nobody = trio.acquire(session=7)
    assert (nobody.previous_owner, nobody.released, nobody.may_repeat) == ("", True, 0)
    trio.commit(4, 1)
    crashed = trio.acquire(session=8)
    assert (crashed.previous_owner, crashed.released, crashed.may_repeat) == ("owner-7", False, 6)
    assert release(trio, session=8, epoch=2) == ReleasedOffset()
    clean = trio.acquire(session=9)
    assert (clean.previous_owner, clean.released, clean.may_repeat) == ("owner-8", True, 0)
    assert release(trio, session=8, epoch=2) == ReleasedOffset(), "long since somebody else's: the same thing"
    assert trio.fetch().owner == "owner-9"


def test_an_exclusive_owner_is_protected_until_it_releases_or_its_lease_runs_out() -> None:
    trio = OffsetTrio()
    trio.acquire(session=7, exclusive=True, lease_ms=5_000)
    refused = trio.acquiring(trio.led(), session=8)[0]
    assert isinstance(refused, Failure)
    assert (refused.reason, refused.fields["owner"]) == (Reason.OWNED, "owner-7")
    trio.pass_time(4_000)
    trio.commit(1, 1)
    trio.pass_time(4_000)
    assert isinstance(trio.acquiring(trio.led(), session=8)[0], Failure), "its commit was a sign of life"
    trio.pass_time(2_000)
    assert trio.acquire(session=8).owner_epoch == 2


def test_an_older_generation_is_refused() -> None:
    trio = OffsetTrio()
    trio.acquire(session=7, generation=3)
    stale = trio.acquiring(trio.led(), session=8, generation=2)[0]
    assert isinstance(stale, Failure)
    assert (stale.reason, stale.fields["generation"]) == (Reason.STALE_GENERATION, "3")
    assert trio.acquire(session=8, generation=3).owner_epoch == 2


def test_a_forced_start_is_stored_as_a_reset_so_that_the_commits_that_follow_are_accepted() -> None:
    trio = OffsetTrio(records=10)
    trio.acquire()
    trio.commit(8, 1)
    forced = trio.acquire(session=8, start=EARLIEST, force_start=True)
    assert (forced.start_offset, forced.reason, forced.previous_owner) == (0, StartReason.FORCED, "owner-7")
    assert forced.stored is not None
    assert forced.stored.offset == 8
    assert trio.stored() == 0
    assert trio.commit(1, 1, session=8, epoch=forced.owner_epoch).offset == 1
    assert (ChangeKind.RESET, 0) in trio.history(), "going back is on record"
    forward = trio.acquire(session=9, start=LATEST, force_start=True)
    assert (forward.start_offset, forward.reason) == (10, StartReason.FORCED)
    assert trio.stored() == 1, "going forward is the first commit's affair"


def forced_back(trio: OffsetTrio, intrude: Callable[[Node], None]) -> object:
    """The answer to a forced start below what is stored; what ``intrude`` asks stands behind its Reset in the log,
    before its second Acquire."""

    def both(one: Node, done: Callable[[object], None]) -> None:
        forced = AcquireRequest("g", "owner-8", 8, EARLIEST, force_start=True)
        one.offsets.acquire("t", 0, forced, 0, done)
        one.offsets.audit("t", 0, 0, lambda _: intrude(one))

    (answer,) = trio.ask(trio.led(), both)
    return answer


def test_a_commit_that_comes_between_going_back_and_taking_over_again_is_gone_back_behind_too() -> None:
    trio = OffsetTrio(records=10)
    trio.acquire()
    trio.commit(8, 1)
    between: list[object] = []

    def intrude(one: Node) -> None:
        rival = AcquireRequest("g", "rival", 9, EARLIEST)
        one.offsets.acquire("t", 0, rival, 0, between.append)
        one.offsets.commit("t", 0, CommitItem("g", 5, 4, 9, 1), 0, between.append)

    forced = forced_back(trio, intrude)
    assert isinstance(forced, AcquiredOffset)
    assert [type(each) for each in between] == [AcquiredOffset, CommittedOffset], "the rival did get in between"
    assert (forced.start_offset, forced.previous_owner) == (0, "rival")
    assert trio.stored() == 0
    assert trio.commit(1, 1, session=8, epoch=forced.owner_epoch).offset == 1


def test_a_forced_start_that_is_refused_when_it_had_gone_back_does_not_say_that_nothing_happened() -> None:
    """Found by the simulator (consumers' seed 776): somebody else took a lease between Reset and Acquire."""
    trio = OffsetTrio(records=10)
    trio.acquire()
    trio.commit(8, 1)
    between: list[object] = []

    def intrude(one: Node) -> None:
        rival = AcquireRequest("g", "rival", 9, EARLIEST, exclusive=True, lease_ms=5_000)
        one.offsets.acquire("t", 0, rival, 0, between.append)

    refused = forced_back(trio, intrude)
    assert [type(each) for each in between] == [AcquiredOffset], "the rival did get in between"
    assert isinstance(refused, Failure)
    assert (refused.reason, refused.outcome) == (Reason.OWNED, Outcome.UNKNOWN)
    assert trio.stored() == 0, "it had gone back"


def retired(trio: OffsetTrio) -> int:
    """Has retention move the log's start; returns it."""
    trio.fill(120)
    trio.pass_time(11_000)
    start: int = trio.replica(trio.led(), trio.group()).start_offset
    assert start > 10
    return start


SMALL = {"segment_bytes": 1 << 16, "max_batch_bytes": 1 << 14, "retention_bytes": 1 << 17}


def test_a_stored_offset_that_retention_removed_is_refused_or_moved_as_the_policy_says() -> None:
    trio = OffsetTrio(topic=SMALL)
    trio.acquire()
    trio.commit(2, 1)
    start = retired(trio)
    failure = trio.acquiring(trio.led(), session=8)[0]
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.outcome) == (Reason.OFFSET_OUT_OF_RANGE, Outcome.NOT_DONE)
    assert (failure.fields["offset"], failure.fields["start_offset"]) == ("2", str(start))
    assert trio.fetch().owner == "", "who got no start owns nothing"
    earliest = trio.acquire(session=9, on_out_of_range=Fallback.EARLIEST)
    assert (earliest.start_offset, earliest.reason) == (start, StartReason.OUT_OF_RANGE)
    latest = trio.acquire(session=10, on_out_of_range=Fallback.LATEST)
    assert latest.start_offset == latest.log_end
    assert trio.commit(start + 1, 1, session=10, epoch=latest.owner_epoch).offset == start + 1


def test_exact_starts_outside_the_log_are_refused_and_relative_ones_stop_at_its_bounds() -> None:
    trio = OffsetTrio(records=10)
    failure = trio.acquiring(trio.led(), start=StartAt(StartRule.OFFSET, 11))[0]
    assert isinstance(failure, Failure)
    assert failure.reason is Reason.OFFSET_OUT_OF_RANGE
    clamped = trio.acquire(start=StartAt(StartRule.FROM_END, 99))
    assert clamped.start_offset == 0
    assert "clamped" in clamped.explanation


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("session", {"session": 0}),
        ("owner", {"owner": "x" * 250}),
        ("lease_ms", {"exclusive": True, "lease_ms": 0}),
        ("start", {"start": StartAt(StartRule.OFFSET, -1)}),
    ],
)
def test_bad_requests_are_refused_by_field(field: str, asked: dict[str, object]) -> None:
    fault = acquire_fault(AcquireRequest(**{"group": "g", "owner": "o", "session": 7, "start": EARLIEST, **asked}))  # type: ignore[arg-type]
    assert fault is not None
    assert (fault.reason, fault.fields) == (Reason.INVALID_REQUEST, {"field": field})


def test_a_record_under_the_fingerprint_that_changed_is_found_when_taking_over() -> None:
    """It cannot happen to what a quorum keeps, so the table is made to remember another record."""
    trio = OffsetTrio()
    trio.acquire()
    right = trio.fingerprint(4)
    trio.commit(4, 1)
    leader = trio.led()
    trio.remember(leader, fingerprint=right._replace(crc32c=right.crc32c ^ 1))
    failure = trio.acquiring(leader, session=8)[0]
    assert isinstance(failure, Failure)
    assert failure.reason is Reason.FINGERPRINT_MISMATCH
    moved = trio.acquire(session=9, on_truncated=Fallback.EARLIEST)
    assert (moved.start_offset, moved.reason) == (0, StartReason.TRUNCATED)
    assert trio.commit(1, 1, session=9, epoch=moved.owner_epoch).offset == 1


def test_a_retry_after_the_leader_died_gets_the_same_ownership() -> None:
    trio = OffsetTrio()
    trio.acquire(session=7, start=LATEST)
    trio.kill(trio.led())
    again = trio.acquire(session=7, start=LATEST)
    assert (again.owner_epoch, again.start_offset) == (1, 10)
    assert not isinstance(trio.resetting(ResetTo(EARLIEST), force=True), Failure)
    assert isinstance(trio.resetting(ResetTo(EARLIEST)), ResetOffset)
