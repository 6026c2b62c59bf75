"""What a partition's offsets should do, written the plain way: everything is remembered, nothing is fast.

The rules of docs/offsets.md once more, by themselves: no history is bounded and no code is shared with the machine,
so that a mistake would have to be made twice. Answers are tuples, compared with the machine's results by ``told``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from quorumlog.machine.offset_commands import (
    Acquire,
    Commits,
    Expire,
    Forget,
    Mark,
    OffsetCommand,
    Release,
    Reset,
    Settle,
)
from quorumlog.machine.offset_results import (
    Acquired,
    Committed,
    FateKnown,
    Stored,
    TombstoneMade,
    WasReset,
)

Answer = tuple[Any, ...]


@dataclass
class ModelGroup:
    """A group; ``moves``: (version, term, offset, epoch, session, sequence) of all that was ever stored, oldest
    first; of a reset, the session is 0."""

    born: int
    """The newest epoch of any life of the name before this one."""
    epoch: int
    stored: Stored | None = None
    owner: int = 0
    """Its session; 0: nobody."""
    ended_well: bool = True
    sequence: int = 0
    generation: int = 0
    exclusive: bool = False
    lease_ms: int = 0
    sign_ms: int = 0
    use_ms: int = 0
    expired_ms: int | None = None
    critical: bool = False
    ever_owned: bool = False
    before: bool = True
    moves: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)


def told(result: object) -> Answer:
    """The part of a machine's result that the model speaks of."""
    name = type(result).__name__
    match result:
        case Committed(offset, version, _, duplicate):
            return (name, offset, version, duplicate)
        case Acquired(epoch, stored, _, _, _, released, renewed):
            return (name, epoch, stored, released, renewed)
        case WasReset(stored, before):
            return (name, stored, before)
        case TombstoneMade(stored):
            return (name, stored)
        case FateKnown(fate):
            return (name, fate.name)
    return (name,)


