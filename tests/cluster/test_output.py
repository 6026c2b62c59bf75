"""Quantities in words."""

from __future__ import annotations

import pytest

from quorumlog.cluster.output import duration, size


@pytest.mark.parametrize(
    ("byte_count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 << 10, "1.5 MiB"),
        (1 << 30, "1.0 GiB"),
        (5 << 40, "5.0 TiB"),
    ],
)
def test_sizes(byte_count: int, words: str) -> None:
    assert size(byte_count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 ms"), (0.85, "850 ms"), (1, "1.0 s"), (59.94, "59.9 s"), (60, "1 min"), (185, "3 min 5 s"),
     (3600, "1 h"), (7500, "2 h 5 min"), (86400, "1 d"), (7 * 86400 + 3 * 3600, "7 d 3 h"), (400 * 86400, "400 d")],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
