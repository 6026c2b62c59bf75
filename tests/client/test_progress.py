"""What may be committed: everything finished, nothing that is not, in whatever order records are finished."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from quorumlog.client.offset_types import Fingerprint
from quorumlog.client.policy.progress import BatchRange, Exposure, Progress


def delivered(start: int, end: int, stored: int | None = None) -> Progress:
    progress = Progress(start, stored)
    progress.deliver(end)
    return progress


class TestWatermarks:
    def test_handing_out_is_not_processing(self) -> None:
        progress = delivered(5, 10)
        assert (progress.delivered, progress.processed, progress.sent, progress.durable) == (10, 5, 5, 5)
        assert progress.exposure(100.0) == Exposure(0, 0.0)

    def test_the_committable_offset_is_the_lowest_unfinished_one(self) -> None:
        progress = delivered(0, 4)
        progress.done(2, 1.0)
        progress.done(1, 2.0)
        assert progress.processed == 0
        progress.done(0, 3.0)
        assert progress.processed == 3

    def test_a_record_not_handed_out_cannot_be_finished(self) -> None:
        progress = delivered(0, 2)
        assert not progress.done(2, 1.0)
        progress.done_below(9, 1.0)
        assert progress.processed == 2

    def test_finishing_twice_is_harmless(self) -> None:
        progress = delivered(0, 3)
        assert progress.done(1, 1.0)
        assert not progress.done(1, 2.0)
        assert progress.done(0, 3.0)
        assert not progress.done(0, 4.0)
        assert progress.processed == 2

    def test_what_is_finished_while_a_commit_is_under_way_stays_fresh(self) -> None:
        progress = delivered(0, 5)
        progress.done_below(2, 10.0)
        assert progress.sending() == 2
        progress.done(2, 20.0)
        progress.committed(2)
        assert (progress.durable, progress.fresh, progress.fresh_ms) == (2, 1, 20.0)

    def test_what_failed_is_fresh_again_with_its_own_age(self) -> None:
        progress = delivered(0, 5)
        progress.done_below(2, 10.0)
        progress.sending()
        progress.done(2, 20.0)
        progress.failed()
        assert (progress.sent, progress.fresh, progress.fresh_ms) == (0, 3, 10.0)


class TestExposure:
    def test_it_counts_what_a_crash_would_repeat_also_above_an_unfinished_record(self) -> None:
        progress = delivered(0, 10)
        progress.done(0, 100.0)
        progress.done(5, 40.0)
        assert progress.exposure(200.0) == Exposure(2, 160.0)

    def test_its_age_is_that_of_the_oldest_also_while_it_is_sent(self) -> None:
        progress = delivered(0, 10)
        progress.done(0, 100.0)
        progress.sending()
        progress.done(1, 150.0)
        assert progress.exposure(200.0) == Exposure(2, 100.0)
        progress.committed(1)
        assert progress.exposure(200.0) == Exposure(1, 50.0)

    def test_a_record_keeps_its_age_while_it_waits_for_a_lower_one(self) -> None:
        progress = delivered(0, 10)
        progress.done(1, 10.0)
        progress.done(0, 500.0)
        assert progress.fresh_ms == 10.0


class TestFingerprint:
    def test_it_names_the_batch_of_the_record_before(self) -> None:
        progress = Progress(3)
        progress.arrived([BatchRange(0, 5, 7, 11), BatchRange(5, 9, 8, 22)])
        assert progress.fingerprint(3) == Fingerprint(7, 11)
        assert progress.fingerprint(5) == Fingerprint(7, 11)
        assert progress.fingerprint(6) == Fingerprint(8, 22)
        assert progress.fingerprint(9) == Fingerprint(8, 22)
        assert progress.fingerprint(10) is None

    def test_it_is_there_at_the_very_end_of_what_was_processed(self) -> None:
        progress = Progress(0)
        progress.arrived([BatchRange(0, 5, 7, 11), BatchRange(5, 9, 8, 22)])
        progress.deliver(9)
        progress.done_below(5, 1.0)
        assert progress.fingerprint(5) == Fingerprint(7, 11)
        progress.done_below(9, 1.0)
        assert progress.fingerprint(9) == Fingerprint(8, 22)

    def test_a_term_that_was_not_told_makes_none(self) -> None:
        progress = Progress(0)
        progress.arrived([BatchRange(0, 5, 0, 11)])
        assert progress.fingerprint(5) is None


class TestOddPlaces:
    def test_a_gap_is_passed_once_everything_below_is_finished(self) -> None:
        progress = delivered(0, 3)
        progress.gap(3, 10, 1.0)
        assert progress.processed == 0
        progress.done_below(2, 1.0)
        assert progress.processed == 2
        progress.done(2, 1.0)
        assert progress.processed == 10
        progress.deliver(11)
        assert progress.done(10, 1.0)

    def test_a_gap_at_the_position_is_passed_at_once(self) -> None:
        progress = Progress(0)
        progress.gap(0, 10, 1.0)
        assert (progress.delivered, progress.processed) == (10, 10)

    def test_a_replay_commits_nothing_below_what_is_stored(self) -> None:
        progress = delivered(0, 100, stored=50)
        progress.done_below(50, 1.0)
        assert (progress.fresh, progress.fresh_ms) == (0, None)
        assert progress.exposure(10.0).records == 0
        progress.done(50, 2.0)
        assert (progress.fresh, progress.fresh_ms) == (1, 2.0)

    def test_seeking_back_commits_nothing_until_it_has_caught_up(self) -> None:
        progress = delivered(0, 20)
        progress.done_below(10, 1.0)
        progress.sending()
        progress.committed(10)
        progress.seek(3)
        progress.deliver(20)
        progress.done_below(10, 2.0)
        assert progress.fresh == 0
        progress.done(10, 3.0)
        assert progress.fresh == 1

    def test_seeking_forgets_what_was_unfinished(self) -> None:
        progress = delivered(0, 5)
        progress.done(3, 1.0)
        progress.seek(8)
        assert (progress.processed, progress.delivered, progress.ahead) == (8, 8, 0)
        assert not progress.done(2, 2.0)


class AnyOrder(RuleBasedStateMachine):
    """Records handed out and finished in any order, commits that succeed or fail: against a plain set."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = Progress(0)
        self.end = 0
        self.finished: set[int] = set()
        self.gone: set[int] = set()
        self.under_way: int | None = None
        self.durable = 0
        self.now_ms = 0.0

    @rule(count=st.integers(1, 5))
    def deliver(self, count: int) -> None:
        self.end += count
        self.progress.deliver(self.end)

    @rule(count=st.integers(1, 5))
    def lose_some_to_retention(self, count: int) -> None:
        self.progress.gap(self.end, self.end + count, self.now_ms)
        self.gone.update(range(self.end, self.end + count))
        self.end += count

    @precondition(lambda self: self.end > 0)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, self.end - 1))
        if offset in self.gone:
            return
        self.now_ms += 1
        assert self.progress.done(offset, self.now_ms) is (offset not in self.finished)
        self.finished.add(offset)

    @rule()
    def send(self) -> None:
        if self.under_way is None:
            self.under_way = self.progress.sending()

    @rule(stored=st.booleans())
    def answer(self, stored: bool) -> None:
        if self.under_way is not None:
            if stored:
                self.durable = max(self.durable, self.under_way)
                self.progress.committed(self.under_way)
            else:
                self.progress.failed()
            self.under_way = None

    @invariant()
    def nothing_unfinished_lies_below_what_may_be_committed(self) -> None:
        done = self.finished | self.gone
        lowest = next(offset for offset in range(self.end + 1) if offset not in done)
        assert self.progress.processed == min(lowest, self.end)

    @invariant()
    def nothing_finished_is_forgotten(self) -> None:
        exposed = sum(offset >= self.durable for offset in self.finished)
        gaps = sum(self.durable <= offset < self.progress.processed for offset in self.gone)
        assert self.progress.exposure(self.now_ms).records == exposed + gaps
        under_way = self.under_way or 0
        fresh = self.progress.processed - max(self.durable, under_way)
        assert self.progress.fresh == max(fresh, 0)
        assert (self.progress.fresh_ms is not None) is (fresh > 0)

    @invariant()
    def the_watermarks_are_in_order(self) -> None:
        progress = self.progress
        assert progress.durable <= progress.sent <= progress.processed <= progress.delivered


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
