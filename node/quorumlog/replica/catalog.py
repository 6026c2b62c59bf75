"""Which topics and partitions there are, as this node knows them: the requests' way to their replica."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.machine import Topic, UnknownPartition, UnknownTopic
from quorumlog.machine.topics import COORDINATORS_TOPIC
from quorumlog.replica.api import Metadata, NodeConfig, PartitionDescription, TopicDescription
from quorumlog.replica.controller import unknown_topic
from quorumlog.replica.failures import Failure, Reason
from quorumlog.replica.ids import node_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.machine import ControllerMachine
    from quorumlog.replica.coordinator import CoordinatorService
    from quorumlog.replica.groups import Groups
    from quorumlog.replica.mesh import Mesh
    from quorumlog.replica.partition import PartitionService


class Catalog:
    """A view of the controller's state machine on this node, with what the node's own replicas know of leaders."""

    __slots__ = ("_config", "_groups", "_ids", "_mesh")

    def __init__(self, config: NodeConfig, groups: Groups, mesh: Mesh) -> None:
        self._config = config
        self._groups = groups
        self._mesh = mesh
        self._ids: dict[tuple[str, int], int] = {}

    def rebuild(self, machine: ControllerMachine) -> None:
        """The topics have changed."""
        self._ids = {(group.topic, group.partition): group.group_id for group in machine.desired_groups()}

    def partition(self, topic: str, partition: int) -> PartitionService | None:
        """The partition's service on this node, if it is known and here."""
        group_id = self._ids.get((topic, partition))
        return self._groups.partitions.get(group_id) if group_id is not None else None

    def coordinator(self, number: int) -> CoordinatorService | None:
        """The service of partition ``number`` of "__groups" on this node, if it is here."""
        group_id = self._ids.get((COORDINATORS_TOPIC, number))
        return self._groups.coordinators.get(group_id) if group_id is not None else None

    def knows(self, topic: str) -> bool:
        machine = self._machine
        return machine is not None and not isinstance(machine.topic(topic), UnknownTopic)

    def why_absent(self, topic: str, partition: int) -> Failure:
        """Why a partition's request cannot be served here, as far as this node has applied the controller's log."""
        machine = self._machine
        found = UnknownTopic(topic) if machine is None else machine.partition(topic, partition)
        if isinstance(found, UnknownTopic):
            return unknown_topic(topic)
        if isinstance(found, UnknownPartition):
            return Failure(
                Reason.UNKNOWN_PARTITION,
                f"topic {topic!r} has partitions 0 to {found.partitions - 1}, not {partition}",
                fields={"partitions": str(found.partitions)},
            )
        damage = self._groups.damage(found.group_id)
        if damage:
            return Failure(Reason.REPLICA_DAMAGED, damage)
        leader = self._leader(found.group_id)[0]
        replicas = ",".join(str(node) for node in found.replicas)
        return Failure(
            Reason.NOT_LEADER,
            f"{topic}/{partition} is on nodes {replicas}",
            leader_node=leader,
            fields={"replicas": replicas},
        )

    def metadata(self, topics: Sequence[str]) -> Metadata:
        """The named topics that exist, or all, the internal ones (``__…``) among them: clients find coordinators by
        them."""
        machine = self._machine
        known = () if machine is None else machine.topics()
        wanted = frozenset(topics)
        alive = frozenset(self._config.nodes) - self._mesh.absent()
        described = tuple(self.describe_topic(topic) for topic in known if not wanted or topic.name in wanted)
        controller = self._groups.controller
        return Metadata(alive, described, controller.leader_node if controller is not None else 0)

    def describe_topic(self, topic: Topic) -> TopicDescription:
        partitions = tuple(
            PartitionDescription(
                partition.number, partition.group_id, partition.replicas, *self._leader(partition.group_id)
            )
            for partition in topic.partitions
        )
        return TopicDescription(topic.name, topic.topic_id, topic.config, partitions)

    def _leader(self, group_id: int) -> tuple[int, int]:
        """(node, term) of the group's leader; node 0 if it is not known here."""
        replica = self._groups.replicas.get(group_id)
        if replica is None:
            return 0, 0
        leader = replica.raft.leader
        return (node_of(leader) if leader is not None else 0), replica.raft.term

    @property
    def _machine(self) -> ControllerMachine | None:
        controller = self._groups.controller
        return controller.machine if controller is not None else None
