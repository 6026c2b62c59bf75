"""A group under a random schedule, and the properties that no schedule may break.

The schedule is a stream of choices (``choose(n)`` gives 0 ≤ i < n): Hypothesis draws them where a failure is to be
shrunk, a ``random.Random`` where speed counts. Messages are lost, doubled and reordered; disks lag behind; crashes
take what was not written; leadership moves; the membership changes; logs are compacted; groups fall quiet.

The properties are the paper's figure 3 and what the host relies on: see ``Properties``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from raft.raft_kit import Cluster, Member, MemoryStorage, change, voters

from quorumlog.raft import (
    AppendResponse,
    Configuration,
    Entry,
    EntryKind,
    InstallCheckpoint,
    Message,
    NoLeader,
    Raft,
    RaftError,
    ReplicaId,
    Role,
    VoteRequest,
    VoteResponse,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Properties:
    """What was seen so far, and what may therefore never be seen again."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.leader_of: dict[int, ReplicaId] = {}
        self.applied: dict[int, Entry] = {}
        self.highest_commit = 0
        self.seen: dict[ReplicaId, tuple[int, int, int, int]] = {}
        self.votes: dict[tuple[ReplicaId, int], ReplicaId] = {}
        self.checked: dict[ReplicaId, int] = {}
        self.asked: dict[int, int] = {}
        self.answered = 0

    def check(self) -> None:
        for member in self.cluster.members.values():
            self._one_leader_per_term(member.raft)
            self._nothing_regresses(member)
            self._state_machines_agree(member)
            self._reads_are_fresh(member)
        self.highest_commit = max(self.highest_commit, *(m.raft.commit for m in self.cluster.members.values()))

    def _one_leader_per_term(self, raft: Raft) -> None:
        """Election safety, and leader completeness where a leader is new."""
        if not raft.is_leader:
            return
        replica = raft.status().replica
        known = self.leader_of.setdefault(raft.term, replica)
        assert known == replica, f"term {raft.term} has leaders {known} and {replica}"
        if self.checked.get(replica) != raft.term:
            self.checked[replica] = raft.term
            for index, entry in self.applied.items():
                if index >= raft.status().first_index:
                    assert index <= raft.last_index, f"leader {replica} lacks committed {index}"
                    assert raft._log.term(index) == entry.term, f"leader {replica} has another entry at {index}"

    def _nothing_regresses(self, member: Member) -> None:
        raft = member.raft
        starts, term, commit, applied = self.seen.get(member.id, (0, 0, 0, 0))
        if starts == member.starts:
            assert raft.commit >= commit
            assert raft.applied >= applied
            assert raft.term >= term
        assert raft.applied <= raft.commit <= raft.last_index
        self.seen[member.id] = (member.starts, raft.term, raft.commit, raft.applied)

    def _state_machines_agree(self, member: Member) -> None:
        for entry in member.machine[-8:]:
            known = self.applied.setdefault(entry.index, entry)
            assert known == entry, f"{member.id} applied {entry}, somebody {known}"

    def _reads_are_fresh(self, member: Member) -> None:
        for read in member.reads:
            assert read.index >= self.asked[read.context], "a read misses what was committed before it was asked"
            self.answered += 1
        member.reads.clear()
        member.dropped.clear()

    def logs_match(self) -> None:
        """Log matching: equal index and term, equal logs up to there."""
        disks = [member.storage for member in self.cluster.members.values()]
        for one, other in pairwise(disks):
            low = max(one.first_index, other.first_index)
            common = range(low, min(one.last_index, other.last_index) + 1)
            same = [index for index in common if one.term(index) == other.term(index)]
            if same:
                ours = one.log[low - one.first_index : same[-1] - one.first_index + 1]
                theirs = other.log[low - other.first_index : same[-1] - other.first_index + 1]
                assert ours == theirs, "equal at the end, different before"

    def promise_is_kept(self, member: Member, message: Message) -> None:
        """What leaves is true of the disk it leaves: votes, acknowledgements, candidacies."""
        disk = member.storage
        if isinstance(message, AppendResponse) and message.success:
            assert disk.last_index >= message.index, "acknowledged, and not on disk"
        elif isinstance(message, VoteResponse) and message.granted and not message.pre:
            assert disk.hard_state.term >= message.term, "voted, and the term is not on disk"
            known = self.votes.setdefault((member.id, message.term), message.to)
            assert known == message.to, f"{member.id} voted twice in term {message.term}"
            if disk.hard_state.term == message.term:
                assert disk.hard_state.vote == message.to
        elif isinstance(message, VoteRequest) and not message.pre:
            assert disk.hard_state.term >= message.term
            assert disk.last_index >= 0


