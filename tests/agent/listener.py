"""A real socket with a made-up agent behind it, for the tests of whatever speaks to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpuwatch.agent.socket import JobSocket, Message, Peer, StartRun
from gpuwatch.errors import GpuwatchError


class Listener:
    """Answers every message, remembers it, and refuses with `refusal` where that is set."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.heard: list[tuple[Peer, Message]] = []
        self.refusal: GpuwatchError | None = None
        self.socket = JobSocket(self.path, self.handle)

    def handle(self, peer: Peer, message: Message) -> Mapping[str, Any]:
        """What the agent would do."""
        self.heard.append((peer, message))
        if self.refusal is not None:
            raise self.refusal
        return {"job_id": "run-1"} if isinstance(message, StartRun) else {}

    @property
    def messages(self) -> list[Message]:
        """What was said, whoever said it."""
        return [message for _, message in self.heard]


@contextmanager
def listening(path: Path) -> Iterator[Listener]:
    """A listener that serves `path` until the block ends."""
    listener = Listener(path)
    listener.socket.start()
    try:
        yield listener
    finally:
        listener.socket.stop()


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether the condition holds soon; another thread or process makes it so."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
