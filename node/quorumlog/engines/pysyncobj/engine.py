"""PySyncObj as an engine, and what it does not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.engines.seam import Lack

if TYPE_CHECKING:
    from quorumlog.engines.seam import Core, CoreSettings

#: Guarantee by guarantee (DESIGN.md §1); tests/engines shows those that a test can show.
LACKS = (
    Lack("G1", "acknowledged from memory: no log, term or vote is fsynced on a majority first"),
    Lack("G2", "a follower that fell behind can lose acknowledged entries, and a new leader reuses their offsets"),
    Lack("G3", "what was read disappears with the entries that are lost"),
    Lack("G4", "a commit that was acknowledged can be lost with its entry, and an older value is fetched again"),
    Lack("G7", "a fencing that was acknowledged can be lost with its entry, and the fenced owner is let in again"),
    Lack("G8", "an append that was lost after its acknowledgement had no effect at all"),
    Lack("G10", "what was lost is not known to be lost: a reader beyond it goes on among other records, untold"),
    Lack("G12", "its journal and its messages have no checksums; a damaged replica stays out until it is removed"),
    Lack("G13", "replicas can diverge: it is noticed by digests and at restart, and the replica is stopped"),
    Lack("catching up", "a deposed leader with a stray entry, more than 64 KiB behind, asks for the same for ever"),
    Lack("learners", "a lost replica cannot be replaced: no learners, no change of members"),
    Lack("ReadIndex", "a linearizable read costs an entry in the log"),
    Lack("size", "a partition's whole log stays in memory, and its journal ends at 4 GiB"),
    Lack("idle partitions", "none falls quiet: each costs a heartbeat to every follower"),
    Lack("fast failover", "a dead leader is noticed by time-out only"),
)


class PySyncObjEngine:
    """``pysyncobj`` behind the seam. Implements ``quorumlog.engines.seam.Engine``."""

    name = "pysyncobj"
    lacks = LACKS
    replaces_replicas = False

    def core(self, settings: CoreSettings) -> Core:
        # Only now: the library is loaded, and its clock and chance replaced, where somebody has chosen it.
        from quorumlog.engines.pysyncobj.core import PySyncObjCore

        return PySyncObjCore(settings)
