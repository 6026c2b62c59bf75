"""What the tests of the state machines share: real batches, and logs of entries without a hole."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from quorumlog.machine import (
    ControllerMachine,
    Retain,
    StateMachine,
    encode_controller_command,
    encode_partition_command,
)
from quorumlog.raft.types import Entry, EntryKind
from quorumlog.wire.batch import encode_batch
from quorumlog.wire.header import BatchHeader, parse_header

if TYPE_CHECKING:
    from quorumlog.machine import ControllerCommand, ControllerResult, PartitionCommand


Machine = TypeVar("Machine", bound=StateMachine)


def batch(
    records: int,
    *,
    base_offset: int = 0,
    producer_id: int = 0,
    epoch: int = 0,
    sequence: int = 0,
    payload: bytes = b"value",
) -> bytes:
    """A batch as a producer's client encodes it."""
    return encode_batch(
        [payload] * records,
        timestamps_ms=[1] * records,
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
        base_offset=base_offset,
    )


def head(records: int, producer_id: int = 0, epoch: int = 0, sequence: int = 0) -> BatchHeader:
    """The head of such a batch, as it stands at the leader's door."""
    return parse_header(batch(records, producer_id=producer_id, epoch=epoch, sequence=sequence))


class Log:
    """Entries 1, 2, 3, … of one term; offsets follow by themselves unless given."""

    def __init__(self, term: int = 1) -> None:
        self.entries: list[Entry] = []
        self.term = term
        self.end_offset = 0

    def add(self, kind: EntryKind, data: bytes = b"") -> Entry:
        entry = Entry(len(self.entries) + 1, self.term, kind, data)
        self.entries.append(entry)
        return entry

    def data(
        self, records: int, producer_id: int = 0, epoch: int = 0, sequence: int = 0, payload: bytes = b"value"
    ) -> Entry:
        encoded = batch(
            records,
            base_offset=self.end_offset,
            producer_id=producer_id,
            epoch=epoch,
            sequence=sequence,
            payload=payload,
        )
        self.end_offset += records
        return self.add(EntryKind.DATA, encoded)

    def retain(self, start_offset: int) -> Entry:
        return self.add(EntryKind.COMMAND, Retain(start_offset).encode())

    def command(self, command: PartitionCommand) -> Entry:
        return self.add(EntryKind.COMMAND, encode_partition_command(command))

    def noop(self) -> Entry:
        return self.add(EntryKind.NOOP)


def apply_all(machine: Machine, entries: list[Entry]) -> Machine:
    """The machine after the entries it has not applied yet."""
    for entry in entries[machine.applied_index :]:
        machine.apply(entry)
    return machine


class Controller:
    """A controller machine and the log that it follows from."""

    def __init__(self, machine: ControllerMachine | None = None) -> None:
        self.machine = machine or ControllerMachine()
        self.log = Log()

    def __call__(self, command: ControllerCommand) -> ControllerResult:
        result = self.machine.apply(self.log.add(EntryKind.COMMAND, encode_controller_command(command)))
        assert result is not None
        return result
