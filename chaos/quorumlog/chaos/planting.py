"""``quorumlog chaos mutants``: plants one known bug after another and sees whether the suite finds it.

A bug that is missed is a hole in the suite, and so is one that is "found" in the intact system. The hunts are
``quorumlog.sim.mutants`` (nodes in the simulator) and ``quorumlog.chaos.process_hunts`` (nodes as processes); this
is the command that runs them all, and the document that it writes.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from quorumlog.cluster.failures import FOUND_SOMETHING
from quorumlog.cluster.output import Format, FormatOption, console, duration, error_console, print_json, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quorumlog.sim.hunt import Hunt


def mutants(
    name: Annotated[str, typer.Argument(help="One planted bug; empty: all of them.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = os.cpu_count() or 1,
    write: Annotated[
        Path | None, typer.Option(help="Write the table as a Markdown document.", show_default=False)
    ] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Plant known bugs one by one; each must be caught, and the intact system must pass the same seeds and
    scenarios."""
    # The catalogue imports every part of a node; `quorumlog --help` need not.
    from quorumlog.planted.bugs import PROCESS_BUGS
    from quorumlog.sim.mutants import MUTANTS

    known = [*MUTANTS, *PROCESS_BUGS]
    if name and name not in known:
        raise typer.BadParameter(f"no planted bug is called {name!r}; there are: {', '.join(known)}")
    wanted = [name] if name else known
    began = time.monotonic()
    found: list[Hunt] = []
    with error_console.status("") as status:
        for one in _hunted(wanted, jobs):
            found.append(one)
            status.update(f"{len(found)} of {len(wanted)}")
            if output is Format.TEXT:
                _print_hunt(one)
    took_s = time.monotonic() - began
    if write is not None:
        write.write_text(document(found, took_s, jobs), encoding="utf-8")
    if output is Format.JSON:
        print_json({"hunts": [one.to_json() for one in found], "seconds": round(took_s, 1), "jobs": jobs})
    else:
        _print_summary(found, took_s, jobs)
    if not all(one.good for one in found):
        raise typer.Exit(FOUND_SOMETHING)


def _hunted(names: Sequence[str], jobs: int) -> Iterator[Hunt]:
    """Processes last, and alone: they are measured against real time."""
    from quorumlog.chaos.process_hunts import hunt_process
    from quorumlog.planted.bugs import PROCESS_BUGS
    from quorumlog.sim.mutants import hunts

    simulated = [name for name in names if name not in PROCESS_BUGS]
    if simulated:
        yield from hunts(simulated, min(jobs, len(simulated)))
    for name in names:
        if name in PROCESS_BUGS:
            yield hunt_process(name)


def _print_hunt(hunt: Hunt) -> None:
    line = Text()
    line.append("caught  " if hunt.caught else "missed  ", style="green" if hunt.caught else "bold red")
    line.append(hunt.bug)
    line.append(f"  {how(hunt)}, {duration(hunt.seconds)}", style="dim")
    console.print(line, soft_wrap=True)
    if hunt.caught:
        console.print(Text(f"        {hunt.finding}"), soft_wrap=True)
    else:
        console.print(Text(f"        expected {' or '.join(hunt.expected)}"), soft_wrap=True)
    if hunt.intact:
        console.print(Text(f"        the intact system: {hunt.intact}", style="bold red"), soft_wrap=True)


def _print_summary(found: Sequence[Hunt], took_s: float, jobs: int) -> None:
    caught = sum(one.caught for one in found)
    intact = sum(not one.intact for one in found)
    summary = table("", "of", "", right=("", "of"))
    summary.add_row(str(caught), str(len(found)), "planted bugs caught")
    summary.add_row(str(intact), str(len(found)), "times the intact system passes the same seeds or scenario")
    console.print()
    console.print(summary)
    console.print(f"{duration(took_s)} with {jobs} jobs")


def how(hunt: Hunt) -> str:
    """How it was looked for, and for how long."""
    if hunt.scenario:
        return f"scenario “{hunt.scenario}”"
    return f"{'' if hunt.caught else 'not in '}{hunt.tried} of {hunt.budget} seeds ({hunt.workload})"


def document(found: Sequence[Hunt], took_s: float, jobs: int) -> str:
    """docs/mutants.md."""
    caught = sum(one.caught for one in found)
    passed = sum(not one.intact for one in found)
    rows = [
        f"| {one.bug} | {_cell(one.summary)} | {_cell(how(one))} | {one.seconds:.1f}"
        f" | {'**caught**' if one.caught else '**MISSED**'}: {_cell(_anomaly(one))} | {one.intact or 'passes'} |"
        for one in found
    ]
    places = [f"| {one.bug} | `{one.place}` | {', '.join(one.expected)} |" for one in found]
    return "\n".join(
        (
            _HEAD.format(caught=caught, count=len(found), passed=passed, took=duration(took_s), jobs=jobs),
            *rows,
            _PLACES,
            *places,
            "",
        )
    )


def _anomaly(hunt: Hunt) -> str:
    return hunt.finding.partition(":")[0] if hunt.caught else f"expected {' or '.join(hunt.expected)}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_HEAD = """\
# Planted bugs

A suite that never fails proves nothing. So bugs that real systems had are planted one by one, and the suite must
find each, by the anomaly that it must produce, within its budget; the system without the bug must pass the very
same seeds and scenarios. **{caught} of {count} are caught; the intact system passes {passed} of {count}.** ({took}
with {jobs} worker processes.)

This page is written by the command that runs them:

```
make mutants                                   # all, and this page
quorumlog chaos mutants                        # all
quorumlog chaos mutants "vote not persisted"   # one
```

It ends with exit code 4 if a bug is missed or the intact system fails.

**There is no switch.** A bug is planted by replacing an attribute of a module or class in the process that hunts it
(`quorumlog.sim.mutants`), or in a node process that was started through `python -m quorumlog.planted`. The
packages that serve hold no flag, no environment variable and no branch for it, and import contracts keep them from
importing either. No release can have one turned on.

How to read the table:

* *n of m seeds*: random worlds were tried from seed 0 on, with the bug's own choice of faults; it was found in
  the n-th, and it would count as missed after m. *log*, *offsets* and *groups* are the simulator's workloads.
* *scenario*: random search does not meet it in a reasonable budget, or it is a bug of liveness, which needs a
  measure of its own; a directed scenario (`chaos/quorumlog/sim/directed`) plays it out over the same nodes, disks
  and checkers.
* *s*: seconds of one core until it was found.
* *caught: anomaly*: the first finding among those the bug declares (below). Other findings do not count. *node
  crashed* is declared only where a node's own invariant is what must stop the bug: the node calls its replica
  damaged, or stops.
* *intact*: the same seeds and scenario without the bug.

PySyncObj is the negative control beside these: a bug nobody planted (`docs/engines.md`).

| bug | what is wrong | found by | s | outcome | intact |
|---|---|---|---:|---|---|"""

_PLACES = """
Where each is planted, and which findings count:

| bug | replaced | expected: one of |
|---|---|---|"""
