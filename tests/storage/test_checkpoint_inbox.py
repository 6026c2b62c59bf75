"""A checkpoint on its way from one replica to another: whole, of one sender, and in place of the whole log."""

from __future__ import annotations

import pytest
from storage.storage_kit import PATH, VOTERS, append, commands, create, names, new_disk, read_all, reopen, write

from quorumlog.raft.errors import InvariantViolated
from quorumlog.raft.types import Checkpoint, Configuration, HardState
from quorumlog.sim.disk import PowerCut, SimulatedDisk
from quorumlog.storage import CheckpointInbox, CorruptLog, PartitionLog, TransferKey
from quorumlog.storage.checkpoint import encode_checkpoint

LATER = Configuration(frozenset({1, 2, 4}), learners=frozenset({5}))


def content(index: int, term: int, state: bytes = b"the state" * 100) -> bytes:
    return b"".join(encode_checkpoint(7, Checkpoint(index, term, LATER), state))


def send(inbox: CheckpointInbox, key: TransferKey, data: bytes, size: int = 100) -> None:
    for position in range(0, len(data), size):
        job = inbox.chunk_job(key, position, data[position : position + size], len(data))
        assert job is not None
        job.run()
        inbox.on_done(job)


def received(disk: SimulatedDisk, index: int, term: int) -> str:
    inbox = CheckpointInbox(disk, PATH)
    send(inbox, TransferKey(term, index, 1), content(index, term))
    assert inbox.completed is not None
    return inbox.completed[2]


def install(log: PartitionLog, number: int, disk: SimulatedDisk, index: int, term: int) -> None:
    path = received(disk, index, term)
    log.stage(number, HardState(max(term, log.hard_state.term), None, log.hard_state.commit), ())
    job = log.install_checkpoint_job(number, Checkpoint(index, term, LATER), path)
    assert job is not None
    assert job.number == number
    job.run()
    log.on_done(job)


def test_a_checkpoint_replaces_the_whole_log_durably() -> None:
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 6))
    log.roll()
    append(log, 2, commands(6, 9))
    install(log, 3, disk, 50, 4)
    assert (log.first_index, log.last_index, log.term(50)) == (51, 50, 4)
    append(log, 4, commands(51, 53, term=4), term=4)
    disk.crash()
    log = reopen(disk)
    assert log.checkpoint == Checkpoint(50, 4, LATER)
    assert log.hard_state.commit == 50
    assert log.read_checkpoint() == b"the state" * 100
    assert read_all(log) == commands(51, 53, term=4)
    assert len(names(disk, ".checkpoint")) == len(names(disk, ".segment")) == 1


def test_an_installation_cut_at_any_step_leaves_the_old_log_or_the_new_one() -> None:
    outcomes = set()
    for cut in range(1, 14):
        for seed in range(8):
            disk = new_disk(seed)
            log = create(disk)
            append(log, 1, commands(1, 6))
            path = received(disk, 50, 4)
            log.stage(2, HardState(4, None, 0), ())
            job = log.install_checkpoint_job(2, Checkpoint(50, 4, LATER), path)
            assert job is not None
            disk.cut_after(cut)
            try:
                job.run()
                finished = True
            except PowerCut:
                finished = False
            disk.crash()
            log = reopen(disk)
            outcomes.add(log.first_index)
            if log.first_index == 1:
                assert not finished
                assert read_all(log) == commands(1, 6)
                assert log.checkpoint.index == 0
            else:
                assert (log.first_index, log.last_index, log.hard_state.term) == (51, 50, 4)
                assert log.read_checkpoint() == b"the state" * 100
            append(log, 1, commands(log.last_index + 1, log.last_index + 3, term=4), term=4)
            disk.crash()
            assert reopen(disk).last_index == log.last_index
    assert outcomes == {1, 51}


def test_an_installation_waits_for_the_write_under_way_and_nothing_replaced_is_vouched_for() -> None:
    disk = new_disk()
    log = create(disk)
    log.stage(1, HardState(1), commands(1, 6))
    job = log.write_job()
    assert job is not None
    path = received(disk, 50, 4)
    log.stage(2, HardState(4), ())
    assert log.install_checkpoint_job(2, Checkpoint(50, 4, LATER), path) is None
    log.stage(3, None, commands(51, 52, term=4))
    job.run()
    log.on_done(job)
    assert log.durable_index == 0
    assert write(log) == 3
    assert log.durable_index == 51
    disk.crash()
    assert read_all(reopen(disk)) == commands(51, 52, term=4)


