"""Connections through links: accepted for a target, made onward, ended at both ends.

**A dead target must look dead.** A node that loses a peer's connections knocks at the peer's listener, and a
refusal tells it of the death within milliseconds (``quorumlog.server.peers``). A relay that went on accepting would
hide that, and every failover through links would take an election timeout. So whenever a connection breaks the
relay itself knocks *before* it passes the news on, and while nobody listens at the target its listeners refuse,
unless a cut keeps the refusal from coming back: then they accept and say nothing.

To refuse on a port and keep it, a listening socket is shut down for reading, which on Linux leaves it bound and not
listening, and made to listen again later.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, cast

from quorumlog.cluster.links.flow import DirectedLink, Ending, Flow, abort

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

HOST = "127.0.0.1"
BACKLOG = 128
KNOCK_AGAIN_S = 0.02
KNOCK_TIMEOUT_S = 1.0
LAST_PORT = 65_535


class Target:
    """A node's peer listener: whether anybody listens there."""

    def __init__(self, host: str, port: int, tasks: Tasks) -> None:
        self.address = (host, port)
        self.listens = False
        self.relays: list[Relay] = []
        self._tasks = tasks
        self._then: list[Callable[[], None]] = []
        self._knocking = False
        self._waiting = False

    def start(self) -> None:
        """Begins to wait for it to listen for the first time."""
        self._wait()

    def suspect(self, then: Callable[[], None]) -> None:
        """A connection broke: calls ``then`` as soon as the relays know whether the node still listens."""
        if not self.listens:
            then()
            return
        self._then.append(then)
        if not self._knocking:
            self._knocking = True
            self._tasks.start(self._look())

    def refused(self) -> None:
        """A connection onward was."""
        self._turn(listens=False)

    async def _look(self) -> None:
        self._turn(listens=await self._accepts())
        self._knocking = False
        then, self._then = self._then, []
        for each in then:
            each()

    def _turn(self, *, listens: bool) -> None:
        if listens == self.listens:
            return
        self.listens = listens
        for relay in self.relays:
            relay.refresh()
        if not listens:
            self._wait()

    def _wait(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._tasks.start(self._wait_until_it_listens())

    async def _wait_until_it_listens(self) -> None:
        while not await self._accepts():  # noqa: ASYNC110 - it is another process that begins to listen
            await asyncio.sleep(KNOCK_AGAIN_S)
        self._waiting = False
        self._turn(listens=True)

    async def _accepts(self) -> bool:
        """Only a refusal is a no: a process that hangs, and one whose backlog is full, lives."""
        with socket.socket() as knock, contextlib.suppress(TimeoutError):
            knock.setblocking(False)
            try:
                async with asyncio.timeout(KNOCK_TIMEOUT_S):
                    await asyncio.get_running_loop().sock_connect(knock, self.address)
            except OSError as error:
                return isinstance(error, TimeoutError)
        return True


class Tasks:
    """Tasks that nobody waits for, until all are ended; what one of them fails with is said at once."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": "a link failed", "exception": error, "task": task}
            asyncio.get_running_loop().call_exception_handler(context)

    async def end(self) -> None:
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Relay:
    """What one node has been given for another's address: ``there`` leads to the target, ``back`` from it."""

    def __init__(
        self, source: Target, target: Target, there: DirectedLink, back: DirectedLink, tasks: Tasks
    ) -> None:
        self.source = source
        self.target = target
        self.there = there
        self.back = back
        self.tasks = tasks
        self.connections: dict[Connection, None] = {}
        self._socket = socket.socket()
        self._listening = False
        target.relays.append(self)

    def bind(self, first_port: int) -> int:
        """Takes the first port from ``first_port`` on that is free. Raises OSError when none is."""
        # Bound by number, not by the kernel's choice: only such a socket stays bound when it stops listening.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setblocking(False)
        for port in range(first_port, LAST_PORT + 1):
            try:
                self._socket.bind((HOST, port))
                # Two sockets may be bound to one port with SO_REUSEADDR, but only one may listen.
                self._socket.listen(BACKLOG)
            except OSError:
                continue
            self._socket.shutdown(socket.SHUT_RD)
            return port
        raise OSError(f"no free port from {first_port} on")

    def refresh(self) -> None:
        """A condition has changed, or whether the target listens."""
        there, back = self.there.condition, self.back.condition
        for link in (self.there, self.back):
            if link.condition.reject:
                self._break_all(link)
        clear = there.passes and back.passes
        self._listen(not there.reject and not (clear and not self.target.listens))
        if clear:
            for connection in list(self.connections):
                connection.go_on()

    def reset(self) -> None:
        """Breaks all connections."""
        self._break_all(self.there)

    def _break_all(self, culprit: DirectedLink) -> None:
        for connection in list(self.connections):
            culprit.reset += 1
            connection.abort()

    def close(self) -> None:
        for connection in list(self.connections):
            connection.abort()
        self._listen(False)
        self._socket.close()

    def _listen(self, wanted: bool) -> None:
        if wanted == self._listening:
            return
        self._listening = wanted
        loop = asyncio.get_running_loop()
        if wanted:
            self._socket.listen(BACKLOG)
            loop.add_reader(self._socket, self._accept)
        else:
            loop.remove_reader(self._socket)
            self._socket.shutdown(socket.SHUT_RD)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(BACKLOG):
                accepted, _ = self._socket.accept()
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.tasks.start(self._take_in(accepted))

    async def _take_in(self, accepted: socket.socket) -> None:
        connection = Connection(self)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(connection.near, accepted)
        except OSError:
            accepted.close()


class Connection:
    """One connection that a node has made to a relay, and the one onward once both directions let it stand."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self._near: End | None = None
        self._far: End | None = None
        self._told: set[Flow] = set()
        self._going_on = False
        self._over = False

    def near(self) -> End:
        """The end towards the node that opened it."""
        self._near = End(self, self.relay.there, self.relay.source)
        self.relay.connections[self] = None
        return self._near

    def stands(self, end: End) -> None:
        """An end's socket is connected."""
        if end is not self._near:
            return
        relay = self.relay
        if self._over or relay.there.condition.reject:
            self.abort()
        elif relay.there.condition.passes and relay.back.condition.passes:
            self.go_on()

    def go_on(self) -> None:
        """Makes the connection onward unless it is there."""
        if self._near is not None and self._near.transport is not None and not self._going_on:
            self._going_on = True
            self.relay.tasks.start(self._connect())

    async def _connect(self) -> None:
        far = End(self, self.relay.back, self.relay.target)
        try:
            await asyncio.get_running_loop().create_connection(lambda: far, *self.relay.target.address)
        except OSError:
            if not self._over:
                self.relay.target.refused()
                self.abort()
            return
        near = self._near
        if self._over or near is None or near.transport is None or far.transport is None:
            if far.transport is not None:
                abort(far.transport)
            return
        self._far = far
        near.flow.attach(far.transport)
        far.flow.attach(near.transport)

    def lost(self, end: End, ending: Ending) -> None:
        """One end has ended its direction; the other is told when the link lets it be."""
        if self._over:
            return
        if self._far is None:
            # It never came to stand, so nobody at the other end will ever hear of it.
            self.abort()
        else:
            end.target.suspect(lambda: self._pass_on(end, ending))

    def _pass_on(self, end: End, ending: Ending) -> None:
        if not self._over:
            end.flow.end(ending)

    def told(self, flow: Flow, ending: Ending) -> None:
        """A direction has been ended at its sink: after an RST, and with both ended, nothing is left."""
        self._told.add(flow)
        if ending is Ending.RST or len(self._told) == 2:
            self._close()

    def sink_of(self, end: End) -> Flow | None:
        """The flow that writes to this end."""
        other = self._far if end is self._near else self._near
        return other.flow if other is not None and other.transport is not None else None

    def abort(self) -> None:
        """Breaks both connections with RST."""
        for end in (self._near, self._far):
            if end is not None and end.transport is not None:
                abort(end.transport)
        self._close()

    def _close(self) -> None:
        self._over = True
        self.relay.connections.pop(self, None)
        for end in (self._near, self._far):
            if end is not None and end.transport is not None:
                end.flow.close()
                end.transport.close()


class End(asyncio.Protocol):
    """One socket of a connection: what is read from it goes into ``flow``."""

    flow: Flow

    def __init__(self, connection: Connection, link: DirectedLink, target: Target) -> None:
        self.connection = connection
        self.target = target
        """The node at this end."""
        self.transport: asyncio.Transport | None = None
        self._link = link
        self._ended: Ending | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.flow = Flow(self._link, self.transport, self.connection.told)
        self.connection.stands(self)

    def data_received(self, data: bytes) -> None:
        self.flow.take(data)

    def eof_received(self) -> bool:
        self._end(Ending.FIN)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        # Without an exception it was we who closed it.
        if exc is not None:
            self._end(Ending.RST)

    def pause_writing(self) -> None:
        if (flow := self.connection.sink_of(self)) is not None:
            flow.block()

    def resume_writing(self) -> None:
        if (flow := self.connection.sink_of(self)) is not None:
            flow.unblock()

    def _end(self, ending: Ending) -> None:
        if self._ended is not ending:
            self._ended = ending
            self.connection.lost(self, ending)
