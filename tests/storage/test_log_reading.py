"""Reading back: by index, by offset and by time, from memory and from disk, through a missing or lying index."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from storage.storage_kit import (
    PATH,
    append,
    batch,
    command,
    commands,
    create,
    data_entry,
    indices,
    names,
    new_disk,
    read_all,
    read_batches,
    read_range,
    reopen,
    small,
    write,
)

from quorumlog.raft.membership import encode_configuration
from quorumlog.raft.types import Compacted, Configuration, Entry, EntryKind, HardState, NotInMemory
from quorumlog.storage import CorruptLog, LogOptions, OffsetNotStored, PartitionLog, TailCache
from quorumlog.storage.sparse import SparseIndex
from quorumlog.wire.header import parse_header

if TYPE_CHECKING:
    from quorumlog.sim.disk import SimulatedDisk

RECORDS = 3


def long_log(segment_bytes: int = 40 << 10, entries: int = 120) -> tuple[SimulatedDisk, PartitionLog]:
    """Entry i is a batch of 3 records at offset 3(i-1), 1 KiB and a bit, at 1000 + 10 i ms; every tenth is a
    command."""
    disk = new_disk()
    log = create(disk, small(segment_bytes))
    offset = 0
    for index in range(1, entries + 1):
        if index % 10 == 0:
            entry = command(index, 1)
        else:
            entry = data_entry(index, 1, offset, count=RECORDS, timestamp_ms=1000 + 10 * index, size=1000)
            offset += RECORDS
        append(log, index, [entry], commit=index - 1)
    log.close()
    return disk, reopen(disk, small(segment_bytes))


def bases(batches: list[bytes]) -> list[int]:
    return [parse_header(one).base_offset for one in batches]


def test_entries_come_back_from_disk_as_they_were() -> None:
    _, log = long_log()
    assert indices(read_all(log, 5000)) == list(range(1, 121))
    assert log.entries(7, 8, 1)[0].data == batch(18, RECORDS, 1070, 1000)


def test_entries_are_bounded_by_bytes_but_never_fewer_than_one() -> None:
    """RAFT.md §5, 31: an entry larger than the limit still goes, alone."""
    _, log = long_log()
    read_all(log)
    assert indices(log.entries(1, 9, 2500)) == [1, 2]
    assert indices(log.entries(1, 9, 1)) == [1]


def test_below_the_first_index_entries_are_compacted() -> None:
    _, log = long_log()
    with pytest.raises(Compacted):
        log.entries(0, 1, 100)
    with pytest.raises(Compacted):
        log.term(-1)


def test_a_wish_is_met_once_and_then_served_from_memory() -> None:
    _, log = long_log()
    for _ in range(3):
        with pytest.raises(NotInMemory):
            log.entries(5, 9, 10_000)
    job = log.read_job()
    assert job is not None
    assert log.read_job() is None
    job.run()
    log.on_done(job)
    assert indices(log.entries(5, 9, 10_000)) == [5, 6, 7, 8]
    assert log.read_job() is None


@pytest.mark.parametrize("offset", [0, 1, 2, 3, 100, 200, 321])
@pytest.mark.parametrize("in_memory", [False, True])
def test_batches_begin_with_the_one_that_holds_the_offset(offset: int, in_memory: bool) -> None:
    _, log = long_log()
    if in_memory:
        read_all(log)
    found = bases(read_batches(log, offset, 324, 4000))
    start = offset // RECORDS * RECORDS
    assert found == list(range(start, 324, RECORDS))[: len(found)]
    assert len(found) == min(3, (324 - start) // RECORDS)


def test_no_batch_at_or_above_the_committed_end_is_read() -> None:
    _, log = long_log()
    assert bases(read_batches(log, 297, 303, 1 << 20)) == [297, 300]
    assert read_batches(log, 303, 303, 1 << 20) == []
    read_all(log)
    assert bases(read_batches(log, 297, 303, 1 << 20)) == [297, 300]


def test_one_batch_comes_though_it_is_larger_than_the_limit() -> None:
    _, log = long_log()
    assert bases(read_batches(log, 5, 324, 1)) == [3]
    read_all(log)
    assert bases(read_batches(log, 5, 324, 1)) == [3]


def test_the_tail_is_served_from_memory_without_touching_the_disk() -> None:
    disk = new_disk()
    log = create(disk)
    append(log, 1, [data_entry(index, 1, index - 1) for index in range(1, 50)])
    for path in names(disk, ".segment"):
        disk.fail_read(path)
    answer = log.read_batches(30, 49, 1 << 20)
    assert not answer.on_disk
    assert bases(answer.batches) == list(range(30, 49))
    assert answer.batches[0] is log.entries(31, 32, 1)[0].data, "shared, not copied"


def test_below_the_start_an_offset_is_not_stored() -> None:
    log = create(new_disk())
    with pytest.raises(OffsetNotStored):
        log.read_batches(0, 5, 100)
    append(log, 1, [data_entry(1, 1, 100)])
    with pytest.raises(OffsetNotStored) as caught:
        log.read_batches(99, 101, 100)
    assert caught.value.start_offset == 100


@pytest.mark.parametrize(
    ("timestamp_ms", "index"), [(0, 1), (1010, 1), (1011, 2), (1500, 51), (1501, 51), (2190, 119)]
)
def test_time_leads_to_the_first_batch_that_is_as_new(timestamp_ms: int, index: int) -> None:
    _, log = long_log()
    job = log.offset_for_time(timestamp_ms, 324)
    assert job is not None
    job.run()
    data = [entry for entry in read_all(log) if entry.index == index]
    assert job.base_offset == parse_header(data[0].data).base_offset


def test_nothing_is_as_new_as_a_time_beyond_the_end() -> None:
    _, log = long_log()
    assert log.offset_for_time(5000, 324) is None
    job = log.offset_for_time(2100, 3)
    assert job is not None
    job.run()
    assert job.base_offset is None, "the batch lies above the committed end"


def test_records_out_of_time_order_are_found_by_the_first_that_is_as_new() -> None:
    log = create(new_disk(), small(2048))
    for index, timestamp in enumerate([100, 500, 200, 300, 900, 400, 1000] * 8, 1):
        append(log, index, [data_entry(index, 1, index - 1, timestamp_ms=timestamp, size=100)])
    for target, offset in ((50, 0), (101, 1), (500, 1), (501, 4), (950, 6)):
        job = log.offset_for_time(target, 1000)
        assert job is not None
        job.run()
        assert job.base_offset == offset


def test_a_missing_index_is_rebuilt_and_a_damaged_one_is_not_believed() -> None:
    disk, log = long_log()
    expected = read_all(log)
    side_files = names(disk, ".index")
    assert len(side_files) == 3
    good = {path: disk.content(path) for path in side_files}
    disk.unlink(side_files[0])
    disk.flip_bit(side_files[1], 60)
    disk.cut_file(side_files[2], 50)
    log = reopen(disk, small(40 << 10))
    assert read_all(log) == expected
    assert bases(read_batches(reopen(disk), 200, 324, 2500)) == [198, 201]
    assert {path: disk.content(path) for path in names(disk, ".index")} == good


def test_an_index_that_lies_with_a_right_checksum_is_found_out_at_the_record_it_points_at() -> None:
    disk, log = long_log()
    expected = read_all(log)
    for number, path in enumerate(names(disk, ".index")):
        unique = int(path[-22:-6], 16)
        liar = SparseIndex.decode(disk.content(path), unique)
        assert liar is not None
        if number == 0:
            liar.positions[1] += 8
        elif number == 1:
            liar.indices[1] += 1
        else:
            liar.offsets[0] = liar.offsets[1] = 0
        disk.stale_block(path, 0, liar.encode(unique))
    log = reopen(disk, small(40 << 10))
    assert read_all(log) == expected
    fresh = reopen(disk, small(40 << 10))
    for offset in range(324):
        assert bases(read_batches(fresh, offset, 324, 1)) == [offset // RECORDS * RECORDS]


def test_discarded_entries_are_never_read_though_they_are_still_in_the_file() -> None:
    disk = new_disk()
    log = create(disk, small(cache_bytes=1))
    append(log, 1, commands(1, 200, data=b"old" * 50))
    number = 1
    for first, term in ((150, 2), (80, 3), (81, 4), (40, 5), (120, 6)):
        number += 1
        append(log, number, commands(first, 130, term=term, data=b"new" * 50), term=term)
    log.close()
    for options in (small(), small(cache_bytes=1)):
        log = reopen(disk, options)
        assert read_all(log, 2000) == reference()
        assert [e.term for e in read_range(log, 78, 83)] == [
            3 if i < 0 else e.term for i, e in enumerate(reference()[77:82])
        ]


def reference() -> list[Entry]:
    found = commands(1, 200, data=b"old" * 50)
    for first, term in ((150, 2), (80, 3), (81, 4), (40, 5), (120, 6)):
        found[first - 1 :] = commands(first, 130, term=term, data=b"new" * 50)
    return found


def test_truncation_may_reach_below_sealed_segments() -> None:
    disk = new_disk()
    log = create(disk, small(1024))
    append(log, 1, commands(1, 100), commit=10)
    assert len(log.segments()) > 5
    append(log, 2, commands(20, 25, term=2), term=2)
    assert [entry.term for entry in read_all(log)] == [1] * 19 + [2] * 5
    log.close()
    log = reopen(disk, small(1024))
    assert read_all(log) == commands(1, 20) + commands(20, 25, term=2)
    assert all(boundary < 20 for boundary in log.sealed_boundaries)
    append(log, 3, commands(25, 60, term=2), term=2)
    assert indices(read_all(log)) == list(range(1, 60))


def test_a_configuration_lives_and_dies_with_its_entry() -> None:
    """RAFT.md §5, 16, on the log's side."""
    disk = new_disk()
    log = create(disk, small(1024))
    one, two = Configuration(frozenset({1})), Configuration(frozenset({1, 2}), learners=frozenset({9}))
    entries = [*commands(1, 30), Entry(30, 1, EntryKind.CONFIGURATION, encode_configuration(one))]
    append(log, 1, [*entries, *commands(31, 60), Entry(60, 1, EntryKind.CONFIGURATION, encode_configuration(two))])
    assert log.configurations() == ((30, one), (60, two))
    append(log, 2, commands(60, 62, term=2), term=2)
    assert log.configurations() == ((30, one),)
    log.close()
    assert reopen(disk, small(1024)).configurations() == ((30, one),)


