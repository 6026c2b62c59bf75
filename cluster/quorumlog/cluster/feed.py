"""The lines of a file, a pipe or a terminal, for an event loop that must not block on them.

A thread reads with ``os.read`` and hands over what is there: a typed line leaves at once, a file comes in large
pieces. It is a daemon, and shuns Python's buffered files: a program that ends while a reader waits at the
terminal must neither wait for it nor die of the lock it holds.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHUNK_BYTES = 1 << 18
#: Chunks read ahead of the event loop.
READ_AHEAD = 4


async def lines_of(descriptor: int) -> AsyncIterator[list[bytes]]:
    """Whole lines without their newlines, in lists as they come; a last line without a newline counts too.

    Raises OSError when reading fails.
    """
    rest = b""
    async for chunk in _chunks(descriptor):
        *complete, rest = (rest + chunk).split(b"\n")
        if complete:
            yield complete
    if rest:
        yield [rest]


async def _chunks(descriptor: int) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue(READ_AHEAD)

    def read() -> None:
        while True:
            try:
                chunk: bytes | OSError = os.read(descriptor, CHUNK_BYTES)
            except OSError as error:
                chunk = error
            try:
                asyncio.run_coroutine_threadsafe(chunks.put(chunk), loop).result()
            except (RuntimeError, asyncio.CancelledError):
                return  # the loop has ended: nobody wants more
            if not chunk or isinstance(chunk, OSError):
                return

    threading.Thread(target=read, name="read lines", daemon=True).start()
    while chunk := await chunks.get():
        if isinstance(chunk, OSError):
            raise chunk
        yield chunk
