"""``quorumlog up``, ``down`` and ``status``: a cluster of processes on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from quorumlog.cluster.launcher import LocalCluster
from quorumlog.cluster.layout import (
    DEFAULT_BASE_PORT,
    DEFAULT_ENGINE,
    Engine,
    LayoutError,
    NodeLayout,
    port_of,
    state_path,
)
from quorumlog.cluster.output import Format, FormatOption, console, duration, print_json, size, table
from quorumlog.cluster.probe import NodeProbe
from quorumlog.cluster.processes import CLOCK_TICKS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from rich.table import Table

up = typer.Typer(add_completion=False)
down = typer.Typer(add_completion=False)
status = typer.Typer(add_completion=False)

DataOption = Annotated[
    Path, typer.Option("--data", envvar="QUORUMLOG_DATA", help="Directory of the cluster's data, logs and state.")
]
DEFAULT_DATA = Path("data")
REFRESH_S = 1.0
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node as seen from this machine: its process and what its client listener answers."""

    layout: NodeLayout
    state: str  # serving, starting, paused or down
    pid: int | None
    leads: int | None
    uptime_s: float | None
    cpu_seconds: float | None
    rss_bytes: int | None


def survey(cluster: LocalCluster, probes: dict[int, NodeProbe]) -> list[NodeStatus]:
    """Looks at every node once. Costs at most two short deadlines for a node that hangs."""
    statuses = []
    leads: dict[int, int] | None = None
    for node in cluster.nodes:
        process = cluster.process(node.node_id)
        usage = process.usage() if process else None
        if process is None or usage is None:
            statuses.append(NodeStatus(node, "down", None, None, None, None, None))
            continue
        state = "paused" if process.paused() else "serving" if probes[node.node_id].serving() else "starting"
        if leads is None and state == "serving":
            leads = _leaderships(probes[node.node_id])
        uptime_s = time.clock_gettime(time.CLOCK_BOOTTIME) - process.start_ticks / CLOCK_TICKS_PER_SECOND
        statuses.append(NodeStatus(node, state, process.pid, None, uptime_s, usage.cpu_seconds, usage.rss_bytes))
    if leads is None:
        return statuses
    return [replace(each, leads=leads.get(each.layout.node_id, 0)) if each.pid else each for each in statuses]


def _leaderships(probe: NodeProbe) -> dict[int, int] | None:
    """How many groups each node leads, the controller among them, as one node knows it."""
    metadata = probe.metadata()
    if metadata is None:
        return None
    partitions = Counter(each.leader_node_id for topic in metadata.topics for each in topic.partitions)
    return partitions + Counter([metadata.controller_node_id])


STATE_STYLES = {"serving": "green", "starting": "yellow", "paused": "yellow", "down": "bold red"}


def status_table(statuses: list[NodeStatus]) -> Table:
    # All listeners are on one host: a port is enough for what only monitors dial, and 80 columns for it all.
    numbers = ("metrics", "pid", "leads", "up", "cpu", "memory")
    shown = table("node", "state", "clients", *numbers, right=numbers)
    for s in statuses:
        alive = s.pid is not None
        shown.add_row(
            str(s.layout.node_id),
            Text(s.state, style=STATE_STYLES[s.state]),
            s.layout.client_address,
            f":{port_of(s.layout.metrics_address)}",
            str(s.pid) if alive else "–",
            str(s.leads) if alive and s.leads is not None else "–",
            duration(s.uptime_s) if s.uptime_s is not None else "–",
            f"{s.cpu_seconds:.1f} s" if s.cpu_seconds is not None else "–",
            size(s.rss_bytes) if s.rss_bytes is not None else "–",
        )
    return shown