def test_segments_are_rolled_by_size_by_age_and_on_request() -> None:
    hour = 3_600_000
    log = create(new_disk(), LogOptions(TailCache(1 << 20), 1 << 20, hour))
    append(log, 1, [data_entry(1, 1, 0, timestamp_ms=0), data_entry(2, 1, 1, timestamp_ms=hour - 1)])
    assert len(log.segments()) == 1
    append(log, 2, [data_entry(3, 1, 2, timestamp_ms=hour), data_entry(4, 1, 3, timestamp_ms=2 * hour)])
    assert [segment.first_index for segment in log.segments()] == [1, 3, 4]
    log.roll()
    write(log)
    assert [segment.first_index for segment in log.segments()] == [1, 3, 4, 5]
    log.roll()
    assert log.write_job() is None, "an empty segment is not sealed"
    append(log, 3, [data_entry(5, 1, 4, timestamp_ms=0, size=1 << 20), data_entry(6, 1, 5, timestamp_ms=0)])
    assert log.segments()[-1].first_index == 6


def test_a_read_that_meets_damage_fails_and_never_serves_it() -> None:
    disk, log = long_log()
    sealed = names(disk, ".segment")[0]
    disk.flip_bit(sealed, 5000)
    job = log.batches_job(0, 324, 1 << 20)
    with pytest.raises(CorruptLog) as caught:
        job.run()
    log.on_failed(job, caught.value)
    assert isinstance(log.failed, CorruptLog)


