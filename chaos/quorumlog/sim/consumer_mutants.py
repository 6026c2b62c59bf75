"""Planted bugs of committed offsets and consumer groups, in the node and in the client, found by the ``offsets``
and ``groups`` workloads.

Most of them are bugs that other systems had: OFFSETS.md §1 and CHAOS.md §5 say which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quorumlog.client.policy.progress import Progress
from quorumlog.machine.consumer_group import ConsumerGroup, Held
from quorumlog.machine.offset_group import OffsetGroup
from quorumlog.machine.offsets import OffsetTable
from quorumlog.machine.partition import PartitionMachine
from quorumlog.replica.commits import CommitDoor
from quorumlog.replica.offset_api import CommittedOffset, FetchedOffset
from quorumlog.replica.offset_queries import OffsetQueries
from quorumlog.sim.mutant import Mutant
from quorumlog.sim.options import Workload

if TYPE_CHECKING:
    from quorumlog.machine.offset_commands import CommitItem
    from quorumlog.replica.api import Done
    from quorumlog.replica.commits import Waiting

# --- the state machine --------------------------------------------------------------------------------------------


def _any_epoch_will_do(original: Any) -> Any:
    """Stores commits of owners that have been fenced."""

    def commit(self: OffsetGroup, item: CommitItem, *place: Any) -> Any:
        if item.owner_epoch < self.owner_epoch:
            item = item._replace(
                owner_epoch=self.owner_epoch, session=self.session, sequence=self.last_sequence + 1
            )
        return original(self, item, *place)

    return commit


def _in_order_of_arrival(original: Any) -> Any:
    """Stores whatever arrives last: neither the sequence nor the offset has to be above the stored one's."""

    def commit(self: OffsetGroup, item: CommitItem, *place: Any) -> Any:
        if item.owner_epoch == self.owner_epoch and item.session == self.session:
            self.last_sequence = min(self.last_sequence, item.sequence - 1)
            if self.stored is not None and item.offset < self.stored.offset:
                self.stored = self.stored._replace(offset=item.offset)
        return original(self, item, *place)

    return commit


def _without_offsets(original: Any) -> Any:
    """A checkpoint holds everything but the offsets."""

    def snapshot(self: PartitionMachine) -> bytes:
        kept, self._offsets = self._offsets, OffsetTable(self._max_groups)
        try:
            found: bytes = original(self)
            return found
        finally:
            self._offsets = kept

    return snapshot


def _granted_at_once(original: Any) -> Any:
    """A partition is granted to its new owner although the old one has not given it back."""

    def grant(self: ConsumerGroup) -> None:
        for partition, owner in self.targets.items():
            held = self.holders.get(partition)
            if held is not None and held.member != owner:
                self.holders[partition] = Held(owner, self.generation)
        original(self)

    return grant


# --- the node -----------------------------------------------------------------------------------------------------


def _acknowledged_at_once(original: Any) -> Any:
    """Commits are acknowledged when they have been proposed."""

    def propose(self: CommitDoor, gathered: list[Waiting]) -> None:
        raft = self._ground.replica.raft
        ready: list[Waiting] = [(item, deadline, _to_nobody) for item, deadline, _ in gathered]
        before = raft.status().last_index
        original(self, ready)
        for item, _, done in gathered:
            done(CommittedOffset(item.offset, before + 1, raft.term, False))

    return propose


def _to_nobody(result: object) -> None:
    """The answer has been given already."""


def _no_barrier(original: Any) -> Any:
    """A fetch is answered from what this replica has, whatever that is."""

    def fetch(self: OffsetQueries, group: str, version: int, deadline_ms: int, done: Done[FetchedOffset]) -> None:
        done(self._fetched(group))

    return fetch


def _none_while_recovering(original: Any) -> Any:
    """Until a leader may serve, a fetch is answered with nothing instead of waiting."""

    def fetch(self: OffsetQueries, group: str, version: int, deadline_ms: int, done: Done[FetchedOffset]) -> None:
        raft = self._ground.replica.raft
        if not raft.can_serve and (raft.is_leader or raft.leader is None):
            done(FetchedOffset(None, "", 0, self._ground.machine.applied_index))
        else:
            original(self, group, version, deadline_ms, done)

    return fetch


# --- the client ---------------------------------------------------------------------------------------------------


def _processed_when_handed_out(original: Any) -> Any:
    """A record counts as processed when the application gets it: auto-commit before processing."""

    def deliver(self: Progress, end_offset: int) -> None:
        original(self, end_offset)
        self.done_below(end_offset, 0.0)

    return deliver


_LOST = frozenset({"lost commit", "stale fetch", "spurious none", "successor mismatch"})
_CUTS = {"faults": ("isolate leader", "pause leader", "mute"), "fault_every_ms": 300, "fault_lasts_ms": 1500}
_KILLS = {"faults": ("kill leader", "power loss", "isolate leader"), "fault_every_ms": 250, "fault_lasts_ms": 400}
_BUSY = {"registers": 2, "owners": 2, "commit_every_ms": 30}
#: Checkpoints at short intervals, and restarts from them.
_ROLLING = {
    "faults": ("kill", "kill leader", "power loss of all"),
    "fault_every_ms": 250,
    "fault_lasts_ms": 200,
    "record_bytes": 6000,
    "send_every_ms": 30,
    "burst": 6,
}
_RESTLESS = {"members": 3, "members_crash_ms": 300, "process_ms": 80, "partitions": 2}

CONSUMER_MUTANTS: dict[str, Mutant] = {
    "owner epoch unchecked": Mutant(
        OffsetGroup,
        "commit",
        _any_epoch_will_do,
        frozenset({"zombie commit", "successor mismatch"}),
        20,
        {"registers": 1, "owners": 2},
        Workload.OFFSETS,
    ),
    "commit applied in arrival order": Mutant(
        OffsetGroup,
        "commit",
        _in_order_of_arrival,
        frozenset({"regress", "double commit"}),
        20,
        {},
        Workload.OFFSETS,
    ),
    "offset map missing from a checkpoint": Mutant(
        PartitionMachine,
        "snapshot",
        _without_offsets,
        _LOST | {"digest equality"},
        30,
        _ROLLING,
        Workload.OFFSETS,
    ),
    "none during recovery": Mutant(
        OffsetQueries, "fetch", _none_while_recovering, frozenset({"spurious none"}), 40, _KILLS, Workload.OFFSETS
    ),
    "commit acknowledged before Raft commit": Mutant(
        CommitDoor,
        "_propose",
        _acknowledged_at_once,
        _LOST | {"version fork"},
        60,
        {**_BUSY, **_CUTS},
        Workload.OFFSETS,
    ),
    "stale-leader fetch": Mutant(OffsetQueries, "fetch", _no_barrier, _LOST, 20, {}, Workload.OFFSETS),
    "one partition to two members": Mutant(
        ConsumerGroup,
        "_grant",
        _granted_at_once,
        frozenset({"double ownership"}),
        40,
        {"members": 3},
        Workload.GROUPS,
    ),
    "auto-commit before processing": Mutant(
        Progress,
        "deliver",
        _processed_when_handed_out,
        frozenset({"gap under commit"}),
        40,
        _RESTLESS,
        Workload.GROUPS,
    ),
}
