"""Term and vote on their way to the disk.

They are written whenever they change, before anything that leans on them leaves. The commit index only rides along
with something else: nothing leans on it but recovery's question whether the log has lost its end.

Prior art: etcd-io/raft ``node.go`` (HardState, MustSync).
"""

from __future__ import annotations

from collections import deque

from .types import HardState, ReplicaId


class HardStateWrites:
    """What was handed to the host, what of it is durable."""

    __slots__ = ("_in_flight", "durable_term", "given")

    def __init__(self, durable: HardState) -> None:
        self.given = durable
        """The newest one that a Ready carried, or that was on disk at start."""
        self.durable_term = durable.term
        self._in_flight: deque[tuple[int, HardState]] = deque()

    def take(
        self, number: int, term: int, vote: ReplicaId | None, commit: int, written: int, with_entries: bool
    ) -> HardState | None:
        """The hard state that Ready ``number`` carries, if any.

        ``written`` is the last index that *earlier* Readys carry. The commit index goes no further: this record
        precedes this Ready's entries on disk, and if the power fails between them, recovery must not conclude that
        committed entries were lost.
        """
        given = self.given
        commit = max(given.commit, min(commit, written))
        if term == given.term and vote == given.vote and not (with_entries and commit > given.commit):
            return None
        self.given = HardState(term, vote, commit)
        self._in_flight.append((number, self.given))
        return self.given

    def persisted(self, number: int) -> HardState | None:
        """The newest hard state among the writes up to Ready ``number``, which are durable now; None if there is
        none."""
        newest = None
        while self._in_flight and self._in_flight[0][0] <= number:
            _, newest = self._in_flight.popleft()
        if newest is not None:
            self.durable_term = newest.term
        return newest
