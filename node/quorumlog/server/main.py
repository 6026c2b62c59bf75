"""One node as a process: opens what it needs, serves until told to stop, leaves in good order.

Whatever is wrong with the surroundings (directory, ports) is found before anything is served and is one line.
Stopping hands leadership over first, so that a rolling restart costs its clients a hand-over, not an election.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from quorumlog.engines import engine_named
from quorumlog.peer.v1 import peer_pb2_grpc
from quorumlog.replica.api import NodeConfig
from quorumlog.replica.node import Node
from quorumlog.server import listen, logs
from quorumlog.server.admin import VERSION, AdminService
from quorumlog.server.calls import Shell
from quorumlog.server.config import ServerConfig, split_address
from quorumlog.server.errors import Errors
from quorumlog.server.exchange import Exchange
from quorumlog.server.fault_door import CannotObey, FaultDoor
from quorumlog.server.groups import GroupsService
from quorumlog.server.log import LogService
from quorumlog.server.loop import NodeLoop, SystemClock
from quorumlog.server.metadata import MetadataService
from quorumlog.server.metrics import MetricsServer, Sources
from quorumlog.server.offsets import OffsetsService
from quorumlog.server.peers import MAX_FRAME_BYTES, Links
from quorumlog.storage import NodeDirectory, OsFiles, StorageError
from quorumlog.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    groups_pb2,
    groups_pb2_grpc,
    log_pb2,
    log_pb2_grpc,
    metadata_pb2,
    metadata_pb2_grpc,
    offsets_pb2,
    offsets_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc.aio

#: sysexits.h, EX_SOFTWARE: a defect of the program.
EXIT_DEFECT = 70
_HAND_OVER_SECONDS = 2.0
_LOOK_EVERY_SECONDS = 0.005
_GRACE_SECONDS = 0.3

log = structlog.get_logger("quorumlog.server")

_SERVICES = tuple(
    descriptor.full_name
    for module in (log_pb2, offsets_pb2, groups_pb2, metadata_pb2, admin_pb2)
    for descriptor in module.DESCRIPTOR.services_by_name.values()
)


class CannotStart(Exception):
    """Something around the node is not as it must be; the message is one line."""


def run(config: ServerConfig) -> int:
    """Runs the node until it is told to stop; the exit code. Raises CannotStart."""
    logs.configure(config.log_level, config.log_format)
    door = FaultDoor(config.faults, config.data_dir) if config.faults is not None else None
    try:
        if door is not None:
            door.obey_standing_orders()
        files = door.files if door is not None else OsFiles()
        directory = NodeDirectory.open(files, str(config.data_dir), config.cluster_id, config.node_id)
    except (StorageError, OSError, CannotObey) as error:
        raise CannotStart(str(error)) from error
    for what in directory.repaired:
        log.warning("identity repaired from its copy", what=what)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(config, directory, door))
    except (listen.CannotListen, StorageError, OSError) as error:
        raise CannotStart(str(error)) from error
    finally:
        directory.close()


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop


def die(error: BaseException) -> NoReturn:
    """Ends the process at once: see ``quorumlog.server.loop``."""
    log.critical("defect: the process ends", exc_info=error)
    sys.stderr.flush()
    os._exit(EXIT_DEFECT)


async def _serve(config: ServerConfig, directory: NodeDirectory, door: FaultDoor | None) -> int:
    process = NodeProcess(config, directory, door.clock if door is not None else SystemClock())
    stop = _stop_signal()
    try:
        if door is not None:
            await door.open()
        await process.start()
        await stop.wait()
    finally:
        if door is not None:
            door.close()
        await process.stop()
    return 0


def _stop_signal() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the second ends the process at once."""
    stop = asyncio.Event()

    def told() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    return stop


