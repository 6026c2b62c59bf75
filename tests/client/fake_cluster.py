"""FakeCluster: a small, honest cluster in memory, behind real gRPC servers, that misbehaves exactly as told.

Every node is a real ``grpc.aio`` server on a port of its own; what would be replicated is one shared state.
Appends are validated, de-duplicated and numbered by the rules of the real thing, so that a client cannot get
away with anything here that it would not get away with there. Elections are commands of the test.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as PackedAny
from google.rpc import status_pb2  # type: ignore[import-untyped]  # ships no type information
from grpc import aio

from quorumlog.v1 import admin_pb2, errors_pb2, log_pb2, metadata_pb2
from quorumlog.v1.admin_pb2_grpc import AdminServicer, add_AdminServicer_to_server
from quorumlog.v1.log_pb2_grpc import LogServicer, add_LogServicer_to_server
from quorumlog.v1.metadata_pb2_grpc import MetadataServicer, add_MetadataServicer_to_server
from quorumlog.wire.batch import BatchError, decode_batch, validate
from quorumlog.wire.header import BatchHeader, parse_header, with_base_offset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOT_DONE = errors_pb2.OUTCOME_NOT_DONE
UNKNOWN = errors_pb2.OUTCOME_UNKNOWN

_CODES = {
    errors_pb2.REASON_UNKNOWN_TOPIC: grpc.StatusCode.NOT_FOUND,
    errors_pb2.REASON_OFFSET_OUT_OF_RANGE: grpc.StatusCode.OUT_OF_RANGE,
    errors_pb2.REASON_TOPIC_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
}


# ---- what a test may ask for, one for each append attempt, in order


@dataclass(frozen=True)
class Refuse:
    """Answer with this error and append nothing."""

    reason: int
    outcome: int = NOT_DONE
    retry_after_ms: int = 0
    leader: str = ""


@dataclass(frozen=True)
class BreakStream:
    """End the stream without an answer, before or after appending."""

    append_first: bool


@dataclass(frozen=True)
class Silence:
    """Never answer, and append or not."""

    append_first: bool


@dataclass(frozen=True)
class Behave:
    """Do what is right: a place holder between faults."""


Fault = Refuse | BreakStream | Silence | Behave


class Refusal(Exception):
    """An error on its way to the caller."""

    def __init__(
        self,
        reason: int,
        message: str = "",
        *,
        outcome: int = NOT_DONE,
        leader: str = "",
        retry_after_ms: int = 0,
        **fields: str,
    ) -> None:
        super().__init__(message)
        self.detail = errors_pb2.Error(
            reason=reason,  # type: ignore[arg-type]
            outcome=outcome,  # type: ignore[arg-type]
            message=message,
            leader=errors_pb2.LeaderHint(address=leader),
            retry_after_ms=retry_after_ms,
            fields=fields,
        )


@dataclass
class FakePartition:
    """One partition: its log and its producers' sessions."""

    leader: int
    replicas: tuple[int, ...]
    term: int = 1
    batches: list[bytes] = field(default_factory=list)
    start: int = 0
    end: int = 0
    sessions: dict[int, tuple[int, int, deque[tuple[int, int, int]]]] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def append(self, batch: bytes, header: BatchHeader) -> tuple[int, bool]:
        """The batch's base offset, and whether it was there already."""
        if header.producer_id:
            known = self.sessions.get(header.producer_id)
            if known is None or header.producer_epoch > known[0]:
                known = (header.producer_epoch, 0, deque(maxlen=8))
            epoch, due, recent = known
            if header.producer_epoch < epoch:
                raise Refusal(errors_pb2.REASON_PRODUCER_FENCED, "a newer instance has taken over")
            for sequence, count, base_offset in recent:
                if (sequence, count) == (header.base_sequence, header.count):
                    return base_offset, True
            if header.base_sequence != due:
                raise Refusal(errors_pb2.REASON_OUT_OF_SEQUENCE, f"{header.base_sequence}, due is {due}")
            recent.append((header.base_sequence, header.count, self.end))
            self.sessions[header.producer_id] = (epoch, due + header.count, recent)
        base_offset = self.end
        self.batches.append(with_base_offset(batch, base_offset))
        self.end += header.count
        self.tell()
        return base_offset, False

    def values(self) -> list[bytes | None]:
        return [record.value for batch in self.batches for record in decode_batch(batch)]

    def from_offset(self, offset: int, max_bytes: int) -> list[bytes]:
        found: list[bytes] = []
        low, high = 0, len(self.batches)
        while low < high:
            middle = (low + high) // 2
            if parse_header(self.batches[middle]).end_offset <= offset:
                low = middle + 1
            else:
                high = middle
        size = 0
        for batch in self.batches[low:]:
            if found and size + len(batch) > max_bytes:
                break
            found.append(batch)
            size += len(batch)
        return found

    def trim(self, start: int) -> None:
        """Retention: drop what lies wholly below ``start``."""
        self.batches = [batch for batch in self.batches if parse_header(batch).end_offset > start]
        self.start = start


