"""The second engine behind the seam: what a node can do with it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from engines.held_links import HeldTrio
from replica.trio import Trio, batch

from quorumlog.engines import EngineMessage, UnsupportedChange, engine_named
from quorumlog.peer.v1 import peer_pb2 as pb
from quorumlog.raft.types import ConfigurationChange
from quorumlog.replica import Appended, End, Failure, OffsetFound
from quorumlog.replica.frames import Frame, Lane
from quorumlog.server.codec import BadFrame, EntryCache, decode_frame, encode_frame
from quorumlog.server.sync_obj_codec import UnknownMessage
from quorumlog.sim.disk import SimulatedDisk
from quorumlog.storage import NodeDirectory, WrongEngine


def cluster(**settings: Any) -> Trio:
    trio = Trio(engine="pysyncobj", **settings)
    trio.make_topic()
    return trio


def test_an_append_is_acknowledged_and_read_back_on_the_leader() -> None:
    trio = cluster()
    answers = [trio.append(trio.led(), [b"%d" % number])[0] for number in range(5)]
    assert [answer.base_offset for answer in answers if isinstance(answer, Appended)] == list(range(5))
    assert trio.read(trio.led())[0].end_offset == 5


def test_all_replicas_come_to_equal_digests_at_equal_indices() -> None:
    trio = cluster()
    for number in range(100):
        trio.append(trio.led(), [b"%d" % number])
    trio.pass_time(1_000)
    group = trio.group()
    states = {(trio.replica(node, group).applied_index, trio.replica(node, group).digest) for node in trio.ids}
    assert len(states) == 1


def test_a_repeated_batch_has_one_effect() -> None:
    trio = cluster()
    leader = trio.led()
    first = trio.append(leader, [b"once"], producer=(7, 0, 0))[0]
    again = trio.append(leader, [b"once"], producer=(7, 0, 0))[0]
    assert isinstance(first, Appended)
    assert isinstance(again, Appended)
    assert (again.base_offset, again.duplicate) == (first.base_offset, True)
    assert trio.read(leader)[0].end_offset == 1


def test_what_was_appended_survives_the_death_and_return_of_every_process_at_once() -> None:
    trio = cluster()
    for number in range(20):
        trio.append(trio.led(), [b"%d" % number])
    for node in trio.ids:
        trio.kill(node)
    for node in trio.ids:
        trio.start(node)
    trio.settle()
    trio.pass_time(4_000)
    assert trio.read(trio.led())[0].end_offset == 20
    assert isinstance(trio.append(trio.led(), [b"and on"])[0], Appended)


def test_a_batch_larger_than_what_the_library_sends_at_once_arrives() -> None:
    trio = cluster()
    leader = trio.led()
    assert isinstance(trio.append_batch(leader, batch([random.Random(1).randbytes(300_000)]))[0], Appended)
    trio.pass_time(500)
    group = trio.group()
    assert {trio.replica(node, group).end_offset for node in trio.ids} == {1}


def test_a_restarted_follower_catches_up_on_large_entries_too() -> None:
    trio = cluster()
    leader = trio.led()
    follower = next(node for node in trio.ids if node != leader)
    trio.kill(follower)
    for _ in range(5):
        trio.append_batch(leader, batch([random.Random(2).randbytes(200_000)]))
    trio.start(follower)
    trio.pass_time(5_000)
    assert trio.replica(follower, trio.group()).end_offset == 5


def test_a_linearizable_read_goes_through_the_log() -> None:
    trio = cluster()
    leader, group = trio.led(), trio.group()
    trio.append(leader, [b"x"])
    before = trio.replica(leader, group).last_index
    found = trio.find(leader, End())[0]
    assert isinstance(found, OffsetFound)
    assert found.offset == 1
    assert trio.replica(leader, group).last_index == before + 1


def test_a_leader_cut_off_from_the_others_confirms_no_read() -> None:
    trio = cluster()
    leader = trio.led()
    trio.isolate(leader)
    answers = trio.find(leader, End())
    trio.pass_time(6_000)
    assert isinstance(answers[0], Failure)


def test_a_follower_confirms_a_read_by_way_of_its_leader() -> None:
    trio = cluster()
    follower = next(node for node in trio.ids if node != trio.leader(1))
    answers = trio.ask(follower, lambda node, done: node.metadata(["nowhere"], done))
    trio.pass_time(100)
    assert not isinstance(answers[0], Failure)
    assert [topic.name for topic in answers[0].topics] == [], "confirmed with the controller: there is none"


def test_leadership_is_handed_over_and_appends_wait_for_it() -> None:
    trio = cluster()
    leader, group = trio.led(), trio.group()
    target = next(node for node in trio.ids if node != leader)
    trio.ask(leader, lambda node, done: node.transfer_leadership("t", 0, target, done))
    trio.until(lambda: trio.leader(group) == target)
    assert isinstance(trio.append(target, [b"x"])[0], Appended)


def test_a_change_of_members_is_refused_and_says_why() -> None:
    trio = cluster()
    leader = trio.led()
    core = trio.nodes[leader]._replicas[trio.group()].raft
    with pytest.raises(UnsupportedChange, match="cannot change"):
        core.propose_configuration(ConfigurationChange(frozenset({1, 2})))


def test_retention_drops_segments_that_the_library_still_remembers() -> None:
    trio = Trio(engine="pysyncobj", balance_leaders=False)
    trio.make_topic("small", segment_bytes=64 << 10, retention_bytes=128 << 10, max_batch_bytes=16 << 10)
    leader = trio.led("small")
    for _ in range(60):
        trio.append(leader, [bytes(8_000)], "small")
    trio.pass_time(12_000)
    described = trio.replica(leader, trio.group("small"))
    assert described.start_offset > 0
    for node in trio.ids:
        trio.kill(node)
    for node in trio.ids:
        trio.start(node)
    trio.settle()
    trio.pass_time(4_000)
    again = trio.replica(trio.led("small"), trio.group("small"))
    assert (again.start_offset, again.end_offset) == (described.start_offset, 60)


@pytest.mark.parametrize(("written", "opened"), [("pysyncobj", "raft"), ("raft", "pysyncobj")])
def test_a_directory_is_only_opened_by_the_engine_that_wrote_it(written: str, opened: str) -> None:
    trio = Trio(engine=written)
    trio.until(lambda: trio.leader(1) is not None)
    trio.kill(1)
    trio.settings["engine"] = opened
    with pytest.raises(WrongEngine):
        trio.start(1)


def test_a_fresh_directory_is_marked_before_anything_else_is_written() -> None:
    disk = SimulatedDisk(random.Random(1))
    NodeDirectory.open(disk, "/data", "c", 1).claim_engine("pysyncobj")
    disk.crash()
    with pytest.raises(WrongEngine):
        NodeDirectory.open(disk, "/data", "c", 1).claim_engine("raft")


def test_an_unknown_engine_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="raft, pysyncobj"):
        engine_named("paxos")


# --- on the wire
# ---------------------------------------------------------------------------------------------------

BODIES: list[dict[str, Any]] = [
    {
        "type": "append_entries",
        "term": 3,
        "commit_index": 4,
        "entries": [(b"\x12records", 5, 3), (b"\x01", 6, 3)],
        "prevLogIdx": 4,
        "prevLogTerm": 2,
    },
    {"type": "append_entries", "term": 1, "commit_index": 0, "entries": [], "prevLogIdx": 0, "prevLogTerm": 0},
    {"type": "next_node_idx", "next_node_idx": 7, "reset": True, "success": False},
    {"type": "request_vote", "term": 9, "last_log_index": 0, "last_log_term": 0},
    {"type": "response_vote", "term": 9},
    {"type": "timeout_now", "term": 9},
    {"type": "apply_command", "command": b"\x10", "request_id": 1},
    {"type": "apply_command", "command": b"\x10"},
    {"type": "apply_command_response", "request_id": 1, "log_idx": 10, "log_term": 2},
    {"type": "apply_command_response", "request_id": 1, "error": 4},
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body["type"])
def test_each_of_the_librarys_messages_comes_through_as_it_was(body: dict[str, Any]) -> None:
    size = sum(len(entry[0]) for entry in body.get("entries", ()))
    message = EngineMessage(1, 2, body.get("term", 0), body, size)
    wire = pb.Frame.FromString(encode_frame(Frame(1, 2, Lane.BULK, 1, 1, ((16, message),)), EntryCache()))
    assert decode_frame(wire, 1, 2, Lane.BULK, 1).messages == ((16, message),)


def test_what_the_library_is_never_to_say_is_not_put_on_the_wire() -> None:
    dump = EngineMessage(1, 2, 1, {"type": "append_entries", "term": 1, "commit_index": 1, "serialized": None})
    with pytest.raises(UnknownMessage):
        encode_frame(Frame(1, 2, Lane.BULK, 1, 1, ((16, dump),)), EntryCache())


def test_an_empty_message_of_the_engine_is_no_frame() -> None:
    empty = pb.Frame(
        sequence=1, messages=[pb.GroupMessage(group_id=16, sender=1, to=2, sync_obj=pb.SyncObjMessage())]
    )
    with pytest.raises(BadFrame):
        decode_frame(empty, 1, 2, Lane.BULK, 1)


def test_its_messages_leave_in_order_and_no_more_than_64_kib_of_entries_at_a_time() -> None:
    trio = HeldTrio(engine="pysyncobj")
    trio.make_topic()
    leader = trio.led()
    follower = next(node for node in trio.ids if node != leader)
    trio.hold(follower, leader)
    trio.hold(leader, follower)
    for number in range(10):
        trio.append(leader, [b"%d" % number + bytes(30_000)])
    ends = []
    for frame in trio.waiting[leader, follower]:
        sizes = [message.size_bytes for _, message in frame.messages if isinstance(message, EngineMessage)]
        assert len(sizes) <= 1 or sum(sizes) <= 64 << 10
        ends += [
            message.body["entries"][-1][1]  # type: ignore[index]
            for _, message in frame.messages
            if isinstance(message, EngineMessage) and message.body.get("entries")
        ]
    assert ends == sorted(ends)
    assert len(ends) >= 10
