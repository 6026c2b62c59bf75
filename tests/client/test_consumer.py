"""The consumer against three real nodes: what is processed is committed, nothing else, and nothing is skipped."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from quorumlog.client import (
    Admin,
    Claim,
    Consumer,
    ConsumerRecord,
    Fenced,
    NotDone,
    OffsetAdmin,
    OutcomeUnknown,
    PositionMoved,
    Producer,
    Record,
)
from quorumlog.client.commit_link import CommitLink
from quorumlog.client.consumer_events import (
    AcquireWaiting,
    BoundBroken,
    CommitResolved,
    Event,
    PartitionAcquired,
    PartitionLost,
    PartitionRevoked,
)
from quorumlog.client.errors import (
    Closed,
    InvalidGroup,
    InvalidRequest,
    MetadataTooLarge,
    OffsetBeyondEnd,
    OffsetRegressed,
    Owned,
    UnknownPartition,
    UnknownTopic,
    Unreachable,
)
from quorumlog.client.offset_calls import StartPolicy, StartReason
from quorumlog.client.offset_types import TopicPartition
from quorumlog.client.policy.commits import CommitMode, CommitSettings
from quorumlog.client.start import AtOffset, parse_start
from quorumlog.cluster.throwaway import running_cluster

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from quorumlog.client.handing import Lane
    from quorumlog.client.offset_types import StoredOffset
    from quorumlog.cluster.launcher import LocalCluster

_names = count()


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with running_cluster() as cluster:
        yield cluster


class Place:
    """A topic of its own for one test, and a look at what is really stored."""

    def __init__(self, servers: list[str], topic: str) -> None:
        self.servers = servers
        self.topic = topic
        self.group = f"group-of-{topic}"

    async def make(self, partitions: int = 1, records: int = 0) -> None:
        async with Admin(self.servers) as admin:
            await admin.create_topic(self.topic, partitions)
        await self.fill(records, partitions)

    async def fill(self, records: int, partitions: int = 1) -> None:
        async with Producer(self.servers) as producer:
            for number in range(records):
                await producer.send(self.topic, b"%d" % number, partition=number % partitions)

    async def stored(self, partition: int = 0, group: str = "") -> StoredOffset | None:
        async with OffsetAdmin(self.servers) as admin:
            name = TopicPartition(self.topic, partition)
            found = (await admin.fetch(group or self.group, [name]))[name]
        assert not isinstance(found, Exception)
        return found.stored

    async def offset(self, partition: int = 0) -> int | None:
        stored = await self.stored(partition)
        return None if stored is None else stored.offset

    def consumer(self, **settings: Any) -> Consumer:
        if "group" not in settings:
            settings["group"] = self.group
        return Consumer(self.servers, self.topic, **settings)


@pytest.fixture
def place(cluster: LocalCluster) -> Place:
    return Place(list(cluster.servers), f"topic-{next(_names)}")


async def until(holds: Callable[[], Awaitable[bool] | bool], within_s: float = 10.0) -> None:
    """Return once it holds; fail if it does not in time."""
    deadline = time.monotonic() + within_s
    while True:
        result = holds()
        if result if isinstance(result, bool) else await result:
            return
        assert time.monotonic() < deadline, "it did not come to hold"
        await asyncio.sleep(0.01)


async def take(consumer: Consumer, number: int) -> list[ConsumerRecord]:
    """So many records; the last of them is then in hand."""
    records = []
    async for record in consumer:
        records.append(record)
        if len(records) == number:
            break
    return records


class TestCommitting:
    async def test_an_idle_consumers_last_record_is_durable_within_the_bound(self, place: Place) -> None:
        await place.make(records=3)
        async with place.consumer(partitions=[0], commit_interval_ms=300) as consumer:
            taking = asyncio.create_task(take(consumer, 99))
            await until(lambda: consumer.position(0) == 3)
            began = time.monotonic()
            await place.fill(1)
            await until(lambda: consumer.committed(0) == 4)
            # Twice the bound, because the machine that tests run on has other things to do.
            assert time.monotonic() - began < 0.6
            assert await place.offset() == 4
            taking.cancel()

    async def test_nothing_is_committed_at_the_moment_it_is_handed_out(self, place: Place) -> None:
        await place.make(records=5)
        async with place.consumer(partitions=[0], commit_interval_ms=50) as consumer:
            await take(consumer, 1)
            await asyncio.sleep(0.2)
            assert consumer.committed(0) == 0
            assert consumer.exposure.records == 0

    async def test_close_commits_what_is_processed_and_nothing_else(self, place: Place) -> None:
        await place.make(records=10)
        async with place.consumer(partitions=[0], commit_interval_ms=60_000) as consumer:
            await take(consumer, 7)
            assert await place.offset() == 0
        assert await place.offset() == 6

    async def test_a_record_that_failed_is_not_committed_and_comes_again(self, place: Place) -> None:
        await place.make(records=10)
        async with place.consumer(partitions=[0]) as consumer:

            async def process() -> None:
                async for record in consumer:
                    if record.offset == 4:
                        raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await process()
            assert (await take(consumer, 1))[0].offset == 4
        async with place.consumer(partitions=[0]) as consumer:
            assert (await take(consumer, 1))[0].offset == 4

    async def test_a_loop_that_ends_by_itself_has_processed_its_last_record(self, place: Place) -> None:
        await place.make(records=10)
        async with place.consumer(partitions=[0], stop_at_end=True) as consumer:
            assert len([record async for record in consumer]) == 10
        assert await place.offset() == 10

    async def test_sigterm_commits_what_is_processed_and_nothing_else(self, place: Place) -> None:
        await place.make(records=10)
        consumer = place.consumer(partitions=[0], commit_interval_ms=60_000)
        seen = []
        try:
            async with consumer:
                consumer.install_signal_handlers([signal.SIGTERM])
                async for record in consumer:
                    seen.append(record.offset)
                    if len(seen) == 4:
                        os.kill(os.getpid(), signal.SIGTERM)
                        await asyncio.sleep(0.05)
        finally:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        assert seen == [0, 1, 2, 3]
        assert await place.offset() == 4

    async def test_batches_are_finished_as_a_whole(self, place: Place) -> None:
        await place.make(records=10)
        async with place.consumer(partitions=[0]) as consumer:
            async for records in consumer.batches():
                assert [record.offset for record in records] == list(range(10))
                break
            assert consumer.stats().partitions[TopicPartition(place.topic, 0)].processed == 0
        assert await place.offset() == 0
        async with place.consumer(partitions=[0], stop_at_end=True) as consumer:
            async for _ in consumer.batches():
                pass
        assert await place.offset() == 10

    async def test_by_hand_nothing_is_committed_unasked(self, place: Place) -> None:
        await place.make(records=10)
        async with place.consumer(partitions=[0], commit="manual", commit_interval_ms=50) as consumer:
            await take(consumer, 5)
            (receipt,) = await consumer.commit(metadata=b"half")
            await take(consumer, 3)
        stored = await place.stored()
        assert stored is not None
        assert (stored.offset, stored.version, stored.metadata) == (5, receipt.version, b"half")
        assert stored.fingerprint is not None

    async def test_by_hand_the_record_in_hand_counts_as_processed(self, place: Place) -> None:
        await place.make(records=10)
        async with place.consumer(partitions=[0], commit="manual") as consumer:
            async for record in consumer:
                (receipt,) = await consumer.commit()
                assert receipt.offset == record.offset + 1
                if record.offset == 3:
                    break
            assert (await take(consumer, 1))[0].offset == 4

    async def test_each_record_is_durable_before_the_next_is_handed_out(self, place: Place) -> None:
        await place.make(records=10)
        async with place.consumer(partitions=[0], commit="each", commit_interval_ms=60_000) as consumer:
            async for record in consumer:
                assert consumer.committed(0) == record.offset
                if record.offset == 5:
                    break
        assert await place.offset() == 5

    async def test_offset_0_is_committed(self, place: Place) -> None:
        await place.make(records=3)
        async with await Claim.open(place.servers, place.group, place.topic, 0, start="latest") as claim:
            with pytest.raises(OffsetRegressed):
                await claim.commit(0)
        other = f"{place.group}-2"
        async with await Claim.open(place.servers, other, place.topic, 0) as claim:
            receipt = await claim.commit(0)
        stored = await place.stored(group=other)
        assert stored is not None
        assert (receipt.offset, stored.offset, stored.version) == (0, 0, receipt.version)

    async def test_explicit_offsets_go_up_to_what_was_handed_out(self, place: Place) -> None:
        await place.make(records=10)
        name = TopicPartition(place.topic, 0)
        async with place.consumer(partitions=[0], commit="manual") as consumer:
            await take(consumer, 5)
            (receipt,) = await consumer.commit({name: 3})
            assert receipt.offset == 3
            with pytest.raises(InvalidRequest):
                await consumer.commit({name: 6})
            with pytest.raises(InvalidRequest, match="-1"):
                await consumer.commit({name: -1})
            with pytest.raises(InvalidRequest, match="-1"):
                await consumer.seek(0, -1)
            with pytest.raises(OffsetRegressed):
                await consumer.commit({name: 2})
            with pytest.raises(MetadataTooLarge):
                await consumer.commit(metadata=b"x" * 4097)
            with pytest.raises(UnknownPartition):
                await consumer.commit({TopicPartition(place.topic, 7): 1})

    async def test_a_commit_beyond_the_end_is_refused_and_is_nowhere(self, place: Place) -> None:
        await place.make(records=3)
        claim = await Claim.open(place.servers, place.group, place.topic, 0)
        with pytest.raises(OffsetBeyondEnd) as refused:
            await claim.commit(4)
        assert isinstance(refused.value, NotDone)
        await claim.close()
        assert await place.offset() == 0

    async def test_a_doubly_confirmed_commit_has_been_read_back(self, place: Place) -> None:
        await place.make(records=3)
        async with await Claim.open(place.servers, place.group, place.topic, 0, confirm="double") as claim:
            receipt = await claim.commit(2)
            assert not claim.commits.confirming
            assert claim.commits.unconfirmed == []
            assert receipt.offset == 2

    async def test_metadata_and_exposure_are_told(self, place: Place) -> None:
        await place.make(records=10)
        async with place.consumer(partitions=[0], commit_interval_ms=60_000) as consumer:
            await take(consumer, 6)
            exposure = consumer.exposure
            assert exposure.records == 5
            assert exposure.age_ms > 0
            await consumer.commit()
            assert consumer.exposure.records == 0

    async def test_a_broken_bound_is_an_event_that_says_what_it_waits_for(self, place: Place) -> None:
        await place.make(records=10)
        async with place.consumer(partitions=[0], commit_interval_ms=100) as consumer:
            records = await take(consumer, 3)
            consumer.done(records[2])

            def broken() -> bool:
                return any(isinstance(event, BoundBroken) for event in consumer.events)

            await asyncio.sleep(0.05)
            assert consumer.committed(0) in (0, 2)
            slow = place.consumer(partitions=[0], group="slow", commit_interval_ms=100)
            async with slow:
                first, second = slow.lane(), slow.lane()
                async for _ in first:
                    break
                async for record in second:
                    slow.done(record)
                    break
                await until(lambda: any(isinstance(event, BoundBroken) for event in slow.events))
                (event,) = [event for event in slow.events if isinstance(event, BoundBroken)]
                assert (event.records, event.waits_for) == (1, 0)
            assert not broken()


class TestLanes:
    async def test_what_is_committed_is_the_lowest_unfinished_record(self, place: Place) -> None:
        await place.make(records=100)
        finished: set[int] = set()
        async with place.consumer(partitions=[0], commit_interval_ms=40) as consumer:

            async def work(number: int) -> None:
                async for record in consumer.lane():
                    if record.offset == 30:
                        await asyncio.get_running_loop().create_future()
                    await asyncio.sleep(0.001 * number)
                    finished.add(record.offset)

            workers = [asyncio.create_task(work(number)) for number in range(4)]
            await until(lambda: len(finished) == 99)
            await until(lambda: consumer.committed(0) == 30)
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        assert await place.offset() == 30
        assert finished == set(range(100)) - {30}

    async def test_all_lanes_end_at_the_end(self, place: Place) -> None:
        await place.make(partitions=2, records=40)
        seen: list[int] = []
        async with place.consumer(partitions=[0, 1], stop_at_end=True) as consumer:

            async def work() -> None:
                async for record in consumer.lane():
                    await asyncio.sleep(0)
                    seen.append(record.offset)

            async with asyncio.timeout(10):
                await asyncio.gather(*(work() for _ in range(3)))
        assert sorted(seen) == sorted([*range(20), *range(20)])
        assert [await place.offset(number) for number in range(2)] == [20, 20]

    async def test_done_in_any_order(self, place: Place) -> None:
        await place.make(records=5)
        async with place.consumer(partitions=[0], commit_interval_ms=60_000) as consumer:
            records = []
            async for batch in consumer.batches():
                records = batch
                break
            assert consumer.done(records[3])
            assert not consumer.done(records[3])
            assert consumer.done(records[0])
            assert consumer.done(records[1])
            assert await consumer.commit() != []
        assert await place.offset() == 2


class TestOwning:
    async def test_a_second_consumer_takes_over_and_the_first_learns_it(self, place: Place) -> None:
        await place.make(records=10)
        async with place.consumer(partitions=[0], commit="manual") as first:
            await take(first, 2)
            async with place.consumer(partitions=[0], commit="manual") as second:
                with pytest.raises(Fenced):
                    async for _ in first:
                        pass
                assert any(isinstance(event, PartitionLost) for event in first.events)
                assert first.stats().fenced == 1
                await take(second, 4)
                assert (await second.commit())[0].offset == 4
        assert await place.offset() == 4

    async def test_a_zombies_commit_is_fenced_and_nowhere(self, place: Place) -> None:
        await place.make(records=10)
        zombie = await Claim.open(place.servers, place.group, place.topic, 0)
        await zombie.commit(2)
        async with await Claim.open(place.servers, place.group, place.topic, 0) as successor:
            assert successor.acquired.start_offset == 2
            assert (successor.acquired.released, successor.acquired.may_repeat) == (False, 8)
            with pytest.raises(Fenced) as refused:
                await zombie.commit(5)
            assert isinstance(refused.value, NotDone)
            assert await place.offset() == 2
            await successor.commit(3)
        await zombie.close()
        assert await place.offset() == 3

    async def test_an_exclusive_owner_is_left_alone(self, place: Place) -> None:
        await place.make(records=3)
        async with place.consumer(partitions=[0], exclusive=True) as first:
            with pytest.raises(Owned):
                async with place.consumer(partitions=[0], exclusive=True):
                    pass
            assert (await take(first, 1))[0].offset == 0
        async with place.consumer(partitions=[0], exclusive=True):
            pass

    async def test_an_idle_exclusive_owner_renews_its_lease_until_it_is_gone(self, place: Place) -> None:
        await place.make(records=3)
        link = CommitLink.shared(place.servers)
        key = (place.group, place.topic, 0)
        policy = StartPolicy(parse_start("earliest"), exclusive=True, lease_ms=600)
        settings = CommitSettings(CommitMode.MANUAL)
        first = await Claim.acquire(link, key, policy, settings)
        await until(lambda: first.commits.commits >= 4)
        with pytest.raises(Owned):
            await Claim.acquire(link, key, policy, settings)
        # As after a crash: it says nothing any more, and has not given back.
        await first.end()

        async def acquired() -> bool:
            try:
                second = await Claim.acquire(link, key, policy, settings)
            except Owned:
                return False
            await second.close()
            return True

        await until(acquired)
        await link.release()

    async def test_the_start_and_its_reason_are_told(self, place: Place) -> None:
        await place.make(records=10)

        async def begin(**settings: Any) -> tuple[int, StartReason]:
            async with place.consumer(partitions=[0], commit="manual", **settings) as consumer:
                (event,) = [event for event in consumer.events if isinstance(event, PartitionAcquired)]
                assert event.acquired.explanation
                return consumer.position(0), event.acquired.reason

        assert await begin(start="offset:4") == (4, StartReason.RULE)
        assert await begin(start="latest") == (4, StartReason.STORED)
        assert await begin(start="latest", force_start=True) == (10, StartReason.FORCED)
        assert await begin(start=AtOffset(9)) == (4, StartReason.STORED)

    async def test_a_group_that_began_at_latest_and_crashed_jumps_over_nothing(self, place: Place) -> None:
        await place.make(records=10)
        first = place.consumer(partitions=[0], start="latest")
        await first.open()
        await place.fill(5)
        # No close: as after a crash.
        async with place.consumer(partitions=[0], start="latest") as second:
            assert (await take(second, 1))[0].offset == 10
        with pytest.raises(Fenced):
            await take(first, 99)
        await first.close()

    async def test_bad_input_is_refused_with_its_kind(self, place: Place) -> None:
        await place.make()
        with pytest.raises(UnknownPartition):
            await place.consumer(partitions=[3]).open()
        with pytest.raises(UnknownTopic):
            await Consumer(place.servers, "nowhere", group="g").open()
        with pytest.raises(InvalidGroup):
            await place.consumer(partitions=[0], group="no/slash").open()
        with pytest.raises(InvalidGroup):
            await place.consumer(group="no/slash").open()
        for settings in (
            {"commit": "never"},
            {"confirm": "triple"},
            {"commit_interval_ms": 0},
            {"commit_count": -1},
            {"exclusive": True},
            {"start": "somewhere"},
        ):
            with pytest.raises(ValueError):  # noqa: PT011  # which words is each setting's own affair
                place.consumer(**settings)
        with pytest.raises(ValueError, match="one topic"):
            Consumer(place.servers, ["a", "b"], group="g", partitions=[0])

    async def test_a_closed_consumer_says_so(self, place: Place) -> None:
        await place.make(records=1)
        consumer = place.consumer(partitions=[0])
        await consumer.open()
        await consumer.close()
        await consumer.close()
        with pytest.raises(Closed):
            await consumer.open()


class TestPlaces:
    async def test_pause_resume_seek_position_end_and_lag(self, place: Place) -> None:
        await place.make(partitions=2, records=20)
        async with place.consumer(partitions=[0, 1], commit_interval_ms=60_000) as consumer:
            consumer.pause(0)
            assert {record.partition for record in await take(consumer, 5)} == {1}
            consumer.resume(0)
            consumer.pause(1)
            assert {record.partition for record in await take(consumer, 3)} == {0}
            assert consumer.position(0) == 3
            assert (consumer.end(0), consumer.lag(0), consumer.committed(0)) == (10, 10, 0)
            await consumer.seek(0, 8)
            assert [record.offset for record in await take(consumer, 2)] == [8, 9]
            await consumer.seek(0, 1)
            assert (await take(consumer, 1))[0].offset == 1
            assert [str(each) for each in consumer.assignment()] == [f"{place.topic}/0", f"{place.topic}/1"]
            with pytest.raises(UnknownPartition):
                consumer.position(7)

    async def test_seeking_back_commits_nothing_below_what_is_stored(self, place: Place) -> None:
        await place.make(records=10)
        async with place.consumer(partitions=[0], commit_interval_ms=60_000) as consumer:
            await take(consumer, 9)
            await consumer.commit()
            await consumer.seek(0, 2)
            await take(consumer, 3)
            assert await consumer.commit() == []
        assert await place.offset() == 8

    async def test_records_of_several_topics_know_theirs(self, place: Place) -> None:
        await place.make(records=3)
        other = Place(place.servers, f"{place.topic}-b")
        await other.make(records=3)
        topics = [place.topic, other.topic]
        async with Consumer(place.servers, topics, group=place.group, stop_at_end=True) as consumer:
            records = [record async for record in consumer]
        assert sorted((record.topic, record.offset) for record in records) == sorted(
            (topic, offset) for topic in topics for offset in range(3)
        )
        assert all(isinstance(record, Record) for record in records)
        assert (await place.offset(), await other.offset()) == (3, None)
        stored = await other.stored(group=place.group)
        assert stored is not None
        assert stored.offset == 3

    async def test_the_figures_are_there_for_prometheus(self, place: Place) -> None:
        await place.make(records=5)
        registry = CollectorRegistry()
        async with place.consumer(partitions=[0], commit_interval_ms=60_000) as consumer:
            consumer.register_metrics(registry)
            await take(consumer, 4)
            labels = {"group": place.group, "topic": place.topic, "partition": "0"}
            assert registry.get_sample_value("quorumlog_consumer_exposed_records", labels) == 3
            assert registry.get_sample_value("quorumlog_consumer_delivered_offset", labels) == 4
        assert registry.get_sample_value("quorumlog_consumer_exposed_records", labels) is None


class TestGroups:
    async def test_members_share_the_partitions_and_skip_nothing_while_they_come_and_go(self, place: Place) -> None:
        await place.make(partitions=4, records=1600)
        seen: list[tuple[int, int]] = []
        told: list[Event] = []
        members: list[Consumer] = []

        async def consume(limit: int) -> None:
            taken = 0
            consumer = place.consumer(commit_interval_ms=50, session_timeout_ms=4000, on_event=told.append)
            members.append(consumer)
            async with consumer:
                async for record in consumer:
                    seen.append((record.partition, record.offset))
                    taken += 1
                    await asyncio.sleep(0.002)
                    if taken == limit:
                        consumer.stop()

        first = asyncio.create_task(consume(10_000))
        await until(lambda: len(seen) > 20)
        second = asyncio.create_task(consume(60))
        await until(lambda: len(members) == 2 and len(members[1].assignment()) == 2)
        assert len(members[0].assignment()) == 2
        await second
        await until(lambda: len(members[0].assignment()) == 4)
        await until(lambda: len(set(seen)) == 1600)
        members[0].stop()
        await first
        # Partitions were handed over in good order: nothing was processed twice.
        everything = [(number, offset) for number in range(4) for offset in range(400)]
        assert sorted(seen) == everything
        assert [await place.offset(number) for number in range(4)] == [400] * 4
        assert not any(isinstance(event, PartitionLost) for event in told)
        assert all(event.committed for event in told if isinstance(event, PartitionRevoked))

    async def test_a_revoked_partition_waits_for_the_record_in_hand(self, place: Place) -> None:
        await place.make(partitions=2, records=40)
        seen: list[tuple[int, int]] = []

        async def work(lane: Lane, pause_s: float) -> None:
            async for record in lane:
                # Written down when it is in hand: handed out again, it would stand here twice.
                seen.append((record.partition, record.offset))
                await asyncio.sleep(pause_s)

        async def consume(pause_s: float) -> None:
            async with place.consumer(session_timeout_ms=2000) as consumer:
                members.append(consumer)
                # One lane for each partition, so that of whichever is revoked a record is in hand.
                await asyncio.gather(work(consumer.lane(), pause_s), work(consumer.lane(), pause_s))

        members: list[Consumer] = []
        slow = asyncio.create_task(consume(0.1))
        await until(lambda: len(seen) > 2)
        quick = asyncio.create_task(consume(0.0))
        await until(lambda: len(set(seen)) == 40)
        for member in members:
            member.stop()
        await asyncio.gather(slow, quick)
        assert len(members[1].events) > 0
        assert sorted(seen) == sorted(set(seen))

    async def test_callbacks_hear_of_what_comes_and_goes_and_may_still_commit(self, place: Place) -> None:
        await place.make(partitions=1, records=10)
        heard: list[tuple[str, list[str]]] = []

        async def on_revoked(partitions: Any) -> None:
            heard.append(("revoked", [str(each) for each in partitions]))
            await consumer.commit()

        consumer = place.consumer(
            commit="manual",
            on_assigned=lambda partitions: heard.append(("assigned", [str(each) for each in partitions])),
            on_revoked=on_revoked,
        )
        async with consumer:
            await take(consumer, 3)
        name = f"{place.topic}/0"
        assert heard == [("assigned", [name]), ("revoked", [name])]
        assert await place.offset() == 3

    async def test_a_reset_under_a_running_member_is_told_and_followed(self, place: Place) -> None:
        await place.make(partitions=1, records=10)
        async with place.consumer(commit_interval_ms=50) as consumer:
            await take(consumer, 6)
            await until(lambda: consumer.committed(0) == 5)
            async with OffsetAdmin(place.servers) as admin:
                name = TopicPartition(place.topic, 0)
                done = await admin.reset(place.group, [name], "offset:2", reason="again", force=True)
                assert not isinstance(done[name], Exception)
            with pytest.raises(PositionMoved) as moved:
                async for _ in consumer:
                    pass
            assert moved.value.to_offset == 2
            assert (await take(consumer, 1))[0].offset == 2

    async def test_a_static_member_comes_back_to_its_partitions(self, place: Place) -> None:
        await place.make(partitions=2, records=10)
        async with place.consumer(session_timeout_ms=5000) as other:
            await until(lambda: len(other.assignment()) == 2)
            for _ in range(2):
                async with place.consumer(instance="one", session_timeout_ms=5000) as static:
                    await until(lambda: len(static.assignment()) == 1)  # asked within this turn
                    generation = static.stats().generation
                    mine = static.assignment()
            assert len(other.assignment()) == 1
            assert other.assignment() != mine
            assert other.stats().generation <= generation + 1


class TestTrouble:
    async def test_a_commit_whose_answers_are_lost_is_resolved(self, place: Place) -> None:
        await place.make(records=10)
        claim = await Claim.open(place.servers, place.group, place.topic, 0)
        link = claim._link
        link._committer._timeout_ms = 300.0
        address = link.network.router.leader(place.topic, 0)
        assert address is not None
        stub = link.network.channel(address).offsets
        commit = stub.Commit

        async def lose_the_answer(*arguments: Any, **named: Any) -> None:
            await commit(*arguments, **named)
            raise Unreachable("the answer was lost")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stub, "Commit", lose_the_answer)
            receipt = await claim.commit(4)
        assert receipt.offset == 4
        assert claim.commits.resolved_count == 1
        assert claim.take_resolved()
        stored = await place.stored()
        assert stored is not None
        assert stored.version == receipt.version
        await claim.close()

    async def test_a_consumer_without_a_quorum_waits_and_then_goes_on(
        self, cluster: LocalCluster, place: Place
    ) -> None:
        await place.make(records=10)
        async with place.consumer(partitions=[0], commit_interval_ms=100) as consumer:
            await take(consumer, 4)
            for node in cluster.node_ids[:2]:
                cluster.kill(node)
            try:
                await take(consumer, 3)
                with pytest.raises(OutcomeUnknown):
                    await consumer.commit(timeout_ms=400)
            finally:
                for node in cluster.node_ids[:2]:
                    cluster.start_node(node)
                await asyncio.to_thread(cluster.wait_ready)
            await until(lambda: consumer.exposure.records == 0, within_s=20)
            assert any(isinstance(event, BoundBroken) for event in consumer.events)
        assert await place.offset() == 5

    async def test_who_cannot_learn_the_stored_offset_waits(self, cluster: LocalCluster, place: Place) -> None:
        await place.make(records=10)
        async with place.consumer(partitions=[0], stop_at_end=True) as consumer:
            async for _ in consumer:
                pass
        for node in cluster.node_ids[:2]:
            cluster.kill(node)
        try:
            consumer = place.consumer(partitions=[0], start="earliest", timeout_ms=60_000)
            opening = asyncio.create_task(consumer.open())
            await until(lambda: any(isinstance(event, AcquireWaiting) for event in consumer.events), within_s=20)
            assert not opening.done()
        finally:
            for node in cluster.node_ids[:2]:
                cluster.start_node(node)
            await asyncio.to_thread(cluster.wait_ready)
        await opening
        assert consumer.position(0) == 10
        await consumer.close()

    async def test_a_commit_whose_answer_nobody_waited_for_is_not_called_undone(self, place: Place) -> None:
        await place.make(records=10)
        claim = await Claim.open(place.servers, place.group, place.topic, 0)
        link = claim._link
        address = link.network.router.leader(place.topic, 0)
        assert address is not None
        stub = link.network.channel(address).offsets
        commit = stub.Commit
        done = asyncio.Event()

        async def hang_after_it(*arguments: Any, **named: Any) -> None:
            await commit(*arguments, **named)
            done.set()
            await asyncio.get_running_loop().create_future()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stub, "Commit", hang_after_it)
            committing = asyncio.create_task(claim.commit(4))
            await done.wait()
            await claim.end()
        with pytest.raises(OutcomeUnknown):
            await committing
        assert await place.offset() == 4
        await claim.close()

    async def test_the_events_of_a_resolved_commit(self, place: Place) -> None:
        await place.make(records=10)
        async with place.consumer(partitions=[0], commit="manual") as consumer:
            await take(consumer, 4)
            link = consumer._link
            assert link is not None
            link._committer._timeout_ms = 300.0
            address = link.network.router.leader(place.topic, 0)
            assert address is not None
            stub = link.network.channel(address).offsets

            async def lose_the_request(*arguments: Any, **named: Any) -> None:
                raise Unreachable("the request was lost")

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(stub, "Commit", lose_the_request)
                with pytest.raises(NotDone):
                    await consumer.commit()
            assert any(isinstance(event, CommitResolved) for event in consumer.events)
            assert await place.offset() == 0
            assert (await consumer.commit())[0].offset == 4
