"""What became of a commit: present, superseded, never happened, for good; or too long ago to tell."""

from __future__ import annotations

from machine.offset_kit import Partition, committed, owned

from quorumlog.machine.offset_memory import REMEMBERED_COMMITS, REMEMBERED_LANDMARKS
from quorumlog.machine.offset_results import (
    EpochNotGiven,
    Fate,
    FateForgotten,
    FateKnown,
    Fenced,
    NotOwner,
    Settled,
)

NEVER = FateKnown(Fate.NEVER_HAPPENED, None, None)


def fate(result: object) -> Fate:
    assert isinstance(result, FateKnown), result
    return result.fate


def long_tenure(session: int, epoch: int, partition: Partition) -> None:
    """So many commits that none of anybody before is remembered."""
    for sequence in range(1, REMEMBERED_COMMITS + 1):
        committed(partition.commit(50, epoch=epoch, session=session, sequence=sequence))


# --- attempts -------------------------------------------------------------------------------------------------


def test_the_stored_commit_is_present_and_an_earlier_one_superseded() -> None:
    partition = owned()
    committed(partition.commit(5))
    first = partition.group().memory.commits[-1]
    assert partition.settle(1) == FateKnown(Fate.PRESENT, first, partition.group().stored)
    committed(partition.commit(6, sequence=2))
    assert partition.settle(1) == FateKnown(Fate.SUPERSEDED, first, partition.group().stored)


def test_a_commit_that_a_reset_moved_is_superseded() -> None:
    partition = owned()
    committed(partition.commit(5))
    partition.reset(5, force=True)
    assert fate(partition.settle(1)) is Fate.SUPERSEDED


def test_a_commit_whose_offset_expired_is_superseded() -> None:
    partition = owned()
    committed(partition.commit(5))
    partition.expire(1_000)
    result = partition.settle(1)
    assert isinstance(result, FateKnown)
    assert (result.fate, result.stored) == (Fate.SUPERSEDED, None)


def test_what_may_still_arrive_is_not_known_until_it_is_settled() -> None:
    partition = owned()
    offsets = partition.machine.offsets
    assert offsets.fate_of_attempt("g", 1, 1, 1) is None
    assert partition.settle(1) == NEVER
    assert offsets.fate_of_attempt("g", 1, 1, 1) == NEVER
    assert partition.commit(5) == Settled(1)
    assert partition.settle(1) == NEVER


def test_settling_one_attempt_uses_up_the_earlier_ones_and_no_later_one() -> None:
    partition = owned()
    partition.settle(5)
    assert partition.commit(5, sequence=4) == Settled(4)
    committed(partition.commit(5, sequence=6))


def test_looking_changes_nothing() -> None:
    partition = owned()
    committed(partition.commit(5))
    before = partition.machine.snapshot()
    offsets = partition.machine.offsets
    assert offsets.fate_of_attempt("g", 1, 1, 2) is None
    offsets.fate_of_receipt("g", 5, 3, 4)
    offsets.fate_of_attempt("unknown", 1, 1, 2)
    assert partition.machine.snapshot() == before


def test_an_attempt_of_a_former_owner_is_final_and_fenced_if_it_arrives() -> None:
    partition = owned()
    partition.acquire(session=2)
    assert partition.machine.offsets.fate_of_attempt("g", 1, 1, 1) == NEVER
    assert partition.commit(5) == Fenced(1, 2, "consumer-2")
    partition.settle(99)
    committed(partition.commit(5, epoch=2, session=2, sequence=1))


def test_an_attempt_of_one_that_gave_back_is_final() -> None:
    partition = owned()
    partition.release()
    assert partition.machine.offsets.fate_of_attempt("g", 1, 1, 1) == NEVER
    assert partition.commit(5) == NotOwner("g")


def test_not_found_counts_for_what_is_newer_than_whatever_is_forgotten() -> None:
    partition = owned()
    for sequence in range(1, 2 * REMEMBERED_COMMITS):
        committed(partition.commit(sequence, sequence=2 * sequence))
    group = partition.group()
    assert group.forgotten_version > group.memory.landmarks[0].version
    assert group.forgotten_version
    newest = group.last_sequence
    assert fate(partition.settle(newest - 1)) is Fate.NEVER_HAPPENED
    assert fate(partition.settle(newest + 1)) is Fate.NEVER_HAPPENED


