"""Threads for whatever blocks: writes with their fsync, cold reads, housekeeping.

The node hands out jobs; each kind has a pool of its own, so that no acknowledgement ever waits behind a checkpoint
being written or a directory being removed. The write jobs of one round are independent (one per partition) but
share one disk, and a hand-over between threads and back costs half as much as a small fsync (about 0.05 ms; a queue
and threads of our own took the same as the executor); so they are spread over few threads, and each reports once
for all it was given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

from quorumlog.replica.api import Job, JobPriority

#: fdatasync runs outside the interpreter lock; beyond three at once one disk gains nothing and the lock is fought
#: for.
WRITE_THREADS = 3
#: Jobs reported together. More would let the first partition of a bundle wait too long for the last one's fsync.
MAX_BUNDLE = 16
READ_THREADS = 2
MAINTENANCE_THREADS = 1


class Finished(NamedTuple):
    """One job, what it raised if anything, and how long it took."""

    job: Job
    error: BaseException | None
    seconds: float


Report = Callable[[list[Finished]], None]


class Workers:
    """Runs jobs in threads and passes ``report`` what became of them, *in the worker's thread*, once a bundle."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._pools = {
            kind: ThreadPoolExecutor(threads, thread_name_prefix=kind.name.lower())
            for kind, threads in (
                (JobPriority.WRITE, WRITE_THREADS),
                (JobPriority.READ, READ_THREADS),
                (JobPriority.MAINTENANCE, MAINTENANCE_THREADS),
            )
        }

    def submit(self, jobs: Sequence[Job]) -> None:
        """Has the jobs of one round run."""
        if len(jobs) == 1:
            self._pools[jobs[0].priority].submit(self._run, jobs)
            return
        writes: list[Job] = []
        for job in jobs:
            if job.priority is JobPriority.WRITE:
                writes.append(job)
            else:
                self._pools[job.priority].submit(self._run, (job,))
        for bundle in bundles(writes):
            self._pools[JobPriority.WRITE].submit(self._run, bundle)

    def stop(self) -> None:
        """Lets the threads finish what was submitted, and waits for them."""
        for pool in self._pools.values():
            pool.shutdown(wait=True)

    def _run(self, bundle: Sequence[Job]) -> None:
        clock = time.perf_counter
        finished = []
        for job in bundle:
            began = clock()
            error: BaseException | None = None
            try:
                job.run()
            except BaseException as raised:  # whatever it is, the node decides what it means
                error = raised
            finished.append(Finished(job, error, clock() - began))
        self._report(finished)


def bundles(jobs: Sequence[Job]) -> list[Sequence[Job]]:
    """The jobs in order, spread evenly over the write threads, no piece longer than MAX_BUNDLE."""
    if not jobs:
        return []
    pieces = max(min(WRITE_THREADS, len(jobs)), -(-len(jobs) // MAX_BUNDLE))
    size, longer = divmod(len(jobs), pieces)
    ends = [number * size + min(number, longer) for number in range(pieces + 1)]
    return [jobs[start:end] for start, end in pairwise(ends)]
