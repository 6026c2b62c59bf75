"""The fault door: a Unix socket through which a chaos run orders faults of this node's disk and clocks.

It exists only in a node that was started with ``--faults PATH`` (or the key ``faults`` in its file; the
environment does not count: a variable that leaks into a container must not open it). Whoever may write to the
socket can destroy the node's data, so its mode is 0600, and the node says loudly that it is open.

One order a line, one answer a line, both JSON. An order to the disk has the fields of ``quorumlog.chaos``'s
``DiskOrder`` (``what``, and what that needs of operation, error, files, times, bytes, slow_ms, seed); an order to
the clocks is ``{"clock": {"jump_ms": 3600000, "drift": 0.02}}``. The answer is ``{"ok": true, "counts": {…}}`` or
``{"ok": false, "error": "…"}``. A power loss is answered with what it took, and then the process is gone as by
kill -9.

Orders that lie in PATH.orders when the node starts, one a line, are carried out before anything is read: a sector
that cannot be read any more is there before the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

from quorumlog.server.loop import SystemClock
from quorumlog.storage import OsFiles
from quorumlog.storage.faulty import FaultyFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Answer = Callable[[Mapping[str, Any]], None]

log = structlog.get_logger("quorumlog.server")

ORDERS_SUFFIX = ".orders"
_MAX_LINE_BYTES = 1 << 16


class CannotObey(Exception):
    """The order makes no sense; the message is one line."""


class FaultClock(SystemClock):
    """A machine's clocks, made to jump and to drift; the monotonic one drifts and never jumps."""

    def __init__(self, machine: SystemClock) -> None:
        self._machine = machine
        self._drift = 0.0
        self._jumped_ms = 0
        self._gained_ms = 0.0
        """By drifts of the past."""
        self._since_ms = machine.now_ms()

    def now_ms(self) -> int:
        return self._machine.now_ms() + self._ahead_ms()

    def wall_ms(self) -> int:
        return self._machine.wall_ms() + self._ahead_ms() + self._jumped_ms

    def real_seconds(self, seconds: float) -> float:
        return seconds / (1 + self._drift)

    def order(self, jump_ms: int, drift: float) -> None:
        """Adds to the wall clock; from now on all clocks run fast by the share ``drift``. Raises CannotObey."""
        if not -0.9 <= drift <= 10:
            raise CannotObey(f"a drift of {drift} is not within -0.9 and 10")
        self._gained_ms = self._ahead_ms()
        self._since_ms = self._machine.now_ms()
        self._drift = drift
        self._jumped_ms += jump_ms

    def _ahead_ms(self) -> int:
        return int(self._gained_ms + (self._machine.now_ms() - self._since_ms) * self._drift)


class FaultDoor:
    """``files`` and ``clock`` are what the node is to be given instead of the machine's own."""

    def __init__(self, path: Path, data_dir: Path) -> None:
        self.path = path
        self.files = FaultyFiles(OsFiles(), str(data_dir))
        self.clock = FaultClock(SystemClock())
        self._server: asyncio.Server | None = None

    def obey_standing_orders(self) -> None:
        """Carries out what lies in PATH.orders. Raises OSError, CannotObey."""
        try:
            lines = self.path.with_name(self.path.name + ORDERS_SUFFIX).read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in filter(None, lines):
            log.warning("fault ordered", order=line.decode(errors="replace"))
            self.obey(line)

    async def open(self) -> None:
        """Takes orders from now on. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(self.path).st_mode):
                os.unlink(self.path)  # of a process that was killed
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self.path, limit=_MAX_LINE_BYTES)
        finally:
            os.umask(before)
        log.warning("fault door open: whoever can reach it can destroy this node's data", path=str(self.path))

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        # A disk that hangs by order must not keep the node from stopping.
        self.files.heal()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        descriptor = writer.get_extra_info("socket").fileno()

        def answer_at_once(answer: Mapping[str, Any]) -> None:
            os.write(descriptor, _line(answer))

        try:
            while line := await reader.readline():
                log.warning("fault ordered", order=line.decode(errors="replace").strip())
                try:
                    answer = {"ok": True, "counts": self.obey(line, answer_at_once)}
                except CannotObey as error:
                    answer = {"ok": False, "error": str(error)}
                writer.write(_line(answer))
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # whoever gave orders is gone, or sent a line without end
        finally:
            writer.close()

    def obey(self, line: bytes, answer_at_once: Answer | None = None) -> dict[str, int]:
        """Carries out one order; the disk's counts. Raises CannotObey."""
        try:
            order = json.loads(line)
            if "clock" in order:
                asked = order["clock"]
                self.clock.order(int(asked.get("jump_ms", 0)), float(asked.get("drift", 0.0)))
            else:
                self._disk(order, answer_at_once)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CannotObey(f"{type(error).__name__}: {error}") from error
        return self.files.counts()

    def _disk(self, order: dict[str, Any], answer_at_once: Answer | None) -> None:
        files = self.files
        pattern, times, seed = order.get("files", "*"), int(order.get("times", 1)), int(order.get("seed", 0))
        match order["what"]:
            case "fail":
                files.fail(order["operation"], order["error"], pattern, times, seed)
            case "full":
                files.fill(int(order.get("bytes", 0)))
            case "slow":
                files.slow(int(order["slow_ms"]), pattern)
            case "lie":
                files.lie(pattern)
            case "misdirect":
                files.misdirect(pattern, times, seed)
            case "stale":
                files.stale(pattern, times)
            case "heal":
                files.heal()
            case "counts":
                pass
            case "power":
                self._lose_power(seed, answer_at_once)
            case what:
                raise CannotObey(f"no such order: {what!r}")

    def _lose_power(self, seed: int, answer_at_once: Answer | None) -> NoReturn:
        """Nothing may run between what the disk loses and the end: this thread is the event loop's, and every other
        one waits for the disk."""
        counts = self.files.counts()
        lost = self.files.lose_power(seed)
        log.error("power lost", **lost._asdict())
        sys.stderr.flush()
        if answer_at_once is not None:
            with contextlib.suppress(OSError):
                taken = {f"lost_{what}": count for what, count in lost._asdict().items()}
                answer_at_once({"ok": True, "counts": {**counts, **taken}})
        os.kill(os.getpid(), signal.SIGKILL)
        # Still here: the node is process 1 of a container, which the kernel spares its own SIGKILL.
        os._exit(128 + signal.SIGKILL)


def _line(answer: Mapping[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"
