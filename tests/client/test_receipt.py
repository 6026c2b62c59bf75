"""A receipt's text reads back as the receipt, and nothing else reads as one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumlog.client.receipt import InvalidReceipt, Receipt, parse_receipt

NAMES = st.text("abcXYZ019._-", min_size=1, max_size=249)
LARGE = st.integers(1, (1 << 64) - 1)


@given(NAMES, NAMES, st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1), LARGE, LARGE)
def test_what_was_written_reads_back(
    group: str, topic: str, partition: int, offset: int, version: int, term: int
) -> None:
    receipt = Receipt(group, topic, partition, offset, version, term)
    assert parse_receipt(str(receipt)) == receipt
    assert parse_receipt(f"  {receipt}\n") == receipt


def test_the_text_is_what_the_documentation_shows() -> None:
    assert str(Receipt("readers", "lines", 2, 4100, 1207, 3)) == "readers/lines/2@1207:3:4100"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "readers",
        "readers/lines/2",
        "readers/lines/2@1207:3",
        "readers/lines/2@1207:3:4100:1",
        "readers/lines/two@1207:3:4100",
        "readers/lines/-2@1207:3:4100",
        "a b/lines/2@1207:3:4100",
        "readers/lines/2@0:3:4100",
        "readers/lines/2@1207:0:4100",
        "readers/lines/4294967296@1207:3:4100",
        "readers/lines/2@18446744073709551616:3:4100",
        "readers/lines/\uff12@1207:3:4100",
    ],
)
def test_anything_else_is_refused_with_what_a_receipt_looks_like(text: str) -> None:
    with pytest.raises(InvalidReceipt, match="is no receipt"):
        parse_receipt(text)
