"""What every service does alike: deadlines, awaiting the node, and refusing.

A call's own deadline (set by the client's gRPC library) and the request's ``timeout_ms`` say the same thing in two
places; the smaller counts. The node is given a little less than the deadline leaves, so that its typed answer
arrives before gRPC gives the caller a bare DEADLINE_EXCEEDED that says nothing about what may be concluded.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import grpc.aio
import structlog

from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.server.answers import ask_each
from quorumlog.server.errors import Errors, defect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from quorumlog.replica.node import Node
    from quorumlog.server.answers import Request
    from quorumlog.server.loop import NodeLoop

log = structlog.get_logger("quorumlog.calls")

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]

#: The node looks for expired requests once a tick (50 ms), and the answer has to travel.
_MARGIN_MS = 100
#: Items of one call. Each costs 3 µs or more, during which the node does nothing else: what fits into the largest
#: request that gRPC lets through would keep it from its heartbeats.
MAX_ITEMS = 10_000
#: By then a call whose requests bound themselves is answered by the shell, should the node still be silent.
_LAST_WORD_SECONDS = 0.02


class Shell:
    """What the services stand on: the node's loop and the translation of its failures."""

    def __init__(self, node_loop: NodeLoop, errors: Errors, default_timeout_ms: int) -> None:
        self.node_loop = node_loop
        self.errors = errors
        self._default_timeout_ms = default_timeout_ms

    def timeout_ms(self, context: Context, asked_ms: int = 0) -> int:
        """How long the node may take over a call that asked for ``asked_ms`` (0: the node's default)."""
        wanted = asked_ms or self._default_timeout_ms
        remaining = context.time_remaining()
        if remaining is None:
            return wanted
        left = int(remaining * 1000)
        return max(1, min(wanted, left - min(_MARGIN_MS, left // 2)))

    async def ask(
        self,
        context: Context,
        request: Callable[[Node, Callable[[T | Failure], None]], object],
        late: Outcome = Outcome.NOT_DONE,
    ) -> T:
        """The node's result; its failure ends the call. ``late``: see ``NodeLoop.ask``."""
        result = await self.node_loop.ask(request, self._patience(context), late)
        if isinstance(result, Failure):
            await self.errors.abort(context, result)
        return result

    def _patience(self, context: Context) -> float | None:
        """Requests without a time-out of their own are bounded by the node; only a shorter deadline matters."""
        remaining = context.time_remaining()
        return None if remaining is None else self.timeout_ms(context, int(remaining * 1000) or 1) / 1000

    async def ask_each(
        self,
        context: Context,
        requests: Sequence[Request | Failure],
        late: Outcome = Outcome.NOT_DONE,
    ) -> list[T | Failure]:
        """The results of many requests, failures among them: see ``answers.ask_each``."""
        await self.bound(context, len(requests))
        return await ask_each(self.node_loop, requests, self.last_word(context), late)

    async def bound(self, context: Context, items: int) -> None:
        """Ends a call with too many items."""
        if items > MAX_ITEMS:
            why = f"{items} items in one call, at most {MAX_ITEMS} are allowed"
            fields = {"items": str(items), "max_items": str(MAX_ITEMS)}
            await self.errors.abort(context, Failure(Reason.INVALID_REQUEST, why, fields=fields))

    def last_word(self, context: Context) -> float | None:
        """After how many seconds the caller must be told something, lest gRPC's own bare DEADLINE_EXCEEDED comes
        first; None: whenever the node answers."""
        remaining = context.time_remaining()
        return None if remaining is None else max(remaining - _LAST_WORD_SECONDS, remaining / 2)

    async def fail(self, context: Context, call: str, error: Exception) -> NoReturn:
        """Ends a call whose handler raised: with INTERNAL and outcome UNKNOWN, and a trace in the log.

        An abort, which gRPC signals by an exception of its own, goes on as it is.
        """
        if isinstance(error, grpc.aio.AbortError):
            raise error
        log.error("defect in a call", call=call, exc_info=error)
        await self.errors.abort(context, defect(error))


def guarded(
    method: Callable[[Any, Any, Context], Awaitable[T]],
) -> Callable[[Any, Any, Context], Awaitable[T]]:
    """A unary call's handler, its defects caught (``Shell.fail``)."""

    @functools.wraps(method)
    async def call(self: Any, request: Any, context: Context) -> T:
        try:
            return await method(self, request, context)
        except Exception as error:
            shell: Shell = self.shell
            return await shell.fail(context, method.__qualname__, error)

    return call
