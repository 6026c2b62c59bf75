"""What consume writes, produce takes; what makes no sense is refused by line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumlog.client import Record
from quorumlog.cluster.failures import CommandFailed
from quorumlog.cluster.lines import Line, from_json, from_text, to_json, to_text
from quorumlog.wire.record import encode_headers

blobs = st.none() | st.binary(max_size=40) | st.text(max_size=20).map(str.encode)


@given(
    key=blobs,
    value=blobs,
    partition=st.integers(0, 9999),
    offset=st.integers(0, 1 << 62),
    timestamp_ms=st.integers(0, 1 << 62),
    headers=st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=9)), max_size=3),
)
def test_any_record_survives_json(
    key: bytes | None,
    value: bytes | None,
    partition: int,
    offset: int,
    timestamp_ms: int,
    headers: list[tuple[str, bytes]],
) -> None:
    record = Record(partition, offset, timestamp_ms, key, value, encode_headers(headers))
    line = to_json(record)
    assert "\n" not in line
    assert from_json(line.encode(), 1) == Line(value, key, partition, timestamp_ms, tuple(headers))


def test_bytes_that_are_no_text_stand_as_base64() -> None:
    assert '"value": {"base64": "/w=="}' in to_json(Record(0, 0, 0, None, b"\xff"))


def test_a_line_of_text_is_the_value_byte_for_byte() -> None:
    assert from_text(b"\xff a:b\r", b"") == Line(b"\xff a:b\r")


def test_a_separator_splits_at_its_first_occurrence_and_a_line_without_it_has_no_key() -> None:
    assert from_text(b"k::v::w", b"::") == Line(b"v::w", b"k")
    assert from_text(b"::v", b"::") == Line(b"v", b"")
    assert from_text(b"v", b"::") == Line(b"v", None)


def test_text_shows_the_key_only_when_asked() -> None:
    assert to_text(Record(0, 0, 0, b"k", b"v"), b"") == b"v\n"
    assert to_text(Record(0, 0, 0, b"k", b"v"), b"=") == b"k=v\n"
    assert to_text(Record(0, 0, 0, None, b"v"), b"=") == b"v\n"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"value": 3}',
        '{"value": {"base64": "?"}}',
        '{"value": {"base46": ""}}',
        '{"value": "", "partition": -1}',
        '{"value": "", "partition": true}',
        '{"value": "", "timestamp_ms": "now"}',
        '{"value": "", "vlaue": ""}',
        '{"value": "", "headers": [["name"]]}',
        '{"value": "", "headers": 7}',
    ],
)
def test_what_is_no_record_is_refused_with_its_line_number(line: str) -> None:
    with pytest.raises(CommandFailed, match=r"^line 7: "):
        from_json(line.encode(), 7)
