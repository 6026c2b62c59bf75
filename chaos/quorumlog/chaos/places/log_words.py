"""Counting words in log files that grow, without reading what was counted before once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class LogWords:
    """Counts of lines by file and word."""

    def __init__(self) -> None:
        self._counted: dict[tuple[Path, str], tuple[int, int]] = {}
        """(file, word) -> bytes read, lines found."""

    def count(self, log: Path, word: str) -> int:
        """How many whole lines of ``log`` have ``word`` so far; 0 when there is no such file."""
        read, lines = self._counted.get((log, word), (0, 0))
        try:
            with log.open("rb") as file:
                file.seek(read)
                fresh = file.read()
        except FileNotFoundError:
            return lines
        fresh = fresh[: fresh.rfind(b"\n") + 1]
        lines += sum(word.encode() in line for line in fresh.splitlines())
        self._counted[log, word] = (read + len(fresh), lines)
        return lines
