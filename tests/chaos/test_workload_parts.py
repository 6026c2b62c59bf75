"""The small parts of workloads: values that betray a change, histories written by several processes, pace."""

from __future__ import annotations

import asyncio
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from quorumlog.chaos.scenario import Load
from quorumlog.chaos.workloads import Setting
from quorumlog.chaos.workloads.catalog import WORKLOADS, workload_named
from quorumlog.chaos.workloads.ground import Ground, Pace
from quorumlog.chaos.workloads.journal import JournalRecorder, read_journal
from quorumlog.chaos.workloads.telling import Teller
from quorumlog.chaos.workloads.values import decode, encode
from quorumlog.check import EventType, Recorder, operations
from quorumlog.client.errors import Reason, make_error

if TYPE_CHECKING:
    from pathlib import Path


def test_a_value_is_known_by_its_bytes() -> None:
    for number in (1, 77, 1 << 41):
        for size in (0, 1, 1000, 1 << 20):
            assert decode(encode(number, size)) == number


def test_a_changed_cut_or_lengthened_value_is_nobodys() -> None:
    data = encode(12, 100)
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        assert decode(changed) != 12, at
    assert isinstance(decode(data[:-1]), str)
    assert isinstance(decode(data + b"e"), str)
    assert isinstance(decode(b""), str)
    assert isinstance(decode(None), str)


def test_values_of_one_size_differ() -> None:
    assert encode(1, 50)[-50:] != encode(2, 50)[-50:]


def test_absorbed_events_are_in_the_order_of_their_times() -> None:
    ours, theirs = Recorder(), Recorder()
    first = ours.invoke(10, 1, "end", "t/0")
    second = theirs.invoke(11, 9, "end", "t/0")
    theirs.complete(12, second, EventType.OK, 5)
    ours.complete(13, first, EventType.OK, 5)
    ours.absorb([theirs.events])
    assert [(event.process, event.type) for event in ours.events] == [
        (1, EventType.INVOKE),
        (9, EventType.INVOKE),
        (9, EventType.OK),
        (1, EventType.OK),
    ]
    assert [one.invoked.index for one in operations(ours.events)] == [0, 1]


def test_what_is_open_can_be_completed_after_an_absorption() -> None:
    ours, theirs = Recorder(), Recorder()
    theirs.complete(2, theirs.invoke(1, 9, "end", "t/0"), EventType.OK, 0)
    open_ = ours.invoke(3, 1, "end", "t/0")
    ours.absorb([theirs.events])
    later = ours.invoke(4, 1, "end", "t/0")
    ours.complete(5, later, EventType.OK, 1)
    ours.complete(6, open_, EventType.OK, 2)
    told = {one.invoked.time_ns: one.completed.value for one in operations(ours.events) if one.completed}
    assert told == {1: 0, 3: 2, 4: 1}


def test_at_one_moment_an_invocation_comes_before_another_process_s_completion() -> None:
    ours, theirs = Recorder(), Recorder()
    ours.complete(7, ours.invoke(5, 1, "end", "t/0"), EventType.OK, 3)
    theirs.invoke(7, 9, "send", "t/0", [1])
    ours.absorb([theirs.events])
    assert [event.type for event in ours.events] == [EventType.INVOKE, EventType.INVOKE, EventType.OK]


def test_a_journal_cut_short_keeps_every_whole_line_and_leaves_the_rest_unknown(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with JournalRecorder(path) as recorder:
        first = recorder.invoke(1, 7, "end", "t/0")
        second = recorder.invoke(2, 8, "end", "t/0")
        recorder.complete(3, first, EventType.OK, 4)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"index": 3, "time_')
    events = read_journal(path, ended_ns=9)
    assert [event.type for event in events] == [EventType.INVOKE, EventType.INVOKE, EventType.OK, EventType.INFO]
    assert events[-1].invocation == second
    assert events[-1].time_ns == 9
    assert read_journal(tmp_path / "none", 9) == []


async def test_pace_gives_so_many_turns_a_second() -> None:
    pace, began, turns = Pace(400), time.monotonic(), 0
    while time.monotonic() < began + 0.5:
        await pace.turn()
        turns += 1
    # A burst may make up for a tenth of a second.
    assert 100 < turns <= 400 * 0.6 + 2


async def test_full_speed_still_lets_others_run() -> None:
    pace, others = Pace(0), 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(1000):
        await pace.turn()
    task.cancel()
    assert others > 10


def test_an_unknown_workload_is_refused_by_name() -> None:
    assert set(WORKLOADS) == {"log", "registers", "groups", "mixed"}
    with pytest.raises(KeyError):
        workload_named("none", None)  # type: ignore[arg-type]  # the name is looked up first


def test_an_unknown_outcome_is_never_told_as_a_failure_and_retires_its_process() -> None:
    setting = Setting([""], Load(), Recorder(), Random(1))
    teller = Teller(Ground(setting), "t/0")
    unknown = make_error(Reason.NO_QUORUM, "no answer", not_done=False)
    refused = make_error(Reason.NO_QUORUM, "never left", not_done=True)
    first = teller.process
    teller.refused(teller.begin("send", [1]), refused)
    assert teller.process == first
    teller.refused(teller.begin("send", [2]), unknown)
    assert teller.process != first
    assert [event.type for event in setting.recorder.events[1::2]] == [EventType.FAIL, EventType.INFO]
    operations(setting.recorder.events)
