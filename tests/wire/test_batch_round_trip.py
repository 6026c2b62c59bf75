"""A batch comes back as it was made, in every codec, or not at all."""

from __future__ import annotations

import sys
from array import array

import pytest
from hypothesis import given, settings
from wire.batches import Drawn, drawn_batches

from quorumlog.wire import batch as batch_module
from quorumlog.wire.batch import BatchError, decode_batch, encode_batch, record_time_ms, validate
from quorumlog.wire.header import COLUMN_KEYS, HEADER_SIZE, Codec, parse_header, with_base_offset


@given(drawn_batches())
@settings(max_examples=400, deadline=None)
def test_every_batch_comes_back_as_it_was_made(drawn: Drawn) -> None:
    data = drawn.encode()
    header = validate(data, 1 << 20)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == drawn.producer
    assert header.count == len(drawn.values)
    assert header.base_timestamp == min(drawn.timestamps_ms)
    assert header.max_timestamp == max(drawn.timestamps_ms)
    records = decode_batch(data, 7)
    assert records == decode_batch(data, 7, verify=False)
    assert [record.value for record in records] == drawn.values
    assert [record.key for record in records] == (drawn.keys or [None] * header.count)
    assert [record.timestamp_ms for record in records] == drawn.timestamps_ms
    assert [record_time_ms(data, number) for number in range(header.count)] == drawn.timestamps_ms
    assert [list(record.headers) for record in records] == (drawn.headers or [[]] * header.count)
    assert [record.offset for record in records] == list(range(drawn.base_offset, drawn.base_offset + header.count))
    assert {record.partition for record in records} == {7}


@given(drawn_batches())
@settings(max_examples=25, deadline=None)
def test_a_flipped_byte_is_found_wherever_it_is(drawn: Drawn) -> None:
    data = drawn.encode()
    original = decode_batch(data)
    for position in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= flip
            if position < 8:
                # The base offset stands outside the checksum: the leader assigns it. Nothing else may change.
                records = decode_batch(bytes(damaged))
                assert [record._replace(offset=0) for record in records] == [
                    record._replace(offset=0) for record in original
                ]
            else:
                with pytest.raises(BatchError):
                    decode_batch(bytes(damaged))
                with pytest.raises(BatchError):
                    validate(bytes(damaged), 1 << 20)


@given(drawn_batches())
@settings(max_examples=25, deadline=None)
def test_a_batch_cut_or_continued_anywhere_is_refused(drawn: Drawn) -> None:
    data = drawn.encode()
    for size in range(len(data)):
        with pytest.raises(BatchError):
            decode_batch(data[:size])
    with pytest.raises(BatchError):
        decode_batch(data + b"\0")


def test_an_offset_is_assigned_without_touching_the_checksum() -> None:
    data = encode_batch([b"a", b"b"], timestamps_ms=[5, 5])
    assert [record.offset for record in decode_batch(with_base_offset(data, 41))] == [41, 42]


def test_what_compression_cannot_shrink_stays_uncompressed() -> None:
    assert parse_header(encode_batch([b"x"], timestamps_ms=[1], codec=Codec.ZSTD)).codec == Codec.NONE
    for codec in (Codec.GZIP, Codec.ZSTD, Codec.LZ4):
        data = encode_batch([b"x" * 1000], timestamps_ms=[1], codec=codec)
        assert parse_header(data).codec == codec
        assert len(data) < 200


def test_a_column_that_says_nothing_is_left_out() -> None:
    data = encode_batch([b"v"], timestamps_ms=[9], keys=[None], header_blobs=[b""])
    assert parse_header(data).columns == 0
    assert len(data) == HEADER_SIZE + 4 + 1
    assert parse_header(encode_batch([b"v"], timestamps_ms=[9], keys=[b""])).columns == COLUMN_KEYS


def test_null_and_empty_are_two_things() -> None:
    records = decode_batch(encode_batch([None, b""], timestamps_ms=[1, 1], keys=[b"", None]))
    assert [(record.key, record.value) for record in records] == [(b"", None), (None, b"")]


@pytest.mark.parametrize(
    ("values", "timestamps_ms", "keys"),
    [([], [], None), ([b"a"], [1, 2], None), ([b"a"], [1], [b"k", b"l"]), ([b"a", b"b"], [0, 1 << 32], None)],
    ids=["no record", "timestamps of another length", "keys of another length", "timestamps too far apart"],
)
def test_columns_that_make_no_batch_are_refused(
    values: list[bytes | None], timestamps_ms: list[int], keys: list[bytes | None] | None
) -> None:
    with pytest.raises(ValueError, match=r"values|items|timestamps"):
        encode_batch(values, timestamps_ms=timestamps_ms, keys=keys)


def test_a_host_of_the_other_byte_order_swaps_on_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "_SWAP", sys.byteorder == "little")
    swapped = batch_module._column_bytes(array("I", [1, 2]))
    assert swapped == (1).to_bytes(4, "big") + (2).to_bytes(4, "big")
    records = decode_batch(encode_batch([b"a", None], timestamps_ms=[3, 4], keys=[None, b"key"]))
    assert [(record.timestamp_ms, record.key, record.value) for record in records] == [
        (3, None, b"a"),
        (4, b"key", None),
    ]


def test_the_layout_is_what_the_documentation_says() -> None:
    data = encode_batch([b"vv", None], timestamps_ms=[10, 12], keys=[None, b"k"])
    little = [0, 2, 0xFFFFFFFF, 1, 2, 0xFFFFFFFF]
    assert data[HEADER_SIZE:] == b"".join(each.to_bytes(4, "little") for each in little) + b"k" + b"vv"
