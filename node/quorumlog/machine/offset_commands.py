"""The offset commands of a partition: what consumers, their groups and operators do to committed offsets.

Values only; ``quorumlog.machine.partition_commands`` lays them out as bytes. Each carries the leader's wall clock,
because machines have none, and the leader's node id, for the history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

MAX_GROUP_ID = 249
MAX_METADATA_BYTES = 4096
MAX_OWNER = 249
MAX_REASON = 1024


class Fingerprint(NamedTuple):
    """Which record stands directly before a committed offset: the term of its entry, the CRC32C of its batch."""

    term: int
    crc32c: int


class CommitItem(NamedTuple):
    """One commit: ``group`` has processed everything below ``offset``.

    ``sequence`` numbers the commits of the tenure that ``owner_epoch`` names, from 1: (owner_epoch, session,
    sequence) is one attempt, however often it is sent. A NamedTuple because thousands are made a second.
    """

    group: str
    offset: int
    owner_epoch: int
    session: int
    sequence: int
    fingerprint: Fingerprint | None = None
    metadata: bytes = b""


@dataclass(frozen=True, slots=True)
class Commits:
    """What came together in one round, at most one item a group: one entry, one version."""

    wall_ms: int
    node_id: int
    items: tuple[CommitItem, ...]


@dataclass(frozen=True, slots=True)
class Acquire:
    """``session`` takes (group, this partition) over; see AcquireRequest in offsets.proto."""

    wall_ms: int
    node_id: int
    group: str
    owner: str
    session: int
    generation: int
    exclusive: bool
    lease_ms: int


@dataclass(frozen=True, slots=True)
class Release:
    """The owner gives back, after its last commit."""

    wall_ms: int
    node_id: int
    group: str
    session: int
    owner_epoch: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The stored offset becomes ``offset``, lower or higher.

    ``expected_version`` 0: whatever it is. With ``pin`` it is the first position of a new group, set by the owner
    of ``owner_epoch`` only if nothing is stored. With ``restore`` the group must be a tombstone, whose own offset
    comes back. ``force``: even under an owner, which is fenced by it.
    """

    wall_ms: int
    node_id: int
    group: str
    offset: int
    expected_version: int
    force: bool
    reason: str
    fingerprint: Fingerprint | None = None
    restore: bool = False
    pin: bool = False
    owner_epoch: int = 0


@dataclass(frozen=True, slots=True)
class Settle:
    """Asks what became of an attempt, and makes "it did not happen" final: if it is not applied yet, it never will
    be."""

    group: str
    owner_epoch: int
    session: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Expire:
    """The group has been unused since before ``unused_since_ms``: its offset becomes a tombstone, or a tombstone
    goes. Refused when it has been used since (the leader decided on what it had applied then)."""

    wall_ms: int
    node_id: int
    group: str
    unused_since_ms: int


@dataclass(frozen=True, slots=True)
class Mark:
    """How the group is treated: a critical one never expires; ``hold_bytes`` of unprocessed records are kept."""

    group: str
    critical: bool
    hold_bytes: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing of the group is left here."""

    group: str
    force: bool


@dataclass(frozen=True, slots=True)
class Touch:
    """The owner of ``owner_epoch`` reads, and has had nothing to commit for long: the group is in use."""

    wall_ms: int
    group: str
    owner_epoch: int


@dataclass(frozen=True, slots=True)
class Audit:
    """Every replica notes its offsets and their digest at this index, and the running digest takes the note in."""


OffsetCommand = Commits | Acquire | Release | Reset | Settle | Expire | Mark | Forget | Audit | Touch
