"""Whose data directory it is, that one process uses it, and how groups come, are set aside and go."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from storage.storage_kit import VOTERS, new_disk, small

from quorumlog.sim.disk import PowerCut
from quorumlog.storage import (
    CorruptLog,
    LockedDirectory,
    LogExists,
    MissingLog,
    NewerFormat,
    NodeDirectory,
    OsFiles,
    PartitionLog,
    WrongCluster,
    WrongNode,
)
from quorumlog.storage.format import crc32c_extend

if TYPE_CHECKING:
    from pathlib import Path

    from quorumlog.storage import Files


def open_one(files: Files, path: str = "/data", cluster: str = "one", node: int = 1) -> NodeDirectory:
    return NodeDirectory.open(files, path, cluster, node)


def test_a_directory_remembers_its_cluster_and_its_node() -> None:
    disk = new_disk()
    open_one(disk).close()
    disk.crash()
    with pytest.raises(WrongCluster):
        open_one(disk, cluster="two")
    with pytest.raises(WrongNode):
        open_one(disk, node=2)
    open_one(disk).close()


def test_one_process_at_a_time_and_the_lock_goes_with_it() -> None:
    disk = new_disk()
    open_one(disk)
    with pytest.raises(LockedDirectory):
        open_one(disk)
    disk.crash(keep_all=True)
    open_one(disk).close()


def test_the_lock_is_real_on_a_real_file_system(tmp_path: Path) -> None:
    first = open_one(OsFiles(), str(tmp_path / "data"))
    with pytest.raises(LockedDirectory):
        open_one(OsFiles(), str(tmp_path / "data"))
    first.close()
    open_one(OsFiles(), str(tmp_path / "data")).close()


def test_an_identity_with_any_byte_damaged_is_written_again_from_its_copy(tmp_path: Path) -> None:
    open_one(OsFiles(), str(tmp_path / "data")).close()
    for name in ("node.json", "node.copy.json"):
        path = tmp_path / "data" / name
        intact = path.read_bytes()
        for position in range(len(intact)):
            damaged = bytearray(intact)
            damaged[position] ^= 1
            path.write_bytes(bytes(damaged))
            directory = open_one(OsFiles(), str(tmp_path / "data"))
            directory.close()
            if directory.repaired:
                assert name in directory.repaired[0]
                assert path.read_bytes() == intact
            else:
                # White space may differ; nothing that is said may.
                assert json.loads(bytes(damaged)) == json.loads(intact)
                path.write_bytes(intact)
        path.unlink()
        open_one(OsFiles(), str(tmp_path / "data")).close()
        assert path.read_bytes() == intact


def test_without_any_identity_to_believe_a_directory_is_nobodys(tmp_path: Path) -> None:
    directory = open_one(OsFiles(), str(tmp_path / "data"))
    make(directory, 5, 0)
    directory.close()
    paths = [tmp_path / "data" / name for name in ("node.json", "node.copy.json")]
    for path in paths:
        path.write_bytes(path.read_bytes().replace(b"one", b"two"))
    with pytest.raises(CorruptLog, match="checksum"):
        open_one(OsFiles(), str(tmp_path / "data"))
    for path in paths:
        path.unlink()
    with pytest.raises(CorruptLog, match="nothing says whose"):
        open_one(OsFiles(), str(tmp_path / "data"))


def test_an_identity_of_a_newer_format_is_not_taken_whatever_its_copy_says(tmp_path: Path) -> None:
    open_one(OsFiles(), str(tmp_path / "data")).close()
    newer = {"format": 2, "cluster": "one", "node": 1}
    newer["crc32c"] = crc32c_extend(0, json.dumps([2, "one", 1]).encode())
    (tmp_path / "data" / "node.json").write_text(json.dumps(newer))
    with pytest.raises(NewerFormat):
        open_one(OsFiles(), str(tmp_path / "data"))


def test_a_first_start_cut_at_any_step_can_be_repeated() -> None:
    for cut in range(1, 16):
        disk = new_disk(cut)
        disk.cut_after(cut)
        with contextlib.suppress(PowerCut):
            open_one(disk)
        disk.crash()
        directory = open_one(disk)
        assert directory.groups() == {}
        directory.close()


def test_starts_are_counted_durably() -> None:
    disk = new_disk()
    numbers = []
    for _ in range(5):
        directory = open_one(disk)
        numbers.append(directory.incarnation)
        disk.crash()
    assert numbers == [1, 2, 3, 4, 5]


def make(directory: NodeDirectory, group_id: int, incarnation: int) -> None:
    path = directory.make_replica(group_id, incarnation)
    PartitionLog.create(directory.files, path, small(), group_id, incarnation, VOTERS).close()


def test_a_damaged_replica_is_never_started_again_and_never_made_again() -> None:
    """An incarnation that lost its log must not vote again: the next one has a number of its own."""
    disk = new_disk()
    directory = open_one(disk)
    make(directory, 5, 0)
    make(directory, 4, 0)
    assert directory.groups() == {4: 0, 5: 0}
    directory.set_aside(5, 0)
    directory.set_aside(5, 0)
    disk.crash()
    directory = open_one(disk)
    assert directory.groups() == {4: 0, 5: 0}, "died before the next incarnation was made: not forgotten"
    with pytest.raises(MissingLog):
        PartitionLog.open(disk, directory.replica_path(5, 0), small())
    with pytest.raises(LogExists):
        directory.make_replica(5, 0)
    make(directory, 5, 1)
    disk.crash()
    directory = open_one(disk)
    assert directory.groups() == {4: 0, 5: 1}
    assert directory.damaged(5) == [0]


def test_a_deleted_group_is_gone_or_deleted_later_but_never_a_damaged_log() -> None:
    for cut in range(1, 7):
        disk = new_disk(cut)
        directory = open_one(disk)
        make(directory, 5, 0)
        disk.cut_after(cut)
        with contextlib.suppress(PowerCut):
            directory.delete_job(5).run()
        disk.crash()
        directory = open_one(disk)
        if 5 in directory.groups():
            PartitionLog.open(disk, directory.replica_path(5, 0), small()).close()
        for job in directory.unfinished_deletions():
            job.run()
        directory.delete_job(5).run()
        directory.delete_job(5).run()
        assert directory.groups() == {}
        assert directory.unfinished_deletions() == []
