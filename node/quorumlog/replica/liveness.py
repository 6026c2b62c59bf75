"""When the members of a coordinator's groups were heard, on the coordinator that leads.

Kept in memory and not in the log: a heartbeat would cost an entry on every replica. So a new leader knows nothing
of it, and gives every member a whole session time-out: a coordinator's death is not the members' fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Sessions are looked at ten times a second. Who has not looked for longer was stopped, and heard nobody meanwhile.
STALL_MS = 1_000
#: A member that was given up is looked at again after this long: the entry that says so may have been lost.
RETRY_MS = 1_000

#: (group, member).
Who = tuple[str, str]


class _Session(NamedTuple):
    heard_ms: int
    deadline_ms: int


class Liveness:
    """The sessions of all members."""

    __slots__ = ("_looked_ms", "_next_deadline_ms", "_sessions")

    def __init__(self) -> None:
        self._sessions: dict[Who, _Session] = {}
        self._looked_ms = 0
        #: No session ends before; what was heard since may have moved it.
        self._next_deadline_ms = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, members: Iterable[tuple[Who, int]], now_ms: int) -> None:
        """This replica leads: everybody, with the length of the session, counts as heard now."""
        self._sessions.clear()
        self._looked_ms = self._next_deadline_ms = now_ms
        for who, timeout_ms in members:
            self.heard(who, timeout_ms, now_ms)

    def heard(self, who: Who, timeout_ms: int, now_ms: int) -> None:
        deadline_ms = now_ms + timeout_ms
        self._sessions[who] = _Session(now_ms, deadline_ms)
        self._next_deadline_ms = min(self._next_deadline_ms, deadline_ms)

    def silent_ms(self, who: Who, now_ms: int) -> int:
        """Since it was heard last."""
        session = self._sessions.get(who)
        return now_ms - session.heard_ms if session is not None else 0

    def due(self, now_ms: int) -> list[Who]:
        """Those whose sessions have run out; again after RETRY_MS, unless they are dropped or heard."""
        looked_ms, self._looked_ms = self._looked_ms, now_ms
        if not self._sessions:
            return []
        if now_ms - looked_ms > STALL_MS:
            self._make_up(looked_ms, now_ms)
        if now_ms < self._next_deadline_ms:
            return []
        late = [who for who, session in self._sessions.items() if session.deadline_ms <= now_ms]
        for who in late:
            self._sessions[who] = _Session(self._sessions[who].heard_ms, now_ms + RETRY_MS)
        self._next_deadline_ms = min(session.deadline_ms for session in self._sessions.values())
        return late

    def _make_up(self, looked_ms: int, now_ms: int) -> None:
        """Gives everybody the time that was left when the process stopped: their heartbeats lie unread, and were
        they given up now, a machine that slept for a moment would rebalance all its groups."""
        for who, (heard_ms, deadline_ms) in self._sessions.items():
            left_ms = deadline_ms - max(looked_ms, heard_ms)
            self._sessions[who] = _Session(heard_ms, now_ms + left_ms)
        self._next_deadline_ms = min(session.deadline_ms for session in self._sessions.values())

    def drop(self, who: Who) -> None:
        """It is no member any more."""
        self._sessions.pop(who, None)

    def clear(self) -> None:
        """This replica does not lead any more."""
        self._sessions.clear()
