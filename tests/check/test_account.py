"""The account counts what a history shows, and its sums must balance."""

from __future__ import annotations

from random import Random

import pytest
from check.histories import healthy_history
from check.long_histories import long_history
from check.offset_histories import REGISTER, OffsetScript

from quorumlog.check import EventType
from quorumlog.check.account import Account, account, to_json
from quorumlog.check.availability import FaultSpan, Gap
from quorumlog.check.history import operations
from quorumlog.check.repeats import OwnerAccount, Spans

MS = 1_000_000


class Clock(OffsetScript):
    """A script whose time is set by hand, in ms."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0

    def invoke(self, process: int, operation: str, value: object = None, key: str | None = None) -> int:
        return self.recorder.invoke(self.now_ms * MS, process, operation, key or self.key, value)

    def complete(self, invocation: int, kind: EventType, value: object = None, node: int | None = None) -> None:
        self.recorder.complete(self.now_ms * MS, invocation, kind, value, node=node)

    def at(self, now_ms: int) -> Clock:
        self.now_ms = now_ms
        return self

    def strike(self, name: str = "kill leader") -> int:
        return self.invoke(-1, "fault", {"nodes": [2]}, name)

    def recover(self, fault: int, effect: int = 1) -> None:
        self.complete(fault, EventType.OK, {"effect": effect})

    def mark(self, name: str) -> None:
        self.complete(self.invoke(-2, name, key=""), EventType.OK)


# --- records and commits ------------------------------------------------------------------------------------------


def test_every_record_is_counted_under_its_outcome() -> None:
    script = Clock()
    script.sent(0, ["a", "b"], 0)
    script.failed(0, ["c"])
    script.unknown(1, ["d", "e"])
    script.invoke(2, "send", ["f"])
    script.read(5, 0, ["a", "d"])
    script.read(6, 0, ["a"])
    (found,) = account(script.events).records
    assert (found.acknowledged, found.failed, found.unknown, found.unknown_read) == (2, 1, 3, 1)
    assert (found.read, found.reads, found.unseen, found.dropped) == (2, 3, 1, 0)


def test_what_retention_took_before_anybody_read_it_is_dropped_and_not_unseen() -> None:
    script = Clock()
    script.sent(0, ["a", "b", "c"], 0)
    script.at(100).read(5, 2, ["c"], start=2)
    script.at(200).mark("over")
    (found,) = account(script.events).records
    assert (found.unseen, found.dropped) == (0, 2)
    assert account(script.events, buckets=4).series.unseen == [3, 3, 3, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_no_record_is_lost_between_the_columns(seed: int) -> None:
    events = healthy_history(Random(seed), steps=300)
    sent = [operation for operation in operations(events) if operation.invoked.operation == "send"]
    (found,) = account(events).records
    assert found.acknowledged + found.unknown + found.failed == sum(len(one.invoked.value) for one in sent)
    assert found.read == found.acknowledged + found.unknown_read
    assert found.unseen == 0


def test_every_commit_is_counted_and_an_unknown_one_that_was_seen_is_told() -> None:
    script = Clock()
    script.acquire(1, 1, None)
    script.commit(1, 3, 10, "a")
    script.commit(1, 4, None, "b", kind=EventType.FAIL)
    script.commit(1, 4, None, "c")
    script.commit(2, 5, None, "d")
    script.fetch(5, (4, 12, "c"))
    script.resolve(6, "d", "PRESENT", 13)
    script.reset(7, 0, 14)
    (found,) = account(script.events).commits
    assert (found.ok, found.refused, found.unknown, found.unknown_seen) == (1, 1, 2, 2)
    assert (found.resets, found.owners) == (1, 1)


def test_outcomes_are_counted_by_operation_and_what_never_ended_is_unknown() -> None:
    script = Clock()
    script.sent(0, ["a"], 0)
    script.failed(0, ["b"])
    script.unknown(0, ["c"])
    script.invoke(1, "send", ["d"])
    assert account(script.events).operations == {"send": {"ok": 1, "fail": 1, "info": 2}}


# --- repeats ------------------------------------------------------------------------------------------------------


def taken_over(stored: tuple[int, int, str] | None, first: int, last: int, *, reset: bool = False) -> Clock:
    """One owner finishes 0..9 and commits 6; the next is shown ``stored`` and processes ``first`` to ``last``."""
    script = Clock()
    script.acquire(1, 1, None)
    script.process(1, 1, 0, 4)
    script.process(1, 1, 5, 9)
    script.commit(1, 6, 10, "a")
    if reset:
        script.reset(7, 0, 12)
    script.acquire(2, 2, stored)
    script.process(2, 2, first, last)
    return script


def test_what_was_finished_and_not_committed_is_exposed_and_repeats() -> None:
    found = account(taken_over((6, 10, "a"), 6, 12).events)
    (group,) = found.groups
    assert (group.processed, group.different, group.repeats, group.exposed) == (17, 13, 4, 4)
    assert group.owners == (OwnerAccount(1, 10, 0, 0), OwnerAccount(2, 7, 4, 4))
    assert found.complaints == ()


def test_an_owner_that_repeats_what_was_committed_is_complained_of() -> None:
    """The takeover was shown less than was acknowledged: it may not excuse itself by what it was shown."""
    found = account(taken_over((2, 5, ""), 2, 12).events)
    assert found.groups[0].owners[1] == OwnerAccount(2, 11, 4, 8)
    (complaint,) = found.complaints
    assert "epoch 2 repeats 8 records, and only 4" in complaint


def test_what_repeats_because_of_a_reset_repeats_on_purpose() -> None:
    found = account(taken_over((0, 12, ""), 0, 9, reset=True).events)
    assert found.groups[0].repeats == 10
    assert found.complaints == ()


def test_what_a_fenced_owner_finishes_late_is_a_repeat_of_the_next_one() -> None:
    script = Clock()
    script.acquire(1, 1, None)
    late = script.invoke(1, "process", {"epoch": 1, "first": 0, "last": 4}, REGISTER)
    script.acquire(2, 2, (0, 5, ""))
    script.process(2, 2, 0, 9)
    script.complete(late, EventType.OK)
    (group,) = account(script.events).groups
    assert (group.repeats, group.exposed) == (5, 5)


def test_an_owner_that_goes_over_its_own_records_again_was_exposed_to_nothing() -> None:
    script = Clock()
    script.acquire(1, 1, None)
    script.process(1, 1, 0, 4)
    script.process(1, 1, 3, 6)
    found = account(script.events)
    assert found.groups[0].repeats == 2
    assert len(found.complaints) == 1


def test_what_nobody_said_it_finished_is_abandoned() -> None:
    script = Clock()
    script.acquire(1, 1, None)
    script.process(1, 1, 0, 4, EventType.INFO)
    (group,) = account(script.events).groups
    assert (group.processed, group.abandoned) == (0, 5)


@pytest.mark.parametrize("seed", range(30))
def test_spans_are_a_set_of_offsets(seed: int) -> None:
    random, spans, plain = Random(seed), Spans(), set[int]()
    for _ in range(40):
        low = random.randrange(60)
        high = low + random.randrange(1, 12)
        offsets = set(range(low, high))
        assert spans.add(low, high) == len(plain & offsets)
        plain |= offsets
        limit = random.randrange(70)
        assert spans.count_from(limit) == len([offset for offset in plain if offset >= limit])
    assert set[int]().union(*(range(*one) for one in spans.ranges())) == plain


# --- availability -------------------------------------------------------------------------------------------------


def outage() -> Clock:
    """A leader is killed at 1000 ms: the send under way then is answered at 1800, the next at once."""
    script = Clock()
    script.at(0).sent(0, ["a"], 0)
    script.at(990)
    send = script.invoke(0, "send", ["b"])
    fault = script.at(1000).strike()
    script.at(1100).recover(fault)
    script.at(1800).complete(send, EventType.OK, 1)
    script.at(1900).sent(0, ["c"], 2)
    return script


def longest(found: Account, fault: int = 0) -> dict[tuple[str, str], tuple[float, bool]]:
    return {(gap.service, gap.key): (gap.length_ms, gap.recovered) for gap in found.faults[fault].gaps}


def test_a_fault_costs_the_longest_time_that_somebody_waited_from_its_beginning_to_recovery() -> None:
    found = account(outage().events)
    assert found.faults[0].fault == FaultSpan("kill leader", 1000 * MS, 1100 * MS, {"nodes": [2]}, 1)
    assert longest(found) == {("append", "lines/0"): (800.0, True)}
    assert found.faults[0].unavailable_ms == 800.0


def test_a_time_in_which_nobody_asked_is_no_gap() -> None:
    script = Clock()
    fault = script.at(1000).strike()
    script.at(5000).recover(fault)
    script.at(5010).sent(0, ["a"], 0)
    found = account(script.events)
    assert found.faults[0].gaps == ()
    assert found.faults[0].unavailable_ms == 0.0


def test_one_client_that_is_served_ends_the_gap_of_all() -> None:
    script = outage()
    events = [event for event in script.events if event.time_ns < 1800 * MS]
    served = Clock()
    served.recorder.events = events
    served.at(1500).sent(7, ["x"], 1)
    assert longest(account(served.events)) == {("append", "lines/0"): (500.0, True)}


def test_who_still_waits_when_another_was_served_waits_from_then_on() -> None:
    script = Clock()
    fault = script.at(1000).strike()
    slow = script.invoke(0, "send", ["a"])
    script.at(1300).sent(1, ["b"], 0)
    script.at(2000).complete(slow, EventType.OK, 1)
    script.recover(fault)
    assert longest(account(script.events)) == {("append", "lines/0"): (700.0, True)}


def test_who_fails_and_tries_again_soon_has_waited_all_the_time() -> None:
    script = Clock()
    fault = script.at(1000).strike()
    for moment in (1000, 1500, 2000):
        send = script.at(moment).invoke(0, "send", [f"a{moment}"])
        script.at(moment + 300).complete(send, EventType.FAIL)
    send = script.at(2500).invoke(0, "send", ["a"])
    script.at(2600).complete(send, EventType.OK, 0)
    script.recover(fault)
    assert longest(account(script.events)) == {("append", "lines/0"): (1600.0, True)}


def test_who_gives_up_was_not_served_and_what_comes_much_later_is_another_wish() -> None:
    script = Clock()
    fault = script.at(1000).strike()
    send = script.invoke(0, "send", ["a"])
    script.at(1400).complete(send, EventType.FAIL)
    script.at(9000).sent(0, ["b"], 0)
    script.recover(fault)
    assert longest(account(script.events)) == {("append", "lines/0"): (400.0, False)}


def test_what_is_never_answered_is_a_gap_to_the_end() -> None:
    script = Clock()
    fault = script.at(1000).strike()
    script.invoke(0, "send", ["a"])
    script.at(4000).recover(fault)
    assert longest(account(script.events)) == {("append", "lines/0"): (3000.0, False)}


def test_a_kill_is_felt_after_it_is_over_and_a_later_outage_is_not_its_doing() -> None:
    script = Clock()
    script.at(1000).recover(script.strike())
    soon = script.at(1500).invoke(0, "send", ["a"])
    script.at(2100).complete(soon, EventType.OK, 0)
    late = script.at(9000).invoke(0, "send", ["b"])
    script.at(9900).complete(late, EventType.OK, 1)
    assert longest(account(script.events)) == {("append", "lines/0"): (600.0, True)}


def test_registers_are_watched_by_themselves() -> None:
    script = Clock()
    fault = script.at(1000).strike()
    fetch = script.invoke(5, "fetch", None, REGISTER)
    script.at(1700).complete(fetch, EventType.OK, {"stored": None, "epoch": 0})
    script.recover(fault)
    assert longest(account(script.events)) == {("offsets", REGISTER): (700.0, True)}


def test_a_group_waits_while_records_are_there_that_it_has_not_processed() -> None:
    script = Clock()
    script.acquire(1, 1, None)
    script.process(1, 1, 0, 0)
    fault = script.at(1000).strike()
    script.at(1200).sent(0, ["a", "b"], 0)
    script.at(3000).process(1, 1, 1, 1)
    script.at(3500).recover(fault)
    assert longest(account(script.events)) == {("consume", REGISTER): (1800.0, True)}


def test_members_that_were_told_to_go_leave_nobody_waiting() -> None:
    script = Clock()
    script.acquire(1, 1, None)
    script.process(1, 1, 0, 0)
    script.mark("healed")
    script.at(100).mark("members_stop")
    script.at(200).sent(0, ["a", "b"], 0)
    script.at(90_000).mark("over")
    assert account(script.events, liveness_ms=15_000).complaints == ()


def test_a_strike_that_found_nobody_is_no_fault() -> None:
    script = Clock()
    script.complete(script.strike(), EventType.FAIL)
    assert account(script.events).faults == ()


def test_a_fault_that_is_never_undone_lasts_to_the_end() -> None:
    script = Clock()
    script.at(1000).strike()
    script.at(5000).sent(0, ["a"], 0)
    assert account(script.events).faults[0].fault == FaultSpan(
        "kill leader", 1000 * MS, 5000 * MS, {"nodes": [2]}, None
    )


def test_what_is_normal_is_measured_before_the_first_fault() -> None:
    script = Clock()
    slow = script.at(100).invoke(0, "send", ["a"])
    script.at(150).complete(slow, EventType.OK, 0)
    script.at(1000).recover(script.strike())
    assert account(script.events).calm_gaps == (Gap("append", "lines/0", 100 * MS, 150 * MS, True),)


@pytest.mark.parametrize(("bound_ms", "complaints"), [(2000, 1), (3000, 0), (0, 0)])
def test_nobody_may_wait_longer_than_the_bound_after_healing(bound_ms: int, complaints: int) -> None:
    script = Clock()
    fault = script.at(1000).strike()
    send = script.invoke(0, "send", ["a"])
    script.at(20_000).recover(fault)
    script.mark("healed")
    script.at(22_500).complete(send, EventType.OK, 0)
    found = account(script.events, bound_ms)
    assert len(found.complaints) == complaints
    assert all("nobody was served for 2500 ms (append)" in complaint for complaint in found.complaints)


# --- over time ----------------------------------------------------------------------------------------------------


def test_operations_are_counted_and_timed_where_they_ended() -> None:
    script = Clock()
    for process in range(3):
        script.at(process).invoke(process, "end")
    for invocation, (ended, kind) in enumerate([(10, EventType.OK), (31, EventType.OK), (120, EventType.FAIL)]):
        script.at(ended).complete(invocation, kind, 0)
    found = account(script.events, buckets=2).series
    assert (found.width_ns, found.buckets) == (100 * MS, 2)
    (end,) = found.operations
    assert (end.ok, end.fail, end.info) == ([2, 0], [0, 1], [0, 0])
    assert (end.latency_p50_ms[0], end.latency_p99_ms[0], end.latency_max_ms) == (10.0, 30.0, [30.0, None])


def test_unseen_and_exposed_rise_and_fall_and_keep_their_height_in_between() -> None:
    script = Clock()
    script.at(0).acquire(1, 1, None)
    script.at(100).sent(0, ["a", "b", "c"], 0)
    script.at(250).read(5, 0, ["a", "b"])
    script.process(1, 1, 0, 1)
    script.at(450).commit(1, 2, 10, "a")
    script.at(550).read(5, 2, ["c"])
    found = account(script.events, buckets=6).series
    assert found.width_ns == 100 * MS
    assert found.unseen == [0, 3, 3, 1, 1, 1]
    assert found.exposed == [0, 0, 2, 2, 2, 0]
    assert found.records_acknowledged == [0, 3, 0, 0, 0, 0]
    assert found.records_read == [0, 0, 2, 0, 0, 1]


def test_a_read_before_the_acknowledgement_leaves_nothing_unseen() -> None:
    script = Clock()
    send = script.invoke(0, "send", ["a"])
    script.read(5, 0, ["a"])
    script.complete(send, EventType.OK, 0)
    assert max(account(script.events).series.unseen) == 0


def test_a_new_owner_is_exposed_only_by_what_it_does_itself() -> None:
    script = Clock()
    script.acquire(1, 1, None)
    script.process(1, 1, 0, 4)
    script.at(100).acquire(2, 2, (0, 5, ""))
    assert account(script.events, buckets=10).series.exposed[-1] == 5
    script.at(300).process(1, 1, 5, 9)
    assert account(script.events, buckets=30).series.exposed[-1] == 0


def test_a_history_without_events_has_an_empty_account() -> None:
    found = account([])
    assert found.complaints == ()
    assert (found.records, found.faults, found.series.operations) == ((), (), ())


def test_a_long_intact_history_balances() -> None:
    found = account(long_history(20_000), liveness_ms=1000)
    assert found.complaints == ()
    totals = found.totals
    assert totals["records read"] == totals["records acknowledged"] + totals["records unknown_read"]
    assert 0 < totals["group repeats"] <= totals["group exposed"]
    assert sum(found.series.records_acknowledged) == totals["records acknowledged"]
    assert totals["records unseen"] == 0
    assert 200 < found.series.buckets <= 301


def test_the_account_of_programs_has_every_number_but_no_series() -> None:
    plain = to_json(account(outage().events))
    assert plain["totals"]["records acknowledged"] == 3
    assert plain["faults"][0]["fault"]["name"] == "kill leader"
    assert "series" not in plain