class OffsetModel:
    """All groups of a partition. ``end`` and ``start`` are the log's."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.groups: dict[str, ModelGroup] = {}
        self.floor = 0
        #: Everything that was ever committed, (group, epoch, session, sequence): the truth about fates.
        self.truth: dict[tuple[str, int, int, int], int] = {}
        self.start = 0
        self.end = 0

    def apply(self, command: OffsetCommand, version: int, term: int) -> list[Answer]:
        """One answer; of Commits, one for each item."""
        if isinstance(command, Commits):
            return [self._commit(command, item, version, term) for item in command.items]
        match command:
            case Acquire():
                answer = self._acquire(command)
            case Release():
                answer = self._release(command)
            case Reset():
                answer = self._reset(command, version, term)
            case Settle():
                answer = self._settle(command)
            case Expire():
                answer = self._expire(command)
            case Mark():
                answer = self._mark(command)
            case Forget():
                answer = self._forget(command)
            case _:
                answer = ("Audited",)
        return [answer]

    def _commit(self, command: Commits, item: Any, version: int, term: int) -> Answer:
        group = self.groups.get(item.group)
        if group is None or not group.ever_owned:
            return ("NotOwner",)
        if group.expired_ms is not None:
            return ("Expired",)
        if item.owner_epoch < group.epoch:
            return ("Fenced",)
        if item.owner_epoch != group.epoch or item.session != group.owner or not group.owner:
            return ("NotOwner",)
        for earlier, _, offset, *attempt in group.moves:
            if attempt == [item.owner_epoch, item.session, item.sequence]:
                return ("Committed", offset, earlier, True)
        if item.sequence <= group.sequence:
            return ("Settled",)
        if item.offset > self.end:
            return ("BeyondEnd",)
        if group.stored is not None and item.offset < group.stored.offset:
            return ("Regressed",)
        group.stored = Stored(item.offset, version, term, command.wall_ms, item.fingerprint, item.metadata)
        group.sequence = item.sequence
        group.sign_ms = command.wall_ms
        group.use_ms = max(group.use_ms, command.wall_ms)
        group.moves.append((version, term, item.offset, item.owner_epoch, item.session, item.sequence))
        self.truth[item.group, item.owner_epoch, item.session, item.sequence] = version
        return ("Committed", item.offset, version, False)

    def _make(self, name: str) -> ModelGroup | None:
        if name not in self.groups and len(self.groups) < self.limit:
            self.groups[name] = ModelGroup(self.floor, self.floor)
        return self.groups.get(name)

    def _acquire(self, command: Acquire) -> Answer:
        group = self._make(command.group)
        if group is None:
            return ("TooManyGroups",)
        if group.expired_ms is not None:
            return ("Expired",)
        renewed = group.owner == command.session
        if not renewed:
            if command.generation < group.generation:
                return ("StaleGeneration",)
            if group.owner and group.exclusive:
                group.sign_ms = min(group.sign_ms, command.wall_ms)
                if command.wall_ms < group.sign_ms + group.lease_ms:
                    return ("Owned",)
            group.before = group.ended_well
            group.epoch += 1
            group.owner, group.ever_owned, group.ended_well = command.session, True, False
            group.sequence = 0
        group.generation = max(group.generation, command.generation)
        group.exclusive, group.lease_ms = command.exclusive, command.lease_ms
        group.sign_ms = command.wall_ms
        group.use_ms = max(group.use_ms, command.wall_ms)
        return ("Acquired", group.epoch, group.stored, group.before, renewed)

    def _release(self, command: Release) -> Answer:
        group = self.groups.get(command.group)
        if group and group.owner and (group.owner, group.epoch) == (command.session, command.owner_epoch):
            group.owner, group.ended_well = 0, True
            group.use_ms = max(group.use_ms, command.wall_ms)
        return ("Released",)

    def _reset(self, command: Reset, version: int, term: int) -> Answer:
        group = self.groups.get(command.group)
        if refusal := self._reset_refused(command, group):
            return (refusal,)
        group = self._make(command.group)
        if group is None:
            return ("TooManyGroups",)
        before = group.stored
        if command.restore:
            assert before is not None
            group.stored = before._replace(version=version, term=term, wall_ms=command.wall_ms)
        else:
            group.stored = Stored(command.offset, version, term, command.wall_ms, command.fingerprint, b"")
        group.expired_ms = None
        if group.owner and not command.pin:
            group.owner = 0
            group.epoch += 1
        group.use_ms = max(group.use_ms, command.wall_ms)
        group.moves.append((version, term, group.stored.offset, 0, 0, 0))
        return ("WasReset", group.stored, before)

    def _reset_refused(self, command: Reset, group: ModelGroup | None) -> str:
        version = group.stored.version if group and group.stored else 0
        if group is None:
            if command.pin or command.restore or command.expected_version:
                return "UnknownGroup"
            if len(self.groups) >= self.limit:
                return "TooManyGroups"
        elif command.pin:
            if group.expired_ms is not None:
                return "Expired"
            if command.owner_epoch < group.epoch:
                return "Fenced"
            if command.owner_epoch > group.epoch or not group.owner:
                return "NotOwner"
            if group.stored:
                return "VersionMismatch"
        else:
            if command.restore and group.expired_ms is None:
                return "NotExpired"
            if command.expected_version not in (0, version):
                return "VersionMismatch"
            if group.owner and not command.force:
                return "GroupActive"
        if not command.restore and not self.start <= command.offset <= self.end:
            return "OutOfRange"
        return ""

    def _settle(self, command: Settle) -> Answer:
        key = (command.group, command.owner_epoch, command.session, command.sequence)
        group = self.groups.get(command.group)
        if not 1 <= command.owner_epoch <= (self.floor if group is None else group.epoch):
            return ("EpochNotGiven",)
        if key in self.truth:
            live = group is not None and group.expired_ms is None and group.stored is not None
            present = live and group is not None and group.stored and group.stored.version == self.truth[key]
            return ("FateKnown", "PRESENT" if present else "SUPERSEDED")
        if group is not None and (group.epoch, group.owner) == (command.owner_epoch, command.session):
            group.sequence = max(group.sequence, command.sequence)
        return ("FateKnown", "NEVER_HAPPENED")

    def may_be_forgotten(self, name: str, epoch: int, sequence: int, remembered: int) -> bool:
        """Whether somebody who remembers that many commits may have to say of an attempt that he does not know: it
        is of an earlier life of the name, or a commit that is not older than it is among those he has forgotten."""
        group = self.groups.get(name)
        if group is None:
            return epoch <= self.floor
        commits = [(move[3], move[5]) for move in group.moves if move[4]]
        return epoch <= group.born or any((epoch, sequence) <= each for each in commits[:-remembered])

    def _expire(self, command: Expire) -> Answer:
        group = self.groups.get(command.group)
        if group is None:
            return ("UnknownGroup",)
        since = group.use_ms if group.expired_ms is None else group.expired_ms
        if group.critical or since > command.unused_since_ms:
            return ("StillUsed",)
        if group.stored is None or group.expired_ms is not None:
            self._remove(command.group)
            return ("TombstoneGone",)
        group.expired_ms = command.wall_ms
        group.owner = 0
        return ("TombstoneMade", group.stored)

    def _mark(self, command: Mark) -> Answer:
        if command.group not in self.groups and not command.critical and not command.hold_bytes:
            return ("Marked",)
        group = self._make(command.group)
        if group is None:
            return ("TooManyGroups",)
        group.critical = command.critical
        return ("Marked",)

    def _forget(self, command: Forget) -> Answer:
        group = self.groups.get(command.group)
        if group is not None:
            if group.owner and not command.force:
                return ("GroupActive",)
            self._remove(command.group)
        return ("Forgotten",)

    def _remove(self, name: str) -> None:
        self.floor = max(self.floor, self.groups.pop(name).epoch)
