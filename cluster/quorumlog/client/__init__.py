"""The Python client: ``Producer``, ``Reader`` and ``Admin``, asyncio first; ``quorumlog.client.sync`` has the same
without it.

Names are imported when they are first used, so that the pure parts (``quorumlog.client.policy``) can be had without
loading gRPC, and a command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorumlog.client.admin import Admin
    from quorumlog.client.delivery import Delivery, RecordPosition
    from quorumlog.client.errors import NotDone, OutcomeUnknown, QuorumlogError, RetentionGap
    from quorumlog.client.producer import Producer
    from quorumlog.client.reader import Reader
    from quorumlog.client.start import InvalidStart, parse_start
    from quorumlog.wire.record import Record

__all__ = [
    "Admin",
    "Delivery",
    "InvalidStart",
    "NotDone",
    "OutcomeUnknown",
    "Producer",
    "QuorumlogError",
    "Reader",
    "Record",
    "RecordPosition",
    "RetentionGap",
    "parse_start",
]

_HOMES = {
    "Admin": "quorumlog.client.admin",
    "Delivery": "quorumlog.client.delivery",
    "InvalidStart": "quorumlog.client.start",
    "NotDone": "quorumlog.client.errors",
    "OutcomeUnknown": "quorumlog.client.errors",
    "Producer": "quorumlog.client.producer",
    "QuorumlogError": "quorumlog.client.errors",
    "Reader": "quorumlog.client.reader",
    "Record": "quorumlog.wire.record",
    "RecordPosition": "quorumlog.client.delivery",
    "RetentionGap": "quorumlog.client.errors",
    "parse_start": "quorumlog.client.start",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
