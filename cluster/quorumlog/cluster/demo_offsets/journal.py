"""What one consumer process did, written down as it happens, so that a SIGKILL cannot take it back.

A line each, handed to the kernel before the next thing is done; the last line may be cut short by the kill and is
then left out. For these consumers the line *is* the processing: a record is processed when its line is written.

    A partition offset            may read the partition, from this offset on
    P partition offset crc32      processed the record, whose value has this CRC
    D partition offset version    learned that this offset is committed, as this version
    R partition                   gave the partition back, after its last commit
    L partition                   lost the partition: somebody else has it
    E                             ended by itself
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class JournalWriter:
    """One process's journal. Each call has reached the kernel when it returns."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def assigned(self, partition: int, offset: int) -> None:
        self._write(b"A %d %d\n" % (partition, offset))

    def processed(self, partition: int, offset: int, value: bytes) -> None:
        self._write(b"P %d %d %d\n" % (partition, offset, zlib.crc32(value)))

    def durable(self, partition: int, offset: int, version: int) -> None:
        self._write(b"D %d %d %d\n" % (partition, offset, version))

    def released(self, partition: int) -> None:
        self._write(b"R %d\n" % partition)

    def lost(self, partition: int) -> None:
        self._write(b"L %d\n" % partition)

    def ended(self) -> None:
        self._write(b"E\n")

    def _write(self, line: bytes) -> None:
        os.write(self._descriptor, line)


class Line(NamedTuple):
    """One line: what happened (its letter) and its numbers."""

    what: str
    numbers: tuple[int, ...]


def read_journal(path: Path) -> list[Line]:
    """The whole lines, in order. A file that the process did not live to make is empty."""
    try:
        text = path.read_bytes().decode("ascii")
    except FileNotFoundError:
        return []
    whole, _, _cut_short = text.rpartition("\n")
    return [Line(line[0], tuple(map(int, line[2:].split()))) for line in whole.split("\n") if line]
