"""What only the real disk with faults on order does: errors by name and number, slowness, writes that go astray."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

import pytest
from storage.storage_kit import append, commands, create, read_all, reopen

from quorumlog.storage import CorruptLog, OsFiles, SyncFailed
from quorumlog.storage.faulty import OPERATIONS, FaultyFiles
from quorumlog.storage.files import OsFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from quorumlog.storage.files import Mode


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def disk(root: str) -> FaultyFiles:
    return FaultyFiles(OsFiles(), root)


def do(disk: FaultyFiles, root: str, operation: str) -> None:
    """One operation of that kind on ``root``/file, or on ``root``."""
    path = f"{root}/file"
    if operation == "rename":
        disk.rename(path, f"{root}/file.moved")
    elif operation == "unlink":
        disk.unlink(path)
    elif operation == "sync_dir":
        disk.fsync_dir(root)
    else:
        file = disk.open(path, "write")
        if operation == "read":
            file.pread(1, 0)
        elif operation == "write":
            file.pwritev([b"new content"], 0)
        elif operation == "sync":
            file.fdatasync()
        elif operation == "truncate":
            file.truncate(0)
        file.close()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_fails_as_often_as_ordered_and_only_that_one(
    disk: FaultyFiles, root: str, operation: str
) -> None:
    disk.open(f"{root}/file", "create").pwritev([b"content"], 0)
    disk.fail(operation, "EIO", times=2)
    for other in OPERATIONS:
        if other not in (operation, "rename", "unlink", "truncate") and operation != "open":
            do(disk, root, other)
    for _ in range(2):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            do(disk, root, operation)
        assert caught.value.errno == errno.EIO
        assert isinstance(caught.value, SyncFailed) == (operation in ("sync", "sync_dir"))
    do(disk, root, operation)
    assert disk.counts()["failed"] == 2


def test_an_order_concerns_the_files_it_names_by_the_name_they_have_now(disk: FaultyFiles, root: str) -> None:
    disk.mkdir(f"{root}/groups")
    disk.fail("write", "EIO", "groups/*.segment", times=0)
    file = disk.open(f"{root}/groups/a.new", "create")
    disk.open(f"{root}/a.segment", "create").pwritev([b"x"], 0)
    file.pwritev([b"x"], 0)
    disk.rename(f"{root}/groups/a.new", f"{root}/groups/a.segment")
    for _ in range(3):
        with pytest.raises(OSError, match=r"groups/a\.segment"):
            file.pwritev([b"x"], 0)
    disk.heal()
    file.pwritev([b"x"], 0)


def test_what_no_disk_does_is_refused(disk: FaultyFiles) -> None:
    for operation, error in (("fly", "EIO"), ("write", "EWHATEVER")):
        with pytest.raises(ValueError, match="no such fault"):
            disk.fail(operation, error)


def test_a_disk_that_hangs_goes_on_when_it_is_healed(disk: FaultyFiles, root: str) -> None:
    file = disk.open(f"{root}/file", "create")
    disk.slow(3_600_000)
    done = threading.Event()

    def sync() -> None:
        file.fdatasync()
        done.set()

    thread = threading.Thread(target=sync)
    thread.start()
    while not disk.counts()["slowed"]:
        pass
    file.pwritev([b"others may write meanwhile"], 0)
    assert not done.is_set()
    disk.heal()
    thread.join(10)
    assert done.is_set()


class SlowlySyncedFile(OsFile):
    def __init__(self, disk: SlowlySynced, file: OsFile) -> None:
        super().__init__(file._descriptor)
        self._disk = disk

    def fdatasync(self) -> None:
        self._disk.meanwhile()
        super().fdatasync()


class SlowlySynced(OsFiles):
    """A disk on which something arrives while an fsync runs."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], None] = lambda: None

    def open(self, path: str, mode: Mode) -> OsFile:
        return SlowlySyncedFile(self, super().open(path, mode))


def test_what_is_written_while_an_fsync_runs_is_not_covered_by_it(root: str) -> None:
    under = SlowlySynced()
    disk = FaultyFiles(under, root)
    file = disk.open(f"{root}/file", "create")
    disk.fsync_dir(root)
    file.pwritev([b"before"], 0)
    under.meanwhile = lambda: file.pwritev([b"during"], 6)
    file.fdatasync()
    assert disk.counts()["unsynced"] == 1


@pytest.mark.parametrize("fault", ["stale", "misdirect"])
def test_a_write_that_went_astray_is_noticed_when_the_log_is_opened_again(
    disk: FaultyFiles, root: str, fault: str
) -> None:
    """Acknowledged, and not where it should be: the records that follow prove that it was there."""
    path = f"{root}/replica-0"
    log = create(disk, path=path)
    for number in range(1, 4):
        append(log, number, commands(number * 10 - 9, number * 10 + 1, data=b"x" * 500))
    getattr(disk, fault)("*.segment")
    append(log, 4, commands(31, 41, data=b"y" * 500))
    append(log, 5, commands(41, 51, data=b"z" * 500))
    log.close()
    assert disk.counts()[{"stale": "stale", "misdirect": "misdirected"}[fault]] == 1
    with pytest.raises(CorruptLog):
        reopen(disk, path=path)


def test_a_log_that_loses_its_power_has_what_it_acknowledged(tmp_path: Path) -> None:
    """The whole log over the real disk: written, rolled, and cut off with a write under way."""
    torn = 0
    for seed in range(30):
        (tmp_path / str(seed)).mkdir()
        root = str(tmp_path / str(seed))
        disk = FaultyFiles(OsFiles(), root)
        path = f"{root}/replica-0"
        log = create(disk, path=path)
        append(log, 1, commands(1, 11, data=b"x" * 700))
        log.roll()
        append(log, 2, commands(11, 21, data=b"x" * 700))
        log.stage(3, None, commands(21, 31, data=b"x" * 700))
        job = log.write_job()
        assert job is not None
        disk.fail("sync", "EIO")
        with pytest.raises(SyncFailed):
            job.parts[0].run(disk, path)
        disk.heal()
        assert disk.lose_power(seed).writes >= 1
        disk = FaultyFiles(OsFiles(), root)
        found = read_all(reopen(disk, path=path))
        assert found[:20] == commands(1, 21, data=b"x" * 700)
        torn += len(found) > 20
    assert not torn, "the failed fsync's pages never reach the disk"
