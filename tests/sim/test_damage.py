"""Disks rot, lie and fail only where the last good copy is not; what rots is noticed before anything of it is
served, and the replica is made anew."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from quorumlog.replica.ids import incarnation_of
from quorumlog.sim import damage
from quorumlog.sim.atlas import FaultAtlas
from quorumlog.sim.disk import SimulatedDisk
from quorumlog.sim.explore import failure_report
from quorumlog.sim.host import DATA
from quorumlog.sim.options import Options
from quorumlog.sim.run import Run, run_seed
from quorumlog.sim.world import World

KINDS = [damage.flip_bit, damage.stale_block, damage.misdirected_write, damage.truncation]
ROTTEN = Options(
    3,
    fault_every_ms=300,
    fault_lasts_ms=400,
    duration_ms=2500,
    record_bytes=6000,
    send_every_ms=30,
    read_bytes=1,
    tail_cache_bytes=16 << 10,
    tick_ms=20,
)


def test_never_a_majority_of_a_group_is_fragile_and_every_node_is_somebodys() -> None:
    for voters in ((1, 2, 3), (1, 2, 3, 4, 5), (2, 4, 5)):
        fragile = set()
        for seed in range(10):
            atlas = FaultAtlas(World(seed))
            for group in range(1, 8):
                nodes = atlas.fragile(group, voters)
                assert 2 * len(nodes) < len(voters)
                assert nodes == atlas.fragile(group, voters) == FaultAtlas(World(seed)).fragile(group, voters)
                fragile |= set(nodes)
        assert fragile == set(voters)


def test_only_a_replica_that_was_harmed_may_call_itself_damaged() -> None:
    atlas = FaultAtlas(World(1))
    atlas.harm(2, 16, "bit flip")
    assert atlas.may_be_damaged(2, 16)
    assert not atlas.may_be_damaged(2, 17)
    assert not atlas.may_be_damaged(1, 16)
    assert atlas.harmed == 1


@pytest.fixture(scope="module")
def worn() -> SimulatedDisk:
    """A disk with a log of several segments and checkpoints."""
    run = Run(ROTTEN)
    run.result()
    return run.cluster.hosts[2].disk


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_damage_changes_durable_bytes_and_none_that_nobody_vouches_for(worn, kind) -> None:  # type: ignore[no-untyped-def]
    path = damage.replica_path(worn, f"{DATA}/groups", 16)
    assert path is not None
    places = {place.path: place for place in damage.places(worn, path)}
    assert sum(not place.whole for place in places.values()) == 1, "one segment is being written"
    assert len(places) > 3
    tail = next(place for place in places.values() if not place.whole)
    assert tail.end < len(worn.durable_content(tail.path))
    before = {name: worn.durable_content(name) for name in places}
    where, changed = damage.damage(worn, path, kind, random.Random(5))
    after = worn.durable_content(where)
    assert changed > 0
    assert after != before[where]
    assert worn.content(where) == after or where == tail.path
    assert after[places[where].end :] == before[where][places[where].end :]


@pytest.mark.parametrize("kind", ["bit flip", "stale block", "misdirected write", "truncation"])
def test_what_rots_is_noticed_and_made_anew_and_nobody_reads_it(kind: str) -> None:
    noticed = 0
    for seed in range(3):
        result = run_seed(seed, replace(ROTTEN, seed=seed, faults=(kind,)))
        assert not result.violations, failure_report(result)
        noticed += result.statistics.get("event ReplicaDamaged", 0)
    assert noticed > 0


def test_a_replica_whose_drive_lied_is_told_so_after_a_power_cut_and_replaced() -> None:
    options = replace(ROTTEN, faults=("lying fsync", "power loss of all"), fault_every_ms=150, fault_lasts_ms=600)
    run = Run(options)
    result = run.result()
    assert not result.violations, failure_report(result)
    assert result.statistics["effect lying fsync"] > 10
    assert result.statistics["event ReplicaDamaged"] > 0
    replicas = [replica for host in run.cluster.hosts.values() for _, replica in host.replicas()]
    renewed = [replica for replica in replicas if incarnation_of(replica.replica_id)]
    assert renewed
    assert all(replica.replica_id in replica.raft.configuration.voters for replica in renewed)


def test_the_suite_sees_what_is_lost_when_every_drive_lies() -> None:
    """With ``destroy`` nobody is told: acknowledged records go, and the history shows it."""
    options = replace(
        ROTTEN,
        faults=("lying fsync", "power loss of all"),
        fault_every_ms=100,
        fault_lasts_ms=600,
        destroy=True,
    )
    names = {found.name for seed in range(4) for found in run_seed(seed, replace(options, seed=seed)).violations}
    assert names & {"durable promise", "lost write", "leader completeness", "state-machine safety"}


def test_a_drive_that_stops_lying_has_kept_its_promises() -> None:
    disk = SimulatedDisk(random.Random(1))
    disk.mkdir("/group")
    disk.fsync_dir("/")
    disk.lie("/group")
    file = disk.open("/group/log", "create")
    file.pwritev([b"promised"], 0)
    file.fdatasync()
    disk.fsync_dir("/group")
    assert disk.betrayed() == ["/group", "/group/log"]
    assert disk.durable_names("/group") == []
    disk.stop_lying("/group")
    assert disk.betrayed() == []
    disk.crash()
    assert disk.content("/group/log") == b"promised"


def test_refused_reads_and_writes_are_errors_until_they_are_allowed_again() -> None:
    disk = SimulatedDisk(random.Random(1))
    file = disk.open("/log", "create")
    file.pwritev([b"x"], 0)
    disk.refuse("read", "/lo")
    disk.refuse("write", "/log")
    for refused in (lambda: file.pread(1, 0), lambda: file.pwritev([b"y"], 0)):
        with pytest.raises(OSError, match="Input/output"):
            refused()
    assert (disk.allow("read", "/lo"), disk.allow("write", "/log")) == (1, 1)
    assert file.pread(1, 0) == b"x"
