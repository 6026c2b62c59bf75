"""Statistics that measured, floors that are judged, ledgers that find what was lost."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumlog.cluster.bench.compare import ALONE, ENGINES, Comparison
from quorumlog.cluster.bench.ledger import NUMBER, SECOND_PRODUCER, compare, numbered_value, padding_for
from quorumlog.cluster.bench.load import SteadyLoad
from quorumlog.cluster.bench.report import number, ratio
from quorumlog.cluster.bench.statistics import Distribution, Figure, Floor, Limit
from quorumlog.cluster.failures import VerificationFailed


def test_percentiles_are_durations_that_were_measured() -> None:
    hundred = Distribution([n / 1000 for n in range(1, 101)])
    assert (hundred.percentile(50), hundred.percentile(99), hundred.percentile(100)) == (0.050, 0.099, 0.100)
    assert Distribution([3, 1, 2]).percentile(50) == 2
    assert Distribution([5]).percentile(1) == 5


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.1, 100))
def test_a_percentile_splits_the_durations_where_it_says(durations: list[float], percent: float) -> None:
    value = Distribution(durations).percentile(percent)
    assert value in durations
    assert sum(each <= value for each in durations) >= len(durations) * percent / 100 - 1e-9
    assert sum(each < value for each in durations) < len(durations) * percent / 100 + 1e-9


def test_nothing_measured_is_no_distribution() -> None:
    with pytest.raises(ValueError, match="nothing"):
        Distribution([])


def test_a_floor_from_below_and_a_floor_from_above() -> None:
    assert Figure("throughput", 59.9, "MB/s", floor=Floor(60)).missed
    assert not Figure("throughput", 60, "MB/s", floor=Floor(60)).missed
    assert Figure("latency", 2.1, "ms", floor=Floor(2, at_most=True)).missed
    assert not Figure("latency", 2.0, "ms", floor=Floor(2, at_most=True)).missed
    assert not Figure("latency", 1e9, "ms").missed


def test_a_figure_carries_its_limit_and_the_ratio_into_json() -> None:
    record = Figure("f", 3.0, "MB/s", (Limit("disk", 12.0),), Floor(2)).as_record()
    assert record["limits"] == [{"name": "disk", "value": 12.0, "ratio": 0.25}]
    assert record["floor"] == {"value": 2, "direction": "at least", "met": True}


def test_ratios_below_a_limit_are_percentages_and_above_it_multiples() -> None:
    assert ratio(1, 4) == "25%"
    assert ratio(6, 4) == "1.5×"


def test_numbers_have_three_digits_that_mean_something() -> None:
    assert [number(value) for value in (1234567, 123.4, 12.34, 1.234, 0.1234)] == [
        "1,234,567",
        "123",
        "12.3",
        "1.23",
        "0.12",
    ]


def compared(ours: float, *others: float) -> Comparison:
    """Two turns that reached this at batches of 64 KiB: ours, PySyncObj behind our shell, alone in two ways."""
    found = Comparison()
    for _ in range(2):
        for who, value in zip((*ENGINES, *ALONE), (ours, *others), strict=False):
            found.note(who, "batches of 64 KiB", "MB/s", value)
    return found


def test_a_comparison_says_how_many_times_as_good_ours_is_whether_high_or_low_is_good() -> None:
    found = compared(80.0, 20.0)
    for who, milliseconds in (("raft", 2.0), ("raft", 4.0), ("pysyncobj", 9.0)):
        found.note(who, "one record, 1 outstanding, p50", "ms", milliseconds, lower=True)
    throughput, latency = found.rows
    assert (throughput.ratio("pysyncobj"), latency.ratio("pysyncobj")) == (4.0, 3.0)
    assert latency.as_record()["median"] == {"raft": 3.0, "pysyncobj": 9.0}
    assert throughput.ratio("tuned") is None


@pytest.mark.parametrize(
    ("figures", "missed"),
    [
        ((80.0, 20.0, 1.0, 10.0), False),
        ((79.0, 20.0, 1.0, 10.0), True),
        ((80.0, 20.0, 11.0, 1.0), True),
        ((80.0, 20.0, 1.0), True),
        ((80.0, 20.0), True),
    ],
)
def test_the_floor_at_64_kib_holds_against_both_ways_of_pysyncobj_alone_or_is_missed(
    figures: tuple[float, ...], missed: bool
) -> None:
    assert compared(*figures).missed is missed


def test_what_was_not_measured_holds_no_floor() -> None:
    assert Comparison().missed


def test_a_value_is_its_number_and_padding() -> None:
    assert len(numbered_value(7, padding_for(100))) == 100
    with pytest.raises(ValueError, match="needs 8 bytes"):
        padding_for(7)


def test_all_acknowledged_and_each_read_once_is_fine() -> None:
    assert compare([0, 1, 2], [], {0: [0, 2], 1: [1]}).acknowledged == 3


def test_an_unknown_outcome_may_be_there_once_or_not_at_all() -> None:
    comparison = compare([0], [1, 2], {0: [0, 2]})
    assert (comparison.acknowledged, comparison.unacknowledged) == (1, 1)


@pytest.mark.parametrize(
    ("acknowledged", "unknown", "read", "complaint"),
    [
        ([0, 1], [], {0: [0]}, "1 records acknowledged and lost (numbers 1)"),
        ([0, 1], [], {0: [0, 1, 1]}, "1 records there twice (numbers 1)"),
        ([0], [1], {0: [0, 1], 1: [1]}, "1 records there twice (numbers 1)"),
        ([0], [], {0: [0, 9]}, "1 records there unasked (numbers 9)"),
        ([0, 1], [], {3: [1, 0]}, "partition 3 is out of order"),
        (range(9), [], {}, "9 records acknowledged and lost (numbers 0, 1, 2, 3, 4, …)"),
    ],
)
def test_what_was_lost_repeated_invented_or_swapped_is_named(
    acknowledged: list[int], unknown: list[int], read: dict[int, list[int]], complaint: str
) -> None:
    with pytest.raises(VerificationFailed) as caught:
        compare(acknowledged, unknown, read)
    assert complaint in str(caught.value)


def test_two_producers_each_have_their_own_order() -> None:
    second = SECOND_PRODUCER
    compare([0, 1, second, second + 1], [], {0: [0, second, 1, second + 1]})
    with pytest.raises(VerificationFailed, match="out of order"):
        compare([0, 1, second, second + 1], [], {0: [0, second + 1, 1, second]})


class SlowToKnow:
    """A producer that takes a while to find its topic, and keeps what it is given."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.has_many = asyncio.Event()

    async def prepare(self, topic: str) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    def send_nowait(self, topic: str, value: bytes, partition: int) -> asyncio.Future[None]:
        self.numbers.append(NUMBER.unpack_from(value)[0])
        if len(self.numbers) == 200:
            self.has_many.set()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


async def test_a_steady_load_hands_its_records_over_in_order_even_when_it_is_late() -> None:
    producer = SlowToKnow()
    load = SteadyLoad(producer, "t", per_second=1e9)  # type: ignore[arg-type]  # as much of one as it needs
    load.start()
    await producer.has_many.wait()
    await load.stop()
    assert producer.numbers == sorted(producer.numbers)
    assert sorted(load.sent.acknowledged) == producer.numbers
