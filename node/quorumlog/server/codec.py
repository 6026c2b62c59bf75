"""Frames on the wire: ``quorumlog.replica.frames.Frame`` to and from ``quorumlog.peer.v1.Frame``.

Protobuf has a property that this file lives on: the bytes of a message may be put together from pieces, each of
them a serialization of some of its fields. So everything small is built and serialized by the protobuf library,
while entries, which are large and the same for every follower, are serialized once and joined into each follower's
frame: one copy of the payload per follower, none for building the message.

A checksum is made for each entry when it is encoded and verified when it is decoded. TCP's 16 bits do not
suffice for data that is to be acknowledged (Stone & Partridge, "When the CRC and TCP checksum disagree", 2000), and
a flipped bit in an index or a term would be as bad as one in a record; so the checksum covers those too.

Prior art: etcd's ``raftpb`` (one message per group); here many groups share a frame.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import google_crc32c

from quorumlog.engines import EngineMessage
from quorumlog.peer.v1 import peer_pb2 as pb
from quorumlog.raft.types import (
    AppendRequest,
    AppendResponse,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatResponse,
    Message,
    ReadIndexRequest,
    ReadIndexResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from quorumlog.replica.frames import CheckpointChunk, CheckpointResult, Frame, Lane, ReplaceReplica, StateDigest
from quorumlog.server import sync_obj_codec

if TYPE_CHECKING:
    from collections.abc import Callable

_CHECKED = struct.Struct("<QQI")
_LENGTH_DELIMITED = 2
_KINDS = {int(kind): kind for kind in EntryKind}


class BadFrame(Exception):
    """Something in the frame is unknown or does not match its checksum: nothing in it may be believed."""


def _tag(field_name: str, message: type[pb.Frame | pb.GroupMessage | pb.AppendRequest | pb.Entry]) -> bytes:
    number = message.DESCRIPTOR.fields_by_name[field_name].number
    if number > 15:
        raise ValueError(f"{field_name}: its tag would need more than one byte")
    return bytes([number << 3 | _LENGTH_DELIMITED])


_FRAME_MESSAGES = _tag("messages", pb.Frame)
_GROUP_APPEND = _tag("append_request", pb.GroupMessage)
_APPEND_ENTRIES = _tag("entries", pb.AppendRequest)
_ENTRY_DATA = _tag("data", pb.Entry)


def _varint(value: int) -> bytes:
    pieces = bytearray()
    while value > 0x7F:
        pieces.append(value & 0x7F | 0x80)
        value >>= 7
    pieces.append(value)
    return bytes(pieces)


def entry_checksum(index: int, term: int, kind: int, data: bytes) -> int:
    """CRC32C over index, term and kind (little-endian 8, 8, 4 bytes) and data."""
    checksum: int = google_crc32c.extend(google_crc32c.value(_CHECKED.pack(index, term, kind)), data)
    return checksum


# --- encoding -------------------------------------------------------------------------------------------------


class EntryCache:
    """The encoded form of entries, so that an entry for several followers is encoded once.

    Lives for one round of the node: within it the frames keep their entries alive, so an entry's identity is a key.
    """

    __slots__ = ("_encoded",)

    def __init__(self) -> None:
        self._encoded: dict[int, tuple[int, tuple[bytes, bytes]]] = {}

    def encode(self, entry: Entry) -> tuple[int, tuple[bytes, bytes]]:
        """The size of the entry as a field of AppendRequest, and the pieces it consists of."""
        found = self._encoded.get(id(entry))
        if found is None:
            index, term, kind, data = entry
            head = pb.Entry(
                kind=kind, term=term, crc32c=entry_checksum(index, term, kind, data)
            ).SerializeToString()
            head += _ENTRY_DATA + _varint(len(data))
            prefix = _APPEND_ENTRIES + _varint(len(head) + len(data)) + head
            found = self._encoded[id(entry)] = (len(prefix) + len(data), (prefix, data))
        return found


def encode_frame(frame: Frame, cache: EntryCache) -> bytes:
    """The frame as it goes over the wire. ``session`` and the nodes stand in the stream's Hello, not here."""
    small = pb.Frame(sequence=frame.sequence, alive=frame.alive, resync=frame.resync)
    if frame.chunks:
        small.chunks.extend(map(_chunk, frame.chunks))
    for result in frame.checkpoint_results:
        small.checkpoint_results.add(
            group_id=result.group_id,
            sender=result.sender,
            to=result.to,
            term=result.term,
            index=result.index,
            installed=result.installed,
            position=result.position,
        )
    for replacement in frame.replacements:
        small.replacements.add(
            group_id=replacement.group_id, old_replica=replacement.old_replica, new_replica=replacement.new_replica
        )
    for digest in frame.digests:
        small.digests.add(group_id=digest.group_id, sender=digest.sender, index=digest.index, digest=digest.digest)
    pieces: list[bytes] = []
    for group_id, message in frame.messages:
        if type(message) is AppendRequest and message.entries:
            # Pieces keep the order of messages, so what was gathered before must come before.
            pieces.append(small.SerializeToString())
            small = pb.Frame()
            _append_pieces(group_id, message, cache, pieces)
        else:
            wire = small.messages.add(group_id=group_id, sender=message.sender, to=message.to, term=message.term)
            _FILL[type(message)](wire, message)
    if not pieces:
        return small.SerializeToString()
    pieces.append(small.SerializeToString())
    return b"".join(pieces)


