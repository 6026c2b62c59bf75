"""Every failure says on the wire why, and what may be concluded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2  # type: ignore[import-untyped]  # ships no stubs

from quorumlog.replica.failures import Failure, Outcome, Reason
from quorumlog.server.errors import CODES, Errors, defect
from quorumlog.v1 import errors_pb2 as pb

PROTO = Path(__file__).parents[2] / "proto/quorumlog/v1/errors.proto"
ADDRESSES = {1: "one:7401", 2: "two:7401"}


def detail(status: Any, kind: Any) -> Any:
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            found = kind()
            packed.Unpack(found)
            return found
    raise AssertionError(f"no {kind.__name__}")


def test_reasons_and_outcomes_have_the_numbers_of_the_protocol() -> None:
    reasons = {name.removeprefix("REASON_"): number for name, number in pb.Reason.items() if number}
    outcomes = {name.removeprefix("OUTCOME_"): number for name, number in pb.Outcome.items() if number}
    assert {reason.name: reason.value for reason in Reason} == reasons
    assert {outcome.name: outcome.value for outcome in Outcome} == outcomes


def test_status_codes_are_those_that_the_protocol_documents() -> None:
    pairs = re.findall(r"// ([A-Z_]+)\. [^\n]*\n(?:\s+// [^\n]*\n)*\s+REASON_([A-Z_]+) =", PROTO.read_text())
    documented = {name: code for code, name in pairs}
    assert {reason.name: code.name for reason, code in CODES.items()} == documented


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("reason", Reason)
def test_a_failure_round_trips_through_the_status(reason: Reason, outcome: Outcome) -> None:
    failure = Failure(reason, "why", outcome, leader_node=2, retry_after_ms=70, fields={"a": "b"})
    status = Errors(ADDRESSES).status(failure)
    assert status.code == CODES[reason].value[0]
    assert status.message == "why"
    error = detail(status, pb.Error)
    assert (error.reason, error.outcome, error.message) == (reason.value, outcome.value, "why")
    assert (error.retry_after_ms, dict(error.fields)) == (70, {"a": "b"})
    info = detail(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (reason.name, "quorumlog")
    assert dict(info.metadata) == {"outcome": outcome.name, "a": "b"}
    assert detail(status, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 70


def test_not_leader_carries_the_address_of_the_leader() -> None:
    error = Errors(ADDRESSES).message(Failure(Reason.NOT_LEADER, "", leader_node=2))
    assert (error.leader.node_id, error.leader.address) == (2, "two:7401")


def test_an_unknown_leader_has_no_address() -> None:
    error = Errors(ADDRESSES).message(Failure(Reason.NOT_LEADER, ""))
    assert (error.leader.node_id, error.leader.address) == (0, "")


def test_without_a_retry_hint_there_is_no_retry_info() -> None:
    with pytest.raises(AssertionError, match="RetryInfo"):
        detail(Errors(ADDRESSES).status(Failure(Reason.NO_QUORUM, "")), error_details_pb2.RetryInfo)


def test_a_defect_concludes_nothing() -> None:
    failure = defect(ZeroDivisionError("secret"))
    assert (failure.reason, failure.outcome) == (Reason.INTERNAL, Outcome.UNKNOWN)
    assert "secret" not in failure.message
    assert CODES[failure.reason] is grpc.StatusCode.INTERNAL
