"""Planted bugs: the suite must be able to fail, and to say why.

Each mutant patches one attribute of a node or of the client, in this process and for one run; **no switch in the
product could turn one on**, by accident or otherwise, because the product holds none. It names what it breaks, the
violations of which one must be found, and within how many seeds or in which directed scenario. The intact system
passes the very same seeds under the same options, and the same scenario: a mutant is caught for being wrong and not
for being different.

Prior art: mutation testing; the "planted bugs" of CHAOS.md §5; TigerBeetle's VOPR, which is tried on known bugs the
same way.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from quorumlog.sim.consumer_mutants import CONSUMER_MUTANTS
from quorumlog.sim.directed import perform
from quorumlog.sim.hunt import Hunt
from quorumlog.sim.node_mutants import NODE_MUTANTS
from quorumlog.sim.options import draw
from quorumlog.sim.raft_mutants import RAFT_MUTANTS
from quorumlog.sim.run import run_seed
from quorumlog.sim.storage_mutants import STORAGE_MUTANTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quorumlog.sim.mutant import Mutant
    from quorumlog.sim.options import Options
    from quorumlog.sim.run import Result, Violation

MUTANTS: dict[str, Mutant] = RAFT_MUTANTS | NODE_MUTANTS | STORAGE_MUTANTS | CONSUMER_MUTANTS


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The bug is in this process until the block ends."""
    mutant = MUTANTS[name]
    patches = [(mutant.where, mutant.what, mutant.make), *mutant.also]
    originals = [where.__dict__[what] for where, what, _ in patches]
    for (where, what, make), original in zip(patches, originals, strict=True):
        setattr(where, what, make(original))
    try:
        yield
    finally:
        for (where, what, _), original in zip(patches, originals, strict=True):
            setattr(where, what, original)


def options_for(name: str, seed: int) -> Options:
    """What ``seed`` draws, with what the mutant overrides."""
    mutant = MUTANTS[name]
    return replace(draw(seed, mutant.workload), **mutant.options)


def run_mutated(name: str, seed: int) -> Result:
    """One seed with the bug planted."""
    with planted(name):
        return run_seed(seed, options_for(name, seed))


def attempt(name: str, seed: int, *, intact: bool = False) -> tuple[Violation, ...]:
    """What is found in ``seed``, or in the bug's directed scenario; with the bug, or in the ``intact`` system."""
    mutant = MUTANTS[name]
    if intact:
        return perform(mutant.scenario) if mutant.scenario else run_seed(seed, options_for(name, seed)).violations
    with planted(name):
        return perform(mutant.scenario) if mutant.scenario else run_seed(seed, options_for(name, seed)).violations


def hunts(names: Sequence[str], jobs: int) -> Iterator[Hunt]:
    """Hunts these bugs, in this order, in ``jobs`` processes: each from its first seed on until it is found as it
    must be, or its budget is spent. The intact system goes through every seed that was tried."""
    if jobs == 1:
        yield from map(hunt, names)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as executor:
        yield from executor.map(hunt, names)


def hunt(name: str) -> Hunt:
    """Hunts one bug in this process."""
    mutant = MUTANTS[name]
    began = time.process_time()
    caught, tried = "", 0
    for seed in range(mutant.budget):
        tried += 1
        told = [found for found in attempt(name, seed) if found.name in mutant.expected]
        if told:
            caught = f"{told[0].name}: {told[0].message.strip().splitlines()[-1]}"
            break
    took_s = time.process_time() - began
    broken = [seed for seed in range(tried) if attempt(name, seed, intact=True)]
    return Hunt(
        bug=name,
        place=mutant.place,
        summary=mutant.summary,
        caught=bool(caught),
        tried=tried,
        budget=mutant.budget,
        scenario=mutant.scenario,
        workload=mutant.workload.value,
        seconds=round(took_s, 1),
        finding=caught,
        expected=tuple(sorted(mutant.expected)),
        intact=f"fails in seed {broken[0]}" if broken else "",
    )
