"""Replicas agree, and it is checked (G13): equal state digest at equal applied index.

Each replica notes its digest at every index divisible by ``EVERY``, and now and then tells the others the newest
one. A replica that finds itself in the minority against a majority with *one* other digest has diverged and must
not serve. Without such a majority (two replicas, or three different digests) nobody can say who is wrong; that is
reported, and nobody is silenced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorumlog.raft.types import ReplicaId

EVERY = 64
_KEPT = 64


class DigestLedger:
    """The digests of one group: this replica's own, and what the others said."""

    __slots__ = ("_heard", "_last_told", "_own")

    def __init__(self) -> None:
        self._own: dict[int, bytes] = {}
        self._heard: dict[int, dict[ReplicaId, bytes]] = {}
        self._last_told = 0

    def note(self, index: int, digest: bytes) -> None:
        """This replica's digest after applying ``index``, a multiple of EVERY."""
        self._own[index] = digest
        if len(self._own) > _KEPT:
            oldest = next(iter(self._own))
            del self._own[oldest]
            self._heard.pop(oldest, None)

    def to_tell(self) -> tuple[int, bytes] | None:
        """The newest own digest, if the others have not been told it yet."""
        if not self._own:
            return None
        index = next(reversed(self._own))
        if index <= self._last_told:
            return None
        self._last_told = index
        return index, self._own[index]

    def hear(self, sender: ReplicaId, index: int, digest: bytes) -> None:
        heard = self._heard.setdefault(index, {})
        heard[sender] = digest
        if len(self._heard) > 2 * _KEPT:
            del self._heard[min(self._heard)]

    def outvoted(self, index: int, voters: frozenset[ReplicaId]) -> bool:
        """A majority of ``voters`` has one digest at ``index``, and this replica has another."""
        own = self._own.get(index)
        if own is None:
            return False
        others: dict[bytes, int] = {}
        for voter in sorted(voters):
            said = self._heard.get(index, {}).get(voter)
            if said is not None and said != own:
                others[said] = others.get(said, 0) + 1
        return any(count > len(voters) // 2 for count in others.values())
