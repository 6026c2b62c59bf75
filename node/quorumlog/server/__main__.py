"""``python -m quorumlog.server --config FILE``: one node in the foreground."""

import typer

from quorumlog.server.cli import run

typer.run(run)
