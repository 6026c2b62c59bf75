"""How clients tell the history what they ask and what they are told (``quorumlog.check.history`` has the forms)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quorumlog.check import EventType
from quorumlog.client import NotDone, QuorumlogError

if TYPE_CHECKING:
    from quorumlog.chaos.workloads.ground import Ground


def kind_of(error: QuorumlogError) -> EventType:
    """FAIL only for what definitely did not happen."""
    return EventType.FAIL if isinstance(error, NotDone) else EventType.INFO


def words_of(error: QuorumlogError) -> str:
    """Why, for people."""
    return f"{error.reason.name}: {error.message}"


class Teller:
    """One actor's operations on one key. An actor that does not know what became of one goes on as another
    process."""

    __slots__ = ("_ground", "_key", "process")

    def __init__(self, ground: Ground, key: str) -> None:
        self._ground = ground
        self._key = key
        self.process = ground.new_process()

    def begin(self, operation: str, value: Any = None, node: int | None = None) -> int:
        """Before anything leaves; the index of the invocation."""
        ground = self._ground
        return ground.recorder.invoke(ground.now_ns(), self.process, operation, self._key, value, node)

    def end(
        self,
        invocation: int,
        kind: EventType = EventType.OK,
        value: Any = None,
        error: str | None = None,
        node: int | None = None,
    ) -> None:
        ground = self._ground
        ground.recorder.complete(ground.now_ns(), invocation, kind, value, error, node)
        if kind is EventType.INFO:
            self.process = ground.new_process()

    def refused(self, invocation: int, error: QuorumlogError, node: int | None = None) -> None:
        """The operation ended with this error, which says whether it may have happened."""
        self.end(invocation, kind_of(error), None, words_of(error), node)

    def unanswered(self, invocation: int, error: QuorumlogError, node: int | None = None) -> None:
        """A question, which changes nothing, ended with this error: so it did not happen, whatever the error
        says."""
        self.end(invocation, EventType.FAIL, None, words_of(error), node)
