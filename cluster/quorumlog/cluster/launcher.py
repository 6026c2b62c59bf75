"""A cluster of local processes: started, watched, harmed and stopped.

One launcher serves the command line, the demo, the benchmarks and the tests, so that all of them start nodes the
way a user does: as processes of their own, with a configuration file, talking gRPC. Each node leads its own
session: a Ctrl-C at the terminal reaches the launcher alone, which then stops the nodes in good order, and a
launcher that is killed leaves its nodes running (``quorumlog up`` finds them again, ``quorumlog down`` stops
them).
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from quorumlog.cluster import layout as layouts
from quorumlog.cluster.layout import ClusterLayout, LayoutError, NodeLayout
from quorumlog.cluster.probe import NodeProbe
from quorumlog.cluster.processes import ProcessIdentity, ProcessUsage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

START_TIMEOUT_S = 30.0
#: Long enough to hand leadership over and to flush; a node that needs longer hangs.
STOP_TIMEOUT_S = 15.0
POLL_S = 0.02
LOG_LINES_SHOWN = 5


class NodeFailed(Exception):
    """A node's process ended, or did not come to serve in time. The message ends with what the node said last."""


class ClusterBusy(Exception):
    """Another launcher is starting or stopping nodes under the same directory."""


class LocalCluster:
    """The cluster under one directory. All methods block; none may be called from two threads at once.

    As a context manager it stops the nodes at the end.
    """

    def __init__(
        self, directory: Path, layout: ClusterLayout, enter: Mapping[int, Sequence[str]] | None = None
    ) -> None:
        self.directory = directory
        self._layout = layout
        self._enter = enter or {}
        # Only to reap: a child that nobody waits for stays a zombie. Everything else goes by ProcessIdentity.
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._seen: dict[int, tuple[NodeLayout, ...]] = {}
        self._settings: dict[int, Mapping[str, layouts.Setting]] = {}

    @classmethod
    def create(
        cls,
        directory: Path,
        node_count: int = 3,
        base_port: int = layouts.DEFAULT_BASE_PORT,
        *,
        log_level: str = "info",
        engine: str = layouts.DEFAULT_ENGINE,
    ) -> LocalCluster:
        """Plans a new cluster on free ports of this host and writes its files; starts nothing.

        Raises LayoutError when one is there already.
        """
        layout = replace(layouts.plan("local-" + secrets.token_hex(4), node_count, base_port), engine=engine)
        return cls.lay_out(directory, layout, log_level=log_level)

    @classmethod
    def lay_out(
        cls,
        directory: Path,
        layout: ClusterLayout,
        *,
        log_level: str = "info",
        enter: Mapping[int, Sequence[str]] | None = None,
    ) -> LocalCluster:
        """Writes the files of a cluster planned elsewhere; starts nothing. ``enter`` leads to where a node is run,
        as a command that takes the node's own behind it and *becomes* it (``ip netns exec NAME``).

        Raises LayoutError when a cluster is there already.
        """
        directory = directory.resolve()
        if layouts.state_path(directory).exists():
            raise LayoutError(f"there is a cluster under {directory} already")
        for node in layout.nodes:
            home = layouts.node_directory(directory, node.node_id)
            home.mkdir(parents=True, exist_ok=True)
            text = layouts.node_config(layout, node.node_id, home / "data", log_level)
            layouts.config_path(directory, node.node_id).write_text(text)
        layouts.save(directory, layout)
        return cls(directory, layout, enter)

    @classmethod
    def open(cls, directory: Path) -> LocalCluster:
        """The cluster that is there. Raises LayoutError when there is none."""
        directory = directory.resolve()
        return cls(directory, layouts.load(directory))

    @property
    def engine(self) -> str:
        """What replicates."""
        return self._layout.engine

    def configure(
        self,
        node_id: int,
        *,
        seen: tuple[NodeLayout, ...] | None = None,
        settings: Mapping[str, layouts.Setting] | None = None,
    ) -> None:
        """Rewrites a node's configuration, for its next start: ``seen`` are other addresses for its peers than they
        have (relays that can be cut, say), ``settings`` are keys beyond those of ``layout.node_config``, or other
        values for them. What was given before and is None now stays."""
        if seen is not None:
            self._seen[node_id] = seen
        if settings is not None:
            self._settings[node_id] = settings
        home = layouts.node_directory(self.directory, node_id)
        layout = replace(self._layout, nodes=self._seen.get(node_id, self._layout.nodes))
        text = layouts.node_config(layout, node_id, home / "data", settings=self._settings.get(node_id))
        layouts.config_path(self.directory, node_id).write_text(text)

    @property
    def cluster_id(self) -> str:
        return self._layout.cluster_id

    @property
    def nodes(self) -> tuple[NodeLayout, ...]:
        return self._layout.nodes

    @property
    def node_ids(self) -> list[int]:
        return [node.node_id for node in self._layout.nodes]

    @property
    def servers(self) -> list[str]:
        """The client addresses, host:port."""
        return [node.client_address for node in self._layout.nodes]

    def refresh(self) -> None:
        """Takes up what another launcher has done to the same cluster. Raises LayoutError when it is gone."""
        self._layout = layouts.load(self.directory)

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Holds the cluster against other launchers. Raises ClusterBusy at once when one holds it."""
        with (self.directory / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ClusterBusy(
                    f"another quorumlog is starting or stopping the cluster under {self.directory}"
                ) from None
            yield

    # -- questions ----------------------------------------------------------------------------------------------

    def process(self, node_id: int) -> ProcessIdentity | None:
        """The node's process if it lives (also paused)."""
        self._reap(node_id)
        process = self._layout.node(node_id).process
        return process if process is not None and process.alive() else None

    def usage(self, node_id: int) -> ProcessUsage | None:
        """What the node's process has used so far; None when it does not live."""
        process = self.process(node_id)
        return process.usage() if process else None

    def running(self) -> list[int]:
        """The ids of the nodes whose processes live."""
        return [node_id for node_id in self.node_ids if self.process(node_id)]

    def log_tail(self, node_id: int, lines: int = LOG_LINES_SHOWN) -> str:
        """The last lines that the node wrote."""
        try:
            text = layouts.log_path(self.directory, node_id).read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    # -- life ---------------------------------------------------------------------------------------------------

    def start_node(self, node_id: int) -> None:
        """Starts the node's process unless it lives; does not wait for it to serve."""
        if self.process(node_id):
            return
        config = layouts.config_path(self.directory, node_id)
        command = [sys.executable, "-m", "quorumlog.server", "--config", str(config)]
        with layouts.log_path(self.directory, node_id).open("ab") as log:
            child = subprocess.Popen(
                [*self._enter.get(node_id, ()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=_node_environment(),
                start_new_session=True,
            )
        self._children[node_id] = child
        # A child that has already ended is still there as a zombie, so its identity can always be read.
        self._remember(node_id, ProcessIdentity.of(child.pid))

    def start(self) -> list[int]:
        """Starts every node that is not running; returns their ids."""
        missing = [node_id for node_id in self.node_ids if not self.process(node_id)]
        for node_id in missing:
            self.start_node(node_id)
        return missing

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Waits until every node serves and one of them leads the controller: the cluster takes any request.

        Raises NodeFailed as soon as a process ends, or when the time is up.
        """
        deadline = time.monotonic() + timeout_s
        probes = {node.node_id: NodeProbe(node.client_address) for node in self.nodes}
        try:
            for node_id, probe in probes.items():
                while not probe.serving():
                    self._check_starting(node_id, deadline, "did not come to serve")
                    time.sleep(POLL_S)
            while not any((answer := probe.metadata()) and answer.controller_node_id for probe in probes.values()):
                self._check_starting(self.node_ids[0], deadline, "knows no controller")
                time.sleep(POLL_S)
        finally:
            for probe in probes.values():
                probe.close()

    def send_signal(self, node_id: int, signum: signal.Signals) -> None:
        """Signals the node's process and does not wait for anything. No effect on a dead one."""
        process = self._layout.node(node_id).process
        if process is not None:
            process.send(signum)

    def kill(self, node_id: int) -> None:
        """SIGKILL; returns when the kernel has taken the process."""
        self.send_signal(node_id, signal.SIGKILL)
        process = self._layout.node(node_id).process
        if process is not None:
            process.wait(STOP_TIMEOUT_S)
        self._reap(node_id)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> list[int]:
        """SIGTERM to every node; SIGKILL to those that still live after ``timeout_s``, whose ids are returned."""
        living = {node_id: process for node_id in self.node_ids if (process := self.process(node_id))}
        for process in living.values():
            process.send(signal.SIGTERM)
            process.send(signal.SIGCONT)
        deadline = time.monotonic() + timeout_s
        stubborn = [
            node_id
            for node_id, process in living.items()
            if not process.wait(max(0.0, deadline - time.monotonic())) and process.alive()
        ]
        for node_id in stubborn:
            self.kill(node_id)
        for node_id in living:
            self._reap(node_id)
        return stubborn

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- within -------------------------------------------------------------------------------------------------

    def _check_starting(self, node_id: int, deadline: float, complaint: str) -> None:
        """Raises NodeFailed if any node's process has ended, or the deadline is over."""
        for each in self.node_ids:
            if not self.process(each):
                raise NodeFailed(f"node {each} ended; it said last:\n{self.log_tail(each)}")
        if time.monotonic() > deadline:
            raise NodeFailed(f"node {node_id} {complaint} in time; it said last:\n{self.log_tail(node_id)}")

    def _remember(self, node_id: int, process: ProcessIdentity) -> None:
        # Another launcher may have started other nodes meanwhile: change this node's line only.
        self._layout = layouts.load(self.directory).with_process(node_id, process)
        layouts.save(self.directory, self._layout)

    def _reap(self, node_id: int) -> None:
        child = self._children.get(node_id)
        if child is not None and child.poll() is not None:
            del self._children[node_id]


def _node_environment() -> dict[str, str]:
    """Ours without QUORUMLOG_…: to a node these are configuration and win over its file."""
    return {name: value for name, value in os.environ.items() if not name.startswith("QUORUMLOG_")}
