"""The controller's requests: topics, producer ids, and the view of them that every node keeps.

Every node holds a replica of the controller group, so each knows topics and placement from its own applied state;
that may lag. Before a node says that a topic does *not* exist it asks the group (a read barrier): "unknown topic"
is an answer clients act on, and a stale one would be a lie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from quorumlog.machine import (
    Altered,
    ControllerCommand,
    ControllerMachine,
    Created,
    Deleted,
    InvalidProducerName,
    InvalidTopic,
    NotEnoughNodes,
    ProducerOpened,
    TopicExists,
    UnknownTopic,
    encode_controller_command,
)
from quorumlog.machine.commands import CreateCoordinators
from quorumlog.machine.topics import COORDINATORS_TOPIC, MAX_COORDINATORS
from quorumlog.raft import NotLeader, Overloaded, Transferring
from quorumlog.raft.types import Entry, EntryKind
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.replica.ids import node_of
from quorumlog.replica.proposals import Proposals

if TYPE_CHECKING:
    from quorumlog.replica.api import NodeConfig
    from quorumlog.replica.replica import Replica

#: What a controller command comes to, or why it failed.
CommandDone = Callable[[object], None]


class ControllerService:
    """See the module. Implements ``quorumlog.replica.seam.Service`` for the controller group."""

    __slots__ = (
        "_config",
        "_now_ms",
        "_on_change",
        "_patience_ms",
        "_proposals",
        "_replica",
        "_seen_version",
        "machine",
    )

    def __init__(
        self,
        replica: Replica,
        machine: ControllerMachine,
        config: NodeConfig,
        patience_ms: int,
        now_ms: Callable[[], int],
        on_change: Callable[[], None],
    ) -> None:
        self.machine = machine
        self._replica = replica
        self._config = config
        self._patience_ms = patience_ms
        self._now_ms = now_ms
        self._on_change = on_change
        self._proposals = Proposals()
        self._seen_version = -1

    # --- commands ---

    def command(self, command: ControllerCommand, timeout_ms: int, done: CommandDone) -> None:
        """Has the group carry out ``command``; ``done`` gets the state machine's result or a Failure."""
        if not self._replica.leading:
            done(self.not_leader())
            return
        try:
            index = self._replica.propose(EntryKind.COMMAND, encode_controller_command(command))
        except (NotLeader, Transferring):
            done(self.not_leader())
            return
        except Overloaded:
            done(Failure(Reason.OVERLOADED, "the controller has too much to do", retry_after_ms=50))
            return

        def settled(result: object) -> None:
            done(result if isinstance(result, Failure) else _as_failure(result) or result)

        self._proposals.add(index, self._now_ms() + timeout_ms, settled)
        self._replica.watch()

    def confirm(self, timeout_ms: int, done: Callable[[bool], None]) -> None:
        """Calls back once this node has applied all that the controller had committed; False if it cannot know."""
        self._replica.barrier(self._now_ms() + timeout_ms, done)

    # --- what the replica tells ---

    def flush(self) -> None:
        """Commands are proposed as they come."""

    def applied(self, entry: Entry, result: object) -> None:
        self._proposals.applied(entry.index, result)

    def advanced(self) -> None:
        if self.machine.changes != self._seen_version:
            self._seen_version = self.machine.changes
            self._on_change()

    def leading(self) -> None:
        """Whoever leads first makes the coordinators; if it fails over that, the next leader does."""
        count = min(self._config.coordinators, MAX_COORDINATORS)
        if count and isinstance(self.machine.topic(COORDINATORS_TOPIC), UnknownTopic):
            command = CreateCoordinators(count, self._config.nodes)
            self.command(command, self._config.append_timeout_ms, _ignore)

    def deposed(self) -> None:
        failure = self.not_leader(Outcome.UNKNOWN)
        for settled in self._proposals.take_all():
            settled(failure)

    def tick(self, now_ms: int) -> None:
        for settled in self._proposals.expired(now_ms):
            settled(Failure(Reason.NO_QUORUM, "no majority of the controller's nodes answered", Outcome.UNKNOWN))

    def close(self, failure: Failure) -> None:
        unknown = Failure(failure.reason, failure.message, Outcome.UNKNOWN)
        for settled in self._proposals.take_all():
            settled(unknown)

    # --- questions ---

    @property
    def start_offset(self) -> int:
        """The controller's log holds no records; all of it may go once a checkpoint stands for it."""
        return 0

    @property
    def waiting(self) -> int:
        return len(self._proposals)

    @property
    def leader_node(self) -> int:
        leader = self._replica.raft.leader
        return node_of(leader) if leader else 0

    def not_leader(self, outcome: Outcome = Outcome.NOT_DONE) -> Failure:
        leader = self.leader_node
        if not leader and self._now_ms() - self._replica.leaderless_since_ms > self._patience_ms:
            return Failure(Reason.NO_QUORUM, "the controller has no leader in this node's reach", outcome)
        where = f"node {leader} does" if leader else "who does is not known"
        return Failure(Reason.NOT_LEADER, f"this node does not lead the controller; {where}", outcome, leader)


def _ignore(result: object) -> None:
    """Nobody waits for it."""


def _as_failure(result: object) -> Failure | None:
    """The failure that a refusal of the state machine comes to; None if it is no refusal."""
    match result:
        case Created() | Altered() | Deleted() | ProducerOpened():
            return None
        case TopicExists(name, differences):
            listed = ", ".join(f"{item.field} is {item.existing}, not {item.asked}" for item in differences)
            fields = {item.field: str(item.existing) for item in differences}
            return Failure(
                Reason.TOPIC_EXISTS, f"topic {name!r} exists with other settings: {listed}", fields=fields
            )
        case NotEnoughNodes(factor, nodes):
            fields = {"replication_factor": str(factor), "nodes": str(nodes)}
            return Failure(
                Reason.NOT_ENOUGH_NODES, f"{factor} replicas need {factor} nodes; there are {nodes}", fields=fields
            )
        case InvalidTopic(field, why):
            return Failure(Reason.INVALID_TOPIC, why, fields={"field": field})
        case UnknownTopic(name):
            return unknown_topic(name)
        case InvalidProducerName(why):
            return Failure(Reason.INVALID_REQUEST, why, fields={"field": "name"})
        case _:
            return Failure(Reason.INTERNAL, f"unexpected result {result!r}", Outcome.UNKNOWN)


def unknown_topic(name: str) -> Failure:
    """No topic of that name, confirmed with the controller."""
    return Failure(Reason.UNKNOWN_TOPIC, f"there is no topic {name!r}", fields={"topic": name})
