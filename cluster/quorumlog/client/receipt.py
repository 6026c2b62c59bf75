"""Proof of a commit, and the one line of text by which people hand it on.

A receipt names a commit so that ``resolve`` can say at any later time, on any node, what became of it. It must
survive a log file, a chat and a shell: so its text has no blanks and nothing a shell would take for its own.

    GROUP/TOPIC/PARTITION@VERSION:TERM:OFFSET        readers/lines/2@1207:3:4100

Neither group ids nor topic names can hold ``/``, ``@`` or ``:``, so the text reads back in one way only.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_MAX_U64 = (1 << 64) - 1
_MAX_U32 = (1 << 32) - 1
_NAME = r"[A-Za-z0-9._-]{1,249}"
_TEXT = re.compile(rf"({_NAME})/({_NAME})/(\d{{1,10}})@(\d{{1,20}}):(\d{{1,20}}):(\d{{1,20}})", re.ASCII)


class InvalidReceipt(ValueError):
    """The text is no receipt; the message says what one looks like."""


class Receipt(NamedTuple):
    """A commit that is durable on a majority. ``version`` and ``term`` are those of its Raft entry."""

    group: str
    topic: str
    partition: int
    offset: int
    version: int
    term: int

    def __str__(self) -> str:
        return f"{self.group}/{self.topic}/{self.partition}@{self.version}:{self.term}:{self.offset}"


def parse_receipt(text: str) -> Receipt:
    """The receipt that ``str`` wrote as ``text``. Raises InvalidReceipt."""
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise InvalidReceipt(f"{text!r} is no receipt; one reads GROUP/TOPIC/PARTITION@VERSION:TERM:OFFSET")
    group, topic = match[1], match[2]
    partition, version, term, offset = (int(match[place]) for place in (3, 4, 5, 6))
    if partition > _MAX_U32 or max(version, term, offset) > _MAX_U64 or not version or not term:
        raise InvalidReceipt(f"{text!r} is no receipt: a number in it is out of its range")
    return Receipt(group, topic, partition, offset, version, term)
