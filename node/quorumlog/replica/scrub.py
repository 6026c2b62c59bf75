"""When a node verifies what lies on its disk (``quorumlog.storage.scrub``): all of it once after each start, and
then once a day, a little every second, one replica after the other.

So a damaged node heals itself within minutes of its start, and pays some milliseconds a second for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorumlog.replica.replica import Replica
    from quorumlog.storage.scrub import ScrubCheckpointJob, ScrubJob

#: From the begin of one pass to that of the next.
PASS_MS = 24 * 3_600_000
#: Verified a second, at most: a terabyte takes eleven days, and so would wait for its next pass that long.
BYTES_PER_SECOND = 1 << 20


class Scrub:
    """See the module. ``second`` is called every second."""

    __slots__ = ("_bytes", "_due_ms", "_groups", "_jobs", "_replica", "_replicas", "_running")

    def __init__(self, replicas: dict[int, Replica]) -> None:
        self._replicas = replicas
        self._replica: Replica | None = None
        self._groups: list[int] = []
        self._jobs: list[ScrubJob | ScrubCheckpointJob] = []
        self._due_ms = 0
        self._bytes = 0
        self._running = False

    def second(self, now_ms: int) -> None:
        self._bytes = 0
        if not self._running:
            if not self._jobs and not self._groups and now_ms >= self._due_ms:
                self._due_ms = now_ms + PASS_MS
                self._groups = sorted(self._replicas, reverse=True)
            self._go_on()

    def _go_on(self) -> None:
        while not self._jobs:
            if not self._groups:
                return
            self._replica = self._replicas.get(self._groups.pop())
            if self._replica is not None:
                self._jobs = self._replica.log.scrub_jobs()
        replica, job = self._replica, self._jobs[-1]
        if replica is None or replica.closed:
            self._jobs = []
            return
        before = job.position
        self._running = True

        def done(failed: bool) -> None:
            self._running = False
            self._bytes += job.position - before
            if failed:
                self._jobs = []  # the replica is out of service
            elif job.done:
                self._jobs.pop()
            if self._bytes < BYTES_PER_SECOND:
                self._go_on()

        replica.scrub(job, done)
