"""Verifying committed offsets: what every replica has at one index, held against its own log.

An Audit is an entry like any other. Each replica that applies it notes its whole table of offsets and their digest
as of there, so that replicas can be compared though commits go on. What a replica noted it then checks against the
records that it has itself: that is the point, for a replica whose table was altered on its disk would otherwise
vouch for itself.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from quorumlog.machine.offset_commands import Audit
from quorumlog.machine.offset_results import Audited, AuditedGroup
from quorumlog.replica.failures import Failure, Reason
from quorumlog.replica.ids import node_of
from quorumlog.replica.offset_api import AuditBegun, Finding, InspectedGroup, Inspection
from quorumlog.replica.offset_refusals import refusal
from quorumlog.replica.starting import FingerprintCheck

if TYPE_CHECKING:
    from quorumlog.machine.offset_results import Stored
    from quorumlog.replica.api import Done
    from quorumlog.replica.ground import Ground
    from quorumlog.replica.offset_queries import AppliedWait
    from quorumlog.replica.record_finder import FoundBatch

#: Audits that a replica remembers.
REMEMBERED = 8
#: A group with an owner and records that have waited so long, whose offset has not moved for so long, is stuck.
STUCK_MS = 300_000


class Audits:
    """One replica's audits."""

    __slots__ = ("_applied", "_audited", "_ground")

    def __init__(self, ground: Ground, applied: AppliedWait) -> None:
        self._ground = ground
        self._applied = applied
        self._audited: OrderedDict[int, Audited] = OrderedDict()

    def audit(self, deadline_ms: int, done: Done[AuditBegun]) -> None:
        """On the leader: has every replica note its offsets at the index told."""

        def noted(result: object) -> None:
            if isinstance(result, Audited):
                voters = self._ground.replica.raft.configuration.voters
                done(AuditBegun(result.index, tuple(sorted(node_of(voter) for voter in voters))))
            else:
                done(refusal("", self._ground.refuse.name, result))

        self._ground.run(Audit(), deadline_ms, noted)

    def note(self, audited: Audited) -> None:
        """An Audit was applied."""
        self._audited[audited.index] = audited
        if len(self._audited) > REMEMBERED:
            self._audited.popitem(last=False)

    def inspect(self, index: int, deadline_ms: int, done: Done[Inspection]) -> None:
        """What this replica noted at ``index``, checked; waits until it has applied that far."""

        def reached() -> None:
            audited = self._audited.get(index)
            if audited is None:
                why = f"this node remembers no audit of {self._ground.refuse.name} at index {index}: audit again"
                done(Failure(Reason.INVALID_REQUEST, why, fields={"field": "index"}))
            else:
                Inspecting(self._ground, audited, done).go_on()

        self._applied.until(index, deadline_ms, reached, done)


class Inspecting:
    """The check of one audit, group by group: each may need a batch from the disk."""

    __slots__ = ("_audited", "_done", "_found", "_ground", "_running")

    def __init__(self, ground: Ground, audited: Audited, done: Done[Inspection]) -> None:
        self._ground = ground
        self._audited = audited
        self._done = done
        self._found: list[InspectedGroup] = []
        self._running = False

    def go_on(self) -> None:
        """Checks the groups that are left, as far as memory goes; what comes from the disk calls again."""
        if self._running:
            return
        self._running = True
        groups = self._audited.groups
        checked = -1
        # A loop and no recursion: ten thousand groups in memory would be ten thousand frames deep.
        while checked < len(self._found) < len(groups):
            checked = len(self._found)
            self._check(groups[checked])
        self._running = False
        if len(self._found) == len(groups):
            audited = self._audited
            self._done(Inspection(audited.digest, tuple(self._found), audited.start_offset, audited.end_offset))

    def _check(self, group: AuditedGroup) -> None:
        audited, stored = self._audited, group.stored
        log = f"log {audited.start_offset}..{audited.end_offset}"
        if stored is None:
            self._say(group, Finding.OK, f"nothing stored, {log}")
        elif group.tombstone:
            self._say(group, Finding.EXPIRED, f"{stored.offset} expired, {log}")
        elif stored.offset > audited.end_offset:
            self._say(group, Finding.AHEAD_OF_LOG, f"{stored.offset} lies beyond the end of {log}")
        elif stored.offset < audited.start_offset:
            missed = audited.start_offset - stored.offset
            why = f"{stored.offset} lies below the start of {log}: {missed} records were never processed"
            self._say(group, Finding.EVICTED, why)
        else:
            self._ground.finder.check(
                stored.offset, stored.fingerprint, lambda check: self._checked(group, stored, log, check)
            )

    def _checked(self, group: AuditedGroup, stored: Stored, log: str, check: FingerprintCheck | Failure) -> None:
        waiting = self._audited.end_offset - stored.offset
        if isinstance(check, Failure):
            self._done(check)  # the log itself cannot be read
        elif check is FingerprintCheck.CHANGED:
            why = f"the record before {stored.offset} is not the one that was processed, {log}"
            self._say(group, Finding.FINGERPRINT_MISMATCH, why)
        elif not (group.owner and waiting and stored.wall_ms + STUCK_MS < self._ground.host.wall_ms()):
            self._say(group, Finding.OK, f"{stored.offset} of version {stored.version}, {log}")
        else:
            self._ground.finder.find(stored.offset, lambda batch: self._judge_age(group, stored, log, batch))

    def _judge_age(self, group: AuditedGroup, stored: Stored, log: str, batch: FoundBatch | Failure | None) -> None:
        """The offset has not moved for long; it is stuck if there was something to do all that time."""
        now_ms = self._ground.host.wall_ms()
        waits_ms = now_ms
        if not isinstance(batch, Failure) and batch is not None:
            waits_ms = now_ms - batch.time_ms(stored.offset)
        if waits_ms <= STUCK_MS:
            self._say(group, Finding.OK, f"{stored.offset} of version {stored.version}, {log}")
            return
        idle_s = (now_ms - stored.wall_ms) // 1000
        why = f"{group.owner!r} has not moved it from {stored.offset} for {idle_s} s, {log}"
        self._say(group, Finding.STUCK, why)

    def _say(self, group: AuditedGroup, finding: Finding, explanation: str) -> None:
        self._found.append(
            InspectedGroup(group.group, group.stored, group.owner, group.owner_epoch, finding, explanation)
        )
        self.go_on()
