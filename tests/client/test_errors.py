"""Every error belongs to exactly one of two branches, and a node's word about the outcome is never lost."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.any_pb2 import Any as PackedAny
from google.rpc import status_pb2  # type: ignore[import-untyped]  # ships no type information
from grpc import aio

from quorumlog.client import errors
from quorumlog.client.errors import (
    NoQuorum,
    NotDone,
    NotLeader,
    OutcomeUnknown,
    QuorumlogError,
    Reason,
    UnknownTopic,
    Unreachable,
    as_outcome,
    make_error,
)
from quorumlog.client.status import from_message, from_rpc
from quorumlog.v1 import errors_pb2


def test_reasons_are_numbered_as_the_protocol_numbers_them() -> None:
    protocol = {name.removeprefix("REASON_"): number for name, number in errors_pb2.Reason.items()}
    assert {each.name: each.value for each in Reason if each.value < 1000} == protocol


@pytest.mark.parametrize("reason", [each for each in Reason if 0 < each.value < 1000])
@pytest.mark.parametrize("not_done", [True, False])
def test_every_error_is_of_exactly_one_branch(reason: Reason, not_done: bool) -> None:
    error = make_error(reason, "why", not_done=not_done)
    assert isinstance(error, NotDone) is not_done
    assert isinstance(error, OutcomeUnknown) is not not_done
    if not_done:
        assert error.reason is reason


def test_every_reason_has_a_kind_of_its_own() -> None:
    kinds = {type(make_error(each, "", not_done=True)) for each in Reason if 0 < each.value < 1000}
    assert len(kinds) == 37
    assert NotDone not in kinds


def test_a_kind_with_two_outcomes_is_caught_by_its_name_and_by_its_branch() -> None:
    for not_done in (True, False):
        error = make_error(Reason.NO_QUORUM, "", not_done=not_done)
        assert isinstance(error, NoQuorum)
        assert type(error).__name__ == "NoQuorum"


def test_a_definite_reason_with_an_open_outcome_keeps_the_outcome() -> None:
    error = make_error(Reason.UNKNOWN_TOPIC, "", not_done=False)
    assert isinstance(error, OutcomeUnknown)
    assert not isinstance(error, UnknownTopic)
    assert isinstance(make_error(9999, "from the future", not_done=True), NotDone)


def test_an_error_told_again_keeps_its_kind_and_facts() -> None:
    error = make_error(Reason.NO_QUORUM, "a", not_done=True, fields={"x": "1"}, leader="b:2", retry_after_ms=5)
    told = as_outcome(error, "b", not_done=False)
    assert isinstance(told, NoQuorum)
    assert isinstance(told, OutcomeUnknown)
    assert (told.fields, told.leader, told.retry_after_ms, told.__cause__) == ({"x": "1"}, "b:2", 5, error)


def test_all_that_the_client_raises_itself_is_definite() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, QuorumlogError) and kind.reason.value >= 1001:
            assert issubclass(kind, NotDone), kind


def _rpc_error(code: grpc.StatusCode, detail: errors_pb2.Error | None = None) -> aio.AioRpcError:
    trailing = aio.Metadata()
    if detail is not None:
        packed = PackedAny()
        packed.Pack(detail)
        status = status_pb2.Status(code=code.value[0], details=[PackedAny(type_url="x/other"), packed])
        trailing = aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return aio.AioRpcError(code, aio.Metadata(), trailing, details="words", debug_error_string="")


def test_a_nodes_own_error_is_believed() -> None:
    detail = errors_pb2.Error(
        reason=errors_pb2.REASON_NOT_LEADER,
        outcome=errors_pb2.OUTCOME_NOT_DONE,
        message="no",
        leader=errors_pb2.LeaderHint(node_id=2, address="b:2"),
        retry_after_ms=7,
        fields={"term": "4"},
    )
    for error in (
        from_message(detail),
        from_rpc(_rpc_error(grpc.StatusCode.UNAVAILABLE, detail), "a:1"),
    ):
        assert isinstance(error, NotLeader)
        assert isinstance(error, NotDone)
        assert (error.message, error.leader, error.leader_node_id, error.retry_after_ms, error.fields) == (
            "no",
            "b:2",
            2,
            7,
            {"term": "4"},
        )


def test_an_outcome_not_told_is_open() -> None:
    error = from_message(errors_pb2.Error(reason=errors_pb2.REASON_NO_QUORUM))
    assert isinstance(error, OutcomeUnknown)


def test_a_broken_call_is_open_unless_it_never_left() -> None:
    broken = _rpc_error(grpc.StatusCode.UNAVAILABLE)
    assert isinstance(from_rpc(broken, "a:1"), OutcomeUnknown)
    never_left = from_rpc(broken, "a:1", never_left=True)
    assert isinstance(never_left, NotDone)
    assert isinstance(never_left, Unreachable)
    assert "a:1" in str(never_left)
