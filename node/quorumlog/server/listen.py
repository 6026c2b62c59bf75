"""Listeners: where they bind, and one clear line when they cannot."""

from __future__ import annotations

import socket

import grpc.aio

from quorumlog.server.config import split_address

#: The largest batch a topic can allow is 16 MiB; a request adds little to it.
MAX_REQUEST_BYTES = (16 << 20) + (1 << 20)

_COMMON = (
    # Two processes on one port would share its connections at random: the second must fail instead.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients and peers ping to notice a dead connection; a server that counts their pings as abuse closes live
    # ones.
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
)


class CannotListen(Exception):
    """An address that this node was to listen on is not to be had."""


def check_free(address: str, purpose: str) -> None:
    """Tries the address out. gRPC says only that it failed, not why. Raises CannotListen."""
    host, port = split_address(address)
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen(1)
    except OSError as error:
        raise CannotListen(f"cannot listen on {address} for {purpose}: {error.strerror}") from error


def server(max_request_bytes: int) -> grpc.aio.Server:
    """A server that takes messages up to so many bytes."""
    return grpc.aio.server(
        options=(
            *_COMMON,
            ("grpc.max_receive_message_length", max_request_bytes),
            ("grpc.max_send_message_length", -1),
        )
    )


def bind(target: grpc.aio.Server, address: str, purpose: str) -> None:
    """Has ``target`` listen on ``address``. Raises CannotListen."""
    check_free(address, purpose)
    try:
        target.add_insecure_port(address)
    except RuntimeError as error:
        raise CannotListen(f"cannot listen on {address} for {purpose}: {error}") from error
