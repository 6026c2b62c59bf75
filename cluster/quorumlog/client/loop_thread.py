"""An event loop in a thread of its own, for whoever has none."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from quorumlog.client.errors import Closed

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

Result = TypeVar("Result")


class LoopThread:
    """An event loop in a daemon thread; a coroutine given to it is waited for."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Result], timeout_ms: float | None = None) -> Result:
        """What the coroutine returns or raises. Raises Closed, or TimeoutError (it is then cancelled)."""
        if self.loop.is_closed():
            coroutine.close()
            raise Closed("this client is closed")
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(None if timeout_ms is None else timeout_ms / 1000)
        except CancelledError:
            raise Closed("this client was closed meanwhile") from None
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End the loop and the thread."""
        if self.loop.is_closed():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Closable(Protocol):
    """A client of asyncio's."""

    async def close(self) -> None: ...


class Threaded:
    """A client of asyncio's behind calls that wait: it lives in a thread of its own until ``close``."""

    def __init__(self, client: Closable, name: str) -> None:
        self._client = client
        self._thread = LoopThread(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        if not self._thread.loop.is_closed():
            self._thread.run(self._client.close())
            self._thread.stop()
