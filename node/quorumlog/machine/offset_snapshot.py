"""A partition's offsets in its snapshot, and the canonical bytes of their digest: the same ones.

Layout, little-endian; flags are 0 or 1, texts are UTF-8, and whatever a flag says is not there is 0::

    table   groups u32, epoch_floor u64, removed_version u64; then the groups by name, each once
    group   name_size u8, last_owner_size u16, previous_owner_size u16, tenure u8, previous_released u8, exclusive
            u8, critical u8, stored u8, expired u8, owner_epoch u64, generation u64, session u64, last_sequence u64,
            lease_ms u64, last_sign_ms u64, last_use_ms u64, hold_bytes u64, expired_wall_ms u64,
            forgotten_version u64, forgotten_epoch u64, forgotten_sequence u64, commits u8, landmarks u8;
            the three texts; if stored, the stored offset; the commits, then the landmarks, oldest first
    stored  offset u64, version u64, term u64, wall_ms u64, fingerprinted u8, fingerprint_term u64, crc32c u32,
            metadata_size u16; the metadata
    change  kind u8, has_offset u8, version u64, term u64, wall_ms u64, offset u64, owner_epoch u64, session u64,
            sequence u64, node_id u32, owner_size u16, reason_size u16; owner, reason

Only what ``encode_groups`` can have written is read, so that equal states and equal bytes are the same thing.
Whether the offsets lie inside the log is not asked: a checkpoint in which they do not must be loadable, or Verify
could never report it.
"""

from __future__ import annotations

import struct
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.machine.cursor import flag
from quorumlog.machine.offset_codec import decode_fingerprint
from quorumlog.machine.offset_group import OffsetGroup, Tenure
from quorumlog.machine.offset_memory import REMEMBERED_COMMITS, REMEMBERED_LANDMARKS
from quorumlog.machine.offset_results import Change, ChangeKind, Stored

if TYPE_CHECKING:
    from quorumlog.machine.cursor import Cursor

_TABLE = struct.Struct("<IQQ")
_GROUP = struct.Struct("<BHHBBBBBBQQQQQQQQQQQQBB")
_STORED = struct.Struct("<QQQQBQIH")
_CHANGE = struct.Struct("<BBQQQQQQQIHH")


class _GroupHead(NamedTuple):
    """The fields of ``_GROUP``, in their order."""

    name_size: int
    last_owner_size: int
    previous_owner_size: int
    tenure: int
    previous_released: int
    exclusive: int
    critical: int
    stored: int
    expired: int
    owner_epoch: int
    generation: int
    session: int
    last_sequence: int
    lease_ms: int
    last_sign_ms: int
    last_use_ms: int
    hold_bytes: int
    expired_wall_ms: int
    forgotten_version: int
    forgotten_epoch: int
    forgotten_sequence: int
    commits: int
    landmarks: int


def encode_groups(groups: list[OffsetGroup], epoch_floor: int, removed_version: int) -> bytes:
    """``groups`` sorted by name."""
    parts = [_TABLE.pack(len(groups), epoch_floor, removed_version)]
    for group in groups:
        _encode_group(group, parts)
    return b"".join(parts)


def _encode_group(group: OffsetGroup, parts: list[bytes]) -> None:
    name, owner, previous = group.name.encode(), group.last_owner.encode(), group.previous_owner.encode()
    expired_wall_ms, stored = group.expired_wall_ms, group.stored
    parts += (
        _GROUP.pack(
            *_GroupHead(
                name_size=len(name),
                last_owner_size=len(owner),
                previous_owner_size=len(previous),
                tenure=group.tenure,
                previous_released=group.previous_released,
                exclusive=group.exclusive,
                critical=group.critical,
                stored=stored is not None,
                expired=expired_wall_ms is not None,
                owner_epoch=group.owner_epoch,
                generation=group.generation,
                session=group.session,
                last_sequence=group.last_sequence,
                lease_ms=group.lease_ms,
                last_sign_ms=group.last_sign_ms,
                last_use_ms=group.last_use_ms,
                hold_bytes=group.hold_bytes,
                expired_wall_ms=expired_wall_ms or 0,
                forgotten_version=group.forgotten_version,
                forgotten_epoch=group.memory.forgotten_attempt[0],
                forgotten_sequence=group.memory.forgotten_attempt[1],
                commits=len(group.memory.commits),
                landmarks=len(group.memory.landmarks),
            )
        ),
        name,
        owner,
        previous,
    )
    if stored is not None:
        offset, version, term, wall_ms, fingerprint, metadata = stored
        known = (0, 0, 0) if fingerprint is None else (1, *fingerprint)
        parts += (_STORED.pack(offset, version, term, wall_ms, *known, len(metadata)), metadata)
    for change in (*group.memory.commits, *group.memory.landmarks):
        _encode_change(change, parts)


