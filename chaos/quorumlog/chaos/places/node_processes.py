"""Nodes that are processes of this machine, started by the launcher: their lives and their logs.

What lies between them is each place's own affair.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from typing import TYPE_CHECKING

from quorumlog.chaos.places.log_words import LogWords
from quorumlog.chaos.places.place import NotPossible
from quorumlog.cluster import layout as layouts
from quorumlog.cluster.launcher import STOP_TIMEOUT_S

if TYPE_CHECKING:
    from pathlib import Path

    from quorumlog.cluster.launcher import LocalCluster

_LOOK_S = 0.002


class NodeProcesses:
    """See the module. ``cluster`` is nobody else's: its methods may not be called from two threads at once."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self._launching = asyncio.Lock()
        self._words = LogWords()

    async def start(self) -> None:
        """All of them; returns when the cluster takes requests. Raises NodeFailed."""
        async with self._launching:
            await asyncio.to_thread(self.cluster.start)
            await asyncio.to_thread(self.cluster.wait_ready)

    async def end(self) -> None:
        """Kills those that live."""
        for node in self.cluster.node_ids:
            await self.kill(node)

    async def keep_logs(self, directory: Path) -> None:
        for node in self.cluster.node_ids:
            said = layouts.log_path(self.cluster.directory, node)
            if said.exists():
                await asyncio.to_thread(shutil.copyfile, said, directory / f"node-{node}.log")

    def said(self, node: int, word: str) -> int:
        return self._words.count(layouts.log_path(self.cluster.directory, node), word)

    def running(self, node: int) -> bool:
        process = self.cluster.process(node)
        return process is not None and not process.paused()

    async def kill(self, node: int) -> None:
        async with self._launching:
            await asyncio.to_thread(self.cluster.kill, node)

    async def stop(self, node: int) -> None:
        process = self.cluster.process(node)
        if process is None:
            return
        process.send(signal.SIGTERM)
        process.send(signal.SIGCONT)
        if not await asyncio.to_thread(process.wait, STOP_TIMEOUT_S):
            raise NotPossible(f"node {node} was told to stop and still lives {STOP_TIMEOUT_S:.0f} s later")

    async def start_node(self, node: int) -> None:
        async with self._launching:
            await asyncio.to_thread(self.cluster.start_node, node)

    async def pause(self, node: int) -> None:
        """Returns when it has stopped: a signal takes its time, all the more with many threads."""
        process = self.cluster.process(node)
        if process is None:
            return
        process.send(signal.SIGSTOP)
        while process.alive() and not process.paused():  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(_LOOK_S)

    async def resume(self, node: int) -> None:
        self.cluster.send_signal(node, signal.SIGCONT)


class PlaceOfProcesses:
    """What places have in common whose nodes are such processes: all that concerns their lives.

    A place sets ``_begun`` once it has laid its cluster out.
    """

    _begun: NodeProcesses | None = None

    @property
    def _processes(self) -> NodeProcesses:
        if self._begun is None:
            raise NotPossible("this cluster has not been started")
        return self._begun

    @property
    def servers(self) -> list[str]:
        return self._processes.cluster.servers

    async def keep_logs(self, directory: Path) -> None:
        if self._begun is not None:
            await self._begun.keep_logs(directory)

    def said(self, node: int, word: str) -> int:
        return self._processes.said(node, word)

    def running(self, node: int) -> bool:
        return self._processes.running(node)

    async def kill(self, node: int) -> None:
        await self._processes.kill(node)

    async def stop(self, node: int) -> None:
        await self._processes.stop(node)

    async def start_node(self, node: int) -> None:
        await self._processes.start_node(node)

    async def pause(self, node: int) -> None:
        await self._processes.pause(node)

    async def resume(self, node: int) -> None:
        await self._processes.resume(node)
