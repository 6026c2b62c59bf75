"""The commands of a partition: what COMMAND entries of its log hold.

Layout, little-endian::

    position  size  field
           0     1  version  1
           1     1  command  1 RETAIN; 2 to 11: ``quorumlog.machine.offset_codec``
    RETAIN:
           2     8  start_offset   the log's new first offset

Struct rather than JSON: offset commits are commands too, and they are on the hot path.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from quorumlog.machine.errors import MachineInvariantViolated, UnknownCommand
from quorumlog.machine.offset_codec import OFFSET_DECODERS, PARTITION_COMMAND_VERSION, encode_offset_command
from quorumlog.machine.offset_commands import OffsetCommand

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


PartitionCommand = Retain | OffsetCommand


def encode_partition_command(command: PartitionCommand) -> bytes:
    """The data of the COMMAND entry to propose. Raises MachineInvariantViolated for what does not fit its field:
    the door has to refuse that before."""
    if isinstance(command, Retain):
        return command.encode()
    return encode_offset_command(command)


def decode_partition_command(data: bytes) -> PartitionCommand:
    """The command of a COMMAND entry.

    Raises UnknownCommand if a newer node wrote it, MachineInvariantViolated if nobody can have.
    """
    if len(data) < _HEAD.size:
        raise MachineInvariantViolated(f"a partition command of {len(data)} bytes")
    version, command = data[0], data[1]
    if version == PARTITION_COMMAND_VERSION:
        decoder = OFFSET_DECODERS.get(command)
        if decoder is not None:
            try:
                return decoder(data)
            except (struct.error, ValueError) as error:
                raise MachineInvariantViolated(f"partition command {command}: {error}") from error
        if command == _RETAIN_COMMAND:
            if len(data) != _RETAIN.size:
                raise MachineInvariantViolated(f"a RETAIN command of {len(data)} bytes, not {_RETAIN.size}")
            return Retain(_RETAIN.unpack(data)[2])
    raise UnknownCommand(f"partition command {command} of version {version}")
