"""Planted bugs: the suite must be able to fail, and to say why.

Each mutant patches one method of a node or of the client, in this process and for one run; there is no switch in
the product that could turn one on. It names what it breaks, the violations of which one must be found, and within
how many seeds. The intact system passes the same seeds under the same options (``tests/sim/test_mutants.py``), so
that a mutant is caught for being wrong and not for being different.

Prior art: mutation testing; the "planted bugs" of CHAOS.md §5; TigerBeetle's VOPR, which is tried on known bugs the
same way.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from quorumlog.sim.consumer_mutants import CONSUMER_MUTANTS
from quorumlog.sim.log_mutants import LOG_MUTANTS
from quorumlog.sim.options import draw
from quorumlog.sim.run import run_seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quorumlog.sim.mutant import Mutant
    from quorumlog.sim.options import Options
    from quorumlog.sim.run import Result

MUTANTS: dict[str, Mutant] = LOG_MUTANTS | CONSUMER_MUTANTS


@dataclass(frozen=True, slots=True)
class Hunt:
    """How a planted bug fared: found in ``seed``, the ``tried``-th, or not within ``budget``."""

    mutant: str
    found: bool
    seed: int
    tried: int
    budget: int
    violation: str
    expected: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        return asdict(self)


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The bug is in this process until the block ends."""
    mutant = MUTANTS[name]
    original = mutant.where.__dict__[mutant.what]
    setattr(mutant.where, mutant.what, mutant.make(original))
    try:
        yield
    finally:
        setattr(mutant.where, mutant.what, original)


def options_for(name: str, seed: int) -> Options:
    """What ``seed`` draws, with what the mutant overrides."""
    mutant = MUTANTS[name]
    return replace(draw(seed, mutant.workload), **mutant.options)


def run_mutated(name: str, seed: int) -> Result:
    """One seed with the bug planted."""
    with planted(name):
        return run_seed(seed, options_for(name, seed))


def hunt(name: str, jobs: int) -> Hunt:
    """Tries seeds from 0 on until the bug is found as it must be, or its budget is spent."""
    mutant = MUTANTS[name]
    expected = tuple(sorted(mutant.expected))
    tasks = [(name, seed) for seed in range(mutant.budget)]
    executor = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
    try:
        for tried, (seed, violations) in enumerate(executor.map(_try_seed, tasks), 1):
            if violations:
                return Hunt(name, True, seed, tried, mutant.budget, violations[0], expected)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    return Hunt(name, False, 0, mutant.budget, mutant.budget, "", expected)


def _try_seed(task: tuple[str, int]) -> tuple[int, list[str]]:
    name, seed = task
    result = run_mutated(name, seed)
    expected = MUTANTS[name].expected
    return seed, [
        f"{found.name}: {found.message.strip().splitlines()[-1]}"
        for found in result.violations
        if found.name in expected
    ]
