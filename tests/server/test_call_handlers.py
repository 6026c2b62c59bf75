"""What a handler does around the node: deadlines, and defects of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
import pytest
from server.scripted_desks import Context

from quorumlog.server.calls import Shell
from quorumlog.server.errors import Errors
from quorumlog.server.groups import GroupsService
from quorumlog.server.log import LogService
from quorumlog.server.offsets import OffsetsService
from quorumlog.v1 import errors_pb2, groups_pb2, log_pb2, offsets_pb2

if TYPE_CHECKING:
    from collections.abc import Callable


class BrokenLoop:
    """Fails as soon as it is asked for anything."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ZeroDivisionError(name)


def shell() -> Shell:
    broken: Any = BrokenLoop()
    return Shell(broken, Errors({}), 1500)


async def one_append() -> Any:
    append = log_pb2.PipelinedAppend(append=log_pb2.AppendRequest(topic="t"))
    yield log_pb2.AppendStreamRequest(appends=[append])


async def drained(answers: Any) -> None:
    async for _ in answers:
        pass


ACQUIRE = offsets_pb2.AcquireRequest(start=offsets_pb2.Start(latest=True))
CALLS: dict[str, Callable[[LogService, Any], Any]] = {
    "Append": lambda service, context: service.Append(log_pb2.AppendRequest(), context),
    "Read": lambda service, context: service.Read(log_pb2.ReadRequest(), context),
    "AppendStream": lambda service, context: drained(service.AppendStream(one_append(), context)),
    "Commit": lambda service, context: OffsetsService(service.shell, 1).Commit(
        offsets_pb2.CommitRequest(), context
    ),
    "Acquire": lambda service, context: OffsetsService(service.shell, 1).Acquire(ACQUIRE, context),
    "Join": lambda service, context: GroupsService(service.shell).Join(groups_pb2.JoinRequest(), context),
    "Subscribe": lambda service, context: drained(service.Subscribe(log_pb2.SubscribeRequest(), context)),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_defect_in_a_handler_is_internal_with_unknown_outcome(call: str) -> None:
    context = Context()
    with pytest.raises(grpc.aio.AbortError):
        await CALLS[call](LogService(shell()), context)
    assert context.code is grpc.StatusCode.INTERNAL
    assert errors_pb2.Reason.Name(context.error.reason) == "REASON_INTERNAL"
    assert errors_pb2.Outcome.Name(context.error.outcome) == "OUTCOME_UNKNOWN"


@pytest.mark.parametrize(
    ("asked_ms", "remaining", "given_ms"),
    [
        (0, None, 1500),
        (700, None, 700),
        (0, 60.0, 1500),
        (5000, 2.0, 1900),
        (0, 1.0, 900),
        (400, 2.0, 400),
        (0, 0.1, 50),
        (0, 0.0, 1),
    ],
)
def test_the_smaller_of_request_and_deadline_counts_less_a_margin_for_the_answer(
    asked_ms: int, remaining: float | None, given_ms: int
) -> None:
    context: Any = Context(remaining)
    assert shell().timeout_ms(context, asked_ms) == given_ms
