"""A snapshot and the tail of the log are as good as the whole log; a bad snapshot harms nothing."""

from __future__ import annotations

import struct
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine.logs import Log, apply_all

from quorumlog.machine import (
    AlterTopic,
    ControllerCommand,
    ControllerMachine,
    CreateTopic,
    DeleteTopic,
    MalformedSnapshot,
    OpenProducer,
    PartitionMachine,
    SnapshotTooNew,
    StateMachine,
    TopicConfig,
    encode_controller_command,
)
from quorumlog.raft.types import EntryKind


class Append(NamedTuple):
    """The producer's next batch; of a new epoch if ``restart``."""

    producer_id: int
    records: int
    restart: bool


PARTITION_ENTRIES = st.lists(
    st.builds(Append, st.integers(0, 5), st.integers(1, 3), st.booleans()) | st.integers(0, 30) | st.none(),
    max_size=40,
)
NAMES = st.sampled_from(["a", "b", "c", "__x", ""])
NODES = st.lists(st.integers(1, 4), max_size=4).map(tuple)
SIZES = st.none() | st.sampled_from([0, 5, 1 << 16, 1 << 20])
CONTROLLER_COMMANDS = st.lists(
    st.one_of(
        st.builds(CreateTopic, NAMES, st.builds(TopicConfig, st.integers(0, 4), st.integers(0, 4)), NODES),
        st.builds(AlterTopic, NAMES, SIZES, SIZES, SIZES, SIZES),
        st.builds(DeleteTopic, NAMES),
        st.builds(OpenProducer, NAMES),
    ),
    max_size=40,
)


def partition_log(steps: list[Append | int | None]) -> Log:
    """An int is a RETAIN there (possibly refused), None a no-op."""
    log = Log()
    epochs: dict[int, int] = {}
    sequences: dict[int, int] = {}
    for step in steps:
        if step is None:
            log.noop()
        elif isinstance(step, int):
            log.retain(step)
        else:
            producer_id, records, restart = step
            if restart:
                epochs[producer_id] = epochs.get(producer_id, 0) + 1
                sequences[producer_id] = 0
            sequence = sequences.get(producer_id, 0)
            log.data(records, producer_id, epochs.get(producer_id, 0), sequence)
            sequences[producer_id] = sequence + records
    return log


def controller_log(commands: list[ControllerCommand]) -> Log:
    log = Log()
    for command in commands:
        log.add(EntryKind.COMMAND, encode_controller_command(command))
    return log


def assert_snapshot_and_tail_equal_replay(
    whole: StateMachine, first: StateMachine, second: StateMachine, log: Log, cut: int
) -> None:
    """``first`` stops at ``cut``; ``second`` goes on from its snapshot, result by result like ``whole``."""
    results = [whole.apply(entry) for entry in log.entries]
    apply_all(first, log.entries[:cut])
    second.restore(first.snapshot())
    assert (second.applied_index, second.digest) == (first.applied_index, first.digest)
    assert second.snapshot() == first.snapshot()
    assert [second.apply(entry) for entry in log.entries[cut:]] == results[cut:]
    assert second.digest == whole.digest
    assert second.snapshot() == whole.snapshot()


@given(PARTITION_ENTRIES, st.data())
def test_a_partitions_snapshot_and_tail_equal_replay_from_the_start(
    steps: list[Append | int | None], data: st.DataObject
) -> None:
    log = partition_log(steps)
    cut = data.draw(st.integers(0, len(log.entries)))
    whole, first, second = (PartitionMachine(max_sessions=3) for _ in range(3))
    assert_snapshot_and_tail_equal_replay(whole, first, second, log, cut)
    assert (second.start_offset, second.end_offset) == (whole.start_offset, whole.end_offset)


@given(CONTROLLER_COMMANDS, st.data())
def test_the_controllers_snapshot_and_tail_equal_replay_from_the_start(
    commands: list[ControllerCommand], data: st.DataObject
) -> None:
    log = controller_log(commands)
    cut = data.draw(st.integers(0, len(log.entries)))
    whole, first, second = (ControllerMachine(max_named_producers=2) for _ in range(3))
    assert_snapshot_and_tail_equal_replay(whole, first, second, log, cut)
    assert second.topics() == whole.topics()
    assert second.desired_groups() == whole.desired_groups()
    assert second.changes == whole.changes
    assert [second.was_deleted(group) for group in range(40)] == [whole.was_deleted(group) for group in range(40)]


def _partition() -> PartitionMachine:
    steps: list[Append | int | None] = [Append(0, 2, False), Append(1, 3, False), 2, Append(2, 1, False)]
    return apply_all(PartitionMachine(), partition_log(steps).entries)


def _controller() -> ControllerMachine:
    commands: list[ControllerCommand] = [CreateTopic("a", TopicConfig(2), (1, 2, 3)), OpenProducer("p")]
    return apply_all(ControllerMachine(), controller_log(commands).entries)


def assert_refused(machine: StateMachine, data: bytes, error: type[Exception]) -> None:
    before = machine.snapshot()
    with pytest.raises(error):
        machine.restore(data)
    assert machine.snapshot() == before


def test_a_newer_snapshot_is_refused_as_newer() -> None:
    whole = _partition().snapshot()
    assert_refused(_partition(), whole[:4] + struct.pack("<H", 3) + whole[6:], SnapshotTooNew)
    newer = _controller().snapshot().replace(b'"version":1', b'"version":2')
    assert_refused(_controller(), newer, SnapshotTooNew)
    assert_refused(_controller(), newer.replace(b'"topics"', b'"subjects"'), SnapshotTooNew)


def test_a_snapshot_of_no_version_is_refused() -> None:
    whole = _partition().snapshot()
    assert_refused(_partition(), whole[:4] + struct.pack("<H", 0) + whole[6:], MalformedSnapshot)
    assert_refused(
        _controller(), _controller().snapshot().replace(b'"version":1', b'"version":0'), MalformedSnapshot
    )


def test_a_partitions_snapshot_cut_anywhere_is_refused() -> None:
    whole = _partition().snapshot()
    for size in range(len(whole)):
        assert_refused(_partition(), whole[:size], MalformedSnapshot)
    assert_refused(_partition(), whole + b"\0", MalformedSnapshot)


def test_the_controllers_snapshot_cut_anywhere_is_refused() -> None:
    whole = _controller().snapshot()
    for size in range(len(whole)):
        assert_refused(_controller(), whole[:size], MalformedSnapshot)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"machine":"controller"', b'"machine":"other"'),
        (b'"next_group_id"', b'"next_group"'),
        (b'"digest":"', b'"digest":"00'),
        (b'"digest":"', b'"digest":"zz'),
    ],
)
def test_a_controllers_snapshot_that_is_not_one_is_refused(old: bytes, new: bytes) -> None:
    assert_refused(_controller(), _controller().snapshot().replace(old, new), MalformedSnapshot)


def test_a_snapshot_of_the_other_machine_is_refused() -> None:
    assert_refused(_partition(), _controller().snapshot(), MalformedSnapshot)
    assert_refused(_controller(), _partition().snapshot(), MalformedSnapshot)


def test_a_partitions_snapshot_that_starts_beyond_its_end_is_refused() -> None:
    whole = _partition().snapshot()
    assert_refused(_partition(), whole[:14] + struct.pack("<QQ", 7, 6) + whole[30:], MalformedSnapshot)


def test_a_snapshot_with_more_than_this_replica_would_remember_is_refused() -> None:
    assert_refused(PartitionMachine(max_sessions=1), _partition().snapshot(), MalformedSnapshot)
    names: list[ControllerCommand] = [OpenProducer("a"), OpenProducer("b")]
    full = apply_all(ControllerMachine(), controller_log(names).entries)
    assert_refused(ControllerMachine(max_named_producers=1), full.snapshot(), MalformedSnapshot)


def test_a_restored_controller_lists_its_groups_in_the_same_order() -> None:
    commands: list[ControllerCommand] = [
        CreateTopic(name, TopicConfig(2), (1, 2, 3)) for name in ("b", "c", "gone", "a")
    ]
    commands += [DeleteTopic("gone"), AlterTopic("b", retention_ms=1), CreateTopic("gone", TopicConfig(), (1,))]
    whole, restored = apply_all(ControllerMachine(), controller_log(commands).entries), ControllerMachine()
    restored.restore(whole.snapshot())
    assert [group.group_id for group in whole.desired_groups()] == [16, 17, 18, 19, 22, 23, 24]
    assert [group.topic for group in whole.desired_groups()] == ["b", "b", "c", "c", "a", "a", "gone"]
    assert restored.desired_groups() == whole.desired_groups()
    assert restored.snapshot() == whole.snapshot()


def test_restoring_replaces_what_was_there() -> None:
    partition, controller = _partition(), _controller()
    partition.restore(PartitionMachine().snapshot())
    controller.restore(ControllerMachine().snapshot())
    assert partition.snapshot() == PartitionMachine().snapshot()
    assert controller.snapshot() == ControllerMachine().snapshot()
    assert controller.desired_groups() == ()
