"""What the two daemons have in common: run until told to stop, and take over a changed configuration.

A changed configuration does not stop what runs. What it needs is built in a thread of its own while the daemon
ticks on, and taken over between two ticks. Where only another daemon can honour it, that one is built in the same
process and is given the listening socket, so that nobody who scrapes is refused. What cannot be built leaves the
old one running.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from contextlib import closing
from threading import Lock, Thread
from typing import Generic, Protocol, TypeVar

from gpuwatch import service
from gpuwatch.errors import ConfigurationError, GpuwatchError
from gpuwatch.settings import Settings
from gpuwatch.web.server import Lent

log = logging.getLogger("gpuwatch")

Change = Callable[[], None]


class Running(Protocol):
    """A started daemon."""

    @property
    def url(self) -> str:
        """Where it is served."""
        ...

    def tick(self, now: float) -> None:
        """Do what is to be done at this deadline; `now` is monotonic."""
        ...

    def status(self) -> str:
        """One line for `systemctl status`."""
        ...

    def missed(self, count: int) -> None:
        """So many deadlines have passed unserved."""
        ...

    def reloaded(self, successfully: bool) -> None:
        """The configuration was read again."""
        ...

    def prepared(self, settings: Settings) -> Change | None:
        """Build what another configuration needs, in another thread while this one ticks on.

        Returns what takes it over between two ticks, None where only another daemon can honour it. Both raise
        `GpuwatchError` where it cannot be had, and leave everything as it was.
        """
        ...

    def lend(self) -> Lent:
        """Where it listens, for the one that comes after it."""
        ...

    def start(self, lent: Lent | None = None) -> None:
        """Begin; raises `GpuwatchError`, and then nothing has begun."""
        ...

    def stop(self) -> None:
        """End everything; what must not be forgotten is on disk then."""
        ...


D = TypeVar("D", bound=Running)
Make = Callable[[Settings, D | None], D]
"""Makes a daemon that is not started yet; the one that runs before it, if any, may hand something on."""


class Succession(Generic[D]):
    """The daemon that runs, and those that come after it. `tick` and `reload` belong to the main loop."""

    def __init__(self, load: Callable[[], Settings], make: Make[D]) -> None:
        self._load, self._make = load, make
        self.settings = load()
        self.running: D = make(self.settings, None)
        self._change: tuple[Settings, Change] | None = None
        self._again = False
        self._thread: Thread | None = None
        self._ticking = Lock()
        self._fatal: BaseException | None = None

    def start(self) -> None:
        """Start the first daemon."""
        self.running.start()
        log.info("serving %s", self.running.url)

    def close(self) -> None:
        """Stop the daemon that runs; one that is about to take its place does so first."""
        with self._ticking:
            self.running.stop()

    def tick(self, now: float) -> None:
        """Take over what is prepared, then tick; while one daemon makes way for the next there is none to tick."""
        if self._fatal is not None:
            raise self._fatal
        if self._change is not None:
            self._take_over(*self._change)
        elif self._again and not self._is_busy():
            self.reload()
        if self._ticking.acquire(blocking=False):
            try:
                self.running.tick(now)
            finally:
                self._ticking.release()

    def status(self) -> str:
        """One line for `systemctl status`."""
        return "taking over another configuration" if self._ticking.locked() else self.running.status()

    def missed(self, count: int) -> None:
        """So many deadlines have passed unserved."""
        self.running.missed(count)

    def reload(self) -> None:
        """Read the configuration again, now or once the last change is done."""
        self._again = self._is_busy()
        if not self._again:
            self._thread = Thread(target=self._prepare, name="gpuwatch-reload", daemon=True)
            self._thread.start()

    def _is_busy(self) -> bool:
        return self._change is not None or (self._thread is not None and self._thread.is_alive())

    def _prepare(self) -> None:
        try:
            settings = self._load()
            if settings == self.settings:
                self._succeeded(changed=False)
                return
            change = self.running.prepared(settings)
            if change is None:
                self._replace(settings)
            else:
                self._change = settings, change
        except Exception as exc:  # noqa: BLE001 - the outermost loop of this thread: a plugin may raise anything
            self._failed(exc)

    def _take_over(self, settings: Settings, change: Change) -> None:
        self._change = None
        try:
            change()
        except Exception as exc:  # noqa: BLE001 - a plugin may raise anything, and what runs goes on
            self._failed(exc)
        else:
            self.settings = settings
            self._succeeded(changed=True)

    def _replace(self, settings: Settings) -> None:
        """Stop the daemon and start another; where that one cannot begin, start the old one again."""
        new = self._make(settings, self.running)
        with self._ticking:
            before, lent = self.running, self.running.lend()
            with closing(lent.listening):
                before.stop()
                try:
                    _begin(new, lent)
                except Exception as exc:  # noqa: BLE001 - whatever it is, there must be a daemon
                    self._start_again(lent)
                    self._failed(exc)
                    return
            self.running, self.settings = new, settings
        self._succeeded(changed=True)
        del before
        gc.collect()  # what parts of it have open goes with them

    def _start_again(self, lent: Lent) -> None:
        try:
            again = self._make(self.settings, self.running)
            _begin(again, lent)
        except BaseException as exc:
            self._fatal = exc
            raise
        self.running = again

    def _succeeded(self, changed: bool) -> None:
        self.running.reloaded(True)
        log.info("configuration reloaded changed=%s serving=%s", changed, self.running.url)

    def _failed(self, error: Exception) -> None:
        self.running.reloaded(False)
        bug = None if isinstance(error, GpuwatchError) else error
        for mistake in error.mistakes if isinstance(error, ConfigurationError) else [str(error)]:
            log.error("configuration not reloaded, the old one stays: %s", mistake, exc_info=bug)


def _begin(daemon: Running, lent: Lent) -> None:
    """Start it, and have it something to show at once."""
    daemon.start(lent)
    try:
        daemon.tick(time.monotonic())
    except BaseException:
        daemon.stop()
        raise


def serve(
    load: Callable[[], Settings],
    make: Make[D],
    interval_seconds: Callable[[Settings], float],
    verbose: bool,
    log_format: service.LogFormat,
) -> None:
    """Run the daemon until a signal ends it; SIGHUP has it take over a valid new configuration."""
    stop = service.Stop()
    service.spare_memory()
    service.listen_from_the_start(stop)
    service.set_up_logging(verbose, log_format)
    with service.last_words():
        daemon = Succession(load, make)
        try:
            daemon.start()
            service.run(
                daemon.tick,
                interval_seconds=lambda: interval_seconds(daemon.settings),
                status=daemon.status,
                reload=daemon.reload,
                missed=daemon.missed,
                stop=stop,
            )
        finally:
            daemon.close()
