"""Server-sent events: a word whenever a pass has ended, so that pages which are open ask again.

Nothing of the ledger is in them. Streams are few, of one person fewer, and end by themselves after a while: the
browser comes back, and is asked again who it is. One that is not read is cut as every answer is (docs/web.md).
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from starlette.responses import Response, StreamingResponse

from gpuwatch.web.page.frame import Passed
from gpuwatch.web.roles import Person
from gpuwatch.web.threads import Busy

MOST = 64
MOST_OF_ONE = 8
LOOK_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
LIFE_SECONDS = 900.0
RETRY_MILLISECONDS = 5000


class Events:
    """The streams that are open. Used in the server's loop only."""

    def __init__(
        self, passed: Callable[[], Passed], clock: Callable[[], float], look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._passed = passed
        self._clock = clock
        self._look_seconds = look_seconds
        self._open: Counter[tuple[str, int | None]] = Counter()

    @property
    def streams(self) -> int:
        """How many are open."""
        return self._open.total()

    def answer(self, person: Person) -> Response:
        """A stream for a person; `Busy` where there are as many as may be."""
        who = (person.name, person.uid)
        if self.streams >= MOST or self._open[who] >= MOST_OF_ONE:
            raise Busy
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._told(who), headers=headers, media_type="text/event-stream")

    async def _told(self, who: tuple[str, int | None]) -> AsyncIterator[bytes]:
        # Counted here and not before: an answer that is never begun would be counted for ever.
        self._open[who] += 1
        try:
            async with aclosing(self._words()) as words:
                async for word in words:
                    yield word
        finally:
            self._open[who] -= 1
            self._open += Counter()  # forgets those that are at 0

    async def _words(self) -> AsyncGenerator[bytes]:
        said = self._passed()
        yield b"retry: %d\n\n" % RETRY_MILLISECONDS + self._event(said)
        quiet = 0.0
        for _ in range(int(LIFE_SECONDS / self._look_seconds)):
            await asyncio.sleep(self._look_seconds)
            quiet += self._look_seconds
            now = self._passed()
            if now.number != said.number:
                said, quiet = now, 0.0
                yield self._event(said)
            elif quiet >= HEARTBEAT_SECONDS:
                quiet = 0.0
                yield b": there\n\n"

    def _event(self, passed: Passed) -> bytes:
        """With the time here, by which a browser whose clock is wrong knows how old figures are."""
        told = json.dumps({"number": passed.number, "time": passed.time, "now": self._clock()})
        return f"event: pass\nid: {passed.number:.0f}\ndata: {told}\n\n".encode()
