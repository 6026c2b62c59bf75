"""The bytes of the offset commands (``quorumlog.machine.offset_commands`` has their meaning).

Layout, little-endian; each begins with ``version u8 = 1, command u8``, flags are 0 or 1, texts are UTF-8 and stand
at the end in the order of their sizes::

     2 COMMITS  wall_ms u64, node_id u32, count u16; count items; then of each item in turn: group, metadata
                item: group_size u8, metadata_size u16, fingerprinted u8, offset u64, owner_epoch u64, session u64,
                sequence u64, term u64, crc32c u32
     3 ACQUIRE  wall_ms u64, node_id u32, session u64, generation u64, exclusive u8, lease_ms u64, group_size u8,
                owner_size u16
     4 RELEASE  wall_ms u64, node_id u32, session u64, owner_epoch u64, group_size u8
     5 RESET    wall_ms u64, node_id u32, offset u64, expected_version u64, owner_epoch u64, force u8, restore u8,
                pin u8, fingerprinted u8, term u64, crc32c u32, group_size u8, reason_size u16
     6 SETTLE   owner_epoch u64, session u64, sequence u64, group_size u8
     7 EXPIRE   wall_ms u64, node_id u32, unused_since_ms u64, group_size u8
     8 MARK     critical u8, hold_bytes u64, group_size u8
     9 FORGET   force u8, group_size u8
    10 AUDIT
    11 TOUCH    wall_ms u64, owner_epoch u64, group_size u8

``term`` and ``crc32c`` are 0 where there is no fingerprint. The items of COMMITS are of one width and stand
together, because thousands of them are decoded a second on every replica, and one iterator over equal structs is
the cheapest loop that Python has.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from quorumlog.machine.cursor import Cursor, flag
from quorumlog.machine.errors import MachineInvariantViolated
from quorumlog.machine.offset_commands import (
    MAX_METADATA_BYTES,
    Acquire,
    Audit,
    CommitItem,
    Commits,
    Expire,
    Fingerprint,
    Forget,
    Mark,
    OffsetCommand,
    Release,
    Reset,
    Settle,
    Touch,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PARTITION_COMMAND_VERSION = 1

_COMMITS = struct.Struct("<BBQIH")
_ITEM = struct.Struct("<BHBQQQQQI")
_ACQUIRE = struct.Struct("<BBQIQQBQBH")
_RELEASE = struct.Struct("<BBQIQQB")
_RESET = struct.Struct("<BBQIQQQBBBBQIBH")
_SETTLE = struct.Struct("<BBQQQB")
_EXPIRE = struct.Struct("<BBQIQB")
_MARK = struct.Struct("<BBBQB")
_FORGET = struct.Struct("<BBBB")
_AUDIT = struct.Struct("<BB")
_TOUCH = struct.Struct("<BBQQB")

_NO_FINGERPRINT = (0, 0)


def encode_offset_command(command: OffsetCommand) -> bytes:
    """Raises MachineInvariantViolated for what does not fit its field, or for two commits of one group."""
    try:
        if isinstance(command, Commits):
            return _encode_commits(command)
        return _encode_other(command)
    except (struct.error, ValueError) as error:
        raise MachineInvariantViolated(f"{type(command).__name__}: {error}") from error


def _encode_commits(command: Commits) -> bytes:
    items = command.items
    if len({item.group for item in items}) != len(items):
        raise MachineInvariantViolated("two commits of one group in one entry")
    head = _COMMITS.pack(PARTITION_COMMAND_VERSION, 2, command.wall_ms, command.node_id, len(items))
    fixed, texts = [head], []
    pack = _ITEM.pack
    for group, offset, owner_epoch, session, sequence, fingerprint, metadata in items:
        name = group.encode()
        size = len(metadata)
        if size > MAX_METADATA_BYTES:
            raise MachineInvariantViolated(f"{size} bytes of metadata in a commit of {group}")
        if fingerprint is None:
            fixed.append(pack(len(name), size, 0, offset, owner_epoch, session, sequence, 0, 0))
        else:
            fixed.append(pack(len(name), size, 1, offset, owner_epoch, session, sequence, *fingerprint))
        texts.append(name)
        if size:
            texts.append(metadata)
    return b"".join(fixed + texts)


def _decode_commits(data: bytes) -> Commits:
    _, _, wall_ms, node_id, count = _COMMITS.unpack_from(data)
    position = _COMMITS.size + count * _ITEM.size
    new, items, groups = tuple.__new__, [], set()
    # A slice that is too short for ``count`` items shows as a wrong number of them, or as a struct.error.
    for group_size, metadata_size, known, offset, owner_epoch, session, sequence, term, crc32c in _ITEM.iter_unpack(
        data[_COMMITS.size : position]
    ):
        named = position + group_size
        group = data[position:named].decode()
        position = named + metadata_size
        if known == 1:
            fingerprint = new(Fingerprint, (term, crc32c))
        elif known or term or crc32c:
            raise ValueError("a fingerprint that is none")
        else:
            fingerprint = None
        metadata = data[named:position] if metadata_size else b""
        # Past the classes' own constructors, which cost as much as all the rest of the loop.
        items.append(new(CommitItem, (group, offset, owner_epoch, session, sequence, fingerprint, metadata)))
        groups.add(group)
    if position != len(data) or len(items) != count:
        raise ValueError(f"{len(data)} bytes for {count} commits")
    # One entry is one version: two commits of a group would give it two values.
    if len(groups) != count:
        raise ValueError("two commits of one group")
    return Commits(wall_ms, node_id, tuple(items))


def _encode_other(command: OffsetCommand) -> bytes:
    version = PARTITION_COMMAND_VERSION
    texts: tuple[bytes, ...]
    match command:
        case Acquire(wall_ms, node_id, group, owner, session, generation, exclusive, lease_ms):
            layout, texts = _ACQUIRE, (group.encode(), owner.encode())
            fields: tuple[int, ...] = (3, wall_ms, node_id, session, generation, exclusive, lease_ms)
        case Release(wall_ms, node_id, group, session, owner_epoch):
            layout, texts = _RELEASE, (group.encode(),)
            fields = (4, wall_ms, node_id, session, owner_epoch)
        case Reset():
            layout, texts = _RESET, (command.group.encode(), command.reason.encode())
            fields = (5, *_reset_fields(command))
        case Settle(group, owner_epoch, session, sequence):
            layout, texts = _SETTLE, (group.encode(),)
            fields = (6, owner_epoch, session, sequence)
        case Expire(wall_ms, node_id, group, unused_since_ms):
            layout, texts = _EXPIRE, (group.encode(),)
            fields = (7, wall_ms, node_id, unused_since_ms)
        case Mark(group, critical, hold_bytes):
            layout, texts = _MARK, (group.encode(),)
            fields = (8, critical, hold_bytes)
        case Forget(group, force):
            layout, texts = _FORGET, (group.encode(),)
            fields = (9, force)
        case Touch(wall_ms, group, owner_epoch):
            layout, texts = _TOUCH, (group.encode(),)
            fields = (11, wall_ms, owner_epoch)
        case _:
            layout, texts, fields = _AUDIT, (), (10,)
    return layout.pack(version, *fields, *map(len, texts)) + b"".join(texts)


def _reset_fields(command: Reset) -> tuple[int, ...]:
    return (
        command.wall_ms,
        command.node_id,
        command.offset,
        command.expected_version,
        command.owner_epoch,
        command.force,
        command.restore,
        command.pin,
        command.fingerprint is not None,
        *(command.fingerprint or _NO_FINGERPRINT),
    )


def _fields(data: bytes, layout: struct.Struct, texts: int) -> tuple[list[Any], list[str]]:
    """The command's fields after the head, and its texts, whose sizes are the layout's last fields."""
    cursor = Cursor(data)
    fields = list(cursor.take(layout)[2:])
    sizes = fields[len(fields) - texts :]
    del fields[len(fields) - texts :]
    found = [cursor.text(size) for size in sizes]
    cursor.ended()
    return fields, found


def _decode_acquire(data: bytes) -> Acquire:
    (wall_ms, node_id, session, generation, exclusive, lease_ms), (group, owner) = _fields(data, _ACQUIRE, 2)
    return Acquire(wall_ms, node_id, group, owner, session, generation, flag(exclusive), lease_ms)


def _decode_release(data: bytes) -> Release:
    (wall_ms, node_id, session, owner_epoch), (group,) = _fields(data, _RELEASE, 1)
    return Release(wall_ms, node_id, group, session, owner_epoch)


def _decode_reset(data: bytes) -> Reset:
    fields, (group, reason) = _fields(data, _RESET, 2)
    wall_ms, node_id, offset, expected_version, owner_epoch, force, restore, pin, known, term, crc32c = fields
    return Reset(
        wall_ms,
        node_id,
        group,
        offset,
        expected_version,
        flag(force),
        reason,
        decode_fingerprint(known, term, crc32c),
        flag(restore),
        flag(pin),
        owner_epoch,
    )


def _decode_settle(data: bytes) -> Settle:
    (owner_epoch, session, sequence), (group,) = _fields(data, _SETTLE, 1)
    return Settle(group, owner_epoch, session, sequence)


def _decode_expire(data: bytes) -> Expire:
    (wall_ms, node_id, unused_since_ms), (group,) = _fields(data, _EXPIRE, 1)
    return Expire(wall_ms, node_id, group, unused_since_ms)


def _decode_mark(data: bytes) -> Mark:
    (critical, hold_bytes), (group,) = _fields(data, _MARK, 1)
    return Mark(group, flag(critical), hold_bytes)


def _decode_forget(data: bytes) -> Forget:
    (force,), (group,) = _fields(data, _FORGET, 1)
    return Forget(group, flag(force))


def _decode_audit(data: bytes) -> Audit:
    _fields(data, _AUDIT, 0)
    return Audit()


def _decode_touch(data: bytes) -> Touch:
    (wall_ms, owner_epoch), (group,) = _fields(data, _TOUCH, 1)
    return Touch(wall_ms, group, owner_epoch)


def decode_fingerprint(known: int, term: int, crc32c: int) -> Fingerprint | None:
    """Raises ValueError for a fingerprint that is said not to be there and is not 0 either."""
    if flag(known):
        return Fingerprint(term, crc32c)
    if term or crc32c:
        raise ValueError("a fingerprint that is none")
    return None


#: command → decoder; they raise ValueError or struct.error.
OFFSET_DECODERS: dict[int, Callable[[bytes], OffsetCommand]] = {
    2: _decode_commits,
    3: _decode_acquire,
    4: _decode_release,
    5: _decode_reset,
    6: _decode_settle,
    7: _decode_expire,
    8: _decode_mark,
    9: _decode_forget,
    10: _decode_audit,
    11: _decode_touch,
}
