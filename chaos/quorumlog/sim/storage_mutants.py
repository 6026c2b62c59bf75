"""Planted bugs of the log on disk: syncing, recovery, checkpoints, retention. Found by the ``log`` workload under
power loss, or in scenarios where a bit flips.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from quorumlog.machine import PartitionMachine
from quorumlog.raft.types import Checkpoint, HardState
from quorumlog.replica.api import JobPriority
from quorumlog.replica.replica import Replica
from quorumlog.sim import disk
from quorumlog.sim.mutant import CRASH, Mutant
from quorumlog.sim.node_mutants import POWER
from quorumlog.sim.raft_mutants import LOSSES
from quorumlog.storage import PartitionLog, recovery
from quorumlog.storage.errors import SyncFailed
from quorumlog.storage.format import SEGMENT_SUFFIX
from quorumlog.storage.writing import RetainJob

if TYPE_CHECKING:
    from quorumlog.storage.files import OpenFile
    from quorumlog.storage.recovery import ScannedSegment

# --- syncing ------------------------------------------------------------------------------------------------------


def _do_nothing(original: Any) -> Any:
    """Directories are never synced: names that were made, changed or removed may come undone."""
    return lambda self, path: None


def _leave_segments_out(original: Any) -> Any:
    """Segments are written and never synced."""

    def fdatasync(self: disk.SimulatedFile) -> None:
        if SEGMENT_SUFFIX not in self._path:
            original(self)

    return fdatasync


def _swallow_the_error(original: Any) -> Any:
    """An fsync that failed is taken for one that succeeded."""

    def fdatasync(self: disk.SimulatedFile) -> None:
        try:
            original(self)
        except SyncFailed:
            return

    return fdatasync


# --- recovery -----------------------------------------------------------------------------------------------------


def _everything_is_a_torn_tail(original: Any) -> Any:
    """A record whose checksum is wrong ends the log, whatever proves that it had been durable."""
    return lambda file, seed, damaged, size: None


def _begin_in_term_0(original: Any) -> Any:
    """A replica whose term and vote cannot be read begins anew in term 0."""

    def scan(file: OpenFile, path: str) -> ScannedSegment:
        found: ScannedSegment = original(file, path)
        if found.hard_state is None:
            found.hard_state = HardState()
            found.active.header = found.active.header._replace(born_size=0)
            found.size = found.end
        return found

    return scan


# --- checkpoints and retention ------------------------------------------------------------------------------------


def _one_entry_short(original: Any) -> Any:
    """A checkpoint holds the state before the last entry that it claims to cover."""

    def apply(self: Replica) -> None:
        boundary, committed = self._next_boundary(), self._committed
        if (
            isinstance(self.machine, PartitionMachine)
            and committed
            and committed[0].index <= boundary <= min(committed[-1].index, self.log.durable_index)
        ):
            self._committed = deque(entry for entry in committed if entry.index < boundary)
            original(self)
            _save_under_another_index(self, boundary)
            self._committed = deque(entry for entry in committed if entry.index >= boundary)
        original(self)

    return apply


def _save_under_another_index(replica: Replica, index: int) -> None:
    state = replica.machine.snapshot()
    # The applied index stands behind magic and version (``quorumlog.machine.partition``).
    state = state[:6] + index.to_bytes(8, "little") + state[14:]
    checkpoint = Checkpoint(index, replica.log.term(index), replica.raft.configuration_at(index))
    replica._saved = index
    job = replica.log.checkpoint_job(checkpoint, state)
    replica._submit(job, JobPriority.MAINTENANCE, lambda: None)


class _Everywhere:
    """Every index is the end of a segment with a checkpoint."""

    def __contains__(self, index: object) -> bool:
        return True


def _drop_all_that_is_sealed(original: Any) -> Any:
    """Retention drops every sealed segment: applied or not, in a checkpoint or not."""

    def retain_job(self: PartitionLog, offset: int) -> RetainJob | None:
        segments, base = self._chain.drop(1 << 62, _Everywhere())
        if not segments:
            return None
        self._first_index = base + 1
        self._terms.drop_before(base)
        return RetainJob(self._files, self.directory, segments, ())

    return retain_job


#: Segments are sealed and nodes restart from checkpoints at short intervals.
ROLLING: dict[str, Any] = {
    "faults": ("kill", "kill leader", "power loss of all"),
    "fault_every_ms": 250,
    "fault_lasts_ms": 200,
    "record_bytes": 6000,
    "send_every_ms": 30,
    "burst": 6,
}
_FAILING: dict[str, Any] = {**POWER, "faults": ("failed fsync", "power loss"), "fault_every_ms": 100}

STORAGE_MUTANTS: dict[str, Mutant] = {
    "fsync left out": Mutant(disk.SimulatedFile, "fdatasync", _leave_segments_out, LOSSES | {CRASH}, 50, POWER),
    "fsync error swallowed": Mutant(disk.SimulatedFile, "fdatasync", _swallow_the_error, LOSSES, 100, _FAILING),
    "directory fsync left out": Mutant(disk.SimulatedDisk, "fsync_dir", _do_nothing, LOSSES, 50, POWER),
    "CRC mismatch cuts the log in its middle": Mutant(
        recovery,
        "find_voucher",
        _everything_is_a_torn_tail,
        frozenset({"durable promise"}),
        scenario="damage below the tail",
    ),
    "damaged vote read as term 0": Mutant(
        recovery, "scan_open_segment", _begin_in_term_0, frozenset({"durable promise"}), scenario="damaged vote"
    ),
    "checkpoint index off by one": Mutant(
        Replica, "_apply", _one_entry_short, frozenset({"digest equality"}), 50, ROLLING
    ),
    "compaction past applied": Mutant(
        PartitionLog, "retain_job", _drop_all_that_is_sealed, frozenset({CRASH, "lost write"}), 50, ROLLING
    ),
}
