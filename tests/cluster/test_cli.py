"""The program's root: fast help, commands imported late, exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ("grpc", "google.protobuf", "quorumlog.client", "quorumlog.server", "quorumlog.sim", "asyncio")


def quorumlog(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    code = "from quorumlog.cluster.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=cwd, timeout=60
    )


def test_the_help_lists_every_command_and_imports_none_of_them() -> None:
    code = (
        "import sys\nfrom quorumlog.cluster.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for command in (
        "up",
        "down",
        "status",
        "topic",
        "produce",
        "consume",
        "group",
        "cluster",
        "bench",
        "node",
        "log",
        "sim",
        "chaos",
    ):
        assert re.search(rf"│ {command} +\w", shown), f"{command} has no line"
    assert shown.rstrip().endswith("HEAVY []")


def test_the_version_is_the_packages_own() -> None:
    from importlib.metadata import version

    assert quorumlog("--version").stdout == f"quorumlog {version('quorumlog')}\n"


@pytest.mark.parametrize(
    "arguments", [["tpic"], ["up", "--nodes", "0"], ["up", "--nodes", "three"], ["status", "--format", "xml"]]
)
def test_bad_usage_exits_with_2_and_says_so_on_stderr(arguments: list[str]) -> None:
    done = quorumlog(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Usage: quorumlog" in done.stderr


@pytest.mark.parametrize("command", ["down", "status"])
def test_without_a_cluster_one_line_says_so_and_the_exit_code_is_1(command: str, tmp_path: Path) -> None:
    done = quorumlog(command, "--data", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no cluster under" in done.stderr


def test_another_number_of_nodes_than_the_cluster_has_is_refused(tmp_path: Path) -> None:
    from quorumlog.cluster.launcher import LocalCluster

    LocalCluster.create(tmp_path, 3, 21400)
    done = quorumlog("up", "--data", str(tmp_path), "--nodes", "5")
    assert done.returncode == 1
    assert "has 3 nodes, not 5" in done.stderr
