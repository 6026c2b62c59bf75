"""What every kind of offset request stands on: its replica, and the way of a command through the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.machine.partition_commands import encode_partition_command
from quorumlog.raft import NotLeader, Overloaded, Transferring
from quorumlog.raft.types import EntryKind
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.replica.ids import node_of
from quorumlog.replica.leader_wait import LeaderWait
from quorumlog.replica.proposals import Proposals
from quorumlog.replica.record_finder import RecordFinder
from quorumlog.replica.refusals import overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.machine import PartitionMachine
    from quorumlog.machine.offset_commands import OffsetCommand
    from quorumlog.replica.refusals import Refusals
    from quorumlog.replica.replica import Replica
    from quorumlog.replica.seam import Host


class Ground:
    """One partition's. ``run`` is the way of every command but commits, which have a door of their own."""

    __slots__ = (
        "finder",
        "flush",
        "host",
        "machine",
        "node_id",
        "now_ms",
        "proposals",
        "refuse",
        "replica",
        "wait",
    )

    def __init__(self, replica: Replica, machine: PartitionMachine, refuse: Refusals, host: Host) -> None:
        self.replica = replica
        self.machine = machine
        self.refuse = refuse
        self.host = host
        self.now_ms = host.now_ms
        self.node_id = node_of(replica.replica_id)
        self.wait = LeaderWait(replica, refuse, host.now_ms)
        self.proposals = Proposals()
        self.finder = RecordFinder(replica, machine, refuse)
        self.flush: Callable[[], None] = _nothing
        """Proposes the commits that have gathered: one that came before a take-over is in the log before it."""

    def run(self, command: OffsetCommand, deadline_ms: int, done: Callable[[object], None]) -> None:
        """Has the partition carry out ``command``; ``done`` gets the machine's result once it is durable on a
        majority and applied here, or a Failure. Waits while leadership is being taken up."""
        self.wait.lead(deadline_ms, lambda: self._propose(command, deadline_ms, done), done)

    def _propose(self, command: OffsetCommand, deadline_ms: int, done: Callable[[object], None]) -> None:
        self.flush()
        refusal = self.propose(encode_partition_command(command))
        if isinstance(refusal, int):
            self.proposals.add(refusal, deadline_ms, done)
            self.replica.watch()
        elif refusal is None:
            self.wait.hold(deadline_ms, lambda: self._propose(command, deadline_ms, done), done)
        else:
            done(refusal)

    def propose(self, data: bytes) -> int | Failure | None:
        """The index of the new entry; None while leadership is being handed over: what waits may be served yet."""
        if self.replica.disk_full:
            return Failure(Reason.DISK_FULL, "the leader's disk is full")
        try:
            return self.replica.propose(EntryKind.COMMAND, data)
        except NotLeader:
            return self.refuse.not_leader()
        except Overloaded:
            return overloaded("too many bytes of this partition are not yet committed")
        except Transferring:
            return None

    def deposed(self) -> None:
        """Leadership is lost: what was proposed may happen yet, or not; who waits is sent on."""
        failure = self.refuse.deposed()
        for done in self.proposals.take_all():
            done(failure)
        self.wait.look(self.now_ms())

    def tick(self, now_ms: int) -> None:
        """Ends what has waited too long."""
        for done in self.proposals.expired(now_ms):
            done(self.refuse.unconfirmed("change"))
        self.wait.look(now_ms)

    def close(self, failure: Failure) -> None:
        """The replica goes out of service."""
        unknown = Failure(failure.reason, failure.message, Outcome.UNKNOWN, failure.leader_node)
        for done in self.proposals.take_all():
            done(unknown)
        self.wait.refuse_all(failure)

    @property
    def waiting(self) -> int:
        return len(self.proposals) + len(self.wait)


def _nothing() -> None:
    pass
