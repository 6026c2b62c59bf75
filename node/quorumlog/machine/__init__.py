"""The replicated state machines: what a committed log *means*, deterministically.

``PartitionMachine`` is behind every partition, with ``AppendGate`` as its leader's door; ``ControllerMachine`` is
behind group 1. Both follow from their log alone (``quorumlog.machine.protocol``). What can be done with offsets,
and what it comes to, is in ``offset_commands`` and ``offset_results``; import those from there.
"""

from quorumlog.machine.commands import (
    AlterTopic,
    ControllerCommand,
    CreateTopic,
    DeleteTopic,
    OpenProducer,
    decode_controller_command,
    encode_controller_command,
)
from quorumlog.machine.controller import ControllerMachine, DesiredGroup
from quorumlog.machine.digest import DIGEST_SIZE, EMPTY_DIGEST
from quorumlog.machine.errors import (
    AppendRefused,
    MachineError,
    MachineInvariantViolated,
    MalformedSnapshot,
    OutOfSequence,
    ProducerFenced,
    SnapshotTooNew,
    TooNew,
    UnknownCommand,
)
from quorumlog.machine.gate import AppendGate, Duplicate, Fresh, Pending, Verdict
from quorumlog.machine.offset_group import OffsetGroup, Place, Tenure
from quorumlog.machine.offsets import MAX_GROUPS, Hold, OffsetTable
from quorumlog.machine.partition import PartitionMachine
from quorumlog.machine.partition_commands import (
    PartitionCommand,
    Retain,
    decode_partition_command,
    encode_partition_command,
)
from quorumlog.machine.placement import place
from quorumlog.machine.protocol import StateMachine
from quorumlog.machine.results import (
    Altered,
    Appended,
    ControllerResult,
    Created,
    Deleted,
    Difference,
    InvalidProducerName,
    NotEnoughNodes,
    PartitionResult,
    ProducerOpened,
    RetainBeyondEnd,
    Retained,
    TopicExists,
    UnknownPartition,
    UnknownTopic,
)
from quorumlog.machine.topics import (
    CONTROLLER_GROUP_ID,
    FIRST_TOPIC_GROUP_ID,
    InvalidTopic,
    Partition,
    Topic,
    TopicConfig,
    config_fault,
    name_fault,
)

__all__ = [
    "CONTROLLER_GROUP_ID",
    "DIGEST_SIZE",
    "EMPTY_DIGEST",
    "FIRST_TOPIC_GROUP_ID",
    "MAX_GROUPS",
    "AlterTopic",
    "Altered",
    "AppendGate",
    "AppendRefused",
    "Appended",
    "ControllerCommand",
    "ControllerMachine",
    "ControllerResult",
    "CreateTopic",
    "Created",
    "DeleteTopic",
    "Deleted",
    "DesiredGroup",
    "Difference",
    "Duplicate",
    "Fresh",
    "Hold",
    "InvalidProducerName",
    "InvalidTopic",
    "MachineError",
    "MachineInvariantViolated",
    "MalformedSnapshot",
    "NotEnoughNodes",
    "OffsetGroup",
    "OffsetTable",
    "OpenProducer",
    "OutOfSequence",
    "Partition",
    "PartitionCommand",
    "PartitionMachine",
    "PartitionResult",
    "Pending",
    "Place",
    "ProducerFenced",
    "ProducerOpened",
    "Retain",
    "RetainBeyondEnd",
    "Retained",
    "SnapshotTooNew",
    "StateMachine",
    "Tenure",
    "TooNew",
    "Topic",
    "TopicConfig",
    "TopicExists",
    "UnknownCommand",
    "UnknownPartition",
    "UnknownTopic",
    "Verdict",
    "config_fault",
    "decode_controller_command",
    "decode_partition_command",
    "encode_controller_command",
    "encode_partition_command",
    "name_fault",
    "place",
]
