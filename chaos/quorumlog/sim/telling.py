"""How simulated users of offsets tell the history what they ask and what they are told (``quorumlog.check.history``
has the form)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quorumlog.check import EventType
from quorumlog.sim.calls import Lost

if TYPE_CHECKING:
    from quorumlog.replica import Failure
    from quorumlog.sim.clients import Shared


class Teller:
    """Writes one actor's operations into the history. An actor that does not know what became of one goes on as
    another process."""

    def __init__(self, shared: Shared, key: str) -> None:
        self._shared = shared
        self._key = key
        self._process = shared.new_process()

    def begin(self, operation: str, value: Any = None, node: int | None = None) -> int:
        shared = self._shared
        return shared.recorder.invoke(shared.now_ns, self._process, operation, self._key, value, node)

    def end(
        self, invocation: int, kind: EventType, value: Any = None, error: str | None = None, node: int = 0
    ) -> None:
        shared = self._shared
        shared.recorder.complete(shared.now_ns, invocation, kind, value, error, node or None)
        if kind is EventType.INFO:
            self._process = shared.new_process()

    def refused(self, invocation: int, result: Failure | Lost, unknown: bool, node: int) -> None:
        """The operation ended without a result."""
        kind = EventType.INFO if unknown else EventType.FAIL
        self.end(invocation, kind, None, error_of(result), node)


def error_of(result: Failure | Lost) -> str:
    return "lost" if isinstance(result, Lost) else result.reason.name
