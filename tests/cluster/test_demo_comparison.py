"""The demonstration's judge finds a line lost, repeated, swapped, invented or misplaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quorumlog.cluster.demo.comparison import Comparison
from quorumlog.cluster.demo.text import load
from quorumlog.cluster.failures import VerificationFailed

if TYPE_CHECKING:
    from pathlib import Path

FILES = {b"a": [b"one", b"", b"two", b""], b"b": [b"one"]}


def judge(*records: tuple[int, bytes | None, bytes | None]) -> Comparison:
    comparison = Comparison(FILES)
    for record in records:
        comparison.take(*record)
    comparison.finish()
    return comparison


def test_every_line_once_and_in_order_passes_however_keys_interleave() -> None:
    records = ((0, b"a", b"one"), (1, b"b", b"one"), (0, b"a", b""), (0, b"a", b"two"), (0, b"a", b""))
    assert judge(*records).records == 5


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([b"one", b"", b"two"], "1 lines lost, 0 there twice, 0 files out of order"),
        ([b"one", b"", b"two", b"", b""], "0 lines lost, 1 there twice, 0 files out of order"),
        ([b"one", b"two", b"", b""], "0 lines lost, 0 there twice, 1 files out of order"),
        ([], "4 lines lost"),
        ([b"one", b"", b"two", b"three"], "1 lines lost, 1 there twice"),
    ],
)
def test_what_differs_is_counted_and_the_first_place_named(lines: list[bytes], complaint: str) -> None:
    with pytest.raises(VerificationFailed) as caught:
        judge((1, b"b", b"one"), *((0, b"a", line) for line in lines))
    assert complaint in str(caught.value)
    assert "\n  a, line " in str(caught.value)


@pytest.mark.parametrize("record", [(0, b"c", b"one"), (0, None, b"one"), (0, b"a", None)])
def test_a_record_nobody_wrote_is_found_at_once(record: tuple[int, bytes | None, bytes | None]) -> None:
    with pytest.raises(VerificationFailed, match="nobody wrote"):
        Comparison(FILES).take(*record)


def test_a_key_in_two_partitions_has_no_order() -> None:
    with pytest.raises(VerificationFailed, match="partitions 0 and 1"):
        judge((0, b"a", b"one"), (1, b"a", b""))


def test_the_lines_of_files_are_those_between_newlines(tmp_path: Path) -> None:
    contents = {"ends": b"x\n\ny\n", "does not end": b"x\r\ny", "empty": b"", "blank": b"\n"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    text = load([str(tmp_path / name) for name in contents])
    assert list(text.lines_by_key.values()) == [[b"x", b"", b"y"], [b"x\r", b"y"], [], [b""]]
    assert text.line_count == 6


def test_the_default_text_is_several_hundred_thousand_lines() -> None:
    text = load([])
    assert text.line_count > 300_000
    assert not any(b"site-packages" in key for key in text.lines_by_key)
