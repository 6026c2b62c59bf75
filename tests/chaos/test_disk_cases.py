"""What disks do to real processes: no acknowledged record or commit is lost, nothing corrupt is served, the cluster
goes on, and the node whose disk it was heals itself and says what happened."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest
from chaos.disk_cluster import DiskCluster, disk_cluster

from quorumlog.chaos.faults.fault import READY
from quorumlog.chaos.faults.files import Groups, Where, segments, spots_of
from quorumlog.chaos.places import fault_door
from quorumlog.chaos.places.place import DiskOrder
from quorumlog.machine import FIRST_TOPIC_GROUP_ID

if TYPE_CHECKING:
    from pathlib import Path

#: Of partition 0, which is written to all the time. A log at rest is written to only for its last word, and if that
#: goes astray nothing is missing.
SEGMENTS = f"groups/{FIRST_TOPIC_GROUP_ID}/*.segment*"


async def test_power_loss_of_one_of_five_while_two_are_paused_and_then_of_those() -> None:
    async with disk_cluster(nodes=5) as disks:
        for unlucky, paused in ((1, (2, 3)), (4, (1, 5))):
            await disks.hang_mid_write(unlucky)
            for node in paused:
                disks.cluster.send_signal(node, signal.SIGSTOP)
            lost = await disks.order(unlucky, DiskOrder("power", seed=unlucky))
            assert lost["unsynced"] > 0
            await disks.kill(unlucky)
            await disks.start(unlucky)
            await disks.more()
            for node in paused:
                disks.cluster.send_signal(node, signal.SIGCONT)
            await disks.more()
        await disks.account()
        await disks.healed()


async def test_power_loss_of_all_at_once_with_writes_under_way() -> None:
    async with disk_cluster() as disks:
        for round_number in range(2):
            await disks.more()
            await disks.hang_mid_write(1, 2, 3)
            lost = [await disks.order(node, DiskOrder("power", seed=round_number)) for node in (1, 2, 3)]
            assert all(answer["unsynced"] > 0 for answer in lost), "nothing was under way: the case shows nothing"
            await disks.kill(1, 2, 3)
            lives = [disks.said(node, READY) for node in (1, 2, 3)]
            await disks.start(1, 2, 3)
            # A majority is enough for the load; the next blow wants all of them.
            await disks.until(
                lambda before=tuple(lives): all(
                    disks.said(node, READY) > count for node, count in zip((1, 2, 3), before, strict=True)
                ),
                "all serve again",
            )
            await disks.more()
        await disks.account()
        await disks.healed()


@pytest.mark.parametrize("operation", ["sync", "write"])
async def test_one_io_error_of_the_leaders_log_costs_that_replica_and_nothing_else(operation: str) -> None:
    async with disk_cluster() as disks:
        leader = await disks.leader()
        await disks.order(leader, DiskOrder("fail", operation, "EIO", SEGMENTS))
        await disks.until(lambda: disks.said(leader, "ReplicaDamaged"), "the node says that a replica is damaged")
        await disks.more()
        await disks.until(lambda: disks.said(leader, "ReplicaReplaced"), "the replica is replaced")
        await disks.account()
        await disks.healed()
        assert disks.said(leader, "ReplicaDamaged") == 1


async def test_a_full_disk_passes_leadership_on_and_has_everything_again_when_there_is_room() -> None:
    async with disk_cluster() as disks:
        leader = await disks.leader()
        await disks.order(leader, DiskOrder("full", bytes=20_000))
        await disks.until(lambda: disks.said(leader, "DiskFull"), "the node says that its disk is full")
        await disks.led_by_another_than(leader)
        await disks.more(100)
        await disks.order(leader, DiskOrder("heal"))
        await disks.until(lambda: disks.said(leader, "DiskFreed"), "the node says that there is space again")
        await disks.account()
        await disks.healed()
        assert not disks.refused, "no append failed: the producer waits for the next leader"
        assert not disks.said(leader, "ReplicaDamaged")


async def test_a_disk_that_hangs_costs_its_node_the_leadership_only() -> None:
    async with disk_cluster() as disks:
        leader = await disks.leader()
        await disks.order(leader, DiskOrder("slow", slow_ms=3_600_000))
        await disks.until(lambda: disks.said(leader, "DiskStalled"), "the node says that its disk hangs")
        await disks.led_by_another_than(leader)
        await disks.more(100)
        await disks.order(leader, DiskOrder("heal"))
        await disks.account()
        await disks.healed()


async def test_a_replica_whose_log_cannot_be_read_at_the_start_is_replaced_and_the_others_serve() -> None:
    async with disk_cluster() as disks:
        victim = await disks.leader()
        group = next(g for g, r in (await disks.replicas(victim)).items() if (r.topic, r.partition) == ("disks", 0))
        await disks.kill(victim)
        fault_door.leave_orders(
            disks.door(victim), [DiskOrder("fail", "read", "EIO", f"groups/{group}/*-0/*.segment")]
        )
        await disks.start(victim)
        await disks.until(lambda: disks.said(victim, "ReplicaReplaced"), "the replica is replaced")
        await disks.more()
        await disks.account()
        await disks.healed()
        assert disks.said(victim, "ReplicaDamaged") == 1


async def test_a_replica_that_cannot_be_renewed_on_a_full_disk_is_renewed_when_there_is_room() -> None:
    async with disk_cluster() as disks:
        victim = await disks.leader()
        # In this order: a replica that is lost before the disk is full is renewed at once.
        await disks.order(victim, DiskOrder("fail", "write", "ENOSPC", "groups/*/replica-1*", times=0))
        await disks.order(victim, DiskOrder("fail", "write", "EIO", SEGMENTS))
        await disks.until(lambda: disks.said(victim, "could not be renewed"), "the new replica finds no space")
        await disks.more()
        await disks.order(victim, DiskOrder("heal"))
        await disks.until(lambda: disks.said(victim, "ReplicaReplaced"), "the replica is replaced")
        await disks.account()
        await disks.healed()


async def test_fsyncs_that_lie_and_a_power_loss_on_a_minority_cost_nothing_that_was_acknowledged() -> None:
    async with disk_cluster(nodes=5) as disks:
        for node in (1, 2):
            # The controller and the topic are on all five nodes; a coordinator of three would lose its majority.
            await disks.order(node, DiskOrder("lie", files="groups/1*"))
        await disks.more(100)
        for node in (1, 2):
            lost = await disks.order(node, DiskOrder("power", seed=node))
            assert lost["lied"] > 0
            assert lost["lost_writes"] > 0
            await disks.kill(node)
        await disks.more()
        await disks.start(1, 2)
        await disks.more()
        await disks.account()
        await disks.healed()


@pytest.mark.parametrize("what", ["misdirect", "stale"])
async def test_a_write_that_went_astray_is_noticed_when_the_node_comes_back(what: str) -> None:
    async with disk_cluster() as disks:
        victim = await disks.leader()
        await disks.order(victim, DiskOrder(what, files=SEGMENTS, seed=1))
        await disks.more()
        await disks.kill(victim)
        await disks.start(victim)
        await disks.until(lambda: disks.said(victim, "ReplicaReplaced"), "the replica is replaced")
        await disks.more()
        await disks.account()
        await disks.healed()


# --- damage at rest


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(bytes(data))


async def damage(disks: DiskCluster, node: int, where: Where, groups: Groups) -> int:
    """Flips a bit in every such file of the node; how many."""
    spots = spots_of(disks.data(node), where, groups)
    for path, start, end in spots:
        flip(path, (start + end) // 2)
    return len(spots)


async def at_rest(disks: DiskCluster) -> None:
    """Nothing has been written for a while, and every log vouches for its end."""
    disks.stop_load()
    await disks.ended
    async with asyncio.timeout(15):
        while True:
            told = [await disks.replicas(node) for node in disks.cluster.node_ids]
            if all(replicas and all(one.quiet for one in replicas.values()) for replicas in told):
                break
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.1)


async def damage_and_start(disks: DiskCluster, victims: list[int], where: Where, groups: Groups) -> None:
    """The victims come back with a flipped bit in every such file, say so, and heal."""
    await at_rest(disks)
    await disks.kill(*victims)
    before = {victim: disks.words(victim) for victim in victims}
    assert all([await damage(disks, victim, where, groups) for victim in victims]), where
    await disks.start(*victims)
    for victim in victims:
        await disks.until(
            lambda victim=victim: disks.words(victim) > before[victim],
            f"node {victim} says what it found in the {where}",
        )
    await disks.healed()


@pytest.mark.parametrize("nodes", [3, 5], ids=["one-of-three", "two-of-five"])
async def test_a_flipped_bit_is_noticed_never_served_and_healed_from_the_others(nodes: int) -> None:
    async with disk_cluster(nodes=nodes) as disks:
        await disks.until(
            lambda: all(len(spots_of(disks.data(n), Where.SEALED, Groups.PARTITIONS)) >= 4 for n in (1, 2)),
            "segments are sealed",
        )
        victims = list(disks.cluster.node_ids)[: (nodes - 1) // 2]
        for where in (Where.SEALED, Where.TAIL, Where.CHECKPOINT, Where.VOTE):
            await damage_and_start(disks, victims, where, Groups.PARTITIONS)
        for victim in victims:
            assert disks.said(victim, "ReplicaReplaced") >= 2
        await disks.account()


async def test_damage_to_the_controllers_or_a_coordinators_replica_is_healed_as_any_other() -> None:
    async with disk_cluster() as disks:
        for victim, groups in ((1, Groups.CONTROLLER), (2, Groups.COORDINATORS)):
            for where in (Where.TAIL, Where.VOTE):
                await damage_and_start(disks, [victim], where, groups)
            assert disks.said(victim, "ReplicaReplaced")
        await disks.account()


async def test_a_damaged_identity_is_taken_from_its_copy() -> None:
    async with disk_cluster() as disks:
        await disks.kill(2)
        assert await damage(disks, 2, Where.IDENTITY, Groups.PARTITIONS)
        await disks.start(2)
        await disks.until(lambda: disks.said(2, "identity repaired"), "the node says so")
        await disks.more()
        await disks.account()
        await disks.healed()


async def test_a_sealed_segment_that_lost_its_end_and_one_that_is_gone() -> None:
    async with disk_cluster() as disks:
        await disks.until(
            lambda: len(spots_of(disks.data(1), Where.SEALED, Groups.PARTITIONS)) >= 4, "segments are sealed"
        )
        await disks.kill(1)
        replicas = {path.parent for path, _, _ in spots_of(disks.data(1), Where.SEALED, Groups.PARTITIONS)}
        first, second = sorted(replicas)
        (cut, *_), (_, gone, *_) = segments(first), segments(second)
        with cut.open("r+b") as file:
            file.truncate(cut.stat().st_size - 100)
        gone.unlink()
        await disks.start(1)
        await disks.until(lambda: disks.said(1, "ReplicaReplaced") >= 2, "both replicas are replaced")
        await disks.more()
        await disks.account()
        await disks.healed()
