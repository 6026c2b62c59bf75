"""What many seeds come to: operations, faults with their effects, events, and how fast it went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quorumlog.sim.run import Result

#: What clients do, as the totals name it.
_OPERATIONS = (
    *("send ", "read ", "final_", "end ", "acquire ", "release ", "commit ", "fetch ", "reset ", "resolve "),
    *("assigned ", "own ", "give_back ", "process ", "gap ", "forget ", "mark ", "audit ", "inspect ", "history "),
)
_SECONDS_PER_HOUR = 3600


def totals(results: Iterable[Result]) -> dict[str, int]:
    """The statistics of all results, added up."""
    summed: dict[str, int] = {}
    for result in results:
        for name, count in result.statistics.items():
            summed[name] = summed.get(name, 0) + count
    return summed


def outcome_of(results: list[Result], wall_s: float, jobs: int) -> dict[str, Any]:
    """For people (``print_outcome``) and programs (JSON)."""
    failed = sorted((result for result in results if result.violations), key=lambda result: result.seed)
    virtual_s = sum(result.virtual_ms for result in results) / 1000
    summed = dict(sorted(totals(results).items()))
    return {
        "seeds": len(results),
        "fault_free": sum(result.options.calm for result in results),
        "jobs": jobs,
        "wall_s": round(wall_s, 1),
        "cpu_s": round(sum(result.cpu_s for result in results), 1),
        "seeds_per_s": round(len(results) / wall_s, 2),
        "virtual_s": round(virtual_s),
        "virtual_hours": round(virtual_s / _SECONDS_PER_HOUR, 2),
        "times_real_time": round(virtual_s / wall_s, 1),
        "faults": _faults(summed),
        "totals": summed,
        "failed": [
            {
                "seed": result.seed,
                "trace_hash": result.trace_hash,
                "options": result.options.to_json(),
                "violations": [
                    {"name": found.name, "message": found.message, "witness": list(found.witness)}
                    for found in result.violations
                ],
            }
            for result in failed
        ],
    }


def _faults(summed: dict[str, int]) -> dict[str, dict[str, int]]:
    """fault -> how often it was done, how often that was felt, and how large the effects were together."""
    names = sorted(name.removeprefix("struck ") for name in summed if name.startswith("struck "))
    return {
        name: {
            "struck": summed[f"struck {name}"],
            "felt": summed.get(f"fault {name}", 0),
            "effect": summed.get(f"effect {name}", 0),
        }
        for name in names
    }


def print_outcome(outcome: dict[str, Any]) -> None:
    """The outcome as text, on the standard output."""
    console = Console(highlight=False)
    summed = outcome["totals"]
    for title, prefixes in (("operations", _OPERATIONS), ("events", ("event ",))):
        table = Table("", title, box=None, show_header=False, title_justify="left")
        for name, count in summed.items():
            if name.startswith(prefixes):
                table.add_row(f"{count:,}", name.removeprefix("event "))
        if table.row_count:
            console.print(f"{title}:")
            console.print(table)
    if outcome["faults"]:
        table = Table("faults", "struck", "felt", "effect", box=None)
        for column in table.columns[1:]:
            column.justify = "right"
        for name, counts in outcome["faults"].items():
            table.add_row(name, f"{counts['struck']:,}", f"{counts['felt']:,}", f"{counts['effect']:,}")
        console.print(table)
    console.print(
        f"{summed.get('leaders killed', 0):,} leaders killed, {summed.get('failovers', 0):,} of them followed by"
        f" another node; {summed.get('replicas harmed', 0):,} replicas harmed;"
        f" {summed.get('frames', 0):,} frames, {summed.get('frames lost', 0):,} lost,"
        f" {summed.get('frames duplicated', 0):,} doubled, {summed.get('frames reordered', 0):,} overtaken"
    )
    console.print(
        f"{outcome['seeds']:,} seeds ({outcome['fault_free']:,} without faults) in {outcome['wall_s']} s:"
        f" {outcome['seeds_per_s']} seeds/s with {outcome['jobs']} jobs,"
        f" {outcome['virtual_hours']:,} hours simulated ({outcome['times_real_time']} times real time)"
    )
    failed = outcome["failed"]
    if failed:
        names = ", ".join(str(result["seed"]) for result in failed)
        console.print(f"[bold red]{len(failed)} seeds violate something: {names}[/]")
    else:
        console.print("[bold green]no violation[/]")