@pytest.mark.parametrize("side_file", ["kept", "lost"])
@pytest.mark.parametrize("position", [96, 150, 5000, 20_000, 39_000])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_no_reader_is_led_past_a_damaged_segment(number: int, position: int, side_file: str) -> None:
    """A part of a damaged segment has an index too: who believed it read on in the next one, and missed the rest
    without a word (found by the simulator, seed 8467)."""
    disk, log = long_log()
    damaged = names(disk, ".segment")[number]
    index = damaged.removesuffix(".segment") + ".index"
    disk.flip_bit(damaged, position)
    if side_file == "lost":
        disk.unlink(index)
    whole = list(range(0, 324, RECORDS))
    by_time = log.offset_for_time(1000 + 10 * 119, 324)
    assert by_time is not None
    for max_bytes in (1 << 20, 3000):
        found: list[int] = []
        with contextlib.suppress(CorruptLog):
            while len(found) < len(whole):
                job = log.batches_job(len(found) * RECORDS, 324, max_bytes)
                job.run()
                found += bases(job.batches)
        assert found == whole[: len(found)]
        # A segment's first record is a hard state, which a reader with an index has no need of.
        assert (found == whole) == (side_file == "kept" and position < 200)
    with contextlib.suppress(CorruptLog):
        by_time.run()
        assert by_time.base_offset == whole[-1]
    assert disk.exists(index) == (side_file == "kept"), "nobody finds a side file that tells of a part only"


