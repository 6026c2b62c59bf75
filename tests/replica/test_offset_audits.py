"""Verifying offsets on three nodes: each way of being wrong is planted, and found by name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from replica.offset_trio import EARLIEST, OffsetTrio

from quorumlog.machine import PartitionMachine
from quorumlog.machine.offset_commands import Fingerprint
from quorumlog.replica import Failure, Reason
from quorumlog.replica.events import ReplicaDamaged, ReplicaReplaced
from quorumlog.replica.offset_api import AcquireRequest, AuditBegun, Finding, Inspection
from quorumlog.storage.checkpoint import encode_checkpoint, read_head, read_state
from quorumlog.storage.files import write_new_file

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = {"segment_bytes": 1 << 16, "max_batch_bytes": 1 << 14}


def inspecting(trio: OffsetTrio, node: int, index: int) -> list[Any]:
    return trio.ask(node, lambda one, done: one.offsets.inspect("t", 0, index, 0, done))


def audit(trio: OffsetTrio) -> dict[int, Inspection]:
    """One audit, inspected on every node."""
    begun = trio.ask(trio.led(), lambda one, done: one.offsets.audit("t", 0, 0, done))[0]
    assert isinstance(begun, AuditBegun), begun
    assert begun.voters == trio.ids
    found = {}
    for node in trio.ids:
        answers = inspecting(trio, node, begun.index)
        trio.until(partial(bool, answers), within_ms=2_000)
        assert isinstance(answers[0], Inspection), answers[0]
        found[node] = answers[0]
    return found


def findings(inspection: Inspection) -> dict[str, Finding]:
    return {group.group: group.finding for group in inspection.groups}


def test_a_sound_partition_is_found_sound_on_every_replica() -> None:
    trio = OffsetTrio()
    trio.acquire("a")
    trio.commit(4, 1, group="a", fingerprint=trio.fingerprint(4))
    trio.acquire("b")
    found = audit(trio)
    assert len({inspection.digest for inspection in found.values()}) == 1
    for inspection in found.values():
        assert findings(inspection) == {"a": Finding.OK, "b": Finding.OK}
        assert (inspection.log_start, inspection.log_end) == (0, 10)
        assert [group.stored.offset for group in inspection.groups if group.stored] == [4, 0]
        assert inspection.groups[0].owner == "owner-7"


def test_commits_that_go_on_do_not_blur_what_is_compared() -> None:
    trio = OffsetTrio()
    trio.acquire()
    trio.commit(4, 1)
    lagging = trio.follower()
    trio.isolate(lagging)
    begun = trio.ask(trio.led(), lambda one, done: one.offsets.audit("t", 0, 0, done))[0]
    trio.commit(9, 2)
    waiting = trio.ask(lagging, lambda one, done: one.offsets.inspect("t", 0, begun.index, 0, done))
    assert waiting == []
    trio.heal()
    trio.until(lambda: bool(waiting), within_ms=1_400)
    there = trio.ask(trio.led(), lambda one, done: one.offsets.inspect("t", 0, begun.index, 0, done))[0]
    assert waiting[0].digest == there.digest
    assert waiting[0].groups[0].stored.offset == 4


def evicted(trio: OffsetTrio) -> None:
    trio.acquire()
    trio.commit(2, 1)
    trio.fill(120)
    trio.pass_time(11_000)


def ahead(trio: OffsetTrio) -> None:
    trio.acquire()
    trio.pass_time(300)
    for node in trio.ids:
        trio.remember(node, offset=11)


def other_record(trio: OffsetTrio) -> None:
    trio.acquire()
    trio.commit(4, 1)
    trio.pass_time(300)
    for node in trio.ids:
        trio.remember(node, fingerprint=Fingerprint(1, 12345))


def stuck(trio: OffsetTrio) -> None:
    trio.acquire()
    trio.commit(4, 1)
    trio.clock.wall_ms_ahead += 600_000


def idle(trio: OffsetTrio) -> None:
    """As stuck, but there was nothing to do."""
    trio.acquire()
    trio.commit(10, 1)
    trio.clock.wall_ms_ahead += 600_000


@pytest.mark.parametrize(
    ("plant", "finding", "words"),
    [
        (evicted, Finding.EVICTED, "were never processed"),
        (ahead, Finding.AHEAD_OF_LOG, "11 lies beyond the end"),
        (other_record, Finding.FINGERPRINT_MISMATCH, "before 4 is not the one"),
        (stuck, Finding.STUCK, "has not moved it from 4"),
        (idle, Finding.OK, "10 of version"),
    ],
)
@pytest.mark.parametrize("on_disk", [False, True])
def test_each_fault_is_found_by_name_on_every_replica(
    plant: Callable[[OffsetTrio], None], finding: Finding, words: str, on_disk: bool
) -> None:
    trio = OffsetTrio(topic={**SMALL, "retention_bytes": 1 << 17}, tail_cache_bytes=1 if on_disk else 64 << 20)
    plant(trio)
    if on_disk:
        trio.chill()
    for inspection in audit(trio).values():
        assert findings(inspection) == {"g": finding}
        assert words in inspection.groups[0].explanation


def test_an_expired_offset_is_found_expired() -> None:
    trio = OffsetTrio(offsets_retention_ms=1_000_000)
    trio.acquire()
    trio.commit(4, 1)
    trio.clock.wall_ms_ahead += 2_000_000
    trio.pass_time(66_000)
    for inspection in audit(trio).values():
        assert findings(inspection) == {"g": Finding.EXPIRED}


def altered(trio: OffsetTrio, node: int) -> None:
    """Rewrites the newest checkpoint on a node's disk with another stored offset, and with a valid checksum."""
    disk, directory = trio.disks[node], f"/data/groups/{trio.group()}/replica-0"
    name = max(name for name in disk.listdir(directory) if name.endswith(".checkpoint"))
    head = read_head(disk, f"{directory}/{name}")
    machine = PartitionMachine()
    machine.restore(read_state(disk, head))
    group = machine.offsets.get("g")
    assert group is not None
    assert group.stored is not None
    group.stored = group.stored._replace(offset=1)
    trio.kill(node)
    disk.unlink(f"{directory}/{name}")
    write_new_file(disk, directory, name, encode_checkpoint(head.group_id, head.checkpoint, machine.snapshot()))
    trio.start(node)


