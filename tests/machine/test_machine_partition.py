"""The partition's machine: dense offsets, a start that never goes back, and a full stop at whatever is wrong."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine.logs import Log, apply_all, batch

from quorumlog.machine import (
    EMPTY_DIGEST,
    Appended,
    MachineInvariantViolated,
    PartitionMachine,
    Retain,
    RetainBeyondEnd,
    Retained,
    StateMachine,
    UnknownCommand,
    decode_partition_command,
    encode_partition_command,
)
from quorumlog.raft.types import Entry, EntryKind


def test_offsets_are_dense_and_only_data_consumes_them() -> None:
    machine, log = PartitionMachine(), Log()
    assert machine.apply(log.noop()) is None
    assert machine.apply(log.data(3)) == Appended(base_offset=0, end_offset=3, start_offset=0)
    assert machine.apply(log.add(EntryKind.CONFIGURATION, b"voters")) is None
    assert machine.apply(log.retain(2)) == Retained(2)
    assert machine.apply(log.data(1)) == Appended(base_offset=3, end_offset=4, start_offset=2)
    assert (machine.applied_index, machine.start_offset, machine.end_offset) == (5, 2, 4)


def test_a_partition_machine_is_a_state_machine() -> None:
    machine: StateMachine = PartitionMachine()
    assert (machine.applied_index, machine.digest) == (0, EMPTY_DIGEST)


def test_the_start_never_goes_back_and_never_passes_the_end() -> None:
    machine, log = PartitionMachine(), Log()
    machine.apply(log.data(5))
    assert machine.apply(log.retain(4)) == Retained(4)
    assert machine.apply(log.retain(2)) == Retained(4)
    assert machine.apply(log.retain(6)) == RetainBeyondEnd(asked_start_offset=6, end_offset=5)
    assert machine.start_offset == 4
    assert machine.apply(log.retain(5)) == Retained(5)


def _wrong_entries() -> dict[str, tuple[Entry, type[Exception]]]:
    """Entries that may not follow entry 1, a batch of 3 records of producer 7, epoch 1."""
    data, command = EntryKind.DATA, EntryKind.COMMAND
    newer_version = struct.pack("<BBQ", 2, 1, 0)
    newer_command = struct.pack("<BBQ", 1, 99, 0)
    none = batch(1, base_offset=3)
    no_records = none[:16] + bytes(4) + none[20:]
    violated = MachineInvariantViolated
    return {
        "the same index again": (Entry(1, 1, EntryKind.NOOP, b""), violated),
        "a hole in the indices": (Entry(3, 1, EntryKind.NOOP, b""), violated),
        "a hole in the offsets": (Entry(2, 1, data, batch(1, base_offset=4)), violated),
        "an offset used twice": (Entry(2, 1, data, batch(1, base_offset=2)), violated),
        "a batch without records": (Entry(2, 1, data, no_records), violated),
        "a batch without a whole head": (Entry(2, 1, data, none[:63]), violated),
        "a batch the producer sent before": (
            Entry(2, 1, data, batch(3, base_offset=3, producer_id=7, epoch=1)),
            violated,
        ),
        "a gap in the producer's sequence": (
            Entry(2, 1, data, batch(1, base_offset=3, producer_id=7, epoch=1, sequence=4)),
            violated,
        ),
        "a new epoch that does not begin at 0": (
            Entry(2, 1, data, batch(1, base_offset=3, producer_id=7, epoch=2, sequence=3)),
            violated,
        ),
        "an empty command": (Entry(2, 1, command, b""), violated),
        "a RETAIN that is cut": (Entry(2, 1, command, Retain(0).encode()[:-1]), violated),
        "a RETAIN with more behind it": (Entry(2, 1, command, Retain(0).encode() + b"\0"), violated),
        "a command's newer version": (Entry(2, 1, command, newer_version), UnknownCommand),
        "a newer command": (Entry(2, 1, command, newer_command), UnknownCommand),
        "a newer kind of entry": (Entry(2, 1, 77, b""), UnknownCommand),  # type: ignore[arg-type]
    }


@pytest.mark.parametrize("name", _wrong_entries())
def test_what_cannot_follow_stops_the_replica_and_leaves_it_as_it_was(name: str) -> None:
    entry, error = _wrong_entries()[name]
    machine, log = PartitionMachine(), Log()
    machine.apply(log.data(3, producer_id=7, epoch=1))
    before = machine.snapshot()
    with pytest.raises(error):
        machine.apply(entry)
    assert machine.snapshot() == before


def test_an_older_epoch_in_the_log_stops_the_replica() -> None:
    machine, log = PartitionMachine(), Log()
    machine.apply(log.data(1, producer_id=7, epoch=2))
    with pytest.raises(MachineInvariantViolated, match="epoch 1"):
        machine.apply(log.data(1, producer_id=7, epoch=1))


def _base() -> Log:
    log = Log()
    log.noop()
    log.data(3, producer_id=7)
    log.retain(1)
    return log


def test_equal_logs_give_equal_digests() -> None:
    one, other = (apply_all(PartitionMachine(), _base().entries) for _ in range(2))
    assert one.digest == other.digest
    assert len(one.digest) == 16


@pytest.mark.parametrize(
    ("position", "change"),
    [
        (0, lambda entry: entry._replace(term=2)),
        (0, lambda entry: entry._replace(kind=EntryKind.CONFIGURATION)),
        (0, lambda entry: entry._replace(data=b"x")),
        (1, lambda _: Entry(2, 1, EntryKind.DATA, batch(3, producer_id=8))),
        (1, lambda _: Entry(2, 1, EntryKind.DATA, batch(3, producer_id=7, epoch=1))),
        (1, lambda _: Entry(2, 1, EntryKind.DATA, batch(3, producer_id=7, payload=b"other"))),
        (1, lambda _: Entry(2, 1, EntryKind.DATA, batch(4, producer_id=7))),
        (2, lambda entry: entry._replace(data=Retain(2).encode())),
    ],
    ids=["term", "kind", "content", "producer", "epoch", "payload", "count", "command"],
)
def test_one_differing_entry_differs_for_ever_after(position: int, change) -> None:  # type: ignore[no-untyped-def]
    same, changed = _base().entries, _base().entries
    changed[position] = change(changed[position])
    tail = [Entry(4 + number, 1, EntryKind.NOOP, b"") for number in range(3)]
    digests = []
    for entries in (same, changed):
        machine = PartitionMachine()
        after_each = []
        for entry in entries + tail:
            machine.apply(entry)
            after_each.append(machine.digest)
        digests.append(after_each)
    pairs = list(zip(*digests, strict=True))
    assert all(one == other for one, other in pairs[:position])
    assert all(one != other for one, other in pairs[position:])


def test_the_order_of_entries_is_in_the_digest() -> None:
    one, other = Log(), Log()
    one.add(EntryKind.NOOP, b"a")
    one.add(EntryKind.NOOP, b"b")
    other.add(EntryKind.NOOP, b"b")
    other.add(EntryKind.NOOP, b"a")
    assert apply_all(PartitionMachine(), one.entries).digest != apply_all(PartitionMachine(), other.entries).digest


@given(st.integers(0, 2**64 - 1))
def test_a_retain_command_comes_back_as_it_was(start_offset: int) -> None:
    assert decode_partition_command(Retain(start_offset).encode()) == Retain(start_offset)


@given(st.binary(max_size=80))
def test_no_bytes_make_the_decoder_fail_in_another_way(data: bytes) -> None:
    try:
        command = decode_partition_command(data)
    except (UnknownCommand, MachineInvariantViolated):
        return
    assert encode_partition_command(command) == data
