"""PySyncObj by itself: three processes on this machine, its own TCP transport and its own journal, nothing of ours.

What its users have. Run as a module it is one such process; the first one waits until it leads or somebody else
does, and whoever leads measures: commands of a given size, so many at a time, each counted when its callback says
that it has been applied. Twice: *as it comes*, with every setting the library's own, and *tuned*, with two changed:
``appendEntriesUseBatch=False``, with which a single command takes 0.3 ms instead of 100, and ``MESSAGE_BYTES``. The
journal is a file, as in a node; nothing is synced.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from quorumlog.cluster.layout import free_ports
from quorumlog.cluster.throwaway import base_port, disk_directory

NODES = 3
READY_SECONDS = 20.0
#: Entries per message. With the library's own 64 KiB it cuts an entry of 64 KiB into chunks, miscounts them and
#: stumbles over the last one; it is given what it needs to work.
MESSAGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class BareFigures:
    """Of one size of command."""

    commands_per_second: float
    p50_ms: float


def measure(command_bytes: int, outstanding: int, seconds: float, *, tuned: bool) -> BareFigures:
    """Runs three processes for one measurement. Raises TimeoutError when no leader is found or none answers."""
    with TemporaryDirectory(prefix="quorumlog-", dir=disk_directory()) as home:
        return _measure(Path(home), command_bytes, outstanding, seconds, tuned=tuned)


def _measure(home: Path, command_bytes: int, outstanding: int, seconds: float, *, tuned: bool) -> BareFigures:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(base_port(), NODES)]
    children = []
    try:
        for number, address in enumerate(addresses):
            others = [other for other in addresses if other != address]
            command = [sys.executable, "-m", "quorumlog.cluster.bench.bare_pysyncobj", address, *others]
            command += [str(home / f"journal-{number}"), str(command_bytes), str(outstanding), str(seconds)]
            command.append("tuned" if tuned else "as-it-comes")
            children.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        deadline = time.monotonic() + READY_SECONDS + seconds
        while time.monotonic() < deadline:
            for child in children:
                if child.poll() is not None:
                    assert child.stdout is not None
                    told = json.loads(child.stdout.read())
                    if not told["commands_per_second"]:
                        raise TimeoutError(f"PySyncObj by itself applied nothing within {seconds:.1f} s")
                    return BareFigures(told["commands_per_second"], told["p50_ms"])
            time.sleep(0.05)
        raise TimeoutError("PySyncObj by itself has not answered")
    finally:
        for child in children:
            child.kill()
            child.communicate()


def _serve(
    own: str, others: list[str], journal: str, command_bytes: int, outstanding: int, seconds: float, *, tuned: bool
) -> None:
    """One process. Ends by itself only when it led, measured and has printed what it found."""
    from pysyncobj import SyncObj, SyncObjConf, replicated

    class Sink(SyncObj):  # type: ignore[misc]  # the library has no types
        """Takes bytes and forgets them."""

        @replicated  # type: ignore[untyped-decorator]
        def take(self, data: bytes) -> None: ...

    changed = {"appendEntriesUseBatch": False, "appendEntriesBatchSizeBytes": MESSAGE_BYTES} if tuned else {}
    conf = SyncObjConf(autoTick=False, journalFile=journal, **changed)
    sink = Sink(own, others, conf)
    data = os.urandom(command_bytes)
    waits: list[float] = []
    begin = 0.0

    def send() -> None:
        sent_at = time.perf_counter()

        def applied(_: object, error: int) -> None:
            now = time.perf_counter()
            if not error:
                waits.append(now - sent_at)
            if now - begin < seconds:
                send()

        sink.take(data, callback=applied)

    while True:
        try:
            sink.doTick(0.001)
        except Exception:
            time.sleep(0.05)  # as its own thread does
        if not begin and sink.isReady() and sink._isLeader() and sink.hasQuorum:
            begin = time.perf_counter()
            for _ in range(outstanding):
                send()
        if begin and time.perf_counter() - begin >= seconds:
            ordered = sorted(waits) or [0.0]
            print(
                json.dumps(
                    {"commands_per_second": len(waits) / seconds, "p50_ms": ordered[len(ordered) // 2] * 1000}
                ),
                flush=True,
            )
            os._exit(0)


if __name__ == "__main__":
    *names, path, size, at_a_time, how_long, how = sys.argv[1:]
    _serve(names[0], names[1:], path, int(size), int(at_a_time), float(how_long), tuned=how == "tuned")
