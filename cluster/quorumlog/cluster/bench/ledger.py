"""What was acknowledged against what can be read: the check that ends every benchmark.

Each record carries its number in its first eight bytes. A record whose acknowledgement came must be read exactly
once; one whose outcome stayed unknown at most once; and a number nobody sent not at all. A producer sends its
numbers in ascending order, so within a partition they must ascend; where there are two producers, the second begins
at ``SECOND_PRODUCER``, and each has its own order.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from quorumlog.client import Reader
from quorumlog.cluster.failures import VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

NUMBER = struct.Struct("<Q")
SECOND_PRODUCER = 1 << 32
SHOWN = 5


def numbered_value(number: int, padding: bytes) -> bytes:
    """A record's value: its number, then the padding that gives it its size."""
    return NUMBER.pack(number) + padding


def padding_for(value_bytes: int) -> bytes:
    """Raises ValueError when a value of that size could not hold its number."""
    if value_bytes < NUMBER.size:
        raise ValueError(f"a record needs {NUMBER.size} bytes for its number, not {value_bytes}")
    return bytes(value_bytes - NUMBER.size)


class Comparison(NamedTuple):
    """Records acknowledged, and all found; records found though their outcome had stayed unknown."""

    acknowledged: int
    unacknowledged: int

    def __str__(self) -> str:
        words = f"{self.acknowledged:,} acknowledged records, each read back once and in order"
        if self.unacknowledged:
            words += f"; {self.unacknowledged:,} more had an unknown outcome and are there once"
        return words


async def read_numbers(servers: Sequence[str], topic: str) -> dict[int, list[int]]:
    """Every record's number by partition, in the order of the offsets, from the start to the committed end."""
    numbers: dict[int, list[int]] = {}
    unpack = NUMBER.unpack_from
    async with Reader(servers, topic, start="earliest", stop_at_end=True) as reader:
        async for batch in reader.batches():
            numbers.setdefault(batch[0].partition, []).extend(unpack(record.value or b"")[0] for record in batch)
    return numbers


def compare(
    acknowledged: Collection[int], unknown: Collection[int], read: Mapping[int, Sequence[int]]
) -> Comparison:
    """Raises VerificationFailed with the first few offenders of each kind."""
    complaints = []
    seen: set[int] = set()
    twice: list[int] = []
    for partition, numbers in sorted(read.items()):
        for number in numbers:
            if number in seen:
                twice.append(number)
            seen.add(number)
        for own in (
            [number for number in numbers if number < SECOND_PRODUCER],
            [number for number in numbers if number >= SECOND_PRODUCER],
        ):
            if any(later < earlier for earlier, later in pairwise(own)):
                complaints.append(f"partition {partition} is out of order")
    acknowledged_set = set(acknowledged)
    lost = acknowledged_set - seen
    strangers = seen - acknowledged_set - set(unknown)
    for offenders, what in ((lost, "acknowledged and lost"), (twice, "there twice"), (strangers, "there unasked")):
        if offenders:
            shown = ", ".join(map(str, sorted(offenders)[:SHOWN]))
            more = ", …" if len(offenders) > SHOWN else ""
            complaints.append(f"{len(offenders):,} records {what} (numbers {shown}{more})")
    if complaints:
        raise VerificationFailed("; ".join(complaints))
    return Comparison(len(acknowledged_set), len(seen - acknowledged_set))
