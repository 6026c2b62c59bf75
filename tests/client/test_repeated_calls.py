"""What may be called again, and when: a call that could do harm twice is not, once it may have been done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from client.fake_cluster import FakeCluster

from quorumlog.client.errors import QuorumlogError, Reason, make_error
from quorumlog.client.network import Network
from quorumlog.client.offset_admin import OffsetAdmin
from quorumlog.client.offset_types import TopicPartition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quorumlog.client.channel import NodeChannel


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with FakeCluster() as cluster:
        cluster.make("t")
        network = Network(cluster.servers)
        yield network
        await network.close()


class Scripted:
    """Ends as it is told, one call after the other, and then well."""

    def __init__(self, *not_done: bool) -> None:
        self._not_done = list(not_done)
        self.calls = 0

    async def __call__(self, channel: NodeChannel, seconds: float) -> str:
        self.calls += 1
        if self._not_done:
            raise make_error(Reason.NO_QUORUM, "no quorum", not_done=self._not_done.pop(0))
        return "done"


@pytest.mark.parametrize("repeatable", [True, False])
async def test_what_was_certainly_not_done_is_called_again(network: Network, repeatable: bool) -> None:
    call = Scripted(True, True)
    assert await network.call_leader("t", 0, call, timeout_ms=5_000, repeatable=repeatable) == "done"
    assert call.calls == 3


async def test_what_may_have_been_done_is_called_again_if_it_may_be_done_twice(network: Network) -> None:
    call = Scripted(True, False)
    assert await network.call_leader("t", 0, call, timeout_ms=5_000) == "done"
    assert call.calls == 3


async def test_what_may_have_been_done_is_not_called_again_otherwise(network: Network) -> None:
    call = Scripted(True, False)
    with pytest.raises(QuorumlogError) as raised:
        await network.call_leader("t", 0, call, timeout_ms=5_000, repeatable=False)
    assert raised.value.reason is Reason.NO_QUORUM
    assert call.calls == 2


async def test_a_reset_without_an_expected_version_and_forgetting_are_not_repeatable() -> None:
    asked: dict[int, bool] = {}

    async def note(topic: str, partition: int, *_: object, repeatable: bool, **__: object) -> None:
        asked[partition] = repeatable

    async with OffsetAdmin("127.0.0.1:1") as offsets:
        offsets.network.call_leader = note  # type: ignore[assignment, method-assign]
        both = [TopicPartition("t", 0), TopicPartition("t", 1)]
        await offsets.reset("g", both, "earliest", reason="why", expected_versions={both[1]: 7})
        assert asked == {0: False, 1: True}
        await offsets.mark("g", both, critical=True)
        assert asked == {0: True, 1: True}
        await offsets.forget("g", both)
        assert asked == {0: False, 1: False}
