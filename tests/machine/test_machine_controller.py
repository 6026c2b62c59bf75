"""The controller's machine: every command, every refusal, every question."""

from __future__ import annotations

from dataclasses import replace

import pytest
from machine.logs import Controller

from quorumlog.machine import (
    EMPTY_DIGEST,
    FIRST_TOPIC_GROUP_ID,
    Altered,
    AlterTopic,
    ControllerMachine,
    Created,
    CreateTopic,
    Deleted,
    DeleteTopic,
    DesiredGroup,
    Difference,
    InvalidProducerName,
    InvalidTopic,
    MachineInvariantViolated,
    NotEnoughNodes,
    OpenProducer,
    Partition,
    ProducerOpened,
    StateMachine,
    Topic,
    TopicConfig,
    TopicExists,
    UnknownCommand,
    UnknownPartition,
    UnknownTopic,
)
from quorumlog.machine.commands import ControllerCommand, canonical_json
from quorumlog.raft.types import Entry, EntryKind

NODES = (1, 2, 3)
FILLED = TopicConfig(2, 3, 0, 0, 64 << 20, 1 << 20)


def _created(controller: Controller, name: str, config: TopicConfig, nodes: tuple[int, ...] = NODES) -> Topic:
    result = controller(CreateTopic(name, config, nodes))
    assert isinstance(result, Created)
    assert not result.existed
    return result.topic


def test_a_controller_machine_is_a_state_machine() -> None:
    machine: StateMachine = ControllerMachine()
    assert (machine.applied_index, machine.digest) == (0, EMPTY_DIGEST)


def test_a_topic_is_made_with_its_defaults_filled_in() -> None:
    controller = Controller()
    topic = _created(controller, "orders", TopicConfig(partitions=2))
    assert topic == Topic(
        topic_id=1,
        name="orders",
        config=FILLED,
        partitions=(Partition(0, 16, (1, 2, 3)), Partition(1, 17, (2, 1, 3))),
    )
    assert controller.machine.topic("orders") == topic


def test_the_default_replication_is_three_or_as_many_as_there_are_nodes() -> None:
    controller = Controller()
    factors = [
        _created(controller, f"t{len(nodes)}", TopicConfig(), nodes).config.replication_factor
        for nodes in ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4, 5))
    ]
    assert factors == [1, 2, 3, 3]


def test_making_a_topic_again_with_the_same_settings_is_fine_and_says_so() -> None:
    controller = Controller()
    topic = _created(controller, "orders", TopicConfig(partitions=2))
    digest_before, changes = controller.machine.digest, controller.machine.changes
    assert controller(CreateTopic("orders", TopicConfig(partitions=2), NODES)) == Created(topic, existed=True)
    assert controller(CreateTopic("orders", FILLED, NODES)) == Created(topic, existed=True)
    assert controller.machine.changes == changes
    assert controller.machine.digest != digest_before


def test_who_leaves_replication_to_the_cluster_gets_what_is_there() -> None:
    controller = Controller()
    topic = _created(controller, "orders", TopicConfig(), nodes=(1,))
    assert controller(CreateTopic("orders", TopicConfig(), NODES)) == Created(topic, existed=True)
    assert controller(CreateTopic("orders", TopicConfig(replication_factor=3), NODES)) == TopicExists(
        "orders", (Difference("replication_factor", existing=1, asked=3),)
    )


def test_a_topic_with_other_settings_names_every_difference() -> None:
    controller = Controller()
    _created(controller, "orders", TopicConfig(partitions=2, retention_ms=5))
    assert controller(CreateTopic("orders", TopicConfig(partitions=4, retention_bytes=9), NODES)) == TopicExists(
        "orders",
        (Difference("partitions", 2, 4), Difference("retention_ms", 5, 0), Difference("retention_bytes", 0, 9)),
    )


