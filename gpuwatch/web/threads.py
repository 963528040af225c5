"""Work of the web server in threads: a few calls at once, and the next is refused instead of queued."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

Answer = TypeVar("Answer")


class Busy(HTTPException):
    """As many calls are running as may; the client may ask again."""

    def __init__(self) -> None:
        super().__init__(503, "busy", {"retry-after": "1"})


class Bounded:
    """Runs calls in threads, at most `limit` at once. Used in the server's loop only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running = 0

    async def run(self, call: Callable[[], Answer]) -> Answer:
        """What `call` returns or raises; `Busy` where too many are running."""
        if self._running >= self._limit:
            raise Busy
        self._running += 1
        try:
            return await run_in_threadpool(call)
        finally:
            self._running -= 1
