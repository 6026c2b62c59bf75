"""Checkpoints at segment boundaries, and what may be dropped below them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from storage.storage_kit import (
    VOTERS,
    append,
    commands,
    create,
    data_entry,
    indices,
    names,
    new_disk,
    read_all,
    reopen,
    small,
    write,
)

from quorumlog.raft.errors import InvariantViolated
from quorumlog.raft.types import Checkpoint, Compacted, HardState, NotInMemory
from quorumlog.storage import ZeroFillJob

if TYPE_CHECKING:
    from quorumlog.sim.disk import SimulatedDisk
    from quorumlog.storage import PartitionLog


def five_segments() -> tuple[SimulatedDisk, PartitionLog]:
    """Entries 1-10 in each of four sealed segments (offsets 0-9, 10-19, ...), then 41-42 in the active one."""
    disk = new_disk()
    log = create(disk)
    for number in range(4):
        first = number * 10 + 1
        append(log, number + 1, [data_entry(i, 1, i - 1, timestamp_ms=i) for i in range(first, first + 10)])
        log.roll()
        write(log)
    append(log, 5, [data_entry(41, 1, 40), data_entry(42, 1, 41)], commit=40)
    return disk, log


def save(log: PartitionLog, boundary: int) -> None:
    job = log.checkpoint_job(Checkpoint(boundary, log.term(boundary), VOTERS), b"state %d" % boundary)
    job.run()
    log.on_done(job)


def due(log: PartitionLog) -> list[int]:
    return list(log.sealed_boundaries)


def drop(log: PartitionLog, offset: int) -> bool:
    job = log.retain_job(offset)
    if job is None:
        return False
    job.run()
    log.on_done(job)
    return True


def test_boundaries_are_due_in_order_until_they_have_a_checkpoint() -> None:
    _, log = five_segments()
    assert due(log) == [10, 20, 30, 40]
    save(log, 10)
    save(log, 20)
    assert due(log) == [30, 40]
    assert log.latest_checkpoint()[0].index == 20
    with pytest.raises(InvariantViolated):
        log.checkpoint_job(Checkpoint(35, 1, VOTERS), b"")


def test_a_boundary_is_due_only_when_its_segment_is_durable() -> None:
    log = create(new_disk())
    append(log, 1, commands(1, 5))
    log.roll()
    log.stage(2, HardState(1), commands(5, 7))
    job = log.write_job()
    assert due(log) == []
    assert job is not None
    job.run()
    log.on_done(job)
    assert due(log) == [4]


def test_only_whole_sealed_segments_below_the_offset_with_a_checkpoint_at_their_end_are_dropped() -> None:
    _, log = five_segments()
    assert not drop(log, 40), "no checkpoint yet"
    save(log, 10)
    save(log, 20)
    assert not drop(log, 9), "record 9 is in the first segment"
    assert drop(log, 19)
    assert (log.first_index, log.start_offset, log.checkpoint.index) == (11, 10, 10)
    assert drop(log, 1000)
    assert (log.first_index, log.start_offset, log.checkpoint.index) == (21, 20, 20), "30 has no checkpoint"
    save(log, 30)
    save(log, 40)
    assert drop(log, 1000)
    assert (log.first_index, log.last_index, log.start_offset) == (41, 42, 40), "never the active one"
    with pytest.raises(Compacted):
        log.entries(40, 41, 1)
    assert log.term(40) == 1


def test_what_is_left_after_a_drop_is_there_after_a_crash_and_nothing_else_is_on_the_disk() -> None:
    disk, log = five_segments()
    for boundary in (10, 20, 30):
        save(log, boundary)
    assert drop(log, 25)
    disk.crash()
    log = reopen(disk)
    assert (log.first_index, log.checkpoint.index, log.latest_checkpoint()[0].index) == (21, 20, 30)
    assert indices(read_all(log)) == list(range(21, 43))
    assert len(names(disk, ".segment")) == 3
    assert len(names(disk, ".checkpoint")) == 2


def test_a_log_without_records_drops_up_to_its_checkpoints() -> None:
    """The controller's log and the like: nothing is read by offset, the state is all."""
    disk = new_disk()
    log = create(disk, small(1024))
    append(log, 1, commands(1, 60), commit=0)
    append(log, 2, [], commit=59)
    boundaries = log.sealed_boundaries
    for boundary in boundaries:
        save(log, boundary)
    assert drop(log, 0)
    assert log.first_index == boundaries[-1] + 1
    log.close()
    assert reopen(disk).read_checkpoint() == b"state %d" % boundaries[-1]


