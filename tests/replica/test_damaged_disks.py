"""What a node does with a disk that is damaged, full, or fails while a replica is opened or made."""

from __future__ import annotations

import errno

import pytest
from replica.trio import Trio

from quorumlog.replica import Appended
from quorumlog.replica.events import DiskFull, LogRepaired, ReplicaDamaged, ReplicaReplaced
from quorumlog.storage import CorruptLog, LogOptions, PartitionLog
from quorumlog.storage.format import KIND_HARD_STATE, RECORD_MAGIC


def segments(trio: Trio, node: int, group: int, incarnation: int = 0) -> list[str]:
    directory = f"/data/groups/{group}/replica-{incarnation}"
    return [f"{directory}/{name}" for name in trio.disks[node].listdir(directory) if name.endswith(".segment")]


def happened(trio: Trio, node: int, kind: type) -> int:
    return sum(isinstance(event, kind) for event in trio.events[node])


def with_records(count: int = 3, **settings: int) -> tuple[Trio, int]:
    trio = Trio(count)
    trio.make_topic("t", **settings)
    for number in range(20):
        assert isinstance(trio.append(trio.led(), [b"%d" % number])[0], Appended)
    return trio, trio.group()


def other_than(leader: int) -> int:
    return 1 if leader != 1 else 2


def test_an_unreadable_sector_of_one_replica_keeps_no_other_from_serving() -> None:
    trio, group = with_records()
    victim = other_than(trio.led())
    trio.kill(victim)
    for path in segments(trio, victim, group):
        trio.disks[victim].fail_read(path)
    trio.start(victim)
    trio.until(lambda: happened(trio, victim, ReplicaReplaced) == 1, 30_000)
    assert happened(trio, victim, ReplicaDamaged) == 1
    assert trio.replica(victim, 1) is not None, "the controller's replica was opened as ever"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES])
