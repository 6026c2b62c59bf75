"""A world for commits without a network: consumers that finish records, nodes that commit, refuse, fall silent or
do late what nobody waits for any more, and the stored offsets, which show what really happened.

The partition's rules are the documented ones (offsets.proto): an owner epoch, its sequence that is stored
once, no offset below the stored one, a fate that is settled when it is asked for.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.client.errors import QuorumlogError, Reason, make_error
from quorumlog.client.offset_types import Fate
from quorumlog.client.policy.commits import CommitSettings, PartitionCommits, ReadBack, Resolve
from quorumlog.client.policy.committer import Attempt, CommitCall, Committer
from quorumlog.client.policy.progress import Progress
from quorumlog.client.policy.routing import ClusterView, PartitionView, Router, TopicView
from quorumlog.client.receipt import Receipt

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESSES = {1: "a:1", 2: "b:2"}


class Sent(NamedTuple):
    """A commit as it went over the wire."""

    partition: int
    offset: int
    owner_epoch: int
    session: int
    sequence: int


class Register:
    """One (group, partition) as it is stored."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.offset = 0
        self.version = 0
        self.owner_epoch = 1
        self.session = 1
        self.last_sequence = 0
        self.history: dict[tuple[int, int], Receipt] = {}

    def commit(self, sent: Sent) -> Receipt | QuorumlogError:
        if sent.owner_epoch < self.owner_epoch:
            return make_error(Reason.FENCED, "fenced", not_done=True)
        known = self.history.get((sent.owner_epoch, sent.sequence))
        if known is not None:
            return known
        if sent.sequence <= self.last_sequence:
            return make_error(Reason.COMMIT_SETTLED, "settled", not_done=True)
        if sent.offset < self.offset:
            return make_error(Reason.OFFSET_REGRESSED, "regressed", not_done=True)
        self.offset = sent.offset
        self.version += 1
        self.last_sequence = sent.sequence
        receipt = Receipt("g", "t", self.partition, sent.offset, self.version, 1)
        self.history[sent.owner_epoch, sent.sequence] = receipt
        return receipt

    def resolve(self, owner_epoch: int, sequence: int) -> tuple[Fate, Receipt | None]:
        found = self.history.get((owner_epoch, sequence))
        if found is not None:
            return (Fate.PRESENT if found.version == self.version else Fate.SUPERSEDED), found
        if owner_epoch == self.owner_epoch:
            self.last_sequence = max(self.last_sequence, sequence)
        return Fate.NEVER_HAPPENED, None

    def take_over(self) -> None:
        self.owner_epoch += 1
        self.session += 1
        self.last_sequence = 0


class Owner:
    """One partition's consumer: its progress, its commits, and the questions it has asked."""

    def __init__(self, world: CommitWorld, register: Register, settings: CommitSettings) -> None:
        self.world = world
        self.register = register
        self.progress = Progress(register.offset)
        self.questions: list[Resolve | ReadBack] = []
        self.receipts: list[Receipt] = []
        self.commits = PartitionCommits(
            ("g", "t", register.partition),
            register.owner_epoch,
            register.session,
            self.progress,
            settings,
            world.random,
            on_settled=self._settled,
        )

    def finish(self, count: int) -> None:
        self.progress.deliver(self.progress.delivered + count)
        self.progress.done_below(self.progress.delivered, self.world.now_ms)

    def _settled(self, attempt: Attempt) -> None:
        self.commits.settle(attempt, self.world.now_ms)
        if attempt.receipt is not None:
            self.receipts.append(attempt.receipt)

    def poll(self) -> None:
        action = self.commits.poll(self.world.now_ms)
        if isinstance(action, Attempt):
            self.world.committer.submit(action, self.world.now_ms)
        elif action is not None:
            self.questions.append(action)

    def answer_question(self, error: QuorumlogError | None = None) -> None:
        if not self.questions:
            return
        question = self.questions.pop()
        now_ms = self.world.now_ms
        if error is not None:
            self.commits.ask_failed(error, now_ms)
        elif isinstance(question, Resolve):
            attempt = question.attempt
            fate, receipt = self.register.resolve(attempt.owner_epoch, attempt.sequence)
            self.commits.resolved(fate, receipt, now_ms)
        else:
            self.commits.read_back(self.register.version, now_ms)


