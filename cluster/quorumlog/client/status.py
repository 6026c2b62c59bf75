"""From gRPC's failures to this client's errors.

A node's own refusals carry a ``quorumlog.v1.Error`` (in ``grpc-status-details-bin``, or in a stream's answer)
and are believed. Everything else is the transport's: a call that broke may have been done, unless it is certain
that it never left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import grpc
from google.rpc import status_pb2  # type: ignore[import-untyped]  # ships no type information

from quorumlog.client.errors import QuorumlogError, Reason, make_error
from quorumlog.v1 import errors_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from grpc import aio

_DETAILS_KEY = "grpc-status-details-bin"

#: Codes that the transport makes up itself, by what they mean. UNIMPLEMENTED and UNAUTHENTICATED never reach a
#: handler.
_BY_CODE = {
    grpc.StatusCode.UNAVAILABLE: Reason.UNREACHABLE,
    grpc.StatusCode.CANCELLED: Reason.UNREACHABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.DEADLINE,
    grpc.StatusCode.UNIMPLEMENTED: Reason.INVALID_REQUEST,
    grpc.StatusCode.UNAUTHENTICATED: Reason.INVALID_REQUEST,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.TOO_LARGE,
}
_NEVER_HANDLED = frozenset(
    {
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


def from_message(error: errors_pb2.Error) -> QuorumlogError:
    """The exception for an error that a node sent."""
    return make_error(
        error.reason,
        error.message,
        not_done=error.outcome == errors_pb2.OUTCOME_NOT_DONE,
        fields=dict(error.fields),
        leader=error.leader.address,
        leader_node_id=error.leader.node_id,
        retry_after_ms=error.retry_after_ms,
    )


def from_rpc(error: aio.AioRpcError, address: str, *, never_left: bool = False) -> QuorumlogError:
    """The exception for a failed call to ``address``.

    ``never_left``: the caller knows that the request cannot have reached the node (no connection stood).
    """
    detail = _detail(error)
    if detail is not None:
        return from_message(detail)
    code = error.code()
    return make_error(
        _BY_CODE.get(code, Reason.INTERNAL),
        f"{address}: {code.name}: {error.details()}",
        not_done=never_left or code in _NEVER_HANDLED,
    )


def _detail(error: aio.AioRpcError) -> errors_pb2.Error | None:
    # grpc.aio gives pairs; its stubs say otherwise.
    trailing = cast("Iterable[tuple[str, bytes]]", error.trailing_metadata() or ())
    for key, value in trailing:
        if key == _DETAILS_KEY:
            for packed in status_pb2.Status.FromString(value).details:
                detail = errors_pb2.Error()
                if packed.Unpack(detail):
                    return detail
    return None
