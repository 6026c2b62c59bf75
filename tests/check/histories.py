"""Histories written by hand and by a generator, for the checkers' tests.

``Script`` writes down short histories in the order they read. ``healthy_history`` makes long ones, which any
correct log could have produced: concurrent producers (some of whose sends fail or end unknown), readers that poll,
retention, and the final read. Mutators turn one of those into what a broken log would have produced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.check.history import Event, EventType, Recorder, Value

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

KEY = "lines/0"


class Script:
    """A recorder for one partition in which every call moves time on by one."""

    def __init__(self, key: str = KEY) -> None:
        self.recorder = Recorder()
        self.key = key

    @property
    def events(self) -> list[Event]:
        return self.recorder.events

    def invoke(self, process: int, operation: str, value: object = None, key: str | None = None) -> int:
        return self.recorder.invoke(len(self.events), process, operation, key or self.key, value)

    def complete(self, invocation: int, kind: EventType, value: object = None, node: int | None = None) -> None:
        self.recorder.complete(len(self.events), invocation, kind, value, node=node)

    def sent(self, process: int, values: Sequence[Value], offset: int) -> None:
        """A send that was acknowledged at once."""
        self.complete(self.invoke(process, "send", list(values)), EventType.OK, offset)

    def failed(self, process: int, values: Sequence[Value]) -> None:
        self.complete(self.invoke(process, "send", list(values)), EventType.FAIL)

    def unknown(self, process: int, values: Sequence[Value]) -> None:
        self.complete(self.invoke(process, "send", list(values)), EventType.INFO)

    def read(
        self,
        process: int,
        offset: int,
        values: Sequence[Value],
        *,
        operation: str = "read",
        start: int = 0,
        end: int | None = None,
        node: int = 1,
    ) -> None:
        """A read that brought ``values`` from ``offset`` on; the end is what it saw unless said otherwise."""
        invocation = self.invoke(process, operation, offset)
        self.complete(invocation, EventType.OK, answer(offset, values, start, end), node)

    def final(
        self, process: int, offset: int, values: Sequence[Value], *, start: int = 0, end: int | None = None
    ) -> None:
        self.read(process, offset, values, operation="final_read", start=start, end=end)

    def end(self, process: int, offset: int) -> None:
        self.complete(self.invoke(process, "end"), EventType.OK, offset)

    def assign(self, process: int, offset: int) -> None:
        self.complete(self.invoke(process, "assign", offset), EventType.OK, offset)


def answer(offset: int, values: Sequence[Value], start: int = 0, end: int | None = None) -> dict[str, object]:
    batches = [[offset, list(values)]] if values else []
    return {"start": start, "end": offset + len(values) if end is None else end, "batches": batches}


class Log:
    """The log that ``healthy_history`` talks to: a list, and nothing that can go wrong."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.start = 0

    def append(self, values: Sequence[Value]) -> int:
        self.values += values
        return len(self.values) - len(values)

    def fetch(self, offset: int, count: int) -> dict[str, object]:
        return answer(offset, self.values[offset : offset + count], self.start, len(self.values))


def records_in(found: dict[str, object]) -> int:
    """How many values a fetch brought."""
    batches = found["batches"]
    assert isinstance(batches, list)
    return sum(len(values) for _, values in batches)


def healthy_history(random: Random, steps: int = 120, retention: bool = False) -> list[Event]:
    """What clients of a correct log may have seen. Operations overlap: each takes effect somewhere between its
    invocation and its completion, and unknown ones take effect whenever they like, or never."""
    script, log = Script(), Log()
    open_sends: list[tuple[int, int, list[Value], int | None]] = []
    lingering: list[list[Value]] = []
    producers = [0, 1, 2]
    next_process, next_value = 10, 0
    positions = {5: 0, 6: 0}
    for process in positions:
        script.assign(process, 0)
    for _ in range(steps):
        choice = random.random()
        busy = {process for _, process, _, _ in open_sends}
        idle = [process for process in producers if process not in busy]
        if choice < 0.35 and idle:
            process = random.choice(idle)
            values: list[Value] = list(range(next_value, next_value + random.randint(1, 3)))
            next_value += len(values)
            open_sends.append((script.invoke(process, "send", values), process, values, None))
        elif choice < 0.65 and open_sends:
            which = random.randrange(len(open_sends))
            invocation, process, values, offset = open_sends.pop(which)
            outcome = random.random()
            if offset is not None:
                script.complete(invocation, EventType.OK, offset, node=1)
            elif outcome < 0.7:
                open_sends.insert(which, (invocation, process, values, log.append(values)))
            elif outcome < 0.85:
                script.complete(invocation, EventType.FAIL)
            else:
                script.complete(invocation, EventType.INFO)
                lingering.append(values)
                producers[producers.index(process)] = next_process
                next_process += 1
        elif choice < 0.7 and lingering:
            late = lingering.pop()
            if random.random() < 0.6:
                log.append(late)
        elif choice < 0.9:
            reader = random.choice(list(positions))
            position = positions[reader]
            if position < log.start:
                script.assign(reader, log.start)
                position = log.start
            invocation = script.invoke(reader, "read", position)
            found = log.fetch(position, random.randint(0, 4))
            script.complete(invocation, EventType.OK, found, node=1)
            positions[reader] = position + records_in(found)
        elif choice < 0.95:
            script.end(7, len(log.values))
        elif retention and len(log.values) > log.start + 4:
            log.start += 2
    script.recorder.close(len(script.events))
    position = log.start
    while position < len(log.values) or position == log.start:
        found = log.fetch(position, 7)
        invocation = script.invoke(99, "final_read", position)
        script.complete(invocation, EventType.OK, found, node=1)
        if position >= len(log.values):
            break
        position += 7
    return script.events
