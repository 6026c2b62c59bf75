"""Planted bugs of the Raft core: votes, commits, members, reads. RAFT.md §5 says who had them before.

Most are found by random worlds of the ``log`` workload. Some hide from whole nodes however many seeds one tries: an
entry of an older term committed by counting (figure 8) needs the term's no-op to travel apart from what it commits,
and a commit beyond the verified prefix needs a leader that matches below the point of divergence; here appends
carry both, and hints meet the point exactly. Those have directed scenarios.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quorumlog.engines.own import OwnRaft
from quorumlog.raft import Raft, RaftConfig, commitment, core, following, leadership, log, quorum
from quorumlog.raft.errors import ChangePending
from quorumlog.raft.membership import members
from quorumlog.raft.types import AppendRequest
from quorumlog.sim.mutant import CRASH, Mutant

if TYPE_CHECKING:
    from quorumlog.engines.seam import Core, CoreSettings
    from quorumlog.raft.following import Following
    from quorumlog.raft.leadership import Leadership
    from quorumlog.raft.types import Entry, Message

# --- elections ----------------------------------------------------------------------------------------------------


def _vote_again(original: Any) -> Any:
    """Grants every candidate its vote, whoever had it before."""
    return lambda self, message: True


def _any_log_will_do(original: Any) -> Any:
    """Votes for candidates whose log is behind."""
    return lambda self, last_index, last_term: True


def _half_is_enough(original: Any) -> Any:
    """Half of the voters elect."""
    return lambda voters: max(1, voters // 2)


def _straight_to_the_election(original: Any) -> Any:
    """Nobody asks, before raising the term, whether an election could be won."""
    return lambda self: self._begin_election(transfer=False)


# --- replication and commits --------------------------------------------------------------------------------------


def _truncate_always(original: Any) -> Any:
    """Drops everything behind an append's previous entry without looking for a conflict (RAFT.md §6)."""

    def take(self: Following, entries: tuple[Entry, ...]) -> bool:
        log = self._log
        if entries[0].index <= log.last_index:
            log.truncate(entries[0].index)
            self._outbox.withdraw_acknowledgements(entries[0].index)
            self._membership.roll_back(entries[0].index)
        log.append(entries)
        return self._membership.note(entries)

    return take


def _take_old_appends(original: Any) -> Any:
    """Takes the entries of a leader of an earlier term."""

    def step(self: Raft, message: Message) -> None:
        if isinstance(message, AppendRequest) and message.term < self._term and not self.is_leader:
            self._following.append(message)
        else:
            original(self, message)

    return step


def _any_previous_term_will_do(original: Any) -> Any:
    """Takes an append behind an entry of whatever term, as long as there is one at that index."""

    def append(self: Following, message: AppendRequest) -> bool:
        log = self._log
        if log.first_index <= message.previous_index <= log.last_index:
            message = replace(message, previous_term=log.term(message.previous_index))
        taken: bool = original(self, message)
        return taken

    return append


def _commit_at_once(original: Any) -> Any:
    """A follower takes everything it receives for committed."""
    return lambda self, leader_commit, verified: self._log.commit_to(verified)


def _commit_to_the_end(original: Any) -> Any:
    """A follower commits up to its own last index, verified by the message or not."""
    return lambda self, leader_commit, verified: self._log.commit_to(min(leader_commit, self._log.last_index))


def _count_any_term(original: Any) -> Any:
    """Entries of older terms are committed by counting their copies."""
    return lambda self, index: True


