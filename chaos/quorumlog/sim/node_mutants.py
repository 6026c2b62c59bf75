"""Planted bugs of the node: what leaves before the disk has it, what readers are shown, what is done about a disk
that hangs. Found by the ``log`` workload.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quorumlog.machine import gate, sessions
from quorumlog.raft.types import HardState, VoteResponse
from quorumlog.replica import Outcome, ReadResult, partition
from quorumlog.replica.care import Care
from quorumlog.replica.reads import PartitionReads
from quorumlog.replica.replica import Replica
from quorumlog.sim.mutant import Mutant
from quorumlog.sim.raft_mutants import CUTS, LOSSES, TWO_LEADERS
from quorumlog.storage import OffsetNotStored, PartitionLog
from quorumlog.wire.batch import validate

if TYPE_CHECKING:
    from quorumlog.machine.gate import AppendGate
    from quorumlog.raft.types import Message, Ready
    from quorumlog.replica import Done
    from quorumlog.wire.header import BatchHeader

# --- what must wait for the disk ----------------------------------------------------------------------------------


def _acknowledge_at_once(original: Any) -> Any:
    """Votes and acknowledgements leave before the disk has what they promise."""

    def persist(self: Replica, ready: Ready) -> None:
        for message in ready.persisted_messages:
            self._host.send(self.group_id, message)
        original(self, replace(ready, persisted_messages=()))

    return persist


def _vote_at_once(original: Any) -> Any:
    """Votes, and nothing else, leave before the disk has them."""

    def persist(self: Replica, ready: Ready) -> None:
        held: list[Message] = []
        for message in ready.persisted_messages:
            if isinstance(message, VoteResponse):
                self._host.send(self.group_id, message)
            else:
                held.append(message)
        original(self, replace(ready, persisted_messages=tuple(held)))

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
    """What is written says the term of the last entry: a term without entries never reaches the disk."""

    def recorded(self: PartitionLog) -> HardState:
        state: HardState = original(self)
        written = self.term(self.last_index)
        return state if written == state.term else state._replace(term=written, vote=None)

    return recorded


def _no_duplicates(original: Any) -> Any:
    """A repeated batch is taken for a new one."""

    def check(self: AppendGate, header: BatchHeader) -> Any:
        return gate.Fresh(self.next_offset)

    return check


def _note_nothing(original: Any) -> Any:
    """The state machine does not keep what producers have written."""
    return lambda self, *facts: None


class _NothingIsUnknown:
    """Stands in for ``Outcome``."""

    NOT_DONE = Outcome.NOT_DONE
    UNKNOWN = Outcome.NOT_DONE


def _nothing_is_unknown(original: Any) -> Any:
    """A timeout is reported as a failure."""
    return _NothingIsUnknown


# --- the rest -----------------------------------------------------------------------------------------------------


def _show_what_is_appended(original: Any) -> Any:
    """Readers are shown what the leader has in its log, committed or not."""

    def read(self: PartitionReads, offset: int, max_bytes: int, *others: Any) -> Any:
        done: Done[ReadResult] = others[1]
        machine, log = self._machine, self._replica.log
        if self._replica.leading and machine.start_offset <= offset:
            try:
                found = log.read_batches(offset, 1 << 62, max_bytes)
            except OffsetNotStored:
                return original(self, offset, max_bytes, *others)
            if found.batches:
                header = validate(found.batches[-1], 1 << 30)
                end = header.base_offset + header.count
                done(ReadResult(found.batches, machine.start_offset, max(machine.end_offset, end), found.terms))
                return lambda: None
        return original(self, offset, max_bytes, *others)

    return read


def _wait_for_the_disk(original: Any) -> Any:
    """A leader whose disk does not answer goes on leading."""
    return lambda self, now_ms: None


POWER = {
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
#: Now and then a leader and one follower are all there is, and the leader's disk is behind when its power goes.
_ALONE = {
    "faults": ("power loss", "isolate", "slow disk"),
    "fault_every_ms": 100,
    "fault_lasts_ms": 200,
    "tick_ms": 20,
    "send_every_ms": 30,
}
#: Power comes and goes before an election is over, so that its voters vote again.
_STORM = {"faults": ("power loss of all",), "fault_every_ms": 100, "fault_lasts_ms": 30, "tick_ms": 20}

NODE_MUTANTS: dict[str, Mutant] = {
    "ack before fsync": Mutant(Replica, "_persist", _acknowledge_at_once, LOSSES, 100, POWER),
    "vote before fsync": Mutant(Replica, "_persist", _vote_at_once, TWO_LEADERS | {"durable promise"}, 100, _STORM),
    "leader counts its copy before its fsync": Mutant(
        Replica, "_persist", _count_own_copy_at_once, LOSSES, 100, _ALONE
    ),
    "vote not persisted": Mutant(PartitionLog, "stage", _forget_vote, TWO_LEADERS, 150, _STORM),
    "term not persisted": Mutant(
        PartitionLog, "_recorded_state", _forget_term, TWO_LEADERS | {"durable promise"}, 50, _KILLS
    ),
    "retry without de-duplication": Mutant(
        gate.AppendGate,
        "check",
        _no_duplicates,
        frozenset({"duplicate"}),
        50,
        {"idempotent": True},
        also=((sessions.ProducerSessions, "record", _note_nothing),),
    ),
    "timeout reported as a failure": Mutant(
        partition,
        "Outcome",
        _nothing_is_unknown,
        frozenset({"aborted read", "duplicate"}),
        50,
        CUTS,
    ),
    "reads above the commit index": Mutant(
        PartitionReads,
        "read",
        _show_what_is_appended,
        frozenset({"inconsistent offset", "lost write", "aborted read"}),
        100,
        CUTS,
    ),
    "leader ignoring a stalled disk": Mutant(
        Care, "_leave_stalled_disks", _wait_for_the_disk, frozenset({"liveness"}), scenario="stalled disk"
    ),
}
