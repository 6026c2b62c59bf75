"""A cluster of real processes with fault doors, a steady load on it, and the account of what was acknowledged."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from quorumlog.chaos.faults.files import SAID
from quorumlog.chaos.places import fault_door
from quorumlog.chaos.places.place import DiskOrder
from quorumlog.client import Admin, Producer, QuorumlogError, Reader
from quorumlog.client.claim import Claim
from quorumlog.client.offset_admin import OffsetAdmin
from quorumlog.client.offset_types import FetchedOffset, TopicPartition
from quorumlog.cluster import layout
from quorumlog.cluster.throwaway import planned_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path
    from typing import Any

    from quorumlog.client.types import Replica
    from quorumlog.cluster.launcher import LocalCluster

TOPIC = "disks"
GROUP = "committers"
WHERE = TopicPartition(TOPIC, 0)
_LOOK_S = 0.02
_PATIENCE_S = 15.0


class DiskCluster:
    """See the module. ``acknowledged`` is what must be readable whatever happens to a minority of the disks."""

    def __init__(self, cluster: LocalCluster, admin: Admin, partitions: int) -> None:
        self.cluster = cluster
        self.admin = admin
        self.partitions = partitions
        self.acknowledged: list[bytes] = []
        self.refused: list[QuorumlogError] = []
        self.appended = 0
        """Acknowledged in partition 0: so long is its log at least."""
        self.committed: list[tuple[int, int]] = []
        """(offset, version) of acknowledged commits."""
        self._stop = asyncio.Event()
        self.ended: asyncio.Future[tuple[None, None]]
        """Done when the load has come to its end."""

    # --- load

    async def load(self) -> None:
        """Appends all the time; what fails is not counted: it may be there or not."""
        number = 0
        async with Producer(self.cluster.servers, delivery_timeout_ms=8_000) as producer:

            async def one(value: bytes, partition: int) -> None:
                try:
                    await producer.append(TOPIC, value, partition=partition)
                except QuorumlogError as error:
                    self.refused.append(error)
                else:
                    self.acknowledged.append(value)
                    self.appended += partition == 0

            tasks: set[asyncio.Task[None]] = set()
            while not self._stop.is_set():
                task = asyncio.create_task(one(b"record %06d " % number + b"x" * 300, number % self.partitions))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                number += 1
                await asyncio.sleep(0.004)
            await asyncio.gather(*tasks)

    async def commit_load(self) -> None:
        """Commits further and further all the time, taking the partition anew whenever that fails."""
        while not self._stop.is_set():
            try:
                async with await Claim.open(self.cluster.servers, GROUP, TOPIC, 0) as claim:
                    while not self._stop.is_set():
                        offset = self.appended
                        receipt = await claim.commit(offset, timeout_ms=5_000)
                        self.committed.append((offset, receipt.version))
                        await asyncio.sleep(0.02)
            except QuorumlogError:
                await asyncio.sleep(0.1)

    def stop_load(self) -> None:
        self._stop.set()

    async def more(self, count: int = 40) -> None:
        """Waits until so many more have been acknowledged: the cluster is available."""
        goal, commits = len(self.acknowledged) + count, len(self.committed)
        await self.until(lambda: len(self.acknowledged) >= goal, "appends are acknowledged")
        await self.until(lambda: len(self.committed) > commits, "commits are accepted")

    async def read_all(self) -> list[bytes | None]:
        async with Reader(self.cluster.servers, TOPIC, stop_at_end=True) as reader:
            return [record.value async for record in reader]

    async def account(self) -> None:
        """Ends the load; everything acknowledged is there, records once and nothing that was never sent."""
        self.stop_load()
        await self.ended
        offset, version = self.committed[-1]
        async with OffsetAdmin(self.cluster.servers) as offsets:
            fetched = (await offsets.fetch(GROUP, [WHERE]))[WHERE]
        assert isinstance(fetched, FetchedOffset), fetched
        assert fetched.stored is not None
        assert fetched.stored.offset >= offset
        assert fetched.stored.version >= version
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                found = await self.read_all()
                if set(self.acknowledged) <= set(found):
                    break
                raise AssertionError(f"lost: {sorted(set(self.acknowledged) - set(found))[:5]}")
        assert len(found) == len(set(found)), "a record is there twice"
        assert all(value is not None and value.startswith(b"record ") for value in found)

    # --- nodes

    def said(self, node: int, word: str) -> int:
        return layout.log_path(self.cluster.directory, node).read_text().count(word)

    def words(self, node: int) -> int:
        """What it has said about damage."""
        return sum(self.said(node, word) for word in SAID)

    def data(self, node: int) -> Path:
        return layout.node_directory(self.cluster.directory, node) / "data"

    def door(self, node: int) -> Path:
        return layout.node_directory(self.cluster.directory, node) / fault_door.DOOR_NAME

    async def order(self, node: int, order: DiskOrder) -> Mapping[str, Any]:
        return await fault_door.order_disk(self.door(node), order)

    async def hang_mid_write(self, *nodes: int) -> None:
        """From now on these disks sync nothing, and on each a sync hangs: a power loss finds what it was for. How
        much of that reaches the disk is the seed's affair."""
        for node in nodes:
            await self.order(node, DiskOrder("slow", slow_ms=60_000))
        async with asyncio.timeout(_PATIENCE_S):
            for node in nodes:
                while not (await self.order(node, DiskOrder("counts")))["slowed"]:  # noqa: ASYNC110 - as in until
                    await asyncio.sleep(_LOOK_S)

    async def kill(self, *nodes: int) -> None:
        for node in nodes:
            await asyncio.to_thread(self.cluster.kill, node)

    async def start(self, *nodes: int) -> None:
        for node in nodes:
            await asyncio.to_thread(self.cluster.start_node, node)

    async def replicas(self, node: int) -> dict[int, Replica]:
        """By group; none if the node does not answer."""
        try:
            async with asyncio.timeout(1.0):
                told = await self.admin.describe_node(self.cluster.servers[node - 1])
        except (QuorumlogError, TimeoutError):
            return {}
        return {replica.group_id: replica for replica in told.replicas}

    async def leader(self, topic: str = TOPIC, partition: int = 0) -> int:
        """Who leads that partition; waits for one."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                for node in self.cluster.node_ids:
                    for replica in (await self.replicas(node)).values():
                        if (replica.topic, replica.partition, replica.role) == (topic, partition, "leader"):
                            return node
                await asyncio.sleep(_LOOK_S)

    async def led_by_another_than(self, node: int) -> None:
        """Waits for another leader of partition 0."""
        async with asyncio.timeout(_PATIENCE_S):
            while await self.leader() == node:  # noqa: ASYNC110 - other processes make it so
                await asyncio.sleep(_LOOK_S)

    async def until(self, true: Any, what: str) -> None:
        """Waits for ``true()``."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while not true():  # noqa: ASYNC110 - other processes make it so
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            raise AssertionError(f"not in time: {what}\n{self._logs()}") from None

    async def healed(self) -> None:
        """Every replica of every group is there, a voter, undamaged, and has the others' state at their index."""
        complaint = ""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while True:
                    complaint = self._complaint({node: await self.replicas(node) for node in self.cluster.node_ids})
                    if not complaint:
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"not healed: {complaint}\n{self._logs()}") from None

    def _complaint(self, told: dict[int, dict[int, Replica]]) -> str:
        groups = sorted({group for replicas in told.values() for group in replicas})
        for group in groups:
            states = set()
            here = [replicas[group] for replicas in told.values() if group in replicas]
            newest = max(here, key=lambda one: one.applied_index)
            for node in newest.voters:
                replica = told[node].get(group)
                if replica is None:
                    return f"node {node} has no replica of group {group}"
                if replica.damage or node not in replica.voters:
                    return f"node {node}, group {group}: {replica.damage or 'no voter'}"
                states.add((replica.applied_index, replica.digest))
            if len(states) > 1:
                return f"group {group} differs: {states}"
        return "" if groups else "nobody answers"

    def _logs(self) -> str:
        return "\n".join(f"--- node {node}\n{self.cluster.log_tail(node, 25)}" for node in self.cluster.node_ids)


@asynccontextmanager
async def disk_cluster(
    nodes: int = 3, partitions: int = 2, segment_bytes: int = 64 << 10
) -> AsyncIterator[DiskCluster]:
    """Started, with a topic and load on it."""
    with planned_cluster(nodes) as cluster:
        for node in cluster.node_ids:
            door = layout.node_directory(cluster.directory, node) / fault_door.DOOR_NAME
            cluster.configure(node, settings={"faults": str(door)})
        cluster.start()
        await asyncio.to_thread(cluster.wait_ready)
        async with Admin(cluster.servers) as admin:
            await admin.create_topic(
                TOPIC, partitions, nodes, segment_bytes=segment_bytes, max_batch_bytes=segment_bytes
            )
            disks = DiskCluster(cluster, admin, partitions)
            disks.ended = asyncio.gather(disks.load(), disks.commit_load())
            try:
                await disks.more()
                yield disks
            finally:
                disks.stop_load()
                await disks.ended
