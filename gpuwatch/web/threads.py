"""Work of the web server in threads: a few calls at once, and the next is refused instead of queued."""

from __future__ import annotations

import asyncio
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


class Patient:
    """Runs calls in threads, at most `limit` at once; others wait for their turn, so long. In the loop only."""

    def __init__(self, limit: int, wait_seconds: float = 5.0, waiting: int = 256) -> None:
        self._turns = asyncio.Semaphore(limit)
        self._wait_seconds = wait_seconds
        self._most = waiting
        self._waiting = 0

    async def run(self, call: Callable[[], Answer]) -> Answer:
        """What `call` returns or raises; `Busy` where too many wait, or it is not its turn in time."""
        if self._waiting >= self._most:
            raise Busy
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._turns.acquire()
        except TimeoutError as exc:
            raise Busy from exc
        finally:
            self._waiting -= 1
        try:
            return await run_in_threadpool(call)
        finally:
            self._turns.release()
