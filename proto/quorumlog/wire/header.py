"""The fixed 64-byte head of a record batch: all that a node reads of a batch on the hot path.

Layout, little-endian::

    position  size  field
           0     8  base_offset      offset of the first record; 0 from a producer, assigned by the leader
           8     4  crc32c           over bytes 12 to the end: made by the producer, verified by all that follow
          12     1  version          1
          13     1  codec            0 none, 1 gzip, 2 zstd, 3 lz4: how the body is compressed
          14     2  columns          bit 0 keys, 1 timestamps, 2 headers: which optional columns the body has
          16     4  count            records in the batch, 1 or more
          20     4  body_size        bytes of the body before compression
          24     8  producer_id      0: no producer session, no de-duplication
          32     4  producer_epoch
          36     4  reserved         0
          40     8  base_sequence    the producer's number of the first record in this partition
          48     8  base_timestamp   milliseconds since the Unix epoch, the smallest of the batch
          56     8  max_timestamp    the largest
          64     …  body             (see ``quorumlog.wire.batch``)

A batch is valid if and only if: it is at least 64 bytes long; version is 1; codec and columns are known; reserved
is 0; count >= 1; the CRC32C of bytes 12… equals crc32c; the body, decompressed, is exactly body_size bytes long and
its columns hold exactly count records.

``base_offset`` stands outside the checksum so that the leader can assign it without touching the producer's
checksum (Kafka's record batch, magic 2, does the same); on disk the record that holds the batch covers it.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

HEADER_SIZE = 64
VERSION = 1
#: Where the bytes covered by the checksum begin.
CHECKSUM_FROM = 12

COLUMN_KEYS = 1
COLUMN_TIMESTAMPS = 2
COLUMN_HEADERS = 4
KNOWN_COLUMNS = COLUMN_KEYS | COLUMN_TIMESTAMPS | COLUMN_HEADERS

HEADER = struct.Struct("<QIBBHIIQIIQQQ")
BASE_OFFSET = struct.Struct("<Q")


class Codec(IntEnum):
    """How a batch's body is compressed."""

    NONE = 0
    GZIP = 1
    ZSTD = 2
    LZ4 = 3


class BatchHeader(NamedTuple):
    """The fields of the head, in their order on the wire. Offsets and sequences count records; times are ms."""

    base_offset: int
    crc32c: int
    version: int
    codec: int
    columns: int
    count: int  # type: ignore[assignment]  # the field's own name; nobody counts in a head with tuple.count
    body_size: int
    producer_id: int
    producer_epoch: int
    reserved: int
    base_sequence: int
    base_timestamp: int
    max_timestamp: int

    @property
    def end_offset(self) -> int:
        """The offset after the batch's last record."""
        return self.base_offset + self.count


def parse_header(data: bytes | memoryview, position: int = 0) -> BatchHeader:
    """The head of the batch at ``position``; trusts it (``validate`` is the door for untrusted bytes).

    Raises struct.error when fewer than 64 bytes remain.
    """
    return BatchHeader._make(HEADER.unpack_from(data, position))


def with_base_offset(batch: bytes, base_offset: int) -> bytes:
    """The batch with its offset assigned: the one copy of a payload that a leader makes."""
    return BASE_OFFSET.pack(base_offset) + batch[8:]
