"""All links of a node: what leaves, who is heard, and what follows when somebody is not.

While a group is quiet nobody asks whether its leader lives; the mesh does, once for all groups. When a node falls
silent, its connections are refused, or something it sent was missed, every quiet group shared with it is woken, and
for the groups it led a campaign is planned (``quorumlog.replica.failover``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.engines import EngineMessage
from quorumlog.raft.types import AppendRequest, Message
from quorumlog.replica.api import LinkDescription, NodeConfig
from quorumlog.replica.events import Event, PeerHeard, PeerSilent
from quorumlog.replica.frames import Frame, Lane
from quorumlog.replica.ids import node_of
from quorumlog.replica.links import Outgoing, PeerLink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from quorumlog.raft.types import ReplicaId
    from quorumlog.replica.failover import Campaigns
    from quorumlog.replica.replica import Replica


class Mesh:
    """See the module. ``replicas`` is the node's own table, by group id; the mesh only reads it."""

    __slots__ = (
        "_config",
        "_emit",
        "_links",
        "_ranking",
        "_replicas",
        "_session",
        "_touch",
        "campaigns",
    )

    def __init__(
        self,
        config: NodeConfig,
        first_session: int,
        replicas: dict[int, Replica],
        campaigns: Campaigns,
        ranking: Callable[[int], tuple[int, ...]],
        touch: Callable[[Replica], None],
        emit: Callable[[Event], None],
        now_ms: int,
    ) -> None:
        self._config = config
        self._session = first_session
        self._replicas = replicas
        self._ranking = ranking
        self._touch = touch
        self._emit = emit
        self.campaigns = campaigns
        self._links = {
            peer: PeerLink(config.node_id, peer, now_ms) for peer in config.nodes if peer != config.node_id
        }

    # --- sending ---

    def outgoing(self, peer: int, lane: Lane) -> Outgoing | None:
        """The lane towards ``peer``, None if it is down or the node is unknown."""
        link = self._links.get(peer)
        if link is None:
            return None
        outgoing = link.lane(lane)
        return outgoing if outgoing.up else None

    def send(self, group_id: int, message: Message | EngineMessage) -> None:
        """Puts a Raft message on its lane. One that cannot leave is lost, as on any network; its sender is told
        where that saves it a time-out. Another engine's messages keep their order: all take one lane."""
        is_append = type(message) is AppendRequest and bool(message.entries)
        outgoing = self.outgoing(
            node_of(message.to), Lane.BULK if is_append or type(message) is EngineMessage else Lane.URGENT
        )
        if outgoing is not None:
            outgoing.messages.append((group_id, message))
        elif is_append:
            replica = self._replicas.get(group_id)
            if replica is not None:
                replica.raft.report_unreachable(message.to)

    def flush(self, now_ms: int) -> list[Frame]:
        """The frames that are due."""
        frames: list[Frame] = []
        heartbeat_ms = self._config.heartbeat_ticks * self._config.tick_ms
        for link in self._links.values():
            link.flush(now_ms, heartbeat_ms, frames)
        return frames

    # --- what happens to links ---

    def link_up(self, peer: int, lane: Lane, now_ms: int) -> None:
        """The outgoing stream is open. Whatever was lost before it must be said again."""
        link = self._links.get(peer)
        if link is None:
            return
        self._session += 1
        link.begin_session(lane, self._session)
        if lane is Lane.URGENT:
            self._wake_shared(peer)
            self._plan_leaderless(now_ms)
        elif lane is Lane.BULK:
            self._report_unreachable(peer)

    def link_down(self, peer: int, lane: Lane) -> None:
        link = self._links.get(peer)
        if link is not None:
            link.end_session(lane)
            self._report_unreachable(peer)

    def peer_lost(self, peer: int, now_ms: int) -> None:
        """The peer's process is gone: nobody listens where it did."""
        link = self._links.get(peer)
        if link is None:
            return
        if not link.silent:
            link.silent = True
            self._emit(PeerSilent(peer))
        self._wake_shared(peer)
        self._bereave(peer, now_ms)

    def hear(self, frame: Frame, now_ms: int) -> bool:
        """Whether the frame is to be taken; renews what relied on the link if something was missed."""
        link = self._links.get(frame.sender)
        if link is None:
            return False
        was_silent = link.silent
        taken, renew = link.hear(frame, now_ms)
        if taken and was_silent:
            link.heard_since_ms = now_ms
            self._emit(PeerHeard(frame.sender))
        if renew:
            self._wake_shared(frame.sender)
        return taken

    def tick(self, now_ms: int) -> None:
        """Notices who has fallen silent."""
        for peer, link in self._links.items():
            if not link.silent and now_ms - link.heard_ms > self._config.election_ms:
                link.silent = True
                self._emit(PeerSilent(peer))
                self._wake_shared(peer)
                self._bereave(peer, now_ms)

    def _shared(self, peer: int) -> Iterable[Replica]:
        for replica in self._replicas.values():
            configuration = replica.raft.configuration
            if any(node_of(member) == peer for member in configuration.voters | configuration.learners):
                yield replica

    def _wake_shared(self, peer: int) -> None:
        for replica in self._shared(peer):
            if replica.raft.quiet:
                replica.raft.wake()
                self._touch(replica)

    def _report_unreachable(self, peer: int) -> None:
        for replica in self._replicas.values():
            if replica.raft.is_leader:
                for follower in replica.raft.status().followers:
                    if node_of(follower.replica) == peer:
                        replica.raft.report_unreachable(follower.replica)

    # --- campaigns ---

    def _bereave(self, peer: int, now_ms: int) -> None:
        """The groups that ``peer`` led need a leader."""
        for replica in self._replicas.values():
            leader = replica.raft.leader
            if leader is not None and node_of(leader) == peer:
                self._leader_lost(replica, now_ms)

    def replica_lost(self, replica: Replica, fresh: ReplicaId, now_ms: int) -> None:
        """``fresh`` runs where an earlier incarnation was lost; if that one led, the group needs a leader.

        Nobody else says so: the node is alive and heard, and a quiet group would wait for a word of its leader for
        as long as it is.
        """
        leader = replica.raft.leader
        if leader is not None and node_of(leader) == node_of(fresh) and leader < fresh:
            self._leader_lost(replica, now_ms)

    def _leader_lost(self, replica: Replica, now_ms: int) -> None:
        replica.raft.leader_lost()
        self._touch(replica)
        self.campaigns.plan(replica.group_id, now_ms, self._rank(replica), replica.raft.term)

    def _plan_leaderless(self, now_ms: int) -> None:
        for replica in self._replicas.values():
            self.plan(replica, now_ms)

    def plan(self, replica: Replica, now_ms: int) -> None:
        """A replica that knows no leader shall not wait for a time-out to look for one."""
        if replica.raft.leader is None:
            self.campaigns.plan(replica.group_id, now_ms, self._rank(replica), replica.raft.term)

    def _rank(self, replica: Replica) -> int:
        """This node's turn among the group's nodes that are heard, the preferred replica first."""
        order = [
            node for node in self._ranking(replica.group_id) if node == self._config.node_id or self.heard(node)
        ]
        return order.index(self._config.node_id) if self._config.node_id in order else len(order)

    def campaign(self, now_ms: int) -> None:
        """Has those campaign whose turn it is."""
        for group_id in self.campaigns.due(now_ms):
            replica = self._replicas.get(group_id)
            if replica is None or replica.raft.leader is not None:
                self.campaigns.settled(group_id)
                continue
            term = replica.raft.term
            if not self.campaigns.overtaken(group_id, term):
                replica.raft.campaign()
                self._touch(replica)
                term += 1  # its own election, if the pre-vote succeeds
            self.campaigns.plan_again(group_id, now_ms, len(replica.raft.configuration.voters), term)

    # --- questions ---

    def heard(self, peer: int) -> bool:
        """Something was heard from ``peer`` within the election timeout."""
        link = self._links.get(peer)
        return link is not None and not link.silent

    def reachable(self, peer: int) -> bool:
        """It is heard, and whatever is sent to it can leave."""
        link = self._links.get(peer)
        return link is not None and not link.silent and link.up and link.lane(Lane.BULK).up

    def heard_for_ms(self, peer: int, now_ms: int) -> int:
        """For how long it has been heard without a break; 0 while it is silent."""
        link = self._links.get(peer)
        return now_ms - link.heard_since_ms if link is not None and not link.silent else 0

    def absent(self) -> frozenset[int]:
        """The nodes not heard."""
        return frozenset(peer for peer, link in self._links.items() if link.silent)

    def describe(self, now_ms: int) -> tuple[LinkDescription, ...]:
        return tuple(
            LinkDescription(peer, link.up and not link.silent, now_ms - link.heard_ms)
            for peer, link in self._links.items()
        )
