"""Replica ids: which node a replica lives on, and in which incarnation.

A replica that lost its disk must not be mistaken for the one that acknowledged entries with it (a voter that
forgets is how a committed entry is lost), so its next life has a new id. Id = incarnation * 65536 + node id; the
first incarnation of a replica has its node's id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorumlog.raft.types import ReplicaId

_NODE_BITS = 16
_NODE_MASK = (1 << _NODE_BITS) - 1

#: The group that holds topics and placement.
CONTROLLER_GROUP = 1


def replica_id(node_id: int, incarnation: int = 0) -> ReplicaId:
    """The id of the ``incarnation``-th life of a group's replica on ``node_id``."""
    return (incarnation << _NODE_BITS) | node_id


def node_of(replica: ReplicaId) -> int:
    """The node a replica lives on."""
    return replica & _NODE_MASK


def incarnation_of(replica: ReplicaId) -> int:
    """Which life of the replica this is, from 0."""
    return replica >> _NODE_BITS
