"""PySyncObj's messages on the wire: its dicts to and from ``quorumlog.peer.v1.SyncObjMessage``.

The library pickles its messages, and unpickles whatever reaches its socket. Here none is: each of its seven kinds
has fields of its own, and anything else is refused. (What it only says when it compacts its log, a dump in
pieces, or cuts an entry into chunks, is not among them: neither happens, see
``quorumlog.engines.pysyncobj.core``.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quorumlog.engines import EngineMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumlog.peer.v1 import peer_pb2 as pb


class UnknownMessage(Exception):
    """The library said something that it never says as it is used here."""


def fill(wire: pb.SyncObjMessage, message: EngineMessage) -> None:
    """Writes ``message`` into ``wire``. Raises UnknownMessage."""
    body: Any = message.body
    fill_kind = _FILL.get(body["type"])
    if fill_kind is None or "serialized" in body or "transmission" in body:
        raise UnknownMessage(f"PySyncObj says {sorted(body)} of type {body['type']!r}")
    fill_kind(wire, body)


def read(sender: int, to: int, term: int, wire: pb.SyncObjMessage) -> EngineMessage:
    """The message as the library wants it. Raises UnknownMessage."""
    kind = wire.WhichOneof("message")
    if kind is None:
        raise UnknownMessage("a message of PySyncObj without content")
    size = sum([len(entry.command) for entry in wire.append.entries]) if kind == "append" else 0
    return EngineMessage(sender, to, term, _READ[kind](term, getattr(wire, kind)), size)


# --- writing ----------------------------------------------------------------------------------------------------


def _fill_append(wire: pb.SyncObjMessage, body: Any) -> None:
    # SetInParent, here and below: a message whose fields are all zero must still be seen to be there.
    append = wire.append
    append.SetInParent()
    append.commit_index = body["commit_index"]
    append.previous_index = body["prevLogIdx"]
    append.previous_term = body["prevLogTerm"]
    for command, index, term in body["entries"]:
        append.entries.add(index=index, term=term, command=command)


def _fill_next_index(wire: pb.SyncObjMessage, body: Any) -> None:
    wire.next_index.SetInParent()
    wire.next_index.next_index = body["next_node_idx"]
    wire.next_index.reset = body["reset"]
    wire.next_index.success = body["success"]


def _fill_vote_request(wire: pb.SyncObjMessage, body: Any) -> None:
    wire.vote_request.SetInParent()
    wire.vote_request.last_index = body["last_log_index"]
    wire.vote_request.last_term = body["last_log_term"]


def _fill_vote(wire: pb.SyncObjMessage, body: Any) -> None:
    wire.vote.SetInParent()


def _fill_timeout_now(wire: pb.SyncObjMessage, body: Any) -> None:
    wire.timeout_now.SetInParent()


def _fill_command(wire: pb.SyncObjMessage, body: Any) -> None:
    wire.command.command = body["command"]
    if "request_id" in body:
        wire.command.request_id = body["request_id"]


def _fill_command_answer(wire: pb.SyncObjMessage, body: Any) -> None:
    answer = wire.command_answer
    answer.request_id = body["request_id"]
    if "error" in body:
        answer.error = body["error"]
    else:
        answer.log_index = body["log_idx"]
        answer.log_term = body["log_term"]


_FILL: dict[str, Callable[[pb.SyncObjMessage, Any], None]] = {
    "append_entries": _fill_append,
    "next_node_idx": _fill_next_index,
    "request_vote": _fill_vote_request,
    "response_vote": _fill_vote,
    "timeout_now": _fill_timeout_now,
    "apply_command": _fill_command,
    "apply_command_response": _fill_command_answer,
}


# --- reading ----------------------------------------------------------------------------------------------------


def _read_append(term: int, wire: pb.SyncObjAppend) -> dict[str, object]:
    return {
        "type": "append_entries",
        "term": term,
        "commit_index": wire.commit_index,
        "entries": [(entry.command, entry.index, entry.term) for entry in wire.entries],
        "prevLogIdx": wire.previous_index,
        "prevLogTerm": wire.previous_term,
    }


def _read_next_index(term: int, wire: pb.SyncObjNextIndex) -> dict[str, object]:
    return {"type": "next_node_idx", "next_node_idx": wire.next_index, "reset": wire.reset, "success": wire.success}


def _read_vote_request(term: int, wire: pb.SyncObjVoteRequest) -> dict[str, object]:
    return {
        "type": "request_vote",
        "term": term,
        "last_log_index": wire.last_index,
        "last_log_term": wire.last_term,
    }


def _read_vote(term: int, wire: pb.SyncObjVote) -> dict[str, object]:
    return {"type": "response_vote", "term": term}


def _read_timeout_now(term: int, wire: pb.SyncObjTimeoutNow) -> dict[str, object]:
    return {"type": "timeout_now", "term": term}


def _read_command(term: int, wire: pb.SyncObjCommand) -> dict[str, object]:
    body: dict[str, object] = {"type": "apply_command", "command": wire.command}
    if wire.HasField("request_id"):
        body["request_id"] = wire.request_id
    return body


def _read_command_answer(term: int, wire: pb.SyncObjCommandAnswer) -> dict[str, object]:
    body: dict[str, object] = {"type": "apply_command_response", "request_id": wire.request_id}
    if wire.HasField("error"):
        body["error"] = wire.error
    else:
        body["log_idx"] = wire.log_index
        body["log_term"] = wire.log_term
    return body


_READ: dict[str, Callable[[int, Any], dict[str, object]]] = {
    "append": _read_append,
    "next_index": _read_next_index,
    "vote_request": _read_vote_request,
    "vote": _read_vote,
    "timeout_now": _read_timeout_now,
    "command": _read_command,
    "command_answer": _read_command_answer,
}
