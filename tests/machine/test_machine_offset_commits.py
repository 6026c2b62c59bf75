"""A commit is judged when it is applied: by its owner, its sequence, the end of the log and what is stored."""

from __future__ import annotations

import pytest
from machine.offset_kit import NODE, PRINT, Partition, committed, item, owned

from quorumlog.machine import MachineInvariantViolated, encode_partition_command
from quorumlog.machine.offset_commands import Commits
from quorumlog.machine.offset_memory import REMEMBERED_COMMITS
from quorumlog.machine.offset_results import (
    BeyondEnd,
    Change,
    ChangeKind,
    Committed,
    Expired,
    FateForgotten,
    Fenced,
    NotOwner,
    Regressed,
    Settled,
    Stored,
)
from quorumlog.raft.types import Entry, EntryKind


def test_a_commit_is_stored_with_the_version_of_its_entry() -> None:
    partition = owned()
    assert partition.commit(41, metadata=b"note") == Committed(41, partition.version, 4, False)
    assert partition.group().stored == Stored(41, partition.version, 4, 1_000, PRINT, b"note")


def test_an_offset_of_zero_is_a_commit_and_not_the_lack_of_one() -> None:
    partition = owned()
    assert partition.group().stored is None
    committed(partition.commit(0))
    stored = partition.group().stored
    assert stored is not None
    assert stored.offset == 0


def test_a_commit_at_the_end_is_fine_and_one_beyond_it_is_not() -> None:
    partition = owned(records=10)
    assert partition.commit(11) == BeyondEnd(11, 10)
    assert partition.group().stored is None
    committed(partition.commit(10))


def test_the_end_that_counts_is_the_one_in_the_log_before_the_commit() -> None:
    partition = owned(records=10)
    assert partition.commit(11) == BeyondEnd(11, 10)
    partition.append(1)
    committed(partition.commit(11))


def test_a_commit_below_the_stored_one_is_refused() -> None:
    partition = owned()
    committed(partition.commit(5))
    assert partition.commit(4, sequence=2) == Regressed(4, 5)
    assert partition.group().version == partition.version - 1


def test_the_same_offset_again_is_a_new_version() -> None:
    partition = owned()
    first = committed(partition.commit(5))
    again = committed(partition.commit(5, sequence=2, metadata=b"later"))
    assert again.version > first.version
    assert not again.duplicate
    stored = partition.group().stored
    assert stored is not None
    assert stored.metadata == b"later"


def test_a_commit_without_an_acquire_is_refused() -> None:
    partition = Partition(10)
    assert partition.commit(1, epoch=0) == NotOwner("g")
    assert len(partition.machine.offsets) == 0
    partition.reset(3)
    assert partition.commit(4, epoch=0) == NotOwner("g")
    assert partition.commit(4, epoch=1) == NotOwner("g")


def test_an_earlier_owner_is_fenced() -> None:
    partition = owned()
    partition.acquire(session=2)
    assert partition.commit(5, epoch=1, session=1) == Fenced(1, 2, "consumer-2")
    assert partition.group().stored is None
    committed(partition.commit(5, epoch=2, session=2))


def test_an_epoch_that_was_never_given_out_owns_nothing() -> None:
    assert owned().commit(5, epoch=2) == NotOwner("g")


def test_another_session_of_the_right_epoch_owns_nothing() -> None:
    assert owned().commit(5, session=2) == NotOwner("g")


def test_after_its_release_the_owner_commits_no_more() -> None:
    partition = owned()
    partition.release()
    assert partition.commit(5) == NotOwner("g")


def test_a_tombstone_refuses_commits_and_says_what_expired() -> None:
    partition = owned()
    committed(partition.commit(5))
    stored = partition.group().stored
    partition.wall_ms = 9_000
    partition.expire(8_000)
    assert partition.commit(6, sequence=2) == Expired(stored, 9_000)  # type: ignore[arg-type]


def test_a_repeat_is_found_and_stores_nothing() -> None:
    partition = owned()
    first = committed(partition.commit(5))
    committed(partition.commit(6, sequence=2))
    before = partition.group().stored
    assert partition.commit(5) == Committed(5, first.version, first.term, True)
    assert partition.group().stored == before


def test_a_repeat_that_comes_when_the_end_or_the_stored_offset_would_refuse_it_is_still_found() -> None:
    partition = owned()
    committed(partition.commit(5))
    committed(partition.commit(50, sequence=2))
    assert committed(partition.commit(5)).duplicate


def test_a_refused_commit_does_not_use_its_sequence_up() -> None:
    partition = owned(records=10)
    assert partition.commit(11, sequence=1) == BeyondEnd(11, 10)
    assert not committed(partition.commit(10, sequence=1)).duplicate
    assert partition.commit(9, sequence=2) == Regressed(9, 10)
    committed(partition.commit(10, sequence=2))


def test_sequences_may_leave_gaps_but_never_go_back() -> None:
    partition = owned()
    committed(partition.commit(5, sequence=10))
    assert partition.commit(6, sequence=9) == Settled(9)
    committed(partition.commit(6, sequence=11))


