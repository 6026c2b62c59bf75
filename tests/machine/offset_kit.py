"""A partition with consumers: what the tests of offsets share. Each call is an entry of the log; it returns the
entry's result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from machine.logs import Log

from quorumlog.machine import PartitionMachine
from quorumlog.machine.offset_commands import (
    Acquire,
    Audit,
    CommitItem,
    Commits,
    Expire,
    Fingerprint,
    Forget,
    Mark,
    Release,
    Reset,
    Settle,
    Touch,
)
from quorumlog.machine.offset_results import Acquired, Committed

if TYPE_CHECKING:
    from quorumlog.machine import OffsetGroup
    from quorumlog.machine.offset_commands import OffsetCommand

NODE = 7
#: Something that the last record's fingerprint may be.
PRINT = Fingerprint(term=3, crc32c=0xDEADBEEF)


def item(
    offset: int, epoch: int = 1, session: int = 1, sequence: int = 1, group: str = "g", metadata: bytes = b""
) -> CommitItem:
    """A commit of the first owner, unless said otherwise."""
    return CommitItem(group, offset, epoch, session, sequence, PRINT, metadata)


class Partition:
    """A partition machine, the log it follows from, and a clock that the test moves."""

    def __init__(self, records: int = 0, max_groups: int = 100) -> None:
        self.log = Log(term=4)
        self.machine = PartitionMachine(max_groups=max_groups)
        self.wall_ms = 1_000
        if records:
            self.append(records)

    @property
    def version(self) -> int:
        """Of the entry that was applied last."""
        return self.machine.applied_index

    def group(self, name: str = "g") -> OffsetGroup:
        group = self.machine.offsets.get(name)
        assert group is not None
        return group

    def append(self, records: int) -> None:
        self.machine.apply(self.log.data(records))

    def retain(self, start_offset: int) -> None:
        self.machine.apply(self.log.retain(start_offset))

    def __call__(self, command: OffsetCommand) -> object:
        return self.machine.apply(self.log.command(command))

    def commits(self, *items: CommitItem) -> tuple[object, ...]:
        """Several commits in one entry."""
        results = self(Commits(self.wall_ms, NODE, items))
        assert isinstance(results, tuple)
        return results

    def commit(
        self,
        offset: int,
        epoch: int = 1,
        session: int = 1,
        sequence: int = 1,
        group: str = "g",
        metadata: bytes = b"",
    ) -> object:
        (result,) = self.commits(item(offset, epoch, session, sequence, group, metadata))
        return result

    def acquire(
        self,
        session: int = 1,
        generation: int = 0,
        exclusive: bool = False,
        lease_ms: int = 30_000,
        group: str = "g",
        owner: str | None = None,
    ) -> object:
        """The owner is called ``consumer-SESSION`` unless said otherwise."""
        name = f"consumer-{session}" if owner is None else owner
        return self(Acquire(self.wall_ms, NODE, group, name, session, generation, exclusive, lease_ms))

    def release(self, session: int = 1, epoch: int = 1, group: str = "g") -> object:
        return self(Release(self.wall_ms, NODE, group, session, epoch))

    def reset(
        self, offset: int, group: str = "g", expected_version: int = 0, force: bool = False, reason: str = "why"
    ) -> object:
        return self(Reset(self.wall_ms, NODE, group, offset, expected_version, force, reason, PRINT))

    def restore(self, group: str = "g", expected_version: int = 0) -> object:
        return self(Reset(self.wall_ms, NODE, group, 0, expected_version, False, "back", restore=True))

    def pin(self, offset: int, epoch: int = 1, group: str = "g") -> object:
        return self(Reset(self.wall_ms, NODE, group, offset, 0, False, "start", PRINT, pin=True, owner_epoch=epoch))

    def settle(self, sequence: int, epoch: int = 1, session: int = 1, group: str = "g") -> object:
        return self(Settle(group, epoch, session, sequence))

    def expire(self, unused_since_ms: int, group: str = "g") -> object:
        return self(Expire(self.wall_ms, NODE, group, unused_since_ms))

    def mark(self, critical: bool = True, hold_bytes: int = 0, group: str = "g") -> object:
        return self(Mark(group, critical, hold_bytes))

    def forget(self, force: bool = False, group: str = "g") -> object:
        return self(Forget(group, force))

    def touch(self, epoch: int = 1, group: str = "g") -> object:
        return self(Touch(self.wall_ms, group, epoch))

    def audit(self) -> object:
        return self(Audit())

    def replayed(self) -> PartitionMachine:
        """Another replica that has applied the same log."""
        other = PartitionMachine(max_groups=100)
        for entry in self.log.entries:
            other.apply(entry)
        return other


def acquired(result: object) -> Acquired:
    assert isinstance(result, Acquired), result
    return result


def committed(result: object) -> Committed:
    assert isinstance(result, Committed), result
    return result


def owned(records: int = 100) -> Partition:
    """A partition of so many records, of which session 1 is the first owner, at epoch 1, with nothing stored."""
    partition = Partition(records)
    assert acquired(partition.acquire()).owner_epoch == 1
    return partition
