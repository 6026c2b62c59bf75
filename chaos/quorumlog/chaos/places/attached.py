"""A cluster of the user's own, which was there before and stays: harmed only with the commands they have granted.

Nothing is believed of a command but its effect: a node that was killed must stop accepting connections, one that
was paused must stop answering. What was done and not undone is undone at the end, whatever has happened in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quorumlog.chaos.places.grants import COMMANDS_OF, LOG, Grants, read_grants
from quorumlog.chaos.places.log_words import LogWords
from quorumlog.chaos.places.place import (
    GOOD,
    Ability,
    DiskOrder,
    LinkCondition,
    LinkCounts,
    NotPossible,
    PlaceKind,
)
from quorumlog.client import Admin, QuorumlogError
from quorumlog.cluster.probe import NodeProbe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["AttachedPlace", "lacks", "read_grants"]

#: A command that hangs must not hang the run.
COMMAND_TIMEOUT_S = 30.0
#: For a command's effect to be seen.
EFFECT_TIMEOUT_S = 10.0
_LOOK_S = 0.05


def lacks() -> dict[Ability, str]:
    """What no grant allows, and why."""
    why = {
        Ability.SHAPE: "there is no command for slow links: run it with --where local",
        Ability.DISK: "disks of a cluster that was there before are left alone",
        Ability.FILES: "files of a cluster that was there before are left alone",
        Ability.CLOCK: "clocks of a cluster that was there before are left alone",
        Ability.SMALL_DISK: "disks of a cluster that was there before are left alone",
    }
    return {ability: why[ability] for ability in Ability if ability not in COMMANDS_OF}


class AttachedPlace:
    """See the module. ``seeds`` are some of its nodes' client addresses, host:port."""

    kind = PlaceKind.ATTACHED

    def __init__(self, seeds: Sequence[str], grants: Grants) -> None:
        self.engine = grants.engine
        self.nodes = tuple(grants.nodes)
        self.abilities = grants.abilities
        self.lacks: Mapping[Ability, str] = lacks() | grants.lacks
        self._seeds = list(seeds)
        self._grants = grants
        self._addresses: dict[int, str] = {}
        self._logs: Path | None = None
        self._followers: list[subprocess.Popen[bytes]] = []
        self._words = LogWords()
        self._down: set[int] = set()
        self._paused: set[int] = set()
        self._disconnected: set[int] = set()
        self._conditions: dict[tuple[int, int], LinkCondition] = {}

    @property
    def servers(self) -> list[str]:
        if not self._addresses:
            raise NotPossible("nobody has looked for this cluster yet")
        return [self._addresses[node] for node in self.nodes]

    # --- life

    async def start(self) -> None:
        try:
            async with Admin(self._seeds) as admin:
                cluster = await admin.metadata()
                engine = (await admin.describe_node(self._seeds[0])).engine
        except QuorumlogError as error:
            raise NotPossible(f"no cluster answers at {', '.join(self._seeds)}: {error}") from None
        there = {node.node_id: node.address for node in cluster.nodes}
        if sorted(there) != list(self.nodes):
            raise NotPossible(f"the cluster has nodes {sorted(there)}, the grants {list(self.nodes)}")
        if engine != self.engine:
            raise NotPossible(f"the cluster runs engine {engine!r}, the grants say {self.engine!r}")
        self._addresses = there
        self._logs = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="quorumlog-attached-"))
        for node in self.nodes:
            self._followers.append(_follow(self._grants.of_node(LOG, node), self._log(node)))

    async def close(self) -> None:
        """Undoes what is not undone, stops following the logs."""
        undone: list[NotPossible] = []
        for undo, whom in (
            (self.resume, self._paused),
            (self.start_node, self._down),
            (self.reconnect, self._disconnected),
        ):
            for node in sorted(whom):
                try:
                    await undo(node)
                except NotPossible as error:
                    undone.append(error)
        for pair in sorted(self._conditions):
            try:
                await self.set_link(*pair, GOOD)
            except NotPossible as error:
                undone.append(error)
        for follower in self._followers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(follower.pid, signal.SIGKILL)
            await asyncio.to_thread(follower.wait)
        self._followers.clear()
        if self._logs is not None:
            await asyncio.to_thread(shutil.rmtree, self._logs, ignore_errors=True)
            self._logs = None
        if undone:
            raise NotPossible("could not be undone: " + "; ".join(str(error) for error in undone))

    async def keep_logs(self, directory: Path) -> None:
        if self._logs is not None:
            for node in self.nodes:
                await asyncio.to_thread(shutil.copyfile, self._log(node), directory / f"node-{node}.log")

    def said(self, node: int, word: str) -> int:
        """Since ``start``."""
        return self._words.count(self._log(node), word)

    def _log(self, node: int) -> Path:
        if self._logs is None:
            raise NotPossible("nobody follows this cluster's logs")
        return self._logs / f"node-{node}.log"

    # --- processes

    def running(self, node: int) -> bool:
        return node not in self._down and node not in self._paused

    async def kill(self, node: int) -> None:
        await self._end(node, "kill")

    async def stop(self, node: int) -> None:
        await self._end(node, "stop")

    async def _end(self, node: int, command: str) -> None:
        if node in self._down:
            return
        granted = self._grants.of_node(command, node)
        # Noted before it is run: it may do its work and still fail, and then there is something to undo.
        self._down.add(node)
        await self._do(granted)
        await self._see(lambda: not _accepts(self._addresses[node]), f"node {node} still accepts connections")
        self._paused.discard(node)

    async def start_node(self, node: int) -> None:
        if node in self._down:
            await self._do(self._grants.of_node("start", node))
            self._down.discard(node)

    async def pause(self, node: int) -> None:
        if node not in self._down and node not in self._paused:
            granted = self._grants.of_node("pause", node)
            self._paused.add(node)
            await self._do(granted)
            await self._see(lambda: not _answers(self._addresses[node]), f"node {node} still answers")

    async def resume(self, node: int) -> None:
        if node in self._paused:
            await self._do(self._grants.of_node("resume", node))
            self._paused.discard(node)

    # --- links

    async def set_link(self, source: int, target: int, condition: LinkCondition) -> None:
        if condition.delays:
            raise NotPossible(self.lacks[Ability.SHAPE])
        pair = (source, target)
        if condition == self._conditions.get(pair, GOOD):
            return
        if pair in self._conditions:
            await self._do(self._grants.of_link("heal", source, target))
            del self._conditions[pair]
        if condition != GOOD:
            granted = self._grants.of_link("reject" if condition.reject else "cut", source, target)
            self._conditions[pair] = condition
            await self._do(granted)

    async def reset_link(self, source: int, target: int) -> None:
        await self._do(self._grants.of_link("reset", source, target))

    async def link_counts(self, source: int, target: int) -> LinkCounts:
        """Nobody counts here: what a fault did is seen in what nodes say."""
        return LinkCounts()

    async def disconnect(self, node: int) -> None:
        if node not in self._disconnected:
            granted = self._grants.of_node("disconnect", node)
            self._disconnected.add(node)
            await self._do(granted)

    async def reconnect(self, node: int) -> None:
        if node in self._disconnected:
            await self._do(self._grants.of_node("reconnect", node))
            self._disconnected.discard(node)

    # --- disks, files, clocks

    async def order_disk(self, node: int, order: DiskOrder) -> Mapping[str, Any]:
        raise NotPossible(self.lacks[Ability.DISK])

    async def order_clock(self, node: int, *, jump_ms: int = 0, drift: float = 0.0) -> None:
        raise NotPossible(self.lacks[Ability.CLOCK])

    def data_directory(self, node: int) -> Path:
        raise NotPossible(self.lacks[Ability.FILES])

    # --- within

    async def _do(self, command: str) -> None:
        await asyncio.to_thread(_run, command)

    async def _see(self, effect: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + EFFECT_TIMEOUT_S
        while not await asyncio.to_thread(effect):
            if time.monotonic() > deadline:
                raise NotPossible(f"{complaint} {EFFECT_TIMEOUT_S:.0f} s after the command")
            await asyncio.sleep(_LOOK_S)


def _run(command: str) -> None:
    """Raises NotPossible when it fails."""
    try:
        done = subprocess.run(
            command, shell=True, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotPossible(f"{command!r} did not end within {COMMAND_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise NotPossible(f"{command!r} failed: {said or f'exit code {done.returncode}'}")


def _follow(command: str, log: Path) -> subprocess.Popen[bytes]:
    """The command's output goes straight into the file; in a session of its own, so that all of it can be ended."""
    with log.open("wb") as sink:
        return subprocess.Popen(
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _accepts(address: str) -> bool:
    """Somebody listens there."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0):
            return True
    except OSError:
        return False


def _answers(address: str) -> bool:
    with NodeProbe(address) as probe:
        return probe.serving()
