"""The running digest: equal at equal applied index on all replicas, or one of them is wrong (DESIGN.md, G13).

``digest(n) = blake2b-128(digest(n-1), index, term, kind, summary)``. A chain, so that one differing entry differs
for ever after, however late the replicas are compared; etcd's corruption check hashes the whole store instead,
which costs a walk and is therefore done rarely.

The summary is the entry's content: whole for what is small, the 64-byte head for a batch. The head holds the
CRC32C of the payload, so a payload's bytes never pass through here. A machine that *decides* something (where
replicas go, which id comes next) adds its decision: a digest of inputs alone would only prove that the replicas
read the same log, not that they made the same of it.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

DIGEST_SIZE = 16
#: Before the first entry.
EMPTY_DIGEST = bytes(DIGEST_SIZE)

#: Fixed width, so that no two different (previous, index, term, kind, summary) give the same bytes.
_POSITION = struct.Struct("<QQB")


def chain(previous: bytes, index: int, term: int, kind: int, summary: bytes) -> bytes:
    """The digest after an entry, from the digest before it."""
    return blake2b(previous + _POSITION.pack(index, term, kind) + summary, digest_size=DIGEST_SIZE).digest()