class World:
    """Members, messages, properties; one ``act`` at a time."""

    def __init__(self, choose: Callable[[int], int], size: int, *, changes: bool = True, seed: int = 0) -> None:
        self.choose = choose
        self.cluster = Cluster(
            voters(*range(1, size + 1)),
            seed=seed,
            election_ticks=6,
            heartbeat_ticks=2,
            max_append_bytes=40,
            max_in_flight_messages=3,
            max_uncommitted_bytes=400,
            max_apply_bytes=60,
        )
        self.replicas = list(range(1, size + 3))
        for spare in self.replicas[size:]:
            self.cluster.add(spare, MemoryStorage(Configuration(frozenset())))
        self.properties = Properties(self.cluster)
        self.changes = changes
        self.proposals = 0
        self.contexts = 0
        # Weights: most of a group's life is messages, disks and time.
        self.acts: list[Callable[[], None]] = (
            [self.deliver] * 30
            + [self.take] * 24
            + [self.persist] * 14
            + [self.tick] * 8
            + [self.propose] * 6
            + [self.drop, self.double, self.reorder, self.crash, self.campaign, self.leader_lost]
            + [
                self.read,
                self.read,
                self.transfer,
                self.unreachable,
                self.compact,
                self.resign,
                self.rest,
                self.wake,
                self.forget,
            ]
            + [self.change] * (1 if changes else 0)
        )

    def act(self) -> None:
        self.acts[self.choose(len(self.acts))]()
        self.properties.check()

    def run(self, acts: int) -> None:
        for done in range(acts):
            self.act()
            if done % 25 == 0:
                self.properties.logs_match()
        self.properties.logs_match()

    def pick(self) -> Member:
        return self.cluster.members[self.replicas[self.choose(len(self.replicas))]]

    def pick_of(self, members: list[Member]) -> Member | None:
        return members[self.choose(len(members))] if members else None

    def leader(self) -> Member | None:
        return self.pick_of([member for member in self.cluster.members.values() if member.raft.is_leader])

    def send(self, member: Member, messages: Iterable[Message]) -> None:
        for message in messages:
            self.properties.promise_is_kept(member, message)
            self.cluster.wire.append(message)

    # --- acts

    def deliver(self) -> None:
        if self.cluster.wire:
            self.cluster.deliver(self.cluster.wire.pop(0))

    def reorder(self) -> None:
        wire = self.cluster.wire
        if wire:
            self.cluster.deliver(wire.pop(self.choose(len(wire))))

    def drop(self) -> None:
        wire = self.cluster.wire
        if wire:
            message = wire.pop(self.choose(len(wire)))
            if isinstance(message, InstallCheckpoint):
                self.cluster[message.sender].report_checkpoint(message.to, False)

    def double(self) -> None:
        wire = self.cluster.wire
        if wire:
            wire.append(wire[self.choose(len(wire))])

    def take(self) -> None:
        member = self.pick_of([m for m in self.cluster.members.values() if m.raft.has_ready()])
        if member is not None:
            self.send(member, member.take()[1])

    def persist(self) -> None:
        member = self.pick_of([m for m in self.cluster.members.values() if m.writes])
        if member is not None:
            self.send(member, member.persist())

    def tick(self) -> None:
        member = self.pick()
        for _ in range(1 + self.choose(3)):
            if not member.raft.quiet:
                member.raft.tick()

    def propose(self) -> None:
        member = self.leader()
        if member is None:
            return
        self.proposals += 1
        try:
            member.raft.propose(EntryKind.DATA, b"%d" % self.proposals * (1 + self.choose(12)))
        except RaftError:
            return

    def read(self) -> None:
        member = self.pick()
        self.contexts += 1
        self.properties.asked[self.contexts] = self.properties.highest_commit
        try:
            member.raft.read_index(self.contexts)
        except NoLeader:
            return

    def crash(self) -> None:
        self.pick().crash()

    def campaign(self) -> None:
        self.pick().raft.campaign()

    def leader_lost(self) -> None:
        self.pick().raft.leader_lost()

    def resign(self) -> None:
        member = self.leader()
        if member is not None:
            member.raft.resign()

    def unreachable(self) -> None:
        member = self.leader()
        if member is not None:
            member.raft.report_unreachable(self.pick().id)

    def rest(self) -> None:
        member = self.leader()
        if member is not None and member.raft.idle:
            member.raft.become_quiet()

    def wake(self) -> None:
        self.pick().raft.wake()

    def forget(self) -> None:
        """Old entries leave the memory; those that were wished for come back."""
        member = self.pick()
        if member.storage.resident_from:
            member.storage.resident_from = 0
            member.raft.on_entries_loaded()
        else:
            member.storage.resident_from = member.storage.first_index + self.choose(4)

    def transfer(self) -> None:
        member = self.leader()
        if member is not None:
            try:
                member.raft.transfer_leadership(self.pick().id)
            except RaftError:
                return

    def compact(self) -> None:
        """A host compacts what is durable and applied."""
        member = self.pick()
        index = min(member.raft.applied, member.raft.status().durable)
        if not member.writes and index > member.storage.checkpoint.index + self.choose(5):
            configuration = member.raft.configuration_at(member.raft.applied)
            applied = member.raft.applied
            if index == applied:
                dropped = index - member.applied_from
                member.storage.compact(index, configuration)
                member.machine = member.machine[dropped:]
                member.applied_from = index

    def change(self) -> None:
        member = self.leader()
        if member is None:
            return
        wanted = [replica for replica in self.replicas if self.choose(2)]
        learners = [replica for replica in self.replicas if replica not in wanted and self.choose(3) == 0]
        try:
            member.raft.propose_configuration(change(*wanted, learners=learners))
        except RaftError:
            return

    # --- healing

    def heal(self) -> None:
        """From here on nothing is lost, and time passes for all: a group must come to serve again, within bounded
        time."""
        for member in self.cluster.members.values():
            member.storage.resident_from = 0
            member.raft.on_entries_loaded()
            member.raft.wake()
            for message in self.cluster.pick(InstallCheckpoint, sender=member.id):
                member.raft.report_checkpoint(message.to, False)
        for _ in range(300):
            self.cluster.tick()
            self.properties.check()
            members = self.cluster.members.values()
            serving = [m for m in members if m.raft.can_serve and self._settled(m.raft)]
            if serving and self._everyone_caught_up(serving[-1]):
                break
        else:
            raise AssertionError("healed, and nobody serves")
        leader = max(serving, key=lambda member: member.raft.term)
        index = leader.raft.propose(EntryKind.DATA, b"after")
        self.cluster.settle()
        self.cluster.tick(4)
        for replica in sorted(leader.raft.configuration.voters):
            assert self.cluster[replica].applied >= index, f"{replica} did not catch up"
        self.properties.check()
        self.properties.logs_match()

    def _settled(self, raft: Raft) -> bool:
        return not raft.configuration.joint and raft.status().transferring_to is None

    def _everyone_caught_up(self, leader: Member) -> bool:
        followers = leader.raft.status().followers
        return leader.raft.role is Role.LEADER and all(each.match == leader.raft.last_index for each in followers)