class FakeTopic:
    """One topic: its id, its settings and its partitions."""

    def __init__(self, topic_id: int, config: metadata_pb2.TopicConfig, nodes: int) -> None:
        self.topic_id = topic_id
        self.config = config
        factor = config.replication_factor or nodes
        self.partitions = [
            FakePartition(
                leader=number % nodes + 1,
                replicas=tuple((number + place) % nodes + 1 for place in range(factor)),
            )
            for number in range(config.partitions)
        ]


class FakeCluster:
    """Nodes 1 to ``nodes``; an asynchronous context manager."""

    def __init__(self, nodes: int = 3) -> None:
        self.topics: dict[str, FakeTopic] = {}
        self.nodes = {number: FakeNode(self, number) for number in range(1, nodes + 1)}
        self.controller = 1
        self.faults: deque[Fault] = deque()
        self.appends = 0
        #: How many appends each message of a stream held.
        self.requests: list[int] = []
        self.metadata_calls = 0
        self.messages: list[tuple[int, int]] = []
        self.producers = 0
        self.names: dict[str, tuple[int, int]] = {}
        self._topic_ids = 0

    async def __aenter__(self) -> FakeCluster:
        for node in self.nodes.values():
            await node.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes.values():
            await node.stop()

    @property
    def servers(self) -> list[str]:
        return [node.address for node in self.nodes.values()]

    def make(
        self, name: str, partitions: int = 1, max_batch_bytes: int = 1 << 20, replication_factor: int = 0
    ) -> FakeTopic:
        """``replication_factor`` 0: a replica on every node."""
        self._topic_ids += 1
        config = metadata_pb2.TopicConfig(
            partitions=partitions, max_batch_bytes=max_batch_bytes, replication_factor=replication_factor
        )
        topic = self.topics[name] = FakeTopic(self._topic_ids, config, len(self.nodes))
        return topic

    def partition(self, topic: str, number: int = 0) -> FakePartition:
        found = self.topics.get(topic)
        if found is None:
            raise Refusal(errors_pb2.REASON_UNKNOWN_TOPIC, f"no topic {topic}")
        if number >= len(found.partitions):
            raise Refusal(errors_pb2.REASON_UNKNOWN_PARTITION, f"no partition {number}")
        return found.partitions[number]

    async def seen(self, counter: str) -> None:
        """Return once a call of that kind has come."""
        while not getattr(self, counter):  # noqa: ASYNC110  # the calls run on this very loop: no event is needed
            await asyncio.sleep(0)

    def elect(self, topic: str, number: int, leader: int) -> None:
        """Another leader in a new term (0: none yet)."""
        partition = self.partition(topic, number)
        partition.leader = leader
        partition.term += 1
        partition.tell()

    def address(self, node_id: int) -> str:
        return self.nodes[node_id].address if node_id in self.nodes else ""


