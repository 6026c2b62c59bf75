"""``quorumlog bench``: measure this machine's quorumlog beside this machine's limits."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quorumlog.cluster import servers
from quorumlog.cluster.asynchronous import run
from quorumlog.cluster.bench import consume, failover, idle, latency, produce, restart
from quorumlog.cluster.bench.machine import describe
from quorumlog.cluster.bench.report import print_as_json, show, show_machine
from quorumlog.cluster.bench.surroundings import surroundings
from quorumlog.cluster.failures import FOUND_SOMETHING
from quorumlog.cluster.output import Format, FormatOption, error_console
from quorumlog.cluster.servers import ProfileOption, ServerOption
from quorumlog.cluster.throwaway import disk_directory, planned_cluster, running_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from pathlib import Path

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


@app.command("produce")
def bench_produce(
    seconds: SecondsOption = DEFAULT_SECONDS,
    floors: FloorsOption = False,
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Throughput of one producer at 1 KB and 100 B, and of records awaited one by one by 64 tasks."""
    with _servers_given_or_own(server, profile) as (addresses, directory):
        report = _measured(addresses, directory, lambda around: produce.measure(around, seconds))
    _finish([report], output, floors)


@app.command("latency")
def bench_latency(
    seconds: SecondsOption = DEFAULT_SECONDS,
    floors: FloorsOption = False,
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """One 100 B record until it is fsynced on a quorum, with 1 and with 64 outstanding."""
    with _servers_given_or_own(server, profile) as (addresses, directory):
        report = _measured(addresses, directory, lambda around: latency.measure(around, seconds))
    _finish([report], output, floors)


@app.command("consume")
def bench_consume(
    seconds: SecondsOption = DEFAULT_SECONDS,
    floors: FloorsOption = False,
    server: ServerOption = None,
    profile: ProfileOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Throughput of one reader of 100 B records."""
    with _servers_given_or_own(server, profile) as (addresses, directory):
        report = _measured(addresses, directory, lambda around: consume.measure(around, seconds))
    _finish([report], output, floors)


@app.command("idle")
def bench_idle(
    seconds: SecondsOption = 10.0, floors: FloorsOption = False, output: FormatOption = Format.TEXT
) -> None:
    """CPU and memory of a node with 1, 100 and 1,000 partitions in which nothing happens."""
    _finish([_idle(seconds)], output, floors)


@app.command("failover")
def bench_failover(
    trials: TrialsOption = DEFAULT_TRIALS, floors: FloorsOption = False, output: FormatOption = Format.TEXT
) -> None:
    """Time to the next acknowledged write when the leader is killed, hung, or cut off from the others."""
    _finish([_failover(trials)], output, floors)


@app.command("restart")
def bench_restart(floors: FloorsOption = False, output: FormatOption = Format.TEXT) -> None:
    """Time until three nodes serve again after all were SIGKILLed under load."""
    _finish([_restart()], output, floors)


@app.command("all")
def bench_all(
    seconds: SecondsOption = DEFAULT_SECONDS,
    trials: TrialsOption = DEFAULT_TRIALS,
    floors: FloorsOption = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Every benchmark, one after the other; each is shown as soon as it is there."""
    reports = []
    steps: list[Callable[[], Report]] = [
        lambda: _on_own_cluster(lambda around: produce.measure(around, seconds)),
        lambda: _on_own_cluster(lambda around: latency.measure(around, seconds)),
        lambda: _on_own_cluster(lambda around: consume.measure(around, seconds)),
        lambda: _idle(seconds),
        lambda: _restart(),
        lambda: _failover(trials),
    ]
    if output is Format.TEXT:
        show_machine(describe(disk_directory()))
    for step in steps:
        reports.append(step())
        if output is Format.TEXT:
            show(reports[-1])
    if output is Format.JSON:
        print_as_json(describe(disk_directory()), reports)
    _judge(reports, floors)


def _idle(seconds: float) -> Report:
    with running_cluster() as cluster:
        return _measured(cluster.servers, cluster.directory, lambda around: idle.measure(around, cluster, seconds))


def _restart() -> Report:
    with running_cluster() as cluster:
        return _measured(cluster.servers, cluster.directory, lambda around: restart.measure(around, cluster))


def _failover(trials: int) -> Report:
    with running_cluster() as cluster, planned_cluster() as linked:
        return _measured(
            cluster.servers,
            cluster.directory,
            lambda around: failover.measure(around, cluster, linked, trials),
        )


def _on_own_cluster(measure: Callable[[Surroundings], Coroutine[Any, Any, Report]]) -> Report:
    with running_cluster() as cluster:
        return _measured(cluster.servers, cluster.directory, measure)


@contextmanager
def _servers_given_or_own(server: list[str] | None, profile: str | None) -> Iterator[tuple[Sequence[str], Path]]:
    """The servers, and a directory on the disk whose limit counts: the nodes' own, or else one of this machine."""
    if server or profile:
        yield servers.resolve(server, profile), disk_directory()
        return
    with running_cluster() as cluster:
        yield cluster.servers, cluster.directory


def _measured(
    addresses: Sequence[str], directory: Path, measure: Callable[[Surroundings], Coroutine[Any, Any, Report]]
) -> Report:
    async def within() -> Report:
        async with surroundings(addresses, directory) as around:
            return await measure(around)

    with error_console.status("measuring"):
        return run(within())


def _finish(reports: list[Report], output: Format, floors: bool) -> None:
    """Shows the reports and ends the program as they deserve."""
    machine = describe(disk_directory())
    if output is Format.JSON:
        print_as_json(machine, reports)
    else:
        show_machine(machine)
        for report in reports:
            show(report)
    _judge(reports, floors)


def _judge(reports: list[Report], floors: bool) -> None:
    missed = [f"{report.bench}: {figure.name}" for report in reports for figure in report.missed]
    if missed:
        error_console.print(f"{len(missed)} figures miss their floor:\n  " + "\n  ".join(missed), style="red")
        if floors:
            raise typer.Exit(FOUND_SOMETHING)