def _append_pieces(group_id: int, message: AppendRequest, cache: EntryCache, pieces: list[bytes]) -> None:
    head = pb.AppendRequest(
        previous_index=message.previous_index, previous_term=message.previous_term, commit=message.commit
    ).SerializeToString()
    size = len(head)
    entries: list[bytes] = []
    encode = cache.encode
    for entry in message.entries:
        entry_size, encoded = encode(entry)
        size += entry_size
        entries += encoded
    group = pb.GroupMessage(
        group_id=group_id, sender=message.sender, to=message.to, term=message.term
    ).SerializeToString()
    group += _GROUP_APPEND + _varint(size)
    pieces.append(_FRAME_MESSAGES + _varint(len(group) + size) + group + head)
    pieces += entries


def _chunk(chunk: CheckpointChunk) -> pb.CheckpointChunk:
    return pb.CheckpointChunk(
        group_id=chunk.group_id,
        sender=chunk.sender,
        to=chunk.to,
        term=chunk.term,
        index=chunk.index,
        index_term=chunk.index_term,
        position=chunk.position,
        total_bytes=chunk.total_bytes,
        data=chunk.data,
        crc32c=google_crc32c.value(chunk.data),
    )


def _fill_vote_request(wire: pb.GroupMessage, message: VoteRequest) -> None:
    # SetInParent, here and below: a message whose fields are all zero must still be seen to be there.
    body = wire.vote_request
    body.SetInParent()
    body.last_index = message.last_index
    body.last_term = message.last_term
    body.pre = message.pre
    body.transfer = message.transfer


def _fill_vote_response(wire: pb.GroupMessage, message: VoteResponse) -> None:
    body = wire.vote_response
    body.SetInParent()
    body.granted = message.granted
    body.pre = message.pre


def _fill_probe(wire: pb.GroupMessage, message: AppendRequest) -> None:
    body = wire.append_request
    body.SetInParent()
    body.previous_index = message.previous_index
    body.previous_term = message.previous_term
    body.commit = message.commit


def _fill_append_response(wire: pb.GroupMessage, message: AppendResponse) -> None:
    body = wire.append_response
    body.SetInParent()
    body.success = message.success
    body.index = message.index
    body.hint_index = message.hint_index
    body.hint_term = message.hint_term


def _fill_heartbeat(wire: pb.GroupMessage, message: Heartbeat) -> None:
    body = wire.heartbeat
    body.SetInParent()
    body.commit = message.commit
    body.read_context = message.read_context
    body.quiet = message.quiet


def _fill_heartbeat_response(wire: pb.GroupMessage, message: HeartbeatResponse) -> None:
    wire.heartbeat_response.SetInParent()
    wire.heartbeat_response.read_context = message.read_context


def _fill_timeout_now(wire: pb.GroupMessage, message: TimeoutNow) -> None:
    wire.timeout_now.SetInParent()


def _fill_read_index_request(wire: pb.GroupMessage, message: ReadIndexRequest) -> None:
    wire.read_index_request.SetInParent()
    wire.read_index_request.context = message.context


def _fill_read_index_response(wire: pb.GroupMessage, message: ReadIndexResponse) -> None:
    body = wire.read_index_response
    body.SetInParent()
    body.context = message.context
    body.index = message.index


def _fill_sync_obj(wire: pb.GroupMessage, message: EngineMessage) -> None:
    sync_obj_codec.fill(wire.sync_obj, message)


#: How each message is written. InstallCheckpoint is not among them: a checkpoint travels in chunks, and the message
#: is made by the receiver once they are complete.
_FILL: dict[type[Message | EngineMessage], Callable[[pb.GroupMessage, Any], None]] = {
    VoteRequest: _fill_vote_request,
    VoteResponse: _fill_vote_response,
    AppendRequest: _fill_probe,
    AppendResponse: _fill_append_response,
    Heartbeat: _fill_heartbeat,
    HeartbeatResponse: _fill_heartbeat_response,
    TimeoutNow: _fill_timeout_now,
    ReadIndexRequest: _fill_read_index_request,
    ReadIndexResponse: _fill_read_index_response,
    EngineMessage: _fill_sync_obj,
}


# --- decoding -------------------------------------------------------------------------------------------------


