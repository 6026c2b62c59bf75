"""When is an entry committed? One object owns the answer while a replica leads.

Two rules live here and nowhere else. Only what is *durable* counts, the leader's own copy included: its ``match``
in ``Progress`` is what its disk has confirmed, not what it has appended. And only entries of the leader's own term
are committed by counting; earlier ones are committed along with them (§5.4.2, figure 8 of the paper: an entry of an
older term may be on a majority and still be overwritten by a leader that never saw it).

The second rule needs no look at the log: a leader opens its term with a no-op at ``term_start``, and every entry
from there on is of its term.

Prior art: hashicorp/raft ``commitment.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .quorum import majority_index

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .progress import Progress
    from .types import Configuration, ReplicaId


class Commitment:
    """The commit index that the voters' durable indices imply. It has no memory of its own but its
    configuration."""

    __slots__ = ("_incoming", "_outgoing", "term_start")

    def __init__(
        self, term_start: int, configuration: Configuration, progress: Mapping[ReplicaId, Progress]
    ) -> None:
        self.term_start = term_start
        self.use(configuration, progress)

    def use(self, configuration: Configuration, progress: Mapping[ReplicaId, Progress]) -> None:
        """From now on ``configuration`` decides; every voter of it has its place in ``progress``."""
        self._incoming = tuple(progress[voter] for voter in sorted(configuration.voters))
        self._outgoing = tuple(progress[voter] for voter in sorted(configuration.outgoing))

    def reached(self) -> int:
        """The highest index that is durable on a quorum, of whatever term."""
        index = majority_index([voter.match for voter in self._incoming])
        if self._outgoing:
            return min(index, majority_index([voter.match for voter in self._outgoing]))
        return index

    def counts_for_commit(self, index: int) -> bool:
        """Whether an entry at ``index`` may be committed by counting replicas (§5.4.2)."""
        return index >= self.term_start

    def index(self) -> int:
        """The index up to which everything is committed as far as counting tells; 0 if it tells nothing yet."""
        index = self.reached()
        return index if self.counts_for_commit(index) else 0
