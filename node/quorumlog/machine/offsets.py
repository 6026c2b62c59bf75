"""The committed offsets of a partition: one table of consumer groups, replicated beside the records they speak of.

That they live in the partition's own log is the point of the whole design (DESIGN.md §3): a commit and the records
below it are one history, so whatever quorum keeps the one keeps the other. ``quorumlog.machine.offset_group`` has
the rules of one group; here is what concerns all of them: who is known, how many may be, and what is left of the
ones that are gone.

A group that goes (forgotten by an operator, or its tombstone's time over) leaves two numbers behind, for all such
groups together. ``epoch_floor``: a group that is made later begins its owner epochs above it, so that a zombie of
the earlier life of that name stays fenced. ``removed_version``: what is older than this may have been stored and
forgotten, so nobody is told that it never happened.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.machine.digest import DIGEST_SIZE
from quorumlog.machine.errors import ensure
from quorumlog.machine.offset_commands import (
    Acquire,
    Audit,
    Commits,
    Expire,
    Forget,
    Mark,
    OffsetCommand,
    Release,
    Reset,
    Settle,
    Touch,
)
from quorumlog.machine.offset_group import OffsetGroup, Place, range_fault, stored_by_reset
from quorumlog.machine.offset_results import (
    AcquireResult,
    Audited,
    AuditedGroup,
    CommitRefusal,
    CommitsResult,
    Committed,
    EpochNotGiven,
    ExpireResult,
    Fate,
    FateForgotten,
    FateKnown,
    Forgotten,
    GroupActive,
    Marked,
    NotOwner,
    OffsetResult,
    Released,
    ResetRefusal,
    ResetResult,
    SettleResult,
    StillUsed,
    Stored,
    TombstoneGone,
    TombstoneMade,
    TooManyGroups,
    Touched,
    UnknownGroup,
)
from quorumlog.machine.offset_snapshot import encode_groups

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_GROUPS = 10_000


class Hold(NamedTuple):
    """Retention should keep the records from ``offset`` on, as long as they are not more than ``bytes``."""

    offset: int
    bytes: int


class OffsetTable:
    """All groups of a partition. ``limit`` must be the same on all replicas: it decides who is refused."""

    __slots__ = ("_groups", "_limit", "epoch_floor", "removed_version")

    def __init__(self, limit: int) -> None:
        ensure(limit >= 1, f"a partition needs room for at least one group, not {limit}")
        self._limit = limit
        self._groups: dict[str, OffsetGroup] = {}
        self.epoch_floor = 0
        self.removed_version = 0

    # --- commands ---

    def apply(self, command: OffsetCommand, place: Place) -> OffsetResult:
        """Does what ``command`` says, or refuses. It cannot fail: what is wrong with an entry shows when it is
        decoded."""
        if isinstance(command, Commits):
            return self._commit(command, place)
        match command:
            case Acquire():
                return self._acquire(command, place)
            case Release(group=name):
                if (group := self._groups.get(name)) is not None:
                    group.release(command, place)
                return Released()
            case Reset():
                return self._reset(command, place)
            case Settle(name, owner_epoch, session, sequence):
                known = self._groups.get(name)
                if known is None:
                    return self._attempt_of_unknown(owner_epoch)
                return known.settle(owner_epoch, session, sequence)
            case Expire():
                return self._expire(command, place)
            case Mark():
                return self._mark(command)
            case Forget():
                return self._forget(command, place)
            case Audit():
                return self.audited(place)
            case Touch(wall_ms, name, owner_epoch):
                if (group := self._groups.get(name)) is not None:
                    group.touch(wall_ms, owner_epoch)
                return Touched()

    def _commit(self, command: Commits, place: Place) -> CommitsResult:
        groups = self._groups
        index, term, _, end_offset = place
        wall_ms, node_id = command.wall_ms, command.node_id
        results: list[Committed | CommitRefusal] = []
        for item in command.items:
            group = groups.get(item[0])
            if group is None:
                results.append(NotOwner(item[0]))
            else:
                results.append(group.commit(item, index, term, wall_ms, node_id, end_offset))
        return tuple(results)

    def _acquire(self, command: Acquire, place: Place) -> AcquireResult:
        group = self._groups.get(command.group)
        if group is None:
            if len(self._groups) >= self._limit:
                return TooManyGroups(self._limit)
            group = self._make(command.group)
        return group.acquire(command, place)

    def _reset(self, command: Reset, place: Place) -> ResetResult:
        fault = self.reset_fault(command, place)
        if fault is not None:
            return fault
        group = self._groups.get(command.group) or self._make(command.group)
        return group.reset(command, place)

    def _expire(self, command: Expire, place: Place) -> ExpireResult:
        group = self._groups.get(command.group)
        if group is None:
            return UnknownGroup(command.group)
        if not group.unused_since(command.unused_since_ms):
            return StillUsed()
        stored = group.expire(command, place)
        if stored is not None:
            return TombstoneMade(stored)
        self._remove(group, place)
        return TombstoneGone()

    def _mark(self, command: Mark) -> Marked | TooManyGroups:
        group = self._groups.get(command.group)
        if group is None:
            # To treat a group as any other is treated needs no group.
            if not command.critical and not command.hold_bytes:
                return Marked()
            if len(self._groups) >= self._limit:
                return TooManyGroups(self._limit)
            group = self._make(command.group)
        group.critical = command.critical
        group.hold_bytes = command.hold_bytes
        return Marked()

    def _forget(self, command: Forget, place: Place) -> Forgotten | GroupActive:
        group = self._groups.get(command.group)
        if group is not None:
            if group.owned and not command.force:
                return GroupActive(group.owner)
            self._remove(group, place)
        return Forgotten()

    def _make(self, name: str) -> OffsetGroup:
        group = self._groups[name] = OffsetGroup(name, self.epoch_floor, self.removed_version)
        return group

    def _remove(self, group: OffsetGroup, place: Place) -> None:
        del self._groups[group.name]
        self.epoch_floor = max(self.epoch_floor, group.owner_epoch)
        self.removed_version = place.index

    # --- questions ---

    def __len__(self) -> int:
        return len(self._groups)

    def get(self, name: str) -> OffsetGroup | None:
        """One group, to be looked at only."""
        return self._groups.get(name)

    def names(self) -> list[str]:
        """Every group's name, sorted."""
        return sorted(self._groups)

    def groups(self) -> list[OffsetGroup]:
        """Every group by name, to be looked at only."""
        return [self._groups[name] for name in sorted(self._groups)]

    def reset_fault(self, command: Reset, place: Place) -> ResetRefusal | None:
        """Why ``command`` would be refused here, if so."""
        group = self._groups.get(command.group)
        if group is not None:
            return group.reset_fault(command, place)
        if command.pin or command.restore or command.expected_version:
            return UnknownGroup(command.group)
        if len(self._groups) >= self._limit:
            return TooManyGroups(self._limit)
        return range_fault(command.offset, place)

    def reset_outcome(self, command: Reset, place: Place) -> Stored:
        """What ``command`` would store; ``reset_fault`` has found nothing."""
        group = self._groups.get(command.group)
        return stored_by_reset(None if group is None else group.stored, command, place)

    def fate_of_attempt(self, name: str, owner_epoch: int, session: int, sequence: int) -> SettleResult | None:
        """What became of a commit; None: only Settle can tell, because it may still arrive and be stored. Of what
        is applied here: for an answer that holds, take a read index first."""
        group = self._groups.get(name)
        if group is None:
            return self._attempt_of_unknown(owner_epoch)
        return group.fate_of_attempt(owner_epoch, session, sequence)

    def fate_of_receipt(self, name: str, offset: int, version: int, term: int) -> SettleResult:
        """What became of the commit whose receipt this is; as ``fate_of_attempt``."""
        group = self._groups.get(name)
        if group is not None:
            return group.fate_of_receipt(offset, version, term)
        if version <= self.removed_version:
            return FateForgotten(self.removed_version)
        return FateKnown(Fate.NEVER_HAPPENED, None, None)

    def _attempt_of_unknown(self, owner_epoch: int) -> SettleResult:
        """Of a group that is not here: it may have been, and is gone."""
        if 0 < owner_epoch <= self.epoch_floor:
            return FateForgotten(self.removed_version)
        return EpochNotGiven(owner_epoch, self.epoch_floor)

    def due_to_expire(self, unused_since_ms: int) -> list[str]:
        """The groups of which Expire with this bound would do something, sorted."""
        return [group.name for group in self.groups() if group.unused_since(unused_since_ms)]

    def hold(self) -> Hold | None:
        """What critical groups ask of retention: to keep from the lowest of their offsets on, within the largest
        of their bounds. The machine only knows it; how much is kept is the leader's decision, which has the
        sizes."""
        holding = [
            (group.stored.offset, group.hold_bytes)
            for group in self._groups.values()
            if group.critical and group.hold_bytes and group.stored is not None
        ]
        if not holding:
            return None
        return Hold(min(offset for offset, _ in holding), max(size for _, size in holding))

    def audited(self, place: Place) -> Audited:
        """The table as of here, for comparing replicas."""
        groups = tuple(
            AuditedGroup(group.name, group.stored, group.owner, group.owner_epoch, group.tombstone)
            for group in self.groups()
        )
        return Audited(place.index, self.digest(), groups, place.start_offset, place.end_offset)

    def digest(self) -> bytes:
        """16 bytes that follow from everything in the table, and not from how it came about."""
        return blake2b(self.encode(), digest_size=DIGEST_SIZE).digest()

    def encode(self) -> bytes:
        """Equal tables, equal bytes (``quorumlog.machine.offset_snapshot``)."""
        return encode_groups(self.groups(), self.epoch_floor, self.removed_version)

    @classmethod
    def of(cls, limit: int, groups: Iterable[OffsetGroup], epoch_floor: int, removed_version: int) -> OffsetTable:
        """The table that a snapshot describes."""
        table = cls(limit)
        table._groups = {group.name: group for group in groups}
        table.epoch_floor = epoch_floor
        table.removed_version = removed_version
        return table
