"""A consumer whose opening nobody waits for any more."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

import pytest
from client.fake_cluster import FakeCluster

from quorumlog.client import Consumer
from quorumlog.client.errors import QuorumlogError


async def test_an_opening_that_fails_when_nobody_waits_leaves_no_noise_and_nothing_behind() -> None:
    """Found by the chaos suite: the event loop complained of an exception that was never retrieved."""
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    async with FakeCluster() as cluster:
        for node in cluster.nodes.values():
            node.hung = True
        consumer = Consumer(cluster.servers, "t", group="g", timeout_ms=300)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await consumer.open()
        opening = consumer._opening
        assert opening is not None
        await asyncio.wait([opening])
        del opening
        gc.collect()
        with pytest.raises(QuorumlogError):
            await consumer.open()
        await consumer.close()
    assert noise == []
