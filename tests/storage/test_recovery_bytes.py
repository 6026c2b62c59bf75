"""A small log, cut and flipped at every byte: what each outcome may be is stated, and nothing else is allowed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from storage.storage_kit import (
    PATH,
    VOTERS,
    append,
    commands,
    create,
    data_entry,
    names,
    new_disk,
    read_all,
    reopen,
    small,
    write,
)

from quorumlog.raft.types import Checkpoint, Entry, HardState
from quorumlog.storage import CorruptLog, NewerFormat, PartitionLog
from quorumlog.storage.format import HEADER_SIZE
from quorumlog.storage.recovery import scan_segment

if TYPE_CHECKING:
    from quorumlog.sim.disk import SimulatedDisk

JOBS = ([1, 2, 3], [4], [5, 6])


def three_jobs() -> tuple[SimulatedDisk, str, list[int]]:
    """A segment of its first job (nothing but a hard state) and three more; the positions at which the jobs
    begin."""
    disk = new_disk()
    log = create(disk)
    starts = []
    for number, indices in enumerate(JOBS, 1):
        starts.append(log.segments()[-1].bytes)
        entries = [data_entry(index, 1, index - 1, size=index) for index in indices]
        append(log, number, entries, term=1, vote=2)
    starts.append(log.segments()[-1].bytes)
    (path,) = names(disk, ".segment")
    return disk, path, starts


def survivors(disk: SimulatedDisk) -> tuple[list[int], HardState]:
    log = reopen(disk)
    found = [entry.index for entry in read_all(log)]
    state = log.hard_state
    log.close()
    return found, state


def test_a_file_cut_at_any_byte_keeps_exactly_the_whole_records_before_the_cut() -> None:
    _, path, starts = three_jobs()
    size = starts[-1]
    whole = {0: 0}
    disk, path, _ = three_jobs()
    active = scan_segment(disk, path).active
    assert active.end == size
    for cut in range(size):
        disk, path, _ = three_jobs()
        disk.cut_file(path, cut)
        if cut < starts[0]:
            # Header and first job are durable before the segment gets its name: this is never a torn write.
            with pytest.raises(CorruptLog):
                reopen(disk)
            continue
        found, state = survivors(disk)
        assert found == list(range(1, len(found) + 1))
        assert state.term == (1 if cut >= starts[0] + 64 else 0)
        assert len(found) >= whole.get(cut - 1, 0)
        whole[cut] = len(found)
    assert whole[size - 1] == 5


@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_in_what_a_later_job_vouches_for_is_damage_and_in_the_last_job_a_torn_write(bit: int) -> None:
    disk, path, starts = three_jobs()
    intact = disk.content(path)
    for position in range(len(intact)):
        disk.stale_block(path, 0, intact)
        disk.flip_bit(path, position, bit)
        if position < starts[2]:
            with pytest.raises(CorruptLog) as caught:
                reopen(disk)
            assert caught.value.path == path
            assert caught.value.position <= position + 8
            assert disk.content(path)[:position] == intact[:position], "a refused log must not be touched"
        else:
            found, state = survivors(disk)
            assert found in ([1, 2, 3, 4], [1, 2, 3, 4, 5])
            assert state == HardState(1, 2, 0)
            disk, path, _ = three_jobs()


def sealed_and_active() -> tuple[SimulatedDisk, list[str]]:
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 6), commit=0)
    log.roll()
    append(log, 2, commands(6, 8), commit=5)
    log.close()
    return disk, names(disk, ".segment")


@pytest.mark.parametrize("which", ["trailer", "header", "active header"])
def test_a_flipped_bit_in_a_trailer_or_a_header_is_damage(which: str) -> None:
    disk, (sealed, active) = sealed_and_active()
    path = active if which.startswith("active") else sealed
    intact = disk.content(path)
    trailer = int.from_bytes(intact[-8:], "little")
    positions = range(trailer, len(intact)) if which == "trailer" else range(HEADER_SIZE)
    for position in positions:
        disk.stale_block(path, 0, intact)
        disk.flip_bit(path, position)
        with pytest.raises(CorruptLog):
            reopen(disk)


def test_a_flipped_bit_in_a_sealed_segments_records_is_found_when_they_are_read_and_never_served() -> None:
    disk, (sealed, _) = sealed_and_active()
    intact = disk.content(sealed)
    trailer = int.from_bytes(intact[-8:], "little")
    good = read_all(reopen(disk))
    for position in range(HEADER_SIZE, trailer, 3):
        disk.stale_block(sealed, 0, intact)
        disk.flip_bit(sealed, position)
        log = reopen(disk)
        with contextlib.suppress(CorruptLog):
            assert read_all(log) == good
        with pytest.raises(CorruptLog):
            scan_all(disk, sealed)


def scan_all(disk: SimulatedDisk, path: str) -> None:
    scanned = scan_segment(disk, path)
    if scanned.trailer is None:
        raise CorruptLog(path, scanned.end, scanned.why)


def test_a_sealed_segment_cut_at_any_byte_or_grown_is_damage() -> None:
    disk, (sealed, _) = sealed_and_active()
    intact = disk.content(sealed)
    for size in range(len(intact)):
        disk.stale_block(sealed, 0, intact)
        disk.cut_file(sealed, size)
        with pytest.raises(CorruptLog):
            reopen(disk)
    disk.stale_block(sealed, 0, intact + bytes(8))
    with pytest.raises(CorruptLog):
        reopen(disk)


def damaged_at(disk: SimulatedDisk, path: str, what: str) -> None:
    size = len(disk.content(path))
    middle = size // 2 & ~7
    if what == "zeroed page":
        disk.stale_block(path, middle, bytes(64))
    elif what == "misdirected":
        disk.misdirect(path, HEADER_SIZE, 64, path, middle)
    else:
        disk.stale_block(path, middle, b"\xff" * 64)


@pytest.mark.parametrize("what", ["zeroed page", "misdirected", "noise"])
def test_a_lost_or_misdirected_write_below_a_later_job_is_damage(what: str) -> None:
    disk = new_disk()
    log = create(disk)
    for number in range(1, 9):
        append(log, number, commands(number * 3 - 2, number * 3 + 1))
    (path,) = names(disk, ".segment")
    damaged_at(disk, path, what)
    with pytest.raises(CorruptLog):
        reopen(disk)


def test_valid_records_after_a_torn_one_of_the_same_job_do_not_make_it_corruption() -> None:
    disk, path, starts = three_jobs()
    middle_of_last = starts[2] + 64 + 16
    disk.stale_block(path, middle_of_last, bytes(16))
    found, _ = survivors(disk)
    assert found == [1, 2, 3, 4]


def test_what_lay_beyond_a_cut_never_comes_back_when_the_same_positions_are_written_again() -> None:
    """The torn job left entry 6 behind, valid and aligned to what the next job, of equal size, will end with."""
    disk, path, starts = three_jobs()
    disk.stale_block(path, starts[2] + 44, b"torn")
    log = reopen(disk)
    assert log.last_index == 4
    assert log.repaired
    append(log, 1, [data_entry(5, 2, 4, size=5)], term=2)
    # Entry 6 of term 1 would follow entry 5 of term 2 exactly here, were the cut not made on disk.
    disk.crash()
    log = reopen(disk)
    assert [(entry.index, entry.term) for entry in read_all(log)] == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2)]


def test_a_payload_that_holds_a_copy_of_the_segment_is_never_taken_for_records() -> None:
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 4))
    (path,) = names(disk, ".segment")
    copy = disk.content(path)
    append(log, 2, [*commands(4, 5, data=copy + bytes(8 - len(copy) % 8)), *commands(5, 6)])
    size = log.segments()[-1].bytes
    # Damage the record that holds the copy: the hard states in it must not vouch for anything.
    position = disk.content(path).find(copy[:HEADER_SIZE], HEADER_SIZE)
    assert 0 < position < size
    disk.flip_bit(path, position + 3)
    log = reopen(disk)
    assert log.last_index == 3


def test_a_commit_index_beyond_the_last_entry_means_lost_data() -> None:
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 6))
    append(log, 2, [], commit=5)
    (path,) = names(disk, ".segment")
    scanned = scan_segment(disk, path)
    header = scanned.active.header
    # A disk that lost the entries and kept the hard state: forge the log that says so, with the right checksums.
    from quorumlog.storage.format import encode_hard_state

    forged = encode_hard_state(header.checksum_seed, HEADER_SIZE, HardState(1, 1, 5), HEADER_SIZE)
    disk.cut_file(path, HEADER_SIZE)
    disk.stale_block(path, HEADER_SIZE, forged)
    file = disk.open(path, "write")
    file.pwritev([forged], HEADER_SIZE)
    file.fdatasync()
    with pytest.raises(CorruptLog, match="commit index 5"):
        reopen(disk)


def test_the_commit_index_on_disk_never_outruns_what_was_durable_before_its_job() -> None:
    """A torn job must not leave a commit index beyond its surviving entries: that would read as lost data."""
    disk = new_disk()
    log = create(disk)
    log.stage(1, HardState(1, 1, 3), commands(1, 4))
    job = log.write_job()
    assert job is not None
    job.run()
    log.on_done(job)
    (path,) = names(disk, ".segment")
    disk.cut_file(path, HEADER_SIZE + 64 + 64)
    log = reopen(disk)
    assert (log.last_index, log.hard_state.commit) == (0, 0)


def test_a_missing_hard_state_never_becomes_term_0() -> None:
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 3), term=5)
    log.close()
    for path in names(disk, ".segment"):
        disk.unlink(path)
    with pytest.raises(CorruptLog, match="hard state"):
        reopen(disk)


def test_a_missing_segment_in_the_middle_or_before_the_first_is_damage() -> None:
    for missing in (0, 1):
        disk = new_disk()
        log = create(disk)
        for number in range(1, 4):
            append(log, number, commands(number * 2 - 1, number * 2 + 1))
            log.roll()
            write(log)
        disk.unlink(names(disk, ".segment")[missing])
        with pytest.raises(CorruptLog, match="is missing"):
            reopen(disk)


def test_a_missing_checkpoint_below_the_log_is_damage_though_there_is_a_newer_one() -> None:
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 4), commit=0)
    log.roll()
    append(log, 2, commands(4, 6), commit=3)
    save(log, 3)
    disk.unlink(names(disk, ".checkpoint")[0])
    with pytest.raises(CorruptLog, match="checkpoint below the log"):
        reopen(disk)


def test_damage_in_a_segments_first_job_is_never_a_torn_write() -> None:
    """Nothing later vouches for it, but the segment got its name only when this was durable."""
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 4))
    log.roll()
    append(log, 2, commands(4, 7))
    path = names(disk, ".segment")[1]
    intact = disk.content(path)
    for position in range(HEADER_SIZE, log.segments()[-1].bytes):
        disk.stale_block(path, 0, intact)
        disk.flip_bit(path, position)
        with pytest.raises(CorruptLog):
            reopen(disk)


def test_a_record_copied_to_the_end_of_its_own_file_is_no_record_there() -> None:
    disk, path, starts = three_jobs()
    disk.misdirect(path, starts[2], 64, path, starts[3])
    log = reopen(disk)
    assert log.repaired
    assert log.segments()[-1].bytes == starts[3]
    assert disk.content(path)[starts[3] :] == b""


def test_a_record_of_another_segment_is_no_record_even_at_its_own_position() -> None:
    disk, path, starts = three_jobs()
    other = PartitionLog.create(disk, "/other", small(), 7, 3, VOTERS)
    for number, indices in enumerate(JOBS, 1):
        append(other, number, [data_entry(index, 1, index - 1, size=index, timestamp_ms=5) for index in indices])
    (foreign,) = names(disk, ".segment", "/other")
    disk.misdirect(foreign, starts[2], starts[3] - starts[2], path, starts[2])
    log = reopen(disk)
    assert log.last_index == 4
    assert log.repaired


def test_a_newer_format_is_said_to_be_one_and_left_alone() -> None:
    disk, (sealed, active) = sealed_and_active()
    before = {name: disk.content(f"{PATH}/{name}") for name in disk.listdir(PATH)}
    content = bytearray(disk.content(active))
    content[8] = 2
    from quorumlog.storage.format import crc32c_extend

    crc = crc32c_extend(crc32c_extend(0, bytes(content[:12])), bytes(content[16:HEADER_SIZE]))
    content[12:16] = crc.to_bytes(4, "little")
    disk.stale_block(active, 0, bytes(content))
    with pytest.raises(NewerFormat) as caught:
        reopen(disk)
    assert (caught.value.version, caught.value.known) == (2, 1)
    assert disk.content(sealed) == before[sealed.removeprefix(PATH + "/")]
    assert sorted(before) == disk.listdir(PATH)


def test_a_damaged_checkpoint_falls_back_to_the_one_before_it_while_the_log_reaches_back_to_that() -> None:
    disk = new_disk()
    log = create(disk)
    for number in range(1, 4):
        append(log, number, commands(number * 2 - 1, number * 2 + 1), commit=number * 2 - 2)
        log.roll()
        write(log)
    for boundary in (2, 4):
        save(log, boundary)
    log.close()
    *_, newest = names(disk, ".checkpoint")
    disk.flip_bit(newest, len(disk.content(newest)) - 1)
    log = reopen(disk)
    assert log.latest_checkpoint()[0].index == 2
    assert log.read_checkpoint() == b"state 2"
    assert log.repaired
    assert log.sealed_boundaries == (4, 6)
    save(log, 4)
    log.close()
    assert reopen(disk).read_checkpoint() == b"state 4"


def save(log: PartitionLog, boundary: int) -> None:
    job = log.checkpoint_job(Checkpoint(boundary, log.term(boundary), VOTERS), b"state %d" % boundary)
    job.run()
    log.on_done(job)


def test_a_damaged_checkpoint_with_nothing_before_it_is_damage_at_every_byte() -> None:
    disk = new_disk()
    create(disk, small())
    (path,) = names(disk, ".checkpoint")
    intact = disk.content(path)
    for position in range(len(intact)):
        disk.stale_block(path, 0, intact)
        disk.flip_bit(path, position)
        with pytest.raises(CorruptLog):
            reopen(disk)


def test_a_checkpoint_beyond_the_log_means_that_the_log_has_lost_its_end() -> None:
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 4))
    log.roll()
    append(log, 2, commands(4, 6), commit=3)
    save(log, 3)
    older = new_disk(2)
    other = create(older)
    append(other, 1, commands(1, 2))
    name = names(disk, ".checkpoint")[-1]
    file = older.open(name, "create")
    file.pwritev([disk.content(name)], 0)
    with pytest.raises(CorruptLog, match="does not fit the log"):
        reopen(older)


def entry_bytes(entries: list[Entry]) -> list[bytes]:
    return [entry.data for entry in entries]
