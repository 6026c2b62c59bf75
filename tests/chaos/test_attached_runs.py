"""``chaos run --where attached``: one's own cluster is judged and left as it was, or the run says why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from chaos.own_cluster import acts, granted
from typer.testing import CliRunner

from quorumlog.chaos import outcome
from quorumlog.chaos.cli import app
from quorumlog.client.sync import Admin
from quorumlog.cluster.failures import FAILED
from quorumlog.cluster.launcher import LocalCluster
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typer.testing import Result


@pytest.fixture
def own() -> Iterator[LocalCluster]:
    """The user's cluster."""
    with running_cluster() as cluster:
        yield cluster


def run(server: str, grants: Path, *scenarios: str) -> Result:
    where = ["--where", "attached", "--server", server, "--grants", str(grants)]
    return CliRunner().invoke(app, ["run", *scenarios, *where, "--output", str(grants.parent / "runs")])


def record(directory: Path, scenario: str) -> outcome.RunRecord:
    return outcome.load(directory / "runs" / scenario)


def test_a_cluster_of_ones_own_is_judged_and_left_as_it_was(own: LocalCluster, tmp_path: Path) -> None:
    done = run(own.servers[0], granted(tmp_path, acts(own, tmp_path)), "kill-leader", "pause-leader")
    assert done.exit_code == 0, done.output
    assert "2 true, 0 false, 0 unknown, 0 skipped" in done.output
    assert record(tmp_path, "kill-leader").failovers
    own.refresh()
    assert own.running() == own.node_ids
    own.wait_ready()
    with Admin(own.servers) as admin:
        assert admin.list_topics() == []


def test_a_cluster_that_is_not_there_proves_nothing_and_is_not_found_guilty(tmp_path: Path) -> None:
    nobody = LocalCluster.create(tmp_path / "cluster", 3, 0)
    done = run(nobody.servers[0], granted(tmp_path, acts(nobody, tmp_path)), "pause-leader")
    assert done.exit_code == FAILED
    found = record(tmp_path, "pause-leader")
    assert found.verdict == "unknown"
    assert found.why[0].startswith(f"unknown: no cluster to run on: no cluster answers at {nobody.servers[0]}")
    assert not found.left_harmed


def test_when_all_is_skipped_nothing_is_known(own: LocalCluster, tmp_path: Path) -> None:
    done = run(own.servers[0], granted(tmp_path, {"log": "exec sleep 60"}), "kill-leader")
    assert done.exit_code == FAILED
    assert "skipped  kill-leader  kill: not granted: needs kill and start" in done.output


def test_what_cannot_be_undone_is_told_and_the_cluster_is_let_alone(own: LocalCluster, tmp_path: Path) -> None:
    commands = acts(own, tmp_path)
    commands["resume"] += "; echo the host does not answer any more; exit 255"
    done = run(own.servers[0], granted(tmp_path, commands), "pause-leader", "pause-minority-5")
    assert done.exit_code == FAILED, done.output
    found = record(tmp_path, "pause-leader")
    assert found.verdict == "unknown"
    assert "the host does not answer any more" in found.left_harmed
    assert found.operations["send"]["ok"]
    assert (tmp_path / "runs" / "pause-leader" / outcome.HISTORY_FILE).stat().st_size
    assert not (tmp_path / "runs" / "pause-minority-5").exists()
    assert f"1 scenario not run: the cluster is not as it was: {found.left_harmed}" in done.stderr
