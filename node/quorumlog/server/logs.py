"""Structured logs: one event a line, for people or as JSON, on standard error.

The node's events (``quorumlog.replica.events``) are logged as they are: their class is the event, their fields the
keys.
"""

from __future__ import annotations

import dataclasses
import logging
import sys

import structlog

from quorumlog.replica import events

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

#: What an operator should look at; everything else is the normal life of a cluster.
_WORSE = {
    events.ReplicaDamaged: logging.ERROR,
    events.DiskFull: logging.ERROR,
    events.DiskStalled: logging.ERROR,
    events.LogRepaired: logging.WARNING,
    events.PeerSilent: logging.WARNING,
    events.ReplicaReplaced: logging.WARNING,
    events.GroupExpiring: logging.WARNING,
    events.GroupExpired: logging.WARNING,
    events.ReplicaOpened: logging.DEBUG,
    events.CheckpointSaved: logging.DEBUG,
}


def configure(level: str, style: str) -> None:
    """Sets up structlog for the process."""
    renderer: structlog.typing.Processor
    if style == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


class EventLog:
    """Logs a node's events and counts them by kind."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("quorumlog.node")
        self.counts: dict[str, int] = {}

    def __call__(self, event: events.Event) -> None:
        kind = type(event).__name__
        self.counts[kind] = self.counts.get(kind, 0) + 1
        fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
        self._log.log(_WORSE.get(type(event), logging.INFO), kind, **fields)
