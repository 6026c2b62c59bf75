"""The Python client: ``Producer``, ``Reader``, ``Consumer``, ``Admin``, asyncio first; ``quorumlog.client.sync``
has the same without it.

Names are imported when they are first used, so that the pure parts (``quorumlog.client.policy``) can be had without
loading gRPC, and a command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorumlog.client.admin import Admin
    from quorumlog.client.claim import Claim
    from quorumlog.client.consumer import Consumer
    from quorumlog.client.consumer_record import ConsumerRecord
    from quorumlog.client.delivery import Delivery, RecordPosition
    from quorumlog.client.errors import Fenced, NotDone, OutcomeUnknown, PositionMoved, QuorumlogError, RetentionGap
    from quorumlog.client.group_admin import GroupAdmin
    from quorumlog.client.offset_admin import OffsetAdmin
    from quorumlog.client.producer import Producer
    from quorumlog.client.reader import Reader
    from quorumlog.client.receipt import Receipt, parse_receipt
    from quorumlog.client.start import InvalidStart, parse_start
    from quorumlog.wire.record import Record

__all__ = [
    "Admin",
    "Claim",
    "Consumer",
    "ConsumerRecord",
    "Delivery",
    "Fenced",
    "GroupAdmin",
    "InvalidStart",
    "NotDone",
    "OffsetAdmin",
    "OutcomeUnknown",
    "PositionMoved",
    "Producer",
    "QuorumlogError",
    "Reader",
    "Receipt",
    "Record",
    "RecordPosition",
    "RetentionGap",
    "parse_receipt",
    "parse_start",
]

_HOMES = {
    "Admin": "quorumlog.client.admin",
    "Claim": "quorumlog.client.claim",
    "Consumer": "quorumlog.client.consumer",
    "ConsumerRecord": "quorumlog.client.consumer_record",
    "Delivery": "quorumlog.client.delivery",
    "Fenced": "quorumlog.client.errors",
    "GroupAdmin": "quorumlog.client.group_admin",
    "InvalidStart": "quorumlog.client.start",
    "NotDone": "quorumlog.client.errors",
    "OffsetAdmin": "quorumlog.client.offset_admin",
    "OutcomeUnknown": "quorumlog.client.errors",
    "PositionMoved": "quorumlog.client.errors",
    "Producer": "quorumlog.client.producer",
    "QuorumlogError": "quorumlog.client.errors",
    "Reader": "quorumlog.client.reader",
    "Receipt": "quorumlog.client.receipt",
    "Record": "quorumlog.wire.record",
    "RecordPosition": "quorumlog.client.delivery",
    "RetentionGap": "quorumlog.client.errors",
    "parse_receipt": "quorumlog.client.receipt",
    "parse_start": "quorumlog.client.start",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
