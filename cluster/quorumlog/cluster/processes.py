"""Node processes: naming one so that it cannot be mistaken for another, signalling it, and what it costs.

A pid is a name that the kernel gives away again. A launcher that remembers pids in a file and signals them later
will some day kill a stranger; so a process is known here by its pid *and* the moment it began
(``/proc/<pid>/stat``, field 22, in clock ticks since boot) *and* the boot itself, and signals travel through a
pidfd that was opened before the comparison: between looking and signalling the pid cannot change hands
(``pidfd_open(2)``). systemd keeps its units apart in the same way. Linux only.
"""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def boot_id() -> str:
    """The running kernel's own random name of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat_fields(pid: int) -> list[str] | None:
    """The fields of ``/proc/<pid>/stat`` from the third (state) on; None when there is no such process.

    The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """What a process has used up to now: CPU time (user and kernel) of all its threads, and resident memory."""

    cpu_seconds: float
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of one boot. Two identities are equal only if they are the same process."""

    pid: int
    start_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """The process that has this pid now. Raises ProcessLookupError when none has."""
        fields = _stat_fields(pid)
        if fields is None:
            raise ProcessLookupError(pid)
        return cls(pid, int(fields[19]), boot_id())

    def alive(self) -> bool:
        """It runs, or is stopped by a signal; a zombie, whose parent has yet to look at it, is dead."""
        fields = _stat_fields(self.pid)
        return fields is not None and self._is_described_by(fields) and fields[0] not in "ZX"

    def paused(self) -> bool:
        """It lives but is stopped by SIGSTOP."""
        fields = _stat_fields(self.pid)
        return fields is not None and self._is_described_by(fields) and fields[0] == "T"

    def usage(self) -> ProcessUsage | None:
        """What it has used; None when it is gone."""
        fields = _stat_fields(self.pid)
        if fields is None or not self._is_described_by(fields):
            return None
        ticks = int(fields[11]) + int(fields[12])
        return ProcessUsage(ticks / CLOCK_TICKS_PER_SECOND, int(fields[21]) * PAGE_BYTES)

    def send(self, signum: signal.Signals) -> bool:
        """Signals this very process. False when it is gone, also when its pid now names another."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive():
                return False
            signal.pidfd_send_signal(descriptor, signum)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    def wait(self, timeout_s: float) -> bool:
        """Waits for its end, be it our child or not. False when it still lives after ``timeout_s``."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive():
                return True
            readable, _, _ = select.select([descriptor], [], [], timeout_s)
            return bool(readable)
        finally:
            os.close(descriptor)

    def _is_described_by(self, fields: list[str]) -> bool:
        return int(fields[19]) == self.start_ticks and boot_id() == self.boot_id