def _one_copy_less(original: Any) -> Any:
    """An entry is committed with one copy less than a majority."""
    return lambda matches: (
        sorted(matches)[len(list(matches)) // 2 + 1] if len(list(matches)) > 2 else original(matches)
    )


# --- members ------------------------------------------------------------------------------------------------------


def _change_at_once(original: Any) -> Any:
    """Takes a change of members before an entry of its own term is committed."""

    def refuse(self: Leadership) -> None:
        if self._membership.current.joint:
            raise ChangePending("a joint configuration")

    return refuse


def _count_the_removed(original: Any) -> Any:
    """Goes on replicating to those who were removed, and counts their copies as if nothing had changed."""

    def on_configuration(self: Leadership) -> None:
        everyone = members(self._membership.current) | frozenset(self.replication.progress)
        self.replication.track(everyone, recent_active=True)
        self.advance_commit()

    return on_configuration


# --- reads --------------------------------------------------------------------------------------------------------


def _serve_before_noop(original: Any) -> Any:
    """Serves from the moment of its election, not knowing yet what had been committed."""
    return property(lambda self: self._leadership is not None)


def _read_unconfirmed(original: Any) -> Any:
    """Answers linearizable reads without asking a quorum whether it still leads."""
    return lambda self: True


def _lease_by_ticks(original: Any) -> Any:
    """Reads lean on a lease counted in the ticks of a process, which stand still while it is paused."""

    def core_of(self: OwnRaft, settings: CoreSettings) -> Core:
        config = RaftConfig(settings.replica, settings.election_ticks, settings.heartbeat_ticks, lease_reads=True)
        return Raft(config, settings.log, settings.applied, settings.rng)

    return core_of


LOSSES = frozenset(
    {
        "durable promise",
        "leader completeness",
        "state-machine safety",
        "log matching",
        "digest equality",
        "inconsistent offset",
        "lost write",
        "unseen",
    }
)
TWO_LEADERS = frozenset({"one vote per term", "one leader per term"})
CUTS = {"faults": ("isolate leader", "pause leader", "mute"), "fault_every_ms": 300, "fault_lasts_ms": 1500}
_FIVE = {**CUTS, "faults": ("kill leader",), "nodes": 5, "replication": 5, "slow_frames": 0.3}
_KILLS = {"faults": ("kill leader", "isolate leader", "halves"), "fault_every_ms": 150, "fault_lasts_ms": 400}

RAFT_MUTANTS: dict[str, Mutant] = {
    "vote twice in a term": Mutant(core.Raft, "_has_vote_for", _vote_again, TWO_LEADERS, 50),
    "no log-freshness check": Mutant(log.Log, "is_as_current", _any_log_will_do, LOSSES, 50),
    "elected by half": Mutant(
        quorum, "majority", _half_is_enough, frozenset({"one leader per term", "leader completeness"}), 50
    ),
    "no pre-vote": Mutant(
        core.Raft,
        "_begin_pre_vote",
        _straight_to_the_election,
        frozenset({"term inflation"}),
        scenario="long absence",
    ),
    "truncate on any append": Mutant(following.Following, "_take", _truncate_always, LOSSES | {CRASH}, 50),
    "stale-term append accepted": Mutant(
        core.Raft,
        "_answer_lower_term",
        _take_old_appends,
        LOSSES | {CRASH},
        100,
        {**CUTS, "slow_frames": 0.3},
    ),
    "previous term unchecked": Mutant(
        following.Following, "append", _any_previous_term_will_do, LOSSES, 100, _KILLS
    ),
    "commit on receipt": Mutant(following.Following, "_commit_verified", _commit_at_once, LOSSES, 200, _FIVE),
    "commit beyond the verified prefix": Mutant(
        following.Following,
        "_commit_verified",
        _commit_to_the_end,
        frozenset({"state-machine safety"}),
        scenario="unverified tail",
    ),
    "older term committed by count": Mutant(
        commitment.Commitment,
        "counts_for_commit",
        _count_any_term,
        frozenset({"leader completeness"}),
        scenario="figure 8",
    ),
    "committed by half": Mutant(commitment, "majority_index", _one_copy_less, LOSSES, 50),
    "membership change before a commit of the term": Mutant(
        leadership.Leadership,
        "_refuse_if_unsettled",
        _change_at_once,
        frozenset({"leader completeness"}),
        scenario="two changes from one configuration",
    ),
    "removed node still counted": Mutant(
        leadership.Leadership,
        "_on_configuration",
        _count_the_removed,
        frozenset({"leader completeness"}),
        scenario="two voters removed",
    ),
    "serving before the no-op": Mutant(
        core.Raft, "can_serve", _serve_before_noop, frozenset({"stale tail", "duplicate", CRASH}), 50
    ),
    "read without a round": Mutant(
        leadership.Leadership, "_leads_alone", _read_unconfirmed, frozenset({"stale tail"}), 100, CUTS
    ),
    "lease read under pause": Mutant(
        OwnRaft, "core", _lease_by_ticks, frozenset({"stale tail"}), scenario="pause of a cut-off leader"
    ),
}
