"""The parts of a page: axes that cut out silence, points few enough to draw, timelines, and colours."""

from __future__ import annotations

import json
import re
from itertools import combinations, pairwise
from random import Random
from typing import TYPE_CHECKING

import pytest
from chaos.report_runs import BEGAN_NS, MS, NODE_1, OFFSET_NS, PARTITION, Story, keep_run
from hypothesis import given
from hypothesis import strategies as st

from quorumlog.chaos.report import words
from quorumlog.chaos.report.axis import Axis
from quorumlog.chaos.report.charts import choices, figure
from quorumlog.chaos.report.node_logs import read_logs
from quorumlog.chaos.report.page import asset, render_run
from quorumlog.chaos.report.points import MOST_POINTS, cloud
from quorumlog.chaos.report.timeline import AROUND, MOST_WITNESSES, Neighbours, draw
from quorumlog.check import Anomaly, AnomalyKind, EventType, Operation, Recorder, judge, operations
from quorumlog.check.account import account

if TYPE_CHECKING:
    from pathlib import Path

    from quorumlog.chaos.report.points import Cloud
    from quorumlog.check.availability import FaultSpan

SECOND = 1_000 * MS


# --- the axis


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=40), st.lists(st.integers(-(10**12), 2 * 10**12)))
def test_an_axis_never_goes_back_and_never_leaves_its_ends(times: list[int], asked: list[int]) -> None:
    axis = Axis(times)
    places = [axis.place(time) for time in sorted(asked + times)]
    assert all(0 <= place <= 1 for place in places)
    assert all(earlier <= later for earlier, later in pairwise(places))
    assert axis.place(axis.first_ns) == 0


def test_times_that_are_near_one_another_are_drawn_to_scale_without_a_break() -> None:
    axis = Axis([0, 10, 20, 35, 50])
    assert axis.breaks == []
    assert [axis.place(time) for time in (0, 10, 25, 50)] == [0, 0.2, 0.5, 1]


def test_a_long_silence_is_cut_so_that_both_its_sides_can_be_seen() -> None:
    before, after = [i * MS for i in range(10)], [60 * SECOND + i * MS for i in range(10)]
    axis = Axis(before + after)
    assert [(cut.began_ns, cut.ended_ns) for cut in axis.breaks] == [(before[-1], after[0])]
    assert axis.place(before[-1]) > 0.4
    assert axis.place(after[0]) < 0.6


# --- points


def busy(number: int, seed: int = 1) -> tuple[list[Operation], Cloud]:
    """A history of so many fast operations and one that failed, and what is drawn of it."""
    random, recorder, now_ns = Random(seed), Recorder(), 0
    for i in range(number):
        invocation = recorder.invoke(now_ns, 1, "send", PARTITION, [i])
        now_ns += int(random.lognormvariate(0, 1) * MS)
        if i == number // 2:
            recorder.complete(now_ns, invocation, EventType.FAIL)
        else:
            recorder.complete(now_ns, invocation, EventType.OK, i)
    history = operations(recorder.events)
    return history, cloud(history, {"send"}, 0, now_ns)


def test_few_operations_are_all_drawn_where_they_were() -> None:
    history, drawn = busy(50)
    points = drawn["send"]["ok"]
    assert sum(points.operations) == 49
    for time_s, latency_ms in zip(points.time_s, points.latency_ms, strict=True):
        assert any(
            abs(operation.invoked.time_ns / 1e9 - time_s) < 0.001
            and operation.completed is not None
            and abs((operation.completed.time_ns - operation.invoked.time_ns) / 1e6 / latency_ms - 1) < 0.01
            for operation in history
        )


def test_of_many_none_is_left_out_though_few_are_drawn() -> None:
    _, drawn = busy(30_000)
    marks = [points for by_outcome in drawn.values() for points in by_outcome.values()]
    assert sum(len(points.operations) for points in marks) <= MOST_POINTS
    assert sum(sum(points.operations) for points in marks) == 30_000


