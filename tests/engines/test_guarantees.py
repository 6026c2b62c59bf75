"""The README's table of engines, line by line: what our own Raft holds of DESIGN.md §1, and PySyncObj does not.

Each test runs over both and says what each of them shows; ``test_known_holes`` has the further ones. Should
PySyncObj be found to hold something, strike it from ``quorumlog.engines.pysyncobj.engine.LACKS`` and the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from engines.one_crash import APPENDS, BEFORE, SURVIVE, OneCrash
from replica.offset_trio import OffsetTrio
from replica.trio import Trio

from quorumlog.engines import engine_named
from quorumlog.engines.pysyncobj.journal import JOURNAL_NAME
from quorumlog.raft.types import EntryKind
from quorumlog.replica import Appended, Failure, Reason
from quorumlog.replica.events import ReplicaDamaged, ReplicaReplaced
from quorumlog.replica.offset_api import AcquiredOffset, CommittedOffset

if TYPE_CHECKING:
    from quorumlog.replica import Frame

BOTH = pytest.mark.parametrize("engine", ["raft", "pysyncobj"])


# --- G3, G10: what was read


@BOTH
def test_g3_what_was_read_stays_with_raft_and_disappears_with_pysyncobj(engine: str) -> None:
    crash = OneCrash(engine)
    assert crash.end_before == BEFORE + APPENDS
    assert crash.end_offset == BEFORE + (APPENDS if engine == "raft" else SURVIVE)


@BOTH
def test_g10_a_reader_beyond_what_was_lost_goes_on_without_a_word_with_pysyncobj(engine: str) -> None:
    crash = OneCrash(engine)
    for number in range(APPENDS):
        assert isinstance(crash.trio.append(crash.trio.led(), [b"new %d" % number])[0], Appended)
    skipped = 0 if engine == "raft" else APPENDS - SURVIVE
    expected = [b"new %d" % number for number in range(skipped, APPENDS)]
    assert crash.values_from(BEFORE + APPENDS) == expected, "of the new ones, none of which it has seen"


# --- G4, G7: offsets


@BOTH
def test_g4_an_acknowledged_commit_stays_with_raft_and_is_lost_with_pysyncobj(engine: str) -> None:
    crash = OneCrash(engine, lambda trio, leader: trio.committing(leader, 1, 1))
    assert isinstance(crash.answer, CommittedOffset)
    assert crash.trio.stored() == (1 if engine == "raft" else 0), "0 is where the group began"


@BOTH
def test_g7_a_fenced_owner_stays_out_with_raft_and_is_let_in_again_with_pysyncobj(engine: str) -> None:
    crash = OneCrash(engine, lambda trio, leader: trio.acquiring(leader, session=8))
    assert isinstance(crash.answer, AcquiredOffset)
    assert crash.answer.owner_epoch == 2
    answer = crash.trio.committing(crash.trio.led(), 1, 1, session=7, epoch=1)[0]
    if engine == "raft":
        assert isinstance(answer, Failure)
        assert answer.reason is Reason.FENCED
    else:
        assert isinstance(answer, CommittedOffset), "the older owner, after a newer one was told that it owns"


@BOTH
def test_g5_g6_no_commit_beyond_the_end_and_none_that_goes_back_with_either(engine: str) -> None:
    trio = OffsetTrio(engine=engine)
    trio.acquire()
    assert trio.refused(11, 1).reason is Reason.OFFSET_BEYOND_END
    trio.commit(5, 2)
    assert trio.refused(4, 3).reason is Reason.OFFSET_REGRESSED
    assert trio.stored() == 5


# --- G12: damage


def damaged(trio: Trio, group: int) -> int:
    """A follower whose log of the group has a flipped bit below what it applied; it is up again."""
    victim = next(node for node in trio.ids if node != trio.led())
    directory = f"/data/groups/{group}/replica-0"
    trio.kill(victim)
    disk = trio.disks[victim]
    (segment,) = [name for name in disk.listdir(directory) if name.endswith(".segment")]
    disk.flip_bit(f"{directory}/{segment}", 400)
    trio.start(victim)
    trio.pass_time(30_000)
    return victim


@BOTH
def test_g12_a_damaged_replica_is_replaced_with_raft_and_stays_out_with_pysyncobj(engine: str) -> None:
    trio = OffsetTrio(engine=engine)
    group = trio.group()
    victim = damaged(trio, group)
    events = [type(event) for event in trio.events[victim]]
    assert ReplicaDamaged in events
    back = trio.replica(victim, group)
    if engine == "raft":
        assert ReplicaReplaced in events
        assert back.digest == trio.replica(trio.led(), group).digest
    else:
        assert ReplicaReplaced not in events
        assert back is None


def journal(trio: Trio, node: int, topic: str = "t") -> list[tuple[bytes, int, int]]:
    """PySyncObj's own log on a node, as it has it in memory: (command, index, term)."""
    core: Any = trio.nodes[node]._replicas[trio.group(topic)].raft
    entries: list[tuple[bytes, int, int]] = core._journal[:]
    return entries


