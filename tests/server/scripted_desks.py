"""A node that answers as told, under the real services: for what depends on translation alone."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
from google.rpc import status_pb2  # type: ignore[import-untyped]  # ships no stubs

from quorumlog.replica.consumer_groups import ConsumerGroups
from quorumlog.replica.offset_desk import OffsetDesk
from quorumlog.server.calls import Shell
from quorumlog.server.errors import Errors
from quorumlog.v1 import errors_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESSES = {1: "one:7401", 2: "two:7401"}


class Desk:
    """One side of the node (``node.offsets``): notes what it is asked, in order, and answers by the call's name.

    An answer is a value, or a function of what was asked. A call without an answer is held for ever. What the
    ``real`` side has no such call for, or not with such arguments, is an error.
    """

    def __init__(self, real: type) -> None:
        self._real = real
        self.asked: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {}
        self.held: list[Callable[[Any], None]] = []
        self.led_here: list[tuple[str, int]] = []

    def led(self) -> list[tuple[str, int]]:
        return self.led_here

    def __getattr__(self, call: str) -> Callable[..., None]:
        if call.startswith("_"):
            raise AttributeError(call)

        def ask(*arguments: Any) -> None:
            signature(getattr(self._real, call)).bind(None, *arguments)
            *asked, done = arguments
            self.asked.append((call, *asked))
            if call not in self.answers:
                self.held.append(done)
                return
            answer = self.answers[call]
            done(answer(*asked) if callable(answer) else answer)

        return ask


class ScriptedNode:
    """A node of two desks."""

    def __init__(self) -> None:
        self.offsets = Desk(OffsetDesk)
        self.consumer_groups = Desk(ConsumerGroups)


class InputCounter:
    """Stands for the node's loop: gives the node what comes, at once, and counts in how many goes."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self.inputs = 0

    def input(self, step: Callable[[Any], Any]) -> Any:
        self.inputs += 1
        return step(self._node)

    async def ask(self, request: Any, timeout_seconds: float | None = None, late: Any = None) -> Any:
        answers: list[Any] = []
        self.input(lambda node: request(node, answers.append))
        return answers[0]


class Context:
    """A call's context that remembers how the call ended."""

    def __init__(self, remaining: float | None = None) -> None:
        self.remaining = remaining
        self.code: grpc.StatusCode | None = None
        self.error = errors_pb2.Error()

    def time_remaining(self) -> float | None:
        return self.remaining

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: Any) -> NoReturn:
        self.code = code
        status = status_pb2.Status.FromString(trailing_metadata[0][1])
        status.details[0].Unpack(self.error)
        raise grpc.aio.AbortError

    @property
    def reason(self) -> str:
        return errors_pb2.Reason.Name(self.error.reason).removeprefix("REASON_")


def shell(node: ScriptedNode) -> tuple[Shell, InputCounter]:
    """What a service stands on."""
    loop: Any = InputCounter(node)
    return Shell(loop, Errors(ADDRESSES), 1500), loop


def reason_of(error: errors_pb2.Error) -> str:
    return errors_pb2.Reason.Name(error.reason).removeprefix("REASON_")


def outcome_of(error: errors_pb2.Error) -> str:
    return errors_pb2.Outcome.Name(error.outcome).removeprefix("OUTCOME_")