def test_an_old_checkpoint_never_replaces_a_newer_log() -> None:
    """RAFT.md §5, 26."""
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 60), commit=55)
    path = received(disk, 50, 1)
    with pytest.raises(InvariantViolated):
        log.install_checkpoint_job(2, Checkpoint(50, 1, LATER), path)
    log.close()
    log = reopen(disk)
    assert (log.first_index, log.last_index) == (1, 59)
    assert log.latest_checkpoint()[0].index == 0


def test_chunks_of_two_leaders_never_mix() -> None:
    """RAFT.md §5, 27: equal length, equal index, different bytes."""
    disk = new_disk()
    create(disk)
    inbox = CheckpointInbox(disk, PATH)
    old, new = content(50, 4, b"A" * 900), content(50, 5, b"B" * 900)
    older, newer = TransferKey(4, 50, 1), TransferKey(5, 50, 2)
    first = inbox.chunk_job(older, 0, old[:400], len(old))
    assert first is not None
    first.run()
    inbox.on_done(first)
    assert inbox.chunk_job(newer, 400, new[400:800], len(new)) is None, "not the beginning of the newer transfer"
    assert inbox.expected(newer) == 0
    begin = inbox.chunk_job(newer, 0, new[:400], len(new))
    assert begin is not None
    begin.run()
    inbox.on_done(begin)
    assert inbox.chunk_job(older, 400, old[400:], len(old)) is None, "the older leader's chunk comes too late"
    rest = inbox.chunk_job(newer, 400, new[400:], len(new))
    assert rest is not None
    rest.run()
    inbox.on_done(rest)
    assert inbox.completed is not None
    key, checkpoint, path = inbox.completed
    assert (key, checkpoint.term) == (newer, 5)
    assert disk.content(path) == new


def test_a_chunk_that_comes_twice_or_out_of_turn_is_not_taken() -> None:
    disk = new_disk()
    create(disk)
    inbox = CheckpointInbox(disk, PATH)
    key, data = TransferKey(1, 50, 1), content(50, 1)
    job = inbox.chunk_job(key, 0, data[:300], len(data))
    assert job is not None
    assert inbox.chunk_job(key, 0, data[:300], len(data)) is None, "one at a time"
    job.run()
    inbox.on_done(job)
    assert inbox.expected(key) == 300
    assert inbox.chunk_job(key, 0, data[:300], len(data)) is None
    assert inbox.chunk_job(key, 600, data[600:], len(data)) is None
    assert inbox.chunk_job(key, 300, data[300:] + b"more", len(data)) is None


@pytest.mark.parametrize("position", range(0, 200, 7))
def test_a_checkpoint_damaged_on_the_way_is_refused_and_can_be_sent_again(position: int) -> None:
    disk = new_disk()
    create(disk)
    inbox = CheckpointInbox(disk, PATH)
    good = content(50, 1)
    bad = bytearray(good)
    bad[position if position < 190 else len(good) - 1] ^= 4
    key = TransferKey(1, 50, 1)
    job = inbox.chunk_job(key, 0, bytes(bad), len(bad))
    assert job is not None
    with pytest.raises(CorruptLog):
        job.run()
    inbox.on_failed(job)
    assert inbox.completed is None
    send(inbox, key, good)
    assert inbox.completed is not None


def test_a_follower_gets_the_bytes_that_the_leader_has_even_while_retention_drops_them() -> None:
    disk = new_disk()
    log = create(disk)
    append(log, 1, commands(1, 6))
    log.roll()
    append(log, 2, commands(6, 9), commit=5)
    job = log.checkpoint_job(Checkpoint(5, 1, VOTERS), b"s" * 500)
    job.run()
    log.on_done(job)
    reader = log.checkpoint_reader(log.checkpoint)
    assert reader is not None
    assert reader.checkpoint.index == 0, "what a follower needs is the checkpoint before the first entry"
    piece = reader.chunk_job(0, 50)
    piece.run()
    drop = log.retain_job(0)
    assert drop is not None
    drop.run()
    log.on_done(drop)
    rest = reader.chunk_job(50, 1000)
    rest.run()
    assert len(piece.data + rest.data) == reader.size
    assert log.checkpoint.index == 5
    assert log.checkpoint_reader(reader.checkpoint) is None