def test_not_found_does_not_count_up_to_the_newest_commit_that_is_forgotten() -> None:
    partition = owned()
    for sequence in range(1, 2 * REMEMBERED_COMMITS):
        committed(partition.commit(sequence, sequence=2 * sequence))
    forgotten = partition.group().forgotten_version
    oldest = partition.group().memory.commits[0].sequence
    assert partition.settle(2) == FateForgotten(forgotten)
    assert partition.settle(3) == FateForgotten(forgotten)
    assert partition.settle(oldest - 2) == FateForgotten(forgotten)
    assert fate(partition.settle(oldest - 1)) is Fate.NEVER_HAPPENED
    assert fate(partition.settle(oldest + 1)) is Fate.NEVER_HAPPENED


def test_not_found_counts_for_a_tenure_younger_than_whatever_is_forgotten() -> None:
    partition = owned()
    for sequence in range(1, REMEMBERED_COMMITS + 5):
        committed(partition.commit(5, sequence=sequence))
    partition.acquire(session=2)
    assert partition.machine.offsets.fate_of_attempt("g", 2, 2, 1) is None
    partition.acquire(session=3)
    assert fate(partition.settle(1, epoch=2, session=2)) is Fate.NEVER_HAPPENED


def test_a_former_owner_whose_commits_may_be_forgotten_is_not_told_that_they_never_happened() -> None:
    partition = owned()
    committed(partition.commit(5))
    partition.acquire(session=2)
    long_tenure(2, 2, partition)
    assert partition.settle(1) == FateForgotten(3)
    assert fate(partition.settle(2)) is Fate.NEVER_HAPPENED, "only the first is forgotten"


def test_a_session_that_came_back_is_asked_about_one_tenure_at_a_time() -> None:
    partition = owned()
    committed(partition.commit(5))
    partition.acquire(session=2)
    long_tenure(2, 2, partition)
    partition.acquire(session=1)
    offsets = partition.machine.offsets
    assert offsets.fate_of_attempt("g", 1, 1, 1) == FateForgotten(3)
    assert offsets.fate_of_attempt("g", 3, 1, 1) is None
    committed(partition.commit(60, epoch=3))
    assert isinstance(partition.settle(1), FateForgotten)
    assert fate(partition.settle(1, epoch=3)) is Fate.PRESENT


def test_what_a_session_did_before_it_lost_the_partition_many_times_is_never_said_to_have_not_happened() -> None:
    """Two take it from each other until nothing of their first tenures is remembered, their Acquires neither."""
    partition = owned()
    attempts = []
    for epoch in range(1, REMEMBERED_LANDMARKS + REMEMBERED_COMMITS):
        session = 2 - epoch % 2
        if epoch > 1:
            partition.acquire(session=session)
        committed(partition.commit(epoch, epoch=epoch, session=session))
        attempts.append((epoch, session))
    offsets = partition.machine.offsets
    told = [offsets.fate_of_attempt("g", epoch, session, 1) for epoch, session in attempts]
    forgotten = FateForgotten(partition.group().forgotten_version)
    assert told[:-REMEMBERED_COMMITS] == [forgotten] * (len(told) - REMEMBERED_COMMITS)
    remembered = [fate(each) for each in told[-REMEMBERED_COMMITS:]]
    assert remembered == [Fate.SUPERSEDED] * (REMEMBERED_COMMITS - 1) + [Fate.PRESENT]


def test_a_tenure_without_a_commit_is_known_to_be_one_however_long_ago_it_was() -> None:
    """It is later than the newest commit that is forgotten: its Acquire need not be remembered."""
    partition = owned()
    long_tenure(1, 1, partition)
    committed(partition.commit(50, sequence=REMEMBERED_COMMITS + 1))
    for number in range(REMEMBERED_LANDMARKS + 5):
        partition.acquire(session=2 + number % 2)
    assert partition.settle(1) == FateForgotten(3)
    assert fate(partition.settle(1, epoch=2, session=2)) is Fate.NEVER_HAPPENED
    assert fate(partition.settle(99)) is Fate.NEVER_HAPPENED


def test_an_epoch_that_a_forced_reset_used_up_was_nobodys() -> None:
    partition = owned()
    partition.reset(5, force=True)
    assert fate(partition.settle(1, epoch=2)) is Fate.NEVER_HAPPENED
    partition.acquire(session=1)
    assert partition.commit(5, epoch=2) == Fenced(2, 3, "consumer-1")