@pytest.mark.parametrize(
    ("factor", "nodes", "refusal"),
    [(4, NODES, NotEnoughNodes(4, 3)), (2, (5, 5), NotEnoughNodes(2, 1)), (0, (), NotEnoughNodes(1, 0))],
)
def test_more_replicas_than_nodes_are_refused(factor: int, nodes: tuple[int, ...], refusal: NotEnoughNodes) -> None:
    controller = Controller()
    assert controller(CreateTopic("orders", TopicConfig(replication_factor=factor), nodes)) == refusal
    assert controller.machine.topics() == ()


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (CreateTopic("", TopicConfig(), NODES), "name"),
        (CreateTopic("__offsets", TopicConfig(), NODES), "name"),
        (CreateTopic("t", TopicConfig(partitions=0), NODES), "partitions"),
        (CreateTopic("t", TopicConfig(replication_factor=-1), NODES), "replication_factor"),
        (AlterTopic("orders", segment_bytes=1), "segment_bytes"),
        (AlterTopic("orders", max_batch_bytes=1 << 40), "max_batch_bytes"),
        (AlterTopic("orders", segment_bytes=64 << 10), "max_batch_bytes"),
    ],
)
def test_an_invalid_wish_names_the_field_and_changes_nothing(command: ControllerCommand, field: str) -> None:
    controller = Controller()
    _created(controller, "orders", TopicConfig())
    before = (controller.machine.topics(), controller.machine.changes)
    result = controller(command)
    assert isinstance(result, InvalidTopic)
    assert result.field == field
    assert (controller.machine.topics(), controller.machine.changes) == before


def test_altering_changes_what_is_given_and_keeps_the_rest() -> None:
    controller = Controller()
    topic = _created(controller, "orders", TopicConfig(partitions=2, retention_ms=5, retention_bytes=6))
    altered = replace(topic, config=replace(topic.config, retention_ms=0, max_batch_bytes=2048))
    assert controller(AlterTopic("orders", retention_ms=0, max_batch_bytes=2048)) == Altered(altered)
    assert controller.machine.topic("orders") == altered
    group = controller.machine.group(16)
    assert group is not None
    assert group.config == altered.config


def test_altering_a_size_to_0_brings_the_default_back() -> None:
    controller = Controller()
    topic = _created(controller, "orders", TopicConfig(segment_bytes=1 << 20, max_batch_bytes=2048))
    result = controller(AlterTopic("orders", segment_bytes=0, max_batch_bytes=0))
    assert result == Altered(
        replace(topic, config=replace(topic.config, segment_bytes=64 << 20, max_batch_bytes=1 << 20))
    )


def test_altering_to_what_it_is_changes_nothing() -> None:
    controller = Controller()
    topic = _created(controller, "orders", TopicConfig(retention_ms=5))
    changes = controller.machine.changes
    assert controller(AlterTopic("orders", retention_ms=5)) == Altered(topic)
    assert controller.machine.changes == changes


def test_unknown_topics_are_said_to_be() -> None:
    controller = Controller()
    unknown = UnknownTopic("nothing")
    assert controller(AlterTopic("nothing", retention_ms=1)) == unknown
    assert controller(DeleteTopic("nothing")) == unknown
    assert controller.machine.topic("nothing") == unknown
    assert controller.machine.partition("nothing", 0) == unknown


def test_ids_are_never_used_again() -> None:
    controller = Controller()
    first = _created(controller, "orders", TopicConfig(partitions=2))
    assert controller(DeleteTopic("orders")) == Deleted(first)
    again = _created(controller, "orders", TopicConfig(partitions=2))
    controller(DeleteTopic("orders"))
    third = _created(controller, "orders", TopicConfig())
    assert (first.topic_id, [each.group_id for each in first.partitions]) == (1, [16, 17])
    assert (again.topic_id, [each.group_id for each in again.partitions]) == (2, [18, 19])
    assert (third.topic_id, third.partitions[0].group_id) == (3, 20)


