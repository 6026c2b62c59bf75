"""The load of ``quorumlog.sim.registers`` on a whole cluster: who uses which register, and the proof that all of
them work again once the cluster is healed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.check import EventType
from quorumlog.check.forms import told_acquired
from quorumlog.machine.offset_commands import CommitItem
from quorumlog.replica import Failure, Reason
from quorumlog.replica.offset_api import (
    AcquiredOffset,
    AcquireRequest,
    CommittedOffset,
    Fallback,
    FetchedOffset,
    StartAt,
    StartRule,
)
from quorumlog.sim.asking import Asker
from quorumlog.sim.audits import Auditor
from quorumlog.sim.registers import Operator, Owner, Register, Watcher, fetch
from quorumlog.sim.telling import Teller
from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.sim.calls import Lost
    from quorumlog.sim.cluster import Cluster

#: Longer than any phase lasts: a proof ends when its phase does.
_FOR_EVER_MS = 3_600_000
#: How long a refused proof waits before it begins again.
_AGAIN_MS = 30


class RegisterLoad:
    """See the module. Nothing happens before ``begin``."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._actors: list[Owner | Watcher | Operator | Auditor] = []
        self._registers: list[Register] = []

    def begin(self) -> None:
        options = self._cluster.options
        for topic, part in self._cluster.partitions():
            for number in range(options.registers):
                register = Register(
                    self._cluster.shared, f"group-{number}", topic, part.partition, tuple(part.replicas)
                )
                self._registers.append(register)
                self._actors += [
                    Owner(register, options.commit_every_ms, exclusive=options.exclusive)
                    for _ in range(options.owners)
                ]
                self._actors.append(Watcher(register, options.commit_every_ms))
                if options.offset_resets:
                    self._actors.append(Operator(register, options.commit_every_ms * 8))

        if options.audit_every_ms:
            self._actors += [
                Auditor(self._cluster, topic, part, options.audit_every_ms)
                for topic, part in self._cluster.partitions()
            ]

    def stop(self) -> None:
        """Nothing new is begun; what is under way goes on."""
        for actor in self._actors:
            actor.stop()

    def prove(self, served: Sequence[tuple[str, int]]) -> list[Proof]:
        """Begins to prove that every register in these partitions works."""
        return [Proof(register) for register in self._registers if (register.topic, register.partition) in served]

    def finally_fetched(self) -> list[FinalFetch]:
        """Begins to fetch every register as a fresh client."""
        return [FinalFetch(register) for register in self._registers]


class Proof:
    """A fresh owner takes one register over, commits, and finds its commit again; then ``finished``."""

    def __init__(self, register: Register) -> None:
        self.finished = False
        self._register = register
        self._shared = register.shared
        self._asker = Asker(register.shared)
        self._teller = Teller(register.shared, register.key)
        self._session = self._asker.random.getrandbits(63) | 1
        self._sequence = 0
        self._acquire()

    def _again(self) -> None:
        self._shared.world.after(_AGAIN_MS * MS, self._acquire)

    def _acquire(self) -> None:
        register = self._register
        start = StartAt(StartRule.EARLIEST)
        request = AcquireRequest(register.group, "proof", self._session, start, on_out_of_range=Fallback.EARLIEST)
        invocation = self._teller.begin("acquire", {"start": [start.rule.name, start.value]})

        def answered(result: AcquiredOffset | Failure | Lost, unknown: bool, node: int) -> None:
            if isinstance(result, AcquiredOffset):
                self._teller.end(invocation, EventType.OK, told_acquired(result), node=node)
                self._commit(result)
            else:
                self._teller.refused(invocation, result, unknown, node)
                self._again()

        self._asker.ask(
            register.topic,
            register.partition,
            lambda node, done: node.offsets.acquire(register.topic, register.partition, request, 0, done),
            answered,
            patience_ms=_FOR_EVER_MS,
        )

    def _commit(self, acquired: AcquiredOffset) -> None:
        register = self._register
        self._sequence += 1
        token = f"c{self._shared.new_token()}"
        # What is stored and out of the log's range cannot be committed again: retention is ahead of the group.
        offset = acquired.start_offset
        item = CommitItem(
            register.group, offset, acquired.owner_epoch, self._session, self._sequence, None, token.encode()
        )
        asked = {"offset": offset, "epoch": acquired.owner_epoch, "token": token}
        invocation = self._teller.begin("commit", asked)

        def answered(result: CommittedOffset | Failure | Lost, unknown: bool, node: int) -> None:
            if isinstance(result, CommittedOffset):
                version = result.version
                self._teller.end(invocation, EventType.OK, {"version": version, "term": result.term}, node=node)
                self._fetch(version)
                return
            self._teller.refused(invocation, result, unknown, node)
            if isinstance(result, Failure) and result.reason in (Reason.FENCED, Reason.NOT_OWNER):
                self._session = self._asker.random.getrandbits(63) | 1
                self._sequence = 0
            self._again()

        self._asker.ask(
            register.topic,
            register.partition,
            lambda node, done: node.offsets.commit(register.topic, register.partition, item, 0, done),
            answered,
            patience_ms=_FOR_EVER_MS,
        )

    def _fetch(self, version: int) -> None:
        def fetched(result: FetchedOffset | Failure | Lost) -> None:
            if isinstance(result, FetchedOffset) and result.stored is not None:
                self.finished = result.stored.version == version
            if not self.finished:
                self._again()

        fetch(self._asker, self._teller, self._register, None, fetched)


class FinalFetch:
    """A fresh client's linearizable fetch after everything; repeated until it succeeds, then ``finished``."""

    def __init__(self, register: Register) -> None:
        self.finished = False
        self._register = register
        self._asker = Asker(register.shared)
        self._fetch()

    def _fetch(self) -> None:
        fetch(
            self._asker,
            Teller(self._register.shared, self._register.key),
            self._register,
            None,
            self._fetched,
            final=True,
        )

    def _fetched(self, result: FetchedOffset | Failure | Lost) -> None:
        self.finished = isinstance(result, FetchedOffset)
        if not self.finished:
            self._register.shared.world.after(_AGAIN_MS * MS, self._fetch)
