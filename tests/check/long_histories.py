"""Histories of any length that an intact system may have shown, for the tests of speed: many partitions, pipelined
producers, readers, and consumers who take over from each other, process and commit.

Run it to write one: ``python tests/check/long_histories.py EVENTS FILE``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from quorumlog.check.history import Event, EventType, Recorder, write_history

if TYPE_CHECKING:
    from collections.abc import Callable

_STEP_NS = 50_000


class World:
    """The recorder with a clock, and what clients have under way."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.recorder = Recorder()
        self.now_ns = 0
        self.values = 0
        self.processes = 0
        self.tokens = 0

    def new_process(self) -> int:
        self.processes += 1
        return self.processes

    def invoke(self, process: int, operation: str, key: str, value: Any = None) -> int:
        self.now_ns += _STEP_NS
        return self.recorder.invoke(self.now_ns, process, operation, key, value)

    def complete(self, invocation: int, kind: EventType = EventType.OK, value: Any = None) -> None:
        self.now_ns += _STEP_NS
        self.recorder.complete(self.now_ns, invocation, kind, value, node=1)


class Partition:
    """A log, its producers and its readers; nothing goes wrong but outcomes that nobody learns."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.key = f"lines/{number}"
        self.log: list[int] = []
        self.producers = [world.new_process() for _ in range(4)]
        self.open: list[tuple[int, int, list[int], int | None]] = []
        self.readers = {world.new_process(): 0 for _ in range(2)}
        for reader in self.readers:
            world.complete(world.invoke(reader, "assign", self.key, 0), value=0)

    def send(self) -> None:
        world, place = self.world, self.world.random.randrange(len(self.producers))
        process = self.producers[place]
        if process not in [one[1] for one in self.open]:
            values = list(range(world.values, world.values + 4))
            world.values += 4
            self.open.append((world.invoke(process, "send", self.key, values), process, values, None))

    def settle(self) -> None:
        world = self.world
        if not self.open:
            return
        invocation, process, values, offset = self.open.pop(world.random.randrange(len(self.open)))
        chance = world.random.random()
        if offset is not None:
            world.complete(invocation, value=offset)
        elif chance < 0.98:
            self.log += values
            self.open.append((invocation, process, values, len(self.log) - len(values)))
        elif chance < 0.99:
            world.complete(invocation, EventType.FAIL)
        else:
            world.complete(invocation, EventType.INFO)
            self.log += values
            self.producers[self.producers.index(process)] = world.new_process()

    def read(self) -> None:
        reader = self.world.random.choice(list(self.readers))
        self.readers[reader] = self._fetch(reader, "read", self.readers[reader])

    def end(self) -> None:
        end = self.world.invoke(self.probe, "end", self.key)
        self.world.complete(end, value=len(self.log))

    @property
    def probe(self) -> int:
        return 1_000_000 + int(self.key.partition("/")[2])

    def read_all(self) -> None:
        reader, position = self.world.new_process(), 0
        while position < len(self.log):
            position = self._fetch(reader, "final_read", position)

    def _fetch(self, reader: int, operation: str, position: int) -> int:
        values = self.log[position : position + 64]
        invocation = self.world.invoke(reader, operation, self.key, position)
        answer = {"start": 0, "end": len(self.log), "batches": [[position, values]] if values else []}
        self.world.complete(invocation, value=answer)
        return position + len(values)


class Group:
    """A group in a partition: one owner at a time, who processes, commits, and is succeeded."""

    def __init__(self, world: World, partition: Partition, name: str) -> None:
        self.world, self.partition = world, partition
        self.key = f"{name}@{partition.key}"
        self.stored: list[Any] | None = None
        self.epoch = self.version = self.position = 0
        self.process = world.new_process()
        self.tenure: int | None = None
        self.acquire()

    def acquire(self) -> None:
        world = self.world
        if self.tenure is not None:
            world.complete(self.tenure)
            self.process = world.new_process()
        member = {"member": f"m{self.process}", "generation": self.epoch + 1}
        self.tenure = world.invoke(self.process, "own", self.key, member)
        before = self.stored
        self.epoch += 1
        self.version += 1
        self.position = before[0] if before else 0
        answer = {
            "epoch": self.epoch,
            "offset": self.position,
            "reason": "STORED" if before else "RULE",
            "stored": before,
            "log_start": 0,
            "log_end": len(self.partition.log),
            "released": False,
        }
        if before is None:
            self.stored = [0, self.version, ""]
        taken = world.invoke(self.process, "acquire", self.key, {"start": ["EARLIEST", 0]})
        world.complete(taken, value=answer)

    def work(self) -> None:
        last = min(self.position + 16, len(self.partition.log)) - 1
        if last >= self.position:
            value = {"epoch": self.epoch, "first": self.position, "last": last}
            self.world.complete(self.world.invoke(self.process, "process", self.key, value))
            self.position = last + 1

    def commit(self) -> None:
        world = self.world
        self.version += 1
        world.tokens += 1
        token, below = f"t{world.tokens}", self.partition.log[self.position - 1] if self.position else None
        asked = {"offset": self.position, "epoch": self.epoch, "token": token, "below": below}
        invocation = world.invoke(self.process, "commit", self.key, asked)
        self.stored = [self.position, self.version, token]
        world.complete(invocation, value={"version": self.version})

    def fetch(self, operation: str = "fetch") -> None:
        invocation = self.world.invoke(self.world.new_process(), operation, self.key)
        self.world.complete(invocation, value={"stored": self.stored, "epoch": self.epoch})


def long_history(events: int, partitions: int = 6, groups: int = 2, seed: int = 1) -> list[Event]:
    """About so many events."""
    random = Random(seed)
    world = World(random)
    logs = [Partition(world, number) for number in range(partitions)]
    registers = [Group(world, log, f"group-{number}") for log in logs for number in range(groups)]
    deeds: list[Callable[[], None]] = []
    for log in logs:
        deeds += [log.send] * 12 + [log.settle] * 24 + [log.read] * 8 + [log.end]
    for register in registers:
        deeds += [register.work] * 6 + [register.commit] * 3 + [register.fetch] * 2
    while len(world.recorder.events) < events:
        random.choice(deeds)()
        if random.random() < 0.0005:
            random.choice(registers).acquire()
    for log in logs:
        while log.open:
            log.settle()
        log.read_all()
    for register in registers:
        register.fetch("final_fetch")
    world.recorder.close(world.now_ns)
    return world.recorder.events


if __name__ == "__main__":
    write_history(Path(sys.argv[2]), long_history(int(sys.argv[1])))
