"""The few names and bytes by which ``faults.files`` finds its way, held against the layout that nodes write; and
what it does to files, without a cluster."""

from __future__ import annotations

from fnmatch import fnmatchcase
from random import Random
from typing import TYPE_CHECKING

import pytest
from storage.storage_kit import VOTERS, append, commands, small

from quorumlog.chaos import targets
from quorumlog.chaos.faults import files as layout
from quorumlog.chaos.faults.disk import segments_of
from quorumlog.chaos.faults.files import Damage, Groups, How, Where, spots_of
from quorumlog.machine import FIRST_TOPIC_GROUP_ID
from quorumlog.raft.types import Checkpoint
from quorumlog.replica import events
from quorumlog.replica.ids import CONTROLLER_GROUP
from quorumlog.storage import CorruptLog, NodeDirectory, OsFiles, PartitionLog
from quorumlog.storage import checkpoint as checkpoints
from quorumlog.storage import format as segment_format

if TYPE_CHECKING:
    from pathlib import Path

GROUP = 17


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A node's directory: a partition's replica with sealed segments and a checkpoint, and the controller's."""
    directory = NodeDirectory.open(OsFiles(), str(tmp_path / "data"), "one", 1)
    for group in (CONTROLLER_GROUP, GROUP):
        log = PartitionLog.create(
            directory.files, directory.make_replica(group, 0), small(segment_bytes=8 << 10), group, 1, VOTERS
        )
        for number in range(1, 4):
            append(log, number, commands(number * 10 - 9, number * 10 + (1 if number < 3 else -5), data=b"x" * 800))
            if number < 3:
                log.roll()
        boundary = log.sealed_boundaries[0]
        job = log.checkpoint_job(Checkpoint(boundary, 1, VOTERS), b"state" * 100)
        job.run()
        log.on_done(job)
        log.vouch(0)
        last = log.write_job()
        assert last is not None
        last.run()
        log.close()
    directory.close()
    return tmp_path / "data"


def reopen(data: Path, group: int = GROUP) -> PartitionLog:
    return PartitionLog.open(OsFiles(), f"{data}/groups/{group}/replica-0", small(segment_bytes=8 << 10))


def test_names_and_positions_are_those_that_nodes_use() -> None:
    assert layout.SEGMENT == segment_format.SEGMENT_SUFFIX
    assert checkpoints.SUFFIX == layout.CHECKPOINT
    assert layout.HEADER_BYTES == segment_format.HEADER_SIZE
    assert layout.MAGIC == segment_format.RECORD_MAGIC
    assert layout.HEAD_BYTES == segment_format.RECORD_HEAD_SIZE
    assert (layout.HARD_STATE, layout.ENTRY) == (segment_format.KIND_HARD_STATE, segment_format.KIND_ENTRY)
    assert (layout.CONTROLLER_GROUP, layout.LAST_COORDINATOR_GROUP) == (CONTROLLER_GROUP, FIRST_TOPIC_GROUP_ID - 1)
    header = segment_format.SegmentHeader(1, 2, 3, 0x0405, 5, 6, 7, 8).encode()
    assert int.from_bytes(header[layout.SEQUENCE_AT : layout.SEQUENCE_AT + 8], "little") == 0x0405
    head = segment_format.encode_record_head(1, segment_format.KIND_ENTRY, 0, 0, 1, 1, b"x" * 77)
    assert head[layout.KIND_AT] == layout.ENTRY
    assert int.from_bytes(head[layout.LENGTH_AT : layout.LENGTH_AT + 4], "little") == 77
    assert layout.SAID[:2] == (events.ReplicaDamaged.__name__, events.LogRepaired.__name__)


def test_every_place_is_found_in_the_groups_asked_for_and_in_no_other(data: Path) -> None:
    for where in (Where.SEALED, Where.TAIL, Where.VOTE, Where.CHECKPOINT):
        for groups, group in ((Groups.PARTITIONS, GROUP), (Groups.CONTROLLER, CONTROLLER_GROUP)):
            spots = spots_of(data, where, groups)
            assert spots
            assert all(path.parent == data / "groups" / str(group) / "replica-0" for path, _, _ in spots)
        assert spots_of(data, where, Groups.COORDINATORS) == []
    assert len(spots_of(data, Where.SEALED, Groups.PARTITIONS)) == 2
    ((identity, start, end),) = spots_of(data, Where.IDENTITY, Groups.PARTITIONS)
    assert (identity.name, start, end) == ("node.json", 0, identity.stat().st_size)


@pytest.mark.parametrize("victims", [1, 2, 3])
def test_no_group_is_harmed_on_two_victims_and_a_lone_victim_may_be_harmed_in_any(victims: int) -> None:
    for group in range(1, 100):
        path = f"groups/{group}/replica-0/{1:020d}-{0x77:016x}{layout.SEGMENT}"
        harmed = [index for index in range(victims) if fnmatchcase(path, segments_of(index, victims))]
        assert len(harmed) == (1 if victims == 1 or group > 9 else 0)


@pytest.mark.parametrize("where", [Where.SEALED, Where.TAIL, Where.CHECKPOINT])
@pytest.mark.parametrize("how", [How.FLIP, How.MISDIRECT])
def test_whatever_is_damaged_is_found_by_those_who_read_it(data: Path, where: Where, how: How) -> None:
    intact = {path: path.read_bytes() for path in (data / "groups").rglob("*") if path.is_file()}
    for seed in range(20):
        done = Damage(where, how, targets.ONE)._damage(data, {}, Random(seed))
        assert done is not None
        assert (data / done.file).read_bytes() != intact[data / done.file]
        assert found(data), (seed, done)
        for path, content in intact.items():
            path.write_bytes(content)
        assert not found(data)


def found(data: Path) -> bool:
    """A start notices, or the scrub does."""
    try:
        log = reopen(data)
    except CorruptLog:
        return True
    try:
        for job in log.scrub_jobs():
            while not job.done:
                job.run()
    except CorruptLog:
        return True
    finally:
        log.close()
    return bool(log.repaired)


def test_a_stale_block_is_one_that_has_changed_since_and_has_others_behind_it(data: Path) -> None:
    path = spots_of(data, Where.TAIL, Groups.PARTITIONS)[0][0]
    before = layout._tails(data, Groups.PARTITIONS)
    assert list(before) == [path]
    assert Damage(Where.TAIL, How.STALE, targets.ONE)._damage(data, before, Random(1)) is None, (
        "nothing has changed"
    )
    log = reopen(data)
    append(log, 9, commands(25, 29, data=b"y" * 800))
    append(log, 10, commands(29, 30))
    log.close()
    done = Damage(Where.TAIL, How.STALE, targets.ONE)._damage(data, before, Random(1))
    assert done is not None
    with pytest.raises(CorruptLog):
        reopen(data)
