"""Whatever happens on the way, in whatever order: no record is lost, repeated or swapped against its promise."""

from __future__ import annotations

from client.sender_world import ADDRESSES, PARTITIONS, World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from quorumlog.client.errors import Reason

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
TestIdempotentSender.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
TestSenderWithoutSession = SenderWithoutSession.TestCase
TestSenderWithoutSession.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
