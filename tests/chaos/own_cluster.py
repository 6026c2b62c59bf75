"""A cluster as a user grants it to the chaos suite: commands that do to local nodes what systemctl would."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from quorumlog.cluster.launcher import LocalCluster

SCRIPT = """
import signal, sys
from pathlib import Path
from quorumlog.cluster.launcher import LocalCluster

what, directory, node = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
cluster = LocalCluster.open(directory)
if what == "kill":
    cluster.kill(node)
elif what == "start":
    cluster.start_node(node)
else:
    cluster.send_signal(node, signal.SIGSTOP if what == "pause" else signal.SIGCONT)
"""

NODES = """
[nodes.1]
host = "one"
[nodes.2]
host = "two"
[nodes.3]
host = "three"
"""


def acts(own: LocalCluster, directory: Path) -> dict[str, str]:
    """Commands that follow its logs, kill, start, pause and resume its nodes."""
    script = directory / "act.py"
    script.write_text(SCRIPT)
    act = f"{sys.executable} {script}"
    done = {what: f"{act} {what} {own.directory} {{node}}" for what in ("kill", "start", "pause", "resume")}
    return {"log": f"exec tail -n 0 -F {own.directory}/node-{{node}}/node.log", **done}


def granted(directory: Path, commands: Mapping[str, str], nodes: str = NODES) -> Path:
    """A grants file with these commands."""
    path = directory / "grants.toml"
    lines = "\n".join(f"{what} = '{command}'" for what, command in commands.items())
    path.write_text(f"{nodes}\n[commands]\n{lines}\n")
    return path