class CommitWorld:
    """``partitions`` owners in one process, two nodes, and time that passes when told."""

    def __init__(self, settings: CommitSettings | None = None, partitions: int = 2, seed: int = 0) -> None:
        self.random = Random(seed)
        self.now_ms = 1000.0
        self.router = Router(list(ADDRESSES.values()))
        self.committer = Committer(self.router, self.random, timeout_ms=3000.0)
        self.leaders = [1] * partitions
        self.terms = [1] * partitions
        self.registers = [Register(number) for number in range(partitions)]
        self.owners = [Owner(self, register, settings or CommitSettings()) for register in self.registers]
        self.calls: deque[CommitCall] = deque()
        self.answers: list[Callable[[], None]] = []
        self.limbo: list[Sent] = []
        self.requests = 0
        self.learn()

    def learn(self) -> None:
        views = tuple(PartitionView(leader, term) for leader, term in zip(self.leaders, self.terms, strict=True))
        self.router.learn(ClusterView(ADDRESSES, {"t": TopicView(1, 1 << 20, views)}, 1))

    def elect(self, partition: int) -> None:
        self.leaders[partition] = 3 - self.leaders[partition]
        self.terms[partition] += 1

    def poll(self) -> None:
        for owner in self.owners:
            owner.poll()
        work = self.committer.poll(self.now_ms)
        self.requests += len(work.calls)
        self.calls.extend(work.calls)

    def pass_ms(self, ms: float) -> None:
        self.now_ms += ms

    # ---- the nodes

    def _sent(self, call: CommitCall) -> list[Sent]:
        return [
            Sent(each.partition, each.offset, each.owner_epoch, each.session, each.sequence)
            for each in call.attempts
        ]

    def serve(self) -> None:
        """The oldest call is carried out; its answer is on its way."""
        if not self.calls:
            return
        call = self.calls.popleft()
        results: list[Receipt | QuorumlogError] = []
        for sent in self._sent(call):
            leader = ADDRESSES[self.leaders[sent.partition]]
            if leader == call.address:
                results.append(self.registers[sent.partition].commit(sent))
            else:
                results.append(make_error(Reason.NOT_LEADER, "not leader", not_done=True, leader=leader))
        self.answers.append(lambda: self.committer.answered(call.address, call.correlation, results, self.now_ms))

    def answer(self, which: int = 0) -> None:
        if self.answers:
            self.answers.pop(which % len(self.answers))()

    def lose(self, *, done: bool, late: bool) -> None:
        """The oldest call's connection breaks: it has been carried out, or will be one day, or never."""
        if not self.calls:
            return
        call = self.calls.popleft()
        for sent in self._sent(call):
            if done:
                self.registers[sent.partition].commit(sent)
            elif late:
                self.limbo.append(sent)
        error = make_error(Reason.UNREACHABLE, "broke", not_done=False)
        self.committer.broken(call.address, call.correlation, error, self.now_ms)

    def refuse(self, reason: Reason, *, not_done: bool = True, done: bool = False) -> None:
        """The oldest call is refused as a whole."""
        if not self.calls:
            return
        call = self.calls.popleft()
        if not not_done:
            for sent in self._sent(call):
                if done:
                    self.registers[sent.partition].commit(sent)
                else:
                    self.limbo.append(sent)
        error = make_error(reason, "refused", not_done=not_done)
        self.committer.answered(call.address, call.correlation, [error] * len(call.attempts), self.now_ms)

    def do_late(self, which: int) -> None:
        if self.limbo:
            sent = self.limbo.pop(which % len(self.limbo))
            self.registers[sent.partition].commit(sent)

    def go(self) -> None:
        """Everything that is on its way arrives."""
        self.poll()
        while self.calls or self.answers:
            self.serve()
            self.answer()
            self.poll()

    def heal(self, for_ms: float = 20_000.0) -> None:
        """No more faults, for a while."""
        until = self.now_ms + for_ms
        while self.now_ms < until:
            self.pass_ms(50.0)
            self.learn()
            self.go()
            for owner in self.owners:
                owner.answer_question()
            if all(owner.commits.settled and not owner.progress.fresh for owner in self.owners):
                return
