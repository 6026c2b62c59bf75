"""What all clients of one workload stand on: the history, unique numbers, the pace, and when to stop."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.check import EventType

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from random import Random

    from quorumlog.chaos.scenario import Load
    from quorumlog.chaos.workloads.workload import Setting
    from quorumlog.check import Recorder

#: After a pause in which nothing could be begun, so much of it is made up for at once.
_BURST_S = 0.1
#: At full speed the event loop runs at least after so many turns.
_TURNS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic of the workload. Sizes in bytes, 0: the node's default. ``incarnation``: above 0, which of several
    topics of this name, one after the other."""

    name: str
    partitions: int
    replication_factor: int = 0
    retention_bytes: int = 0
    segment_bytes: int = 0
    max_batch_bytes: int = 0
    incarnation: int = 0

    def key(self, partition: int) -> str:
        """How the history names a partition."""
        return partition_key(f"{self.name}#{self.incarnation}" if self.incarnation else self.name, partition)

    def partition_keys(self) -> list[str]:
        """Of all of them."""
        return [self.key(number) for number in range(self.partitions)]


def partition_key(topic: str, partition: int) -> str:
    """How the history names a partition."""
    return f"{topic}/{partition}"


class Pace:
    """Turns for everybody who asks, so many a second over all; 0: at once."""

    __slots__ = ("_gap_s", "_next_s", "_turns")

    def __init__(self, per_s: float) -> None:
        self._gap_s = 1.0 / per_s if per_s > 0 else 0.0
        self._next_s = 0.0
        self._turns = 0

    async def turn(self) -> None:
        """Returns when it is the caller's turn, in the order of asking."""
        if not self._gap_s:
            self._turns += 1
            if not self._turns % _TURNS_AT_ONCE:
                await asyncio.sleep(0)
            return
        now_s = time.monotonic()
        at_s = max(self._next_s, now_s - _BURST_S)
        self._next_s = at_s + self._gap_s
        if at_s > now_s:
            await asyncio.sleep(at_s - now_s)


class Ground:
    """See the module. ``stopping`` is set when nothing new is to be begun. ``first_number``: where this process
    begins to count, where several write one history."""

    def __init__(self, setting: Setting, first_number: int = 0) -> None:
        self.servers: list[str] = setting.servers
        self.load: Load = setting.load
        self.recorder: Recorder = setting.recorder
        self.random: Random = setting.random
        self.new_process = setting.new_process
        self.remove = setting.remove
        self.stopping = asyncio.Event()
        self._numbers = first_number
        # Of this run alone: a cluster of the user's own may hold the topics of an earlier one.
        self._suffix = secrets.token_hex(3)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: BaseException | None = None

    @staticmethod
    def now_ns() -> int:
        return time.monotonic_ns()

    def new_number(self) -> int:
        """What no other record's value and no other commit's token has."""
        self._numbers += 1
        return self._numbers

    def unique(self, name: str) -> str:
        """A name for a topic or a group that no other run uses."""
        return f"chaos-{name}-{self._suffix}"

    def size_of(self, name: str, default: int) -> int:
        """A size that only one workload knows (``Load.settings``; ``catalog`` names them)."""
        return self.load.settings.get(name, default)

    def mark(self, moment: str) -> None:
        """Notes a moment in the history."""
        invocation = self.recorder.invoke(self.now_ns(), self.new_process(), moment, "")
        self.recorder.complete(self.now_ns(), invocation, EventType.OK)

    # --- tasks

    def begin(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        """Runs a client. One that ends with an error that is none of the cluster's is a bug of the suite, and
        ``ended`` raises it."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and self._failed is None:
            self._failed = task.exception()
            self.stopping.set()

    async def ended(self) -> None:
        """Returns when every client has ended. Raises what one of them ended with."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self.check()

    def check(self) -> None:
        """Raises what a client ended with, if one did."""
        if self._failed is not None:
            raise self._failed

    async def cancel(self) -> None:
        """Ends every client now."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def pause(self, seconds: float) -> bool:
        """Waits; True when it is time to stop, which ends the waiting."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return False
        return True
