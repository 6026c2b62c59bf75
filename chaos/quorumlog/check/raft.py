"""What must hold inside every Raft group, checked from taps on every replica while a run goes on.

A tap is told what a replica did, in plain numbers, at the moment it did it; so this module knows nothing of the
code it judges, and a finding points at the first moment that is wrong and not at its consequences. Each property
below is figure 3 of the paper or a promise of durability, said in prose where it is checked. Everything is one
dictionary look-up per entry and replica: checking is linear.

=====================  =======================================================================================
property               breaks when
=====================  =======================================================================================
one leader per term    two replicas of a group lead in one term
one vote per term      a replica grants two candidates its vote in one term, crashes between them or not
log matching           two logs hold an entry of the same index and term, and differ in it or just before it
leader completeness    a replica becomes leader without an entry that had been committed before
state-machine safety   two replicas commit entries of different terms at one index
digest equality        two state machines at one applied index have different digests
monotonic              a replica's term, commit or applied index goes back while it lives
durable promise        a replica comes back from a crash with a term below one it answered in, or without an
                       entry that it had acknowledged
=====================  =======================================================================================

Prior art: the paper's figure 3; the TLA+ specification in the dissertation; etcd's and TigerBeetle's state
checkers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class RaftProperty(Enum):
    ONE_LEADER = "one leader per term"
    ONE_VOTE = "one vote per term"
    LOG_MATCHING = "log matching"
    LEADER_COMPLETENESS = "leader completeness"
    STATE_MACHINE_SAFETY = "state-machine safety"
    DIGEST_EQUALITY = "digest equality"
    MONOTONIC = "monotonic"
    DURABLE_PROMISE = "durable promise"


@dataclass(frozen=True, slots=True)
class RaftViolation:
    """One broken property; ``message`` names the replicas, terms and indices that show it."""

    kind: RaftProperty
    group: int
    message: str


@dataclass(slots=True)
class _Replica:
    """What one replica has shown of itself. ``acknowledged`` is the latest (term, index, term of the entry
    there)."""

    term: int = 0
    commit: int = 0
    applied: int = 0
    promised_term: int = 0
    acknowledged: tuple[int, int, int] = (0, 0, 0)


class RaftChecker:
    """Judges one run. Tell it everything through the methods below; ``violations`` holds what was found.

    ``term_at`` arguments are functions from an index to the term of the entry there, or None where the log has been
    compacted, so that nothing is copied to be checked.
    """

    def __init__(self) -> None:
        self.violations: list[RaftViolation] = []
        self.leaders: dict[tuple[int, int], int] = {}
        """(group, term) -> replica."""
        self._replicas: dict[tuple[int, int], _Replica] = {}
        self._votes: dict[tuple[int, int, int], int] = {}
        self._entries: dict[tuple[int, int, int], tuple[int, bytes]] = {}
        self._committed: dict[tuple[int, int], tuple[int, int]] = {}
        self._last_committed: dict[int, int] = {}
        self._digests: dict[tuple[int, int], tuple[bytes, int]] = {}

    def became_leader(self, group: int, replica: int, term: int, term_at: Callable[[int], int | None]) -> None:
        """At most one leader can be elected in a term; and it holds every entry committed before (of which the
        highest is enough to look at: below it the logs match)."""
        other = self.leaders.setdefault((group, term), replica)
        if other != replica:
            self._report(RaftProperty.ONE_LEADER, group, f"replicas {other} and {replica} both lead in term {term}")
        index = self._last_committed.get(group)
        if index is None:
            return
        committed_term, by = self._committed[group, index]
        mine = term_at(index)
        if committed_term < term and mine is not None and mine != committed_term:
            self._report(
                RaftProperty.LEADER_COMPLETENESS,
                group,
                f"replica {replica} leads in term {term} with term {mine or 'nothing'} at index {index},"
                f" where replica {by} had committed term {committed_term}",
            )

    def voted(self, group: int, replica: int, term: int, candidate: int) -> None:
        """A vote left the replica: it may never leave for another candidate of the same term."""
        other = self._votes.setdefault((group, replica, term), candidate)
        if other != candidate:
            message = f"replica {replica} voted for {other} and for {candidate} in term {term}"
            self._report(RaftProperty.ONE_VOTE, group, message)
        self.answered(group, replica, term)

    def answered(self, group: int, replica: int, term: int) -> None:
        """A message that carries the replica's own term left it: it must never be in an earlier term again."""
        state = self._state(group, replica)
        if term > state.promised_term:
            state.promised_term = term

    def acknowledged(self, group: int, replica: int, term: int, index: int, entry_term: int) -> None:
        """An acknowledgement of everything up to ``index`` left the replica in ``term``: somebody may count it for
        ever. ``entry_term`` is the term of the entry at ``index``."""
        state = self._state(group, replica)
        if (term, index) > state.acknowledged[:2]:
            state.acknowledged = (term, index, entry_term)

    def entry(self, group: int, index: int, term: int, previous_term: int, data: bytes) -> None:
        """An entry was seen in some log, with the term of the one before it. Same index and term: same entry, and
        the same before it; by induction the logs are the same up to there."""
        seen = self._entries.setdefault((group, index, term), (previous_term, data))
        if seen[0] != previous_term or (seen[1] is not data and seen[1] != data):
            message = f"two different entries of index {index} and term {term} (or of what precedes them)"
            self._report(RaftProperty.LOG_MATCHING, group, message)

    def progressed(
        self, group: int, replica: int, term: int, commit: int, applied: int, term_at: Callable[[int], int | None]
    ) -> None:
        """The replica now says that this is its state. Term, commit and applied index never go back in one life;
        what it commits at an index is what everybody commits there."""
        state = self._state(group, replica)
        if term < state.term or commit < state.commit or applied < state.applied:
            self._report(
                RaftProperty.MONOTONIC,
                group,
                f"replica {replica} went from term, commit, applied {state.term}, {state.commit}, {state.applied}"
                f" back to {term}, {commit}, {applied}",
            )
        if commit > state.commit:
            self._commit(group, replica, state.commit + 1, commit, term_at)
        state.term, state.commit, state.applied = term, commit, applied

    def digest(self, group: int, replica: int, applied: int, digest: bytes) -> None:
        """State machines that applied the same are the same: also a checkpoint plus the tail, after a restart, is
        the same as having applied everything."""
        seen = self._digests.setdefault((group, applied), (digest, replica))
        if seen[0] != digest:
            message = f"replicas {seen[1]} and {replica} differ at applied index {applied}"
            self._report(RaftProperty.DIGEST_EQUALITY, group, message)

    def restarted(
        self, group: int, replica: int, term: int, last_index: int, term_at: Callable[[int], int | None]
    ) -> None:
        """The replica came back with this state. It must remember what it promised: the term it answered in, and
        the entries it acknowledged there. (In a later term than that of the acknowledgement a leader may have
        replaced them, if they were not committed.) Commit and applied index are not promises: Raft learns them
        anew."""
        state = self._state(group, replica)
        if term < state.promised_term:
            message = f"replica {replica} answered in term {state.promised_term} and came back in term {term}"
            self._report(RaftProperty.DURABLE_PROMISE, group, message)
        acknowledged_in, index, entry_term = state.acknowledged
        held = term_at(index) if index <= last_index else 0
        if term <= acknowledged_in and held is not None and held != entry_term:
            message = (
                f"replica {replica} acknowledged index {index} of term {entry_term} and came back with"
                f" {f'term {held} there' if held else f'its log ending at {last_index}'}"
            )
            self._report(RaftProperty.DURABLE_PROMISE, group, message)
        state.term, state.commit, state.applied = term, 0, 0

    def _commit(self, group: int, replica: int, low: int, high: int, term_at: Callable[[int], int | None]) -> None:
        for index in range(low, high + 1):
            term = term_at(index)
            if term is None:
                continue
            seen = self._committed.setdefault((group, index), (term, replica))
            if seen[0] != term:
                self._report(
                    RaftProperty.STATE_MACHINE_SAFETY,
                    group,
                    f"at index {index} replica {seen[1]} committed an entry of term {seen[0]},"
                    f" replica {replica} one of term {term}",
                )
        if high > self._last_committed.get(group, 0) and (group, high) in self._committed:
            self._last_committed[group] = high

    def _state(self, group: int, replica: int) -> _Replica:
        state = self._replicas.get((group, replica))
        if state is None:
            state = self._replicas[group, replica] = _Replica()
        return state

    def _report(self, kind: RaftProperty, group: int, message: str) -> None:
        self.violations.append(RaftViolation(kind, group, message))