def decode_frame(wire: pb.Frame, sender: int, to: int, lane: Lane, session: int) -> Frame:
    """What arrived on a stream, whose Hello said who speaks to whom. Raises BadFrame."""
    return Frame(
        sender,
        to,
        lane,
        session,
        wire.sequence,
        tuple([_message(message) for message in wire.messages]),
        tuple([_decoded_chunk(chunk) for chunk in wire.chunks]) if wire.chunks else (),
        tuple([_decoded_result(result) for result in wire.checkpoint_results]) if wire.checkpoint_results else (),
        tuple([_decoded_replacement(item) for item in wire.replacements]) if wire.replacements else (),
        tuple([_decoded_digest(digest) for digest in wire.digests]) if wire.digests else (),
        wire.alive,
        wire.resync,
    )


def _message(wire: pb.GroupMessage) -> tuple[int, Message | EngineMessage]:
    kind = wire.WhichOneof("message")
    if kind is None:
        raise BadFrame(f"group {wire.group_id}: a message of an unknown kind")
    return wire.group_id, _READ[kind](wire.sender, wire.to, wire.term, getattr(wire, kind))


def _read_sync_obj(sender: int, to: int, term: int, body: pb.SyncObjMessage) -> EngineMessage:
    try:
        return sync_obj_codec.read(sender, to, term, body)
    except sync_obj_codec.UnknownMessage as error:
        raise BadFrame(str(error)) from error


def _read_vote_request(sender: int, to: int, term: int, body: pb.VoteRequest) -> VoteRequest:
    return VoteRequest(sender, to, term, body.last_index, body.last_term, body.pre, body.transfer)


def _read_vote_response(sender: int, to: int, term: int, body: pb.VoteResponse) -> VoteResponse:
    return VoteResponse(sender, to, term, body.granted, body.pre)


def _read_append_request(sender: int, to: int, term: int, body: pb.AppendRequest) -> AppendRequest:
    index = previous_index = body.previous_index
    entries: list[Entry] = []
    for wire in body.entries:
        index += 1
        entry_term, kind, data = wire.term, wire.kind, wire.data
        if entry_checksum(index, entry_term, kind, data) != wire.crc32c:
            raise BadFrame(f"entry {index} of term {entry_term} does not match its checksum")
        if kind not in _KINDS:
            raise BadFrame(f"entry {index}: unknown kind {kind}")
        entries.append(Entry(index, entry_term, _KINDS[kind], data))
    return AppendRequest(sender, to, term, previous_index, body.previous_term, body.commit, tuple(entries))


def _read_append_response(sender: int, to: int, term: int, body: pb.AppendResponse) -> AppendResponse:
    return AppendResponse(sender, to, term, body.success, body.index, body.hint_index, body.hint_term)


def _read_heartbeat(sender: int, to: int, term: int, body: pb.Heartbeat) -> Heartbeat:
    return Heartbeat(sender, to, term, body.commit, body.read_context, body.quiet)


def _read_heartbeat_response(sender: int, to: int, term: int, body: pb.HeartbeatResponse) -> HeartbeatResponse:
    return HeartbeatResponse(sender, to, term, body.read_context)


def _read_timeout_now(sender: int, to: int, term: int, body: pb.TimeoutNow) -> TimeoutNow:
    return TimeoutNow(sender, to, term)


def _read_read_index_request(sender: int, to: int, term: int, body: pb.ReadIndexRequest) -> ReadIndexRequest:
    return ReadIndexRequest(sender, to, term, body.context)


def _read_read_index_response(sender: int, to: int, term: int, body: pb.ReadIndexResponse) -> ReadIndexResponse:
    return ReadIndexResponse(sender, to, term, body.context, body.index)


_READ: dict[str, Callable[[int, int, int, Any], Message | EngineMessage]] = {
    "vote_request": _read_vote_request,
    "vote_response": _read_vote_response,
    "append_request": _read_append_request,
    "append_response": _read_append_response,
    "heartbeat": _read_heartbeat,
    "heartbeat_response": _read_heartbeat_response,
    "timeout_now": _read_timeout_now,
    "read_index_request": _read_read_index_request,
    "read_index_response": _read_read_index_response,
    "sync_obj": _read_sync_obj,
}


def _decoded_chunk(wire: pb.CheckpointChunk) -> CheckpointChunk:
    data = wire.data
    if google_crc32c.value(data) != wire.crc32c:
        raise BadFrame(f"checkpoint chunk of group {wire.group_id} at {wire.position} does not match its checksum")
    return CheckpointChunk(
        wire.group_id,
        wire.sender,
        wire.to,
        wire.term,
        wire.index,
        wire.index_term,
        wire.position,
        wire.total_bytes,
        data,
    )


def _decoded_result(wire: pb.CheckpointResult) -> CheckpointResult:
    return CheckpointResult(
        wire.group_id, wire.sender, wire.to, wire.term, wire.index, wire.installed, wire.position
    )


def _decoded_replacement(wire: pb.ReplaceReplica) -> ReplaceReplica:
    return ReplaceReplica(wire.group_id, wire.old_replica, wire.new_replica)


def _decoded_digest(wire: pb.StateDigest) -> StateDigest:
    return StateDigest(wire.group_id, wire.sender, wire.index, wire.digest)