def test_trouble_that_is_no_damage_ends_the_start_and_costs_no_replica(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of descriptors, say: the data is sound, and setting it aside would be the damage."""
    trio, group = with_records()
    victim = other_than(trio.led())
    trio.kill(victim)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "not now")

    with monkeypatch.context() as patch:
        patch.setattr(PartitionLog, "open", refuse)
        with pytest.raises(OSError, match="not now"):
            trio.start(victim)
    trio.kill(victim)
    assert segments(trio, victim, group), "nothing was set aside"
    trio.start(victim)
    trio.pass_time(2_000)
    assert not happened(trio, victim, ReplicaDamaged)


def test_a_replica_that_cannot_be_renewed_is_renewed_when_the_disk_lets_it_and_says_so_once() -> None:
    trio, group = with_records()
    victim = other_than(trio.led())
    disk = trio.disks[victim]
    disk.fail_sync(f"/data/groups/{group}/replica-0/")
    disk.refuse("write", f"/data/groups/{group}/replica-1")
    trio.append(trio.led(), [b"x"])
    trio.pass_time(5_000)
    assert happened(trio, victim, ReplicaDamaged) == 2, "that it is damaged, and that it could not be renewed"
    assert disk.allow("write", f"/data/groups/{group}/replica-1") >= 4, "it was tried again and again"
    trio.until(lambda: happened(trio, victim, ReplicaReplaced) == 1, 30_000)
    assert isinstance(trio.append(trio.led(), [b"y"])[0], Appended)


@pytest.mark.parametrize("full", [False, True])
def test_a_topics_replica_that_could_not_be_made_is_made_when_it_can_be(full: bool) -> None:
    """A full disk is told as such: it has damaged nothing (simulator, seed 595)."""
    trio = Trio()
    trio.until(lambda: trio.leader(1) is not None)
    leader = trio.leader(1)
    assert leader is not None
    victim = other_than(leader)
    disk = trio.disks[victim]
    if full:
        disk.capacity = disk.used
    else:
        disk.refuse("write", "/data/groups/16/")
    trio.make_topic()
    trio.pass_time(2_000)
    assert trio.replica(victim, trio.group()) is None
    assert happened(trio, victim, ReplicaDamaged) == (not full)
    assert happened(trio, victim, DiskFull) >= full
    disk.capacity = 1 << 40
    disk.allow("write", "/data/groups/16/")
    trio.until(lambda: trio.replica(victim, trio.group()) is not None)
    trio.append(trio.led(), [b"a"])
    trio.until(lambda: trio.replica(victim, trio.group()).end_offset == 1)
    assert not trio.replica(victim, trio.group()).damage, "it was never damaged, only late"


def test_a_half_made_log_of_an_earlier_attempt_is_put_aside_and_the_next_one_gets_its_own_number() -> None:
    """The renewed log got its name, and the fsync of the directory that should make that durable failed."""
    trio, group = with_records()
    victim = other_than(trio.led())
    disk = trio.disks[victim]
    disk.fail_sync(f"/data/groups/{group}/replica-0/")
    taken = disk.take_sync_failure
    failed: list[str] = []

    def once(path: str) -> bool:
        named = path == f"/data/groups/{group}" and "replica-1" in disk.listdir(path) and not failed
        if named:
            failed.append(path)
        return named or taken(path)

    disk.take_sync_failure = once  # type: ignore[method-assign]
    trio.append(trio.led(), [b"x"])
    trio.until(lambda: happened(trio, victim, ReplicaReplaced) == 1, 30_000)
    assert failed
    names = disk.listdir(f"/data/groups/{group}")
    assert "replica-1.damaged" in names
    assert "replica-2" in names


@pytest.mark.parametrize("target", ["sealed segment", "checkpoint"])
def test_what_rots_where_nobody_reads_is_found_by_the_scrub_and_healed(target: str) -> None:
    trio, group = with_records(segment_bytes=65_536, max_batch_bytes=65_536)
    for number in range(12):
        trio.append(trio.led(), [b"%d" % number * 20_000])
    trio.pass_time(1_000)
    victim = other_than(trio.led())
    disk = trio.disks[victim]
    directory = f"/data/groups/{group}/replica-0"
    if target == "sealed segment":
        path = segments(trio, victim, group)[0]
    else:
        checkpoints = [name for name in disk.listdir(directory) if name.endswith(".checkpoint")]
        assert len(checkpoints) >= 3
        path = f"{directory}/{checkpoints[1]}"
    trio.kill(victim)
    disk.flip_bit(path, len(disk.content(path)) - 3)
    trio.start(victim)
    trio.until(lambda: happened(trio, victim, ReplicaReplaced) == 1, 60_000)
    assert happened(trio, victim, ReplicaDamaged) == 1


def test_a_leader_with_a_damaged_checkpoint_does_not_send_it_for_ever() -> None:
    """It finds out itself, stands down as damaged, and the follower is served by another."""
    trio, group = with_records(segment_bytes=65_536, max_batch_bytes=65_536, retention_bytes=65_536)
    leader = trio.led()
    behind = other_than(leader)
    trio.kill(behind)

    def retained() -> bool:
        trio.append(trio.led(), [b"x" * 20_000])
        trio.pass_time(500)
        return bool(trio.replica(trio.led(), group).start_offset > 20)

    trio.until(retained, 120_000)
    leader = trio.led()
    trio.pass_time(6_000)
    disk = trio.disks[leader]
    directory = f"/data/groups/{group}/replica-0"
    base = next(name for name in disk.listdir(directory) if name.endswith(".checkpoint"))
    disk.flip_bit(f"{directory}/{base}", len(disk.content(f"{directory}/{base}")) - 1)
    trio.start(behind)
    trio.until(lambda: happened(trio, leader, ReplicaDamaged) == 1, 30_000)
    trio.until(lambda: happened(trio, leader, ReplicaReplaced) == 1, 60_000)
    trio.until(lambda: trio.replica(behind, group).end_offset == trio.replica(trio.led(), group).end_offset)


def test_recovery_says_what_it_cut() -> None:
    trio, group = with_records()
    victim = other_than(trio.led())
    trio.kill(victim)
    (path,) = segments(trio, victim, group)
    end = len(trio.disks[victim].content(path).rstrip(b"\0"))
    trio.disks[victim].flip_bit(path, end - 1)
    trio.start(victim)
    assert happened(trio, victim, LogRepaired) == 1
    assert not happened(trio, victim, ReplicaDamaged)


def test_a_group_that_comes_to_rest_leaves_a_last_word_on_every_disk_and_then_nothing_more() -> None:
    trio, group = with_records()
    trio.until(lambda: all(trio.replica(node, group).quiet for node in trio.ids))
    before = {node: trio.durable_log(node, group) for node in trio.ids}
    trio.pass_time(5_000)
    assert {node: trio.durable_log(node, group) for node in trio.ids} == before
    for node in trio.ids:
        content = before[node].rstrip(b"\0")
        last = content.rfind(RECORD_MAGIC)
        # Vote and term once more, and that everything before was durable: nothing else is said twice.
        assert content[last + 12] == KIND_HARD_STATE
        earlier = content.rfind(RECORD_MAGIC, 0, last)
        trio.disks[node].flip_bit(segments(trio, node, group)[0], earlier + 41)
        with pytest.raises(CorruptLog):
            PartitionLog.open(trio.disks[node], f"/data/groups/{group}/replica-0", LogOptions())


def test_a_full_leader_hands_over_as_soon_as_there_is_somebody_to_take_it() -> None:
    """The first one it turns to has just been cut off; the others still hear it, and would never depose it."""
    trio, group = with_records(5)
    leader = trio.led()
    trio.disks[leader].capacity = trio.disks[leader].used
    trio.isolate(min(node for node in trio.ids if node != leader))
    while not happened(trio, leader, DiskFull):
        trio.append(leader, [b"x" * 2_000])
    assert trio.leader(group) == leader
    trio.until(lambda: trio.leader(group) not in (None, leader))
    assert isinstance(trio.append(trio.led(), [b"y"])[0], Appended)
