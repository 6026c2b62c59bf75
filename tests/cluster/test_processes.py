"""A process that is remembered is never mistaken for another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from quorumlog.cluster.processes import ProcessIdentity

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "60"])
    yield child
    child.kill()
    child.wait()


def test_a_living_process_is_alive_and_can_be_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    identity = ProcessIdentity.of(sleeper.pid)
    assert identity.alive()
    assert identity.send(signal.SIGKILL)
    assert identity.wait(timeout_s=10)
    assert not identity.alive()


def test_a_zombie_is_dead_before_its_parent_looks(sleeper: subprocess.Popen[bytes]) -> None:
    identity = ProcessIdentity.of(sleeper.pid)
    os.kill(sleeper.pid, signal.SIGKILL)
    assert identity.wait(timeout_s=10)
    assert not identity.alive()
    assert not identity.send(signal.SIGTERM)
    assert sleeper.wait() == -signal.SIGKILL


@pytest.mark.parametrize("stranger", [{"start_ticks": 1}, {"boot_id": "another boot"}])
def test_a_stranger_that_has_got_the_pid_is_never_signalled(
    sleeper: subprocess.Popen[bytes], stranger: dict[str, object]
) -> None:
    remembered = replace(ProcessIdentity.of(sleeper.pid), **stranger)  # type: ignore[arg-type]
    assert not remembered.alive()
    assert not remembered.send(signal.SIGKILL)
    assert remembered.usage() is None
    assert sleeper.poll() is None, "the stranger was killed"


def test_a_paused_process_lives(sleeper: subprocess.Popen[bytes]) -> None:
    identity = ProcessIdentity.of(sleeper.pid)
    identity.send(signal.SIGSTOP)
    os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED | os.WNOWAIT)
    assert identity.paused()
    assert identity.alive()


def test_waiting_for_a_process_that_goes_on_ends_with_the_time(sleeper: subprocess.Popen[bytes]) -> None:
    assert not ProcessIdentity.of(sleeper.pid).wait(timeout_s=0)


def test_there_is_no_identity_without_a_process() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(ProcessLookupError):
        ProcessIdentity.of(child.pid)


def test_usage_counts_the_work_that_was_done() -> None:
    work = "import sys\nfor _ in range(5_000_000): pass\nprint('done', flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"
        usage = ProcessIdentity.of(child.pid).usage()
        assert usage is not None
        assert 0.02 < usage.cpu_seconds < 30
        assert 1 << 20 < usage.rss_bytes < 1 << 30
