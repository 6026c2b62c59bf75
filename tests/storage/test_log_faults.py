"""What the log does when the disk fails, fills up or loses power: RAFT.md §2, §3 and §5 (4, 5, 6, 26) as they touch
it."""

from __future__ import annotations

import contextlib
import errno

import pytest
from storage.storage_kit import (
    PATH,
    VOTERS,
    append,
    command,
    commands,
    create,
    names,
    new_disk,
    read_all,
    reopen,
    small,
    write,
)

from quorumlog.raft.errors import InvariantViolated
from quorumlog.raft.types import Checkpoint, HardState, NotInMemory
from quorumlog.sim.disk import PowerCut
from quorumlog.storage import (
    CorruptLog,
    LogExists,
    LogFailed,
    MissingLog,
    PartitionLog,
    SyncFailed,
    WrongReplica,
)


def test_what_a_finished_job_covers_is_on_the_platter_before_it_is_told() -> None:
    disk = new_disk()
    log = create(disk, small(segment_bytes=1024))
    for number in range(1, 20):
        log.stage(number, HardState(number, None, 0), [command(number, number, b"payload %03d" % number)])
        job = log.write_job()
        assert job is not None
        assert job.number == number
        job.run()
        on_platter = b"".join(disk.durable_content(path) for path in names(disk, ".segment"))
        assert b"payload %03d" % number in on_platter
        log.on_done(job)
    disk.crash()
    assert len(read_all(reopen(disk))) == 19


def test_one_job_at_a_time_and_what_is_staged_meanwhile_shares_the_next() -> None:
    disk = new_disk()
    log = create(disk)
    log.stage(1, HardState(1), commands(1, 3))
    first = log.write_job()
    assert first is not None
    for number in (2, 3, 4):
        log.stage(number, None, commands(number + 1, number + 2))
        assert log.write_job() is None
    first.run()
    log.on_done(first)
    assert (first.number, log.durable_index) == (1, 2)
    syncs = disk.syncs
    assert write(log, maintain=False) == 4
    assert (log.durable_index, disk.syncs - syncs) == (5, 1)


def test_a_late_completion_does_not_vouch_for_entries_that_were_replaced_meanwhile() -> None:
    """RAFT.md §5, 4 and 5: the flush races a truncation."""
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 3))
    log.stage(2, None, commands(3, 9))
    job = log.write_job()
    assert job is not None
    log.stage(3, HardState(2, 1, 0), commands(4, 6, term=2))
    job.run()
    log.on_done(job)
    assert log.durable_index == 3, "of the job only entry 3 is still part of the log"
    disk.crash()
    assert reopen(disk).last_index == 8, "and yet nothing was told: the replacement had not been written"


def test_entries_read_from_disk_before_a_truncation_do_not_come_back_after_it() -> None:
    disk = new_disk()
    log = create(disk, small(cache_bytes=1))
    append(log, 1, commands(1, 9, data=b"old" * 30))
    log.close()
    log = reopen(disk)
    with pytest.raises(NotInMemory):
        log.entries(1, 9, 1 << 20)
    job = log.read_job()
    assert job is not None
    job.run()
    log.stage(1, HardState(2, 1, 0), commands(5, 7, term=2, data=b"new"))
    log.on_done(job)
    append(log, 2, commands(7, 12, term=2, data=b"new"), term=2)
    assert [(entry.index, entry.term) for entry in read_all(log)] == [(i, 1 if i < 5 else 2) for i in range(1, 12)]


def test_the_term_is_durable_before_or_with_the_entries_of_that_term() -> None:
    """RAFT.md §5, 6: whatever prefix of the job survives, no entry is of a term beyond the hard state's."""
    for cut in range(40, 400, 8):
        disk = new_disk()
        log = create(disk)
        append(log, 1, commands(1, 2))
        size = log.segments()[-1].bytes
        append(log, 2, commands(2, 5, term=7), term=7)
        (path,) = names(disk, ".segment")
        disk.cut_file(path, min(size + cut, len(disk.content(path))))
        log = reopen(disk)
        assert log.term(log.last_index) <= log.hard_state.term


def test_a_failed_fsync_is_fatal_and_never_tried_again() -> None:
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 3))
    log.stage(2, None, commands(3, 5))
    job = log.write_job()
    assert job is not None
    disk.fail_sync(".segment")
    with pytest.raises(SyncFailed) as caught:
        job.run()
    log.on_failed(job, caught.value)
    assert log.failed is caught.value
    assert log.write_job() is None
    assert log.durable_index == 2
    with pytest.raises(LogFailed):
        log.stage(3, None, commands(5, 6))


