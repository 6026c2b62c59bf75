"""A link relays until it is cut; cut, it swallows and keeps the connection open; healed, it delivers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from quorumlog.cluster.bench.links import Link
from quorumlog.cluster.layout import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Long for a relay on one machine, short for a test: silence is only observed for so long.
SILENCE_S = 0.2


@asynccontextmanager
async def link_to_an_echo() -> AsyncIterator[tuple[Link, int]]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(100):
            writer.write(chunk)
        writer.close()

    server = await asyncio.start_server(echo, HOST, 0)
    link = Link(server.sockets[0].getsockname()[1])
    port = await link.listen()
    yield link, port
    await link.close()
    server.close()


async def test_a_cut_link_swallows_and_a_healed_one_delivers_in_order() -> None:
    async with link_to_an_echo() as (link, port):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"one ")
        assert await asyncio.wait_for(reader.readexactly(4), 10) == b"one "
        link.cut()
        writer.write(b"two ")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(4), SILENCE_S)
        assert not reader.at_eof()
        link.heal()
        writer.write(b"three ")
        assert await asyncio.wait_for(reader.readexactly(10), 10) == b"two three "
        writer.close()


async def test_a_connection_made_while_the_link_is_cut_is_accepted_and_silent() -> None:
    async with link_to_an_echo() as (link, port):
        link.cut()
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"hello")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(5), SILENCE_S)
        link.heal()
        assert await asyncio.wait_for(reader.readexactly(5), 10) == b"hello"
        writer.close()


async def test_an_end_that_closes_is_closed_at_the_other() -> None:
    async with link_to_an_echo() as (_link, port):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