def test_partitions_are_found_by_number() -> None:
    controller = Controller()
    topic = _created(controller, "orders", TopicConfig(partitions=2))
    assert controller.machine.partition("orders", 1) == topic.partitions[1]
    assert controller.machine.partition("orders", 2) == UnknownPartition("orders", 2, 2)
    assert controller.machine.partition("orders", -1) == UnknownPartition("orders", -1, 2)


def test_groups_lead_back_to_their_partition_and_forward_to_their_nodes() -> None:
    controller = Controller()
    _created(controller, "a", TopicConfig(partitions=1, replication_factor=1), nodes=(1, 2))
    topic = _created(controller, "b", TopicConfig(partitions=1, replication_factor=2), nodes=(1, 2))
    group = DesiredGroup(17, 2, "b", 0, topic.partitions[0].replicas, topic.config)
    machine = controller.machine
    assert machine.group(17) == group
    assert machine.group(1) is None
    assert [each.group_id for each in machine.groups_of(1)] == [16, 17]
    assert machine.groups_of(2) == (group,)
    assert machine.groups_of(3) == ()
    assert [each.group_id for each in machine.desired_groups()] == [16, 17]


def test_desired_groups_stay_in_order_of_their_ids() -> None:
    controller = Controller()
    for name in ("b", "a", "c"):
        _created(controller, name, TopicConfig(partitions=2))
    controller(DeleteTopic("a"))
    controller(AlterTopic("b", retention_ms=1))
    _created(controller, "a", TopicConfig())
    assert [group.group_id for group in controller.machine.desired_groups()] == [16, 17, 20, 21, 22]
    assert [topic.name for topic in controller.machine.topics()] == ["a", "b", "c"]


def test_a_deleted_group_is_told_from_one_not_heard_of_yet() -> None:
    controller = Controller()
    _created(controller, "orders", TopicConfig(partitions=2))
    _created(controller, "kept", TopicConfig())
    controller(DeleteTopic("orders"))
    deleted = [group for group in range(30) if controller.machine.was_deleted(group)]
    assert deleted == [FIRST_TOPIC_GROUP_ID, FIRST_TOPIC_GROUP_ID + 1]


def test_the_change_counter_rises_with_every_change_of_what_should_run_and_with_nothing_else() -> None:
    controller = Controller()
    counted = [controller.machine.changes]
    commands: list[ControllerCommand] = [
        CreateTopic("a", TopicConfig(), NODES),
        CreateTopic("a", TopicConfig(), NODES),
        OpenProducer("p"),
        AlterTopic("a", retention_ms=1),
        DeleteTopic("b"),
        DeleteTopic("a"),
    ]
    for command in commands:
        controller(command)
        counted.append(controller.machine.changes)
    assert counted == [0, 1, 1, 1, 2, 2, 3]


def test_anonymous_producers_get_an_id_of_their_own() -> None:
    controller = Controller()
    assert [controller(OpenProducer("")) for _ in range(3)] == [ProducerOpened(number, 0) for number in (1, 2, 3)]


def test_a_name_keeps_its_id_and_raises_its_epoch() -> None:
    controller = Controller()
    names = ["a", "b", "a", "", "a"]
    assert [controller(OpenProducer(name)) for name in names] == [
        ProducerOpened(1, 0),
        ProducerOpened(2, 0),
        ProducerOpened(1, 1),
        ProducerOpened(3, 0),
        ProducerOpened(1, 2),
    ]


def test_the_name_opened_least_recently_is_forgotten_first() -> None:
    controller = Controller(ControllerMachine(max_named_producers=2))
    for name in ("a", "b", "a", "c"):
        controller(OpenProducer(name))
    assert controller(OpenProducer("a")) == ProducerOpened(1, 2)
    assert controller(OpenProducer("b")) == ProducerOpened(4, 0)


