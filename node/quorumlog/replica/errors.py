"""Which exceptions mean that a replica can no longer be trusted, whoever noticed."""

from __future__ import annotations

from quorumlog.machine import MachineError
from quorumlog.raft import InvariantViolated
from quorumlog.storage import StorageError
from quorumlog.storage.errors import InvariantViolated as StorageInvariantViolated

#: Bugs, divergence, damage. The replica is taken out of service; the node and its other replicas go on.
STOPS_A_REPLICA = (InvariantViolated, StorageInvariantViolated, MachineError, StorageError)