def test_a_replica_whose_offsets_were_altered_on_its_disk_is_found_and_put_out_of_service() -> None:
    trio = OffsetTrio(topic=SMALL)
    trio.acquire()
    trio.commit(6, 1)
    trio.fill(60)
    victim = trio.follower()
    altered(trio, victim)
    trio.pass_time(1_000)
    found = audit(trio)
    others = {inspection.digest for node, inspection in found.items() if node != victim}
    assert len(others) == 1
    assert found[victim].digest not in others
    noted = found[victim].groups[0].stored
    assert noted is not None
    assert noted.offset == 1
    # The audit's entry has taken the difference into the running digest: the replicas notice it by themselves.
    trio.fill(1_000, size=10)
    trio.pass_time(3_000)
    assert any(isinstance(event, ReplicaDamaged) for event in trio.events[victim])
    trio.until(lambda: any(isinstance(event, ReplicaReplaced) for event in trio.events[victim]))
    trio.pass_time(1_000)
    assert trio.stored(victim) == 6


def test_what_was_never_audited_is_an_error_and_an_index_to_come_is_waited_for_in_vain() -> None:
    trio = OffsetTrio()
    trio.acquire()
    applied = trio.machine(trio.led()).applied_index
    for index, reason in ((applied, Reason.INVALID_REQUEST), (applied + 1_000, Reason.DEADLINE)):
        answers = inspecting(trio, trio.led(), index)
        trio.pass_time(1_700)
        assert isinstance(answers[0], Failure)
        assert answers[0].reason is reason


def test_an_audit_of_many_groups_is_checked_without_going_deep() -> None:
    trio = OffsetTrio()
    leader = trio.led()
    print4 = trio.fingerprint(4)
    names = [f"g{number:04}" for number in range(1_500)]
    for name in names:
        asked = AcquireRequest(name, "o", 7, EARLIEST)
        trio.nodes[leader].offsets.acquire("t", 0, asked, 0, lambda done: None)
    trio.settle()
    trio.commit(4, 1, group=names[0], fingerprint=print4)
    assert list(findings(audit(trio)[leader])) == names
