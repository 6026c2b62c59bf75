"""Many answers, one wait: each in its place, none lost, none replaced."""

from __future__ import annotations

import asyncio

from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.server.answers import Answers


async def test_answers_that_came_before_anybody_waited_are_there_at_once() -> None:
    answers: Answers[str] = Answers(2)
    answers.taker(1)("b")
    answers.taker(0)("a")
    assert await answers.all(None, Outcome.UNKNOWN) == ["a", "b"]


async def test_the_wait_ends_with_the_last_answer_and_not_before() -> None:
    answers: Answers[str] = Answers(2)
    waiting = asyncio.create_task(answers.all(None, Outcome.UNKNOWN))
    await asyncio.sleep(0)
    answers.take(1, "b")
    await asyncio.sleep(0)
    assert not waiting.done()
    answers.take(0, "a")
    assert await waiting == ["a", "b"]


async def test_the_deadline_answers_only_for_those_who_have_not() -> None:
    answers: Answers[str] = Answers(3)
    answers.take(1, "b")
    late = await answers.all(0.001, Outcome.UNKNOWN)
    assert late[1] == "b"
    for failure in (late[0], late[2]):
        assert isinstance(failure, Failure)
        assert (failure.reason, failure.outcome) == (Reason.DEADLINE, Outcome.UNKNOWN)


async def test_the_first_answer_of_a_place_stays_and_counts_once() -> None:
    answers: Answers[str] = Answers(2)
    answers.take(0, "a")
    answers.take(0, "again")
    waiting = asyncio.create_task(answers.all(None, Outcome.UNKNOWN))
    await asyncio.sleep(0)
    assert not waiting.done(), "one place is still empty"
    answers.take(1, "b")
    assert await waiting == ["a", "b"]


async def test_answers_for_a_caller_that_has_gone_go_nowhere() -> None:
    answers: Answers[str] = Answers(1)
    waiting = asyncio.create_task(answers.all(None, Outcome.UNKNOWN))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    answers.take(0, "late")


async def test_no_items_are_no_wait() -> None:
    assert await Answers[str](0).all(None, Outcome.UNKNOWN) == []
