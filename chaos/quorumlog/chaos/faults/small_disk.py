"""A file system that is really full: ENOSPC from the kernel, not from a shim.

A file of ballast beside the node's data takes all that is free, and what comes free later (a node that drops old
segments) as long as the fault lasts. A node writes into zeros it has laid down before, so it says that its disk is
full only when these are used up: give such a scenario load enough.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quorumlog.chaos.faults.fault import Scene, Struck
from quorumlog.chaos.places.place import Ability

if TYPE_CHECKING:
    from pathlib import Path

    from quorumlog.chaos.targets import Role

#: What a node logs (``quorumlog.replica.events``).
FULL = "DiskFull"
#: Fresh space is taken again so often.
_TOP_UP_S = 0.2
#: Taken in pieces, halved down to a block: fallocate takes all it is asked for or nothing.
_LARGEST_PIECE_BYTES = 64 << 20
_BLOCK_BYTES = 4096


@dataclass(frozen=True, slots=True)
class FillDisk:
    """Fills the victims' file systems to the last block; undone by giving the space back. Its effect is how often
    they said that their disks are full."""

    role: Role
    needs = frozenset({Ability.SMALL_DISK})

    @property
    def name(self) -> str:
        return f"fill disk of {self.role.name}"

    async def strike(self, scene: Scene) -> Struck | None:
        nodes = await self.role.choose(scene)
        if not nodes:
            return None
        before = sum(scene.place.said(node, FULL) for node in nodes)
        ballasts = [scene.place.data_directory(node).parent / "ballast" for node in nodes]
        filling = asyncio.create_task(_keep_full(ballasts))

        async def undo() -> int:
            filling.cancel()
            with suppress(asyncio.CancelledError):
                await filling
            for ballast in ballasts:
                await asyncio.to_thread(ballast.unlink, missing_ok=True)
            return sum(scene.place.said(node, FULL) for node in nodes) - before

        return Struck({"nodes": list(nodes)}, undo)


async def _keep_full(ballasts: list[Path]) -> None:
    while True:
        for ballast in ballasts:
            await asyncio.to_thread(_take_all, ballast)
        await asyncio.sleep(_TOP_UP_S)


def _take_all(ballast: Path) -> None:
    """Grows ``ballast`` until not one block is free."""
    piece = _LARGEST_PIECE_BYTES
    with ballast.open("ab") as file:
        while piece >= _BLOCK_BYTES:
            try:
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, piece)
            except OSError:
                piece //= 2
