"""Running asyncio code from commands: on uvloop where it installs, with Ctrl-C as asyncio.Runner has it."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on the faster loop."""
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        return runner.run(main)


def run_tidily(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` for what has things to undo: SIGTERM and SIGHUP end it as Ctrl-C does, in good order."""

    async def until_ended() -> T:
        task = asyncio.current_task()
        assert task is not None  # a coroutine that runs is some task's
        for signum in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
        return await main

    try:
        return asyncio.run(until_ended())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