def test_a_reader_overtaken_by_retention_is_told_so() -> None:
    disk, log = long_log()
    job = log.batches_job(0, 324, 100)
    with pytest.raises(NotInMemory):
        log.entries(1, 5, 100)
    load = log.read_job()
    assert load is not None
    for path in names(disk, ".segment")[:1]:
        disk.unlink(path)
    job.run()
    assert job.missing
    load.run()
    log.on_done(load)
    assert isinstance(log.failed, CorruptLog), "the log still counted on that segment: it was not retention"


def test_side_files_and_reads_need_no_file_kept_open() -> None:
    disk, log = long_log()
    epoch = disk.epoch
    read_all(log)
    assert disk.epoch == epoch
    assert PATH in log.directory


def test_a_segment_whose_sealing_is_under_way_is_read_as_far_as_it_is_durable() -> None:
    disk = new_disk()
    log = create(disk)
    append(log, 1, [data_entry(1, 1, 0, timestamp_ms=10), data_entry(2, 1, 1, timestamp_ms=20)])
    log.close()
    log = reopen(disk, small(1024))
    log.stage(
        1, None, [data_entry(index, 1, index - 1, timestamp_ms=index * 10, size=100) for index in range(3, 30)]
    )
    assert log.write_job() is not None
    assert len(log.segments()) > 2
    job = log.batches_job(0, 29, 1 << 20)
    job.run()
    assert bases(job.batches) == [0, 1]
    times = log.offset_for_time(25, 29)
    assert times is not None
    times.run()
    assert times.base_offset is None


def test_staged_entries_are_seen_at_once_and_not_evicted_before_they_are_durable() -> None:
    cache = TailCache(2000)
    disk = new_disk()
    log = create(disk, LogOptions(cache, 1 << 20, None))
    for number in range(1, 30):
        log.stage(number, HardState(1), [command(number, 1, bytes(500))])
    assert cache.bytes > 29 * 500
    assert len(log.entries(1, 30, 1 << 20)) == 29
    write(log)
    append(log, 30, [command(30, 1, bytes(70_000))])
    append(log, 31, [command(31, 1, bytes(500))])
    assert cache.bytes < 80_000
    with pytest.raises(NotInMemory):
        log.entries(1, 2, 100)


