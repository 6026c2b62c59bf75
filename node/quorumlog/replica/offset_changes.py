"""What operators do to committed offsets, and owners when they are done: reset, mark, forget, release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.machine.offset_commands import Forget, Mark, Release, Reset
from quorumlog.machine.offset_group import Place
from quorumlog.machine.offset_results import ChangeKind, Forgotten, Marked, Released, WasReset
from quorumlog.replica.acquiring import find_time
from quorumlog.replica.failures import Failure, Reason
from quorumlog.replica.offset_api import (
    GroupForgotten,
    GroupMarked,
    ReleasedOffset,
    ResetOffset,
    ResetRequest,
)
from quorumlog.replica.offset_refusals import refusal
from quorumlog.replica.starting import Bounds, resolve_rule

if TYPE_CHECKING:
    from quorumlog.replica.api import Done
    from quorumlog.replica.ground import Ground
    from quorumlog.replica.reads import PartitionReads


class OffsetChanges:
    """See the module. On the leader."""

    __slots__ = ("_ground", "_reads")

    def __init__(self, ground: Ground, reads: PartitionReads) -> None:
        self._ground = ground
        self._reads = reads

    def release(
        self, group: str, session: int, owner_epoch: int, deadline_ms: int, done: Done[ReleasedOffset]
    ) -> None:
        """Gives back; no error if somebody else owns it long since."""
        command = Release(self._ground.host.wall_ms(), self._ground.node_id, group, session, owner_epoch)

        def applied(result: object) -> None:
            done(ReleasedOffset() if isinstance(result, Released) else self._refusal(group, result))

        self._ground.run(command, deadline_ms, applied)

    def mark(self, group: str, critical: bool, hold_bytes: int, deadline_ms: int, done: Done[GroupMarked]) -> None:
        """How the group is treated from here on."""

        def applied(result: object) -> None:
            done(GroupMarked() if isinstance(result, Marked) else self._refusal(group, result))

        self._ground.run(Mark(group, critical, hold_bytes), deadline_ms, applied)

    def forget(self, group: str, force: bool, deadline_ms: int, done: Done[GroupForgotten]) -> None:
        """Forgets the group here for good; GROUP_ACTIVE if it has an owner and ``force`` is not set."""

        def applied(result: object) -> None:
            done(GroupForgotten() if isinstance(result, Forgotten) else self._refusal(group, result))

        self._ground.run(Forget(group, force), deadline_ms, applied)

    def _refusal(self, group: str, result: object) -> Failure:
        return refusal(group, self._ground.refuse.name, result)

    # --- reset ---

    def reset(self, asked: ResetRequest, deadline_ms: int, done: Done[ResetOffset]) -> None:
        """Moves the stored offset, or says what that would come to. The target is resolved from a state that a
        majority has confirmed; whether it may be done is checked again when it is applied."""
        ground = self._ground

        def leading() -> None:
            ground.wait.confirm(deadline_ms, lambda: self._resolve(asked, deadline_ms, done), done)

        ground.wait.lead(deadline_ms, leading, done)

    def _resolve(self, asked: ResetRequest, deadline_ms: int, done: Done[ResetOffset]) -> None:
        to = asked.to
        start = to.start
        if start is None:
            offset = self._remembered(asked)
            if isinstance(offset, Failure):
                done(offset)
            else:
                self._reset(asked, offset, deadline_ms, done)
            return

        def found(time: int | Failure | None) -> None:
            if isinstance(time, Failure):
                done(time)
                return
            machine = self._ground.machine
            resolved = resolve_rule(start, Bounds(machine.start_offset, machine.end_offset), time)
            if isinstance(resolved, Failure):
                done(resolved)
            else:
                self._reset(asked, resolved[0], deadline_ms, done)

        find_time(self._ground, self._reads, start, found)

    def _remembered(self, asked: ResetRequest) -> int | Failure:
        """The offset that was stored at the version asked for; whatever, for the tombstone's."""
        if asked.to.restore:
            return 0
        version = asked.to.version
        group = self._ground.machine.offsets.get(asked.group)
        for change in group.history() if group is not None else ():
            if change.version == version and change.offset is not None and change.kind is not ChangeKind.EXPIRE:
                return change.offset
        why = f"nothing is remembered of version {version} of group {asked.group!r} in {self._ground.refuse.name}"
        return Failure(Reason.UNKNOWN_RECEIPT, why, fields={"version": str(version)})

    def _reset(self, asked: ResetRequest, offset: int, deadline_ms: int, done: Done[ResetOffset]) -> None:
        ground, machine = self._ground, self._ground.machine
        command = Reset(
            ground.host.wall_ms(),
            ground.node_id,
            asked.group,
            offset,
            asked.expected_version,
            asked.force,
            asked.reason,
            restore=asked.to.restore,
        )
        if asked.dry_run:
            self._say(command, done)
            return

        def applied(result: object) -> None:
            if isinstance(result, WasReset):
                done(ResetOffset(result.stored, result.before, machine.start_offset, machine.end_offset))
            else:
                done(self._refusal(asked.group, result))

        ground.run(command, deadline_ms, applied)

    def _say(self, command: Reset, done: Done[ResetOffset]) -> None:
        """A dry run: the same checks by the same code, as of what is applied. The version told is the one that the
        next entry would have."""
        ground, machine = self._ground, self._ground.machine
        index = machine.applied_index + 1
        place = Place(index, ground.replica.raft.term, machine.start_offset, machine.end_offset)
        fault = machine.offsets.reset_fault(command, place)
        if fault is not None:
            done(self._refusal(command.group, fault))
            return
        group = machine.offsets.get(command.group)
        before = group.stored if group is not None else None
        stored = machine.offsets.reset_outcome(command, place)
        done(ResetOffset(stored, before, place.start_offset, place.end_offset))
