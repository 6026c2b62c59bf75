"""Further holes of PySyncObj 0.3.17 (RAFT.md §6), each shown, and beside it that our own Raft does not have it.

These tests document: should one of the first halves fail with a later version of the library, strike the hole from
``quorumlog.engines.pysyncobj.engine.LACKS`` and from the README's table.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from engines.held_links import HeldTrio
from replica.trio import Trio

from quorumlog.engines import EngineMessage
from quorumlog.engines.pysyncobj.journal import FilesJournal
from quorumlog.engines.pysyncobj.library import FileJournal
from quorumlog.raft.types import AppendResponse, TimeoutNow, VoteResponse
from quorumlog.replica import Appended, Failure
from quorumlog.replica.events import ReplicaDamaged
from quorumlog.sim.disk import SimulatedDisk

if TYPE_CHECKING:
    from pathlib import Path


def core_of(trio: Trio, node: int, group: int) -> Any:
    return trio.nodes[node]._replicas[group]


# --- acknowledgements have neither a bound nor a term ------------------------------------------------------------


def alone_with_one_append(engine: str) -> tuple[HeldTrio, int, int, list[Any]]:
    """A leader whose followers hear nothing, and an append that stands in its log alone."""
    trio = HeldTrio(engine=engine)
    trio.make_topic()
    leader = trio.led()
    follower = next(node for node in trio.ids if node != leader)
    for node in trio.ids:
        if node != leader:
            trio.hold(leader, node)
    return trio, leader, follower, trio.append(leader, [b"only here"])


def test_pysyncobj_takes_an_acknowledgement_of_what_does_not_exist_for_one_of_what_does() -> None:
    trio, leader, follower, answers = alone_with_one_append("pysyncobj")
    assert not answers
    body = {"type": "next_node_idx", "next_node_idx": 1000, "reset": False, "success": True}
    core_of(trio, leader, trio.group()).step(EngineMessage(follower, leader, 0, body))
    trio.settle()
    assert isinstance(answers[0], Appended), "acknowledged, and no other node has ever seen it"
    later = trio.append(leader, [b"nor this"])
    assert isinstance(later[0], Appended), "and so is whatever comes, up to entry 999"
    assert trio.replica(follower, trio.group()).last_index < trio.replica(leader, trio.group()).last_index


def test_our_own_engine_does_not() -> None:
    trio, leader, follower, answers = alone_with_one_append("raft")
    replica = core_of(trio, leader, trio.group())
    replica.step(AppendResponse(follower, leader, replica.raft.term, True, 999, 0, 0))
    trio.settle()
    assert not [answer for answer in answers if isinstance(answer, Appended)]


# --- votes are counted, not kept apart ---------------------------------------------------------------------------


def candidate_of_five(engine: str) -> tuple[HeldTrio, int, int]:
    """(cluster, candidate, another): one of five has been told to stand, and nobody has heard of it yet."""
    trio = HeldTrio(count=5, engine=engine)
    trio.until(lambda: trio.leader(1) is not None)
    leader = trio.leader(1)
    assert leader is not None
    candidate, voter = [node for node in trio.ids if node != leader][:2]
    for node in trio.ids:
        trio.hold(candidate, node)
    replica = core_of(trio, candidate, 1)
    term = replica.raft.term
    if engine == "raft":
        replica.step(TimeoutNow(leader, candidate, term))
    else:
        replica.step(EngineMessage(leader, candidate, term, {"type": "timeout_now", "term": term}))
    trio.settle()
    assert trio.replica(candidate, 1).role == "candidate"
    return trio, candidate, voter


def test_one_vote_that_arrives_twice_elects_a_leader_of_five_with_pysyncobj() -> None:
    trio, candidate, voter = candidate_of_five("pysyncobj")
    replica = core_of(trio, candidate, 1)
    vote = EngineMessage(voter, candidate, replica.raft.term, {"type": "response_vote", "term": replica.raft.term})
    replica.step(vote)
    assert not replica.raft.is_leader, "two of five are no majority"
    replica.step(vote)
    assert replica.raft.is_leader, "and still two of five voted for it"


def test_nor_does_it_with_our_own() -> None:
    trio, candidate, voter = candidate_of_five("raft")
    replica = core_of(trio, candidate, 1)
    for _ in range(4):
        replica.step(VoteResponse(voter, candidate, replica.raft.term, True, False))
        trio.settle()
    assert not replica.raft.is_leader


# --- nothing is synced -------------------------------------------------------------------------------------------


def everyone_loses_power(engine: str) -> Trio:
    """Three acknowledged appends, then all machines lose their power at once."""
    trio = Trio(engine=engine)
    trio.make_topic()
    for number in range(3):
        assert isinstance(trio.append(trio.led(), [b"%d" % number])[0], Appended)
    trio.pass_time(100)
    for node in trio.ids:
        trio.kill(node)
        trio.disks[node].crash()
    for node in trio.ids:
        trio.start(node)
    trio.settle()
    trio.pass_time(5_000)
    return trio


def test_our_own_engine_has_everything_after_a_power_cut_of_all() -> None:
    trio = everyone_loses_power("raft")
    assert trio.read(trio.led())[0].end_offset == 3


def test_pysyncobj_does_not_survive_a_power_cut_of_all_and_says_so() -> None:
    trio = everyone_loses_power("pysyncobj")
    damaged = {node for node in trio.ids for event in trio.events[node] if isinstance(event, ReplicaDamaged)}
    served = [trio.read(node) for node in trio.ids]
    assert not any(not isinstance(answer[0], Failure) and answer[0].end_offset == 3 for answer in served if answer)
    assert damaged, "what had been applied is still on the disk and contradicts the empty journal"


# --- the journal is rewritten in place ---------------------------------------------------------------------------


class Interrupted(Exception):
    """The process ended here."""


def test_a_compaction_of_its_journal_that_is_interrupted_loses_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "journal")
    journal = FileJournal(path)
    for index in range(1, 11):
        journal.add(b"entry", index, 1)
    added: list[int] = []
    add = FileJournal.add

    def add_two(self: Any, command: bytes, idx: int, term: int) -> None:
        if len(added) == 2:
            raise Interrupted
        added.append(idx)
        add(self, command, idx, term)

    monkeypatch.setattr(FileJournal, "add", add_two)
    with pytest.raises(Interrupted):
        journal.deleteEntriesTo(3)
    monkeypatch.undo()
    assert [index for _, index, _ in FileJournal(path)[:]] == [4, 5], "of the seven that were to stay"


def test_the_simulators_journal_reads_like_the_librarys(tmp_path: Path) -> None:
    """Same records, byte by byte, after the library's name and version."""
    disk = SimulatedDisk(Random(1))
    ours, theirs = FilesJournal(disk, "/journal"), FileJournal(str(tmp_path / "journal"))
    for journal in (ours, theirs):
        for index in range(1, 30):
            journal.add(b"x" * index, index, index // 10)
        journal.deleteEntriesFrom(13)
        journal.add(b"another", 14, 7)
    read = disk.open("/journal", "read")
    size = read.size()
    assert read.pread(size - 36, 36) == (tmp_path / "journal").read_bytes()[36:size]
    assert FilesJournal(disk, "/journal")[:] == theirs[:]


# --- a follower that must discard something, and is far behind, never catches up
# -----------------------------------


def left_behind_with_a_stray_entry(engine: str) -> tuple[HeldTrio, int]:
    """A leader that died with an entry nobody else has, and comes back when its successor's successor is far
    ahead."""
    trio = HeldTrio(engine=engine)
    trio.make_topic()
    old = trio.led()
    for node in trio.ids:
        if node != old:
            trio.hold(old, node)
    trio.append(old, [b"nobody else has it"])
    trio.kill(old)
    trio.pass_time(5_000)
    for number in range(12):
        assert isinstance(trio.append(trio.led(), [b"%d" % number + bytes(16_000)])[0], Appended)
    successor, group = trio.led(), trio.group()
    last = next(node for node in trio.nodes if node != successor)
    trio.ask(successor, lambda node, done: node.transfer_leadership("t", 0, last, done))
    trio.until(lambda: trio.leader(group) == last)
    trio.start(old)
    trio.pass_time(10_000)
    return trio, old


def test_a_deposed_leader_that_is_far_behind_never_catches_up_with_pysyncobj() -> None:
    """Found by the simulator. Its successor says everything at once, in messages of 64 KiB; the first is refused
    with "go back by one", all later ones with "I end where I end", and the last word counts: so it begins there
    again, for ever, at the full speed of the link."""
    trio, old = left_behind_with_a_stray_entry("pysyncobj")
    told = trio.replica(trio.led(), trio.group())
    assert trio.replica(old, trio.group()).applied_index < told.applied_index
    lag = next(follower for follower in told.followers if follower.node_id == old)
    assert lag.match_index == 0, "nothing that it holds is known to match, ten seconds later"


def test_with_our_own_engine_it_does() -> None:
    trio, old = left_behind_with_a_stray_entry("raft")
    told = trio.replica(trio.led(), trio.group())
    assert trio.replica(old, trio.group()).digest == told.digest
