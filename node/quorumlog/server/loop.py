"""The heart of the shell: feeds the node what happens and carries out what it wants done.

Whatever happens (requests, frames, finished jobs) is given to the node at once, but ``Node.process`` runs once for
all that gathers: in the event loop's next turn if the disk is idle, otherwise when a write that is under way has
ended. That is group commit for the network as well as for the disk: each frame costs every process it touches some
0.1 ms, so a round that waits for the write of the one before it carries many messages a frame. Three nodes on two
shared cores took 1.8 to 2.6 times as many appends at 64 outstanding as with a round a turn, and a lone append was
not slower: its acknowledgements come back later than its own write. A disk that hangs must not silence the node, so
the wait is bounded.

The node's logic is deterministic and has no errors of its own to report (operating errors are values, see
``quorumlog.replica.failures``). An exception that escapes from it is a defect, after which nothing in memory can be
believed: the process ends at once, and comes back from what is on its disk. A node that limps on after a failed
assertion could acknowledge what it does not have.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NoReturn, TypeVar

from quorumlog.replica.api import Job, JobPriority, NodeDescription
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.server.latency import latency
from quorumlog.server.workers import Finished, Workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.replica.frames import Frame, Lane
    from quorumlog.replica.node import Node

T = TypeVar("T")

#: How long inputs may wait for a write: many times a healthy fsync, a small part of a heartbeat interval.
_HOLD_SECONDS = 0.002


class SystemClock:
    """The machine's clocks, as the node reads them."""

    def now_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def real_seconds(self, seconds: float) -> float:
        """How long the machine has to wait for ``seconds`` of this clock."""
        return seconds


