"""The bugs that are planted in real processes, by name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class ProcessBug:
    """One bug: ``make`` (given the original) makes what replaces the attribute ``what`` of ``owner`` in ``module``;
    its docstring says what is wrong then. Named by strings, so that the catalogue is read without importing the
    server."""

    module: str
    owner: str
    what: str
    make: Callable[[Any], Any]
    expected: frozenset[str]

    @property
    def summary(self) -> str:
        return " ".join((self.make.__doc__ or "").split())

    @property
    def place(self) -> str:
        return f"{self.module}.{self.owner}.{self.what}"


def _grow_to_two_minutes(original: Any) -> Any:
    """A node that does not reach another waits ever longer before it tries again, up to two minutes."""

    def next_seconds(self: Any) -> float:
        self._attempts += 1
        return 0.0 if self._attempts == 1 else min(120.0, 0.005 * 10.0 ** (self._attempts - 1))

    return next_seconds


PROCESS_BUGS: dict[str, ProcessBug] = {
    "reconnect back-off left at 120 s": ProcessBug(
        "quorumlog.server.peers", "Backoff", "next_seconds", _grow_to_two_minutes, frozenset({"liveness"})
    ),
}


def plant(name: str) -> None:
    """The bug is in this process from here on, for good. Raises KeyError."""
    bug = PROCESS_BUGS[name]
    owner = getattr(import_module(bug.module), bug.owner)
    setattr(owner, bug.what, bug.make(getattr(owner, bug.what)))
