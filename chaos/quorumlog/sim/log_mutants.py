"""Planted bugs of Raft, the node and the disk, found by the ``log`` workload.

Two bugs of CHAOS.md's list hide from whole nodes, however many seeds one tries: an entry of an older term committed
by counting (figure 8) needs the term's no-op to travel apart from what it commits, and a commit beyond the verified
prefix needs a leader that matches below the point of divergence; here appends carry both, and hints meet the point
exactly. They have directed scenarios in ``tests/raft/test_known_bugs.py`` (07 and 10).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quorumlog.machine import gate
from quorumlog.raft import commitment, core, following, leadership, log, quorum
from quorumlog.raft.types import AppendRequest, HardState
from quorumlog.replica import Outcome, partition
from quorumlog.replica.replica import Replica
from quorumlog.sim import disk
from quorumlog.sim.mutant import CRASH, Mutant
from quorumlog.storage import PartitionLog

if TYPE_CHECKING:
    from quorumlog.machine.gate import AppendGate
    from quorumlog.raft.core import Raft
    from quorumlog.raft.following import Following
    from quorumlog.raft.types import Entry, Message, Ready
    from quorumlog.wire.header import BatchHeader


# --- raft ---------------------------------------------------------------------------------------------------------


def _vote_again(original: Any) -> Any:
    """Grants every candidate its vote, whoever had it before."""
    return lambda self, message: True


def _any_log_will_do(original: Any) -> Any:
    """Votes for candidates whose log is behind."""
    return lambda self, last_index, last_term: True


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


def _commit_at_once(original: Any) -> Any:
    """A follower takes everything it receives for committed."""
    return lambda self, leader_commit, verified: self._log.commit_to(verified)


def _half_is_enough(original: Any) -> Any:
    """Half of the voters elect."""
    return lambda voters: max(1, voters // 2)


def _one_copy_less(original: Any) -> Any:
    """An entry is committed with one copy less than a majority."""
    return lambda matches: (
        sorted(matches)[len(list(matches)) // 2 + 1] if len(list(matches)) > 2 else original(matches)
    )


def _serve_before_noop(original: Any) -> Any:
    """Serves from the moment of its election, not knowing yet what had been committed."""
    return property(lambda self: self._leadership is not None)


def _read_unconfirmed(original: Any) -> Any:
    """Answers linearizable reads without asking a quorum whether it still leads."""
    return lambda self: True


# --- the node -----------------------------------------------------------------------------------------------------


def _acknowledge_at_once(original: Any) -> Any:
    """Votes and acknowledgements leave before the disk has what they promise."""

    def persist(self: Replica, ready: Ready) -> None:
        for message in ready.persisted_messages:
            self._host.send(self.group_id, message)
        original(self, replace(ready, persisted_messages=()))

    return persist


def _count_own_copy_at_once(original: Any) -> Any:
    """The leader counts its own copy before its disk has it."""

    def persist(self: Replica, ready: Ready) -> None:
        original(self, ready)
        if self.raft.is_leader:
            self.raft.on_persisted(ready.number)

    return persist


def _forget_vote(original: Any) -> Any:
    """The vote never reaches the disk."""

    def stage(self: PartitionLog, number: int, state: HardState | None, entries: Any) -> None:
        original(self, number, None if state is None else state._replace(vote=None), entries)

    return stage


def _forget_term(original: Any) -> Any:
    """The term reaches the disk only together with entries."""

    def stage(self: PartitionLog, number: int, state: HardState | None, entries: Any) -> None:
        original(self, number, state if entries else None, entries)

    return stage


def _no_duplicates(original: Any) -> Any:
    """A repeated batch is taken for a new one."""

    def check(self: AppendGate, header: BatchHeader) -> Any:
        return gate.Fresh(self.next_offset)

    return check


class _NothingIsUnknown:
    """Stands in for ``Outcome``: a timeout is reported as a failure."""

    NOT_DONE = Outcome.NOT_DONE
    UNKNOWN = Outcome.NOT_DONE


# --- the disk -----------------------------------------------------------------------------------------------------


def _do_nothing(original: Any) -> Any:
    """The call is left out."""
    return lambda self, *arguments: None


_LOSSES = frozenset(
    {
        "durable promise",
        "leader completeness",
        "state-machine safety",
        "log matching",
        "lost write",
        "unseen",
        CRASH,
    }
)
_DIVERGENCE = frozenset({"state-machine safety", "digest equality", "log matching", "inconsistent offset", CRASH})
_POWER = {
    "faults": ("power loss", "power loss of all", "slow disk"),
    "fault_every_ms": 150,
    "fault_lasts_ms": 150,
    "tick_ms": 20,
    "send_every_ms": 30,
}
_KILLS = {
    "faults": ("kill", "kill leader", "power loss"),
    "fault_every_ms": 200,
    "fault_lasts_ms": 150,
    "tick_ms": 20,
}

_CUTS = {"faults": ("isolate leader", "pause leader", "mute"), "fault_every_ms": 300, "fault_lasts_ms": 1500}
_FIVE = {**_CUTS, "faults": ("kill leader",), "nodes": 5, "replication": 5, "slow_frames": 0.3}
#: Power comes and goes before an election is over, so that its voters vote again.
_STORM = {"faults": ("power loss of all",), "fault_every_ms": 100, "fault_lasts_ms": 30, "tick_ms": 20}

LOG_MUTANTS: dict[str, Mutant] = {
    "ack before fsync": Mutant(Replica, "_persist", _acknowledge_at_once, _LOSSES, 100, _POWER),
    "truncate on any append": Mutant(following.Following, "_take", _truncate_always, _LOSSES | _DIVERGENCE, 50),
    "vote not persisted": Mutant(
        PartitionLog,
        "stage",
        _forget_vote,
        frozenset({"one vote per term", "one leader per term", CRASH}),
        60,
        _STORM,
    ),
    "term not persisted": Mutant(PartitionLog, "stage", _forget_term, _LOSSES | {"one vote per term"}, 50, _KILLS),
    "vote twice in a term": Mutant(
        core.Raft, "_has_vote_for", _vote_again, frozenset({"one vote per term", "one leader per term"}), 50
    ),
    "no log-freshness check": Mutant(log.Log, "is_as_current", _any_log_will_do, _LOSSES, 50),
    "stale-term append accepted": Mutant(
        core.Raft, "_answer_lower_term", _take_old_appends, _LOSSES | _DIVERGENCE, 200, _CUTS
    ),
    "commit on receipt": Mutant(
        following.Following, "_commit_verified", _commit_at_once, _LOSSES | _DIVERGENCE, 200, _FIVE
    ),
    "elected by half": Mutant(
        quorum, "majority", _half_is_enough, frozenset({"one leader per term", "leader completeness", CRASH}), 50
    ),
    "committed by half": Mutant(commitment, "majority_index", _one_copy_less, _LOSSES | _DIVERGENCE, 50),
    "serving before the no-op": Mutant(
        core.Raft, "can_serve", _serve_before_noop, frozenset({"stale tail", "duplicate", CRASH}), 50
    ),
    "read without a round": Mutant(
        leadership.Leadership, "_leads_alone", _read_unconfirmed, frozenset({"stale tail"}), 100, _CUTS
    ),
    "leader counts its copy before its fsync": Mutant(
        Replica, "_persist", _count_own_copy_at_once, _LOSSES, 400, _POWER
    ),
    "retry without de-duplication": Mutant(
        gate.AppendGate, "check", _no_duplicates, frozenset({"duplicate", CRASH}), 50, {"idempotent": True}
    ),
    "timeout reported as a failure": Mutant(
        partition,
        "Outcome",
        lambda original: _NothingIsUnknown,
        frozenset({"aborted read", "duplicate"}),
        50,
        _CUTS,
    ),
    "fsync left out": Mutant(disk.SimulatedFile, "fdatasync", _do_nothing, _LOSSES, 50, _POWER),
    "directory fsync left out": Mutant(disk.SimulatedDisk, "fsync_dir", _do_nothing, _LOSSES, 50, _POWER),
}
