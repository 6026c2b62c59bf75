"""Striking with one fault and undoing it, on a bench."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from chaos.place_claims import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chaos.place_claims import Bench

    from quorumlog.chaos.faults import Fault, Struck


class Ended:
    """What the fault was told to have done, once it is over."""

    effect = 0


@asynccontextmanager
async def under(on: Bench, fault: Fault) -> AsyncIterator[tuple[Struck, Ended]]:
    """The fault lasts while the block does."""
    async with asyncio.timeout(PATIENCE_S):
        while (struck := await fault.strike(on.scene)) is None:  # noqa: ASYNC110 - nodes elect when they do
            await asyncio.sleep(0.05)
    ended = Ended()
    try:
        yield struck, ended
    finally:
        ended.effect = await struck.undo()


def said(on: Bench, word: str) -> int:
    """By all nodes together."""
    return sum(on.place.said(node, word) for node in on.place.nodes)
