"""The internal topic that coordinates consumer groups: made once, kept apart, nobody's to change."""

from __future__ import annotations

import pytest
from machine.logs import Controller

from quorumlog.machine import (
    AlterTopic,
    ControllerMachine,
    Created,
    CreateTopic,
    DeleteTopic,
    InvalidTopic,
    MachineInvariantViolated,
    TopicConfig,
)
from quorumlog.machine.commands import CreateCoordinators
from quorumlog.machine.topics import COORDINATORS_TOPIC, FIRST_TOPIC_GROUP_ID


def made(controller: Controller, partitions: int = 4, nodes: tuple[int, ...] = (1, 2, 3, 4, 5)) -> Created:
    result = controller(CreateCoordinators(partitions, nodes))
    assert isinstance(result, Created)
    return result


def test_coordinators_have_the_ids_kept_for_them_and_three_replicas_each() -> None:
    topic = made(Controller()).topic
    assert [partition.group_id for partition in topic.partitions] == [2, 3, 4, 5]
    assert {len(partition.replicas) for partition in topic.partitions} == {3}
    assert len({partition.replicas[0] for partition in topic.partitions}) == 4, "led by different nodes"
    assert {len(partition.replicas) for partition in made(Controller(), nodes=(1, 2)).topic.partitions} == {2}


def test_they_are_made_once_whatever_a_later_leader_is_configured_with() -> None:
    controller = Controller()
    first = made(controller)
    changes = controller.machine.changes
    assert made(controller, partitions=7) == Created(first.topic, existed=True)
    assert controller.machine.changes == changes


def test_topics_made_before_and_after_keep_their_ids_and_their_order() -> None:
    controller = Controller()
    controller(CreateTopic("before", TopicConfig(2), (1, 2, 3)))
    made(controller, partitions=2)
    controller(CreateTopic("after", TopicConfig(1), (1, 2, 3)))
    order = [(group.group_id, group.topic) for group in controller.machine.desired_groups()]
    first = FIRST_TOPIC_GROUP_ID
    assert order == [
        (2, COORDINATORS_TOPIC),
        (3, COORDINATORS_TOPIC),
        (first, "before"),
        (first + 1, "before"),
        (first + 2, "after"),
    ]
    restored = ControllerMachine()
    restored.restore(controller.machine.snapshot())
    assert restored.desired_groups() == controller.machine.desired_groups()
    assert not any(restored.was_deleted(group) for group in range(FIRST_TOPIC_GROUP_ID))


@pytest.mark.parametrize("number", [0, 15])
def test_a_number_for_which_there_are_no_ids_is_nobodys_to_ask_for(number: int) -> None:
    with pytest.raises(MachineInvariantViolated):
        made(Controller(), partitions=number)


@pytest.mark.parametrize(
    "command",
    [
        CreateTopic(COORDINATORS_TOPIC, TopicConfig(4), (1, 2, 3)),
        AlterTopic(COORDINATORS_TOPIC, retention_ms=1),
        DeleteTopic(COORDINATORS_TOPIC),
    ],
)
def test_users_cannot_make_alter_or_delete_it(command: CreateTopic | AlterTopic | DeleteTopic) -> None:
    controller = Controller()
    made(controller)
    before = controller.machine.desired_groups()
    assert isinstance(controller(command), InvalidTopic)
    assert controller.machine.desired_groups() == before
