"""What can be wrong with a record batch: one branch, three kinds, so that a node can answer each by its name."""

from __future__ import annotations


class BatchError(ValueError):
    """A record batch that must not be stored or handed to an application."""


class MalformedBatch(BatchError):
    """The bytes are not what their head says: layout, version, codec, columns, count, sizes, timestamps."""


class CorruptBatch(BatchError):
    """The CRC32C does not match: the batch was damaged after its producer made it."""


class BatchTooLarge(BatchError):
    """The batch, or what it would decompress to, is larger than allowed."""
