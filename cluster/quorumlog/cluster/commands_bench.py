"""``quorumlog bench``: measure this machine's quorumlog beside this machine's limits."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quorumlog.cluster import servers
from quorumlog.cluster.asynchronous import run
from quorumlog.cluster.bench import commits, compare, consume, failover, idle, latency, produce, restart
from quorumlog.cluster.bench.compare_report import print_comparison_as_json, show_comparison
from quorumlog.cluster.bench.machine import describe
from quorumlog.cluster.bench.report import print_as_json, show, show_machine
from quorumlog.cluster.bench.surroundings import surroundings
from quorumlog.cluster.failures import FOUND_SOMETHING
from quorumlog.cluster.output import Format, FormatOption, error_console
from quorumlog.cluster.servers import ProfileOption, ServerOption
from quorumlog.cluster.throwaway import disk_directory, planned_cluster, running_cluster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.cluster.bench.statistics import Report
    from quorumlog.cluster.bench.surroundings import Surroundings

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Measure beside the limits of the machine, on three local nodes of their own unless --server is given.",
)

SecondsOption = Annotated[float, typer.Option(min=0.2, help="How long each measurement takes.")]
TrialsOption = Annotated[int, typer.Option(min=1, help="How often the leader is killed.")]
FloorsOption = Annotated[bool, typer.Option("--floors", help="Exit with 4 when a figure misses its floor.")]
DEFAULT_SECONDS = 3.0
DEFAULT_TRIALS = 20
#: CPU time is counted in ticks of 10 ms: a shorter look at a process that does next to nothing says nothing.
IDLE_SECONDS = 10.0

Step = Callable[[], Coroutine[Any, Any, "Report"]]


@app.command("produce")
def bench_produce(
    seconds: SecondsOption = DEFAULT_SECONDS,
    floors: FloorsOption = False,
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Throughput of one producer at 1 KB and 100 B, and of records awaited one by one by 64 tasks."""
    given = servers.resolve(server, profile) if server or profile else None
    _run([lambda: _measured(lambda around: produce.measure(around, seconds), given)], output, floors)


@app.command("latency")
def bench_latency(
    seconds: SecondsOption = DEFAULT_SECONDS,
    floors: FloorsOption = False,
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """One 100 B record until it is fsynced on a quorum, with 1 and with 64 outstanding."""
    given = servers.resolve(server, profile) if server or profile else None
    _run([lambda: _measured(lambda around: latency.measure(around, seconds), given)], output, floors)


@app.command("consume")
def bench_consume(
    seconds: SecondsOption = DEFAULT_SECONDS,
    floors: FloorsOption = False,
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Throughput of one reader of 100 B records."""
    given = servers.resolve(server, profile) if server or profile else None
    _run([lambda: _measured(lambda around: consume.measure(around, seconds), given)], output, floors)


@app.command("commits")
def bench_commits(
    seconds: SecondsOption = DEFAULT_SECONDS,
    floors: FloorsOption = False,
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Durable commits of 1, 64 and 1,000 consumers on one and on many partitions, and producing beside them."""
    given = servers.resolve(server, profile) if server or profile else None
    _run([lambda: _measured(lambda around: commits.measure(around, seconds), given)], output, floors)


@app.command("idle")
def bench_idle(
    seconds: SecondsOption = IDLE_SECONDS, floors: FloorsOption = False, output: FormatOption = Format.TEXT
) -> None:
    """CPU and memory of a node with 1, 100 and 1,000 partitions in which nothing happens."""
    _run([lambda: _idle(seconds)], output, floors)


@app.command("failover")
def bench_failover(
    trials: TrialsOption = DEFAULT_TRIALS, floors: FloorsOption = False, output: FormatOption = Format.TEXT
) -> None:
    """Time to the next acknowledged write when the leader is killed, hung, or cut off from the others."""
    _run([lambda: _failover(trials)], output, floors)


@app.command("restart")
def bench_restart(floors: FloorsOption = False, output: FormatOption = Format.TEXT) -> None:
    """Time until three nodes serve again after all were SIGKILLed under load."""
    _run([_restart], output, floors)


@app.command("compare")
def bench_compare(
    seconds: Annotated[float, typer.Option(min=0.2, help="How long each measurement takes.")] = 2.0,
    turns: Annotated[int, typer.Option(min=1, help="Turns of each engine.")] = 2,
    floors: FloorsOption = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Our own engine and PySyncObj in turn (A B A B): throughput, latency, failover, restart, as ratios."""

    async def measured() -> compare.Comparison:
        with error_console.status("") as status:
            return await compare.measure(seconds, turns, status.update)

    machine = describe(disk_directory())
    if output is Format.TEXT:
        show_machine(machine)
    found = run(measured())
    if output is Format.JSON:
        print_comparison_as_json(machine, found)
    else:
        show_comparison(found)
    if floors and found.missed:
        raise typer.Exit(FOUND_SOMETHING)


@app.command("all")
def bench_all(
    seconds: SecondsOption = DEFAULT_SECONDS,
    trials: TrialsOption = DEFAULT_TRIALS,
    floors: FloorsOption = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Every benchmark, one after the other; each is shown as soon as it is there."""
    steps: list[Step] = [
        lambda: _measured(lambda around: produce.measure(around, seconds)),
        lambda: _measured(lambda around: latency.measure(around, seconds)),
        lambda: _measured(lambda around: consume.measure(around, seconds)),
        lambda: _measured(lambda around: commits.measure(around, seconds)),
        lambda: _idle(IDLE_SECONDS),
        _restart,
        lambda: _failover(trials),
    ]
    _run(steps, output, floors)


async def _measured(
    measure: Callable[[Surroundings], Coroutine[Any, Any, Report]], given: Sequence[str] | None = None
) -> Report:
    """Against the servers given, with a disk of this machine for the limit; or against three nodes of our own."""
    if given is not None:
        async with surroundings(given, disk_directory()) as around:
            return await measure(around)
    with running_cluster() as cluster:
        async with surroundings(cluster.servers, cluster.directory) as around:
            return await measure(around)


async def _idle(seconds: float) -> Report:
    with running_cluster() as cluster:
        async with surroundings(cluster.servers, cluster.directory) as around:
            return await idle.measure(around, cluster, seconds)


async def _restart() -> Report:
    with running_cluster() as cluster:
        async with surroundings(cluster.servers, cluster.directory) as around:
            return await restart.measure(around, cluster)


async def _failover(trials: int) -> Report:
    with running_cluster() as cluster, planned_cluster() as linked:
        async with surroundings(cluster.servers, cluster.directory) as around:
            return await failover.measure(around, cluster, linked, trials)


def _run(steps: Sequence[Step], output: Format, floors: bool) -> None:
    """Runs and shows one after the other, and ends the program as they deserve.

    All in one event loop: gRPC's completion queue outlives a loop that is closed, and complains of it.
    """
    machine = describe(disk_directory())
    reports: list[Report] = []

    async def run_all() -> None:
        for step in steps:
            with error_console.status("measuring"):
                reports.append(await step())
            if output is Format.TEXT:
                show(reports[-1])

    if output is Format.TEXT:
        show_machine(machine)
    run(run_all())
    if output is Format.JSON:
        print_as_json(machine, reports)
    missed = [f"{report.bench}: {figure.name}" for report in reports for figure in report.missed]
    if missed:
        heading = "1 figure misses its floor" if len(missed) == 1 else f"{len(missed)} figures miss their floor"
        error_console.print(heading + ":\n  " + "\n  ".join(missed), style="red", soft_wrap=True)
        if floors:
            raise typer.Exit(FOUND_SOMETHING)