class NodeLoop:
    """Owns the node: every call into it goes through here, in the event loop's thread.

    ``on_defect`` is called with whatever escapes from the node's logic and must not return.
    """

    def __init__(
        self, node: Node, clock: SystemClock, tick_ms: int, on_defect: Callable[[BaseException], NoReturn]
    ) -> None:
        self._node = node
        self._clock = clock
        self._tick_seconds = tick_ms / 1000
        self._on_defect = on_defect
        self._loop = asyncio.get_running_loop()
        self._workers = Workers(self._report)
        self._send: Callable[[list[Frame]], None]
        self._turn_due = False
        self._wake_at_ms: int | None = None
        self._hold: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._next_tick: asyncio.TimerHandle | None = None
        self.running = False
        self._jobs_out = dict.fromkeys(JobPriority, 0)
        self.rounds = 0
        self.write_seconds = latency("write", "A log write with its fsync")
        self.read_seconds = latency("cold_read", "A read from disk")
        self.jobs_failed = 0

    # --- life -------------------------------------------------------------------------------------------------

    def start(self, send: Callable[[list[Frame]], None]) -> None:
        """Begins to tick and to process; ``send`` takes the frames of each round."""
        self._send = send
        self.running = True
        self._next_tick = self._loop.call_later(self._tick_seconds, self._tick)
        self.wake()

    async def stop(self) -> None:
        """Ends all processing; what the workers were given is finished first, and not reported any more."""
        self.running = False
        for timer in (self._next_tick, self._alarm, self._hold):
            if timer is not None:
                timer.cancel()
        await self._loop.run_in_executor(None, self._workers.stop)

    # --- inputs -----------------------------------------------------------------------------------------------

    def input(self, step: Callable[[Node], T]) -> T:
        """Runs ``step`` on the node and sees to it that the node processes it."""
        try:
            result = step(self._node)
        except BaseException as error:
            self._on_defect(error)
        self.wake()
        return result

    def receive(self, frame: Frame) -> None:
        """A frame from another node."""
        try:
            self._node.receive(frame)
        except BaseException as error:
            self._on_defect(error)
        self.wake()

    def link_up(self, peer: int, lane: Lane) -> None:
        self.input(lambda node: node.link_up(peer, lane))

    def link_down(self, peer: int, lane: Lane) -> None:
        self.input(lambda node: node.link_down(peer, lane))

    def peer_lost(self, peer: int) -> None:
        self.input(lambda node: node.peer_lost(peer))

    async def ask(
        self,
        request: Callable[[Node, Callable[[T | Failure], None]], object],
        timeout_seconds: float | None = None,
        late: Outcome = Outcome.UNKNOWN,
    ) -> T | Failure:
        """The result of a request that the node answers through a callback.

        After ``timeout_seconds`` the answer is a DEADLINE failure whose outcome is ``late``: NOT_DONE for a request
        that changes nothing, UNKNOWN for one that the node may still carry out.
        """
        answer: asyncio.Future[T | Failure] = self._loop.create_future()

        def done(result: T | Failure) -> None:
            # The caller may have gone: the answer then has nobody to go to.
            if not answer.done():
                answer.set_result(result)

        self.input(lambda node: request(node, done))
        if timeout_seconds is None:
            return await answer
        expired = Failure(Reason.DEADLINE, f"no answer within {timeout_seconds:.3f} s", late)
        timer = self._loop.call_later(timeout_seconds, done, expired)
        try:
            return await answer
        finally:
            timer.cancel()

    def wake(self) -> None:
        """Has the node process its inputs: soon, or when a write that is under way has ended."""
        if self._turn_due:
            return
        if not self._jobs_out[JobPriority.WRITE]:
            self._wake_now()
        elif self._hold is None:
            self._hold = self._loop.call_later(_HOLD_SECONDS, self._turn)

    def _wake_now(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    # --- rounds -----------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._turn_due = False
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
        if not self.running:
            return
        self.rounds += 1
        try:
            effects = self._node.process()
        except BaseException as error:
            self._on_defect(error)
        if effects.frames:
            self._send(effects.frames)
        if effects.jobs:
            for job in effects.jobs:
                self._jobs_out[job.priority] += 1
            self._workers.submit(effects.jobs)
        if effects.wake_at_ms != self._wake_at_ms:
            self._set_alarm(effects.wake_at_ms)

    def _set_alarm(self, wake_at_ms: int | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._wake_at_ms = wake_at_ms
        if wake_at_ms is not None:
            delay_ms = wake_at_ms - self._clock.now_ms()
            self._alarm = self._loop.call_later(self._clock.real_seconds(max(0, delay_ms) / 1000), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._wake_at_ms = None
        self.wake()

    def _tick(self) -> None:
        # The next tick is counted from now, not from when this one was due: a process that was stopped for a minute
        # must not see twenty election timeouts at once, but hear its peers first.
        self._next_tick = self._loop.call_later(self._clock.real_seconds(self._tick_seconds), self._tick)
        self.input(lambda node: node.tick())

    # --- jobs -------------------------------------------------------------------------------------------------

    def _report(self, finished: list[Finished]) -> None:
        """In a worker's thread."""
        self._loop.call_soon_threadsafe(self._finish, finished)

    def _finish(self, finished: list[Finished]) -> None:
        if not self.running:
            return
        node = self._node
        try:
            for job, error, seconds in finished:
                self._observe(job, seconds)
                if error is None:
                    node.job_done(job)
                else:
                    self.jobs_failed += 1
                    node.job_failed(job, error)
        except BaseException as error:
            self._on_defect(error)
        self._wake_now()

    def _observe(self, job: Job, seconds: float) -> None:
        self._jobs_out[job.priority] -= 1
        if job.priority is JobPriority.WRITE:
            self.write_seconds.observe(seconds)
        elif job.priority is JobPriority.READ:
            self.read_seconds.observe(seconds)

    def describe(self) -> NodeDescription:
        """The node from within; a question, so nothing needs processing."""
        return self._node.describe()

    def jobs_out(self, kind: JobPriority) -> int:
        """Jobs that wait for a thread or run in one."""
        return self._jobs_out[kind]
