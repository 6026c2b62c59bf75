"""The state machine of one partition: where its log starts and ends, and which producers wrote it.

The records themselves are in the Raft log and stay there; the machine holds what must be *known* about them. That
is little, so a snapshot is small and checkpoints at every segment boundary are cheap (DESIGN.md §3). Committed
offsets and their fences live here too (``quorumlog.machine.offsets``): next to the end of the log they are checked
against.

A data entry is applied by reading the 64-byte head of its batch; the payload is never touched.

Snapshot, little-endian: ``magic "QLPM", version u16 = 2, applied_index u64, start_offset u64, end_offset u64,
digest 16 bytes, sessions u32``, then the sessions (``ProducerSessions.encode``), then the offsets
(``quorumlog.machine.offset_snapshot``). Version 1 was written before there were offsets, and ends before them.
"""

from __future__ import annotations

import struct

from quorumlog.machine.cursor import Cursor
from quorumlog.machine.digest import DIGEST_SIZE, EMPTY_DIGEST, chain
from quorumlog.machine.errors import (
    MachineInvariantViolated,
    MalformedSnapshot,
    SnapshotTooNew,
    UnknownCommand,
)
from quorumlog.machine.offset_decisions import decision
from quorumlog.machine.offset_group import Place
from quorumlog.machine.offset_snapshot import decode_groups
from quorumlog.machine.offsets import MAX_GROUPS, OffsetTable
from quorumlog.machine.partition_commands import Retain, decode_partition_command
from quorumlog.machine.results import Appended, PartitionResult, RetainBeyondEnd, Retained
from quorumlog.machine.sessions import MAX_SESSIONS, ProducerSessions
from quorumlog.raft.types import Entry, EntryKind
from quorumlog.wire.header import HEADER, HEADER_SIZE

_MAGIC = b"QLPM"
_VERSION = 2
#: The first version with offsets.
_OFFSETS_VERSION = 2
_VERSIONED = struct.Struct("<4sH")
_SNAPSHOT = struct.Struct(f"<4sHQQQ{DIGEST_SIZE}sI")

#: Plain ints: comparing them is a third of the cost of looking the enumeration's member up, once per entry.
_DATA = int(EntryKind.DATA)
_COMMAND = int(EntryKind.COMMAND)
_SILENT = (int(EntryKind.NOOP), int(EntryKind.CONFIGURATION))