class FakeNode(LogServicer, MetadataServicer, AdminServicer):
    """One node: a server that answers for the shared state as its id allows."""

    def __init__(self, cluster: FakeCluster, node_id: int) -> None:
        self.cluster = cluster
        self.node_id = node_id
        self.port = 0
        self.hung = False
        self._server: aio.Server | None = None
        self._streams: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
        self._server = aio.server(options=options)
        add_LogServicer_to_server(self, self._server)
        add_MetadataServicer_to_server(self, self._server)
        add_AdminServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """As kill -9 looks from outside: connections break at once."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    # ---- errors

    async def _abort(self, context: Any, refusal: Refusal) -> NoReturn:
        packed = PackedAny()
        packed.Pack(refusal.detail)
        code = _CODES.get(refusal.detail.reason, grpc.StatusCode.UNAVAILABLE)
        status = status_pb2.Status(code=code.value[0], message=refusal.detail.message, details=[packed])
        trailing = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(code, refusal.detail.message, trailing_metadata=trailing)
        raise AssertionError("abort returns never")

    async def _hang(self) -> None:
        if self.hung:
            await asyncio.get_running_loop().create_future()

    def _led(self, topic: str, number: int) -> FakePartition:
        partition = self.cluster.partition(topic, number)
        if partition.leader != self.node_id:
            hint = self.cluster.address(partition.leader)
            raise Refusal(errors_pb2.REASON_NOT_LEADER, "not the leader", leader=hint)
        return partition

    def _controls(self) -> None:
        if self.cluster.controller != self.node_id:
            hint = self.cluster.address(self.cluster.controller)
            raise Refusal(errors_pb2.REASON_NOT_LEADER, "not the controller", leader=hint)

    # ---- Log

    async def Append(self, request: log_pb2.AppendRequest, context: Any) -> log_pb2.AppendResponse:
        await self._hang()
        try:
            base_offset, duplicate = self._append(request)
        except Refusal as refusal:
            await self._abort(context, refusal)
        return log_pb2.AppendResponse(base_offset=base_offset, duplicate=duplicate)

    async def Read(self, request: log_pb2.ReadRequest, context: Any) -> log_pb2.ReadResponse:
        await self._hang()
        try:
            partition = self._led(request.topic, request.partition)
        except Refusal as refusal:
            await self._abort(context, refusal)
        batches = partition.from_offset(request.offset, request.max_bytes or 1 << 20)
        return log_pb2.ReadResponse(batches=batches, start_offset=partition.start, end_offset=partition.end)

    def _append(self, append: log_pb2.AppendRequest) -> tuple[int, bool]:
        partition = self._led(append.topic, append.partition)
        limit = self.cluster.topics[append.topic].config.max_batch_bytes
        try:
            header = validate(append.batch, limit)
        except BatchError as error:
            raise Refusal(errors_pb2.REASON_MALFORMED_BATCH, str(error)) from None
        self.cluster.messages.append((append.partition, header.count))
        return partition.append(append.batch, header)

    async def AppendStream(
        self, requests: AsyncIterator[log_pb2.AppendStreamRequest], context: Any
    ) -> AsyncIterator[log_pb2.AppendStreamResponse]:
        async for request in requests:
            await self._hang()
            self.cluster.requests.append(len(request.appends))
            answers = [await self._pipelined(each, context) for each in request.appends]
            if any(answers):
                yield log_pb2.AppendStreamResponse(answers=[answer for answer in answers if answer is not None])

    async def _pipelined(self, each: log_pb2.PipelinedAppend, context: Any) -> log_pb2.PipelinedAnswer | None:
        """None for one that is never answered."""
        fault = self.cluster.faults.popleft() if self.cluster.faults else Behave()
        self.cluster.appends += 1
        answer = log_pb2.PipelinedAnswer(correlation=each.correlation)
        try:
            if isinstance(fault, Refuse):
                raise Refusal(
                    fault.reason,
                    "as told",
                    outcome=fault.outcome,
                    retry_after_ms=fault.retry_after_ms,
                    leader=fault.leader,
                )
            if isinstance(fault, BreakStream | Silence) and not fault.append_first:
                if isinstance(fault, Silence):
                    return None
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken as told")
            base_offset, duplicate = self._append(each.append)
            if isinstance(fault, Silence):
                return None
            if isinstance(fault, BreakStream):
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken as told")
            answer.appended.base_offset = base_offset
            answer.appended.duplicate = duplicate
        except Refusal as refusal:
            answer.error.CopyFrom(refusal.detail)
        return answer

    async def Subscribe(
        self, request: log_pb2.SubscribeRequest, context: Any
    ) -> AsyncIterator[log_pb2.ReadResponse]:
        offset = request.offset
        try:
            while True:
                await self._hang()
                partition = self._led(request.topic, request.partition)
                changed = partition.changed
                if not partition.start <= offset <= partition.end:
                    raise Refusal(
                        errors_pb2.REASON_OFFSET_OUT_OF_RANGE,
                        f"{partition.start} to {partition.end}",
                        start_offset=str(partition.start),
                        end_offset=str(partition.end),
                    )
                batches = partition.from_offset(offset, request.max_bytes or 1 << 20)
                if batches:
                    offset = parse_header(batches[-1]).end_offset
                elif request.stop_at_end:
                    return
                else:
                    try:
                        async with asyncio.timeout((request.heartbeat_ms or 1000) / 1000):
                            await changed.wait()
                        continue
                    except TimeoutError:
                        pass
                yield log_pb2.ReadResponse(batches=batches, start_offset=partition.start, end_offset=partition.end)
        except Refusal as refusal:
            await self._abort(context, refusal)

    async def ListOffsets(self, request: log_pb2.ListOffsetsRequest, context: Any) -> log_pb2.ListOffsetsResponse:
        await self._hang()
        try:
            partition = self._led(request.topic, request.partition)
        except Refusal as refusal:
            await self._abort(context, refusal)
        position = request.WhichOneof("position")
        offset = partition.start if position == "earliest" else partition.end
        if position == "timestamp_ms":
            later = (
                record.offset
                for batch in partition.batches
                for record in decode_batch(batch)
                if record.timestamp_ms >= request.timestamp_ms
            )
            offset = next(later, partition.end)
        return log_pb2.ListOffsetsResponse(offset=offset, start_offset=partition.start, end_offset=partition.end)

    async def OpenProducer(
        self, request: log_pb2.OpenProducerRequest, context: Any
    ) -> log_pb2.OpenProducerResponse:
        await self._hang()
        try:
            self._controls()
        except Refusal as refusal:
            await self._abort(context, refusal)
        known = self.cluster.names.get(request.name) if request.name else None
        if known is None:
            self.cluster.producers += 1
            known = (self.cluster.producers, -1)
        known = (known[0], known[1] + 1)
        if request.name:
            self.cluster.names[request.name] = known
        return log_pb2.OpenProducerResponse(producer_id=known[0], epoch=known[1])

    # ---- Metadata and Admin

    async def GetMetadata(
        self, request: metadata_pb2.GetMetadataRequest, context: Any
    ) -> metadata_pb2.GetMetadataResponse:
        await self._hang()
        cluster = self.cluster
        cluster.metadata_calls += 1
        return metadata_pb2.GetMetadataResponse(
            cluster_id="fake",
            node_id=self.node_id,
            nodes=[
                metadata_pb2.NodeInfo(node_id=node.node_id, address=node.address, alive=node._server is not None)
                for node in cluster.nodes.values()
            ],
            topics=[
                self._info(name) for name in sorted(cluster.topics) if not request.topics or name in request.topics
            ],
            controller_node_id=cluster.controller,
        )

    def _info(self, name: str) -> metadata_pb2.TopicInfo:
        topic = self.cluster.topics[name]
        return metadata_pb2.TopicInfo(
            name=name,
            topic_id=topic.topic_id,
            config=topic.config,
            partitions=[
                metadata_pb2.PartitionInfo(
                    partition=number,
                    group_id=16 + number,
                    replicas=partition.replicas,
                    # A node hears of the leaders of what it holds.
                    leader_node_id=partition.leader if self.node_id in partition.replicas else 0,
                    leader_term=partition.term if self.node_id in partition.replicas else 0,
                )
                for number, partition in enumerate(topic.partitions)
            ],
        )

    async def CreateTopic(
        self, request: admin_pb2.CreateTopicRequest, context: Any
    ) -> admin_pb2.CreateTopicResponse:
        await self._hang()
        try:
            self._controls()
            known = self.cluster.topics.get(request.name)
            if known is not None and known.config.partitions != request.config.partitions:
                raise Refusal(errors_pb2.REASON_TOPIC_EXISTS, "other settings", partitions="differs")
            if known is None:
                self.cluster.make(
                    request.name,
                    request.config.partitions,
                    replication_factor=request.config.replication_factor,
                )
        except Refusal as refusal:
            await self._abort(context, refusal)
        return admin_pb2.CreateTopicResponse(topic=self._info(request.name), existed=known is not None)

    async def AlterTopic(self, request: admin_pb2.AlterTopicRequest, context: Any) -> admin_pb2.AlterTopicResponse:
        try:
            self._controls()
            self.cluster.partition(request.name)
        except Refusal as refusal:
            await self._abort(context, refusal)
        config = self.cluster.topics[request.name].config
        for name in ("retention_ms", "retention_bytes", "segment_bytes", "max_batch_bytes"):
            if request.HasField(name):
                setattr(config, name, getattr(request, name))
        return admin_pb2.AlterTopicResponse(topic=self._info(request.name))

    async def DeleteTopic(
        self, request: admin_pb2.DeleteTopicRequest, context: Any
    ) -> admin_pb2.DeleteTopicResponse:
        try:
            self._controls()
            self.cluster.partition(request.name)
        except Refusal as refusal:
            await self._abort(context, refusal)
        del self.cluster.topics[request.name]
        if self.cluster.faults and isinstance(self.cluster.faults[0], BreakStream):
            self.cluster.faults.popleft()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "broken as told")
        return admin_pb2.DeleteTopicResponse()

    async def DescribeNode(
        self, request: admin_pb2.DescribeNodeRequest, context: Any
    ) -> admin_pb2.DescribeNodeResponse:
        return admin_pb2.DescribeNodeResponse(
            node_id=self.node_id,
            cluster_id="fake",
            version="0",
            engine="none",
            replicas=[
                admin_pb2.ReplicaInfo(
                    topic=name,
                    partition=number,
                    role="leader" if partition.leader == self.node_id else "follower",
                    leader_node_id=partition.leader,
                    term=partition.term,
                    end_offset=partition.end,
                )
                for name, topic in self.cluster.topics.items()
                for number, partition in enumerate(topic.partitions)
            ],
            links=[admin_pb2.LinkInfo(node_id=other, up=True) for other in self.cluster.nodes],
        )

    async def TransferLeadership(
        self, request: admin_pb2.TransferLeadershipRequest, context: Any
    ) -> admin_pb2.TransferLeadershipResponse:
        try:
            self._led(request.topic, request.partition)
        except Refusal as refusal:
            await self._abort(context, refusal)
        self.cluster.elect(request.topic, request.partition, request.node_id or 1)
        return admin_pb2.TransferLeadershipResponse()
