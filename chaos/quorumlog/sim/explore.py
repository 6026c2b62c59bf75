"""Many seeds on many cores, and the report of those that failed.

Worlds share nothing, so each worker process takes seeds one by one. ``PYTHONHASHSEED`` does not matter: a world
never iterates over a set, and a test replays one under two hash seeds.
"""

from __future__ import annotations

import gc
import multiprocessing
import subprocess
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from quorumlog.sim.control import options_of
from quorumlog.sim.options import Workload
from quorumlog.sim.replaying import replay_command
from quorumlog.sim.run import Result, run_seed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


#: Allocations between two collections in a worker: a world is garbage as a whole when it is over, and looking for
#: garbage within it costs a twentieth of the time.
_COLLECT_EVERY = 50_000


def _settle() -> None:
    """Makes this process a worker that does nothing but run worlds."""
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)


def _run_over(workload: Workload, engine: str, control: bool, destroy: bool, seed: int) -> Result:
    options = options_of(seed, engine, workload, control=control)
    try:
        return run_seed(seed, replace(options, destroy=True) if destroy else options)
    except Exception as error:
        # A defect of the simulator itself: of thousands of seeds it must be known which.
        error.add_note(f"in seed {seed}, workload {workload.value}")
        raise


def explore(
    seeds: Iterable[int],
    jobs: int,
    workload: Workload = Workload.LOG,
    engine: str = "raft",
    *,
    control: bool = False,
    destroy: bool = False,
) -> Iterator[Result]:
    """The results, in order. ``jobs`` processes; 1 runs in this one. Raises BrokenProcessPool when a process
    dies."""
    one = partial(_run_over, workload, engine, control, destroy)
    if jobs <= 1:
        yield from map(one, seeds)
        return
    # Not fork: a child must not inherit what the parent happened to hold.
    executor = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_settle)
    try:
        yield from executor.map(one, seeds, chunksize=4)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def commit() -> str:
    """The commit of the source this runs from; "" when there is no git or no repository."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def failure_report(result: Result) -> str:
    """Everything needed to understand and repeat a failed seed."""
    options = ", ".join(f"{name}={value!r}" for name, value in result.options.to_json().items() if name != "seed")
    lines = [
        f"seed {result.seed} violates: {', '.join(sorted({violation.name for violation in result.violations}))}",
        f"  replay:  {replay_command(result.options)}",
        f"  commit:  {commit() or 'not in a repository'}",
        f"  options: {options}",
    ]
    for violation in result.violations:
        lines.append(f"  {violation.name}: {violation.message}")
        lines += [f"      {line}" for line in violation.witness]
    for node, events in result.last_events.items():
        lines.append(f"  last events of {f'node {node}' if node else 'the world'}:")
        lines += [f"    {line}" for line in events]
    return "\n".join(lines)
