"""What the two daemons have in common: run until told to stop, and take over a changed configuration."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from gpuwatch import service
from gpuwatch.errors import ConfigurationError
from gpuwatch.settings import Settings

log = logging.getLogger("gpuwatch")


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


def serve(
    load: Callable[[], Settings],
    make: Callable[[Settings], AbstractContextManager[Running]],
    interval_seconds: Callable[[Settings], float],
    verbose: bool,
) -> None:
    """Run the daemon until a signal ends it; with a valid new configuration it begins anew on SIGHUP."""
    stop = service.Stop()
    service.spare_memory()
    service.listen_from_the_start(stop)
    service.set_up_logging(verbose)
    settings = load()
    changed = False

    def reload() -> None:
        nonlocal changed
        changed = _changed(load, settings, running)
        if changed:
            stop.set()

    with make(settings) as running:
        log.info("serving %s", running.url)
        service.run(
            running.tick,
            interval_seconds=interval_seconds(settings),
            status=running.status,
            reload=reload,
            missed=running.missed,
            stop=stop,
        )
    if changed:
        # The same process with the new configuration; what it must not forget is on disk.
        os.execv(sys.executable, sys.orig_argv)


def _changed(load: Callable[[], Settings], settings: Settings, running: Running) -> bool:
    """Whether there is another configuration, and a valid one; its mistakes are logged."""
    try:
        changed = load() != settings
    except ConfigurationError as exc:
        running.reloaded(False)
        for mistake in exc.mistakes:
            log.error("configuration not reloaded: %s", mistake)
        return False
    running.reloaded(True)
    log.info("configuration reloaded changed=%s", changed)
    return changed
