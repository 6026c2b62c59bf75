"""Reads beside a write under way: what is not in the file yet is not looked for there."""

from __future__ import annotations

from storage.storage_kit import append, batch, create, data_entry, new_disk, small

from quorumlog.raft.types import HardState


def test_a_read_beside_the_write_that_rolls_the_segment_ends_at_what_is_durable() -> None:
    """Found by the simulator (seeds 12, 13, 23 and others of the first 200): the read looked for the entry after
    its last one, planned for the segment and not written yet, and called the segment damaged; the replica was taken
    out. And the successor, planned too, has no file yet: it is not one that retention removed."""
    disk = new_disk()
    log = create(disk, small(segment_bytes=64 << 10))
    append(log, 1, [data_entry(index, 1, index - 1, size=6000) for index in range(1, 5)])
    log.stage(2, HardState(1, 1, 4), [data_entry(index, 1, index - 1, size=6000) for index in range(5, 20)])
    rolling = log.write_job()
    assert rolling is not None
    assert len(log.segments()) == 2

    job = log.batches_job(0, 19, 1 << 20)
    job.run()
    assert job.batches == [batch(offset, size=6000) for offset in range(4)]
    assert not job.missing
    timed = log.offset_for_time(500, 19)
    assert timed is not None
    timed.run()
    assert (timed.base_offset, timed.missing) == (0, False)

    rolling.run()
    log.on_done(rolling)
    job = log.batches_job(0, 19, 1 << 20)
    job.run()
    assert len(job.batches) == 19
