"""The demonstration of committed offsets: a group at work, blow after blow, and the account.

Exits with 0 only if every record was processed, every repeat is explained by a kill, no commit went back and all
replicas agree; with 4 if not, with 1 or 3 if it could not be tried.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from quorumlog.cluster.asynchronous import run
from quorumlog.cluster.demo.text import load
from quorumlog.cluster.demo_offsets.course import CONSUMERS, PARTITIONS, Blow, Course, Outcome
from quorumlog.cluster.failures import FOUND_SOMETHING, explain
from quorumlog.cluster.output import console, duration
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORDS = 200_000
BLOWS = 21


def demonstrate(names: Sequence[str]) -> int:
    """The exit code."""
    text = load(names)
    every = chain.from_iterable(((key, line) for line in lines) for key, lines in text.lines_by_key.items())
    lines = list(islice(every, RECORDS))
    tell("input", f"{len(lines):,} lines: {text.description}")
    with running_cluster() as cluster, tempfile.TemporaryDirectory(prefix="quorumlog-journals-") as journals:
        tell("cluster", f"3 nodes; a topic of {PARTITIONS} partitions; a group of {CONSUMERS} consumer processes")
        columns = (TextColumn("{task.completed:,} records, {task.fields[blows]} kills"), BarColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=len(lines), blows=0)
            course = Course(
                cluster,
                lines,
                BLOWS,
                Path(journals),
                lambda records, blows: bar.update(task, completed=records, blows=blows),
            )
            outcome = run(course.run())
    return tell_of(outcome)


def tell_of(outcome: Outcome) -> int:
    """Prints the account; the exit code."""
    account = outcome.account
    killed = ", ".join(f"{outcome.blows[blow]} × {blow}" for blow in Blow)
    tell("killed", f"{sum(outcome.blows.values())} with SIGKILL, each started again at once: {killed}")
    records = f"{account.records:,} records in the log, processed {account.processed:,} times"
    tell("processed", f"{records}, in {duration(outcome.total_s)}")
    exposed = f"{account.exposed_by_kills:,} were processed and not known to be committed at a kill"
    lost = (
        f", {account.exposed_by_losses:,} when a partition was lost otherwise" if account.exposed_by_losses else ""
    )
    tell("repeated", f"{account.repeats:,} records; {exposed}{lost}")
    tell("committed", f"{account.commits:,} times, as the consumers' journals have it")
    compared = sum(len(each.compared) for each in outcome.findings)
    tell(
        "verified",
        f"{len(outcome.findings)} partitions, the offsets of {compared} replicas compared with each other",
    )
    if outcome.complaints:
        for complaint in outcome.complaints:
            console.print(f"FAILED: {escape(complaint)}", style="bold red", soft_wrap=True)
        return FOUND_SOMETHING
    console.print(
        "[bold green]every record processed, every repeat explained by a kill, no commit below an earlier one, "
        "every final position its log's end, all replicas alike[/]",
        soft_wrap=True,
    )
    return 0


def tell(what: str, rest: str) -> None:
    console.print(f"[bold]{what:<12}[/]{escape(rest)}", soft_wrap=True)


def main() -> int:
    try:
        return demonstrate(sys.argv[1:])
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        console.print(f"FAILED: {escape(explained.message)}", style="bold red", soft_wrap=True)
        return explained.exit_code


if __name__ == "__main__":
    sys.exit(main())
