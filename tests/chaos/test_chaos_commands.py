"""``quorumlog chaos`` as a user meets it: what there is, bad usage, runs that cannot be made, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from quorumlog.chaos import outcome
from quorumlog.chaos.cli import app
from quorumlog.chaos.scenarios import catalogue
from quorumlog.cluster.failures import FAILED, USAGE
from quorumlog.cluster.launcher import LocalCluster
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from typer.testing import Result

COMMAND = [sys.executable, "-c", "from quorumlog.cluster.cli import main; main()"]
#: Far above what three nodes take to start, or to end.
PATIENCE_S = 60.0

#: A command that pauses a node of a cluster, and one that resumes it and says that it could not.
PAUSE = """
import signal, sys
from pathlib import Path
from quorumlog.cluster.launcher import LocalCluster

what, directory, node = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
LocalCluster.open(directory).send_signal(node, signal.SIGSTOP if what == "pause" else signal.SIGCONT)
sys.exit(0 if what == "pause" else "the host does not answer any more")
"""


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


def test_a_cluster_that_is_not_there_proves_nothing_and_is_not_found_guilty(tmp_path: Path) -> None:
    nobody = LocalCluster.create(tmp_path / "cluster", 3, 0).servers[0]
    done = attached(tmp_path, nobody, ["pause-leader"], pause="true", resume="true")
    assert done.exit_code == FAILED
    record = outcome.load(tmp_path / "runs" / "pause-leader")
    assert record.verdict == "unknown"
    assert record.why[0].startswith(f"unknown: no cluster to run on: no cluster answers at {nobody}")
    assert not record.left_harmed


def test_when_all_is_skipped_nothing_is_known(tmp_path: Path) -> None:
    log = "exec sleep 60"
    with running_cluster() as own:
        done = attached(tmp_path, own.servers[0], ["kill-leader"], pause="true", resume="true", log=log)
    assert done.exit_code == FAILED
    assert "skipped  kill-leader  kill: not granted: needs kill and start" in done.output


def test_what_cannot_be_undone_is_told_and_the_cluster_is_let_alone(tmp_path: Path) -> None:
    (tmp_path / "act.py").write_text(PAUSE)
    with running_cluster() as own:
        act = f"{sys.executable} {tmp_path / 'act.py'}"
        pause, resume = (f"{act} {what} {own.directory} {{node}}" for what in ("pause", "resume"))
        log = f"exec tail -n 0 -F {own.directory}/node-{{node}}/node.log"
        done = attached(
            tmp_path, own.servers[0], ["pause-leader", "pause-minority-5"], pause=pause, resume=resume, log=log
        )
    assert done.exit_code == FAILED, done.output
    record = outcome.load(tmp_path / "runs" / "pause-leader")
    assert record.verdict == "unknown"
    assert "the host does not answer any more" in record.left_harmed
    assert record.operations["send"]["ok"]
    assert (tmp_path / "runs" / "pause-leader" / outcome.HISTORY_FILE).stat().st_size
    assert not (tmp_path / "runs" / "pause-minority-5").exists()
    assert f"1 scenario not run: the cluster is not as it was: {record.left_harmed}" in done.stderr


def attached(
    directory: Path, server: str, scenarios: list[str], *, pause: str, resume: str, log: str = "true"
) -> Result:
    """Runs the scenarios on that cluster with those grants."""
    grants = directory / "grants.toml"
    commands = f"log = '{log}'\npause = '{pause}'\nresume = '{resume}'\n"
    grants.write_text(f"[nodes.1]\n[nodes.2]\n[nodes.3]\n[commands]\n{commands}")
    where = ["--where", "attached", "--server", server, "--grants", str(grants)]
    return CliRunner().invoke(app, ["run", *scenarios, *where, "--output", str(directory / "runs")])


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
