"""compose.yaml as a user meets it: three containers up, records in and out, a restart, all gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quorumlog.cluster.layout import port_is_free
from quorumlog.cluster.probe import NodeProbe

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
IMAGE = os.environ.get("QUORUMLOG_IMAGE", "quorumlog:dev")
QUORUMLOG = [sys.executable, "-c", "from quorumlog.cluster.cli import main; main()"]
PUBLISHED = (7401, 7402, 7403, 7601, 7602, 7603)
#: One name for every run: what a run that was killed has left is then taken down by the next.
PROJECT = "quorumlog-compose-test"
UP_TIMEOUT_S = 60.0
LINES = [f"line {number}" for number in range(500)]


def succeeds(*command: str) -> bool:
    return shutil.which(command[0]) is not None and not subprocess.run(command, capture_output=True).returncode


def composes() -> list[list[str]]:
    """The plug-in of newer engines and the program of older ones; whichever is here, both if both are."""
    return [command for command in (["docker", "compose"], ["docker-compose"]) if succeeds(*command, "version")]


if not succeeds("docker", "version"):
    pytest.skip("no container engine answers", allow_module_level=True)
if not succeeds("docker", "image", "inspect", IMAGE):
    pytest.skip(f"the engine has no image {IMAGE}; make image", allow_module_level=True)
if not composes():
    pytest.skip("neither docker compose nor docker-compose is here", allow_module_level=True)

# Starting and restarting containers takes as long as the machine likes; seconds, where it has nothing else to do.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(params=composes(), ids=" ".join)
def compose(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """The command that works on our project; afterwards nothing of it is there."""
    command = [*request.param, "--project-name", PROJECT, "--file", str(ROOT / "compose.yaml")]
    run(*command, "down", "--volumes")
    if not all(port_is_free(port) for port in PUBLISHED):
        pytest.skip("something else listens on a port that compose.yaml publishes")
    yield command
    run(*command, "down", "--volumes")


def run(*command: str, given: str = "") -> str:
    environment = os.environ | {"QUORUMLOG_IMAGE": IMAGE}
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def wait_ready() -> None:
    deadline = time.monotonic() + UP_TIMEOUT_S
    for port in PUBLISHED[:3]:
        with NodeProbe(f"127.0.0.1:{port}") as probe:
            while not (probe.serving() and (seen := probe.metadata()) and seen.controller_node_id):
                assert time.monotonic() < deadline, f"port {port} does not serve"
                time.sleep(0.1)


def test_three_containers_take_records_and_keep_them_over_a_restart(compose: list[str]) -> None:
    run(*compose, "up", "--detach", "--no-build")
    wait_ready()
    run(*QUORUMLOG, "topic", "create", "compose", "--partitions", "1", "--server", "127.0.0.1:7401")
    run(*QUORUMLOG, "produce", "compose", "--server", "127.0.0.1:7401", given="\n".join(LINES) + "\n")
    consume = [*QUORUMLOG, "consume", "compose", "--server", "127.0.0.1:7402"]
    assert run(*consume).splitlines() == LINES
    run(*compose, "restart")
    wait_ready()
    assert run(*consume).splitlines() == LINES
    labelled = ("--all", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}")
    assert len(run("docker", "ps", *labelled).split()) == 3
    run(*compose, "down", "--volumes")
    assert not run("docker", "ps", *labelled)
