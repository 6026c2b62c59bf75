"""A record as applications see it, and the blob that carries its headers.

A record is a tuple, because a reader makes hundreds of thousands of them a second and a tuple of six is made in C.
Headers are rare, so they stay the bytes they came in until somebody looks.

Header blob of one record, little-endian, empty when it has none, else repeated to its end::

    u16 length of the name · name in UTF-8 · u32 length of the value · value
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.wire.errors import MalformedBatch

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME_LENGTH = struct.Struct("<H")
_VALUE_LENGTH = struct.Struct("<I")


class Record(NamedTuple):
    """One record read from a partition.

    ``offset`` is its number in the partition; ``timestamp_ms`` counts from the Unix epoch; ``key`` and ``value``
    are bytes or None (a null, which is not the same as empty).
    """

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    header_blob: bytes = b""

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """The record's headers in the order they were given; names may repeat. Raises MalformedBatch."""
        return decode_headers(self.header_blob) if self.header_blob else ()


def encode_headers(headers: Iterable[tuple[str, bytes]]) -> bytes:
    """The blob for ``headers``. Raises ValueError for a name longer than 65,535 bytes in UTF-8."""
    parts: list[bytes] = []
    for name, value in headers:
        encoded = name.encode()
        if len(encoded) > 0xFFFF:
            raise ValueError(f"header name of {len(encoded)} bytes; at most 65535")
        parts += (_NAME_LENGTH.pack(len(encoded)), encoded, _VALUE_LENGTH.pack(len(value)), value)
    return b"".join(parts)


def decode_headers(blob: bytes) -> tuple[tuple[str, bytes], ...]:
    """The headers in ``blob``. Raises MalformedBatch when it is not what ``encode_headers`` makes."""
    headers: list[tuple[str, bytes]] = []
    position, end = 0, len(blob)
    try:
        while position < end:
            name_at = position + _NAME_LENGTH.size
            length_at = name_at + _NAME_LENGTH.unpack_from(blob, position)[0]
            value_at = length_at + _VALUE_LENGTH.size
            position = value_at + _VALUE_LENGTH.unpack_from(blob, length_at)[0]
            headers.append((blob[name_at:length_at].decode(), blob[value_at:position]))
    except (struct.error, UnicodeDecodeError) as error:
        raise MalformedBatch(f"record headers: {error}") from error
    if position != end:
        raise MalformedBatch(f"record headers end at byte {position} of {end}")
    return tuple(headers)
