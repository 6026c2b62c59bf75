"""Changing and watching the cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from quorumlog.client.errors import (
    InvalidRequest,
    NotDone,
    QuorumlogError,
    Reason,
    UnknownTopic,
    make_error,
)
from quorumlog.client.network import Network, now_ms
from quorumlog.client.offsets import find_offset
from quorumlog.client.policy.backoff import LOOKUP
from quorumlog.client.start import parse_start
from quorumlog.client.types import (
    Cluster,
    Follower,
    Link,
    Node,
    NodeDescription,
    Offsets,
    Partition,
    Replica,
    Topic,
    TopicConfig,
)
from quorumlog.v1 import admin_pb2, metadata_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from quorumlog.client.channel import NodeChannel
    from quorumlog.client.start import Start

#: For the next of the other nodes to say who leads: one that hangs must not hold up the answer that is there.
_OTHERS_TIMEOUT_S = 0.5


class Admin:
    """Topics, nodes, leaders and offsets; an asynchronous context manager.

    Every call raises a QuorumlogError after ``timeout_ms`` at the latest. Changes may be repeated: one that an
    earlier attempt has already made is found made.
    """

    def __init__(self, servers: str | Sequence[str], *, timeout_ms: float = 10_000.0) -> None:
        self._network = Network(servers)
        self._timeout_ms = timeout_ms

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections."""
        await self._network.close()

    # ---- topics

    async def create_topic(
        self,
        name: str,
        partitions: int = 1,
        replication_factor: int = 0,
        *,
        retention_ms: int = 0,
        retention_bytes: int = 0,
        segment_bytes: int = 0,
        max_batch_bytes: int = 0,
        wait: bool = True,
    ) -> tuple[Topic, bool]:
        """Make a topic; the topic, and whether it is new (False: it was there with the same settings).

        ``wait``: return only when every partition has a leader. Raises InvalidTopic, TopicExists (with other
        settings), NotEnoughNodes, NoQuorum, Unreachable.
        """
        config = {
            "partitions": partitions,
            "replication_factor": replication_factor,
            "retention_ms": retention_ms,
            "retention_bytes": retention_bytes,
            "segment_bytes": segment_bytes,
            "max_batch_bytes": max_batch_bytes,
        }
        for field, setting in config.items():
            _check_number(field, setting)
        request = admin_pb2.CreateTopicRequest(name=name, config=metadata_pb2.TopicConfig(**config))

        async def call(channel: NodeChannel, seconds: float) -> admin_pb2.CreateTopicResponse:
            return await channel.admin.CreateTopic(request, timeout=seconds)

        answer = await self._network.call_controller(call, timeout_ms=self._timeout_ms)
        topic = _topic(answer.topic)
        if wait:
            topic = await self._led(name)
        return topic, not answer.existed

    async def alter_topic(
        self,
        name: str,
        *,
        retention_ms: int | None = None,
        retention_bytes: int | None = None,
        segment_bytes: int | None = None,
        max_batch_bytes: int | None = None,
    ) -> Topic:
        """Change settings of a topic; those left None stay. Raises UnknownTopic, InvalidTopic, NoQuorum,
        Unreachable."""
        changes = {
            "retention_ms": retention_ms,
            "retention_bytes": retention_bytes,
            "segment_bytes": segment_bytes,
            "max_batch_bytes": max_batch_bytes,
        }
        request = admin_pb2.AlterTopicRequest(name=name)
        for field, setting in changes.items():
            if setting is not None:
                _check_number(field, setting)
                setattr(request, field, setting)

        async def call(channel: NodeChannel, seconds: float) -> admin_pb2.AlterTopicResponse:
            return await channel.admin.AlterTopic(request, timeout=seconds)

        return _topic((await self._network.call_controller(call, timeout_ms=self._timeout_ms)).topic)

    async def delete_topic(self, name: str) -> None:
        """Remove a topic and its records for good. Raises UnknownTopic, NoQuorum, Unreachable.

        A node that is cut off from the controller learns of it when it is back, and serves the topic until then.
        """
        attempts = 0

        async def call(channel: NodeChannel, seconds: float) -> None:
            nonlocal attempts
            attempts += 1
            await channel.admin.DeleteTopic(admin_pb2.DeleteTopicRequest(name=name), timeout=seconds)

        try:
            await self._network.call_controller(call, timeout_ms=self._timeout_ms)
        except QuorumlogError as error:
            # An earlier attempt whose answer was lost may have removed it: then it is as it should be.
            if error.__cause__ is None or not isinstance(error.__cause__, UnknownTopic):
                raise
        self._network.router.forget_topic(name)

    async def list_topics(self) -> list[Topic]:
        """All topics but the internal ones (``__…``), by name."""
        users = [topic for topic in (await self.metadata()).topics if not topic.name.startswith("__")]
        return sorted(users, key=lambda topic: topic.name)

    async def describe_topic(self, name: str) -> Topic:
        """One topic. Raises UnknownTopic."""
        for topic in (await self.metadata([name])).topics:
            if topic.name == name:
                return topic
        raise UnknownTopic(f"no topic {name!r}")

    async def _led(self, name: str) -> Topic:
        deadline = now_ms() + self._timeout_ms
        failures = 0
        while True:
            found = [topic for topic in (await self.metadata([name])).topics if topic.name == name]
            if found and all(each.leader for each in found[0].partitions):
                return found[0]
            failures += 1
            delay_ms = LOOKUP.delay_ms(failures, self._network.random)
            if now_ms() + delay_ms > deadline:
                raise make_error(
                    Reason.NO_QUORUM,
                    f"topic {name!r} is made, but not every partition has a leader yet",
                    not_done=False,
                )
            await asyncio.sleep(delay_ms / 1000)

    # ---- nodes

    async def metadata(self, topics: Sequence[str] = ()) -> Cluster:
        """The cluster as some node knows it now, with these topics (none: all).

        Of partitions whose leader that node does not know, the others that hold one are asked as well: where there
        are more nodes than replicas, a node hears of the leaders of its own partitions only.
        """
        answer = await self._network.metadata(topics, timeout_ms=self._timeout_ms)
        await self._find_leaders(answer, topics)
        return Cluster(
            cluster_id=answer.cluster_id,
            answered_by=answer.node_id,
            controller=answer.controller_node_id,
            nodes=tuple(Node(node.node_id, node.address, node.alive) for node in answer.nodes),
            topics=tuple(_topic(topic) for topic in answer.topics),
        )

    async def _find_leaders(self, answer: metadata_pb2.GetMetadataResponse, topics: Sequence[str]) -> None:
        """Completes the answer, as far as nodes say what they know while it is worth waiting for."""
        unknown = {
            (topic.topic_id, each.partition): each
            for topic in answer.topics
            for each in topic.partitions
            if not each.leader_node_id
        }
        holders = {replica for each in unknown.values() for replica in each.replicas} - {answer.node_id}
        asked = {
            asyncio.create_task(self._network.metadata_from(node.address, topics))
            for node in answer.nodes
            if node.node_id in holders and node.alive
        }
        try:
            while asked and not all(each.leader_node_id for each in unknown.values()):
                done, asked = await asyncio.wait(
                    asked, timeout=_OTHERS_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    return
                for told in done:
                    if told.exception() is None:
                        _learn_leaders(unknown, told.result())
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def describe_node(self, node: int | str) -> NodeDescription:
        """One node from within, by its id or address. Raises InvalidRequest (no such node), Unreachable."""
        address = node if isinstance(node, str) else await self._address(node)

        async def call(channel: NodeChannel, seconds: float) -> admin_pb2.DescribeNodeResponse:
            return await channel.admin.DescribeNode(admin_pb2.DescribeNodeRequest(), timeout=seconds)

        return _description(await self._network.call_node(address, call, timeout_ms=self._timeout_ms))

    async def describe_nodes(self) -> dict[int, NodeDescription | QuorumlogError]:
        """All configured nodes by id, each with its description or with why it gave none."""
        cluster = await self.metadata()

        async def describe(address: str) -> NodeDescription | QuorumlogError:
            try:
                return await self.describe_node(address)
            except QuorumlogError as error:
                return error

        told = await asyncio.gather(*(describe(node.address) for node in cluster.nodes))
        return {node.node_id: each for node, each in zip(cluster.nodes, told, strict=True)}

    async def _address(self, node_id: int) -> str:
        if self._network.router.address(node_id) is None:
            await self.metadata()
        address = self._network.router.address(node_id)
        if address is None:
            raise InvalidRequest(f"no node {node_id}", fields={"node_id": str(node_id)})
        return address

    # ---- partitions

    async def list_offsets(
        self, topic: str, position: str | Start = "latest", partitions: Sequence[int] | None = None
    ) -> dict[int, Offsets]:
        """By partition, where ``position`` (see ``parse_start``) lies now, with the log's start and committed end.

        Raises UnknownTopic, UnknownPartition, OffsetOutOfRange, NoQuorum, Unreachable.
        """
        start = parse_start(position)
        view = await self._network.topic(topic, timeout_ms=self._timeout_ms)
        numbers = list(range(len(view.partitions))) if partitions is None else list(partitions)
        found = await asyncio.gather(
            *(find_offset(self._network, topic, each, start, timeout_ms=self._timeout_ms) for each in numbers)
        )
        return dict(zip(numbers, found, strict=True))

    async def transfer_leadership(self, topic: str, partition: int, node_id: int = 0) -> None:
        """Begin to hand the partition's leadership to a node; 0: to the preferred one."""
        request = admin_pb2.TransferLeadershipRequest(topic=topic, partition=partition, node_id=node_id)

        async def call(channel: NodeChannel, seconds: float) -> None:
            await channel.admin.TransferLeadership(request, timeout=seconds)

        await self._network.call_leader(topic, partition, call, timeout_ms=self._timeout_ms)


def _learn_leaders(
    unknown: dict[tuple[int, int], metadata_pb2.PartitionInfo], told: metadata_pb2.GetMetadataResponse
) -> None:
    for topic in told.topics:
        for each in topic.partitions:
            found = unknown.get((topic.topic_id, each.partition))
            if found is not None and each.leader_node_id and each.leader_term >= found.leader_term:
                found.leader_node_id, found.leader_term = each.leader_node_id, each.leader_term


def _check_number(field: str, setting: int) -> None:
    limit = 1 << (32 if field in ("partitions", "replication_factor", "max_batch_bytes") else 64)
    if not 0 <= setting < limit:
        error = make_error(Reason.INVALID_TOPIC, f"{field} is {setting}", not_done=True, fields={"field": field})
        assert isinstance(error, NotDone)
        raise error


def _topic(info: metadata_pb2.TopicInfo) -> Topic:
    config = info.config
    return Topic(
        name=info.name,
        topic_id=info.topic_id,
        config=TopicConfig(
            partitions=config.partitions,
            replication_factor=config.replication_factor,
            retention_ms=config.retention_ms,
            retention_bytes=config.retention_bytes,
            segment_bytes=config.segment_bytes,
            max_batch_bytes=config.max_batch_bytes,
        ),
        partitions=tuple(
            Partition(each.partition, each.group_id, tuple(each.replicas), each.leader_node_id, each.leader_term)
            for each in info.partitions
        ),
    )


def _description(answer: admin_pb2.DescribeNodeResponse) -> NodeDescription:
    return NodeDescription(
        node_id=answer.node_id,
        cluster_id=answer.cluster_id,
        version=answer.version,
        uptime_seconds=answer.uptime_seconds,
        engine=answer.engine,
        replicas=tuple(_replica(each) for each in answer.replicas),
        links=tuple(Link(each.node_id, each.up, each.silent_ms) for each in answer.links),
        lacks=tuple((each.guarantee, each.why) for each in answer.lacks),
    )


def _replica(info: admin_pb2.ReplicaInfo) -> Replica:
    return Replica(
        group_id=info.group_id,
        topic=info.topic,
        partition=info.partition,
        role=info.role,
        leader=info.leader_node_id,
        term=info.term,
        commit_index=info.commit_index,
        applied_index=info.applied_index,
        last_index=info.last_index,
        start_offset=info.start_offset,
        end_offset=info.end_offset,
        size_bytes=info.size_bytes,
        digest=info.digest,
        quiet=info.quiet,
        damage=info.damage,
        followers=tuple(
            Follower(each.node_id, each.match_index, each.state, each.learner) for each in info.followers
        ),
        voters=tuple(info.voters),
    )
