"""What a simulated disk is made of: files and directories, each as it is seen, as a power cut would leave it, and
the way from the one to the other (``quorumlog.sim.disk``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Inode:
    """One file: ``content`` as it is read, ``durable`` as a power cut would leave it, and the way from the one to
    the other."""

    __slots__ = ("content", "durable", "promised", "unsynced")

    def __init__(self) -> None:
        self.content = bytearray()
        self.durable = bytearray()
        self.unsynced: list[tuple[int, bytes | None]] = []
        """(position, data) in order; data None: cut to that size."""
        self.promised = False
        """An fsync has lied about some of ``unsynced``."""

    def sync(self) -> None:
        for position, data in self.unsynced:
            apply(self.durable, position, data)
        self.unsynced.clear()
        self.promised = False


def apply(target: bytearray, position: int, data: bytes | None) -> None:
    """One write, or with data None a cut (or growth) to ``position``."""
    if data is None:
        if position < len(target):
            del target[position:]
        else:
            target.extend(bytes(position - len(target)))
        return
    gap = position - len(target)
    if gap > 0:
        target.extend(bytes(gap))
    target[position : position + len(data)] = data


class Directory:
    """Names as they are seen, as they are durable, and what was done since."""

    __slots__ = ("durable", "names", "promised", "unsynced")

    def __init__(self) -> None:
        self.names: dict[str, Inode | Directory] = {}
        self.durable: dict[str, Inode | Directory] = {}
        self.unsynced: list[Callable[[dict[str, Inode | Directory]], object]] = []
        self.promised = False

    def do(self, change: Callable[[dict[str, Inode | Directory]], object]) -> None:
        change(self.names)
        self.unsynced.append(change)

    def sync(self) -> None:
        for change in self.unsynced:
            change(self.durable)
        self.unsynced.clear()
        self.promised = False
