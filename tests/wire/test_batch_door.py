"""A batch that lies about itself, with a checksum that fits the lie, gets a typed error and costs no memory."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import lz4.frame  # type: ignore[import-untyped]
import pytest
import zstandard
from wire.batches import lying

from quorumlog.wire.batch import (
    MAX_BATCH_BYTES,
    BatchTooLarge,
    CorruptBatch,
    MalformedBatch,
    decode_batch,
    encode_batch,
    validate,
)
from quorumlog.wire.header import HEADER_SIZE, Codec
from quorumlog.wire.record import decode_headers, encode_headers

LIMIT = 1 << 20
PLAIN = encode_batch([b"one", b"two", None], timestamps_ms=[100, 105, 103], keys=[b"k", None, b"kk"])
HEADED = encode_batch([b"one", b"two"], timestamps_ms=[7, 7], header_blobs=[encode_headers([("h", b"1")]), b""])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lying(PLAIN, version=2), "version 2"),
        (lying(PLAIN, codec=4), "unknown codec 4"),
        (lying(PLAIN, columns=0x83), "unknown columns"),
        (lying(PLAIN, reserved=1), "reserved"),
        (lying(PLAIN, count=0), "no records"),
        (lying(PLAIN, count=2), "timestamps|lengths"),
        (lying(PLAIN, count=4), "fit|timestamps|lengths"),
        (lying(PLAIN, count=0xFFFFFFFF), "do not fit"),
        (lying(PLAIN, body_size=len(PLAIN) - HEADER_SIZE - 1), "head says"),
        (lying(PLAIN, body_size=len(PLAIN) - HEADER_SIZE + 1), "head says"),
        (lying(PLAIN, columns=0x01), "timestamps"),
        (lying(PLAIN, columns=0x02), "lengths"),
        (lying(PLAIN, columns=0x07), "lengths|fit"),
        (lying(PLAIN, max_timestamp=104), "spread"),
        (lying(PLAIN, max_timestamp=106), "spread"),
        (lying(PLAIN, max_timestamp=99), "timestamps"),
        (lying(HEADED, max_timestamp=8), "no column"),
        (lying(PLAIN, codec=1), "GZIP"),
        (lying(PLAIN, codec=2), "ZSTD"),
        (lying(PLAIN, codec=3), "LZ4"),
        (b"", "at least 64"),
        (PLAIN[: HEADER_SIZE - 1], "at least 64"),
    ],
)
def test_a_lying_head_is_malformed(data: bytes, words: str) -> None:
    with pytest.raises(MalformedBatch, match=words):
        validate(data, LIMIT)
    with pytest.raises(MalformedBatch, match=words):
        decode_batch(data)


# Byte 8 holds a timestamp between the smallest and the largest: any other such value is as good.
@pytest.mark.parametrize("at", [0, 4, *range(12, 36, 4)])
def test_a_lying_length_or_timestamp_is_malformed(at: int) -> None:
    body = bytearray(PLAIN[HEADER_SIZE:])
    (length,) = struct.unpack_from("<I", body, at)
    for lie in (length + 1, length - 1, 0xFFFFFFFF, 0x7FFFFFFF):
        if length == 0xFFFFFFFF and lie in (0xFFFFFFFF, 0x100000000):
            continue  # null told as null, or as empty: a batch somebody could have meant
        struct.pack_into("<I", body, at, lie & 0xFFFFFFFF)
        with pytest.raises(MalformedBatch):
            validate(lying(PLAIN, bytes(body)), LIMIT)


def test_a_smallest_timestamp_that_is_not_the_base_is_malformed() -> None:
    body = struct.pack("<6I", 1, 5, 1, 0, 0, 0)
    with pytest.raises(MalformedBatch, match="spread"):
        validate(lying(PLAIN, body, columns=2, body_size=len(body)), LIMIT)


def test_a_null_header_blob_is_malformed() -> None:
    body = bytearray(HEADED[HEADER_SIZE:])
    struct.pack_into("<I", body, 12, 0xFFFFFFFF)
    with pytest.raises(MalformedBatch, match="header blob"):
        validate(lying(HEADED, bytes(body)), LIMIT)


def test_damage_is_told_apart_from_lies() -> None:
    with pytest.raises(CorruptBatch):
        validate(PLAIN[:-1] + b"!", LIMIT)


def test_size_is_bounded_before_and_after_compression() -> None:
    batch = encode_batch([b"x" * 50_000], timestamps_ms=[1], codec=Codec.ZSTD)
    assert len(batch) < 200
    assert validate(batch, HEADER_SIZE + 4 + 50_000).count == 1
    with pytest.raises(BatchTooLarge, match="uncompressed"):
        validate(batch, HEADER_SIZE + 4 + 50_000 - 1)
    with pytest.raises(BatchTooLarge):
        validate(PLAIN, len(PLAIN) - 1)
    with pytest.raises(BatchTooLarge):
        decode_batch(lying(batch, body_size=MAX_BATCH_BYTES))


def _compressed(codec: Codec, body: bytes, *, named: bool) -> bytes:
    if codec == Codec.GZIP:
        compressor = zlib.compressobj(wbits=31)
        return compressor.compress(body) + compressor.flush()
    if codec == Codec.ZSTD:
        return zstandard.ZstdCompressor(write_content_size=named).compress(body)
    return bytes(lz4.frame.compress(body, store_size=named))


@pytest.mark.parametrize("named", [True, False], ids=["size named", "size not named"])
@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.ZSTD, Codec.LZ4])
class TestFrames:
    def test_a_frame_of_any_maker_is_read(self, codec: Codec, named: bool) -> None:
        body = (5000).to_bytes(4, "little") + b"v" * 5000
        data = lying(HEADED, _compressed(codec, body, named=named), codec=codec, columns=0, count=1, body_size=5004)
        assert decode_batch(data)[0].value == b"v" * 5000

    def test_a_bomb_costs_no_memory(self, codec: Codec, named: bool) -> None:
        bomb = _compressed(codec, bytes(200 << 20), named=named)
        data = lying(HEADED, bomb, codec=codec, columns=0, count=1, body_size=1000)
        assert len(data) < LIMIT
        tracemalloc.start()
        try:
            with pytest.raises(MalformedBatch):
                validate(data, LIMIT)
            assert tracemalloc.get_traced_memory()[1] < len(data) * 3 + (64 << 10)
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("off_by", [-1, 1])
    def test_a_size_off_by_one_is_malformed(self, codec: Codec, named: bool, off_by: int) -> None:
        body = (5000).to_bytes(4, "little") + b"v" * 5000
        frame = _compressed(codec, body, named=named)
        data = lying(HEADED, frame, codec=codec, columns=0, count=1, body_size=5004 + off_by)
        with pytest.raises(MalformedBatch):
            validate(data, LIMIT)

    def test_bytes_after_the_frame_and_frames_cut_short_are_malformed(self, codec: Codec, named: bool) -> None:
        body = (5000).to_bytes(4, "little") + b"v" * 5000
        frame = _compressed(codec, body, named=named)
        for other in (frame + b"x", frame + frame, frame[:-1], frame[: len(frame) // 2], b""):
            with pytest.raises(MalformedBatch):
                validate(lying(HEADED, other, codec=codec, columns=0, count=1, body_size=5004), LIMIT)


@pytest.mark.parametrize(
    "blob", [b"\x01", b"\x05\x00abc", b"\x01\x00a\x05\x00\x00\x00xy", b"\x01\x00\xff\x00\x00\x00\x00"]
)
def test_a_lying_header_blob_is_found_by_who_reads_it(blob: bytes) -> None:
    record = decode_batch(encode_batch([b"v"], timestamps_ms=[1], header_blobs=[blob]))[0]
    with pytest.raises(MalformedBatch, match="headers"):
        _ = record.headers
    with pytest.raises(MalformedBatch):
        decode_headers(blob)


def test_a_header_name_has_a_limit() -> None:
    with pytest.raises(ValueError, match="65535"):
        encode_headers([("x" * 65_536, b"")])
