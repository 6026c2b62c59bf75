"""Whatever happens on the way, in whatever order: no record is lost, repeated or swapped against its promise."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from client.sender_world import ADDRESSES, PARTITIONS, World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from quorumlog.client.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

PARTITION = st.integers(0, PARTITIONS - 1)
ADDRESS = st.sampled_from(sorted(ADDRESSES.values()))
SMALL = st.integers(0, 4)
DEFINITE = st.sampled_from(
    [Reason.OVERLOADED, Reason.NO_QUORUM, Reason.NOT_LEADER, Reason.TOO_LARGE, Reason.UNKNOWN_TOPIC]
)
INDEFINITE = st.sampled_from([Reason.NO_QUORUM, Reason.DEADLINE, Reason.NOT_LEADER, Reason.INTERNAL])


class IdempotentSender(RuleBasedStateMachine):
    """Every interleaving of records, answers, refusals, broken streams, elections, time and forgetfulness."""

    idempotent = True

    def __init__(self) -> None:
        super().__init__()
        self.world = World(idempotent=self.idempotent)

    @rule(partition=PARTITION, count=st.integers(1, 8))
    def send(self, partition: int, count: int) -> None:
        for _ in range(count):
            self.world.send(partition)

    @rule()
    def poll(self) -> None:
        self.world.poll()

    @rule()
    def poll_and_open(self) -> None:
        self.world.poll()
        self.world.open_session()
        self.world.poll()

    @rule(address=ADDRESS, count=st.integers(1, 5))
    def serve(self, address: str, count: int) -> None:
        for _ in range(count):
            self.world.serve(address)

    @rule(address=ADDRESS, reason=DEFINITE)
    def refuse(self, address: str, reason: Reason) -> None:
        self.world.refuse(address, reason, not_done=True, do_it=False)

    @rule(address=ADDRESS, reason=INDEFINITE, do_it=st.booleans())
    def leave_open(self, address: str, reason: Reason, do_it: bool) -> None:
        self.world.refuse(address, reason, not_done=False, do_it=do_it)

    @rule(address=ADDRESS, which=SMALL, count=st.integers(1, 5))
    def answer(self, address: str, which: int, count: int) -> None:
        for _ in range(count):
            self.world.answer(address, which)

    @rule(address=ADDRESS, arrive=SMALL, leave=SMALL)
    def break_stream(self, address: str, arrive: int, leave: int) -> None:
        self.world.break_stream(address, arrive, leave)

    @rule(which=SMALL)
    def do_late(self, which: int) -> None:
        self.world.do_late(which)

    @rule(partition=PARTITION, learn=st.booleans())
    def elect(self, partition: int, learn: bool) -> None:
        self.world.elect(partition, learn=learn)

    @rule()
    def learn(self) -> None:
        self.world.learn()

    @rule(partition=PARTITION)
    def forget_sessions(self, partition: int) -> None:
        self.world.forget_sessions(partition)

    @rule(ms=st.sampled_from([1.0, 20.0, 300.0, 1000.0, 5000.0]))
    def wait(self, ms: float) -> None:
        self.world.now_ms += ms

    @invariant()
    def every_promise_is_kept(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        self.world.heal()
        while self.world.limbo:
            self.world.do_late(0)
        self.world.check()


class SenderWithoutSession(IdempotentSender):
    """Without a session nothing is repeated that may have been done: less is delivered, and no more is promised."""

    idempotent = False


TestIdempotentSender = IdempotentSender.TestCase
TestIdempotentSender.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestSenderWithoutSession = SenderWithoutSession.TestCase
TestSenderWithoutSession.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def walk(seed: int, *, idempotent: bool) -> World:
    """One long random walk. Which faults it knows, and how often, is drawn first: a walk that does a little of
    everything all the time never gets far in any direction (Groce et al., "Swarm Testing", 2012)."""
    random = Random(seed)
    world = World(idempotent=idempotent, seed=seed)
    addresses = sorted(ADDRESSES.values())

    def send() -> None:
        partition = random.randrange(PARTITIONS)
        for _ in range(random.randint(1, 8)):
            world.send(partition)

    def poll() -> None:
        world.poll()
        world.open_session()
        world.poll()

    def serve() -> None:
        for address in addresses:
            for _ in range(random.randint(1, 6)):
                world.serve(address)

    def answer() -> None:
        for address in addresses:
            for _ in range(4):
                world.answer(address, random.randrange(3))

    def wait() -> None:
        world.now_ms += random.choice((1.0, 20.0, 300.0, 1500.0))

    def refuse() -> None:
        reason = random.choice((Reason.OVERLOADED, Reason.TOO_LARGE, Reason.NOT_LEADER))
        world.refuse(random.choice(addresses), reason, not_done=True, do_it=False)

    def leave_open() -> None:
        reason = random.choice((Reason.NO_QUORUM, Reason.INTERNAL, Reason.DEADLINE))
        world.refuse(random.choice(addresses), reason, not_done=False, do_it=random.random() < 0.5)

    usual: list[Callable[[], None]] = [send, poll, serve, answer, wait]
    faults: list[Callable[[], None]] = [
        refuse,
        leave_open,
        lambda: world.break_stream(random.choice(addresses), random.randrange(5), random.randrange(3)),
        lambda: world.do_late(random.randrange(4)),
        lambda: world.elect(random.randrange(PARTITIONS), learn=random.random() < 0.5),
        world.learn,
        lambda: world.forget_sessions(random.randrange(PARTITIONS)),
    ]
    weights = [random.choice((2.0, 4.0)) for _ in usual] + [random.choice((0.0, 0.3, 1.0)) for _ in faults]
    for step in random.choices(usual + faults, weights, k=120):
        step()
        world.check()
    world.heal()
    while world.limbo:
        world.do_late(0)
    world.check()
    return world


@pytest.mark.parametrize("idempotent", [True, False])
def test_long_walks_through_trouble(idempotent: bool) -> None:
    delivered = given_up = 0
    for seed in range(1000 if idempotent else 300):
        try:
            world = walk(seed, idempotent=idempotent)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        delivered += sum(batch.error is None for _, _, batch, _ in world.sent)
        given_up += sum(batch.error is not None for _, _, batch, _ in world.sent)
    # A walk in which nothing gets through, or nothing goes wrong, proves nothing.
    assert delivered > 20_000 * (1 if idempotent else 0.15)
    assert given_up > 1000