def _encode_change(change: Change, parts: list[bytes]) -> None:
    kind, version, term, wall_ms, offset, who, owner_epoch, session, sequence, node_id, why = change
    owner, reason = who.encode(), why.encode()
    parts += (
        _CHANGE.pack(
            kind,
            offset is not None,
            version,
            term,
            wall_ms,
            offset or 0,
            owner_epoch,
            session,
            sequence,
            node_id,
            len(owner),
            len(reason),
        ),
        owner,
        reason,
    )


def decode_groups(cursor: Cursor) -> tuple[list[OffsetGroup], int, int]:
    """(groups by name, epoch_floor, removed_version). Raises ValueError or struct.error for bytes that
    ``encode_groups`` does not write."""
    count, epoch_floor, removed_version = cursor.take(_TABLE)
    groups = [_decode_group(cursor) for _ in range(count)]
    if any(one.name >= other.name for one, other in pairwise(groups)):
        raise ValueError("groups out of order")
    return groups, epoch_floor, removed_version


def _decode_group(cursor: Cursor) -> OffsetGroup:
    head = _GroupHead._make(cursor.take(_GROUP))
    name = cursor.text(head.name_size)
    group = OffsetGroup(name, head.owner_epoch, head.forgotten_version)
    group.last_owner = cursor.text(head.last_owner_size)
    group.previous_owner = cursor.text(head.previous_owner_size)
    group.tenure = Tenure(head.tenure)
    group.previous_released = flag(head.previous_released)
    group.exclusive = flag(head.exclusive)
    group.critical = flag(head.critical)
    group.generation = head.generation
    group.session = head.session
    group.last_sequence = head.last_sequence
    group.lease_ms = head.lease_ms
    group.last_sign_ms = head.last_sign_ms
    group.last_use_ms = head.last_use_ms
    group.hold_bytes = head.hold_bytes
    if flag(head.expired):
        group.expired_wall_ms = head.expired_wall_ms
    elif head.expired_wall_ms:
        raise ValueError("a time of expiry without one")
    if flag(head.stored):
        group.stored = _decode_stored(cursor)
    elif group.tombstone:
        raise ValueError("a tombstone of nothing")
    if head.commits > REMEMBERED_COMMITS or head.landmarks > REMEMBERED_LANDMARKS:
        raise ValueError("more history than is remembered")
    group.memory.forgotten_attempt = (head.forgotten_epoch, head.forgotten_sequence)
    group.memory.commits = deque(_decode_change(cursor) for _ in range(head.commits))
    group.memory.landmarks = deque(_decode_change(cursor) for _ in range(head.landmarks))
    commit = ChangeKind.COMMIT
    if any(change.kind is not commit for change in group.memory.commits) or any(
        change.kind is commit for change in group.memory.landmarks
    ):
        raise ValueError("commits among landmarks")
    return group


def _decode_stored(cursor: Cursor) -> Stored:
    offset, version, term, wall_ms, known, fingerprint_term, crc32c, size = cursor.take(_STORED)
    fingerprint = decode_fingerprint(known, fingerprint_term, crc32c)
    return Stored(offset, version, term, wall_ms, fingerprint, cursor.raw(size))


def _decode_change(cursor: Cursor) -> Change:
    kind, known, *fields, owner_size, reason_size = cursor.take(_CHANGE)
    version, term, wall_ms, offset, owner_epoch, session, sequence, node_id = fields
    if not flag(known) and offset:
        raise ValueError("an offset that is none")
    owner, reason = cursor.text(owner_size), cursor.text(reason_size)
    return Change(
        ChangeKind(kind),
        version,
        term,
        wall_ms,
        offset if known else None,
        owner,
        owner_epoch,
        session,
        sequence,
        node_id,
        reason,
    )
