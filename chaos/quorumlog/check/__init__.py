"""Checkers: what must never be seen in a history, and what must hold inside every Raft group.

Nothing here imports anything of quorumlog: what is judged and what judges share no code, hence no bug.
"""

from quorumlog.check.anomaly import Anomaly, AnomalyKind
from quorumlog.check.expectations import Expectations, MalformedExpectations
from quorumlog.check.history import Event, EventType, MalformedHistory, Operation, Recorder, Value, operations
from quorumlog.check.raft import RaftChecker, RaftProperty, RaftViolation
from quorumlog.check.verdict import Report, Verdict, judge

__all__ = [
    "Anomaly",
    "AnomalyKind",
    "Event",
    "EventType",
    "Expectations",
    "MalformedExpectations",
    "MalformedHistory",
    "Operation",
    "RaftChecker",
    "RaftProperty",
    "RaftViolation",
    "Recorder",
    "Report",
    "Value",
    "Verdict",
    "judge",
    "operations",
]