def test_not_even_a_restart_believes_the_page_cache_after_a_failed_fsync() -> None:
    disk = new_disk()
    log = create(disk)
    log.stage(1, HardState(1), commands(1, 3))
    job = log.write_job()
    assert job is not None
    disk.fail_sync(".segment")
    with pytest.raises(SyncFailed):
        job.run()
    disk.crash(keep_all=True)
    with pytest.raises(CorruptLog, match="fsync failed"):
        reopen(disk)


def test_no_space_in_fdatasync_is_as_fatal_as_any_other_failure_of_it() -> None:
    disk = new_disk()
    log = create(disk)
    log.stage(1, HardState(1), commands(1, 3))
    job = log.write_job()
    assert job is not None
    log.on_failed(job, SyncFailed(errno.ENOSPC, "no space"))
    assert log.failed is not None
    assert not log.full


@pytest.mark.parametrize("room", range(0, 1700, 100))
def test_a_full_disk_stops_acknowledgements_leaves_the_log_readable_and_harms_nothing(room: int) -> None:
    """With segments of 1 KiB the job seals and begins several: it may run out of space in each of its steps."""
    disk = new_disk()
    log = create(disk, small(segment_bytes=1024))
    append(log, 1, commands(1, 5))
    before = read_all(log)
    log.stage(2, HardState(2, 2, 3), commands(5, 30, term=2))
    job = log.write_job()
    assert job is not None
    disk.capacity = disk.used + room
    with pytest.raises(OSError) as caught:  # noqa: PT011
        job.run()
    log.on_failed(job, caught.value)
    assert log.full
    assert log.failed is None
    assert log.write_job() is None
    assert read_all(log)[:4] == before
    log.stage(3, None, commands(30, 32, term=2))

    disk.capacity = 1 << 40
    log.resume()
    assert write(log) == 3
    expected = before + commands(5, 32, term=2)
    assert read_all(log) == expected
    log.close()
    assert read_all(reopen(disk, small(segment_bytes=1024))) == expected


def test_a_full_disk_and_then_a_power_cut_leave_the_acknowledged_log() -> None:
    for room in range(0, 1700, 150):
        for seed in range(3):
            disk = new_disk(seed)
            log = create(disk, small(segment_bytes=1024))
            append(log, 1, commands(1, 5))
            log.stage(2, HardState(2, 2, 3), commands(5, 30, term=2))
            job = log.write_job()
            assert job is not None
            disk.capacity = disk.used + room
            with pytest.raises(OSError):  # noqa: PT011
                job.run()
            disk.capacity = 1 << 40
            disk.crash()
            found = read_all(reopen(disk, small(segment_bytes=1024)))
            assert found[:4] == commands(1, 5)
            assert found == (commands(1, 5) + commands(5, 30, term=2))[: len(found)]


def test_every_step_of_every_job_may_be_the_last_before_the_power_goes() -> None:
    """A roll, a checkpoint, retention and the writes between them, cut after each operation on the disk."""
    for seed in range(5):
        every_cut(seed)


def every_cut(seed: int) -> None:
    done = False
    cut = 0
    while not done:
        cut += 1
        disk = new_disk(1000 * seed + cut)
        log = create(disk, small(segment_bytes=1024))
        acknowledged = 0
        disk.cut_after(cut)
        try:
            acknowledged = live(log)
            done = True
        except PowerCut as stop:
            acknowledged = stop.args[0]
        disk.crash()
        log = reopen(disk, small(segment_bytes=1024))
        assert log.last_index >= acknowledged
        assert log.latest_checkpoint()[0].index >= log.first_index - 1
        wanted = commands(log.first_index, log.last_index + 1)
        assert read_all(log) == wanted
    assert cut > 40


def live(log: PartitionLog) -> int:
    """Appends, rolls, checkpoints and drops; a power cut's argument is the last index acknowledged until then."""
    durable = 0
    try:
        for number in range(1, 13):
            append(log, number, commands(number * 5 - 4, number * 5 + 1), commit=durable)
            durable = number * 5
            for boundary in log.sealed_boundaries:
                job = log.checkpoint_job(Checkpoint(boundary, 1, VOTERS), b"state %d" % boundary)
                job.run()
                log.on_done(job)
            if number % 4 == 0 and (drop := log.retain_job(0)) is not None:
                drop.run()
                log.on_done(drop)
    except PowerCut:
        raise PowerCut(durable) from None
    return durable


