"""Histories of committed offsets and groups, written by hand and by a generator, for their checkers' tests.

``OffsetScript`` writes short ones in the order they read. ``healthy_offsets`` makes long ones that a correct
system may have shown: owners take over from each other in mid-commit, commits end unknown and are seen or not,
others fetch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from check.histories import Script

from quorumlog.check.history import Event, EventType

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

PARTITION = "lines/0"
REGISTER = f"group@{PARTITION}"
Told = tuple[int, int, str] | None


class OffsetScript(Script):
    """A script whose operations are those of one group in one partition."""

    def __init__(self) -> None:
        super().__init__(PARTITION)

    def does(
        self,
        process: int,
        operation: str,
        value: object,
        kind: EventType,
        answer: object = None,
        key: str = REGISTER,
    ) -> None:
        self.complete(self.invoke(process, operation, value, key), kind, answer)

    def begin_commit(self, process: int, offset: int, token: str, epoch: int = 1, below: int | None = None) -> int:
        return self.invoke(process, "commit", commit_of(offset, token, epoch, below), REGISTER)

    def commit(
        self,
        process: int,
        offset: int,
        version: int | None,
        token: str,
        epoch: int = 1,
        below: int | None = None,
        kind: EventType = EventType.OK,
    ) -> None:
        """A commit; its outcome is unknown without a version, unless ``kind`` says more."""
        if version is None and kind is EventType.OK:
            kind = EventType.INFO
        answer = {"version": version} if kind is EventType.OK else None
        self.does(process, "commit", commit_of(offset, token, epoch, below), kind, answer)

    def fetch(
        self, process: int, stored: Told, *, epoch: int = 1, at: int | None = None, final: bool = False
    ) -> None:
        name = "final_fetch" if final else "fetch"
        self.does(process, name, at, EventType.OK, {"stored": told(stored), "epoch": epoch})

    def acquire(
        self,
        process: int,
        epoch: int,
        stored: Told,
        *,
        offset: int | None = None,
        reason: str | None = None,
        start: tuple[str, int] = ("EARLIEST", 0),
        log: tuple[int, int] = (0, 100),
        released: bool = False,
    ) -> None:
        answer = acquired(epoch, stored, offset, reason, log, released)
        self.does(process, "acquire", {"start": list(start)}, EventType.OK, answer)

    def reset(self, process: int, offset: int, version: int | None) -> None:
        kind = EventType.INFO if version is None else EventType.OK
        self.does(process, "reset", {"offset": offset}, kind, {"version": version})

    def resolve(self, process: int, token: str, fate: str, version: int = 0) -> None:
        self.does(process, "resolve", {"token": token}, EventType.OK, {"fate": fate, "version": version})

    def assigned(self, process: int, member: str, generation: int, partitions: Sequence[str]) -> None:
        value = {"member": member, "generation": generation, "partitions": list(partitions)}
        self.does(process, "assigned", value, EventType.OK, key="group")

    def own(self, process: int, member: str, generation: int) -> int:
        return self.invoke(process, "own", {"member": member, "generation": generation}, REGISTER)

    def stops(self, process: int, tenure: int, *, gave_back: bool = True) -> None:
        """The owner stops; and gives back, which its coordinator takes only if it still knows it."""
        member = self.events[tenure].value["member"]
        self.complete(tenure, EventType.OK)
        self.does(process, "give_back", {"member": member}, EventType.OK if gave_back else EventType.FAIL)

    def process(self, process: int, epoch: int, first: int, last: int, kind: EventType = EventType.OK) -> None:
        self.does(process, "process", {"epoch": epoch, "first": first, "last": last}, kind)

    def gap(self, process: int, low: int, high: int) -> None:
        self.does(process, "gap", {"from": low, "to": high}, EventType.OK)


def commit_of(offset: int, token: str, epoch: int, below: int | None) -> dict[str, object]:
    return {"offset": offset, "epoch": epoch, "token": token, "below": below}


def told(stored: Told) -> list[object] | None:
    return None if stored is None else list(stored)


def acquired(
    epoch: int, stored: Told, offset: int | None, reason: str | None, log: tuple[int, int], released: bool
) -> dict[str, object]:
    return {
        "epoch": epoch,
        "offset": offset if offset is not None else log[0] if stored is None else stored[0],
        "reason": reason or ("RULE" if stored is None else "STORED"),
        "stored": told(stored),
        "log_start": log[0],
        "log_end": log[1],
        "released": released,
    }


class Register:
    """What ``healthy_offsets`` talks to: one register and its owner epoch, and nothing that can go wrong."""

    def __init__(self) -> None:
        self.stored: Told = None
        self.epoch = 0
        self.version = 0

    def acquire(self, log: tuple[int, int]) -> tuple[int, Told]:
        """The epoch given out, and what was stored; with nothing stored the log's start is pinned."""
        before = self.stored
        self.version += 2
        self.epoch += 1
        if before is None:
            self.stored = (log[0], self.version, "")
        return self.epoch, before

    def commit(self, offset: int, token: str, epoch: int) -> int | None:
        """Its version; None when it is refused."""
        self.version += 1
        if epoch != self.epoch or self.stored is None or offset < self.stored[0]:
            return None
        self.stored = (offset, self.version, token)
        return self.version

    def reset(self, offset: int) -> int:
        self.version += 1
        self.stored = (offset, self.version, "")
        return self.version