def test_one_failure_among_thousands_is_a_mark_of_its_own_and_says_all() -> None:
    _, drawn = busy(30_000)
    failed = drawn["send"]["failed"]
    assert failed.operations == [1]
    assert failed.words[0].startswith(f"send {PARTITION}<br>by process 1")


# --- the figure


def test_every_colour_of_the_figure_is_one_of_the_pages() -> None:
    events = Story().events
    found = account(events)
    dots = cloud(operations(events), {"send", "read", "commit"}, BEGAN_NS, found.ended_ns)
    drawn = json.dumps([figure(found, dots, [], [], BEGAN_NS), choices(found, dots)])
    used = set(re.findall(r'"@([\w-]+)"', drawn))
    style = asset("style.css")
    day, night = style.split("prefers-color-scheme: dark", 1)
    assert used
    for name in used:
        assert f"--{name}:" in day, name
        assert f"--{name}:" in night or name == "font", name


def test_the_rates_of_all_operations_add_up_to_what_was_answered() -> None:
    events = Story().events
    found = account(events)
    dots = cloud(operations(events), {"send"}, BEGAN_NS, found.ended_ns)
    drawn = figure(found, dots, [], [], BEGAN_NS)
    rates = {trace["name"]: trace["y"] for trace in drawn["data"] if "rate" in trace.get("meta", {})}
    answered = sum(event.type is EventType.FAIL for event in events)
    assert round(sum(rates["failed"]) * found.series.width_s) == answered > 0


# --- timelines


def a_finding(events_lost: int = 400) -> tuple[Anomaly, list[Operation], list[FaultSpan]]:
    events = Story(lose=events_lost).events
    found = judge(events).anomalies[0]
    return found, operations(events), [strike.fault for strike in account(events).faults]


def test_a_timeline_numbers_its_witness_and_shows_what_went_on_around_it() -> None:
    anomaly, history, faults = a_finding()
    drawn = draw(anomaly, Neighbours(history, frozenset({PARTITION})), faults, BEGAN_NS)
    assert drawn is not None
    assert [number for number, _, _ in drawn.legend] == list(range(1, len(anomaly.witness) + 1))
    assert drawn.svg.count('witness" tabindex="0"') == len(anomaly.witness)
    bars = drawn.svg.count('<g class="op ')
    assert len(anomaly.witness) < bars <= len(anomaly.witness) * (2 * AROUND + 1)
    assert "kill the leader" in drawn.svg


def test_a_long_witness_is_drawn_from_both_its_ends() -> None:
    _, history, _ = a_finding()
    anomaly = Anomaly.of(AnomalyKind.ORPHAN, PARTITION, "long", *history[:60])
    drawn = draw(anomaly, Neighbours(history, frozenset()), [], BEGAN_NS)
    assert drawn is not None
    assert len(drawn.legend) == MOST_WITNESSES
    assert drawn.svg.count("witness") == MOST_WITNESSES


def test_a_finding_without_a_witness_has_no_timeline() -> None:
    anomaly = Anomaly.of(AnomalyKind.NOT_LINEARIZABLE, PARTITION, "no order explains it")
    assert draw(anomaly, Neighbours([], frozenset()), [], 0) is None


def test_an_operation_that_nobody_knows_the_end_of_goes_on_to_the_edge() -> None:
    recorder = Recorder()
    unknown = recorder.invoke(1 * MS, 1, "send", PARTITION, [1])
    recorder.complete(3 * MS, unknown, EventType.INFO)
    known = recorder.invoke(5 * MS, 2, "send", PARTITION, [2])
    recorder.complete(9 * MS, known, EventType.OK, 0)
    history = operations(recorder.events)
    anomaly = Anomaly.of(AnomalyKind.DUPLICATE, PARTITION, "…", *history)
    drawn = draw(anomaly, Neighbours(history, frozenset()), [], 0)
    assert drawn is not None
    bars = re.findall(r'class="op (\w+) .*?<rect x="([\d.]+)".*?width="([\d.]+)"', drawn.svg, re.DOTALL)
    ends = {outcome: float(x) + float(width) for outcome, x, width in bars}
    assert ends["unknown"] == pytest.approx(ends["ok"])
    assert drawn.svg.count("<path") == 1


