"""quorumlog.v1.Admin: changing and watching the cluster."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import TYPE_CHECKING

from quorumlog.engines import engine_named
from quorumlog.machine import AlterTopic, TopicConfig
from quorumlog.replica import api
from quorumlog.replica.failures import Outcome
from quorumlog.server.calls import Context, Shell, guarded
from quorumlog.server.metadata import topic_info
from quorumlog.v1 import admin_pb2 as pb
from quorumlog.v1 import admin_pb2_grpc

if TYPE_CHECKING:
    from quorumlog.server.config import ServerConfig

VERSION = version("quorumlog")


class AdminService(admin_pb2_grpc.AdminServicer):
    """See the module."""

    def __init__(self, shell: Shell, config: ServerConfig) -> None:
        self.shell = shell
        self._config = config
        self._began = time.monotonic()

    @guarded
    async def CreateTopic(self, request: pb.CreateTopicRequest, context: Context) -> pb.CreateTopicResponse:
        asked = request.config
        config = TopicConfig(
            partitions=asked.partitions,
            replication_factor=asked.replication_factor,
            retention_ms=asked.retention_ms,
            retention_bytes=asked.retention_bytes,
            segment_bytes=asked.segment_bytes,
            max_batch_bytes=asked.max_batch_bytes,
        )
        made: api.TopicCreated = await self.shell.ask(
            context, lambda node, done: node.create_topic(request.name, config, done), late=Outcome.UNKNOWN
        )
        return pb.CreateTopicResponse(topic=topic_info(made.topic), existed=made.existed)

    @guarded
    async def AlterTopic(self, request: pb.AlterTopicRequest, context: Context) -> pb.AlterTopicResponse:
        change = AlterTopic(
            request.name,
            retention_ms=request.retention_ms if request.HasField("retention_ms") else None,
            retention_bytes=request.retention_bytes if request.HasField("retention_bytes") else None,
            segment_bytes=request.segment_bytes if request.HasField("segment_bytes") else None,
            max_batch_bytes=request.max_batch_bytes if request.HasField("max_batch_bytes") else None,
        )
        topic: api.TopicDescription = await self.shell.ask(
            context, lambda node, done: node.alter_topic(change, done), late=Outcome.UNKNOWN
        )
        return pb.AlterTopicResponse(topic=topic_info(topic))

    @guarded
    async def DeleteTopic(self, request: pb.DeleteTopicRequest, context: Context) -> pb.DeleteTopicResponse:
        deleted: api.TopicDeleted = await self.shell.ask(
            context, lambda node, done: node.delete_topic(request.name, done), late=Outcome.UNKNOWN
        )
        assert isinstance(deleted, api.TopicDeleted)
        return pb.DeleteTopicResponse()

    @guarded
    async def DescribeNode(self, request: pb.DescribeNodeRequest, context: Context) -> pb.DescribeNodeResponse:
        described = self.shell.node_loop.describe()
        return pb.DescribeNodeResponse(
            node_id=self._config.node_id,
            cluster_id=self._config.cluster_id,
            version=VERSION,
            uptime_seconds=time.monotonic() - self._began,
            replicas=[_replica_info(replica) for replica in described.replicas],
            links=[
                pb.LinkInfo(node_id=link.node_id, up=link.up, silent_ms=min(link.silent_ms, 0xFFFFFFFF))
                for link in described.links
            ],
            engine=self._config.engine,
            lacks=[
                pb.EngineLack(guarantee=lack.guarantee, why=lack.why)
                for lack in engine_named(self._config.engine).lacks
            ],
        )

    @guarded
    async def TransferLeadership(
        self, request: pb.TransferLeadershipRequest, context: Context
    ) -> pb.TransferLeadershipResponse:
        begun: api.TransferBegun = await self.shell.ask(
            context,
            lambda node, done: node.transfer_leadership(request.topic, request.partition, request.node_id, done),
            late=Outcome.UNKNOWN,
        )
        assert isinstance(begun, api.TransferBegun)
        return pb.TransferLeadershipResponse()


def _replica_info(replica: api.ReplicaDescription) -> pb.ReplicaInfo:
    return pb.ReplicaInfo(
        group_id=replica.group_id,
        topic=replica.topic,
        partition=replica.partition,
        role=replica.role,
        leader_node_id=replica.leader_node,
        term=replica.term,
        commit_index=replica.commit_index,
        applied_index=replica.applied_index,
        last_index=replica.last_index,
        start_offset=replica.start_offset,
        end_offset=replica.end_offset,
        size_bytes=replica.size_bytes,
        digest=replica.digest,
        quiet=replica.quiet,
        damage=replica.damage,
        followers=[
            pb.FollowerInfo(
                node_id=follower.node_id,
                match_index=follower.match_index,
                state=follower.state,
                learner=follower.learner,
            )
            for follower in replica.followers
        ],
        voters=replica.voters,
    )
