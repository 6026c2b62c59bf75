"""``quorumlog group verify`` finds damage that is planted: committed offsets altered in the checkpoints of stopped
nodes, with checksums made right again, as no disk fault would and only a comparison can find."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from quorumlog.client import Admin, Producer
from quorumlog.client.claim import Claim
from quorumlog.cluster.throwaway import running_cluster
from quorumlog.machine import PartitionMachine
from quorumlog.machine.offset_commands import Fingerprint
from quorumlog.storage.checkpoint import encode_checkpoint, read_head, read_state
from quorumlog.storage.files import OsFiles, write_new_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from quorumlog.cluster.launcher import LocalCluster
    from quorumlog.machine.offset_results import Stored

COMMAND = [sys.executable, "-c", "from quorumlog.cluster.cli import main; main()"]
TOPIC = "damaged"
SEGMENT_BYTES = 1 << 16
RECORD = bytes(1000)
RECORDS = 400
DEADLINE_S = 30.0
HOUR_MS = 3_600_000


def ahead_of_log(stored: Stored) -> Stored:
    return stored._replace(offset=1_000_000)


def another_record(stored: Stored) -> Stored:
    return stored._replace(fingerprint=Fingerprint(1, 12345))


def long_unmoved(stored: Stored) -> Stored:
    return stored._replace(wall_ms=stored.wall_ms - HOUR_MS)


def slightly_lower(stored: Stored) -> Stored:
    return stored._replace(offset=stored.offset - 1)


EVERYWHERE: dict[str, Callable[[Stored], Stored]] = {
    "ahead": ahead_of_log,
    "changed": another_record,
    "stuck": long_unmoved,
}
ON_ONE_NODE: dict[str, Callable[[Stored], Stored]] = {"lone": slightly_lower}


async def prepare(cluster: LocalCluster, retention_bytes: int) -> None:
    """Groups that have committed, and so many records afterwards that the commits are below a checkpoint. Group
    "stuck" keeps its owner, whose process goes without a word."""
    # An hour old: what waits for "stuck" has waited for long.
    old_ms = time.time_ns() // 1_000_000 - HOUR_MS
    async with Admin(cluster.servers) as admin, Producer(cluster.servers) as producer:
        await admin.create_topic(
            TOPIC,
            segment_bytes=SEGMENT_BYTES,
            max_batch_bytes=SEGMENT_BYTES // 2,
            retention_bytes=retention_bytes,
        )
        for _ in range(RECORDS // 2):
            await producer.send(TOPIC, RECORD, timestamp_ms=old_ms)
        await producer.flush()
        for group in ("ahead", "changed", "lone", "sound", "stuck"):
            claim = await Claim.open(cluster.servers, group, TOPIC, 0)
            await claim.commit(RECORDS // 2 - 1)
            if group == "stuck":
                await claim.end()
            else:
                await claim.close()
        for _ in range(RECORDS // 2):
            await producer.send(TOPIC, RECORD)
            # Each in a batch of its own: segments are sealed between batches.
            await producer.flush()


def newest_checkpoint(cluster: LocalCluster, node_id: int) -> Path:
    """Of the topic's partition: the replica with more than its first checkpoint."""
    groups = cluster.directory / f"node-{node_id}" / "data" / "groups"
    found = [path for path in groups.glob("*/replica-*/*.checkpoint") if int(path.name[:20])]
    return max(found, key=lambda path: path.name)


def alter(path: Path, changes: dict[str, Callable[[Stored], Stored]]) -> None:
    """Rewrites a checkpoint with other stored offsets, and with valid checksums."""
    files = OsFiles()
    head = read_head(files, str(path))
    machine = PartitionMachine()
    machine.restore(read_state(files, head))
    for name, change in changes.items():
        group = machine.offsets.get(name)
        assert group is not None, f"{name} committed after this checkpoint"
        assert group.stored is not None
        group.stored = change(group.stored)
    path.unlink()
    content = encode_checkpoint(head.group_id, head.checkpoint, machine.snapshot())
    write_new_file(files, str(path.parent), path.name, content)


def verify(cluster: LocalCluster) -> tuple[int, dict[str, Any], str]:
    """Exit code, findings by group, and what a person is shown."""
    environment = os.environ | {"QUORUMLOG_SERVERS": ",".join(cluster.servers), "COLUMNS": "250"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, "group", "verify", "--topic", TOPIC, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)

    told = run("--format", "json")
    (partition,) = json.loads(told.stdout)
    return told.returncode, {each["group"]: each for each in partition["groups"]}, run().stdout


@pytest.mark.slow
async def test_damage_planted_in_checkpoints_is_found_by_name(engine: str) -> None:
    with running_cluster(engine=engine) as cluster:
        await prepare(cluster, 0)
        code, findings, _ = await asyncio.to_thread(verify, cluster)
        assert code == 0
        assert {each["finding"] for each in findings.values()} == {"ok"}

        for node_id in cluster.node_ids:
            cluster.kill(node_id)
        for node_id in cluster.node_ids:
            alter(newest_checkpoint(cluster, node_id), EVERYWHERE)
        alter(newest_checkpoint(cluster, 3), ON_ONE_NODE)
        cluster.start()
        await asyncio.to_thread(cluster.wait_ready)

        code, findings, shown = await asyncio.to_thread(verify, cluster)
        assert code == 4
        assert {group: each["finding"] for group, each in findings.items()} == {
            "ahead": "ahead-of-log",
            "changed": "fingerprint-mismatch",
            "lone": "replicas-disagree",
            "sound": "ok",
            "stuck": "stuck",
        }
        lone = findings["lone"]["explanation"]
        assert lone.startswith(f"nodes 1, 2: offset {RECORDS // 2 - 1} ")
        assert f"node 3: offset {RECORDS // 2 - 2} " in lone
        assert "fingerprint-mismatch" in shown
        assert "sound" not in shown


async def test_an_offset_whose_records_were_removed_is_found_evicted(engine: str) -> None:
    with running_cluster(engine=engine) as cluster:
        await prepare(cluster, 2 * SEGMENT_BYTES)
        async with Admin(cluster.servers) as admin, asyncio.timeout(DEADLINE_S):
            while True:
                (log,) = (await admin.list_offsets(TOPIC)).values()
                if log.start_offset >= RECORDS // 2:
                    break
                await asyncio.sleep(0.2)
        code, findings, _ = await asyncio.to_thread(verify, cluster)
    assert code == 4
    assert {each["finding"] for each in findings.values()} == {"evicted"}
    assert "were never processed" in findings["sound"]["explanation"]