def test_of_an_epoch_that_nobody_has_been_given_nothing_can_be_said() -> None:
    """The session that asks may be the one that is given it next."""
    partition = owned()
    assert partition.settle(1, epoch=2) == EpochNotGiven(2, 1)
    assert partition.settle(1, epoch=0) == EpochNotGiven(0, 1)
    partition.release()
    partition.acquire()
    committed(partition.commit(5, epoch=2))
    assert fate(partition.settle(1, epoch=2)) is Fate.PRESENT


def test_an_attempt_of_a_session_that_never_had_the_epoch_never_happened() -> None:
    partition = owned()
    committed(partition.commit(5))
    offsets = partition.machine.offsets
    for sequence in (1, 2):
        never = FateKnown(Fate.NEVER_HAPPENED, None, partition.group().stored)
        assert offsets.fate_of_attempt("g", 1, 9, sequence) == partition.settle(sequence, session=9) == never
        assert partition.commit(6, sequence=sequence, session=9) == NotOwner("g")
    committed(partition.commit(6, sequence=2))


# --- receipts -------------------------------------------------------------------------------------------------


def test_a_receipt_is_known_by_its_version() -> None:
    partition = owned()
    first = committed(partition.commit(5))
    offsets = partition.machine.offsets
    assert fate(offsets.fate_of_receipt("g", 5, first.version, first.term)) is Fate.PRESENT
    committed(partition.commit(6, sequence=2))
    assert fate(offsets.fate_of_receipt("g", 5, first.version, first.term)) is Fate.SUPERSEDED


def test_a_receipt_that_names_another_offset_or_term_is_of_nothing_that_happened() -> None:
    partition = owned()
    first = committed(partition.commit(5))
    offsets = partition.machine.offsets
    assert fate(offsets.fate_of_receipt("g", 6, first.version, first.term)) is Fate.NEVER_HAPPENED
    assert fate(offsets.fate_of_receipt("g", 5, first.version, first.term + 1)) is Fate.NEVER_HAPPENED
    assert fate(offsets.fate_of_receipt("g", 5, first.version + 1, first.term)) is Fate.NEVER_HAPPENED
    # The version of an Acquire is not one at which an offset was stored.
    assert fate(offsets.fate_of_receipt("g", 0, first.version - 1, first.term)) is Fate.NEVER_HAPPENED


def test_a_receipt_older_than_what_is_remembered_is_not_judged() -> None:
    partition = owned()
    first = committed(partition.commit(5))
    for sequence in range(2, REMEMBERED_COMMITS + 2):
        committed(partition.commit(5, sequence=sequence))
    offsets = partition.machine.offsets
    assert offsets.fate_of_receipt("g", 5, first.version, first.term) == FateForgotten(first.version)
    second = partition.group().memory.commits[0]
    assert fate(offsets.fate_of_receipt("g", 5, second.version, second.term)) is Fate.SUPERSEDED


def test_the_version_of_a_reset_is_as_good_as_a_receipt() -> None:
    partition = owned()
    partition.pin(30)
    offsets = partition.machine.offsets
    assert fate(offsets.fate_of_receipt("g", 30, partition.version, 4)) is Fate.PRESENT


def test_of_a_group_that_never_was_nothing_ever_happened() -> None:
    partition = Partition(10)
    offsets = partition.machine.offsets
    assert offsets.fate_of_attempt("g", 1, 1, 1) == EpochNotGiven(1, 0)
    assert partition.settle(1) == EpochNotGiven(1, 0)
    assert offsets.fate_of_receipt("g", 5, 2, 4) == NEVER


def test_what_a_forgotten_group_did_is_not_said_to_have_never_happened() -> None:
    partition = owned()
    first = committed(partition.commit(5))
    partition.forget(force=True)
    gone = partition.version
    offsets = partition.machine.offsets
    for _ in range(2):
        assert partition.settle(1) == FateForgotten(gone)
        assert offsets.fate_of_receipt("g", 5, first.version, first.term) == FateForgotten(gone)
        # The same once there is a group of that name again.
        partition.acquire(session=2)
    assert fate(partition.machine.offsets.fate_of_receipt("g", 5, gone + 1, 4)) is Fate.NEVER_HAPPENED
    assert partition.group().owner_epoch == 2
    assert offsets.fate_of_attempt("g", 2, 2, 1) is None
    assert partition.commit(5) == Fenced(1, 2, "consumer-2")