def test_a_new_segments_name_is_durable_before_anything_in_it_is_acknowledged() -> None:
    """The directory is synced after the rename: without that, acknowledged entries go with the name of their
    file."""
    for seed in range(20):
        disk = new_disk(seed)
        log = create(disk)
        append(log, 1, commands(1, 3))
        log.roll()
        append(log, 2, commands(3, 5))
        disk.crash()
        assert reopen(disk).last_index == 4


def test_a_new_log_is_whole_and_durable_or_not_there() -> None:
    for seed in range(12):
        for cut in range(1, 14):
            disk = new_disk(seed)
            disk.cut_after(cut)
            try:
                create(disk)
                created = True
            except PowerCut:
                created = False
            disk.crash()
            try:
                log = reopen(disk)
            except MissingLog:
                assert not created
                log = create(disk)
            assert log.hard_state == HardState()
            assert log.checkpoint == Checkpoint(0, 0, VOTERS)


def test_what_a_killed_process_left_in_the_page_cache_is_durable_once_it_has_been_read() -> None:
    """The restarted replica will acknowledge what it reads: a power cut a moment later must not take it back."""
    for seed in range(10):
        disk = new_disk(seed)
        log = create(disk)
        append(log, 1, commands(1, 3))
        log.stage(2, None, commands(3, 9))
        job = log.write_job()
        assert job is not None
        disk.cut_after(2)
        with pytest.raises(PowerCut):
            job.run()
        disk.crash(keep_all=True)
        seen = reopen(disk).last_index
        disk.crash()
        assert reopen(disk).last_index == seen == 8


def test_a_new_segment_that_a_killed_process_left_keeps_its_name_once_it_has_been_read() -> None:
    """The rename was made and not synced: what the restarted replica sees in it must not go with the name."""
    seen_new = 0
    for seed in range(8):
        for cut in range(1, 12):
            disk = new_disk(seed)
            log = create(disk)
            append(log, 1, commands(1, 3))
            log.roll()
            log.stage(2, None, commands(3, 9))
            job = log.write_job()
            assert job is not None
            disk.cut_after(cut)
            with contextlib.suppress(PowerCut):
                job.run()
            disk.crash(keep_all=True)
            seen = reopen(disk).last_index
            seen_new += seen == 8
            disk.crash()
            assert reopen(disk).last_index == seen
    assert seen_new


def test_left_overs_of_an_interrupted_roll_are_removed() -> None:
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 3))
    for name in ("00000000000000000003-00.segment.new", "incoming-1-5-2-1", "00-00.index"):
        file = disk.open(f"{PATH}/{name}", "create")
        file.pwritev([b"half"], 0)
    log = reopen(disk)
    assert all(name.endswith((".segment", ".checkpoint")) for name in disk.listdir(PATH))
    assert log.last_index == 2


def test_another_group_or_replica_is_refused() -> None:
    disk = new_disk()
    create(disk).close()
    with pytest.raises(WrongReplica):
        PartitionLog.open(disk, PATH, small(), group_id=8, replica_id=3)
    with pytest.raises(WrongReplica):
        PartitionLog.open(disk, PATH, small(), group_id=7, replica_id=4)


def test_a_log_is_not_created_twice_and_one_that_is_not_there_is_missing() -> None:
    disk = new_disk()
    create(disk)
    with pytest.raises(LogExists):
        create(disk)
    with pytest.raises(MissingLog):
        reopen(disk, path="/nothing")


def test_a_segment_of_another_replica_among_ones_own_is_refused() -> None:
    disk = new_disk()
    create(disk)
    other = PartitionLog.create(disk, "/other", small(), 7, 9, VOTERS)
    (path,) = names(disk, ".segment", "/other")
    other.close()
    disk.rename(path, PATH + "/" + path.rsplit("/", 1)[-1])
    with pytest.raises(WrongReplica):
        reopen(disk)


def test_what_can_only_be_a_bug_is_refused() -> None:
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 6), term=3, commit=3)
    for state, entries in (
        (HardState(2, 1, 3), []),
        (HardState(3, 1, 2), []),
        (None, commands(3, 5)),
        (None, commands(8, 9)),
        (None, commands(6, 7, term=9)),
    ):
        with pytest.raises(InvariantViolated):
            log.stage(2, state, entries)


def test_an_unreadable_sector_ends_the_replica() -> None:
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 3))
    log.close()
    log = reopen(disk)
    (path,) = names(disk, ".segment")
    disk.fail_read(path)
    with pytest.raises(NotInMemory):
        log.entries(1, 2, 100)
    job = log.read_job()
    assert job is not None
    with pytest.raises(OSError) as caught:  # noqa: PT011
        job.run()
    log.on_failed(job, caught.value)
    assert log.failed is not None