def test_g12_pysyncobjs_journal_takes_a_flipped_bit_for_what_was_written() -> None:
    """Below our log, which has checksums, lies the library's own, which it sends to followers from."""
    trio = OffsetTrio(records=3, engine="pysyncobj")
    leader, path = trio.led(), f"/data/groups/{trio.group()}/replica-0/{JOURNAL_NAME}"
    before = journal(trio, leader)
    trio.kill(leader)
    trio.disks[leader].flip_bit(path, trio.disks[leader].content(path).rindex(b"2"))
    trio.start(leader)
    trio.settle()
    after = journal(trio, leader)
    assert [entry[1:] for entry in after[: len(before)]] == [entry[1:] for entry in before]
    assert sum(old[0] != new[0] for old, new in zip(before, after, strict=False)) == 1, "and nobody minds"


# --- what it costs


@BOTH
def test_fast_failover_without_a_time_out_is_rafts_alone(engine: str) -> None:
    trio = OffsetTrio(engine=engine)
    trio.kill(trio.led())
    trio.pass_time(100)
    led = trio.leader(trio.group()) is not None
    assert led is (engine == "raft")


class Counting(Trio):
    """Counts the groups' messages on the wire."""

    messages = 0

    def _deliver(self, frame: Frame) -> None:
        self.messages += len(frame.messages)
        super()._deliver(frame)


@BOTH
def test_idle_partitions_say_nothing_with_raft_and_heartbeats_with_pysyncobj(engine: str) -> None:
    trio = Counting(engine=engine)
    trio.make_topic()
    trio.append(trio.led(), [b"x"])
    trio.pass_time(5_000)
    trio.messages = 0
    trio.pass_time(5_000)
    assert (trio.messages == 0) is (engine == "raft")


@BOTH
def test_size_in_memory_is_bounded_with_raft_and_grows_with_the_log_with_pysyncobj(engine: str) -> None:
    trio = Trio(engine=engine, tail_cache_bytes=64 << 10, balance_leaders=False)
    trio.make_topic("small", segment_bytes=64 << 10, retention_bytes=128 << 10, max_batch_bytes=16 << 10)
    leader = trio.led("small")
    for _ in range(60):
        trio.append(leader, [bytes(8_000)], "small")
    trio.pass_time(12_000)
    replica = trio.nodes[leader]._replicas[trio.group("small")]
    assert trio.replica(leader, trio.group("small")).start_offset > 0, "retention has removed records from the disk"
    if engine == "raft":
        assert replica.log._options.cache.bytes <= 64 << 10
    else:
        held = [command for command, _, _ in journal(trio, leader, "small") if command[0] == 16 + EntryKind.DATA]
        assert len(held) == 60, "and all of them are in memory"


def test_every_guarantee_that_pysyncobj_lacks_is_named_once() -> None:
    names = [lack.guarantee for lack in engine_named("pysyncobj").lacks]
    assert len(set(names)) == len(names)
    assert {"G1", "G2", "G3", "G4", "G7", "G8", "G10", "G12", "G13"} <= set(names)
    assert not engine_named("raft").lacks
