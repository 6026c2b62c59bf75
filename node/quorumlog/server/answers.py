"""The answers to the many items of one call, gathered with one future.

A call of a thousand commits that made a thousand futures would spend more on them than the node on the commits. The
items are given to the node in one go, each with a callback that knows its place, and the call sleeps until the last
place is taken.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from quorumlog.replica.failures import Failure, Outcome, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quorumlog.replica.node import Node
    from quorumlog.server.loop import NodeLoop

    #: Asks the node something; the second argument takes the answer.
    Request = Callable[[Node, Callable[[Any], None]], object]

T = TypeVar("T")


class Answers(Generic[T]):
    """Places for ``count`` answers, in the order of their items."""

    __slots__ = ("_complete", "_missing", "_places")

    def __init__(self, count: int) -> None:
        self._places: list[T | Failure | None] = [None] * count
        self._missing = count
        self._complete: asyncio.Future[None] | None = None

    def taker(self, place: int) -> Callable[[T | Failure], None]:
        """What to call with the answer that belongs in ``place``."""
        return partial(self.take, place)

    def take(self, place: int, answer: T | Failure) -> None:
        """The answer of ``place``; the first one stays."""
        places = self._places
        if places[place] is not None:
            return
        places[place] = answer
        self._missing -= 1
        if not self._missing and self._complete is not None and not self._complete.done():
            self._complete.set_result(None)

    async def all(self, timeout_seconds: float | None, late: Outcome) -> list[T | Failure]:
        """Every answer, in order.

        What has not come within ``timeout_seconds`` (None: the node's own bound is enough) is answered with a
        DEADLINE failure of outcome ``late``; see ``NodeLoop.ask``.
        """
        if self._missing:
            loop = asyncio.get_running_loop()
            self._complete = loop.create_future()
            timer = None
            if timeout_seconds is not None:
                timer = loop.call_later(timeout_seconds, self._give_up, timeout_seconds, late)
            try:
                await self._complete
            finally:
                if timer is not None:
                    timer.cancel()
        return [answer for answer in self._places if answer is not None]

    def _give_up(self, timeout_seconds: float, late: Outcome) -> None:
        expired = Failure(Reason.DEADLINE, f"no answer within {timeout_seconds:.3f} s", late)
        for place in range(len(self._places)):
            self.take(place, expired)


async def ask_each(
    node_loop: NodeLoop, requests: Sequence[Request | Failure], timeout_seconds: float | None, late: Outcome
) -> list[T | Failure]:
    """The results of requests that are given to the node in one go, in their order; a Failure among the requests is
    its own result. ``timeout_seconds`` and ``late``: see ``Answers.all``."""
    answers: Answers[T] = Answers(len(requests))

    def give(node: Node) -> None:
        for place, request in enumerate(requests):
            if isinstance(request, Failure):
                answers.take(place, request)
            else:
                request(node, answers.taker(place))

    node_loop.input(give)
    return await answers.all(timeout_seconds, late)
