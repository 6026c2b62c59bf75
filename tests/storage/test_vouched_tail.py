"""Damage to the last write of a log that has come to rest is damage, and never taken for a torn write."""

from __future__ import annotations

import pytest
from storage.storage_kit import append, command, commands, create, names, new_disk, read_all, reopen, small, write

from quorumlog.raft.types import HardState
from quorumlog.storage import CorruptLog
from quorumlog.storage.format import HARD_STATE_RECORD_SIZE, KIND_HARD_STATE, RECORD_MAGIC


def test_with_a_last_word_every_flipped_bit_of_the_last_entry_and_of_the_vote_is_damage() -> None:
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 3))
    append(log, 2, [command(3, 4, b"acknowledged")], term=4, vote=2, commit=2)
    (path,) = names(disk, ".segment")
    end = len(disk.content(path).rstrip(b"\0"))
    assert log.vouch(0)
    write(log)
    assert not log.vouch(0), "nothing has been written since"
    log.close()
    vote = disk.content(path).rfind(RECORD_MAGIC, 0, end)
    vote = disk.content(path).rfind(RECORD_MAGIC, 0, vote)
    assert disk.content(path)[vote + 12] == KIND_HARD_STATE
    for position in range(vote, end):
        disk.flip_bit(path, position, 3)
        with pytest.raises(CorruptLog):
            reopen(disk)
        disk.flip_bit(path, position, 3)
    assert reopen(disk).last_index == 3


def test_the_last_word_itself_may_be_damaged_and_nothing_is_missing() -> None:
    for offset in range(HARD_STATE_RECORD_SIZE):
        disk = new_disk()
        log = create(disk)
        append(log, 1, commands(1, 5), term=7, vote=3)
        log.vouch(0)
        write(log)
        log.close()
        (path,) = names(disk, ".segment")
        last = disk.content(path).rfind(RECORD_MAGIC)
        disk.flip_bit(path, last + offset)
        again = reopen(disk)
        assert again.hard_state == HardState(7, 3, 0)
        assert read_all(again) == commands(1, 5)


def test_without_it_the_last_write_may_have_been_torn_and_is_cut() -> None:
    """What the last word is for: nothing behind the last write says that it was ever durable."""
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 5))
    append(log, 2, commands(5, 6))
    log.close()
    (path,) = names(disk, ".segment")
    disk.flip_bit(path, disk.content(path).rfind(RECORD_MAGIC) + 45)
    assert reopen(disk).last_index == 4


def test_a_log_that_is_written_to_again_wants_another_last_word_and_a_sealed_tail_none() -> None:
    disk = new_disk()
    log = create(disk, small(segment_bytes=1024))
    append(log, 1, commands(1, 2))
    assert log.vouch(0)
    write(log)
    append(log, 2, commands(2, 3))
    assert log.vouch(0)
    write(log)
    log.stage(3, None, commands(3, 4))
    assert not log.vouch(0), "a write is due anyway"
    write(log)
    disk.capacity = disk.used
    log.stage(4, None, commands(4, 400))
    job = log.write_job()
    assert job is not None
    with pytest.raises(OSError, match="space") as caught:
        job.run()
    log.on_failed(job, caught.value)
    assert not log.vouch(0), "there is no room for it"


def test_the_last_word_says_how_far_the_log_is_committed_and_never_more_than_it_holds() -> None:
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 5), term=7, vote=3)
    assert log.durable_commit == 0
    log.vouch(3)
    assert log.durable_commit == 0, "not written yet"
    write(log)
    assert log.durable_commit == 3
    append(log, 2, commands(5, 6), term=7, vote=3, commit=3)
    log.vouch(99)
    write(log)
    log.close()
    again = reopen(disk)
    assert again.durable_commit == again.last_index == 5
