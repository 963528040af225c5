"""What `gpuwatch check` says of one thing, and how it asks what could hang."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Literal, TypeVar

from gpuwatch.errors import GpuwatchError, Unavailable
from gpuwatch.settings import Settings

Status = Literal["ok", "warning", "failed"]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried, and what to do about it where it is not ok.

    `exit_code` is what the agent would leave with because of it, 0 where it runs.
    """

    what: str
    status: Status
    detail: str
    exit_code: int = 0
    todo: str = ""


def within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """What `call` returns or raises; `Unavailable` where it does neither in time, and it is left behind."""
    answers: SimpleQueue[tuple[Answer | None, Exception | None]] = SimpleQueue()

    def work() -> None:
        try:
            answers.put((call(), None))
        except Exception as exc:  # noqa: BLE001 - the outermost loop of this thread: a plugin may raise anything
            answers.put((None, exc))

    threading.Thread(target=work, daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except Empty:
        raise Unavailable(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]


def why(error: Exception) -> str:
    """One line for an error, with its class where gpuwatch did not raise it."""
    text = " ".join(str(error).split())
    return text if isinstance(error, GpuwatchError) else f"{type(error).__name__}: {text}"


def running_agent(settings: Settings) -> str:
    """The pid of the agent that has the state directory; empty where none has."""
    with suppress(OSError), (settings.agent.state_directory / "lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read(32).decode("ascii", "replace").strip() or "unknown"
    return ""
