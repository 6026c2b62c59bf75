"""Simulated users of single registers, one register being a group's offset in a partition: owners that take over
from each other and commit, watchers that fetch, operators that reset and ask what became of commits.

They speak to ``node.offsets`` with nothing between but retries, so that every rule of the register is met by
clients that do not keep it: owners that were fenced go on committing, commit backwards and beyond the end, and hold
on. Consumers that behave, group members with the real client's policies, stand in ``members``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quorumlog.check import EventType
from quorumlog.check.forms import told_acquired, told_stored
from quorumlog.check.offset_evidence import register_key
from quorumlog.machine.offset_commands import CommitItem
from quorumlog.machine.offset_results import FateKnown
from quorumlog.replica import Failure, Reason
from quorumlog.replica.offset_api import (
    AcquiredOffset,
    AcquireRequest,
    AttemptAt,
    CommittedOffset,
    Fallback,
    FetchedOffset,
    GroupMarked,
    ReceiptAt,
    ReleasedOffset,
    ResetOffset,
    ResetRequest,
    ResetTo,
    StartAt,
    StartRule,
)
from quorumlog.sim.asking import Asker
from quorumlog.sim.clients import partition_key
from quorumlog.sim.telling import Teller
from quorumlog.sim.world import MS

if TYPE_CHECKING:
    from quorumlog.sim.calls import Lost
    from quorumlog.sim.clients import Shared

#: How long an owner that was fenced waits before it may take over again.
_SULK_MS = 400
#: After these the owner epoch is of no use any more.
_DISPLACED = frozenset({Reason.FENCED, Reason.NOT_OWNER})


class Register:
    """One group's offset in one partition, and what its users share: where it may be reached, how it is called in
    the history, and the commits that are known to be stored."""

    def __init__(self, shared: Shared, group: str, topic: str, partition: int, nodes: tuple[int, ...]) -> None:
        self.shared = shared
        self.group = group
        self.topic = topic
        self.partition = partition
        self.nodes = nodes
        self.key = register_key(group, partition_key(topic, partition))
        self.receipts: list[tuple[str, int, int, int]] = []
        """(token, offset, version, term) of acknowledged commits."""


class Owner:
    """Takes the register over, commits for a while, gives it back or does not, and begins again. ``stop`` ends
    it."""

    def __init__(self, register: Register, every_ms: int, *, exclusive: bool = False) -> None:
        self._register = register
        self._exclusive = exclusive
        self._shared = register.shared
        self._asker = Asker(register.shared)
        self._teller = Teller(register.shared, register.key)
        self._every_ms = every_ms
        self._stopped = False
        self._turns = self._shared.new_turns(f"owner of {register.key}")
        self._acquired: AcquiredOffset | None = None
        self._session = 0
        self._sequence = 0
        self._position = 0
        self._asker.locator.look_up([register.topic])
        self._later(every_ms)

    def stop(self) -> None:
        self._stopped = True

    def _later(self, delay_ms: int) -> None:
        random = self._asker.random
        self._shared.world.after(int(random.expovariate(1.0 / delay_ms) * MS) + 1, self._act)

    def _act(self) -> None:
        if self._stopped or not self._turns.present:
            return
        if not self._turns.take():
            self._later(self._every_ms)
            return
        if self._acquired is None:
            self._session = self._asker.random.getrandbits(63) | 1
            self._sequence = 0
            self._acquire()
            return
        chance = self._asker.random.random()
        if chance < 0.75:
            self._commit()
        elif chance < 0.88:
            self._acquire()
        elif chance < 0.95:
            self._release()
        else:
            # It holds on and does nothing, as a process does that hangs.
            self._later(self._every_ms * 10)

    # --- ownership ---

    def _acquire(self) -> None:
        register, random = self._register, self._asker.random
        start = random.choice(
            (StartAt(StartRule.EARLIEST), StartAt(StartRule.LATEST), StartAt(StartRule.FROM_END, 3))
        )
        request = AcquireRequest(
            register.group,
            f"owner-{self._asker.client}",
            self._session,
            start,
            force_start=random.random() < 0.1,
            on_out_of_range=Fallback.EARLIEST,
            on_truncated=Fallback.EARLIEST,
            exclusive=self._exclusive,
            lease_ms=random.choice((200, 1000)) if self._exclusive else 30_000,
        )
        asked = {"start": [start.rule.name, start.value], "force": request.force_start}
        invocation = self._teller.begin("acquire", asked)

        def answered(result: AcquiredOffset | Failure | Lost, unknown: bool, node: int) -> None:
            if isinstance(result, AcquiredOffset):
                self._acquired = result
                self._position = result.start_offset
                self._teller.end(invocation, EventType.OK, told_acquired(result), node=node)
            else:
                self._acquired = None
                self._teller.refused(invocation, result, unknown, node)
            self._later(self._every_ms)

        self._asker.ask(
            register.topic,
            register.partition,
            lambda node, done: node.offsets.acquire(register.topic, register.partition, request, 0, done),
            answered,
        )

    def _release(self) -> None:
        register, acquired, session = self._register, self._acquired, self._session
        assert acquired is not None
        invocation = self._teller.begin("release", {"epoch": acquired.owner_epoch})

        def answered(result: ReleasedOffset | Failure | Lost, unknown: bool, node: int) -> None:
            self._acquired = None
            if isinstance(result, ReleasedOffset):
                self._teller.end(invocation, EventType.OK, node=node)
            else:
                self._teller.refused(invocation, result, unknown, node)
            self._later(_SULK_MS)

        self._asker.ask(
            register.topic,
            register.partition,
            lambda node, done: node.offsets.release(
                register.topic, register.partition, register.group, session, acquired.owner_epoch, 0, done
            ),
            answered,
        )

    # --- commits ---

    def _offset(self) -> int:
        """Mostly a little further on; sometimes where it was, now and then back or beyond the end."""
        random, acquired = self._asker.random, self._acquired
        assert acquired is not None
        chance = random.random()
        if chance < 0.06:
            return max(0, self._position - random.randint(1, 3))
        if chance < 0.1:
            return acquired.log_end + random.randint(1, 50)
        return max(self._position, min(acquired.log_end, self._position + random.randint(0, 3)))

    def _commit(self) -> None:
        register, shared, acquired = self._register, self._shared, self._acquired
        assert acquired is not None
        self._sequence += 1
        offset, session, sequence = self._offset(), self._session, self._sequence
        token = f"c{shared.new_token()}"
        item = CommitItem(register.group, offset, acquired.owner_epoch, session, sequence, None, token.encode())
        asked = {"offset": offset, "epoch": acquired.owner_epoch, "token": token}
        invocation = self._teller.begin("commit", asked)

        def answered(result: CommittedOffset | Failure | Lost, unknown: bool, node: int) -> None:
            if isinstance(result, CommittedOffset):
                self._position = offset
                register.receipts.append((token, result.offset, result.version, result.term))
                self._teller.end(
                    invocation, EventType.OK, {"version": result.version, "term": result.term}, node=node
                )
                self._later(self._every_ms)
                return
            self._teller.refused(invocation, result, unknown, node)
            if isinstance(result, Failure) and result.reason in _DISPLACED and self._asker.random.random() < 0.8:
                # One in five does not believe it, and goes on: a zombie.
                self._acquired = None
            if unknown:
                attempt = AttemptAt(register.group, item.owner_epoch, session, sequence)
                Resolver(register, token, attempt, self._resolved)
            else:
                self._later(self._every_ms if self._acquired else _SULK_MS)

        self._asker.ask(
            register.topic,
            register.partition,
            lambda node, done: node.offsets.commit(register.topic, register.partition, item, 0, done),
            answered,
            patience_ms=self._asker.random.choice((300, 1500, 4000)),
        )

    def _resolved(self) -> None:
        self._later(self._every_ms)


class Resolver:
    """Asks what became of one commit, and tells the history; then calls ``done``."""

    def __init__(self, register: Register, token: str, which: AttemptAt | ReceiptAt, done: Any = None) -> None:
        teller = Teller(register.shared, register.key)
        invocation = teller.begin("resolve", {"token": token})

        def answered(result: FateKnown | Failure | Lost, unknown: bool, node: int) -> None:
            if isinstance(result, FateKnown):
                version = 0 if result.commit is None else result.commit.version
                teller.end(invocation, EventType.OK, {"fate": result.fate.name, "version": version}, node=node)
            else:
                teller.refused(invocation, result, False, node)
            if done is not None:
                done()

        Asker(register.shared).ask(
            register.topic,
            register.partition,
            lambda node, done: node.offsets.resolve(register.topic, register.partition, which, 0, done),
            answered,
        )


class Watcher:
    """Fetches the register now and then: from any replica, linearizably or as of a version that it knows of; and
    asks what became of commits that were acknowledged."""

    def __init__(self, register: Register, every_ms: int) -> None:
        self._register = register
        self._shared = register.shared
        self._asker = Asker(register.shared)
        self._teller = Teller(register.shared, register.key)
        self._every_ms = every_ms
        self._version = 0
        self._stopped = False
        self._turns = self._shared.new_turns(f"watcher of {register.key}")
        self._asker.locator.look_up([register.topic])
        self._later()

    def stop(self) -> None:
        self._stopped = True

    def _later(self) -> None:
        random = self._asker.random
        self._shared.world.after(int(random.expovariate(1.0 / self._every_ms) * MS) + 1, self._act)

    def _act(self) -> None:
        if self._stopped or not self._turns.present:
            return
        if not self._turns.take():
            self._later()
            return
        register, random = self._register, self._asker.random
        if register.receipts and random.random() < 0.1:
            token, offset, version, term = random.choice(register.receipts)
            Resolver(register, token, ReceiptAt(register.group, offset, version, term), self._later)
            return
        known = register.receipts[-1][2] if register.receipts and random.random() < 0.5 else self._version
        floor = known if known and random.random() < 0.3 else None
        fetch(self._asker, self._teller, register, floor, self._fetched, random.choice((0, *register.nodes)))

    def _fetched(self, result: FetchedOffset | Failure | Lost) -> None:
        if isinstance(result, FetchedOffset) and result.stored is not None:
            self._version = result.stored.version
        self._later()


def fetch(
    asker: Asker,
    teller: Teller,
    register: Register,
    floor: int | None,
    done: Any,
    node: int = 0,
    *,
    final: bool = False,
) -> None:
    """Fetches once, from ``node`` or the leader, and tells the history; then calls ``done`` with the result."""
    invocation = teller.begin("final_fetch" if final else "fetch", floor)

    def answered(result: FetchedOffset | Failure | Lost, unknown: bool, node: int) -> None:
        if isinstance(result, FetchedOffset):
            answer = {"stored": told_stored(result.stored), "epoch": result.owner_epoch}
            teller.end(invocation, EventType.OK, answer, node=node)
        else:
            teller.refused(invocation, result, False, node)
        done(result)

    asker.ask(
        register.topic,
        register.partition,
        lambda node, done: node.offsets.fetch(
            register.topic, register.partition, register.group, floor or 0, 0, done
        ),
        answered,
        patience_ms=300 if node else 4000,
        node=node,
    )


class Operator:
    """Now and then says how the group is to be treated, or resets the register: back, forward, with the right
    expectation of its version or a wrong one; often only to see what would happen."""

    def __init__(self, register: Register, every_ms: int) -> None:
        self._register = register
        self._shared = register.shared
        self._asker = Asker(register.shared)
        self._teller = Teller(register.shared, register.key)
        self._every_ms = every_ms
        self._stopped = False
        self._turns = self._shared.new_turns(f"operator of {register.key}")
        self._asker.locator.look_up([register.topic])
        self._later()

    def stop(self) -> None:
        self._stopped = True

    def _later(self) -> None:
        random = self._asker.random
        self._shared.world.after(int(random.expovariate(1.0 / self._every_ms) * MS) + 1, self._act)

    def _act(self) -> None:
        if self._stopped or not self._turns.present:
            return
        if not self._turns.take():
            self._later()
            return
        register, random = self._register, self._asker.random
        if random.random() < 0.2:
            self._mark()
            return
        offset = random.randrange(1 + max((receipt[1] for receipt in register.receipts), default=0))
        expected = register.receipts[-1][2] if register.receipts and random.random() < 0.4 else 0
        dry_run = random.random() < 0.3
        request = ResetRequest(
            register.group,
            ResetTo(StartAt(StartRule.OFFSET, offset)),
            "the simulator says so",
            expected_version=expected,
            force=random.random() < 0.7,
            dry_run=dry_run,
        )
        invocation = None if dry_run else self._teller.begin("reset", {"offset": offset})

        def answered(result: ResetOffset | Failure | Lost, unknown: bool, node: int) -> None:
            if invocation is not None:
                if isinstance(result, ResetOffset):
                    self._teller.end(invocation, EventType.OK, {"version": result.stored.version}, node=node)
                else:
                    self._teller.refused(invocation, result, unknown, node)
            self._later()

        self._asker.ask(
            register.topic,
            register.partition,
            lambda node, done: node.offsets.reset(register.topic, register.partition, request, 0, done),
            answered,
            once=True,
        )

    def _mark(self) -> None:
        """As a critical group, which never expires and may hold retention back, or as any other."""
        register, random = self._register, self._asker.random
        critical = random.random() < 0.5
        hold_bytes = random.choice((0, 64 << 10)) if critical else 0
        invocation = self._teller.begin("mark", {"critical": critical, "hold_bytes": hold_bytes})

        def answered(result: GroupMarked | Failure | Lost, unknown: bool, node: int) -> None:
            if isinstance(result, GroupMarked):
                self._teller.end(invocation, EventType.OK, node=node)
            else:
                self._teller.refused(invocation, result, unknown, node)
            self._later()

        self._asker.ask(
            register.topic,
            register.partition,
            lambda node, done: node.offsets.mark(
                register.topic, register.partition, register.group, critical, hold_bytes, 0, done
            ),
            answered,
        )