# --- what offsets need of the log -----------------------------------------------------------------------------


@pytest.mark.parametrize("in_memory", [False, True])
def test_every_batch_comes_with_the_term_of_its_entry(in_memory: bool) -> None:
    disk = new_disk()
    log = create(disk, small())
    for index in range(1, 31):
        append(log, index, [data_entry(index, 1 + index // 10, index - 1)], term=1 + index // 10)
    if not in_memory:
        log.close()
        log = reopen(disk, small())
    for offset in (0, 8, 9, 25, 29):
        found = log.read_batches(offset, 30, 1 << 20)
        assert found.on_disk is not in_memory
        if in_memory:
            batches, terms = found.batches, found.terms
        else:
            job = log.batches_job(offset, 30, 1 << 20)
            job.run()
            batches, terms = job.batches, job.terms
        assert bases(batches) == list(range(offset, 30))
        assert terms == [1 + (base + 1) // 10 for base in bases(batches)]


def test_bytes_between_offsets_are_exact_in_memory() -> None:
    log = create(new_disk(), small(cache_bytes=64 << 20))
    offset, stored = 0, []
    for index in range(1, 400):
        if index % 3 == 0:
            append(log, index, [command(index, 1)])
            continue
        entry = data_entry(index, 1, offset, count=1 + index % 4, size=index % 50)
        append(log, index, [entry])
        stored.append((offset, offset + 1 + index % 4, len(entry.data)))
        offset += 1 + index % 4
    for first, end in (
        (0, offset),
        (0, 1),
        (7, 8),
        (7, 300),
        (offset - 1, offset),
        (offset, offset),
        (250, offset - 3),
    ):
        exact = sum(size for base, last, size in stored if last > first and base < end)
        assert log.bytes_between(first, end) == (exact if first < end else 0), (first, end)
        assert log.bytes_between(first, end) == (exact if first < end else 0), "and a second time"
    for base, last, _ in stored:
        for record in (base, last - 1):
            held = log.batch_at(record)
            assert held is not None
            assert bases([held.data]) == [base]
    assert log.batch_at(offset) is None


def test_bytes_are_counted_anew_where_a_tail_was_replaced() -> None:
    log = create(new_disk(), small())
    append(log, 1, [data_entry(index, 1, index - 1, size=100) for index in range(1, 9)])
    before = log.bytes_between(0, 8)
    assert before is not None
    append(log, 2, [data_entry(index, 2, index - 1, size=10) for index in range(5, 9)], term=2)
    assert log.bytes_between(0, 8) == before - 4 * 90
    assert [log.batch_at(offset).term for offset in (3, 4, 7)] == [1, 2, 2]  # type: ignore[union-attr]
    assert log.batch_at(8) is None
    append(log, 3, [command(index, 3) for index in range(3, 9)], term=3)
    assert log.batch_at(2) is None
    assert log.bytes_between(0, 2) == before // 4
    assert log.bytes_between(0, 3) is None, "there is no such record any more"
    assert log.read_batches(1, 2, 1).terms == [1]


def test_what_is_not_all_in_memory_is_measured_from_the_index_point_before_it() -> None:
    _, log = long_log(segment_bytes=40 << 10, entries=120)
    assert log.bytes_between(0, 324) is None
    total = log.size_bytes
    last = total
    for offset in range(0, 324, 20):
        job = log.batches_job(offset, 324, 1)
        job.run()
        assert job.found_at is not None
        behind = log.bytes_from(job.found_at)
        exact = sum(len(one) for one in read_batches(log, offset, 324, 1 << 30))
        beside = 120 * (40 + 64)  # each entry has a head, and was written with a hard state of its own
        assert exact <= behind <= exact + beside + (16 << 10) + 1_100, offset
        assert behind <= last
        last = behind
    assert log.bytes_from(("/no/such.segment", 0)) == 0
