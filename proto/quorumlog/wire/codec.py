"""Compression of a batch's body, with decompression that never allocates more than the head promised.

The number of bytes a body may become is known before it is touched (``body_size``, itself bounded by the caller),
so every codec here is asked for at most that many, and must deliver exactly that many and nothing after. A few
bytes that claim to be a gigabyte (a zip bomb) therefore cost a few bytes.

Prior art: Kafka compresses the records of a batch as one stream (KIP-98's record batch, magic 2) but learns the
size while decompressing; the explicit size follows Parquet's page header.
"""

from __future__ import annotations

import zlib

import lz4.frame  # type: ignore[import-untyped]  # the package ships no type information
import zstandard

from quorumlog.wire.errors import MalformedBatch
from quorumlog.wire.header import Codec

#: zlib's "write a gzip frame" window parameter; the frame zlib writes carries no file name and no time of its
#: making, so equal bodies compress to equal bytes.
_GZIP_WINDOW = 31
#: RFC 8878 §3.1.1.1.2 asks a decoder to support windows up to 8 MiB; a frame that wants more could make the decoder
#: reserve up to 2 GiB before its first byte of output.
_ZSTD_WINDOW_BYTES_MAX = 8 << 20


def compress(codec: int, body: bytes) -> bytes:
    """``body`` compressed by ``codec`` (not ``Codec.NONE``), at each codec's level for speed over size."""
    if codec == Codec.ZSTD:
        return zstandard.ZstdCompressor(level=1).compress(body)
    if codec == Codec.LZ4:
        return bytes(lz4.frame.compress(body))
    compressor = zlib.compressobj(level=6, wbits=_GZIP_WINDOW)
    return compressor.compress(body) + compressor.flush()


def decompress(codec: int, data: bytes, size: int) -> bytes:
    """The body of exactly ``size`` (>= 1) bytes that ``data`` holds.

    Raises MalformedBatch when ``data`` is no frame of ``codec``, holds fewer or more bytes than ``size``, or is
    followed by anything. Never allocates much more than ``size``.
    """
    try:
        if codec == Codec.ZSTD:
            body = _zstd(data, size)
        elif codec == Codec.LZ4:
            body = _lz4(data, size)
        else:
            body = _gzip(data, size)
    except (zlib.error, zstandard.ZstdError, RuntimeError, EOFError) as error:
        raise MalformedBatch(f"body is no {Codec(codec).name} frame of {size} bytes: {error}") from error
    if len(body) != size:
        raise MalformedBatch(f"body decompresses to {len(body)} bytes, head says {size}")
    return body


def _zstd(data: bytes, size: int) -> bytes:
    # A frame that names its own size makes the library allocate that size, whatever limit it is given: so the
    # name is looked at first.
    named = zstandard.frame_content_size(data)
    if named not in (-1, size):
        raise MalformedBatch(f"zstd frame says {named} bytes, head says {size}")
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
    return decompressor.decompress(data, max_output_size=size, allow_extra_data=False)


def _lz4(data: bytes, size: int) -> bytes:
    # One byte more than wanted is asked for: a longer body then shows itself by that byte.
    decompressor = lz4.frame.LZ4FrameDecompressor()
    body = bytes(decompressor.decompress(data, max_length=size + 1))
    if not decompressor.eof or decompressor.unused_data:
        raise MalformedBatch("lz4 frame is cut off, longer than its head says, or followed by other bytes")
    return body


def _gzip(data: bytes, size: int) -> bytes:
    decompressor = zlib.decompressobj(wbits=_GZIP_WINDOW)
    body = decompressor.decompress(data, size + 1)
    if not decompressor.eof or decompressor.unused_data:
        raise MalformedBatch("gzip frame is cut off, longer than its head says, or followed by other bytes")
    return body
