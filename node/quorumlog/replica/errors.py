"""Which exceptions mean that a replica can no longer be trusted, whoever noticed."""

from __future__ import annotations

import errno

from quorumlog.machine import MachineError
from quorumlog.raft import InvariantViolated
from quorumlog.storage import StorageError
from quorumlog.storage.errors import InvariantViolated as StorageInvariantViolated

#: Bugs, divergence, damage. The replica is taken out of service; the node and its other replicas go on.
STOPS_A_REPLICA = (InvariantViolated, StorageInvariantViolated, MachineError, StorageError)

#: What the system says of a sector it cannot read and of a file system's own structures that are wrong (ext4 and
#: XFS: EFSCORRUPTED is EUCLEAN, EFSBADCRC is EBADMSG). Other errors speak of the surroundings (rights, descriptors,
#: space) and leave the data as it is.
_DAMAGE = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG})


def is_damage(error: OSError) -> bool:
    """What was stored can no longer be had."""
    return error.errno in _DAMAGE


def is_full(error: BaseException) -> bool:
    """There was no space for what was to be stored."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