def next_steps(cluster: LocalCluster, directory: Path) -> str:
    """The commands that one would type now, ready to be copied."""
    flag = "" if cluster.servers[0].endswith(f":{DEFAULT_BASE_PORT + 1}") else f" --server {cluster.servers[0]}"
    data = "" if directory == DEFAULT_DATA else f" --data {directory}"
    name = program()
    return "\n".join(
        [
            f"  {name} topic create greetings --partitions 4{flag}",
            f"  echo 'hello, world' | {name} produce greetings{flag}",
            f"  {name} consume greetings --follow{flag}",
            f"  {name} cluster status{flag}",
            f"  {name} down{data}",
        ]
    )


def program() -> str:
    """How to call this program from here: by its name where the shell finds it, else by its path."""
    own = Path(sys.argv[0])
    found = shutil.which("quorumlog")
    if not own.exists() or (found and own.samefile(found)):
        return "quorumlog"
    path = os.path.relpath(own)
    return path if "/" in path else f"./{path}"


def open_or_create(directory: Path, nodes: int | None, base_port: int, engine: Engine | None) -> LocalCluster:
    """The cluster of that directory, made if there is none.

    Raises LayoutError if it has another number of nodes, or another engine.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not state_path(directory).exists():
        wanted = DEFAULT_ENGINE if engine is None else engine.value
        return LocalCluster.create(directory, 3 if nodes is None else nodes, base_port, engine=wanted)
    cluster = LocalCluster.open(directory)
    if nodes is not None and nodes != len(cluster.nodes):
        raise LayoutError(f"the cluster under {directory} has {len(cluster.nodes)} nodes, not {nodes}")
    if engine is not None and engine.value != cluster.engine:
        raise LayoutError(f"the cluster under {directory} runs engine {cluster.engine}, not {engine.value}")
    return cluster


@up.command(name="up")
def up_command(
    nodes: Annotated[
        int | None, typer.Option(min=1, max=99, help="How many nodes; 3 for a new cluster.", show_default=False)
    ] = None,
    data: DataOption = DEFAULT_DATA,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running and return.")] = False,
    base_port: Annotated[
        int, typer.Option(min=1, max=65000, help="Listen on the first free ports above this (new clusters only).")
    ] = DEFAULT_BASE_PORT,
    engine: Annotated[
        Engine | None,
        typer.Option(help="What replicates; raft for a new cluster. pysyncobj holds less.", show_default=False),
    ] = None,
) -> None:
    """Start a local cluster, or those of its nodes that are not running, and show its state; Ctrl-C stops it."""
    with _signals_as_interrupts():
        cluster = open_or_create(data, nodes, base_port, engine)
        with cluster.exclusively():
            started = _start(cluster)
        if not started:
            console.print(f"The cluster under {escape(str(data))} is running already.\n", soft_wrap=True)
        if detach or not started:
            _show_once(cluster, data)
            return
        _stay(cluster, data)


def _start(cluster: LocalCluster) -> list[int]:
    """Starts what is missing and waits for all; takes back what it started when that fails or is interrupted."""
    running = cluster.running()
    missing = [node_id for node_id in cluster.node_ids if node_id not in running]
    if running and missing:
        console.print(f"{len(running)} of {len(cluster.nodes)} nodes are running; starting {_listing(missing)}.")
    try:
        started = cluster.start()
        with console.status(f"waiting for {len(cluster.nodes)} nodes to serve"):
            cluster.wait_ready()
    except BaseException:
        for node_id in missing:
            cluster.send_signal(node_id, signal.SIGTERM)
        raise
    return started


def _listing(node_ids: list[int]) -> str:
    return ("node " if len(node_ids) == 1 else "nodes ") + ", ".join(map(str, node_ids))


def _show_once(cluster: LocalCluster, data: Path) -> None:
    probes = {node.node_id: NodeProbe(node.client_address) for node in cluster.nodes}
    console.print(status_table(survey(cluster, probes)))
    for probe in probes.values():
        probe.close()
    console.print(f"\nTry:\n{next_steps(cluster, data)}", soft_wrap=True)


def _stay(cluster: LocalCluster, data: Path) -> None:
    """Shows the cluster until Ctrl-C, or until its last node has ended; then stops it in good order."""
    try:
        if console.is_terminal:
            _show_live(cluster, data)
        else:
            _show_once(cluster, data)
            console.print("\nCtrl-C stops it.")
            _tell_changes(cluster)
    except KeyboardInterrupt:
        # A second Ctrl-C, or make's SIGTERM beside the terminal's SIGINT, must not leave half of the nodes behind:
        # stopping takes a bounded time in any case.
        for signum in ENDING_SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
        console.print("\nstopping …", end=" ")
        with cluster.exclusively():
            killed = cluster.stop()
        console.print(f"had to kill {_listing(killed)}." if killed else "stopped.")
    else:
        console.print("All nodes have ended.")


def _show_live(cluster: LocalCluster, data: Path) -> None:
    probes = {node.node_id: NodeProbe(node.client_address) for node in cluster.nodes}
    hints = Text.from_markup(
        f"\nTry, in another terminal:\n{escape(next_steps(cluster, data))}\n\nCtrl-C stops it."
    )
    heading = Text.assemble(
        ("quorumlog", "bold"),
        f"  {cluster.cluster_id}, {len(cluster.nodes)} nodes, engine {cluster.engine}, data in {data}\n",
    )
    with Live(console=console, auto_refresh=False) as live:
        while cluster.running():
            live.update(Group(heading, status_table(survey(cluster, probes)), hints), refresh=True)
            time.sleep(REFRESH_S)
            cluster.refresh()


def _tell_changes(cluster: LocalCluster) -> None:
    """Without a terminal: one line for every node that goes or comes."""
    known = set(cluster.running())
    while known:
        time.sleep(REFRESH_S)
        cluster.refresh()
        now = set(cluster.running())
        for node_id in sorted(known ^ now):
            console.print(f"node {node_id} {'is up again' if node_id in now else 'has ended'}")
        known = now


@contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """SIGTERM and SIGHUP end the foreground as Ctrl-C does: the nodes are stopped in good order."""

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {signum: signal.signal(signum, interrupt) for signum in ENDING_SIGNALS}
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


@down.command(name="down")
def down_command(data: DataOption = DEFAULT_DATA) -> None:
    """Stop the local cluster; its data stays."""
    cluster = LocalCluster.open(data)
    with cluster.exclusively():
        running = cluster.running()
        killed = cluster.stop()
    if not running:
        console.print("Nothing was running.")
    elif killed:
        console.print(f"Stopped; had to kill {_listing(killed)}.")
    else:
        console.print(f"Stopped {_listing(running)}.")


@status.command(name="status")
def status_command(data: DataOption = DEFAULT_DATA, output: FormatOption = Format.TEXT) -> None:
    """Show the local cluster's processes; exits with 3 when fewer than a majority serve."""
    cluster = LocalCluster.open(data)
    probes = {node.node_id: NodeProbe(node.client_address) for node in cluster.nodes}
    statuses = survey(cluster, probes)
    if output is Format.JSON:
        print_json({"cluster_id": cluster.cluster_id, "nodes": [_as_record(each) for each in statuses]})
    else:
        console.print(status_table(statuses))
    serving = sum(each.state == "serving" for each in statuses)
    if serving <= len(statuses) // 2:
        raise typer.Exit(3)


def _as_record(status: NodeStatus) -> dict[str, object]:
    return {
        "node_id": status.layout.node_id,
        "state": status.state,
        "client_address": status.layout.client_address,
        "peer_address": status.layout.peer_address,
        "metrics_address": status.layout.metrics_address,
        "pid": status.pid,
        "leads": status.leads,
        "uptime_seconds": status.uptime_s,
        "cpu_seconds": status.cpu_seconds,
        "rss_bytes": status.rss_bytes,
    }
