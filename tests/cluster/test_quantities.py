"""Sizes and spans as people type them."""

from __future__ import annotations

import pytest
import typer

from quorumlog.cluster.quantities import parse_size, parse_span_ms


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("64k", 65536),
        ("64 KiB", 65536),
        ("64kb", 65536),
        ("1.5GiB", 3 << 29),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "span_ms"),
    [("0", 0), ("500ms", 500), ("90s", 90_000), ("1h30m", 5_400_000), ("7d", 604_800_000), ("2w", 1_209_600_000)],
)
def test_spans(text: str, span_ms: int) -> None:
    assert parse_span_ms(text) == span_ms


@pytest.mark.parametrize("text", ["", "-1", "1e3", "64XB", "KiB", "1..5k", "1,5k"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "7", "7x", "d", "-1d", "1d x", "1.5h", "h1"])
def test_no_spans(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_span_ms(text)
