"""A run's own directory on a real disk, with small file systems in it if wanted, all gone at the end.

A small file system is an ext4 in a sparse file, mounted through a loop device: full means ENOSPC from a real file
system, and an fsync still costs something, which on a tmpfs it would not. It needs root.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from quorumlog.chaos.places import owner
from quorumlog.chaos.places.commands import CommandFailed, run
from quorumlog.cluster.throwaway import disk_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Far more than a run writes, but a fault can fill it within a second.
SMALL_DISK_BYTES = 512 << 20


class Scratch:
    """See the module. All methods block."""

    def __init__(self) -> None:
        self.directory = disk_directory() / owner.named(owner.mark(), secrets.token_hex(4))
        self.directory.mkdir(mode=0o755)

    def node_home(self, node: int, *, small: bool) -> Path:
        """A new directory for a node, on a small file system of its own if ``small``. Raises CommandFailed."""
        home = self.directory / f"node-{node}"
        home.mkdir()
        if small:
            self._mount(self.directory / f"node-{node}.ext4", home)
        return home

    @staticmethod
    def _mount(image: Path, mounted: Path) -> None:
        with image.open("wb") as file:
            file.truncate(SMALL_DISK_BYTES)
        # No blocks kept back for root: who runs the node must not make a difference.
        run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
        run("mount", "-o", "loop", str(image), str(mounted))
        shutil.rmtree(mounted / "lost+found")

    def remove(self) -> None:
        _remove(self.directory)


def sweep() -> None:
    """Removes what runs that do not live any more have left."""
    for directory in sorted(disk_directory().glob(f"{owner.PREFIX}-*")):
        if owner.is_leftover(directory.name):
            _remove(directory)


def why_no_small_disks() -> str:
    """Why a node can have no small file system here; "" if it can."""
    if os.geteuid() != 0:
        return "mounting a small file system needs root"
    if shutil.which("mkfs.ext4") is None:
        return "no mkfs.ext4 here (e2fsprogs)"
    if not Path("/dev/loop-control").exists():
        return "no loop devices here"
    return ""


def _remove(directory: Path) -> None:
    for mounted in _mounts_under(directory):
        try:
            run("umount", mounted)
        except CommandFailed:
            # Something still holds a file in it; it goes when that ends.
            run("umount", "--lazy", mounted)
    shutil.rmtree(directory, ignore_errors=True)


def _mounts_under(directory: Path) -> Iterator[str]:
    """The deepest first."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    points = [line.split()[1].replace(r"\040", " ") for line in lines]
    return (point for point in reversed(points) if Path(point).is_relative_to(directory))
