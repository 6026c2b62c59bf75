"""The demonstration's input: lines of text files, keyed by file.

By default the source of Python's own standard library: several hundred thousand lines that every machine has.
"""

from __future__ import annotations

import platform
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Below the standard library but not of it.
FOREIGN = {"site-packages", "dist-packages", "__pycache__"}


@dataclass(frozen=True, slots=True)
class Text:
    """Files by key, each as its lines without their newlines; in the order in which they are fed."""

    description: str
    lines_by_key: dict[bytes, list[bytes]]

    @property
    def line_count(self) -> int:
        return sum(map(len, self.lines_by_key.values()))

    @property
    def byte_count(self) -> int:
        """Of the lines, newlines left out."""
        return sum(sum(map(len, lines)) for lines in self.lines_by_key.values())


def load(names: Sequence[str]) -> Text:
    """The files named, or the standard library's source. Raises OSError for a file that cannot be read."""
    if names:
        return Text(f"{len(names)} files given by name", {name.encode(): _lines(Path(name)) for name in names})
    root = Path(sysconfig.get_path("stdlib"))
    paths = sorted(path for path in root.rglob("*.py") if not FOREIGN.intersection(path.relative_to(root).parts))
    lines_by_key = {str(path.relative_to(root)).encode(): _lines(path) for path in paths}
    return Text(f"the source of Python {platform.python_version()}'s standard library", lines_by_key)


def _lines(path: Path) -> list[bytes]:
    """A file that ends without a newline has a last line all the same; an empty one has none."""
    lines = path.read_bytes().split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines
