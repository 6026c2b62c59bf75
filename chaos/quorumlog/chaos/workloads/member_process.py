"""A group's member as a process of its own, so that it can be killed and paused as a real one is.

    python -m quorumlog.chaos.workloads.member_process '{"servers": [...], "group": ..., ...}'

It writes its part of the history into a file (``journal``), which the suite takes in once it has ended. Orders
come on standard input, a line each: ``calm`` (work as fast as you can), ``close``; its end closes too, so that no
member outlives a suite that was killed.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from quorumlog.chaos.scenario import Load
from quorumlog.chaos.workloads.ground import Ground
from quorumlog.chaos.workloads.journal import JournalRecorder, read_journal
from quorumlog.chaos.workloads.members import Manner, Member, MemberPlan
from quorumlog.chaos.workloads.workload import Setting

if TYPE_CHECKING:
    from quorumlog.check import Event

#: What one process may use of the history's process ids and of unique numbers; far more than it needs.
NUMBERS_EACH = 1 << 40
#: A member that was told to go gets so long before it is killed.
_CLOSE_S = 15.0


@dataclass(frozen=True, slots=True)
class Orders:
    """What the process is started with. ``place``: which of the history's writers it is, from 1."""

    servers: list[str]
    group: str
    topics: list[str]
    manner: str
    instance: str
    place: int
    journal: str

    @property
    def plan(self) -> MemberPlan:
        return MemberPlan(self.group, tuple(self.topics), Manner(self.manner), self.instance)


class MemberProcess:
    """One such process, seen from the suite. Its journal is read when it has ended."""

    def __init__(self, process: asyncio.subprocess.Process, journal: Path) -> None:
        self._process = process
        self._journal = journal

    @classmethod
    async def start(cls, orders: Orders) -> MemberProcess:
        """Starts it; it joins in its own time."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            json.dumps(asdict(orders)),
            stdin=asyncio.subprocess.PIPE,
            # A Ctrl-C at the terminal is the suite's: it ends its members in order.
            start_new_session=True,
        )
        return cls(process, Path(orders.journal))

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def kill(self) -> list[Event]:
        """SIGKILL; what it had written down."""
        if self.running:
            self._process.kill()
        return await self.ended()

    def pause(self) -> None:
        if self.running:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self.running:
            self._process.send_signal(signal.SIGCONT)

    def calm(self) -> None:
        self._order(b"calm\n")

    async def close(self) -> list[Event]:
        """Has it leave in order, and kills it if it does not; what it had written down."""
        self.resume()
        self._order(b"close\n")
        try:
            async with asyncio.timeout(_CLOSE_S):
                return await self.ended()
        except TimeoutError:
            return await self.kill()

    async def ended(self) -> list[Event]:
        """What it had written down, once it has ended."""
        await self._process.wait()
        ended_ns = time.monotonic_ns()
        return await asyncio.to_thread(read_journal, self._journal, ended_ns)

    def _order(self, line: bytes) -> None:
        if self.running and self._process.stdin is not None:
            self._process.stdin.write(line)


async def _live(orders: Orders, recorder: JournalRecorder) -> None:
    first = orders.place * NUMBERS_EACH
    setting = Setting(orders.servers, Load(), recorder, Random(first), first_process=first)
    member = Member(Ground(setting, first), orders.plan)
    life = asyncio.create_task(member.run())
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline() == b"calm\n":
        member.calm = True
    member.close()
    await life


def main() -> None:
    """One argument: ``Orders`` as JSON."""
    orders = Orders(**json.loads(sys.argv[1]))
    with JournalRecorder(Path(orders.journal)) as recorder:
        asyncio.run(_live(orders, recorder))


if __name__ == "__main__":
    main()
