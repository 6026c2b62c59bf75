"""``quorumlog node run``, also reachable as ``python -m quorumlog.server``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="One node of a cluster.", no_args_is_help=True)


@app.callback()
def _node() -> None:
    """One node of a cluster."""


@app.command("run")
def run(
    config: Annotated[
        Path | None, typer.Option(envvar="QUORUMLOG_CONFIG", help="The node's TOML file.", show_default=False)
    ] = None,
    cluster_id: Annotated[str | None, typer.Option(help="The cluster's id.", show_default=False)] = None,
    node_id: Annotated[int | None, typer.Option(help="This node's id, from 1.", show_default=False)] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where its data is kept.", show_default=False)] = None,
    nodes: Annotated[
        str | None,
        typer.Option(help="All nodes, as JSON or ID=HOST:CLIENT PORT:PEER PORT:METRICS PORT,…", show_default=False),
    ] = None,
    bind_host: Annotated[
        str | None, typer.Option(help="Listen here instead of on the advertised host.", show_default=False)
    ] = None,
    coordinators: Annotated[
        int | None, typer.Option(help="Partitions that coordinate consumer groups.", show_default=False)
    ] = None,
    offsets_retention_ms: Annotated[
        int | None, typer.Option(help="Offsets unused for so long expire.", show_default=False)
    ] = None,
    tombstones_retention_ms: Annotated[
        int | None, typer.Option(help="Expired offsets can be restored for so long.", show_default=False)
    ] = None,
    group_metrics: Annotated[
        bool | None, typer.Option(help="Lag series for each consumer group.", show_default=False)
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="raft or pysyncobj; the same on all nodes.", show_default=False)
    ] = None,
    faults: Annotated[
        Path | None,
        typer.Option(help="Take orders to fail from this Unix socket: for tests only.", show_default=False),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error.", show_default=False)
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.", show_default=False)] = None,
) -> None:
    """Run one node in the foreground until SIGTERM or Ctrl-C.

    Every key of the file can also be given as an option or as QUORUMLOG_<KEY> in the environment; an option wins
    over the environment, and that over the file. Exit codes: 0 stopped when told to, 1 cannot start, 2 wrong
    configuration.
    """
    # Peers that come and go are ours to report; gRPC's own lines about them say nothing more. It reads this at
    # import.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # Here and not above: `quorumlog --help` imports this module, and gRPC takes a quarter of a second.
    from quorumlog.server.config import ConfigError, load
    from quorumlog.server.main import CannotStart
    from quorumlog.server.main import run as run_node

    flags = {
        "cluster_id": cluster_id,
        "node_id": node_id,
        "data_dir": data_dir,
        "nodes": nodes,
        "bind_host": bind_host,
        "coordinators": coordinators,
        "offsets_retention_ms": offsets_retention_ms,
        "tombstones_retention_ms": tombstones_retention_ms,
        "group_metrics": group_metrics,
        "engine": engine,
        "faults": faults,
        "log_level": log_level,
        "log_format": log_format,
    }
    try:
        settings = load(config, flags)
    except ConfigError as error:
        typer.echo(f"quorumlog: {error}", err=True)
        raise typer.Exit(2) from None
    try:
        code = run_node(settings)
    except CannotStart as error:
        typer.echo(f"quorumlog: {error}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(code)