def test_segments_that_a_truncation_emptied_go_with_the_one_before_them() -> None:
    for seed in range(5):
        disk = new_disk(seed)
        log = create(disk, small(1024))
        append(log, 1, commands(1, 60), commit=0)
        first_segment_end = log.sealed_boundaries[0]
        append(log, 2, commands(first_segment_end, 40, term=2), term=2)
        append(log, 3, [], term=2, commit=39)
        boundaries = log.sealed_boundaries
        assert boundaries[0] == first_segment_end - 1
        for boundary in boundaries[:2]:
            save(log, boundary)
        job = log.retain_job(0)
        assert job is not None
        disk.cut_after(1 + seed)
        try:
            job.run()
        except Exception:
            disk.crash()
        log = reopen(disk, small(1024))
        assert log.first_index in (1, boundaries[0] + 1, boundaries[1] + 1)
        assert indices(read_all(log)) == list(range(log.first_index, 40))


def test_the_description_is_enough_for_retention_by_age_and_size() -> None:
    _, log = five_segments()
    sealed = log.segments()[:-1]
    assert [(s.first_offset, s.end_offset, s.max_timestamp_ms) for s in sealed] == [
        (0, 10, 10),
        (10, 20, 20),
        (20, 30, 30),
        (30, 40, 40),
    ]
    assert sum(s.bytes for s in log.segments()) == log.size_bytes


def test_an_idle_partition_costs_little_disk_and_a_busy_one_is_zero_filled_ahead() -> None:
    disk = new_disk()
    log = create(disk, small(1 << 20))
    append(log, 1, commands(1, 3))
    assert disk.used < 4096
    append(log, 2, commands(3, 4, data=bytes(9000)))
    info = log.segments()[-1]
    assert 64 << 10 <= info.bytes <= 90 << 10
    append(log, 3, commands(4, 5, data=bytes(300_000)))
    log.roll()
    write(log)
    assert disk.used < 400_000, "sealing trims the zeros"
    disk.crash()
    assert indices(read_all(reopen(disk))) == [1, 2, 3, 4]


def test_large_writes_do_without_zeros_until_small_ones_come_again() -> None:
    disk = new_disk()
    log = create(disk, small(64 << 20))
    number = 0

    def zeros_beside(writes: int, size: int) -> bool:
        """Whether any were wanted after one of ``writes`` writes of ``size`` bytes."""
        nonlocal number
        wanted = False
        for _ in range(writes):
            number += 1
            log.stage(number, HardState(1), commands(number, number + 1, data=bytes(size)))
            write(log, maintain=False)
            while (job := log.maintenance_job()) is not None:
                wanted = wanted or isinstance(job, ZeroFillJob)
                job.run()
                log.on_done(job)
        return wanted

    assert zeros_beside(4, 9_000)
    zeros_beside(20, 300_000)
    assert not zeros_beside(40, 300_000)
    assert zeros_beside(40, 1_000)
    log.close()
    assert indices(read_all(reopen(disk))) == list(range(1, number + 1))


def test_zero_filling_beside_a_write_never_overwrites_its_records() -> None:
    """The zeros were planned before the write, and are written after it."""
    disk = new_disk()
    log = create(disk, small(1 << 20))
    append(log, 1, commands(1, 2, data=bytes(9000)), commit=0)
    log.stage(2, None, commands(2, 3, data=b"x" * 100_000))
    job = log.write_job()
    assert job is not None
    job.run()
    log.on_done(job)
    zeros = log.maintenance_job()
    assert zeros is not None
    log.stage(3, None, commands(3, 4, data=b"y" * 200_000))
    late = log.write_job()
    assert late is not None
    late.run()
    zeros.run()
    log.on_done(late)
    log.on_done(zeros)
    log.close()
    assert indices(read_all(reopen(disk))) == [1, 2, 3]


def test_zero_filling_that_is_late_leaves_a_sealed_segment_alone() -> None:
    disk = new_disk()
    log = create(disk, small(1 << 20))
    log.stage(1, HardState(1), commands(1, 2, data=bytes(9000)))
    job = log.write_job()
    assert job is not None
    job.run()
    log.on_done(job)
    zeros = log.maintenance_job()
    assert zeros is not None
    log.roll()
    write(log, maintain=False)
    zeros.run()
    log.on_done(zeros)
    log.close()
    assert reopen(disk).last_index == 1


def test_a_wish_that_retention_overtakes_is_denied_and_not_forgotten() -> None:
    """Found by the simulator (``sim replay 169 --workload groups``): a leader waited for entries from its disk, for
    a follower that was behind, and retention took them before the read began. Nobody told the core, and it left
    that follower alone until its term was over."""
    disk, log = five_segments()
    save(log, 10)
    log = reopen(disk, small(1024))
    with pytest.raises(NotInMemory):
        log.entries(3, 5, 10_000)
    assert drop(log, 10)
    assert log.read_job() is None
    assert log.wish_denied()
    assert not log.wish_denied()
    with pytest.raises(Compacted):
        log.entries(3, 5, 10_000)
