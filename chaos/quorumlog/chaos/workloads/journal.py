"""A history that a process writes into a file while it acts, so that a SIGKILL takes nothing back.

Each event is handed to the kernel before anything else is done; the last line may be cut short, and is left out.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

from quorumlog.check import Event, EventType, Recorder
from quorumlog.check.history import from_json, to_json

if TYPE_CHECKING:
    from pathlib import Path


class JournalRecorder(Recorder):
    """A recorder whose events are in the file at ``path`` as soon as they are noted."""

    __slots__ = ("_file",)

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def invoke(
        self, time_ns: int, process: int, operation: str, key: str, value: Any = None, node: int | None = None
    ) -> int:
        index = super().invoke(time_ns, process, operation, key, value, node)
        self._write()
        return index

    def complete(
        self,
        time_ns: int,
        invocation: int,
        kind: EventType,
        value: Any = None,
        error: str | None = None,
        node: int | None = None,
    ) -> None:
        super().complete(time_ns, invocation, kind, value, error, node)
        self._write()

    def _write(self) -> None:
        os.write(self._file, to_json(self.events[-1]).encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def read_journal(path: Path, ended_ns: int) -> list[Event]:
    """What a process wrote that had ended at ``ended_ns``: what it had under way then has an unknown outcome.

    Raises MalformedHistory for whole lines that are no events; a process that never wrote has an empty journal.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = text[: text.rfind(b"\n") + 1].decode("utf-8")
    events = [from_json(line) for line in whole.splitlines()]
    open_ = {event.index: event for event in events if event.type is EventType.INVOKE}
    for event in events:
        if event.invocation is not None:
            open_.pop(event.invocation, None)
    for began in open_.values():
        events.append(
            began._replace(
                index=len(events),
                time_ns=ended_ns,
                type=EventType.INFO,
                value=None,
                invocation=began.index,
                error="the process ended",
            )
        )
    return events
