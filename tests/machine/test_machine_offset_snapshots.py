"""The offsets are in the partition's snapshot, whole, in one form only; and in its digest."""

from __future__ import annotations

import struct

import pytest
from machine.offset_kit import Partition, committed, item, owned

from quorumlog.machine import MalformedSnapshot, OffsetTable, PartitionMachine, SnapshotTooNew
from quorumlog.machine.errors import MachineInvariantViolated
from quorumlog.machine.offset_results import Audited, AuditedGroup, Regressed, Stored

#: Where the groups begin in the snapshot of a partition without producers, and how long the head of the table is.
TABLE = 50
TABLE_HEAD = 20


def busy() -> Partition:
    """Groups in every condition."""
    partition = Partition(100)
    partition.acquire(group="held", generation=4, exclusive=True)
    partition.pin(3, group="held")
    partition.commits(item(5, group="held", metadata=b"note"))
    partition.commits(item(9, group="held", sequence=2)._replace(fingerprint=None))
    partition.acquire(group="released", owner="ä")
    partition.release(group="released")
    partition.acquire(group="revoked")
    partition.reset(7, group="revoked", force=True, reason="weil")
    partition.reset(8, group="expired")
    partition.expire(1_000, group="expired")
    partition.mark(hold_bytes=77, group="marked")
    partition.acquire(group="gone")
    partition.forget(force=True, group="gone")
    return partition


def test_a_replica_restored_from_a_snapshot_has_every_group_as_it_was() -> None:
    partition = busy()
    restored = PartitionMachine(max_groups=100)
    restored.restore(partition.machine.snapshot())
    names = ["expired", "held", "marked", "released", "revoked"]
    assert restored.offsets.names() == partition.machine.offsets.names() == names
    for one, other in zip(restored.offsets.groups(), partition.machine.offsets.groups(), strict=True):
        for field in set(type(one).__slots__) - {"memory"}:
            assert getattr(one, field) == getattr(other, field), f"{one.name}.{field}"
        for field in type(one.memory).__slots__:
            assert getattr(one.memory, field) == getattr(other.memory, field), f"{one.name}.{field}"
    assert restored.offsets.epoch_floor == partition.machine.offsets.epoch_floor == 1
    assert restored.offsets.removed_version == partition.version
    assert restored.snapshot() == partition.machine.snapshot()


def test_equal_tables_have_equal_bytes_however_they_came_about() -> None:
    one, other = Partition(10), Partition(10)
    for partition, order in ((one, "abc"), (other, "cab")):
        for group in order:
            partition.mark(hold_bytes=ord(group), group=group)
    assert one.machine.offsets.digest() == other.machine.offsets.digest()
    assert one.machine.snapshot()[TABLE:] == other.machine.snapshot()[TABLE:]


def test_whatever_differs_in_a_table_differs_in_its_digest() -> None:
    reference = busy().machine.offsets.digest()
    changes = {
        "stored": Stored(6, 1, 1, 1, None, b""),
        "last_owner": "somebody",
        "previous_owner": "somebody",
        "previous_released": False,
        "owner_epoch": 9,
        "generation": 9,
        "session": 9,
        "last_sequence": 9,
        "exclusive": False,
        "lease_ms": 9,
        "last_sign_ms": 9,
        "last_use_ms": 9,
        "critical": True,
        "hold_bytes": 9,
        "expired_wall_ms": 9,
    }
    partition = busy()
    partition.group("held").memory.forgotten_version = 9
    seen = {reference, partition.machine.offsets.digest()}
    for attempt in ((9, 0), (0, 9)):
        partition = busy()
        partition.group("held").memory.forgotten_attempt = attempt
        seen.add(partition.machine.offsets.digest())
    for field, value in changes.items():
        partition = busy()
        setattr(partition.group("held"), field, value)
        seen.add(partition.machine.offsets.digest())
    assert len(seen) == len(changes) + 4


def test_a_snapshot_from_before_there_were_offsets_is_read_and_has_none() -> None:
    partition = Partition(10)
    whole = partition.machine.snapshot()
    old = whole[:4] + struct.pack("<H", 1) + whole[6:TABLE]
    restored = busy().machine
    restored.restore(old)
    assert len(restored.offsets) == 0
    assert restored.snapshot() == whole


def test_an_old_snapshot_with_offsets_behind_it_is_refused() -> None:
    whole = Partition(10).machine.snapshot()
    with pytest.raises(MalformedSnapshot):
        PartitionMachine().restore(whole[:4] + struct.pack("<H", 1) + whole[6:])


def test_a_snapshot_cut_anywhere_is_refused() -> None:
    whole = busy().machine.snapshot()
    machine = busy().machine
    for size in range(len(whole)):
        with pytest.raises(MalformedSnapshot):
            machine.restore(whole[:size])
    with pytest.raises(MalformedSnapshot):
        machine.restore(whole + b"\0")
    assert machine.snapshot() == whole


