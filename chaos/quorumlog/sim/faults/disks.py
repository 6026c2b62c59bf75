"""Disks that are slow, stand still, are full, fail, lie and rot.

What destroys something that was synced is only done where the atlas allows it (``quorumlog.sim.atlas``).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from quorumlog.sim import damage
from quorumlog.sim.faults.processes import kill_node
from quorumlog.sim.host import DATA
from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from quorumlog.sim.damage import Damage
    from quorumlog.sim.faults import Fault, Undo
    from quorumlog.sim.nemesis import Nemesis

_GROUPS = f"{DATA}/groups"


def slow_disk(nemesis: Nemesis) -> Undo | None:
    """One disk takes up to a quarter of a second for what takes it a millisecond otherwise."""
    host = nemesis.cluster.hosts[nemesis.any_node()]
    before = host.slow_jobs
    host.pace.slow_us_max = 250 * MS

    def mend() -> int:
        host.pace.slow_us_max = 0
        return host.slow_jobs - before

    return mend


def stalled_disk(nemesis: Nemesis) -> Undo | None:
    """One disk finishes nothing of what it is told, and says nothing: a leader's, if there is one."""
    found = nemesis.a_leader()
    host = nemesis.cluster.hosts[nemesis.any_node() if found is None else found[1]]
    if host.stalled:
        return None
    host.stall_disk()
    return host.unstall_disk


def full_disk(nemesis: Nemesis) -> Undo | None:
    """One disk has hardly any space left: a write ends at the last free byte."""
    host = nemesis.cluster.hosts[nemesis.any_node()]
    before = nemesis.cluster.taps.events.get("DiskFull", 0)
    host.fill_disk(nemesis.random.choice((0, nemesis.random.randrange(8 << 10))))

    def mend() -> int:
        host.fill_disk(None)
        return nemesis.cluster.taps.events.get("DiskFull", 0) - before

    return mend


def _harm(nemesis: Nemesis, how: str) -> tuple[int, int, str] | None:
    """(node, group, path of its log) of a replica that may be harmed, and from here on has been."""
    found = nemesis.a_fragile_replica()
    if found is None:
        return None
    node, group = found
    path = damage.replica_path(nemesis.cluster.hosts[node].disk, _GROUPS, group)
    if path is None:
        return None
    nemesis.cluster.atlas.harm(node, group, how)
    nemesis.cluster.world.trace.note(node, "is harmed", group, how)
    return node, group, path


def failed_fsync(nemesis: Nemesis) -> Undo | None:
    """An fsync of one replica's log fails: what it was to make durable is gone, and the replica must never be
    trusted again."""
    found = _harm(nemesis, "failed fsync")
    if found is None:
        return None
    node, group, _ = found
    cluster = nemesis.cluster
    disk, part = cluster.hosts[node].disk, f"groups/{group}/"
    disk.fail_sync(part)
    before = cluster.taps.events.get("ReplicaDamaged", 0)

    def mend() -> int:
        disk.fail_sync(part, 0)
        return cluster.taps.events.get("ReplicaDamaged", 0) - before

    return mend


def _errors(kind: str, nemesis: Nemesis) -> Undo | None:
    """EIO for whatever one replica reads, or writes; now and then its node starts anew amid it."""
    found = _harm(nemesis, f"{kind} errors")
    if found is None:
        return None
    node, _, path = found
    disk = nemesis.cluster.hosts[node].disk
    disk.refuse(kind, f"{path}/")
    if nemesis.random.random() < 0.5:
        kill_node(nemesis, node)
        nemesis.later(nemesis.random.randrange(5, 50) * MS, lambda: nemesis.cluster.revive(node))

    def mend() -> int:
        nemesis.cluster.revive(node)
        return disk.allow(kind, f"{path}/")

    return mend


def lying_fsync(nemesis: Nemesis) -> Undo | None:
    """The drive says that it has written what it only holds in its memory. Whoever loses power then has lost what
    was acknowledged (``Cluster.power_off``)."""
    found = _harm(nemesis, "lying fsync")
    if found is None:
        return None
    node, _, path = found
    disk = nemesis.cluster.hosts[node].disk
    disk.lie(path)
    before = disk.lies_told

    def mend() -> int:
        disk.stop_lying(path)
        return disk.lies_told - before

    return mend


def _rot(kind: Damage, nemesis: Nemesis) -> Undo | None:
    """The files of one replica are damaged: while its node is down, so that it finds it when it starts, or while it
    runs, so that it finds it when it reads. Returns as its effect how many bytes are not what they were."""
    found = _harm(nemesis, kind.__name__)
    if found is None:
        return None
    node, group, path = found
    cluster, random = nemesis.cluster, nemesis.random
    at_rest = random.random() < 0.6
    revive = kill_node(nemesis, node) if at_rest else None
    disk = cluster.hosts[node].disk
    where, changed = damage.damage(disk, path, kind, random, silently=cluster.atlas.destroy)
    cluster.world.trace.note(node, "rots", group, where, changed)

    def undo() -> int:
        if revive is not None:
            revive()
        return changed

    return undo


FAULTS: dict[str, Fault] = {
    "slow disk": slow_disk,
    "stalled disk": stalled_disk,
    "full disk": full_disk,
    "failed fsync": failed_fsync,
    "read errors": partial(_errors, "read"),
    "write errors": partial(_errors, "write"),
    "lying fsync": lying_fsync,
    "bit flip": partial(_rot, damage.flip_bit),
    "stale block": partial(_rot, damage.stale_block),
    "misdirected write": partial(_rot, damage.misdirected_write),
    "truncation": partial(_rot, damage.truncation),
}
