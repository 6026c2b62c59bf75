"""What applying an offset command comes to: values, refusals included, the same on every replica."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from quorumlog.machine.offset_commands import Fingerprint


class Stored(NamedTuple):
    """A committed offset. ``version`` and ``term`` are those of the Raft entry that set it."""

    offset: int
    version: int
    term: int
    wall_ms: int
    fingerprint: Fingerprint | None
    metadata: bytes


class ChangeKind(IntEnum):
    """What happened to (group, partition); numbered as in offsets.proto."""

    COMMIT = 1
    ACQUIRE = 2
    RELEASE = 3
    RESET = 4
    EXPIRE = 5
    RESTORE = 6


class Change(NamedTuple):
    """One line of history. ``offset``: stored afterwards; None for none."""

    kind: ChangeKind
    version: int
    term: int
    wall_ms: int
    offset: int | None
    owner: str
    owner_epoch: int
    session: int
    sequence: int
    node_id: int
    reason: str


# --- commits --------------------------------------------------------------------------------------------------


class Committed(NamedTuple):
    """Stored, or (``duplicate``) found to have been stored by an earlier sending."""

    offset: int
    version: int
    term: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class BeyondEnd:
    """The offset lies beyond the log's end."""

    offset: int
    end_offset: int


@dataclass(frozen=True, slots=True)
class Regressed:
    """The offset lies below the stored one."""

    offset: int
    stored: int


@dataclass(frozen=True, slots=True)
class Fenced:
    """The owner epoch is no longer current: ``owner`` has it at ``owner_epoch``."""

    asked_epoch: int
    owner_epoch: int
    owner: str


@dataclass(frozen=True, slots=True)
class NotOwner:
    """Nobody, or another session, owns (group, partition): a commit needs an Acquire before it."""

    group: str


@dataclass(frozen=True, slots=True)
class Settled:
    """The attempt had been settled as "never happened" before it arrived."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Expired:
    """The stored offset expired; its tombstone has it."""

    stored: Stored
    expired_wall_ms: int


@dataclass(frozen=True, slots=True)
class FateForgotten:
    """It lies before what is remembered."""

    forgotten_version: int


CommitRefusal = BeyondEnd | Regressed | Fenced | NotOwner | Settled | FateForgotten | Expired
"""FateForgotten: a repeat of something so old that nobody can say any more whether it was stored."""
CommitsResult = tuple[Committed | CommitRefusal, ...]
"""One for each item, in their order."""


# --- ownership ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Acquired:
    """The session owns (group, partition) from here on. ``renewed``: it did before."""

    owner_epoch: int
    stored: Stored | None
    start_offset: int
    end_offset: int
    previous_owner: str
    released: bool
    """Nobody has to fear that something is processed twice: there was no previous owner, or it gave back."""
    renewed: bool


@dataclass(frozen=True, slots=True)
class Owned:
    """An exclusive owner holds it until ``until_wall_ms`` at least."""

    owner: str
    until_wall_ms: int


@dataclass(frozen=True, slots=True)
class StaleGeneration:
    """The partition was acquired in a later generation of the group."""

    asked: int
    generation: int


@dataclass(frozen=True, slots=True)
class TooManyGroups:
    """The partition has as many groups as it may."""

    limit: int


@dataclass(frozen=True, slots=True)
class Released:
    """Given back, now or long since."""


# --- operators ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WasReset:
    """The offset now stored, and the one before."""

    stored: Stored
    before: Stored | None


@dataclass(frozen=True, slots=True)
class VersionMismatch:
    """What is stored is of another version than expected (0: nothing is stored)."""

    expected: int
    version: int


@dataclass(frozen=True, slots=True)
class GroupActive:
    """The group has an owner here."""

    owner: str


@dataclass(frozen=True, slots=True)
class UnknownGroup:
    """The group has nothing in this partition."""

    group: str


@dataclass(frozen=True, slots=True)
class OutOfRange:
    """The offset to reset to is not in the log."""

    offset: int
    start_offset: int
    end_offset: int


@dataclass(frozen=True, slots=True)
class NotExpired:
    """There is no tombstone to restore: the offset is live."""

    group: str


class Fate(IntEnum):
    """What became of a commit; numbered as in offsets.proto."""

    PRESENT = 1
    SUPERSEDED = 2
    NEVER_HAPPENED = 3


@dataclass(frozen=True, slots=True)
class EpochNotGiven:
    """Whose attempt is asked about? Nobody has been given this owner epoch; the newest that was is ``owner_epoch``.

    Not the same as "it never happened": somebody may be given it yet.
    """

    asked_epoch: int
    owner_epoch: int


@dataclass(frozen=True, slots=True)
class FateKnown:
    """What became of a commit, for good. ``commit``: its line of history, if it was stored."""

    fate: Fate
    commit: Change | None
    stored: Stored | None


@dataclass(frozen=True, slots=True)
class TombstoneMade:
    """The group's offset expired."""

    stored: Stored


@dataclass(frozen=True, slots=True)
class TombstoneGone:
    """The tombstone's time is over: the group is forgotten."""


@dataclass(frozen=True, slots=True)
class StillUsed:
    """Not expired: it was used since, is critical, or has an owner who gave a sign."""


@dataclass(frozen=True, slots=True)
class Touched:
    """The group counts as used, unless its owner was another."""


@dataclass(frozen=True, slots=True)
class Marked:
    """The group is treated so from here on."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Nothing of the group is left, now or long since."""


@dataclass(frozen=True, slots=True)
class AuditedGroup:
    """One group as this replica has it."""

    group: str
    stored: Stored | None
    owner: str
    owner_epoch: int
    tombstone: bool


@dataclass(frozen=True, slots=True)
class Audited:
    """What an Audit noted: every group by name, and the digest over all that the table holds."""

    index: int
    digest: bytes
    groups: tuple[AuditedGroup, ...]
    start_offset: int
    end_offset: int


AcquireResult = Acquired | Owned | StaleGeneration | TooManyGroups | Expired
ResetRefusal = (
    VersionMismatch
    | GroupActive
    | UnknownGroup
    | OutOfRange
    | TooManyGroups
    | Fenced
    | NotOwner
    | Expired
    | NotExpired
)
"""Fenced, NotOwner and Expired only for a pin: it is the owner's to set."""
ResetResult = WasReset | ResetRefusal
SettleResult = FateKnown | FateForgotten | EpochNotGiven
ExpireResult = TombstoneMade | TombstoneGone | StillUsed | UnknownGroup
OffsetResult = (
    CommitsResult
    | AcquireResult
    | Released
    | ResetResult
    | SettleResult
    | ExpireResult
    | Marked
    | Forgotten
    | Audited
    | Touched
)
