"""How a failed command ends: one line for people, one exit code for scripts."""

from __future__ import annotations

from typing import NamedTuple

from quorumlog.client.errors import (
    DeadlineExceeded,
    NoQuorum,
    NotLeader,
    OutcomeUnknown,
    QuorumlogError,
    ShuttingDown,
    Unreachable,
)
from quorumlog.cluster.launcher import ClusterBusy, NodeFailed
from quorumlog.cluster.layout import LayoutError

FAILED = 1
USAGE = 2
UNREACHABLE = 3
FOUND_SOMETHING = 4

#: What a client reports when no majority, or no node at all, could be asked in the time given.
NOBODY_ANSWERS = (NoQuorum, Unreachable, DeadlineExceeded, NotLeader, ShuttingDown)


class VerificationFailed(Exception):
    """A check of ours found that a promise was broken, or that a figure misses its floor."""


class CommandFailed(Exception):
    """The command could not do what was asked, for a reason that has no type of its own.

    The message is for people.
    """


class Explained(NamedTuple):
    message: str
    exit_code: int


def explain(error: BaseException) -> Explained | None:
    """The line and the exit code for an operating error; None for anything else, which is a defect."""
    if isinstance(error, VerificationFailed):
        return Explained(str(error), FOUND_SOMETHING)
    if isinstance(error, QuorumlogError):
        return Explained(_with_outcome(error), UNREACHABLE if isinstance(error, NOBODY_ANSWERS) else FAILED)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return Explained(f"{place}{error.strerror or error}", FAILED)
    if isinstance(error, (LayoutError, ClusterBusy, NodeFailed, CommandFailed)):
        return Explained(str(error), FAILED)
    return None


def _with_outcome(error: QuorumlogError) -> str:
    """Whoever reads it may want to type the command again: say when that could do the thing twice."""
    if isinstance(error, OutcomeUnknown):
        return f"{error.message} (it may have happened nevertheless)"
    return error.message
