"""What each anomaly and each sum of the account means, for a reader who has not the tables of them in his head.

The definitions that count are above the finders (``quorumlog.check.records``, ``offsets``, ``groups``); these are
their short forms.
"""

from __future__ import annotations

from quorumlog.check import AnomalyKind

MEANINGS: dict[AnomalyKind, str] = {
    AnomalyKind.INCONSISTENT_OFFSET: "one offset has two values",
    AnomalyKind.DUPLICATE: "one value stands at two offsets",
    AnomalyKind.ABORTED_READ: "a value is read whose send definitely failed",
    AnomalyKind.PHANTOM: "a value is read that nobody sent",
    AnomalyKind.LOST_WRITE: "a value that must have committed can be read by nobody",
    AnomalyKind.UNSEEN: "acknowledged, and still not there for a fresh reader at the end",
    AnomalyKind.SKIP: "a reader that was not moved jumps forward",
    AnomalyKind.NON_MONOTONIC_READ: "a reader that was not moved goes back",
    AnomalyKind.NON_MONOTONIC_SEND: "one process's successive sends get offsets that do not increase",
    AnomalyKind.REAL_TIME_INVERSION: "a later append got an earlier offset",
    AnomalyKind.STALE_TAIL: "a linearizable end is below an append acknowledged before",
    AnomalyKind.LOST_COMMIT: "an acknowledged commit is gone at the end",
    AnomalyKind.STALE_FETCH: "a fetch does not see a commit that had returned before it",
    AnomalyKind.SPURIOUS_NONE: "a fetch says there is no commit after one was acknowledged",
    AnomalyKind.PHANTOM_COMMIT: "a commit is seen that nobody made",
    AnomalyKind.ABORTED_COMMIT: "a commit is seen that definitely failed",
    AnomalyKind.VERSION_FORK: "one version has two values",
    AnomalyKind.VERSION_INVERSION: "the order of versions contradicts real time",
    AnomalyKind.DOUBLE_COMMIT: "one commit took effect twice",
    AnomalyKind.REGRESS: "an offset went back without a reset",
    AnomalyKind.ZOMBIE_COMMIT: "a fenced owner's commit was accepted",
    AnomalyKind.BEYOND_LOG: "committed above the end, or the record under it was replaced",
    AnomalyKind.WRONG_FATE: "an attempt was resolved to what it was not",
    AnomalyKind.NOT_LINEARIZABLE: "no order of a register's operations explains its answers",
    AnomalyKind.DOUBLE_OWNERSHIP: "two members own a partition at once",
    AnomalyKind.ORPHAN: "a partition stays without an owner after healing",
    AnomalyKind.BAD_RESUME: "a new owner begins where no commit and no rule says",
    AnomalyKind.SUCCESSOR_MISMATCH: "a successor was not given what its predecessor left",
    AnomalyKind.GAP_UNDER_COMMIT: "a record below the final commit was processed by nobody",
    AnomalyKind.REPEAT_AFTER_RELEASE: "a record is processed again although it was committed and given back",
}


def meaning(name: str) -> str:
    """Of an anomaly by its name; "" for one that this version does not know."""
    try:
        return MEANINGS.get(AnomalyKind(name), "")
    except ValueError:
        return ""


#: The account's sums (``quorumlog.check.account.Account.totals``).
SUMS = {
    "records acknowledged": "records acknowledged",
    "records unknown": "records of unknown outcome",
    "records unknown_read": "of them, read all the same",
    "records failed": "records that were definitely not appended",
    "records read": "different records read",
    "records reads": "records brought to readers",
    "records unseen": "acknowledged and read by nobody",
    "records dropped": "dropped by retention before anybody read them",
    "commits ok": "commits acknowledged",
    "commits refused": "commits refused",
    "commits unknown": "commits of unknown outcome",
    "commits unknown_seen": "of them, seen to have happened",
    "commits resets": "resets",
    "commits owners": "owners of offsets, one after the other",
    "group processed": "records processed by groups",
    "group different": "of them, different ones",
    "group repeats": "processed more than once",
    "group exposed": "exposed to it at changes of owner",
    "group abandoned": "handed out and never finished",
}
