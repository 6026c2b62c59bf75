"""The ``quorumlog`` program: a tree of commands whose branches are imported when they are used.

``quorumlog --help`` must not pay for gRPC, and this package may not import the node or the simulator at all (the
import contract). So the root knows its commands by name only. Its own stand in a table here; those of other parts
of quorumlog are entry points of the group ``quorumlog.commands``, each a Typer application (Click's documentation
calls the pattern lazily loading subcommands).

Exit codes, for scripts: 0 fine, 1 the operation failed, 2 bad usage, 3 no quorum or nothing reachable, 4 a
verification found something.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.metadata import entry_points, version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

ENTRY_POINT_GROUP = "quorumlog.commands"

#: name -> (module with a Typer application ``app``, its line in the help), in the order of the help.
OWN_COMMANDS = {
    "up": ("quorumlog.cluster.commands_local:up", "Start a local cluster and show its state; Ctrl-C stops it."),
    "down": ("quorumlog.cluster.commands_local:down", "Stop the local cluster."),
    "status": ("quorumlog.cluster.commands_local:status", "Show the local cluster's processes."),
    "topic": ("quorumlog.cluster.commands_topic:app", "Make, list, describe, alter and delete topics."),
    "produce": ("quorumlog.cluster.commands_produce:app", "Write records, one per line."),
    "consume": ("quorumlog.cluster.commands_consume:app", "Read records."),
    "group": ("quorumlog.cluster.commands_group:app", "Consumer groups: who holds what, lag, reset, verify."),
    "cluster": ("quorumlog.cluster.commands_cluster:app", "Watch a cluster's replicas; move leaders."),
    "bench": ("quorumlog.cluster.commands_bench:app", "Measure, beside the limits of the machine."),
}
#: What the other parts' commands are for: an entry point has a name and a place but no description.
PART_HELP = {
    "chaos": "Real faults on real nodes under load; judge what clients saw.",
    "node": "Run one node in the foreground.",
    "log": "Look into a node's files, offline.",
    "sim": "Explore faults in the deterministic simulator.",
}


class LazyGroup(TyperGroup):
    """A group that lists its commands from tables and imports one only when it is resolved to be run."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*OWN_COMMANDS, *sorted(part.name for part in entry_points(group=ENTRY_POINT_GROUP))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command's name and line of help: all that listings and completion ask for."""
        if cmd_name in OWN_COMMANDS:
            return TyperCommand(cmd_name, help=OWN_COMMANDS[cmd_name][1])
        if cmd_name in self.list_commands(ctx):
            return TyperCommand(cmd_name, help=PART_HELP.get(cmd_name, ""))
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself, imported now."""
        name, placeholder, rest = super().resolve_command(ctx, args)
        return name, placeholder if name is None else load_command(name), rest


def load_command(name: str) -> Any:
    """Imports what stands behind a command. The name is one of ``list_commands``."""
    if name in OWN_COMMANDS:
        module_name, _, attribute = OWN_COMMANDS[name][0].partition(":")
        application = getattr(import_module(module_name), attribute)
    else:
        (part,) = (part for part in entry_points(group=ENTRY_POINT_GROUP) if part.name == name)
        application = part.load()
    command = typer.main.get_command(application)
    command.name = name
    return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"quorumlog {version('quorumlog')}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A replicated log: every partition a Raft group, every acknowledgement fsynced on a majority."""


def main() -> None:
    """The console script.

    Operating errors end in one line and an exit code; anything else is a defect and shows.
    """
    try:
        app(prog_name="quorumlog")
    except BrokenPipeError:
        # `quorumlog consume t | head`: the reader has had enough. Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        from quorumlog.cluster.failures import explain

        explained = explain(error)
        if explained is None:
            raise
        typer.echo(f"quorumlog: {explained.message}", err=True)
        sys.exit(explained.exit_code)
