"""Failures on their way out: a gRPC status whose details say what may be concluded.

Every failed call carries a ``google.rpc.Status`` with three details: ``quorumlog.v1.Error`` (the reason, whether
the operation may have happened, where the leader is), and for clients that know only Google's conventions
``google.rpc.ErrorInfo`` and, where waiting helps, ``google.rpc.RetryInfo``. The status code groups the reasons as
errors.proto says.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # ships no stubs
from grpc_status import rpc_status

from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.v1 import errors_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

DOMAIN = "quorumlog"

#: The status code of each reason.
CODES: dict[Reason, grpc.StatusCode] = {
    Reason.NOT_LEADER: grpc.StatusCode.UNAVAILABLE,
    Reason.NO_QUORUM: grpc.StatusCode.UNAVAILABLE,
    Reason.UNKNOWN_TOPIC: grpc.StatusCode.NOT_FOUND,
    Reason.UNKNOWN_PARTITION: grpc.StatusCode.NOT_FOUND,
    Reason.TOPIC_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.INVALID_TOPIC: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.NOT_ENOUGH_NODES: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.MALFORMED_BATCH: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.CORRUPT_BATCH: grpc.StatusCode.DATA_LOSS,
    Reason.OUT_OF_SEQUENCE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PRODUCER_FENCED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.OFFSET_OUT_OF_RANGE: grpc.StatusCode.OUT_OF_RANGE,
    Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DISK_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.REPLICA_DAMAGED: grpc.StatusCode.DATA_LOSS,
    Reason.SHUTTING_DOWN: grpc.StatusCode.UNAVAILABLE,
    Reason.INVALID_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
    Reason.FENCED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NOT_OWNER: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.OWNED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.STALE_GENERATION: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.OFFSET_BEYOND_END: grpc.StatusCode.OUT_OF_RANGE,
    Reason.OFFSET_REGRESSED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.FINGERPRINT_MISMATCH: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.COMMIT_SETTLED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.VERSION_MISMATCH: grpc.StatusCode.ABORTED,
    Reason.GROUP_ACTIVE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.UNKNOWN_GROUP: grpc.StatusCode.NOT_FOUND,
    Reason.UNKNOWN_MEMBER: grpc.StatusCode.NOT_FOUND,
    Reason.UNKNOWN_RECEIPT: grpc.StatusCode.NOT_FOUND,
    Reason.INVALID_GROUP: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.METADATA_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.OFFSETS_EXPIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.GROUP_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Errors:
    """Turns the node's failures into what a caller sees; knows where the nodes' client listeners are."""

    def __init__(self, client_addresses: Mapping[int, str]) -> None:
        self._addresses = client_addresses
        self.counts: dict[Reason, int] = dict.fromkeys(Reason, 0)

    def message(self, failure: Failure) -> pb.Error:
        """The failure as a message of its own."""
        self.counts[failure.reason] += 1
        error = pb.Error(
            reason=pb.Reason.ValueType(failure.reason),
            outcome=pb.Outcome.ValueType(failure.outcome),
            message=failure.message,
            retry_after_ms=failure.retry_after_ms,
            fields=failure.fields,
        )
        if failure.reason is Reason.NOT_LEADER:
            error.leader.node_id = failure.leader_node
            error.leader.address = self._addresses.get(failure.leader_node, "")
        return error

    def status(self, failure: Failure) -> status_pb2.Status:
        """The failure as the status of a call."""
        error = self.message(failure)
        info = error_details_pb2.ErrorInfo(
            reason=failure.reason.name,
            domain=DOMAIN,
            metadata={"outcome": failure.outcome.name, **failure.fields},
        )
        details: list[Any] = [error, info]
        if failure.retry_after_ms:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(failure.retry_after_ms)
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        status = status_pb2.Status(code=CODES[failure.reason].value[0], message=failure.message)
        for detail in details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        return status

    async def abort(self, context: grpc.aio.ServicerContext[Any, Any], failure: Failure) -> NoReturn:
        """Ends the call with the failure; if it has ended meanwhile, nobody waits for that, and it is no defect."""
        status = rpc_status.to_status(self.status(failure))
        try:
            await context.abort(status.code, status.details, status.trailing_metadata)
        except grpc.aio.InternalError as gone:
            raise asyncio.CancelledError from gone


def defect(error: BaseException) -> Failure:
    """What a caller is told when the server itself is at fault: nothing may be concluded."""
    return Failure(Reason.INTERNAL, f"a defect of the server: {type(error).__name__}", Outcome.UNKNOWN)