class PartitionMachine:
    """See ``StateMachine`` for the four calls. Offsets count records, from 0.

    ``max_sessions`` and ``max_groups`` must be the same on all replicas.
    """

    __slots__ = (
        "_applied_index",
        "_digest",
        "_end_offset",
        "_max_groups",
        "_max_sessions",
        "_offsets",
        "_sessions",
        "_start_offset",
    )

    def __init__(self, max_sessions: int = MAX_SESSIONS, max_groups: int = MAX_GROUPS) -> None:
        self._max_sessions = max_sessions
        self._max_groups = max_groups
        self._sessions = ProducerSessions(max_sessions)
        self._offsets = OffsetTable(max_groups)
        self._applied_index = 0
        self._digest = EMPTY_DIGEST
        self._start_offset = 0
        self._end_offset = 0

    @property
    def applied_index(self) -> int:
        return self._applied_index

    @property
    def digest(self) -> bytes:
        return self._digest

    @property
    def start_offset(self) -> int:
        """The log's first offset; start_offset <= end_offset, and it never goes back."""
        return self._start_offset

    @property
    def end_offset(self) -> int:
        """The offset after the last applied record."""
        return self._end_offset

    @property
    def sessions(self) -> ProducerSessions:
        """To be looked at only: it changes by applying, and by nothing else."""
        return self._sessions

    @property
    def offsets(self) -> OffsetTable:
        """To be looked at only: it changes by applying, and by nothing else."""
        return self._offsets

    def apply(self, entry: Entry) -> PartitionResult | None:
        """Raises MachineInvariantViolated for an entry out of turn, for a batch that does not begin at the end of
        the log (G2), or for one that its producer's session contradicts (G8); UnknownCommand for what a newer node
        wrote. The machine is unchanged then."""
        index, term, kind, data = entry
        if index != self._applied_index + 1:
            raise MachineInvariantViolated(f"entry {index} after {self._applied_index}")
        result: PartitionResult | None = None
        if kind == _DATA:
            result = self._append(data)
            summary = data[:HEADER_SIZE]
        elif kind == _COMMAND:
            command = decode_partition_command(data)
            if isinstance(command, Retain):
                result = self._retain(command.start_offset)
                summary = data
            else:
                place = Place(index, term, self._start_offset, self._end_offset)
                outcome = result = self._offsets.apply(command, place)
                summary = data + decision(outcome)
        elif kind in _SILENT:
            summary = data
        else:
            raise UnknownCommand(f"entry {index} is of kind {kind}")
        self._digest = chain(self._digest, index, term, kind, summary)
        self._applied_index = index
        return result

    def _append(self, data: bytes) -> Appended:
        if len(data) < HEADER_SIZE:
            raise MachineInvariantViolated(f"a data entry of {len(data)} bytes")
        base_offset, _, _, _, _, count, _, producer_id, epoch, _, base_sequence, _, _ = HEADER.unpack_from(data)
        if base_offset != self._end_offset or count == 0:
            raise MachineInvariantViolated(
                f"a batch of {count} records at offset {base_offset}, but the log ends at {self._end_offset}"
            )
        if producer_id:
            self._sessions.record(producer_id, epoch, base_sequence, count, base_offset)
        self._end_offset = end_offset = base_offset + count
        return Appended(base_offset, end_offset, self._start_offset)

    def _retain(self, start_offset: int) -> PartitionResult:
        if start_offset > self._end_offset:
            return RetainBeyondEnd(start_offset, self._end_offset)
        # A lower one is no error: a new leader may repeat what the old one decided, with older knowledge.
        self._start_offset = max(self._start_offset, start_offset)
        return Retained(self._start_offset)

    def snapshot(self) -> bytes:
        head = _SNAPSHOT.pack(
            _MAGIC,
            _VERSION,
            self._applied_index,
            self._start_offset,
            self._end_offset,
            self._digest,
            len(self._sessions),
        )
        return b"".join((head, self._sessions.encode(), self._offsets.encode()))

    def restore(self, data: bytes) -> None:
        try:
            magic, version = _VERSIONED.unpack_from(data)
            if magic != _MAGIC:
                raise MalformedSnapshot("not a partition's snapshot")
            if version > _VERSION:
                raise SnapshotTooNew(f"a partition's snapshot of version {version}; this program reads {_VERSION}")
            if version < 1:
                raise MalformedSnapshot(f"a partition's snapshot of version {version}")
            _, _, applied_index, start_offset, end_offset, digest, count = _SNAPSHOT.unpack_from(data)
            sessions, end = ProducerSessions.decode(self._max_sessions, data, _SNAPSHOT.size, count)
            cursor = Cursor(data, end)
            offsets = OffsetTable(self._max_groups)
            if version >= _OFFSETS_VERSION:
                offsets = OffsetTable.of(self._max_groups, *decode_groups(cursor))
            cursor.ended()
        except struct.error as error:
            raise MalformedSnapshot(f"a partition's snapshot is cut at {len(data)} bytes") from error
        except ValueError as error:
            raise MalformedSnapshot(f"a partition's snapshot: {error}") from error
        # More sessions, or groups, than the limit would never be evicted down to it, and this replica would decide
        # otherwise than others later.
        if (
            not len(sessions) == count <= self._max_sessions
            or len(offsets) > self._max_groups
            or start_offset > end_offset
        ):
            raise MalformedSnapshot("a partition's snapshot contradicts itself")
        self._applied_index = applied_index
        self._start_offset = start_offset
        self._end_offset = end_offset
        self._digest = digest
        self._sessions = sessions
        self._offsets = offsets
