"""quorumlog.v1.Offsets: committed offsets. Translation between messages and the node, nothing more.

A call with many items is given to the node in one go and answered when its last item is; a refused item refuses no
other. What is wrong with the call as a whole (no start rule) ends it before anything is asked.
``commits`` has the call that matters for speed, ``offset_messages`` the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumlog.replica.failures import Failure, Outcome
from quorumlog.server.calls import Context, Shell, guarded
from quorumlog.server.commits import CommitMeter, serve_commits
from quorumlog.server.offset_messages import (
    acquire_request,
    acquired,
    fetched,
    group_lag,
    history_entry,
    inspected,
    invalid,
    reset_request,
    resolved,
    to_resolve,
    was_reset,
)
from quorumlog.v1 import offsets_pb2 as pb
from quorumlog.v1 import offsets_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumlog.machine.offset_results import FateKnown
    from quorumlog.replica import offset_api as api
    from quorumlog.server.answers import Request


class OffsetsService(offsets_pb2_grpc.OffsetsServicer):
    """See the module."""

    def __init__(self, shell: Shell, node_id: int) -> None:
        self.shell = shell
        self.meter = CommitMeter()
        self._node_id = node_id

    # --- owners -----------------------------------------------------------------------------------------------

    @guarded
    async def Acquire(self, request: pb.AcquireRequest, context: Context) -> pb.AcquireResponse:
        shell = self.shell
        asked = acquire_request(request)
        if isinstance(asked, Failure):
            await shell.errors.abort(context, asked)
        timeout_ms = shell.timeout_ms(context, request.timeout_ms)

        def of(where: pb.TopicPartition) -> Request:
            return lambda node, done: node.offsets.acquire(where.topic, where.partition, asked, timeout_ms, done)

        results: list[api.AcquiredOffset | Failure] = await shell.ask_each(
            context, [of(where) for where in request.partitions], Outcome.UNKNOWN
        )
        return pb.AcquireResponse(
            results=[
                pb.AcquireResult(error=shell.errors.message(result))
                if isinstance(result, Failure)
                else pb.AcquireResult(acquired=acquired(result))
                for result in results
            ]
        )

    @guarded
    async def Release(self, request: pb.ReleaseRequest, context: Context) -> pb.ReleaseResponse:
        timeout_ms = self.shell.timeout_ms(context, request.timeout_ms)

        def of(item: pb.Release) -> Request:
            where, epoch = item.partition, item.owner_epoch
            return lambda node, done: node.offsets.release(
                where.topic, where.partition, request.group, request.session, epoch, timeout_ms, done
            )

        return pb.ReleaseResponse(results=await self._done(context, [of(item) for item in request.partitions]))

    @guarded
    async def Commit(self, request: pb.CommitRequest, context: Context) -> pb.CommitResponse:
        return await serve_commits(self.shell, request, context, self.meter)

    # --- questions --------------------------------------------------------------------------------------------

    @guarded
    async def Fetch(self, request: pb.FetchRequest, context: Context) -> pb.FetchResponse:
        shell = self.shell
        versions: Sequence[int] = request.min_versions or [0] * len(request.partitions)
        if len(versions) != len(request.partitions):
            await shell.errors.abort(
                context, invalid("min_versions", "there must be one min_version for each partition, or none")
            )
        timeout_ms = shell.timeout_ms(context, request.timeout_ms)

        def of(where: pb.TopicPartition, version: int) -> Request:
            return lambda node, done: node.offsets.fetch(
                where.topic, where.partition, request.group, version, timeout_ms, done
            )

        results: list[api.FetchedOffset | Failure] = await shell.ask_each(
            context, [of(*pair) for pair in zip(request.partitions, versions, strict=True)]
        )
        return pb.FetchResponse(
            results=[
                pb.FetchResult(error=shell.errors.message(result))
                if isinstance(result, Failure)
                else fetched(result)
                for result in results
            ]
        )

    @guarded
    async def History(self, request: pb.HistoryRequest, context: Context) -> pb.HistoryResponse:
        where = request.partition
        timeout_ms = self.shell.timeout_ms(context)
        history: api.OffsetHistory = await self.shell.ask(
            context,
            lambda node, done: node.offsets.history(where.topic, where.partition, request.group, timeout_ms, done),
        )
        return pb.HistoryResponse(
            entries=[history_entry(change) for change in history.changes],
            forgotten_version=history.forgotten_version,
        )

    @guarded
    async def Resolve(self, request: pb.ResolveRequest, context: Context) -> pb.ResolveResponse:
        asked = to_resolve(request)
        if isinstance(asked, Failure):
            await self.shell.errors.abort(context, asked)
        topic, partition, what = asked
        timeout_ms = self.shell.timeout_ms(context, request.timeout_ms)
        # NOT_DONE when late: that the attempt may have been settled changes nothing for who does not know its fate.
        known: FateKnown = await self.shell.ask(
            context, lambda node, done: node.offsets.resolve(topic, partition, what, timeout_ms, done)
        )
        return resolved(what.group, topic, partition, known)

    @guarded
    async def Lag(self, request: pb.LagRequest, context: Context) -> pb.LagResponse:
        shell = self.shell
        groups = tuple(request.groups)
        timeout_ms = shell.timeout_ms(context, request.timeout_ms)
        asked = [(where.topic, where.partition) for where in request.partitions]
        partitions = asked or shell.node_loop.input(lambda node: node.offsets.led())

        def of(topic: str, partition: int) -> Request:
            return lambda node, done: node.offsets.lag(topic, partition, groups, timeout_ms, done)

        results: list[tuple[api.GroupLag, ...] | Failure] = await shell.ask_each(
            context, [of(*where) for where in partitions]
        )
        response = pb.LagResponse()
        lags: list[api.GroupLag] = []
        for (topic, partition), result in zip(partitions, results, strict=True):
            if isinstance(result, Failure):
                where = pb.TopicPartition(topic=topic, partition=partition)
                response.errors.append(pb.PartitionError(partition=where, error=shell.errors.message(result)))
            else:
                lags.extend(result)
        lags.sort(key=lambda lag: (lag.topic, lag.partition, lag.group))
        response.lags.extend(map(group_lag, lags))
        return response

    # --- operators --------------------------------------------------------------------------------------------

    @guarded
    async def Reset(self, request: pb.ResetRequest, context: Context) -> pb.ResetResponse:
        shell = self.shell
        timeout_ms = shell.timeout_ms(context, request.timeout_ms)

        def of(item: pb.ResetItem) -> Request | Failure:
            where, asked = item.partition, reset_request(request, item)
            if isinstance(asked, Failure):
                return asked
            return lambda node, done: node.offsets.reset(where.topic, where.partition, asked, timeout_ms, done)

        results: list[api.ResetOffset | Failure] = await shell.ask_each(
            context,
            [of(item) for item in request.items],
            Outcome.NOT_DONE if request.dry_run else Outcome.UNKNOWN,
        )
        return pb.ResetResponse(
            results=[
                pb.ResetResult(error=shell.errors.message(result))
                if isinstance(result, Failure)
                else was_reset(result)
                for result in results
            ]
        )

    @guarded
    async def Audit(self, request: pb.AuditRequest, context: Context) -> pb.AuditResponse:
        where = request.partition
        timeout_ms = self.shell.timeout_ms(context, request.timeout_ms)
        begun: api.AuditBegun = await self.shell.ask(
            context,
            lambda node, done: node.offsets.audit(where.topic, where.partition, timeout_ms, done),
            late=Outcome.UNKNOWN,
        )
        return pb.AuditResponse(index=begun.index, voters=begun.voters)

    @guarded
    async def Inspect(self, request: pb.InspectRequest, context: Context) -> pb.InspectResponse:
        where = request.partition
        timeout_ms = self.shell.timeout_ms(context, request.timeout_ms)
        found: api.Inspection = await self.shell.ask(
            context,
            lambda node, done: node.offsets.inspect(where.topic, where.partition, request.index, timeout_ms, done),
        )
        return pb.InspectResponse(
            node_id=self._node_id,
            digest=found.digest,
            groups=[inspected(group) for group in found.groups],
            log_start=found.log_start,
            log_end=found.log_end,
        )

    @guarded
    async def Mark(self, request: pb.MarkRequest, context: Context) -> pb.MarkResponse:
        timeout_ms = self.shell.timeout_ms(context, request.timeout_ms)

        def of(where: pb.TopicPartition) -> Request:
            return lambda node, done: node.offsets.mark(
                where.topic, where.partition, request.group, request.critical, request.hold_bytes, timeout_ms, done
            )

        return pb.MarkResponse(results=await self._done(context, [of(where) for where in request.partitions]))

    @guarded
    async def Forget(self, request: pb.ForgetRequest, context: Context) -> pb.ForgetResponse:
        timeout_ms = self.shell.timeout_ms(context, request.timeout_ms)

        def of(where: pb.TopicPartition) -> Request:
            return lambda node, done: node.offsets.forget(
                where.topic, where.partition, request.group, request.force, timeout_ms, done
            )

        return pb.ForgetResponse(results=await self._done(context, [of(where) for where in request.partitions]))

    async def _done(self, context: Context, requests: Sequence[Request]) -> list[pb.ReleaseResult]:
        """Changes that succeed without anything to tell."""
        results: list[object] = await self.shell.ask_each(context, requests, Outcome.UNKNOWN)
        errors = self.shell.errors
        return [
            pb.ReleaseResult(error=errors.message(result)) if isinstance(result, Failure) else pb.ReleaseResult()
            for result in results
        ]
