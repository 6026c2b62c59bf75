"""One replica as people and metrics see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.replica.api import FollowerDescription, ReplicaDescription
from quorumlog.replica.coordinator import CoordinatorService
from quorumlog.replica.ids import node_of
from quorumlog.replica.partition import PartitionService

if TYPE_CHECKING:
    from quorumlog.replica.replica import Replica


def describe_replica(replica: Replica, damage: str) -> ReplicaDescription:
    """``damage`` is that of the incarnation that this one replaces. The controller's replica has no topic, and only
    a partition's has offsets."""
    status = replica.raft.status()
    followers = tuple(
        FollowerDescription(
            node_of(follower.replica),
            follower.match,
            follower.state.value,
            follower.replica in status.configuration.learners,
        )
        for follower in status.followers
    )
    service = replica.service
    partition = service if isinstance(service, PartitionService) else None
    bound = service if isinstance(service, PartitionService | CoordinatorService) else None
    return ReplicaDescription(
        group_id=replica.group_id,
        topic=bound.topic if bound is not None else "",
        partition=bound.partition if bound is not None else 0,
        role="damaged" if damage else replica.raft.role.value,
        leader_node=node_of(status.leader) if status.leader is not None else 0,
        term=status.term,
        commit_index=status.commit,
        applied_index=replica.machine.applied_index,
        last_index=status.last_index,
        start_offset=partition.start_offset if partition is not None else 0,
        end_offset=partition.end_offset if partition is not None else 0,
        size_bytes=replica.log.size_bytes,
        digest=replica.machine.digest,
        quiet=status.quiet,
        damage=damage,
        followers=followers,
        voters=tuple(sorted(node_of(voter) for voter in status.configuration.voters)),
        disk_full=replica.disk_full,
        waiting=service.requests if isinstance(service, CoordinatorService) else service.waiting,
    )
