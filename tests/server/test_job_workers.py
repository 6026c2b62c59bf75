"""Blocking work runs off the loop, spread and reported so that hand-overs are few."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from quorumlog.replica.api import Job, JobPriority
from quorumlog.server.workers import MAX_BUNDLE, WRITE_THREADS, Finished, Workers, bundles

if TYPE_CHECKING:
    from collections.abc import Iterator


class Work:
    """Waits to be let go, if it has a gate; may fail."""

    def __init__(self, gate: threading.Event | None = None, error: Exception | None = None) -> None:
        self.gate = gate
        self.error = error

    def run(self) -> None:
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.error is not None:
            raise self.error


def job(priority: JobPriority = JobPriority.WRITE, **how: object) -> Job:
    return Job(1, priority, Work(**how), lambda error: None)  # type: ignore[arg-type]


@pytest.fixture
def reports() -> SimpleQueue[list[Finished]]:
    return SimpleQueue()


@pytest.fixture
def workers(reports: SimpleQueue[list[Finished]]) -> Iterator[Workers]:
    started = Workers(reports.put)
    yield started
    started.stop()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 16, 47, 48, 49, 100, 1000])
def test_every_write_is_in_exactly_one_bundle_of_bounded_size(count: int) -> None:
    jobs = [job() for _ in range(count)]
    pieces = bundles(jobs)
    assert [item for piece in pieces for item in piece] == jobs
    assert all(1 <= len(piece) <= MAX_BUNDLE for piece in pieces)
    assert len(pieces) >= min(count, WRITE_THREADS)


def test_a_bundle_is_reported_once(workers: Workers, reports: SimpleQueue[list[Finished]]) -> None:
    jobs = [job() for _ in range(WRITE_THREADS * 4)]
    workers.submit(jobs)
    done = [reports.get(timeout=10) for _ in range(WRITE_THREADS)]
    assert {id(item.job) for report in done for item in report} == {id(item) for item in jobs}
    assert reports.empty()


def test_what_a_job_raises_is_reported_and_harms_no_other(
    workers: Workers, reports: SimpleQueue[list[Finished]]
) -> None:
    error = OSError("disk on fire")
    workers.submit([job(JobPriority.MAINTENANCE, error=error), job(JobPriority.MAINTENANCE)])
    first, second = reports.get(timeout=10), reports.get(timeout=10)
    assert [first[0].error, second[0].error] == [error, None]


@pytest.mark.parametrize("slow", [JobPriority.READ, JobPriority.MAINTENANCE])
def test_a_write_waits_behind_no_other_kind(
    workers: Workers, reports: SimpleQueue[list[Finished]], slow: JobPriority
) -> None:
    gate = threading.Event()
    workers.submit([job(slow, gate=gate) for _ in range(20)])
    write = job()
    workers.submit([write])
    assert reports.get(timeout=10)[0].job is write
    gate.set()