# --- nodes' logs


def test_lines_of_a_trace_are_on_the_histories_time_already(tmp_path: Path) -> None:
    lines = [
        "   0.120000  node 3  starts 1",
        "   0.130000  node 3  hears 1 0 7 1 0",
        "   0.250000  node 3  LeaderElected 2 1",
        "   1.000001  node 3  loses power",
        "  61.500000  node 3  ReplicaDamaged 2 bad checksum",
    ]
    (tmp_path / "node-3.log").write_text("\n".join(lines), encoding="utf-8")
    said = read_logs(tmp_path, 0)
    assert [(one.time_ns, one.what, one.family) for one in said] == [
        (120 * MS, "starts", "life"),
        (250 * MS, "LeaderElected", "leadership"),
        (1_000_001_000, "loses power", "life"),
        (61_500 * MS, "ReplicaDamaged", "harm"),
    ]
    assert said[-1].details == "2 bad checksum"


def test_a_nodes_own_lines_are_put_on_the_histories_time(tmp_path: Path) -> None:
    (tmp_path / "node-1.log").write_text(NODE_1, encoding="utf-8")
    said = read_logs(tmp_path, OFFSET_NS)
    assert [(one.time_ns - BEGAN_NS) // MS for one in said] == [-2000, 500, 1500, 2250]
    assert [one.family for one in said] == ["life", "leadership", "harm", "peers"]
    assert read_logs(tmp_path, 0) == [], "at a guess they would be years away"


# --- words


@pytest.mark.parametrize(
    ("ns", "said"),
    [
        (1_500, "1.50 µs"),
        (3_214_000, "3.21 ms"),
        (214_300_000, "214 ms"),
        (41_000_000_000, "41.0 s"),
        (125_000_000_000, "2 min 05 s"),
        (3_725_000_000_000, "1 h 02 min"),
    ],
)
def test_lengths_of_time_have_three_digits_that_matter(ns: int, said: str) -> None:
    assert words.duration(ns) == said


def test_of_a_long_read_its_extent_is_said_and_not_its_records() -> None:
    read = {"start": 0, "end": 900, "batches": [[3, [1, 2]], [5, [9, 8, 7]]]}
    assert words.value(read) == "5 records at offsets 3…7, log 0…900"


# --- size


def test_a_page_of_a_long_run_stays_small(tmp_path: Path) -> None:
    history, _ = busy(20_000)
    events = [event for operation in history for event in operation if event is not None]
    record = keep_run(tmp_path, events, verdict="true")
    assert len(render_run(tmp_path, record).encode()) < 3_000_000


# --- colours


Rgb = tuple[float, float, float]

#: How the world's colours look (in linear light) to people without red, green or blue cones: Machado, Oliveira and
#: Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency" (2009), severity 1.
EYES: dict[str, tuple[Rgb, Rgb, Rgb]] = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.01182, 0.04294, 0.968881),
    ),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("theme", [0, 1])
def test_outcomes_are_told_apart_by_everybodys_eyes_by_day_and_by_night(theme: int, eyes: str) -> None:
    part = asset("style.css").split("prefers-color-scheme: dark", 1)[theme]
    colours = {}
    for name in ("ok", "unknown", "failed", "paper"):
        found = re.search(rf"--{name}: #(\w{{6}});", part)
        assert found, name
        colours[name] = _lab(_seen(found.group(1), EYES[eyes]))
    for one, other in combinations(colours, 2):
        apart = sum((a - b) ** 2 for a, b in zip(colours[one], colours[other], strict=True)) ** 0.5
        # Twenty just noticeable differences: not to be confused as marks of a few pixels.
        assert apart > 46, (one, other, apart)


def _seen(colour: str, eyes: tuple[Rgb, Rgb, Rgb]) -> Rgb:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    light = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    red, green, blue = (min(1.0, max(0.0, sum(a * b for a, b in zip(row, light, strict=True)))) for row in eyes)
    return red, green, blue


def _lab(light: Rgb) -> Rgb:
    """CIE 1976 L*a*b* of linear sRGB."""
    red, green, blue = light
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    fx, fy, fz = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)
