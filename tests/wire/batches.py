"""What the tests of record batches share: batches drawn by Hypothesis, and a way to lie with a valid checksum."""

from __future__ import annotations

from typing import NamedTuple

import google_crc32c
from hypothesis import strategies as st

from quorumlog.wire.batch import encode_batch, encode_headers
from quorumlog.wire.header import CHECKSUM_FROM, HEADER, Codec, parse_header

ITEM = st.none() | st.binary(max_size=40)
HEADERS = st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=20)), max_size=3)


class Drawn(NamedTuple):
    """The columns a batch was made of, and its numbers."""

    values: list[bytes | None]
    keys: list[bytes | None] | None
    timestamps_ms: list[int]
    headers: list[list[tuple[str, bytes]]] | None
    codec: Codec
    base_offset: int
    producer: tuple[int, int, int]

    def encode(self) -> bytes:
        producer_id, epoch, sequence = self.producer
        return encode_batch(
            self.values,
            timestamps_ms=self.timestamps_ms,
            keys=self.keys,
            header_blobs=None if self.headers is None else [encode_headers(each) for each in self.headers],
            codec=self.codec,
            base_offset=self.base_offset,
            producer_id=producer_id,
            producer_epoch=epoch,
            base_sequence=sequence,
        )


@st.composite
def drawn_batches(draw: st.DrawFn) -> Drawn:
    count = draw(st.integers(1, 12))

    def column(item: st.SearchStrategy[object]) -> st.SearchStrategy[list[object]]:
        return st.lists(item, min_size=count, max_size=count)

    base = draw(st.integers(0, 2**62))
    return Drawn(
        values=draw(column(ITEM)),  # type: ignore[arg-type]
        keys=draw(st.none() | column(ITEM)),  # type: ignore[arg-type]
        timestamps_ms=[base + at for at in draw(column(st.just(0)) | column(st.integers(0, 0xFFFFFFFF)))],  # type: ignore[operator]
        headers=draw(st.none() | column(HEADERS)),  # type: ignore[arg-type]
        codec=draw(st.sampled_from(Codec)),
        base_offset=draw(st.integers(0, 2**63)),
        producer=draw(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**63))),
    )


def sealed(data: bytes) -> bytes:
    """``data`` with a checksum that matches: a lie that only the other checks can find."""
    checksum: int = google_crc32c.value(data[CHECKSUM_FROM:])
    return data[:8] + checksum.to_bytes(4, "little") + data[CHECKSUM_FROM:]


def lying(data: bytes, body: bytes | None = None, **fields: int) -> bytes:
    """``data`` with other fields in its head (or another body), properly sealed."""
    head = parse_header(data)._replace(**fields)
    return sealed(HEADER.pack(*head) + (data[64:] if body is None else body))
