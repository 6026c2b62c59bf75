"""Records as lines: what ``quorumlog produce`` reads and ``quorumlog consume`` writes.

*text*: one record per line; the line is the value, without its newline. With a key separator, what stands before
its first occurrence is the key; a line without one has no key. Bytes pass as they are, whatever their encoding.

*json*: one object per line, ``{"value": …, "key": …, "partition": …, "timestamp_ms": …, "headers": [[name,
value]]}``; all but ``value`` may be missing, a null value is a record without one. Strings are UTF-8; bytes that
are not valid UTF-8 stand as ``{"base64": "…"}``. Consuming adds ``offset``. What consume writes, produce takes.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from quorumlog.cluster.failures import CommandFailed

if TYPE_CHECKING:
    from quorumlog.client import Record

FIELDS = {"value", "key", "partition", "timestamp_ms", "headers", "offset"}


class Line(NamedTuple):
    """What one line asks to be written."""

    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
    timestamp_ms: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def from_text(line: bytes, key_separator: bytes) -> Line:
    """``key_separator`` may be empty: then lines have no keys."""
    if key_separator:
        key, found, value = line.partition(key_separator)
        if found:
            return Line(value, key)
    return Line(line)


def from_json(line: bytes, number: int) -> Line:
    """Raises CommandFailed that names the line for anything that is not such an object."""
    try:
        item = json.loads(line)
        if not isinstance(item, dict):
            raise TypeError("not an object")
        if unknown := sorted(item.keys() - FIELDS):
            raise ValueError(f"unknown field {unknown[0]!r}")
        headers = item.get("headers", [])
        return Line(
            _bytes(item["value"]),
            _bytes(item.get("key")),
            _natural(item.get("partition"), "partition"),
            _natural(item.get("timestamp_ms"), "timestamp_ms"),
            tuple((str(name), _bytes(value) or b"") for name, value in headers),
        )
    except KeyError:
        raise CommandFailed(f"line {number}: no value") from None
    except (ValueError, TypeError) as error:
        raise CommandFailed(f"line {number}: {error}") from None


def to_json(record: Record) -> str:
    """One line, without its newline."""
    item: dict[str, object] = {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": _text(record.key),
        "value": _text(record.value),
    }
    if record.headers:
        item["headers"] = [[name, _text(value)] for name, value in record.headers]
    return json.dumps(item, ensure_ascii=False)


def to_text(record: Record, key_separator: bytes) -> bytes:
    """The line with its newline; with a separator and a key, the key first."""
    value = record.value or b""
    if key_separator and record.key is not None:
        return record.key + key_separator + value + b"\n"
    return value + b"\n"


def _text(data: bytes | None) -> object:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _bytes(item: Any) -> bytes | None:
    if item is None:
        return None
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, dict) and item.keys() == {"base64"} and isinstance(item["base64"], str):
        try:
            return base64.b64decode(item["base64"], validate=True)
        except binascii.Error as error:
            raise ValueError(f"bad base64: {error}") from None
    raise TypeError('keys, values and header values are strings, null or {"base64": "…"}')


def _natural(item: Any, field: str) -> int | None:
    if item is None:
        return None
    if not isinstance(item, int) or isinstance(item, bool) or item < 0:
        raise TypeError(f"{field} is not a whole number")
    return item
