"""Who owns (group, partition): epochs that never come twice, leases that end, generations that do not go back."""

from __future__ import annotations

from machine.offset_kit import NODE, Partition, acquired, committed, owned

from quorumlog.machine import Tenure
from quorumlog.machine.offset_results import (
    Acquired,
    Change,
    ChangeKind,
    Expired,
    Fenced,
    NotOwner,
    Owned,
    Released,
    StaleGeneration,
    StillUsed,
    TombstoneMade,
    TooManyGroups,
    Touched,
)


def test_the_first_owner_finds_nothing_stored_and_nobody_before_it() -> None:
    partition = Partition(10)
    partition.retain(4)
    assert partition.acquire() == Acquired(
        owner_epoch=1,
        stored=None,
        start_offset=4,
        end_offset=10,
        previous_owner="",
        released=True,
        renewed=False,
    )
    assert partition.group().owner == "consumer-1"


def test_a_later_owner_gets_the_next_epoch_and_what_is_stored() -> None:
    partition = owned()
    committed(partition.commit(5))
    stored = partition.group().stored
    assert partition.acquire(session=2) == Acquired(2, stored, 0, 100, "consumer-1", False, False)


def test_whoever_takes_over_from_one_that_gave_back_has_nothing_to_fear() -> None:
    partition = owned()
    partition.release()
    result = acquired(partition.acquire(session=2))
    assert (result.owner_epoch, result.previous_owner, result.released) == (2, "consumer-1", True)


def test_acquiring_again_with_the_same_session_renews_and_answers_as_before() -> None:
    partition = owned()
    partition.acquire(session=2)
    again = acquired(partition.acquire(session=2))
    assert (again.owner_epoch, again.renewed) == (2, True)
    assert (again.previous_owner, again.released) == ("consumer-1", False)


def test_a_renewal_takes_nothing_back_that_was_committed() -> None:
    partition = owned()
    committed(partition.commit(5))
    partition.acquire()
    assert committed(partition.commit(5)).duplicate
    committed(partition.commit(6, sequence=2))


def test_renewals_leave_no_trace_in_the_history() -> None:
    partition = owned()
    for _ in range(100):
        partition.acquire()
    assert [change.kind for change in partition.group().memory.landmarks] == [ChangeKind.ACQUIRE]


def test_a_session_that_released_does_not_renew_but_begins_anew() -> None:
    partition = owned()
    partition.release()
    result = acquired(partition.acquire())
    assert (result.owner_epoch, result.renewed, result.released) == (2, False, True)
    assert partition.commit(5, epoch=1) == Fenced(1, 2, "consumer-1")


def test_a_tenure_is_in_the_history_with_what_it_found() -> None:
    partition = owned()
    committed(partition.commit(5))
    partition.release()
    release, acquire = partition.version, partition.version + 1
    partition.acquire(session=2)
    assert list(partition.group().memory.landmarks)[1:] == [
        Change(ChangeKind.RELEASE, release, 4, 1_000, 5, "consumer-1", 1, 1, 0, NODE, ""),
        Change(ChangeKind.ACQUIRE, acquire, 4, 1_000, 5, "consumer-2", 2, 2, 0, NODE, ""),
    ]


def test_releasing_what_another_owns_by_now_changes_nothing() -> None:
    partition = owned()
    partition.acquire(session=2)
    assert partition.release(session=1, epoch=1) == Released()
    assert partition.release(session=2, epoch=1) == Released()
    assert partition.release(session=1, epoch=2) == Released()
    assert partition.group().owner == "consumer-2"
    assert partition.release(group="unknown") == Released()
    assert partition.machine.offsets.names() == ["g"]


def test_releasing_twice_is_releasing_once() -> None:
    partition = owned()
    partition.release()
    landmarks = list(partition.group().memory.landmarks)
    assert partition.release() == Released()
    assert list(partition.group().memory.landmarks) == landmarks


# --- generations ----------------------------------------------------------------------------------------------


def test_a_member_of_an_earlier_generation_may_not_take_over() -> None:
    partition = Partition(10)
    partition.acquire(session=1, generation=5)
    assert partition.acquire(session=2, generation=4) == StaleGeneration(4, 5)
    assert partition.group().owner == "consumer-1"
    assert acquired(partition.acquire(session=2, generation=5)).owner_epoch == 2
    assert partition.acquire(session=1, generation=4) == StaleGeneration(4, 5)


def test_a_generation_outlives_its_owner() -> None:
    partition = Partition(10)
    partition.acquire(session=1, generation=5)
    partition.release()
    assert partition.acquire(session=2, generation=4) == StaleGeneration(4, 5)


def test_an_owner_renews_whatever_generation_it_knows_and_takes_none_back() -> None:
    partition = Partition(10)
    partition.acquire(session=1, generation=5)
    assert acquired(partition.acquire(session=1, generation=4)).renewed
    assert partition.group().generation == 5
    assert acquired(partition.acquire(session=1, generation=7)).renewed
    assert partition.acquire(session=2, generation=6) == StaleGeneration(6, 7)


def test_a_stale_member_learns_so_rather_than_of_the_lease() -> None:
    partition = Partition(10)
    partition.acquire(session=1, generation=5, exclusive=True)
    assert partition.acquire(session=2, generation=4) == StaleGeneration(4, 5)


# --- exclusive owners -----------------------------------------------------------------------------------------


def test_an_exclusive_owner_is_not_fenced_while_its_lease_lasts() -> None:
    partition = Partition(10)
    partition.acquire(session=1, exclusive=True, lease_ms=500)
    partition.wall_ms += 499
    assert partition.acquire(session=2) == Owned("consumer-1", 1_500)
    committed(partition.commit(5))
    partition.wall_ms += 500
    assert acquired(partition.acquire(session=2)).owner_epoch == 2


def test_every_commit_and_renewal_is_a_sign_and_a_refused_commit_is_none() -> None:
    partition = Partition(10)
    partition.acquire(session=1, exclusive=True, lease_ms=500)
    partition.wall_ms = 1_400
    committed(partition.commit(5))
    assert partition.acquire(session=2) == Owned("consumer-1", 1_900)
    partition.wall_ms = 1_800
    partition.acquire(session=1, exclusive=True, lease_ms=500)
    assert partition.acquire(session=2) == Owned("consumer-1", 2_300)
    partition.wall_ms = 2_200
    partition.commit(4, sequence=2)
    assert partition.acquire(session=2) == Owned("consumer-1", 2_300)


def test_an_exclusive_owner_that_gave_back_protects_nothing() -> None:
    partition = Partition(10)
    partition.acquire(session=1, exclusive=True)
    partition.release()
    assert acquired(partition.acquire(session=2)).owner_epoch == 2


def test_an_owner_is_exclusive_by_its_own_wish_and_not_by_its_predecessors() -> None:
    partition = Partition(10)
    partition.acquire(session=1, exclusive=True, lease_ms=500)
    partition.wall_ms += 500
    partition.acquire(session=2)
    assert acquired(partition.acquire(session=3, exclusive=True)).owner_epoch == 3


def test_a_sign_from_the_future_holds_a_partition_no_longer_than_a_lease() -> None:
    """The leader's clock was an hour ahead, the owner died, and the next leader's clock is right."""
    partition = Partition(10)
    partition.wall_ms = 3_600_000
    partition.acquire(session=1, exclusive=True, lease_ms=500)
    partition.wall_ms = 1_000
    assert partition.acquire(session=2) == Owned("consumer-1", 1_500)
    partition.wall_ms = 1_500
    assert acquired(partition.acquire(session=2)).owner_epoch == 2


# --- bounds and ends ------------------------------------------------------------------------------------------


def test_a_partition_takes_no_more_groups_than_it_may() -> None:
    partition = Partition(10, max_groups=2)
    partition.acquire(group="a")
    partition.reset(1, group="b")
    assert partition.acquire(group="c") == TooManyGroups(2)
    assert partition.reset(1, group="c") == TooManyGroups(2)
    assert partition.mark(group="c") == TooManyGroups(2)
    assert acquired(partition.acquire(group="b")).owner_epoch == 1
    assert partition.machine.offsets.names() == ["a", "b"]


def test_a_tombstone_cannot_be_acquired() -> None:
    partition = owned()
    committed(partition.commit(5))
    stored = partition.group().stored
    assert stored is not None
    partition.expire(1_000)
    assert partition.acquire(session=2) == Expired(stored, 1_000)
    assert partition.acquire(session=1) == Expired(stored, 1_000)


def test_epochs_go_on_above_those_of_a_group_that_is_gone() -> None:
    """Or a zombie of the forgotten life would meet an owner of its own epoch."""
    partition = owned()
    partition.acquire(session=2)
    partition.forget(force=True)
    assert partition.commit(5, epoch=1) == NotOwner("g")
    assert acquired(partition.acquire(session=3)).owner_epoch == 3
    assert partition.commit(5, epoch=2, session=2) == Fenced(2, 3, "consumer-3")


def test_nobody_owns_a_group_that_was_only_reset_or_marked() -> None:
    partition = Partition(10)
    partition.reset(4)
    assert (partition.group().tenure, partition.group().owner) == (Tenure.NONE, "")
    result = acquired(partition.acquire())
    assert (result.owner_epoch, result.previous_owner, result.released) == (1, "", True)
    assert result.stored is not None
    assert result.stored.offset == 4


def test_an_owner_that_only_reads_uses_its_group() -> None:
    partition = owned()
    committed(partition.commit(5))
    partition.wall_ms += 1_000
    assert partition.touch() == Touched()
    assert partition.expire(partition.wall_ms - 1) == StillUsed()
    assert isinstance(partition.expire(partition.wall_ms), TombstoneMade)


def test_whoever_does_not_own_the_group_any_more_does_not_use_it_by_reading() -> None:
    partition = owned()
    committed(partition.commit(5))
    used_ms = partition.wall_ms
    partition.acquire(session=2)
    partition.release(session=2, epoch=2)
    partition.wall_ms += 1_000
    for epoch in (1, 2, 3):
        partition.touch(epoch)
    assert partition.touch(group="nobody's") == Touched()
    assert partition.group().last_use_ms == used_ms
