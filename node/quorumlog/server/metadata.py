"""quorumlog.v1.Metadata: where things are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.server.calls import Context, Shell, guarded
from quorumlog.v1 import metadata_pb2 as pb
from quorumlog.v1 import metadata_pb2_grpc

if TYPE_CHECKING:
    from quorumlog.replica import api
    from quorumlog.server.config import ServerConfig


class MetadataService(metadata_pb2_grpc.MetadataServicer):
    """Answers from what this node knows, and the addresses it was configured with."""

    def __init__(self, shell: Shell, config: ServerConfig) -> None:
        self.shell = shell
        self._config = config

    @guarded
    async def GetMetadata(self, request: pb.GetMetadataRequest, context: Context) -> pb.GetMetadataResponse:
        topics = tuple(request.topics)
        known: api.Metadata = await self.shell.ask(context, lambda node, done: node.metadata(topics, done))
        config = self._config
        return pb.GetMetadataResponse(
            cluster_id=config.cluster_id,
            node_id=config.node_id,
            nodes=[
                pb.NodeInfo(node_id=node.node_id, address=node.client_address, alive=node.node_id in known.alive)
                for node in sorted(config.nodes, key=lambda node: node.node_id)
            ],
            topics=[topic_info(topic) for topic in known.topics],
            controller_node_id=known.controller_node,
        )


def topic_info(topic: api.TopicDescription) -> pb.TopicInfo:
    """A topic as clients see it."""
    config = topic.config
    return pb.TopicInfo(
        name=topic.name,
        topic_id=topic.topic_id,
        partitions=[
            pb.PartitionInfo(
                partition=partition.partition,
                group_id=partition.group_id,
                replicas=partition.replicas,
                leader_node_id=partition.leader_node,
                leader_term=partition.leader_term,
            )
            for partition in topic.partitions
        ],
        config=pb.TopicConfig(
            partitions=config.partitions,
            replication_factor=config.replication_factor,
            retention_ms=config.retention_ms,
            retention_bytes=config.retention_bytes,
            segment_bytes=config.segment_bytes,
            max_batch_bytes=config.max_batch_bytes,
        ),
    )
