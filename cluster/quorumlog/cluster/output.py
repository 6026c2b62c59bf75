"""What all commands share in showing things: the console, plain tables, JSON for scripts, quantities in words."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import fields, is_dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence


class Format(StrEnum):
    """How a command writes its result."""

    TEXT = "text"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="text for people, json for programs.")]

#: What is not read on a terminal is read by programs, line by line: nothing is folded there.
_UNFOLDED = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 10_000

console = Console(highlight=False, width=_UNFOLDED)
#: Progress and remarks: never mixed into what a program reads from stdout.
error_console = Console(stderr=True, highlight=False)


def print_json(value: object) -> None:
    """One JSON document on stdout, indented on a terminal, one line otherwise."""
    indent = 2 if sys.stdout.isatty() else None
    sys.stdout.write(json.dumps(value, indent=indent, ensure_ascii=False, default=_as_json) + "\n")


def _as_json(value: Any) -> object:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def as_record(value: Any) -> Any:
    """Dataclasses and named tuples as objects, enumerations by what they are called, down to the leaves."""
    if is_dataclass(value):
        return {field.name: as_record(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: as_record(each) for name, each in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [as_record(each) for each in value]
    if isinstance(value, dict):
        return {key: as_record(each) for key, each in value.items()}
    return str(value) if isinstance(value, Enum) else value


def table(*columns: str, right: Sequence[str] = (), whole: Sequence[str] = ()) -> Table:
    """An empty table; ``right`` names the columns of numbers, ``whole`` others that are never folded."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True, header_style="bold")
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column in (*right, *whole),
            overflow="fold",
        )
    return made


def counted(count: int, what: str) -> str:
    """``1 fault``, ``2,000 faults``."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def size(byte_count: float) -> str:
    """Bytes for people, in powers of 1024: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(byte_count) < 1024:
            return f"{byte_count:.0f} B" if unit == "B" else f"{byte_count:.1f} {unit}"
        byte_count /= 1024
    return f"{byte_count:.1f} TiB"


def duration(seconds: float) -> str:
    """A span of time for people: ``850 ms``, ``4.2 s``, ``3 min 5 s``, ``2 h 5 min``, ``7 d 3 h``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for small, large, per_large in (("s", "min", 60), ("min", "h", 60), ("h", "d", 24)):
        whole, rest = divmod(whole, per_large)
        limit = 24 if large == "h" else 60
        if whole < limit or large == "d":
            return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"
    raise AssertionError("unreachable")
