"""The controller's state machine: which topics there are, which nodes hold them, and which producers are known.

One Raft group, run by every node, so that each of them knows from its own replica which others it must run
(Kafka's KRaft quorum, KIP-500, has the same shape). It decides with what is in the log only: the configured
nodes come with the command that needs them.

Ids of topics, groups and producers are given out once and never again. A node that is behind therefore tells a
group that is gone (``was_deleted``) from one that it has not heard of yet, and never deletes data by mistake.

Named producers are bounded (``MAX_NAMED_PRODUCERS``); the name that was opened least recently is forgotten first.
An instance that runs under a forgotten name goes on undisturbed, but the next to open that name gets a new id, and
does not fence it. Refusing instead would let one client that invents a name per start lock out all the others for
good.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from quorumlog.machine.commands import (
    AlterTopic,
    CreateCoordinators,
    CreateTopic,
    DeleteTopic,
    OpenProducer,
    decode_controller_command,
)
from quorumlog.machine.controller_snapshot import ControllerState, decode_state, encode_state
from quorumlog.machine.digest import chain
from quorumlog.machine.errors import MachineInvariantViolated, MalformedSnapshot, UnknownCommand, ensure
from quorumlog.machine.placement import place
from quorumlog.machine.results import (
    Altered,
    ControllerResult,
    Created,
    Deleted,
    Difference,
    InvalidProducerName,
    NotEnoughNodes,
    ProducerOpened,
    TopicExists,
    UnknownPartition,
    UnknownTopic,
)
from quorumlog.machine.topics import (
    CONFIG_FIELDS,
    COORDINATORS_TOPIC,
    FIRST_COORDINATOR_GROUP_ID,
    FIRST_TOPIC_GROUP_ID,
    MAX_COORDINATORS,
    SYSTEM_SEGMENT_BYTES,
    InvalidTopic,
    Partition,
    Topic,
    TopicConfig,
    config_fault,
    internal_fault,
    name_fault,
)
from quorumlog.raft.types import Entry, EntryKind

if TYPE_CHECKING:
    from collections import OrderedDict

MAX_NAMED_PRODUCERS = 10_000
MAX_PRODUCER_NAME = 249
#: The batch head has 32 bits for it. A name whose epochs are used up is forgotten: its next opening gets a new id.
MAX_EPOCH = 2**32 - 1


@dataclass(frozen=True, slots=True)
class DesiredGroup:
    """A group as it should be running: what a node compares its replicas with."""

    group_id: int
    topic_id: int
    topic: str
    partition: int
    replicas: tuple[int, ...]
    """Node ids; the first is the preferred leader."""
    config: TopicConfig


class ControllerMachine:
    """See ``StateMachine`` for the four calls. The queries answer from what is applied; a linearizable answer
    takes a read index first.

    ``max_named_producers`` must be the same on all replicas.
    """

    __slots__ = ("_groups", "_max_named_producers", "_state")

    def __init__(self, max_named_producers: int = MAX_NAMED_PRODUCERS) -> None:
        self._max_named_producers = max_named_producers
        self._state = ControllerState()
        #: Follows from the topics; kept because the node asks per message. In the order of the ids.
        self._groups: dict[int, DesiredGroup] = {}

    # --- the machine ---

    @property
    def applied_index(self) -> int:
        return self._state.applied_index

    @property
    def digest(self) -> bytes:
        return self._state.digest

    def apply(self, entry: Entry) -> ControllerResult | None:
        """Raises MachineInvariantViolated for an entry out of turn or of no meaning here, UnknownCommand for what
        a newer node wrote. The machine is unchanged then."""
        state = self._state
        if entry.index != state.applied_index + 1:
            raise MachineInvariantViolated(f"entry {entry.index} after {state.applied_index}")
        result: ControllerResult | None = None
        match entry.kind:
            case EntryKind.COMMAND:
                result = self._execute(entry.data)
            case EntryKind.NOOP | EntryKind.CONFIGURATION:
                pass
            case EntryKind.DATA:
                raise MachineInvariantViolated(f"entry {entry.index}: records in the controller's log")
            case _:
                raise UnknownCommand(f"entry {entry.index} is of kind {entry.kind}")
        summary = entry.data + _decision(result)
        state.digest = chain(state.digest, entry.index, entry.term, entry.kind, summary)
        state.applied_index = entry.index
        return result

    def snapshot(self) -> bytes:
        return encode_state(self._state)

    def restore(self, data: bytes) -> None:
        state = decode_state(data)
        if len(state.producers) > self._max_named_producers:
            raise MalformedSnapshot(f"{len(state.producers)} named producers, more than any replica remembers")
        self._state = state
        self._groups = {}
        for topic in state.topics.values():
            self._run(topic)

    # --- what it knows ---

    def topic(self, name: str) -> Topic | UnknownTopic:
        return self._state.topics.get(name) or UnknownTopic(name)

    def topics(self) -> tuple[Topic, ...]:
        """All of them, by name."""
        return tuple(topic for _, topic in sorted(self._state.topics.items()))

    def partition(self, name: str, number: int) -> Partition | UnknownTopic | UnknownPartition:
        topic = self._state.topics.get(name)
        if topic is None:
            return UnknownTopic(name)
        if not 0 <= number < len(topic.partitions):
            return UnknownPartition(name, number, len(topic.partitions))
        return topic.partitions[number]

    def group(self, group_id: int) -> DesiredGroup | None:
        """The topic and partition whose log the group is; None if it is deleted, the system's, or not known yet."""
        return self._groups.get(group_id)

    def groups_of(self, node_id: int) -> tuple[DesiredGroup, ...]:
        """What the node should run, by group id."""
        return tuple(group for group in self._groups.values() if node_id in group.replicas)

    def desired_groups(self) -> tuple[DesiredGroup, ...]:
        """What should run anywhere, by group id. Look again when ``changes`` has changed."""
        return tuple(self._groups.values())

    @property
    def changes(self) -> int:
        """How often the desired groups or their settings have changed; grows, and is the same on all replicas. A
        restored snapshot may raise it by more than one: compare for equality."""
        return self._state.changes

    def was_deleted(self, group_id: int) -> bool:
        """The group is gone for good: its data may be removed. False for one that this replica has yet to hear
        of."""
        return FIRST_TOPIC_GROUP_ID <= group_id < self._state.next_group_id and group_id not in self._groups

    # --- the commands ---

    def _execute(self, data: bytes) -> ControllerResult:
        command = decode_controller_command(data)
        match command:
            case CreateTopic():
                return self._create(command)
            case AlterTopic():
                return self._alter(command)
            case DeleteTopic(name):
                return self._delete(name)
            case CreateCoordinators():
                return self._create_coordinators(command)
            case OpenProducer(name):
                return self._open_producer(name)

    def _create(self, command: CreateTopic) -> ControllerResult:
        fault = name_fault(command.name) or config_fault(command.config)
        if fault is not None:
            return fault
        nodes = sorted(set(command.nodes))
        config = command.config.with_defaults(len(nodes))
        existing = self._state.topics.get(command.name)
        if existing is not None:
            differences = _differences(existing.config, command.config, config)
            return TopicExists(command.name, differences) if differences else Created(existing, existed=True)
        if not 1 <= config.replication_factor <= len(nodes):
            return NotEnoughNodes(max(config.replication_factor, 1), len(nodes))
        topic = self._make_topic(command.name, config, nodes, self._state.next_group_id)
        self._state.next_group_id += len(topic.partitions)
        return Created(topic, existed=False)

    def _create_coordinators(self, command: CreateCoordinators) -> Created:
        """Every new leader of the controller asks for them until they are there; the first number counts."""
        existing = self._state.topics.get(COORDINATORS_TOPIC)
        if existing is not None:
            return Created(existing, existed=True)
        nodes = sorted(set(command.nodes))
        ensure(0 < command.partitions <= MAX_COORDINATORS and bool(nodes), f"no coordinators: {command}")
        config = TopicConfig(command.partitions, segment_bytes=SYSTEM_SEGMENT_BYTES).with_defaults(len(nodes))
        topic = self._make_topic(COORDINATORS_TOPIC, config, nodes, FIRST_COORDINATOR_GROUP_ID)
        return Created(topic, existed=False)

    def _make_topic(self, name: str, config: TopicConfig, nodes: list[int], first: int) -> Topic:
        """``first``: the id of its first group."""
        state = self._state
        placed = place(
            config.partitions,
            config.replication_factor,
            nodes,
            (group.replicas for group in self._groups.values()),
        )
        partitions = tuple(Partition(number, first + number, replicas) for number, replicas in enumerate(placed))
        topic = Topic(state.next_topic_id, name, config, partitions)
        state.next_topic_id += 1
        self._put(topic)
        return topic

    def _alter(self, command: AlterTopic) -> Altered | UnknownTopic | InvalidTopic:
        topic = self._state.topics.get(command.name)
        if topic is None:
            return UnknownTopic(command.name)
        asked = replace(topic.config, **command.changes)
        fault = internal_fault(command.name) or config_fault(asked)
        if fault is not None:
            return fault
        config = asked.with_defaults(topic.config.replication_factor)
        if config != topic.config:
            topic = replace(topic, config=config)
            self._put(topic)
        return Altered(topic)

    def _put(self, topic: Topic) -> None:
        self._state.topics[topic.name] = topic
        self._run(topic)
        self._state.changes += 1

    def _run(self, topic: Topic) -> None:
        # An altered topic's groups keep their place in the dict, a new one's ids are the highest: the order holds,
        # but for the coordinators, whose ids are the lowest whenever they are made.
        self._groups.update((group.group_id, group) for group in _groups_of_topic(topic))
        if topic.name == COORDINATORS_TOPIC:
            self._groups = dict(sorted(self._groups.items()))

    def _delete(self, name: str) -> Deleted | UnknownTopic | InvalidTopic:
        topic = self._state.topics.get(name)
        if topic is None:
            return UnknownTopic(name)
        fault = internal_fault(name)
        if fault is not None:
            return fault
        del self._state.topics[name]
        for partition in topic.partitions:
            del self._groups[partition.group_id]
        self._state.changes += 1
        return Deleted(topic)

    def _open_producer(self, name: str) -> ProducerOpened | InvalidProducerName:
        if len(name) > MAX_PRODUCER_NAME:
            return InvalidProducerName(
                f"a producer's name has at most {MAX_PRODUCER_NAME} characters, not {len(name)}"
            )
        state = self._state
        known = state.producers.get(name)
        if known is not None and known.epoch < MAX_EPOCH:
            opened = ProducerOpened(known.producer_id, known.epoch + 1)
        else:
            opened = ProducerOpened(state.next_producer_id, 0)
            state.next_producer_id += 1
        if name:
            _remember(state.producers, name, opened, self._max_named_producers)
        return opened


def _remember(producers: OrderedDict[str, ProducerOpened], name: str, opened: ProducerOpened, limit: int) -> None:
    producers[name] = opened
    producers.move_to_end(name)
    if len(producers) > limit:
        producers.popitem(last=False)


def _groups_of_topic(topic: Topic) -> list[DesiredGroup]:
    return [
        DesiredGroup(
            partition.group_id, topic.topic_id, topic.name, partition.number, partition.replicas, topic.config
        )
        for partition in topic.partitions
    ]


def _differences(existing: TopicConfig, asked: TopicConfig, filled: TopicConfig) -> tuple[Difference, ...]:
    """Where a topic is not what was asked for. Who leaves the replication to the cluster gets what is there: the
    topic may have been made when there were fewer nodes."""
    return tuple(
        Difference(field, getattr(existing, field), getattr(filled, field))
        for field in CONFIG_FIELDS
        if getattr(existing, field) != getattr(filled, field)
        and not (field == "replication_factor" and not asked.replication_factor)
    )


def _decision(result: ControllerResult | None) -> bytes:
    """What the digest must hold of a result: the ids given out and the nodes chosen.

    Not ``repr``: a field added to a result in a later version would make two healthy replicas differ during a
    rolling upgrade. Refusals follow from the state, which the digest covers already.
    """
    match result:
        case Created(topic, False):
            numbers = [topic.topic_id]
            for partition in topic.partitions:
                numbers += (partition.group_id, *partition.replicas)
        case ProducerOpened(producer_id, epoch):
            numbers = [producer_id, epoch]
        case _:
            return b""
    return struct.pack(f"<{len(numbers)}Q", *numbers)
