"""What a node says arrives as it was said, or does not arrive."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumlog.peer.v1 import peer_pb2 as pb
from quorumlog.raft import types as raft
from quorumlog.replica.frames import (
    CheckpointChunk,
    CheckpointResult,
    Frame,
    Lane,
    ReplaceReplica,
    StateDigest,
)
from quorumlog.server.codec import BadFrame, EntryCache, decode_frame, encode_frame, entry_checksum

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**63 - 1)
ENVELOPE = (U32, U32, U64)


def entries_after(index: int) -> st.SearchStrategy[tuple[raft.Entry, ...]]:
    slots = st.lists(st.tuples(U64, st.sampled_from(raft.EntryKind), st.binary(max_size=300)), max_size=5)
    return slots.map(
        lambda items: tuple(
            raft.Entry(index + 1 + position, term, kind, data) for position, (term, kind, data) in enumerate(items)
        )
    )


APPENDS = st.integers(0, 2**62).flatmap(
    lambda index: st.builds(raft.AppendRequest, *ENVELOPE, st.just(index), U64, U64, entries_after(index))
)
MESSAGES = st.one_of(
    APPENDS,
    st.builds(raft.VoteRequest, *ENVELOPE, U64, U64, st.booleans(), st.booleans()),
    st.builds(raft.VoteResponse, *ENVELOPE, st.booleans(), st.booleans()),
    st.builds(raft.AppendResponse, *ENVELOPE, st.booleans(), U64, U64, U64),
    st.builds(raft.Heartbeat, *ENVELOPE, U64, U64, st.booleans()),
    st.builds(raft.HeartbeatResponse, *ENVELOPE, U64),
    st.builds(raft.TimeoutNow, *ENVELOPE),
    st.builds(raft.ReadIndexRequest, *ENVELOPE, U64),
    st.builds(raft.ReadIndexResponse, *ENVELOPE, U64, U64),
)


def some(strategy: st.SearchStrategy[object], size: int = 3) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, max_size=size).map(tuple)


FRAMES = st.builds(
    Frame,
    sender=st.just(1),
    to=st.just(2),
    lane=st.sampled_from(Lane),
    session=st.just(7),
    sequence=U64,
    messages=some(st.tuples(U64, MESSAGES), 6),
    chunks=some(st.builds(CheckpointChunk, U64, U32, U32, U64, U64, U64, U64, U64, st.binary(max_size=99))),
    checkpoint_results=some(st.builds(CheckpointResult, U64, U32, U32, U64, U64, st.booleans(), U64)),
    replacements=some(st.builds(ReplaceReplica, U64, U32, U32)),
    digests=some(st.builds(StateDigest, U64, U32, U64, st.binary(max_size=32))),
    alive=st.booleans(),
    resync=st.booleans(),
)


def over_the_wire(data: bytes, frame: Frame) -> Frame:
    return decode_frame(pb.Frame.FromString(data), frame.sender, frame.to, frame.lane, frame.session)


def an_append(*entries: raft.Entry) -> Frame:
    message = raft.AppendRequest(1, 2, 5, entries[0].index - 1, 4, 3, tuple(entries))
    return Frame(1, 2, Lane.BULK, 7, 1, messages=((16, message),))


@settings(max_examples=400, deadline=None)
@given(FRAMES)
def test_every_frame_arrives_as_it_was_sent(frame: Frame) -> None:
    assert over_the_wire(encode_frame(frame, EntryCache()), frame) == frame


@settings(max_examples=100, deadline=None)
@given(FRAMES)
def test_joined_pieces_are_what_protobuf_itself_would_make_of_the_frame(frame: Frame) -> None:
    """The bytes are put together by hand; parsed and serialized again by the library they stay the same message."""
    data = encode_frame(frame, EntryCache())
    again = pb.Frame.FromString(data).SerializeToString(deterministic=True)
    assert over_the_wire(again, frame) == frame


def test_messages_keep_their_order_between_entries_and_small_ones() -> None:
    append = an_append(raft.Entry(9, 5, raft.EntryKind.DATA, b"x")).messages[0]
    small = (16, raft.Heartbeat(1, 2, 5, 8, 0, False))
    frame = Frame(1, 2, Lane.BULK, 7, 1, messages=(small, append, small, append, small))
    assert over_the_wire(encode_frame(frame, EntryCache()), frame).messages == frame.messages


def test_an_entry_for_many_followers_is_encoded_once() -> None:
    cache = EntryCache()
    entry = raft.Entry(9, 5, raft.EntryKind.DATA, bytes(1000))
    first, second = cache.encode(entry), cache.encode(entry)
    assert first is second
    assert first[1][1] is entry.data, "the payload itself must not be copied"


@pytest.mark.parametrize("position", range(200))
def test_a_flipped_bit_in_an_entry_never_arrives_as_another_entry(position: int) -> None:
    frame = an_append(raft.Entry(9, 5, raft.EntryKind.DATA, bytes(range(100))))
    data = bytearray(encode_frame(frame, EntryCache()))
    if position >= len(data):
        return
    data[position] ^= 0x10
    try:
        arrived = over_the_wire(bytes(data), frame)
    except Exception:
        return
    for _, message in arrived.messages:
        if isinstance(message, raft.AppendRequest):
            # What surrounds entries (group, term, commit) is TCP's to protect; entries are ours.
            assert message.entries in ((), frame.messages[0][1].entries)  # type: ignore[union-attr]


@pytest.mark.parametrize("field", ["index", "term", "kind", "data"])
def test_the_checksum_covers_every_field_of_an_entry(field: str) -> None:
    entry = raft.Entry(9, 5, raft.EntryKind.DATA, b"abc")
    others = {
        "index": entry._replace(index=10),
        "term": entry._replace(term=6),
        "kind": entry._replace(kind=raft.EntryKind.COMMAND),
        "data": entry._replace(data=b"abd"),
    }
    assert entry_checksum(*entry) != entry_checksum(*others[field])


def test_entries_that_arrive_under_a_shifted_index_are_refused() -> None:
    """The index does not travel with the entry: it follows from previous_index, and the checksum ties it down."""
    frame = an_append(raft.Entry(9, 5, raft.EntryKind.DATA, b"abc"))
    wire = pb.Frame.FromString(encode_frame(frame, EntryCache()))
    wire.messages[0].append_request.previous_index += 1
    with pytest.raises(BadFrame, match="entry 10"):
        decode_frame(wire, 1, 2, Lane.BULK, 7)


def test_a_damaged_checkpoint_chunk_is_refused() -> None:
    chunk = CheckpointChunk(16, 1, 2, 5, 100, 4, 0, 3, b"abc")
    frame = Frame(1, 2, Lane.CHECKPOINT, 7, 1, chunks=(chunk,))
    wire = pb.Frame.FromString(encode_frame(frame, EntryCache()))
    wire.chunks[0].data = b"abd"
    with pytest.raises(BadFrame, match="chunk"):
        decode_frame(wire, 1, 2, Lane.CHECKPOINT, 7)


@pytest.mark.parametrize(
    "wire",
    [
        pb.Frame(messages=[pb.GroupMessage(group_id=16)]),
        pb.Frame(
            messages=[
                pb.GroupMessage(
                    append_request=pb.AppendRequest(entries=[pb.Entry(kind=9, crc32c=entry_checksum(1, 0, 9, b""))])
                )
            ]
        ),
    ],
    ids=["message", "entry"],
)
def test_what_a_newer_peer_may_say_and_we_do_not_know_is_refused_as_a_whole(wire: pb.Frame) -> None:
    with pytest.raises(BadFrame, match="unknown kind"):
        decode_frame(wire, 1, 2, Lane.BULK, 7)


def test_session_and_nodes_come_from_the_stream_not_from_the_frame() -> None:
    frame = Frame(1, 2, Lane.URGENT, 7, 3, alive=True)
    wire = pb.Frame.FromString(encode_frame(frame, EntryCache()))
    assert decode_frame(wire, 4, 5, Lane.BULK, 6) == replace(frame, sender=4, to=5, lane=Lane.BULK, session=6)
