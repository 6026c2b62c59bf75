"""Lines come whole and at once, whatever the pieces they arrive in."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from quorumlog.cluster.feed import CHUNK_BYTES, lines_of

if TYPE_CHECKING:
    from pathlib import Path


async def all_lines(descriptor: int) -> list[bytes]:
    return [line async for batch in lines_of(descriptor) for line in batch]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"a", [b"a"]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\r\n\n\xff\n", [b"a\r", b"", b"\xff"]),
    ],
)
async def test_a_file_is_its_lines(tmp_path: Path, content: bytes, lines: list[bytes]) -> None:
    (tmp_path / "file").write_bytes(content)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    assert await all_lines(descriptor) == lines
    os.close(descriptor)


async def test_lines_that_straddle_chunks_stay_whole(tmp_path: Path) -> None:
    lines = [b"%d" % number * (number % 700) for number in range(5000)]
    assert sum(map(len, lines)) > 3 * CHUNK_BYTES
    (tmp_path / "file").write_bytes(b"\n".join(lines) + b"\n")
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    assert await all_lines(descriptor) == lines
    os.close(descriptor)


async def test_a_line_typed_into_a_pipe_comes_before_the_next_is_typed() -> None:
    reading, writing = os.pipe()
    lines = aiter(lines_of(reading))
    os.write(writing, b"first\nsec")
    assert await asyncio.wait_for(anext(lines), 10) == [b"first"]
    os.write(writing, b"ond\n")
    assert await asyncio.wait_for(anext(lines), 10) == [b"second"]
    os.close(writing)
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(lines), 10)
    os.close(reading)


async def test_a_failing_read_is_an_error_and_not_the_end() -> None:
    descriptor = os.open("/", os.O_RDONLY)
    with pytest.raises(IsADirectoryError):
        await all_lines(descriptor)
    os.close(descriptor)
