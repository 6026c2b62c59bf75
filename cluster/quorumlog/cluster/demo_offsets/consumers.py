"""The group's members: processes of their own, killed and started again, each life with a journal of its own."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from quorumlog.cluster.demo_offsets.journal import read_journal
from quorumlog.cluster.failures import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from quorumlog.cluster.demo_offsets.journal import Line

#: A member that was killed is missed after so long; until then its partitions wait.
SESSION_TIMEOUT_MS = 2_000
#: For a process to start, join and be given its partitions, on a busy machine.
START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 30.0
POLL_S = 0.05


class Consumers:
    """``count`` processes of one group, numbered from 0. The last is a static member, the others are dynamic.

    ``work_ms``: how long each record takes to be processed.
    """

    def __init__(
        self,
        servers: Sequence[str],
        topic: str,
        group: str,
        count: int,
        directory: Path,
        *,
        work_ms: float = 0.0,
    ) -> None:
        self._command = [
            sys.executable,
            "-m",
            "quorumlog.cluster.demo_offsets.worker",
            ",".join(servers),
            topic,
            group,
            str(SESSION_TIMEOUT_MS),
            str(work_ms),
        ]
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * count
        self._journals: list[list[Path]] = [[] for _ in range(count)]

    def start(self, number: int) -> None:
        """A new life; does not wait for it to take part."""
        lives = self._journals[number]
        lives.append(self._directory / f"consumer-{number}-life-{len(lives) + 1}")
        instance = f"static-{number}" if number == len(self._processes) - 1 else ""
        with self._output(number).open("ab") as output:
            self._processes[number] = subprocess.Popen(
                [*self._command, str(lives[-1]), instance],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def taking_part(self, number: int) -> None:
        """Returns when the process has been given a partition. Raises CommandFailed when it ended, or took too
        long."""
        async with asyncio.timeout(START_DEADLINE_S):
            while not any(line.what == "A" for line in read_journal(self._journals[number][-1])):
                process = self._processes[number]
                if process is None or process.poll() is not None:
                    raise CommandFailed(f"consumer {number} ended; it said last:\n{self._last_words(number)}")
                await asyncio.sleep(POLL_S)

    def kill(self, number: int) -> None:
        """SIGKILL; returns when the kernel has taken it."""
        process = self._processes[number]
        assert process is not None
        process.kill()
        process.wait()

    def signal(self, number: int, signum: signal.Signals) -> None:
        """Signals it and waits for nothing."""
        process = self._processes[number]
        assert process is not None
        process.send_signal(signum)

    def stop(self) -> None:
        """SIGTERM to all, which then end in good order. Raises CommandFailed when one does not."""
        for process in self._processes:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for number, process in enumerate(self._processes):
            if process is not None and process.wait(STOP_DEADLINE_S) != 0:
                raise CommandFailed(
                    f"consumer {number} ended with {process.returncode}; it said last:\n{self._last_words(number)}"
                )

    def end(self) -> None:
        """Whatever still lives is killed: for the way out."""
        for process in self._processes:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()

    def journals(self) -> list[list[Line]]:
        """Of every life of every consumer."""
        return [read_journal(path) for lives in self._journals for path in lives]

    def _output(self, number: int) -> Path:
        return self._directory / f"consumer-{number}.out"

    def _last_words(self, number: int) -> str:
        return "\n".join(self._output(number).read_text(errors="replace").splitlines()[-5:])
