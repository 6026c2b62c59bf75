"""Hunts for bugs that are planted in real processes (``quorumlog.planted``): a scenario over local nodes, run with
the bug and without it.

Prior art: the outages that gRPC's default back-off made of restarts: a node that was away for a while is there
again, and its peers look for it two minutes later.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from quorumlog.client import Admin, Producer
from quorumlog.client.errors import QuorumlogError
from quorumlog.cluster import layout
from quorumlog.cluster.asynchronous import run_tidily
from quorumlog.cluster.launcher import LocalCluster, NodeFailed
from quorumlog.cluster.throwaway import base_port, disk_directory
from quorumlog.planted.bugs import PROCESS_BUGS
from quorumlog.sim.hunt import Hunt

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The liveness bound for processes (CHAOS.md §3).
_PATIENCE_S: Final = 15.0
#: Long enough for a back-off that grows to have grown.
_AWAY_S: Final = 7.0
_TOPIC: Final = "planted"


def hunt_process(name: str) -> Hunt:
    """Runs the scenario with the bug in every node, then without it."""
    return run_tidily(_hunt(name))


async def _hunt(name: str) -> Hunt:
    bug = PROCESS_BUGS[name]
    began = time.monotonic()
    found = await _after_an_absence(name)
    seconds = time.monotonic() - began
    intact = await _after_an_absence("")
    return Hunt(
        bug=name,
        place=bug.place,
        summary=bug.summary,
        caught="liveness" in bug.expected and found.startswith("liveness"),
        tried=1,
        budget=1,
        scenario="majority with a node that was away (real processes)",
        workload="log",
        seconds=round(seconds, 1),
        finding=found,
        expected=tuple(sorted(bug.expected)),
        intact=intact,
    )


async def _after_an_absence(bug: str) -> str:
    """One node is dead for a while and comes back; then another dies for good. The two that live are connected, and
    must acknowledge a record in time. What was found; empty if nothing."""
    try:
        with _cluster(bug) as cluster:
            async with Admin(cluster.servers) as admin:
                await admin.create_topic(_TOPIC, 1, 3)
                leader = (await admin.describe_topic(_TOPIC)).partitions[0].leader
            away, gone = (node for node in cluster.node_ids if node != leader)
            cluster.kill(away)
            await asyncio.sleep(_AWAY_S)
            cluster.start_node(away)
            cluster.wait_ready()
            cluster.kill(gone)
            return await _acknowledges(cluster)
    except (NodeFailed, QuorumlogError) as error:
        return f"scenario not played: {error}"


async def _acknowledges(cluster: LocalCluster) -> str:
    async with Producer(cluster.servers, delivery_timeout_ms=_PATIENCE_S * 1000) as producer:
        try:
            await producer.append(_TOPIC, b"anybody there?", partition=0)
        except QuorumlogError as error:
            return f"liveness: no record is acknowledged within {_PATIENCE_S:.0f} s by two connected nodes: {error}"
    return ""


@contextmanager
def _cluster(bug: str) -> Iterator[LocalCluster]:
    """Three nodes that serve, each with the bug if it has a name; at the end they and their files are gone."""
    directory = Path(tempfile.mkdtemp(prefix="quorumlog-", dir=disk_directory()))
    plan = layout.plan("planted", 3, base_port())
    enter = [sys.executable, "-m", "quorumlog.planted", bug] if bug else []
    try:
        cluster = LocalCluster.lay_out(directory, plan, enter={node.node_id: enter for node in plan.nodes})
        try:
            cluster.start()
            cluster.wait_ready()
            yield cluster
        finally:
            for node_id in cluster.node_ids:
                cluster.kill(node_id)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
