"""One partition's committed offsets on one replica: every request and what waits for it, in one place.

The parts know their subject: ``commits`` the door that coalesces, ``acquiring`` a take-over, ``offset_changes``
what operators do, ``offset_queries`` reads on any replica, ``lag``, ``audits`` and ``expiry`` what their names say;
all stand on one ``ground``. Here they meet the replica's life: applied, leading, deposed, closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.machine.offset_results import Acquired, Audited, Forgotten, WasReset
from quorumlog.replica.acquiring import Acquiring
from quorumlog.replica.audits import Audits
from quorumlog.replica.commits import CommitDoor
from quorumlog.replica.expiry import Expiry
from quorumlog.replica.ground import Ground
from quorumlog.replica.lag import PartitionLags
from quorumlog.replica.offset_changes import OffsetChanges
from quorumlog.replica.offset_queries import OffsetQueries

if TYPE_CHECKING:
    from quorumlog.machine import PartitionMachine
    from quorumlog.raft.types import Entry
    from quorumlog.replica.api import Done, OffsetPolicy
    from quorumlog.replica.budget import ByteBudget
    from quorumlog.replica.failures import Failure
    from quorumlog.replica.offset_api import AcquiredOffset, AcquireRequest
    from quorumlog.replica.reads import PartitionReads
    from quorumlog.replica.refusals import Refusals
    from quorumlog.replica.replica import Replica
    from quorumlog.replica.seam import Host

#: Results after which somebody may be fenced who waits for records.
_OWNER_CHANGES = (Acquired, WasReset, Forgotten)


class PartitionOffsets:
    """See the module."""

    __slots__ = (
        "_ground",
        "_owners_changed",
        "_reads",
        "audits",
        "changes",
        "commits",
        "expiry",
        "lags",
        "queries",
    )

    def __init__(
        self,
        replica: Replica,
        machine: PartitionMachine,
        reads: PartitionReads,
        refuse: Refusals,
        budget: ByteBudget,
        policy: OffsetPolicy,
        host: Host,
    ) -> None:
        self._ground = ground = Ground(replica, machine, refuse, host)
        self._reads = reads
        self._owners_changed = False
        self.commits = CommitDoor(ground, budget)
        ground.flush = self.commits.flush
        self.changes = OffsetChanges(ground, reads)
        self.queries = OffsetQueries(ground)
        self.audits = Audits(ground, self.queries.applied)
        self.lags = PartitionLags(ground)
        self.expiry = Expiry(ground, reads, policy)

    def acquire(self, asked: AcquireRequest, deadline_ms: int, done: Done[AcquiredOffset]) -> None:
        """Takes (group, this partition) over; ``done`` gets the owner epoch and where to begin."""
        Acquiring(self._ground, self._reads, asked, deadline_ms, done).begin()

    def care(self, now_ms: int, wall_ms: int) -> None:
        """Now and then, on the leader: samples lags, warns of expiry."""
        self.lags.sample(now_ms)
        self.expiry.look(now_ms, wall_ms)

    def retention_floor(self, wanted: int, sizes: list[tuple[int, int]]) -> int:
        """Where the log may start when retention wants it to start at ``wanted``: lower, if a critical group has
        not processed what would go and its bound allows. ``sizes``: (first offset, bytes) of the segments that
        would go, ascending."""
        hold = self._ground.machine.offsets.hold()
        if hold is None or hold.offset >= wanted:
            return wanted
        floor, kept = wanted, 0
        for first_offset, size in reversed(sizes):
            kept += size
            if kept > hold.bytes:
                break
            floor = first_offset
            if floor <= hold.offset:
                break
        return max(floor, hold.offset) if floor < wanted else wanted

    # --- what the replica tells ---

    def flush(self) -> None:
        self.commits.flush()

    def applied(self, entry: Entry, result: object) -> None:
        """A command was applied."""
        if type(result) is tuple:
            self.commits.applied(entry, result)
            return
        if isinstance(result, Audited):
            self.audits.note(result)
        elif isinstance(result, _OWNER_CHANGES):
            self._owners_changed = True
        self._ground.proposals.applied(entry.index, result)

    def advanced(self) -> None:
        """A run of entries has been applied."""
        if self._owners_changed:
            self._owners_changed = False
            self._reads.owners_changed()
        self.queries.applied.advanced()

    def leading(self) -> None:
        self._ground.wait.leading()

    def deposed(self) -> None:
        self.commits.deposed()
        self._ground.deposed()
        self.lags.forget()

    def tick(self, now_ms: int) -> None:
        """Ends what has waited too long."""
        self.commits.expire(now_ms)
        self.queries.applied.expire(now_ms)
        self._ground.tick(now_ms)

    def close(self, failure: Failure) -> None:
        """The replica goes out of service: everything that waits is told so."""
        self.commits.close(failure)
        self.queries.applied.refuse_all(failure)
        self._ground.close(failure)

    @property
    def waiting(self) -> int:
        return len(self.commits) + len(self.queries.applied) + self._ground.waiting
