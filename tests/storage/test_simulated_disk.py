"""The simulated disk keeps its word, and breaks it only where a real one does."""

from __future__ import annotations

import random

import pytest
from storage.storage_kit import new_disk

from quorumlog.sim.disk import PAGE_BYTES, PowerCut, SimulatedDisk
from quorumlog.storage import SyncFailed


def file_with(disk: SimulatedDisk, data: bytes, *, sync: bool, path: str = "/file") -> None:
    file = disk.open(path, "create")
    file.pwritev([data], 0)
    if sync:
        file.fdatasync()
        disk.fsync_dir("/")


def test_what_was_synced_survives_every_crash_and_what_was_not_survives_some() -> None:
    outcomes = set()
    for seed in range(60):
        disk = new_disk(seed)
        file_with(disk, b"a" * 10_000, sync=True)
        disk.open("/file", "write").pwritev([b"b" * 10_000], 10_000)
        disk.crash()
        content = disk.content("/file")
        assert content[:10_000] == b"a" * 10_000
        assert set(content[10_000:]) <= {0, ord("b")}
        rest = content[10_000:]
        outcomes.add("none" if not rest else "all" if rest == b"b" * 10_000 else "hole" if 0 in rest else "prefix")
    assert outcomes == {"none", "all", "prefix", "hole"}


def test_a_name_is_durable_only_after_its_directory_was_synced() -> None:
    kept = 0
    for seed in range(20):
        disk = new_disk(seed)
        file_with(disk, b"a", sync=False)
        disk.open("/file", "write").fdatasync()
        disk.crash()
        kept += disk.exists("/file")
    assert 0 < kept < 20
    disk = new_disk()
    file_with(disk, b"a", sync=True)
    disk.rename("/file", "/other")
    disk.fsync_dir("/")
    disk.crash()
    assert disk.listdir("/") == ["other"]


def test_a_killed_process_loses_nothing_but_makes_nothing_durable() -> None:
    lost = 0
    for seed in range(20):
        disk = new_disk(seed)
        file_with(disk, b"a", sync=True)
        disk.open("/file", "write").pwritev([b"bbbb"], 0)
        disk.crash(keep_all=True)
        assert disk.content("/file") == b"bbbb"
        disk.crash()
        lost += disk.content("/file") != b"bbbb"
    assert lost


def test_after_a_failed_fsync_the_data_is_read_and_yet_lost_though_the_next_fsync_succeeds() -> None:
    disk = new_disk()
    file_with(disk, b"a", sync=True)
    file = disk.open("/file", "write")
    file.pwritev([b"b"], 0)
    disk.fail_sync("/file")
    with pytest.raises(SyncFailed):
        file.fdatasync()
    file.fdatasync()
    assert disk.content("/file") == b"b"
    disk.crash()
    assert disk.content("/file") == b"a"


def test_a_lying_disk_loses_what_it_said_was_safe() -> None:
    lost = 0
    for seed in range(10):
        disk = new_disk(seed)
        file_with(disk, b"a", sync=True)
        disk.lie("/file")
        file = disk.open("/file", "write")
        file.pwritev([b"b"], 0)
        file.fdatasync()
        disk.crash()
        lost += disk.content("/file") == b"a"
    assert lost


def test_a_power_cut_tears_the_write_it_falls_on_and_kills_every_open_file() -> None:
    disk = new_disk()
    file_with(disk, bytes(PAGE_BYTES), sync=True)
    file = disk.open("/file", "write")
    disk.cut_after(2)
    file.pwritev([b"x"], 0)
    with pytest.raises(PowerCut):
        file.pwritev([b"y" * 1000], 0)
    with pytest.raises(PowerCut):
        disk.listdir("/")
    disk.crash()
    with pytest.raises(PowerCut):
        file.pread(1, 0)
    assert disk.listdir("/") == ["file"]


def test_a_full_disk_takes_what_fits_and_has_room_again_when_something_goes() -> None:
    disk = SimulatedDisk(random.Random(1), capacity=1000)
    file_with(disk, b"a" * 900, sync=True)
    file = disk.open("/other", "create")
    with pytest.raises(OSError, match="space"):
        file.pwritev([b"b" * 300], 0)
    assert disk.content("/other") == b"b" * 100
    disk.open("/file", "write").pwritev([b"c" * 900], 0)
    assert disk.free_bytes("/") == 0
    disk.unlink("/file")
    assert disk.free_bytes("/") == 900


def test_damage_is_seen_at_once_and_outlives_a_crash() -> None:
    disk = new_disk()
    file_with(disk, b"abcdefgh", sync=True)
    disk.flip_bit("/file", 0)
    disk.misdirect("/file", 0, 2, "/file", 6)
    disk.crash()
    assert disk.content("/file") == b"`bcdef`b"
    disk.fail_read("/file", 4, 5)
    file = disk.open("/file", "read")
    assert file.pread(4, 0) == b"`bcd"
    with pytest.raises(OSError, match=r"[Ii]nput/output"):
        file.pread(4, 2)


def test_the_same_seed_gives_the_same_disk() -> None:
    def life(seed: int) -> bytes:
        disk = new_disk(seed)
        file_with(disk, b"a" * 9000, sync=True)
        for number in range(30):
            disk.open("/file", "write").pwritev([bytes((number,)) * 5000], number * 700)
        disk.crash()
        return disk.content("/file") + disk.unique_id().to_bytes(8, "little")

    assert life(7) == life(7)
    assert life(7) != life(8)
