"""Operators' commands: the offset moved, pinned, expired, restored, marked and forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from machine.offset_kit import NODE, PRINT, Partition, acquired, committed, owned

from quorumlog.machine import Hold, Place, Tenure
from quorumlog.machine.offset_commands import Reset
from quorumlog.machine.offset_memory import REMEMBERED_LANDMARKS
from quorumlog.machine.offset_results import (
    Change,
    ChangeKind,
    Expired,
    Fenced,
    Forgotten,
    GroupActive,
    Marked,
    NotExpired,
    NotOwner,
    OutOfRange,
    StillUsed,
    Stored,
    TombstoneGone,
    TombstoneMade,
    UnknownGroup,
    VersionMismatch,
    WasReset,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def released(offset: int = 50) -> Partition:
    """A partition of 100 records whose only group stands at ``offset`` and has no owner."""
    partition = owned()
    committed(partition.commit(offset))
    partition.release()
    return partition


def expired(offset: int = 50) -> Partition:
    """The same, expired at 2000."""
    partition = released(offset)
    partition.wall_ms = 2_000
    assert isinstance(partition.expire(1_500), TombstoneMade)
    return partition


# --- reset ----------------------------------------------------------------------------------------------------


def test_a_reset_moves_the_offset_back_and_forth() -> None:
    partition = released(50)
    before = partition.group().stored
    back = partition.reset(10)
    after = Stored(10, partition.version, 4, 1_000, PRINT, b"")
    assert back == WasReset(after, before)
    assert isinstance(partition.reset(90), WasReset)
    stored = partition.group().stored
    assert stored is not None
    assert stored.offset == 90


def test_a_reset_is_in_the_history_with_its_reason() -> None:
    partition = released(50)
    partition.reset(10, reason="poison record")
    assert partition.group().memory.landmarks[-1] == Change(
        ChangeKind.RESET, partition.version, 4, 1_000, 10, "", 1, 0, 0, NODE, "poison record"
    )


def test_a_reset_of_a_group_that_nobody_knows_stores_its_first_offset() -> None:
    partition = Partition(100)
    result = partition.reset(30)
    assert isinstance(result, WasReset)
    assert (result.stored.offset, result.before) == (30, None)


def test_a_reset_must_lead_into_the_log() -> None:
    partition = released(50)
    partition.retain(20)
    assert partition.reset(19) == OutOfRange(19, 20, 100)
    assert partition.reset(101) == OutOfRange(101, 20, 100)
    assert isinstance(partition.reset(20), WasReset)
    assert isinstance(partition.reset(100), WasReset)
    assert partition.reset(101, group="new") == OutOfRange(101, 20, 100)
    assert partition.machine.offsets.names() == ["g"]


def test_a_reset_may_expect_a_version() -> None:
    partition = released(50)
    version = partition.group().version
    assert partition.reset(10, expected_version=version + 1) == VersionMismatch(version + 1, version)
    assert isinstance(partition.reset(10, expected_version=version), WasReset)
    assert partition.reset(11, expected_version=version) == VersionMismatch(version, partition.group().version)
    assert partition.reset(11, group="unknown", expected_version=3) == UnknownGroup("unknown")


def test_a_group_with_an_owner_is_reset_only_by_force() -> None:
    partition = owned()
    committed(partition.commit(50))
    assert partition.reset(10) == GroupActive("consumer-1")
    assert isinstance(partition.reset(10, force=True), WasReset)


def test_a_forced_reset_fences_the_owner() -> None:
    partition = owned()
    committed(partition.commit(50))
    partition.reset(10, force=True)
    assert partition.commit(51, sequence=2) == Fenced(1, 2, "")
    assert partition.commit(51, epoch=2, sequence=2) == NotOwner("g")
    result = acquired(partition.acquire(session=1))
    assert (result.owner_epoch, result.previous_owner, result.released) == (3, "consumer-1", False)


def test_a_forced_reset_of_a_group_without_an_owner_fences_nobody() -> None:
    partition = released()
    partition.reset(10, force=True)
    assert partition.group().owner_epoch == 1
    assert acquired(partition.acquire(session=2)).released


def test_a_dry_run_finds_what_the_reset_will_and_changes_nothing() -> None:
    partition = released(50)
    offsets, place = partition.machine.offsets, Place(partition.version + 1, 4, 0, 100)
    before = partition.machine.snapshot()
    for offset, group in ((10, "g"), (101, "g"), (10, "new"), (101, "new")):
        command = Reset(1_000, NODE, group, offset, 0, False, "why", PRINT)
        fault = offsets.reset_fault(command, place)
        outcome = None if fault is not None else offsets.reset_outcome(command, place)
        assert partition.machine.snapshot() == before
        trial = Partition()
        trial.machine.restore(before)
        trial.log.entries = list(partition.log.entries)
        result = trial(command)
        assert result == fault if fault is not None else isinstance(result, WasReset) and result.stored == outcome


# --- pinning the first position -------------------------------------------------------------------------------


def test_the_owner_pins_the_first_position() -> None:
    partition = owned()
    result = partition.pin(30)
    assert isinstance(result, WasReset)
    assert (result.stored.offset, result.before) == (30, None)
    assert partition.group().memory.landmarks[-1] == Change(
        ChangeKind.RESET, partition.version, 4, 1_000, 30, "consumer-1", 1, 1, 0, NODE, "start"
    )


def test_a_pin_leaves_the_owner_its_partition() -> None:
    partition = owned()
    partition.pin(30)
    committed(partition.commit(31))


def test_a_pin_gives_way_to_whatever_is_stored_by_then() -> None:
    partition = owned()
    committed(partition.commit(5))
    assert partition.pin(30) == VersionMismatch(0, partition.version - 1)
    stored = partition.group().stored
    assert stored is not None
    assert stored.offset == 5


def test_only_the_owner_pins() -> None:
    partition = owned()
    partition.acquire(session=2)
    assert partition.pin(30, epoch=1) == Fenced(1, 2, "consumer-2")
    assert partition.pin(30, epoch=3) == NotOwner("g")
    partition.release(session=2, epoch=2)
    assert partition.pin(30, epoch=2) == NotOwner("g")
    assert partition.pin(30, group="unknown") == UnknownGroup("unknown")
    assert partition.group().stored is None


def test_a_pin_leads_into_the_log_as_it_is_then() -> None:
    partition = owned()
    partition.retain(40)
    assert partition.pin(30) == OutOfRange(30, 40, 100)


def test_a_tombstone_is_not_pinned() -> None:
    assert isinstance(expired().pin(30), Expired)


# --- expiry ---------------------------------------------------------------------------------------------------


def test_an_unused_offset_becomes_a_tombstone_that_still_has_it() -> None:
    partition = released(50)
    stored = partition.group().stored
    assert stored is not None
    partition.wall_ms = 2_000
    assert partition.expire(1_500) == TombstoneMade(stored)
    group = partition.group()
    assert (group.tombstone, group.stored, group.live) == (True, stored, None)
    assert group.memory.landmarks[-1] == Change(
        ChangeKind.EXPIRE, partition.version, 4, 2_000, None, "", 1, 0, 0, NODE, ""
    )


def test_what_was_used_since_does_not_expire() -> None:
    partition = released(50)
    assert partition.expire(999) == StillUsed()
    assert isinstance(partition.expire(1_000), TombstoneMade)


@pytest.mark.parametrize(
    "use",
    [
        lambda partition: partition.commit(50),
        lambda partition: partition.acquire(),
        lambda partition: partition.acquire(session=2),
        lambda partition: partition.release(),
        lambda partition: partition.pin(1),
        lambda partition: partition.reset(10, force=True),
    ],
    ids=["commit", "renewal", "take-over", "release", "pin", "reset"],
)
def test_every_sign_of_an_owner_and_every_reset_is_a_use(use: Callable[[Partition], object]) -> None:
    partition = owned()
    partition.wall_ms += 1_000
    use(partition)
    assert partition.expire(partition.wall_ms - 1) == StillUsed()
    assert isinstance(partition.expire(partition.wall_ms), TombstoneMade | TombstoneGone)


def test_a_leader_with_a_slow_clock_does_not_make_a_group_look_unused() -> None:
    partition = released(50)
    partition.wall_ms = 9_000
    partition.reset(10)
    partition.wall_ms = 500
    partition.reset(20)
    assert partition.expire(8_999) == StillUsed()


def test_a_critical_group_never_expires() -> None:
    partition = released(50)
    partition.mark(critical=True)
    assert partition.expire(99_999) == StillUsed()
    partition.mark(critical=False)
    assert isinstance(partition.expire(99_999), TombstoneMade)


def test_an_owner_that_gave_no_sign_loses_what_expires() -> None:
    partition = owned()
    committed(partition.commit(50))
    partition.expire(1_000)
    assert (partition.group().owner, partition.group().tenure) == ("", Tenure.REVOKED)


def test_a_tombstone_goes_when_its_own_time_is_over() -> None:
    partition = expired()
    assert partition.expire(1_999) == StillUsed()
    assert partition.expire(2_000) == TombstoneGone()
    assert partition.machine.offsets.get("g") is None
    assert partition.expire(2_000) == UnknownGroup("g")


def test_a_group_with_nothing_stored_leaves_no_tombstone() -> None:
    partition = owned()
    assert partition.expire(1_000) == TombstoneGone()
    assert len(partition.machine.offsets) == 0


def test_what_is_due_to_expire_is_what_expires() -> None:
    partition = Partition(10)
    for number, group in enumerate("cab"):
        partition.wall_ms = 1_000 + number
        partition.reset(1, group=group)
    partition.mark(group="b")
    assert partition.machine.offsets.due_to_expire(999) == []
    assert partition.machine.offsets.due_to_expire(1_000) == ["c"]
    assert partition.machine.offsets.due_to_expire(9_999) == ["a", "c"]
    for group in "ac":
        assert isinstance(partition.expire(9_999, group=group), TombstoneMade)
    assert partition.machine.offsets.due_to_expire(1_001) == []
    assert partition.machine.offsets.due_to_expire(1_002) == ["a", "c"]


# --- and back -------------------------------------------------------------------------------------------------


def test_a_tombstone_is_restored_as_it_was_under_a_new_version() -> None:
    partition = owned()
    committed(partition.commit(50, metadata=b"note"))
    partition.expire(1_000)
    before = partition.group().stored
    assert before is not None
    partition.wall_ms = 3_000
    result = partition.restore()
    assert result == WasReset(Stored(50, partition.version, 4, 3_000, PRINT, b"note"), before)
    assert partition.group().memory.landmarks[-1].kind is ChangeKind.RESTORE
    assert acquired(partition.acquire(session=2)).stored == partition.group().stored


def test_a_restored_offset_may_lie_below_the_log_by_now() -> None:
    partition = expired(50)
    partition.retain(60)
    assert isinstance(partition.restore(), WasReset)


def test_the_owner_of_an_expired_offset_does_not_come_back_with_it() -> None:
    partition = owned()
    committed(partition.commit(50))
    partition.expire(1_000)
    partition.restore()
    assert partition.commit(51, sequence=2) == NotOwner("g")
    assert not acquired(partition.acquire(session=2)).released


def test_only_a_tombstone_is_restored() -> None:
    assert released().restore() == NotExpired("g")
    assert Partition(10).restore() == UnknownGroup("g")
    assert expired().restore(expected_version=1) == VersionMismatch(1, 3)


def test_a_reset_makes_a_tombstone_live_again_elsewhere() -> None:
    partition = expired(50)
    assert isinstance(partition.reset(10), WasReset)
    live = partition.group().live
    assert live is not None
    assert live.offset == 10


# --- marks, and forgetting ------------------------------------------------------------------------------------


def test_critical_groups_with_a_bound_hold_from_the_lowest_offset_within_the_largest_bound() -> None:
    partition = Partition(100)
    offsets = partition.machine.offsets
    for group, offset in (("a", 30), ("b", 20), ("c", 10), ("d", 5)):
        partition.reset(offset, group=group)
    assert offsets.hold() is None
    partition.mark(hold_bytes=1_000, group="a")
    partition.mark(hold_bytes=500, group="b")
    partition.mark(hold_bytes=0, group="c")
    partition.mark(critical=False, hold_bytes=9_000, group="d")
    partition.mark(hold_bytes=9_000, group="nothing-stored")
    assert offsets.hold() == Hold(20, 1_000)


def test_a_hold_does_not_stop_the_log_from_being_cut() -> None:
    partition = released(10)
    partition.mark(hold_bytes=1 << 40)
    partition.retain(60)
    assert partition.machine.start_offset == 60
    assert partition.machine.offsets.hold() == Hold(10, 1 << 40)


def test_to_unmark_a_group_that_nobody_knows_makes_none() -> None:
    partition = Partition()
    assert partition.mark(critical=False) == Marked()
    assert len(partition.machine.offsets) == 0


def test_forgetting_leaves_nothing_and_forgetting_again_is_fine() -> None:
    partition = released()
    assert partition.forget() == Forgotten()
    assert partition.machine.offsets.get("g") is None
    assert partition.forget() == Forgotten()


def test_a_group_with_an_owner_is_forgotten_only_by_force() -> None:
    partition = owned()
    assert partition.forget() == GroupActive("consumer-1")
    assert partition.forget(force=True) == Forgotten()


def test_landmarks_are_bounded_and_a_forgotten_reset_is_a_forgotten_version() -> None:
    partition = Partition(100)
    partition.reset(10)
    reset = partition.version
    for session in range(1, REMEMBERED_LANDMARKS + 1):
        assert partition.group().forgotten_version == 0
        partition.acquire(session=session)
    assert len(partition.group().memory.landmarks) == REMEMBERED_LANDMARKS
    assert partition.group().forgotten_version == reset
