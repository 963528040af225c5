"""The site's alert policy, read again when its file changes; one with a mistake changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from gpuwatch import hygiene
from gpuwatch.accounting.alert_policy import Policy, load_policy
from gpuwatch.accounting.reloading import stamp_of
from gpuwatch.errors import ConfigurationError

log = logging.getLogger("gpuwatch.accounting")


class SitePolicy:
    """What the policy file says now. `ConfigurationError` at the start where it cannot be used."""

    def __init__(self, path: Path | None = None, told: Sequence[str] = ()) -> None:
        self._path, self._told = path, tuple(told)
        self._stamp = stamp_of(path)
        self.now = load_policy(path, self._told)
        self.successful = True
        """Whether what is on disk is in force."""

    def look(self) -> Policy:
        """The policy in force, after another look at the file."""
        stamp = stamp_of(self._path)
        if stamp == self._stamp:
            return self.now
        self._stamp = stamp
        try:
            self.now = load_policy(self._path, self._told)
        except ConfigurationError as exc:
            self.successful = False
            for mistake in exc.mistakes:
                log.error("alert policy not taken, the old one stays: %s", hygiene.log(mistake))
        else:
            self.successful = True
            log.info("alert policy changed")
        return self.now
