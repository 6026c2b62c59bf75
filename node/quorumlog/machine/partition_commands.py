"""The commands of a partition: what COMMAND entries of its log hold.

Layout, little-endian::

    position  size  field
           0     1  version  1
           1     1  command  1 RETAIN
    RETAIN:
           2     8  start_offset   the log's new first offset

Struct rather than JSON: offset commits will be commands too, and they are on the hot path.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from quorumlog.machine.errors import MachineInvariantViolated, UnknownCommand

PARTITION_COMMAND_VERSION = 1

_HEAD = struct.Struct("<BB")
_RETAIN = struct.Struct("<BBQ")
_RETAIN_COMMAND = 1


@dataclass(frozen=True, slots=True)
class Retain:
    """The log begins at ``start_offset``: what lies below may be dropped. Decided by the leader, which has the
    clock and the sizes, and replicated so that all replicas begin at the same offset."""

    start_offset: int

    def encode(self) -> bytes:
        return _RETAIN.pack(PARTITION_COMMAND_VERSION, _RETAIN_COMMAND, self.start_offset)


def decode_partition_command(data: bytes) -> Retain:
    """The command of a COMMAND entry.

    Raises UnknownCommand if a newer node wrote it, MachineInvariantViolated if nobody can have.
    """
    if len(data) < _HEAD.size:
        raise MachineInvariantViolated(f"a partition command of {len(data)} bytes")
    version, command = _HEAD.unpack_from(data)
    if version != PARTITION_COMMAND_VERSION or command != _RETAIN_COMMAND:
        raise UnknownCommand(f"partition command {command} of version {version}")
    if len(data) != _RETAIN.size:
        raise MachineInvariantViolated(f"a RETAIN command of {len(data)} bytes, not {_RETAIN.size}")
    return Retain(_RETAIN.unpack(data)[2])
