"""What the running digest takes in of an offset command's result (see ``quorumlog.machine.digest``).

The command's bytes are in the digest anyway. The result is what shows that a replica's *table* is another than the
others': one whose map was altered on its disk accepts what they refuse, gives out another epoch, or, at the latest
at the next Audit, has another digest of the table.

Codes and numbers, never ``repr``: a field added to a result in a later version must not make two healthy replicas
differ during a rolling upgrade. For the same reason a code is never given a second meaning.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from quorumlog.machine.offset_results import (
    Acquired,
    Audited,
    BeyondEnd,
    Committed,
    EpochNotGiven,
    Expired,
    FateForgotten,
    FateKnown,
    Fenced,
    Forgotten,
    GroupActive,
    Marked,
    NotExpired,
    NotOwner,
    OutOfRange,
    Owned,
    Regressed,
    Released,
    Settled,
    StaleGeneration,
    StillUsed,
    Stored,
    TombstoneGone,
    TombstoneMade,
    TooManyGroups,
    Touched,
    UnknownGroup,
    VersionMismatch,
    WasReset,
)

if TYPE_CHECKING:
    from quorumlog.machine.offset_results import OffsetResult

_CODES: dict[type, int] = {
    Committed: 1,
    BeyondEnd: 3,
    Regressed: 4,
    Fenced: 5,
    NotOwner: 6,
    Settled: 7,
    FateForgotten: 8,
    Expired: 9,
    Acquired: 10,
    Owned: 11,
    StaleGeneration: 12,
    TooManyGroups: 13,
    Released: 14,
    WasReset: 15,
    VersionMismatch: 16,
    GroupActive: 17,
    UnknownGroup: 18,
    OutOfRange: 19,
    NotExpired: 20,
    FateKnown: 21,
    TombstoneMade: 22,
    TombstoneGone: 23,
    StillUsed: 24,
    Marked: 25,
    Forgotten: 26,
    Audited: 27,
    Touched: 28,
    EpochNotGiven: 29,
}
#: A commit that was found to be stored already: a replica for which it is new has another table.
_REPEATED = 2

_ACQUIRED = struct.Struct("<BQB")
_STORED = struct.Struct("<QQ")
_NOTHING_STORED = b"\0"


def decision(result: OffsetResult) -> bytes:
    """The canonical bytes of what was decided."""
    codes = _CODES
    if type(result) is tuple:
        return bytes(
            [_REPEATED if type(each) is Committed and each.duplicate else codes[type(each)] for each in result]
        )
    code = codes[type(result)]
    match result:
        case Acquired(owner_epoch, stored, _, _, _, released):
            return _ACQUIRED.pack(code, owner_epoch, released) + _stored(stored)
        case WasReset(stored, before):
            return bytes([code]) + _stored(stored) + _stored(before)
        case FateKnown(fate, commit):
            return bytes([code, fate]) + (
                b"" if commit is None else _STORED.pack(commit.offset or 0, commit.version)
            )
        case TombstoneMade(stored):
            return bytes([code]) + _stored(stored)
        case Audited(_, digest):
            return bytes([code]) + digest
        case _:
            return bytes([code])


def _stored(stored: Stored | None) -> bytes:
    return _NOTHING_STORED if stored is None else _STORED.pack(stored.offset, stored.version)
