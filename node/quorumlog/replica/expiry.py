"""Offsets that nobody uses any more: announced, then made tombstones, then forgotten.

Kafka drops them in silence after a week, and a consumer that was paused for longer starts as though it were new
(OFFSETS.md §2: expiry is loud). Here four fifths of the time bring a warning, expiry leaves a tombstone that says
so to whoever comes back and that an operator can restore, and only the tombstone goes without a word. The machine
checks again when the command is applied: the leader decides on what it had applied then.

A group whose owner reads is in use, even if there has been nothing to commit for a week. (Kafka forgot the
offsets of such groups until KIP-211.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.machine.offset_commands import Expire, Touch
from quorumlog.machine.offset_results import TombstoneMade
from quorumlog.replica.events import GroupExpired, GroupExpiring

if TYPE_CHECKING:
    from quorumlog.machine.offset_group import OffsetGroup
    from quorumlog.replica.api import OffsetPolicy
    from quorumlog.replica.ground import Ground
    from quorumlog.replica.reads import PartitionReads

#: Warned after so much of the time.
_WARN_AT = 0.8
#: Looked at this often: what takes days need not be seen at once.
_LOOK_EVERY_MS = 60_000
#: An owner that only reads is noted so often before its group would expire: one entry in many hours.
_TOUCHES = 10
#: Proposed at a time.
_AT_ONCE = 100


class Expiry:
    """One partition's, on its leader."""

    __slots__ = ("_ground", "_looked_ms", "_reads", "_retention_ms", "_tombstone_ms", "_warned")

    def __init__(self, ground: Ground, reads: PartitionReads, policy: OffsetPolicy) -> None:
        self._ground = ground
        self._reads = reads
        self._retention_ms = policy.retention_ms
        self._tombstone_ms = policy.tombstone_ms
        self._looked_ms = 0
        self._warned: set[str] = set()

    def look(self, now_ms: int, wall_ms: int) -> None:
        """Touches, warns and proposes what is due; on the leader."""
        if now_ms - self._looked_ms < _LOOK_EVERY_MS:
            return
        self._looked_ms = now_ms
        self._touch(wall_ms)
        offsets = self._ground.machine.offsets
        warn_ms = int(self._retention_ms * _WARN_AT)
        warned: set[str] = set()
        left = _AT_ONCE
        for name in offsets.due_to_expire(wall_ms - min(warn_ms, self._tombstone_ms)):
            group = offsets.get(name)
            if group is None:
                continue
            bound_ms = wall_ms - (self._tombstone_ms if group.tombstone else self._retention_ms)
            if group.unused_since(bound_ms):
                if left:
                    left -= 1
                    self._expire(name, wall_ms, bound_ms)
            elif not group.tombstone and group.unused_since(wall_ms - warn_ms):
                warned.add(name)
                if name not in self._warned:
                    self._warn(group, wall_ms)
        self._warned = warned

    def _touch(self, wall_ms: int) -> None:
        """Owners that read and have had nothing to commit for long use their group all the same."""
        offsets, ground = self._ground.machine.offsets, self._ground
        bound_ms = wall_ms - self._retention_ms // _TOUCHES
        for name, owner_epoch in sorted(self._reads.take_owners().items()):
            group = offsets.get(name)
            if group is not None and group.unused_since(bound_ms):
                ground.run(Touch(wall_ms, name, owner_epoch), ground.now_ms() + _LOOK_EVERY_MS, _nothing)

    def _warn(self, group: OffsetGroup, wall_ms: int) -> None:
        stored = group.stored
        left_ms = group.last_use_ms + self._retention_ms - wall_ms
        offset = stored.offset if stored is not None else 0
        ground = self._ground
        ground.host.emit(GroupExpiring(ground.replica.group_id, ground.refuse.name, group.name, offset, left_ms))

    def _expire(self, name: str, wall_ms: int, bound_ms: int) -> None:
        ground = self._ground

        def applied(result: object) -> None:
            if isinstance(result, TombstoneMade):
                offset = result.stored.offset
                ground.host.emit(GroupExpired(ground.replica.group_id, ground.refuse.name, name, offset))

        ground.run(Expire(wall_ms, ground.node_id, name, bound_ms), ground.now_ms() + _LOOK_EVERY_MS, applied)


def _nothing(result: object) -> None:
    """If it was not done, the next look will."""
