"""Sizes and spans of time as people type them: ``64MiB``, ``7d``."""

from __future__ import annotations

import re

import typer

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?b?|b)?", re.IGNORECASE)
_EXPONENTS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SPAN = re.compile(r"(\d+)\s*(ms|s|m|h|d|w)")
_SPAN_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def parse_size(text: str) -> int:
    """Bytes.

    ``k``, ``m``, ``g``, ``t`` and their ``B`` and ``iB`` forms are powers of 1024. Raises BadParameter.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a size; write it like 512, 64KiB or 1.5GiB")
    unit = (match[2] or "")[:1].lower()
    return int(float(match[1]) * 1024 ** _EXPONENTS[unit])


def parse_span_ms(text: str) -> int:
    """Milliseconds of ``500ms``, ``90s``, ``1h30m``, ``7d``; ``0`` is 0. Raises BadParameter."""
    stripped = text.strip()
    parts = list(_SPAN.finditer(stripped))
    if stripped == "0":
        return 0
    if not parts or "".join(part[0] for part in parts) != stripped:
        raise typer.BadParameter(f"{text!r} is not a span of time; write it like 500ms, 90s, 1h30m or 7d")
    return sum(int(part[1]) * _SPAN_MS[part[2]] for part in parts)