def test_a_name_whose_epochs_are_used_up_gets_a_new_id() -> None:
    controller = Controller()
    controller(OpenProducer("a"))
    worn = controller.machine.snapshot().replace(b'["a",1,0]', b'["a",1,%d]' % (2**32 - 2))
    controller.machine.restore(worn)
    assert controller(OpenProducer("a")) == ProducerOpened(1, 2**32 - 1)
    assert controller(OpenProducer("a")) == ProducerOpened(2, 0)
    assert controller(OpenProducer("a")) == ProducerOpened(2, 1)


def test_a_producers_name_is_bounded() -> None:
    controller = Controller()
    assert controller(OpenProducer("ü" * 249)) == ProducerOpened(1, 0)
    assert isinstance(controller(OpenProducer("ü" * 250)), InvalidProducerName)


def _create(**fields: object) -> bytes:
    return canonical_json({"command": "open_producer", "version": 1, "name": "p"} | fields)


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        (Entry(1, 1, EntryKind.NOOP, b""), MachineInvariantViolated),
        (Entry(3, 1, EntryKind.NOOP, b""), MachineInvariantViolated),
        (Entry(2, 1, EntryKind.DATA, bytes(64)), MachineInvariantViolated),
        (Entry(2, 1, 77, b""), UnknownCommand),  # type: ignore[arg-type]
        (Entry(2, 1, EntryKind.COMMAND, b"{"), MachineInvariantViolated),
        (Entry(2, 1, EntryKind.COMMAND, b"[]"), MachineInvariantViolated),
        (Entry(2, 1, EntryKind.COMMAND, b'{"version":1}'), MachineInvariantViolated),
        (Entry(2, 1, EntryKind.COMMAND, b"\xff\xfe"), MachineInvariantViolated),
        (Entry(2, 1, EntryKind.COMMAND, _create(version=2)), UnknownCommand),
        (Entry(2, 1, EntryKind.COMMAND, _create(command="drain_node")), UnknownCommand),
        (Entry(2, 1, EntryKind.COMMAND, _create(further=1)), MachineInvariantViolated),
    ],
    ids=[
        "the same index again",
        "a hole in the indices",
        "records",
        "a newer kind of entry",
        "no JSON",
        "no object",
        "no command",
        "no text",
        "a command's newer version",
        "a newer command",
        "a field of no version",
    ],
)
def test_what_cannot_follow_stops_the_replica_and_leaves_it_as_it_was(entry: Entry, error: type[Exception]) -> None:
    controller = Controller()
    controller(OpenProducer("p"))
    before = controller.machine.snapshot()
    with pytest.raises(error):
        controller.machine.apply(entry)
    assert controller.machine.snapshot() == before


def test_the_digest_holds_what_was_decided_not_only_what_was_asked() -> None:
    """Two machines that read the same entry and place the topic differently must not agree."""
    one, other = Controller(), Controller()
    for controller in (one, other):
        controller(CreateTopic("a", TopicConfig(partitions=1, replication_factor=1), (1, 2)))
    # As though a bug had led the other replica to put the first topic elsewhere: what follows is placed
    # differently.
    swapped = other.machine.snapshot().replace(b'"partitions":[[16,1]]', b'"partitions":[[16,2]]')
    other.machine.restore(swapped)
    assert one.machine.digest == other.machine.digest
    for controller in (one, other):
        controller(CreateTopic("b", TopicConfig(partitions=1, replication_factor=1), (1, 2)))
    assert one.machine.digest != other.machine.digest


def test_the_digest_holds_the_ids_given_to_producers() -> None:
    one, other = Controller(), Controller()
    other.machine.restore(other.machine.snapshot().replace(b'"next_producer_id":1', b'"next_producer_id":2'))
    assert one.machine.digest == other.machine.digest
    assert one(OpenProducer("")) != other(OpenProducer(""))
    assert one.machine.digest != other.machine.digest
