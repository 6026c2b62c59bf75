"""The loop feeds a node in rounds, bounds every wait, and never goes on after a defect."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from quorumlog.replica.api import Effects, Job, JobPriority
from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.replica.frames import Frame, Lane
from quorumlog.server.loop import NodeLoop, SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

FRAME = Frame(2, 1, Lane.URGENT, 1, 1, alive=True)


class Work:
    """A write that takes until it is let go."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error


class ScriptedNode:
    """Counts rounds and hands out what the test puts into ``next_effects``."""

    def __init__(self) -> None:
        self.rounds: list[int] = []
        self.inputs = 0
        self.ticks = 0
        self.ended: list[BaseException | None] = []
        self.jobs: list[Job] = []
        self.frames: list[Frame] = []
        self.wake_at_ms: int | None = None
        self.defect: BaseException | None = None

    def write(self, priority: JobPriority = JobPriority.WRITE) -> Work:
        work = Work()
        self.jobs.append(Job(1, priority, work, self.ended.append))
        return work

    def touch(self) -> None:
        self.inputs += 1

    def tick(self) -> None:
        self.ticks += 1

    def receive(self, frame: Frame) -> None:
        self.touch()

    def job_done(self, job: Job) -> None:
        job.finish(None)

    def job_failed(self, job: Job, error: BaseException) -> None:
        job.finish(error)

    def process(self) -> Effects:
        if self.defect is not None:
            raise self.defect
        self.rounds.append(self.inputs)
        self.inputs = 0
        jobs, self.jobs = self.jobs, []
        frames, self.frames = self.frames, []
        wake, self.wake_at_ms = self.wake_at_ms, None
        return Effects(frames, jobs, wake)


class Died(BaseException):
    """The process would have ended."""


class Rig:
    """A running loop around a scripted node, its ticks out of the way unless asked for."""

    def __init__(self, tick_ms: int) -> None:
        self.node = ScriptedNode()
        self.sent: list[Frame] = []
        self.defects: list[BaseException] = []
        node: Any = self.node
        self.loop = NodeLoop(node, SystemClock(), tick_ms, self._die)
        self.loop.start(self.sent.extend)

    def _die(self, error: BaseException) -> NoReturn:
        self.defects.append(error)
        raise Died

    def touch(self) -> None:
        self.loop.input(lambda _: self.node.touch())

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.001)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig(tick_ms=3_600_000)
    await made.until(lambda: made.node.rounds)
    made.node.rounds.clear()
    yield made
    await made.loop.stop()


async def test_all_inputs_of_a_turn_share_one_round(rig: Rig) -> None:
    for _ in range(10):
        rig.touch()
        rig.loop.receive(FRAME)
    await rig.until(lambda: rig.node.rounds)
    assert rig.node.rounds == [20]


async def test_frames_of_a_round_are_sent(rig: Rig) -> None:
    rig.node.frames = [FRAME, FRAME]
    rig.touch()
    await rig.until(lambda: rig.sent)
    assert rig.sent == [FRAME, FRAME]


async def test_while_a_write_runs_inputs_gather_into_one_round_after_it(rig: Rig) -> None:
    work = rig.node.write()
    rig.touch()
    await rig.until(lambda: rig.loop.jobs_out(JobPriority.WRITE))
    rig.touch()
    await asyncio.sleep(0)
    rig.touch()
    await asyncio.sleep(0)
    assert rig.node.rounds == [1], "the next round waits for the write"
    work.gate.set()
    await rig.until(lambda: rig.node.ended)
    await rig.until(lambda: len(rig.node.rounds) == 2)
    assert rig.node.rounds == [1, 2]


async def test_a_disk_that_hangs_does_not_silence_the_node(rig: Rig) -> None:
    work = rig.node.write()
    rig.touch()
    await rig.until(lambda: rig.loop.jobs_out(JobPriority.WRITE))
    began = asyncio.get_running_loop().time()
    rig.touch()
    await rig.until(lambda: len(rig.node.rounds) == 2)
    assert asyncio.get_running_loop().time() - began < 0.5
    assert not rig.node.ended
    work.gate.set()


@pytest.mark.parametrize("priority", [JobPriority.READ, JobPriority.MAINTENANCE])
async def test_rounds_wait_for_no_other_work(rig: Rig, priority: JobPriority) -> None:
    work = rig.node.write(priority)
    rig.touch()
    await rig.until(lambda: rig.loop.jobs_out(priority))
    rig.touch()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert rig.node.rounds == [1, 1]
    work.gate.set()


async def test_what_a_job_raised_reaches_the_node(rig: Rig) -> None:
    work = rig.node.write()
    work.error = OSError("disk on fire")
    work.gate.set()
    rig.touch()
    await rig.until(lambda: rig.node.ended)
    assert rig.node.ended == [work.error]
    assert rig.loop.jobs_failed == 1


async def test_the_node_is_processed_again_when_it_asked_to_be(rig: Rig) -> None:
    rig.node.wake_at_ms = SystemClock().now_ms() + 20
    rig.touch()
    await rig.until(lambda: len(rig.node.rounds) == 2)
    assert rig.node.rounds == [1, 0]


async def test_a_process_that_was_stopped_does_not_catch_up_on_ticks() -> None:
    rig = Rig(tick_ms=20)
    await rig.until(lambda: rig.node.ticks == 1)
    threading.Event().wait(0.2)  # the whole loop stands still, as after SIGSTOP
    for _ in range(10):
        await asyncio.sleep(0)
    assert rig.node.ticks <= 2
    await rig.loop.stop()


@pytest.mark.parametrize("where", ["input", "receive", "process"])
async def test_an_exception_in_the_nodes_logic_is_the_end(rig: Rig, where: str) -> None:
    defect = ZeroDivisionError("a defect")

    def fail(_: object) -> NoReturn:
        raise defect

    node: Any = rig.node
    node.defect = defect
    node.receive = fail
    steps: dict[str, Callable[[], object]] = {
        "input": lambda: rig.loop.input(fail),
        "receive": lambda: rig.loop.receive(FRAME),
        "process": rig.loop._turn,
    }
    with pytest.raises(Died):
        steps[where]()
    assert rig.defects[0] is defect
    rig.node.defect = None


async def test_a_question_is_answered_by_the_nodes_callback(rig: Rig) -> None:
    answer: str | Failure = await rig.loop.ask(lambda node, done: done("found"))
    assert answer == "found"


@pytest.mark.parametrize("late", Outcome)
async def test_an_answer_that_is_late_is_a_deadline_with_the_given_outcome(rig: Rig, late: Outcome) -> None:
    dones: list[Callable[[Any], None]] = []
    answer: str | Failure = await rig.loop.ask(lambda node, done: dones.append(done), 0.01, late)
    assert isinstance(answer, Failure)
    assert (answer.reason, answer.outcome) == (Reason.DEADLINE, late)
    dones[0]("too late, and it harms nothing")
