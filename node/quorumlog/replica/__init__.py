"""One node's replicas, synchronous and deterministic: inputs in, effects out (``Node``).

``node`` is the round that everything is part of; ``replica`` the order of one group's work; ``partition`` and
``controller`` the requests; ``mesh`` and ``links`` the other nodes; ``groups`` which replicas there are;
``failover``, ``transfers``, ``care``, ``digests`` what their names say; ``api``, ``frames``, ``failures``,
``events`` the values that go in and come out.
"""

from quorumlog.replica.api import (
    Appended,
    AtTime,
    Clock,
    Done,
    Earliest,
    Effects,
    End,
    FollowerDescription,
    Job,
    JobPriority,
    LinkDescription,
    Metadata,
    NodeConfig,
    NodeDescription,
    OffsetFound,
    PartitionDescription,
    Position,
    ReadResult,
    ReplicaDescription,
    TopicCreated,
    TopicDeleted,
    TopicDescription,
    TransferBegun,
)
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.replica.frames import Frame, Lane
from quorumlog.replica.node import Node

__all__ = [
    "Appended",
    "AtTime",
    "Clock",
    "Done",
    "Earliest",
    "Effects",
    "End",
    "Failure",
    "FollowerDescription",
    "Frame",
    "Job",
    "JobPriority",
    "Lane",
    "LinkDescription",
    "Metadata",
    "Node",
    "NodeConfig",
    "NodeDescription",
    "OffsetFound",
    "Outcome",
    "PartitionDescription",
    "Position",
    "ReadResult",
    "Reason",
    "ReplicaDescription",
    "TopicCreated",
    "TopicDeleted",
    "TopicDescription",
    "TransferBegun",
]
