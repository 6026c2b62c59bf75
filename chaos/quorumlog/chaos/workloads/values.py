"""Records' values: each has a number that no other has, and bytes that follow from it.

A reader can so tell a record that was changed, cut short or put together from others, without having been told what
was sent: also in another process, or after a crash.
"""

from __future__ import annotations

from random import Random

#: As much as the largest record takes, twice, so that records of one size still differ.
_POOL_BYTES = 4 << 20
#: Odd and large, so that neighbouring numbers begin at far-off places of the pool (Knuth, TAOCP 6.4).
_STRIDE = 2_654_435_761
#: Of sixteen letters, so that codecs have something to do: half of it is theirs to save.
_LETTERS = bytes(b"etaoinshrdlucmfw"[byte % 16] for byte in range(256))
_POOL = Random(1).randbytes(_POOL_BYTES).translate(_LETTERS)

#: Beside the filler: two numbers and two colons.
HEAD_BYTES = 24


def encode(number: int, filler_bytes: int) -> bytes:
    """The bytes of value ``number``: its head and so many bytes that follow from it."""
    at = number * _STRIDE % (_POOL_BYTES - filler_bytes)
    return b"%d:%d:%b" % (number, filler_bytes, _POOL[at : at + filler_bytes])


def decode(data: bytes | None) -> int | str:
    """The number; or, of bytes that are no value's, their beginning as text, which nobody sends."""
    text = data or b""
    number, _, rest = text.partition(b":")
    size, _, filler = rest.partition(b":")
    if number.isdigit() and size.isdigit() and len(filler) == int(size) < _POOL_BYTES:
        at = int(number) * _STRIDE % (_POOL_BYTES - len(filler))
        if _POOL.startswith(filler, at):
            return int(number)
    return repr(text[:40])