def test_a_settled_attempt_that_arrives_late_is_refused() -> None:
    partition = owned()
    committed(partition.commit(5, sequence=1))
    partition.settle(sequence=2)
    assert partition.commit(6, sequence=2) == Settled(2)
    stored = partition.group().stored
    assert stored is not None
    assert stored.offset == 5
    committed(partition.commit(6, sequence=3))


def test_a_repeat_too_old_to_be_remembered_is_not_said_to_have_never_happened() -> None:
    partition = owned()
    for sequence in range(1, REMEMBERED_COMMITS + 3):
        committed(partition.commit(sequence, sequence=sequence))
    forgotten = partition.group().forgotten_version
    assert partition.commit(2, sequence=2) == FateForgotten(forgotten)
    assert committed(partition.commit(3, sequence=3)).duplicate


def test_a_session_that_comes_back_begins_anew_and_its_earlier_attempts_are_fenced() -> None:
    partition = owned()
    first = committed(partition.commit(5))
    partition.settle(sequence=3)
    partition.acquire(session=2)
    partition.acquire(session=1)
    for sequence in (1, 2, 3):
        assert partition.commit(5, epoch=1, sequence=sequence) == Fenced(1, 3, "consumer-1")
    second = committed(partition.commit(5, epoch=3))
    assert not second.duplicate
    assert second.version > first.version
    assert committed(partition.commit(5, epoch=3)) == Committed(5, second.version, second.term, True)


def test_a_commit_found_by_its_number_is_the_one_of_this_tenure() -> None:
    partition = owned()
    committed(partition.commit(5, sequence=2))
    partition.release()
    partition.acquire()
    committed(partition.commit(6, epoch=2, sequence=3))
    assert partition.commit(6, epoch=2, sequence=2) == Settled(2)


def test_the_checks_are_made_in_their_order() -> None:
    """Each commit is wrong in all the ways that its predecessors were, and in one more that is checked earlier."""
    partition = owned(records=10)
    committed(partition.commit(5, sequence=3))
    assert partition.commit(4, sequence=4) == Regressed(4, 5)
    assert partition.commit(99, sequence=4) == BeyondEnd(99, 10)
    assert partition.commit(99, sequence=2) == Settled(2)
    assert partition.commit(99, sequence=2, session=9) == NotOwner("g")
    assert partition.commit(99, sequence=2, session=9, epoch=0) == Fenced(0, 1, "consumer-1")
    partition.expire(99_999)
    assert isinstance(partition.commit(99, sequence=2, session=9, epoch=0), Expired)
    partition.expire(99_999)
    assert partition.commit(99, sequence=2, session=9, epoch=0) == NotOwner("g")


def test_commits_of_one_entry_are_judged_one_by_one() -> None:
    partition = owned(records=10)
    partition.acquire(group="h")
    results = partition.commits(
        item(3), item(11, group="h"), item(1, group="unknown"), item(10, group="fenced", epoch=0)
    )
    assert results == (
        Committed(3, partition.version, 4, False),
        BeyondEnd(11, 10),
        NotOwner("unknown"),
        NotOwner("fenced"),
    )


def test_two_commits_of_one_group_in_one_entry_stop_the_replica_and_leave_it_as_it_was() -> None:
    partition = owned()
    with pytest.raises(MachineInvariantViolated, match="one group"):
        encode_partition_command(Commits(1, NODE, (item(1), item(2, sequence=2))))
    twice = encode_partition_command(Commits(1, NODE, (item(1), item(2, sequence=2, group="h"))))
    entry = Entry(partition.version + 1, 4, EntryKind.COMMAND, twice.replace(b"h", b"g"))
    before = partition.machine.snapshot()
    with pytest.raises(MachineInvariantViolated, match="one group"):
        partition.machine.apply(entry)
    assert partition.machine.snapshot() == before


def test_history_has_the_newest_commits_and_says_from_where_on() -> None:
    partition = owned()
    versions = []
    for sequence in range(1, REMEMBERED_COMMITS + 3):
        versions.append(committed(partition.commit(sequence, sequence=sequence)).version)
    group = partition.group()
    assert [change.version for change in group.memory.commits] == versions[2:]
    assert group.forgotten_version == versions[1]
    assert group.memory.commits[-1] == Change(
        ChangeKind.COMMIT, versions[-1], 4, 1_000, 34, "consumer-1", 1, 1, 34, NODE, ""
    )


def test_frequent_commits_do_not_push_out_who_took_over_and_who_moved_the_offset() -> None:
    partition = owned()
    partition.pin(0)
    for sequence in range(1, 2 * REMEMBERED_COMMITS):
        committed(partition.commit(sequence, sequence=sequence))
    kinds = [change.kind for change in partition.group().history()]
    assert kinds == [ChangeKind.ACQUIRE, ChangeKind.RESET] + [ChangeKind.COMMIT] * REMEMBERED_COMMITS


def test_history_is_in_the_order_of_the_log() -> None:
    partition = owned()
    committed(partition.commit(5))
    partition.release()
    partition.acquire(session=2)
    committed(partition.commit(6, epoch=2, session=2))
    versions = [change.version for change in partition.group().history()]
    assert versions == sorted(versions)
    kinds = [change.kind.name for change in partition.group().history()]
    assert kinds == ["ACQUIRE", "COMMIT", "RELEASE", "ACQUIRE", "COMMIT"]
