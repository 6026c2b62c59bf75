"""``quorumlog chaos`` as a user meets it: what there is, bad usage, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quorumlog.chaos.cli import app
from quorumlog.chaos.scenarios import catalogue
from quorumlog.cluster.failures import USAGE

COMMAND = [sys.executable, "-c", "from quorumlog.cluster.cli import main; main()"]
#: Far above what three nodes take to start, or to end.
PATIENCE_S = 60.0


def test_the_list_names_every_scenario_on_a_line_of_its_own() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    listing = subprocess.run(
        [*COMMAND, "chaos", "list"], capture_output=True, text=True, check=True, env=environment
    )
    rows = {line.split()[0]: line for line in listing.stdout.splitlines() if line}
    for scenario in catalogue():
        assert all(fault in rows[scenario.name] for fault in scenario.faults), rows[scenario.name]
    assert sum(len(scenario.faults) or 1 for scenario in catalogue()) >= 60


def test_programs_get_the_same_list() -> None:
    listed = CliRunner().invoke(app, ["list", "--suite", "smoke", "--format", "json"])
    rows = json.loads(listed.output)
    assert [row["name"] for row in rows] == [one.name for one in catalogue() if "smoke" in one.suites]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nonsense"], "no scenario is called 'nonsense'"),
        (["kill-leader", "--engine", "zab"], "'zab'"),
        (["kill-leader", "--where", "attached"], "an attached cluster needs --server and --grants"),
        (["kill-leader", "--where", "attached", "--server", "h:1", "--grants", "missing"], "missing: "),
    ],
)
def test_bad_usage_is_told_before_anything_is_run(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    done = CliRunner().invoke(app, ["run", *arguments, "--output", str(tmp_path / "runs")])
    assert done.exit_code == USAGE
    assert complaint in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_end_takes_its_nodes_with_it(tmp_path: Path, signum: signal.Signals) -> None:
    runner = subprocess.Popen(
        [*COMMAND, "chaos", "run", "kill-leader", "--output", str(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    nodes: set[int] = set()
    deadline = time.monotonic() + PATIENCE_S
    while len(nodes) < 3:
        assert time.monotonic() < deadline, "it starts no nodes"
        assert runner.poll() is None
        nodes |= children(runner.pid)
        time.sleep(0.05)
    runner.send_signal(signum)
    _, said = runner.communicate(timeout=PATIENCE_S)
    assert runner.returncode not in (0, -signum)
    assert "Traceback" not in said
    assert not [pid for pid in nodes if Path(f"/proc/{pid}").exists()]


def children(pid: int) -> set[int]:
    """Processes that it has started and that live."""
    threads = Path(f"/proc/{pid}/task")
    try:
        lists = [(threads / thread / "children").read_text() for thread in os.listdir(threads)]
        return {int(child) for each in lists for child in each.split()}
    except FileNotFoundError:
        return set()
