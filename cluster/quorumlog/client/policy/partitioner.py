"""Which partition a record goes to.

With a key: the CRC32C of the key modulo the number of partitions. CRC32C because it is already here in C, is
specified to the bit, and any other client can compute it; its low bits are as even over real keys as murmur2's.
It is part of what clients promise each other: two clients in two languages must put one key into one partition.

Without a key: one partition until about a batch's worth of bytes has gone there, then the next. Spreading single
records over partitions would make every batch as small as it can be (KIP-480); switching whenever a batch leaves,
however small, would send more to slow partitions (KIP-794): hence by bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import google_crc32c

#: Key and number of partitions (1 or more) to a partition.
Partitioner = Callable[[bytes, int], int]


def partition_of_key(key: bytes, partitions: int) -> int:
    """The partition for ``key`` among ``partitions``; the same for ever and everywhere."""
    checksum: int = google_crc32c.value(key)
    return checksum % partitions
