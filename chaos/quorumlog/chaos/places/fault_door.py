"""Orders to a node's fault door (``quorumlog.server.fault_door``): a Unix socket, a line of JSON each way."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from quorumlog.chaos.places.place import NotPossible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from quorumlog.chaos.places.place import DiskOrder

DOOR_NAME = "faults.sock"
"""Beside the node's data directory, by convention of the places that have one."""
_ORDERS_SUFFIX = ".orders"
#: An order is a change in the node's memory; only a power loss takes as long as what it undoes.
_PATIENCE_S = 10.0


async def order_disk(door: Path, order: DiskOrder) -> Mapping[str, Any]:
    """Has the node's disk do that; its counts, and after a power loss ``lost_writes``, ``lost_bytes`` and
    ``lost_names``. Raises NotPossible when the node cannot be reached or does not know the order."""
    return await _ask(door, asdict(order))


async def order_clock(door: Path, jump_ms: int, drift: float) -> None:
    """Raises NotPossible."""
    await _ask(door, {"clock": {"jump_ms": jump_ms, "drift": drift}})


def leave_orders(door: Path, orders: Sequence[DiskOrder]) -> None:
    """What the node's disk shall do from the very beginning of its next life on; none: nothing."""
    path = door.with_name(door.name + _ORDERS_SUFFIX)
    if orders:
        path.write_text("".join(json.dumps(asdict(order)) + "\n" for order in orders))
    else:
        path.unlink(missing_ok=True)


async def _ask(door: Path, order: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_unix_connection(door)
            try:
                writer.write(json.dumps(order).encode() + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise NotPossible(f"the fault door {door} does not answer: {error!r}") from error
    if not line:
        raise NotPossible(f"the node behind {door} went away")
    answer = json.loads(line)
    if not answer["ok"]:
        raise NotPossible(f"the node refuses: {answer['error']}")
    counts: Mapping[str, Any] = answer["counts"]
    return counts
