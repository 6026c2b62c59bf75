"""Whose a namespace, container, network or directory is: what a run that crashed left behind can be removed, and
what another run still uses cannot.

The mark is the owning process's pid with the moment it began (``quorumlog.cluster.processes`` says why a pid alone
will not do). Testcontainers has a container for this (Ryuk); where no image can be pulled there is none.
"""

from __future__ import annotations

import os

from quorumlog.cluster.processes import ProcessIdentity, boot_id

#: Everything that a run makes outside its own directory is called so, then the mark.
PREFIX = "quorumlog-chaos"


def mark(pid: int | None = None) -> str:
    """The mark of that process, by default of this one: digits, a dot, digits. Raises ProcessLookupError."""
    process = ProcessIdentity.of(pid or os.getpid())
    return f"{process.pid}.{process.start_ticks}"


def named(mark_: str, what: str) -> str:
    """What something of that owner is called."""
    return f"{PREFIX}-{mark_}-{what}"


def owner_in(name: str) -> str:
    """The mark in a name of ``named``'s making; "" in any other."""
    if not name.startswith(PREFIX + "-"):
        return ""
    candidate = name[len(PREFIX) + 1 :].partition("-")[0]
    pid, _, ticks = candidate.partition(".")
    return candidate if pid.isdecimal() and ticks.isdecimal() else ""


def is_leftover(name: str) -> bool:
    """A run made it that does not live any more."""
    owner = owner_in(name)
    if not owner:
        return False
    pid, _, ticks = owner.partition(".")
    return not ProcessIdentity(int(pid), int(ticks), boot_id()).alive()
