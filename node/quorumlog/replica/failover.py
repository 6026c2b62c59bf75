"""When to campaign without waiting for the election timeout.

A killed process resets its connections: those who followed it can know within milliseconds that it is gone, and
there is no reason to wait for a timer (DESIGN.md §4; RabbitMQ does the same, and fails over in a third of a second
where timeouts cost one to nine). Pre-vote and check-quorum keep it safe: a leader that is only out of *this* node's
reach is still defended by those who hear it, and the campaign changes nothing.

All survivors notice at the same moment, so they must not all stand: each waits its turn by rank, the preferred
replica first, with a little jitter; whoever finds a leader meanwhile does not stand at all. A campaign that fails
(the others had not noticed yet, or the log was too short) is repeated a few times before the ordinary timeout takes
over.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

#: Between the turns of two ranks: more than an election takes on a busy machine (two fsyncs and two round trips;
#: 15 ms on an idle one). The first in rank does not wait, so a longer turn costs only where it cannot win.
TURN_MS = 40
#: In a group that never had a leader nobody is waiting for one yet: the preferred replica is given time to be made.
FIRST_TURN_MS = 250
JITTER_MS = 10
MAX_TRIES = 12


class Campaigns:
    """Groups that may campaign soon, by time."""

    __slots__ = ("_due", "_random", "_terms", "_tries")

    def __init__(self, rng: random.Random) -> None:
        self._random = rng
        self._due: list[tuple[int, int]] = []
        self._tries: dict[int, int] = {}
        self._terms: dict[int, int] = {}

    @property
    def next_ms(self) -> int | None:
        return self._due[0][0] if self._due else None

    def plan(self, group_id: int, now_ms: int, rank: int, term: int) -> None:
        """The group has no leader in ``term``: it may campaign when its turn comes. A plan that stands is kept."""
        if group_id not in self._tries:
            self._tries[group_id] = 0
            self._terms[group_id] = term
            turn_ms = TURN_MS if term else FIRST_TURN_MS
            heappush(self._due, (now_ms + rank * turn_ms + self._random.randrange(JITTER_MS), group_id))

    def overtaken(self, group_id: int, term: int) -> bool:
        """Somebody else has stood since the campaign was planned: it may be about to win, and is not to be
        disturbed."""
        return term > self._terms.get(group_id, term)

    def plan_again(self, group_id: int, now_ms: int, turns: int, term: int) -> None:
        """The campaign came to nothing yet; once everybody has had a turn, it may be tried again."""
        tries = self._tries.get(group_id, 0) + 1
        if tries >= MAX_TRIES:
            self.settled(group_id)
            return
        self._tries[group_id] = tries
        self._terms[group_id] = term
        pause = turns * TURN_MS + self._random.randrange(turns * TURN_MS)
        heappush(self._due, (now_ms + pause, group_id))

    def settled(self, group_id: int) -> None:
        """The group has a leader, or is gone."""
        self._tries.pop(group_id, None)
        self._terms.pop(group_id, None)

    def due(self, now_ms: int) -> Iterator[int]:
        """Takes out the groups whose turn has come and whose plan still stands."""
        while self._due and self._due[0][0] <= now_ms:
            group_id = heappop(self._due)[1]
            if group_id in self._tries:
                yield group_id
