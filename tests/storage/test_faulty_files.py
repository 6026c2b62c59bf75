"""One table of claims for the two disks that can lose, tear, fail and lie: the simulated one, and the real one with
faults on order. What the simulator has proved of the log holds on real files only as far as both keep to it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Protocol

import pytest

from quorumlog.sim.disk import SimulatedDisk
from quorumlog.storage import OsFiles, SyncFailed
from quorumlog.storage.faulty import FaultyFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from quorumlog.storage import Files

    MakeDisk = Callable[[int], "Disk"]

PAGE = 4096


class Disk(Protocol):
    """Either disk, with the faults that both know."""

    root: str

    @property
    def files(self) -> Files: ...

    def fail_sync(self, name: str) -> None: ...

    def lie(self, name: str) -> None: ...

    def fill(self, room: int) -> None: ...

    def cut_power(self) -> None: ...

    def kill(self) -> None: ...


class Simulated:
    """In memory."""

    def __init__(self, seed: int) -> None:
        self.disk = SimulatedDisk(random.Random(seed))
        self.root = ""

    @property
    def files(self) -> Files:
        return self.disk

    def fail_sync(self, name: str) -> None:
        self.disk.fail_sync(name)

    def lie(self, name: str) -> None:
        self.disk.lie(name)

    def fill(self, room: int) -> None:
        self.disk.capacity = self.disk.used + room

    def cut_power(self) -> None:
        self.disk.crash()

    def kill(self) -> None:
        self.disk.crash(keep_all=True)


class Real:
    """On the file system."""

    def __init__(self, seed: int, root: Path) -> None:
        root.mkdir()
        self.root = str(root)
        self.seed = seed
        self.disk = FaultyFiles(OsFiles(), self.root)

    @property
    def files(self) -> Files:
        return self.disk

    def fail_sync(self, name: str) -> None:
        self.disk.fail("sync", "EIO", f"*{name}*")

    def lie(self, name: str) -> None:
        self.disk.lie(f"*{name}*")

    def fill(self, room: int) -> None:
        self.disk.fill(room)

    def cut_power(self) -> None:
        self.disk.lose_power(self.seed)
        self.kill()

    def kill(self) -> None:
        self.disk = FaultyFiles(OsFiles(), self.root)


@pytest.fixture(params=["simulated", "real"])
def make_disk(request: pytest.FixtureRequest, tmp_path: Path) -> MakeDisk:
    """A new empty disk for each seed."""
    made = 0

    def make(seed: int) -> Disk:
        nonlocal made
        made += 1
        return Simulated(seed) if request.param == "simulated" else Real(seed, tmp_path / str(made))

    return make


def put(disk: Disk, name: str, data: bytes, *, sync: bool = True, position: int = 0) -> None:
    """Writes into a file, made if need be; ``sync``: content and name."""
    path = f"{disk.root}/{name}"
    file = disk.files.open(path, "write" if disk.files.exists(path) else "create")
    file.pwritev([data], position)
    if sync:
        file.fdatasync()
        disk.files.fsync_dir(path.rpartition("/")[0] or "/")
    file.close()


def get(disk: Disk, name: str) -> bytes | None:
    path = f"{disk.root}/{name}"
    if not disk.files.exists(path):
        return None
    file = disk.files.open(path, "read")
    data = file.pread(1 << 20, 0)
    file.close()
    return data


def test_what_was_synced_survives_every_power_cut_and_what_was_not_has_every_fate(make_disk: MakeDisk) -> None:
    outcomes = set()
    for seed in range(60):
        disk = make_disk(seed)
        put(disk, "file", b"a" * 10_000)
        put(disk, "file", b"b" * 10_000, sync=False, position=10_000)
        disk.cut_power()
        content = get(disk, "file") or b""
        assert content[:10_000] == b"a" * 10_000
        rest = content[10_000:]
        assert set(rest) <= {0, ord("b")}
        outcomes.add("none" if not rest else "all" if rest == b"b" * 10_000 else "hole" if 0 in rest else "prefix")
    assert outcomes == {"none", "all", "prefix", "hole"}


def test_an_overwrite_that_was_not_synced_gives_the_old_bytes_back_never_others(make_disk: MakeDisk) -> None:
    lost = 0
    for seed in range(20):
        disk = make_disk(seed)
        put(disk, "file", b"a" * 3 * PAGE)
        put(disk, "file", b"b" * PAGE, sync=False, position=PAGE)
        put(disk, "file", b"c" * 100, sync=False, position=PAGE + 50)
        disk.cut_power()
        content = get(disk, "file") or b""
        assert len(content) == 3 * PAGE
        assert content[:PAGE] + content[2 * PAGE :] == b"a" * 2 * PAGE
        assert set(content[PAGE : 2 * PAGE]) <= set(b"abc")
        lost += content == b"a" * 3 * PAGE
    assert lost


def test_a_killed_process_loses_nothing(make_disk: MakeDisk) -> None:
    disk = make_disk(1)
    put(disk, "file", b"aaaa")
    put(disk, "file", b"bbbbbb", sync=False)
    put(disk, "other", b"c", sync=False)
    disk.kill()
    assert (get(disk, "file"), get(disk, "other")) == (b"bbbbbb", b"c")


def test_a_name_is_durable_only_after_its_directory_was_synced(make_disk: MakeDisk) -> None:
    kept = 0
    for seed in range(30):
        disk = make_disk(seed)
        put(disk, "file", b"a", sync=False)
        file = disk.files.open(f"{disk.root}/file", "write")
        file.fdatasync()
        disk.cut_power()
        kept += get(disk, "file") is not None
    assert 0 < kept < 30


def test_names_are_lost_last_first_and_a_file_that_was_replaced_or_removed_comes_back(make_disk: MakeDisk) -> None:
    outcomes = set()
    for seed in range(40):
        disk = make_disk(seed)
        put(disk, "kept", b"old")
        put(disk, "gone", b"gone")
        put(disk, "fresh", b"new")
        disk.files.rename(f"{disk.root}/fresh", f"{disk.root}/kept")
        disk.files.unlink(f"{disk.root}/gone")
        disk.cut_power()
        outcomes.add((get(disk, "kept"), get(disk, "fresh"), get(disk, "gone")))
    assert outcomes == {(b"old", b"new", b"gone"), (b"new", None, b"gone"), (b"new", None, None)}


def test_a_file_keeps_its_unsynced_writes_through_a_rename_of_it_and_of_its_directory(make_disk: MakeDisk) -> None:
    seen = set()
    for seed in range(40):
        disk = make_disk(seed)
        disk.files.mkdir(f"{disk.root}/building")
        put(disk, "building/file.new", b"a" * PAGE)
        put(disk, "building/file.new", b"b" * 10, sync=False)
        disk.files.rename(f"{disk.root}/building/file.new", f"{disk.root}/building/file")
        disk.files.fsync_dir(f"{disk.root}/building")
        disk.files.rename(f"{disk.root}/building", f"{disk.root}/built")
        disk.files.fsync_dir(disk.root or "/")
        disk.cut_power()
        content = get(disk, "built/file") or b""
        assert content[10:] == b"a" * (PAGE - 10)
        seen.add(content[:10])
    assert {b"a" * 10, b"b" * 10} < seen


def test_a_directory_that_was_never_synced_into_its_parent_goes_with_all_it_holds(make_disk: MakeDisk) -> None:
    kept = 0
    for seed in range(20):
        disk = make_disk(seed)
        disk.files.mkdir(f"{disk.root}/building")
        put(disk, "building/file", b"a")
        disk.files.rename(f"{disk.root}/building", f"{disk.root}/built")
        disk.cut_power()
        names = [name for name in disk.files.listdir(disk.root or "/") if name in ("building", "built")]
        assert len(names) <= 1
        assert all(get(disk, f"{name}/file") == b"a" for name in names)
        kept += bool(names)
    assert 0 < kept < 20


def test_after_a_failed_fsync_the_bytes_are_read_and_lost_though_the_next_fsync_succeeds(
    make_disk: MakeDisk,
) -> None:
    for seed in range(10):
        disk = make_disk(seed)
        put(disk, "file", b"aaa")
        file = disk.files.open(f"{disk.root}/file", "write")
        file.pwritev([b"b"], 0)
        disk.fail_sync("file")
        with pytest.raises(SyncFailed):
            file.fdatasync()
        file.pwritev([b"c"], 2)
        file.fdatasync()
        assert get(disk, "file") == b"bac"
        disk.cut_power()
        assert get(disk, "file") == b"aac", "what came later and was synced is there, what failed is not"


def test_a_lying_fsync_makes_nothing_durable(make_disk: MakeDisk) -> None:
    lost = 0
    for seed in range(10):
        disk = make_disk(seed)
        put(disk, "file", b"a")
        disk.lie("file")
        put(disk, "file", b"b")
        disk.cut_power()
        lost += get(disk, "file") == b"a"
    assert lost


def test_what_was_cut_off_and_not_synced_comes_back(make_disk: MakeDisk) -> None:
    cut, emptied = set(), set()
    for seed in range(12):
        disk = make_disk(seed)
        put(disk, "file", b"abcdef")
        disk.files.open(f"{disk.root}/file", "write").truncate(2)
        disk.cut_power()
        cut.add(get(disk, "file"))
        disk = make_disk(seed)
        put(disk, "file", b"abcdef")
        disk.files.open(f"{disk.root}/file", "create").close()
        disk.cut_power()
        emptied.add(get(disk, "file"))
    assert (cut, emptied) == ({b"abcdef", b"ab"}, {b"abcdef", b""})


def test_a_full_disk_takes_what_fits_and_has_room_again_when_something_goes(make_disk: MakeDisk) -> None:
    disk = make_disk(1)
    put(disk, "file", b"a" * 900)
    disk.fill(100)
    file = disk.files.open(f"{disk.root}/other", "create")
    with pytest.raises(OSError, match="space"):
        file.pwritev([b"b" * 300], 0)
    assert get(disk, "other") == b"b" * 100
    put(disk, "file", b"c" * 900)
    assert disk.files.free_bytes(disk.root or "/") == 0
    disk.files.unlink(f"{disk.root}/file")
    assert disk.files.free_bytes(disk.root or "/") == 900
    put(disk, "third", b"d" * 900)


def test_a_torn_overwrite_beside_a_synced_append_leaves_the_append(make_disk: MakeDisk) -> None:
    """Two files at once: a sync of one says nothing about the other."""
    for seed in range(10):
        disk = make_disk(seed)
        put(disk, "one", b"a" * PAGE)
        put(disk, "two", b"x" * PAGE)
        put(disk, "one", b"b" * PAGE, sync=False)
        put(disk, "two", b"y" * PAGE, position=PAGE)
        disk.cut_power()
        assert get(disk, "two") == b"x" * PAGE + b"y" * PAGE
        assert set(get(disk, "one") or b"") <= set(b"ab")