def test_a_snapshot_with_a_byte_changed_is_refused_or_is_another_states_only_form() -> None:
    whole = busy().machine.snapshot()
    read = refused = 0
    for position in range(len(whole)):
        for change in (1, 2, 128, 255):
            changed = bytearray(whole)
            changed[position] ^= change
            machine = PartitionMachine()
            try:
                machine.restore(bytes(changed))
            except (MalformedSnapshot, SnapshotTooNew):
                refused += 1
            else:
                read += 1
                assert machine.snapshot() == changed
    assert read > 1_000
    assert refused > 500


def test_groups_out_of_order_or_twice_are_refused() -> None:
    partition = Partition(10)
    partition.mark(group="a")
    partition.mark(group="b")
    whole = partition.machine.snapshot()
    first = TABLE + TABLE_HEAD
    size = (len(whole) - first) // 2
    one, other = whole[first : first + size], whole[first + size :]
    PartitionMachine().restore(whole[:first] + one + other)
    for groups in (other + one, one + one):
        with pytest.raises(MalformedSnapshot, match="out of order"):
            PartitionMachine().restore(whole[:first] + groups)


def test_more_groups_than_this_replica_would_take_are_refused() -> None:
    with pytest.raises(MalformedSnapshot):
        PartitionMachine(max_groups=4).restore(busy().machine.snapshot())
    PartitionMachine(max_groups=5).restore(busy().machine.snapshot())


def test_a_table_without_room_is_refused() -> None:
    with pytest.raises(MachineInvariantViolated):
        OffsetTable(0)


def test_restoring_replaces_the_offsets_that_were_there() -> None:
    machine = busy().machine
    machine.restore(PartitionMachine().snapshot())
    assert len(machine.offsets) == 0
    assert machine.snapshot() == PartitionMachine().snapshot()


def test_a_log_comes_to_the_same_as_it_did_before() -> None:
    """Replicas of two versions of this program must agree: whoever changes what a command does to these groups, or
    how they are written, changes the version of the command, or of the snapshot."""
    partition = busy()
    assert partition.machine.offsets.digest().hex() == "1bd17f1ce22fc253720c32b147885cd2"
    assert partition.machine.digest.hex() == "35c2db5870ecafc5fd88bd41a4ddd51b"
    assert partition.replayed().digest == partition.machine.digest


# --- divergence -----------------------------------------------------------------------------------------------


def altered() -> tuple[Partition, PartitionMachine]:
    """A partition, and a replica of it whose map was altered behind everybody's back: 50 became 40."""
    partition = owned()
    committed(partition.commit(50))
    other = partition.replayed()
    group = other.offsets.get("g")
    assert group is not None
    assert group.stored is not None
    group.stored = group.stored._replace(offset=40)
    assert other.digest == partition.machine.digest
    return partition, other


def test_an_altered_map_shows_at_the_next_audit() -> None:
    partition, other = altered()
    partition.audit()
    other.apply(partition.log.entries[-1])
    assert other.digest != partition.machine.digest


def test_an_altered_map_shows_as_soon_as_it_decides_otherwise() -> None:
    partition, other = altered()
    assert partition.commit(45, sequence=2) == Regressed(45, 50)
    other.apply(partition.log.entries[-1])
    assert other.digest != partition.machine.digest


def test_an_altered_epoch_shows_as_soon_as_one_is_given_out() -> None:
    partition = owned()
    other = partition.replayed()
    group = other.offsets.get("g")
    assert group is not None
    group.owner_epoch += 1
    partition.acquire(session=2)
    other.apply(partition.log.entries[-1])
    assert other.digest != partition.machine.digest


def test_a_map_that_takes_a_repeat_for_new_shows() -> None:
    partition = owned()
    committed(partition.commit(50))
    other = partition.replayed()
    group = other.offsets.get("g")
    assert group is not None
    group.last_sequence = 0
    assert committed(partition.commit(50)).duplicate
    other.apply(partition.log.entries[-1])
    assert other.digest != partition.machine.digest


def test_an_audit_notes_every_group_by_name_and_the_digest_of_the_table() -> None:
    partition = busy()
    partition.retain(2)
    digest = partition.machine.offsets.digest()
    audited = partition.audit()
    assert isinstance(audited, Audited)
    assert (audited.index, audited.digest) == (partition.version, digest)
    assert (audited.start_offset, audited.end_offset) == (2, 100)
    held, expired = partition.group("held"), partition.group("expired")
    assert [group.group for group in audited.groups] == partition.machine.offsets.names()
    assert audited.groups[:2] == (
        AuditedGroup("expired", expired.stored, "", 0, True),
        AuditedGroup("held", held.stored, "consumer-1", 1, False),
    )
    assert partition.machine.offsets.digest() == digest
