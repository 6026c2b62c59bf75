"""What checkers find: the names of all anomalies, and one finding with the operations that show it.

The names are those of CHAOS.md §2, where each is defined; the finders say it again in prose above their code
(``records``, ``offsets``, ``groups``).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from quorumlog.check.history import Operation


class AnomalyKind(Enum):
    # Of records.
    INCONSISTENT_OFFSET = "inconsistent offset"
    DUPLICATE = "duplicate"
    ABORTED_READ = "aborted read"
    PHANTOM = "phantom"
    LOST_WRITE = "lost write"
    UNSEEN = "unseen"
    SKIP = "skip"
    NON_MONOTONIC_READ = "non-monotonic read"
    NON_MONOTONIC_SEND = "non-monotonic send"
    REAL_TIME_INVERSION = "real-time inversion"
    STALE_TAIL = "stale tail"
    # Of committed offsets.
    LOST_COMMIT = "lost commit"
    STALE_FETCH = "stale fetch"
    SPURIOUS_NONE = "spurious none"
    PHANTOM_COMMIT = "phantom commit"
    ABORTED_COMMIT = "aborted commit"
    VERSION_FORK = "version fork"
    VERSION_INVERSION = "version inversion"
    DOUBLE_COMMIT = "double commit"
    REGRESS = "regress"
    ZOMBIE_COMMIT = "zombie commit"
    BEYOND_LOG = "beyond log"
    WRONG_FATE = "wrong fate"
    NOT_LINEARIZABLE = "not linearizable"
    # Of consumer groups.
    DOUBLE_OWNERSHIP = "double ownership"
    ORPHAN = "orphan"
    BAD_RESUME = "bad resume"
    SUCCESSOR_MISMATCH = "successor mismatch"
    GAP_UNDER_COMMIT = "gap under commit"
    REPEAT_AFTER_RELEASE = "repeat after release"


class Anomaly(NamedTuple):
    """One thing that must not be. ``witness`` are the operations that show it, in order of invocation."""

    kind: AnomalyKind
    key: str
    message: str
    witness: tuple[Operation, ...]

    @classmethod
    def of(cls, kind: AnomalyKind, key: str, message: str, *witness: Operation) -> Anomaly:
        """A finding with its witness put in order."""
        return cls(kind, key, message, tuple(sorted(witness, key=lambda operation: operation.invoked.index)))

    @property
    def shown_ns(self) -> int | None:
        """When the history first showed it: its witness was complete. None without a witness.

        A loss is shown when somebody looks, which may be long after it happened.
        """
        last = [operation.completed or operation.invoked for operation in self.witness]
        return max((event.time_ns for event in last), default=None)