def healthy_offsets(random: Random, steps: int = 150, resets: bool = False) -> list[Event]:
    """What clients of a correct system may have seen of one group in one partition."""
    script, register = OffsetScript(), Register()
    owners: dict[int, int] = {}
    positions: dict[int, int] = {}
    open_commits: list[tuple[int, int, dict[str, object], int | str | None]] = []
    lost: list[dict[str, object]] = []
    next_process, tokens = 1, 0
    for _ in range(steps):
        choice = random.random()
        if choice < 0.08 or not owners:
            epoch, before = register.acquire((0, 1000))
            process, next_process = next_process, next_process + 1
            script.acquire(process, epoch, before, log=(0, 1000))
            owners[process] = epoch
            positions[process] = before[0] if before else 0
        elif choice < 0.4:
            idle = [process for process in owners if process not in {one[1] for one in open_commits}]
            if idle:
                process = random.choice(idle)
                tokens += 1
                positions[process] += random.randint(0, 3)
                asked = commit_of(positions[process], f"t{tokens}", owners[process], None)
                open_commits.append((script.invoke(process, "commit", asked, REGISTER), process, asked, None))
        elif choice < 0.7 and open_commits:
            which = random.randrange(len(open_commits))
            invocation, process, asked, outcome = open_commits.pop(which)
            if isinstance(outcome, int):
                script.complete(invocation, EventType.OK, {"version": outcome})
            elif outcome == "refused":
                script.complete(invocation, EventType.FAIL)
            elif random.random() < 0.8:
                version = register.commit(asked["offset"], asked["token"], asked["epoch"])  # type: ignore[arg-type]
                open_commits.insert(which, (invocation, process, asked, version or "refused"))
            else:
                script.complete(invocation, EventType.INFO)
                lost.append(asked)
                del owners[process]
        elif choice < 0.75 and lost:
            late = lost.pop()
            if random.random() < 0.7:
                register.commit(late["offset"], late["token"], late["epoch"])  # type: ignore[arg-type]
        elif choice < 0.78 and resets and register.stored is not None:
            offset = random.randint(0, register.stored[0] + 2)
            script.reset(500, offset, register.reset(offset))
        else:
            script.fetch(600 + random.randrange(2), register.stored, epoch=register.epoch)
    script.recorder.close(len(script.events))
    script.fetch(900, register.stored, epoch=register.epoch, final=True)
    return script.events
