"""How a history has what was told of offsets: one form (``quorumlog.check.history``), whoever was told it.

The real client and the simulated users of a node have types of their own for it; both have these attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from enum import Enum


class ToldStored(Protocol):
    """A stored offset."""

    @property
    def offset(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def metadata(self) -> bytes: ...


class ToldAcquired(Protocol):
    """A granted Acquire."""

    @property
    def owner_epoch(self) -> int: ...
    @property
    def start_offset(self) -> int: ...
    @property
    def reason(self) -> Enum: ...
    @property
    def stored(self) -> ToldStored | None: ...
    @property
    def log_start(self) -> int: ...
    @property
    def log_end(self) -> int: ...
    @property
    def released(self) -> bool: ...


def told_stored(stored: ToldStored | None) -> list[Any] | None:
    """The offset, its version, and the commit's token, which travels as its metadata."""
    return None if stored is None else [stored.offset, stored.version, stored.metadata.decode("utf-8", "replace")]


def told_acquired(acquired: ToldAcquired) -> dict[str, Any]:
    """The answer to an ``acquire``."""
    return {
        "epoch": acquired.owner_epoch,
        "offset": acquired.start_offset,
        "reason": acquired.reason.name,
        "stored": told_stored(acquired.stored),
        "log_start": acquired.log_start,
        "log_end": acquired.log_end,
        "released": acquired.released,
    }
