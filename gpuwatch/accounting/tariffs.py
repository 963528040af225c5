"""The site's rates, read again when their file changes; a file with a mistake changes nothing and is said once."""

from __future__ import annotations

import logging
from datetime import tzinfo
from pathlib import Path

from gpuwatch import hygiene
from gpuwatch.accounting.reloading import stamp_of
from gpuwatch.errors import ConfigurationError
from gpuwatch.ledger.charging import Tariffs
from gpuwatch.ledger.rate_file import load_rates

log = logging.getLogger("gpuwatch.accounting")


class SiteTariffs:
    """What the rates file says now. `ConfigurationError` at the start where it cannot be used."""

    def __init__(self, path: Path | None, zone: tzinfo) -> None:
        self._path = path
        self._zone = zone
        self._stamp = stamp_of(path)
        self.now = Tariffs(load_rates(path, zone), zone)
        self.successful = True
        """Whether what is on disk is in force."""

    def look(self) -> Tariffs:
        """The rates in force, after another look at the file."""
        stamp = stamp_of(self._path)
        if stamp == self._stamp:
            return self.now
        self._stamp = stamp
        try:
            rates = load_rates(self._path, self._zone)
        except ConfigurationError as exc:
            self.successful = False
            for mistake in exc.mistakes:
                log.error("rates not taken, the old ones stay: %s", hygiene.log(mistake))
            return self.now
        self.successful = True
        if rates.version != self.now.rates.version:
            log.info("rates changed version=%s before=%s", rates.version, self.now.rates.version)
            self.now = Tariffs(rates, self._zone)
        return self.now
