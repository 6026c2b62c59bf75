"""Everything that is sealed is verified, a piece at a time, and no damaged byte of it is passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from storage.storage_kit import PATH, VOTERS, append, commands, create, names, new_disk, reopen, small

from quorumlog.raft.types import Checkpoint
from quorumlog.storage import CorruptLog, PartitionLog
from quorumlog.storage.format import HEADER_SIZE
from quorumlog.storage.scrub import ScrubJob

if TYPE_CHECKING:
    from quorumlog.sim.disk import SimulatedDisk


def rolled() -> tuple[SimulatedDisk, PartitionLog]:
    """Sealed segments, checkpoints at the first two boundaries, and an active segment."""
    disk = new_disk()
    log = create(disk, small(segment_bytes=8 << 10))
    for number in range(1, 5):
        append(log, number, commands(number * 10 - 9, number * 10 + 1, data=b"x" * 500))
        log.roll()
    for boundary in log.sealed_boundaries[:2]:
        job = log.checkpoint_job(Checkpoint(boundary, 1, VOTERS), b"state" * 100)
        job.run()
        log.on_done(job)
    return disk, log


def scrub(log: PartitionLog) -> int:
    """Everything; how many bytes."""
    total = 0
    for job in log.scrub_jobs():
        while not job.done:
            job.run()
        total += job.position
    return total


def test_a_sound_log_is_read_to_its_last_sealed_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, log = rolled()
    sealed = [info for info in log.segments() if info.sealed]
    assert len(sealed) >= 3
    checkpoints = sum(len(disk.content(path)) for path in names(disk, ".checkpoint"))
    expected = sum(info.bytes for info in sealed) + checkpoints
    assert scrub(log) == expected
    monkeypatch.setattr(ScrubJob, "PIECE_BYTES", 700)
    assert scrub(log) == expected


def test_damage_to_any_byte_of_a_sealed_segment_is_found() -> None:
    disk, log = rolled()
    path = log.segments()[1].path
    size = log.segments()[1].bytes
    missed = []
    for position in [*range(HEADER_SIZE), *range(HEADER_SIZE, size, 7), *range(size - 50, size)]:
        disk.flip_bit(path, position, 1)
        try:
            scrub(log)
            missed.append(position)
        except CorruptLog:
            pass
        disk.flip_bit(path, position, 1)
    assert not missed


def test_damage_to_a_checkpoint_that_no_start_would_read_is_found() -> None:
    disk, log = rolled()
    _, middle, _ = names(disk, ".checkpoint")
    disk.flip_bit(middle, len(disk.content(middle)) - 1)
    assert reopen(disk, path=PATH).last_index == log.last_index, "a start does not need it"
    with pytest.raises(CorruptLog):
        scrub(log)


def test_what_retention_has_taken_meanwhile_is_no_damage() -> None:
    disk, log = rolled()
    jobs = log.scrub_jobs()
    for path in [*names(disk, ".segment")[:1], *names(disk, ".checkpoint")]:
        disk.unlink(path)
    for job in jobs:
        while not job.done:
            job.run()
