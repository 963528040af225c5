"""Alerts to the people whom they concern, by mail and chat, through the library Apprise (docs/letters.md)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from gpuwatch.errors import ConfigurationError, Rejected
from gpuwatch.hygiene import log as shown
from gpuwatch.model import Alert, Probe, Site
from gpuwatch.notifiers.apprise_addresses import Address
from gpuwatch.notifiers.apprise_check import probe
from gpuwatch.notifiers.apprise_post import Post, told_all
from gpuwatch.notifiers.apprise_services import Services
from gpuwatch.notifiers.apprise_settings import AppriseSettings, addresses_of
from gpuwatch.notifiers.base import Letter
from gpuwatch.notifiers.letter_text import Look

_AT_ONCE = 8
_MOST_PROBES = 50


class AppriseNotifier:
    """Tells owners of jobs, those who look after accounts, operators, and channels that the site names."""

    Settings = AppriseSettings

    def __init__(self, settings: AppriseSettings, site: Site, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster = site.cluster
        self._addresses = addresses_of(settings)
        self._services = Services(settings.timeout_seconds)
        if mistakes := list(self._mistakes()):
            raise ConfigurationError([f"notifiers.apprise.{mistake}" for mistake in dict.fromkeys(mistakes)])
        look = Look(site.cluster, settings.subject_prefix, settings.links, settings.runbook_url)
        self._timeout_seconds = settings.timeout_seconds
        self._post = Post(self._services, look, settings.timeout_seconds, clock)

    def recipients(self, alert: Alert, to: Collection[str]) -> Collection[str]:
        """`user:NAME`, `account:NAME`, `operators`, `channel:NAME`: those of `to` who have an address."""
        return self._addresses.recipients(alert, to, self._cluster)

    def send(self, letter: Letter) -> bool:
        """Send it to each address of a recipient; one that has it already is passed over, also in a second try."""
        urls = self._addresses.of(letter.recipient, self._cluster)
        if not urls:
            raise Rejected(f"{shown(letter.recipient)}: has no address any more")
        return told_all(self._post, letter, urls)

    def check(self, now: float) -> Sequence[Probe]:
        """Connect to where letters go, and send none; a template is tried as for somebody called alice."""
        addresses = self._samples()[:_MOST_PROBES]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="apprise") as pool:
            return list(pool.map(self._probe, addresses))

    def _probe(self, address: Address) -> Probe:
        return probe(address, self._services, self._timeout_seconds)

    def _samples(self) -> list[Address]:
        return list(self._addresses.samples(self._cluster))

    def _mistakes(self) -> Iterator[str]:
        templates = list(self._addresses.mistakes())
        yield from templates
        samples = self._samples()
        if not samples:
            yield "owner: nobody is named; there is: owner, account, operators, people, accounts, channels"
        for address in samples:
            if wrong := self._services.mistake(address.url):
                yield f"{address.key}: {wrong}"