class NodeProcess:
    """All parts of a serving node, put together."""

    def __init__(self, config: ServerConfig, directory: NodeDirectory, clock: SystemClock) -> None:
        self._config = config
        self._events = logs.EventLog()
        node_config = NodeConfig(
            cluster_id=config.cluster_id,
            node_id=config.node_id,
            nodes=tuple(sorted(node.node_id for node in config.nodes)),
            coordinators=config.coordinators,
            offsets_retention_ms=config.offsets_retention_ms,
            tombstones_retention_ms=config.tombstones_retention_ms,
            engine=config.engine,
        )
        self._node = Node(node_config, directory, clock, random.Random(), self._events)
        self._node_loop = NodeLoop(self._node, clock, node_config.tick_ms, die)
        self._errors = Errors({node.node_id: node.client_address for node in config.nodes})
        self._links = Links(
            config.cluster_id,
            config.node_id,
            directory.incarnation,
            {node.node_id: node.peer_address for node in config.nodes},
            self._node_loop,
            die,
            config.engine,
        )
        self._health = health.aio.HealthServicer()
        self._servers: list[grpc.aio.Server] = []
        self._metrics: MetricsServer | None = None

    async def start(self) -> None:
        """Returns when the node serves. Raises CannotListen or StorageError."""
        config = self._config
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_note_stray)
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._bind(Shell(self._node_loop, self._errors, self._node.config.append_timeout_ms))
        # Recovery reads the disk; in a thread, so that a signal is heard meanwhile. Nobody else has the node yet.
        await loop.run_in_executor(None, self._node.start)
        self._node_loop.start(self._links.send)
        for server in self._servers:
            await server.start()
        self._links.start()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        me = config.me
        log.info(
            "ready",
            node=config.node_id,
            cluster=config.cluster_id,
            version=VERSION,
            clients=config.listen_address(me.client_address),
            peers=config.listen_address(me.peer_address),
            metrics=config.listen_address(me.metrics_address),
            data=str(config.data_dir),
            engine=config.engine,
        )
        for lack in engine_named(config.engine).lacks:
            log.warning("the engine does not hold", engine=config.engine, guarantee=lack.guarantee, why=lack.why)

    def _bind(self, shell: Shell) -> None:
        config, me = self._config, self._config.me
        exchange = Exchange(config.cluster_id, config.node_id, self._node_loop, self._links)
        peers = listen.server(MAX_FRAME_BYTES)
        peer_pb2_grpc.add_PeerServicer_to_server(exchange, peers)
        listen.bind(peers, config.listen_address(me.peer_address), "peers")

        log_service = LogService(shell)
        clients = listen.server(listen.MAX_REQUEST_BYTES)
        log_pb2_grpc.add_LogServicer_to_server(log_service, clients)
        offsets_service = OffsetsService(shell, config.node_id)
        offsets_pb2_grpc.add_OffsetsServicer_to_server(offsets_service, clients)
        groups_pb2_grpc.add_GroupsServicer_to_server(GroupsService(shell), clients)
        metadata_pb2_grpc.add_MetadataServicer_to_server(MetadataService(shell, config), clients)
        admin_pb2_grpc.add_AdminServicer_to_server(AdminService(shell, config), clients)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, clients)
        reflection.enable_server_reflection((*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), clients)
        listen.bind(clients, config.listen_address(me.client_address), "clients")

        address = config.listen_address(me.metrics_address)
        listen.check_free(address, "metrics")
        host, port = split_address(address)
        sources = Sources(
            self._node_loop,
            self._links,
            exchange,
            log_service,
            offsets_service.meter,
            self._errors,
            self._events,
            config.group_metrics,
        )
        self._metrics = MetricsServer(sources, host.strip("[]"), port)
        self._servers = [peers, clients]

    async def stop(self) -> None:
        """Hands leadership over, lets calls end, closes everything; also what a failed start left half done."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        served = self._node_loop.running
        if served:
            log.info("stopping", node=self._config.node_id)
            self._node_loop.input(Node.begin_shutdown)
            await self._handed_over()
        # Clients first: what the node still has to answer needs the peers.
        await _stopped(self._servers[1:], _GRACE_SECONDS)
        await self._links.stop()
        await _stopped(self._servers[:1], None)
        if self._metrics is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._metrics.stop)
        await self._node_loop.stop()
        self._node.close()
        if served:
            log.info("stopped", node=self._config.node_id)

    async def _handed_over(self) -> None:
        for _ in range(int(_HAND_OVER_SECONDS / _LOOK_EVERY_SECONDS)):
            if not self._node.led_groups or not any(link.up for link in self._node_loop.describe().links):
                return
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        log.warning("still leading", groups=self._node.led_groups)

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for service in ("", *_SERVICES):
            await self._health.set(service, status)


async def _stopped(servers: Sequence[grpc.aio.Server], grace: float | None) -> None:
    await asyncio.gather(*(server.stop(grace) for server in servers))


def _note_stray(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """What nobody awaited: a defect, but not in the node's logic, whose own go through ``die``."""
    log.error("stray exception", what=context.get("message"), exc_info=context.get("exception"))
