"""Alerts to Alertmanagers over their API v2 (docs/alertmanager.md): all of them get all, and decide whom to tell.

An Alertmanager keeps an alert until its `endsAt`, and forgets all of them when it is killed. Each pass therefore
tells anew what is active, and for five minutes what has ended; where passes stop, alerts end by themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from gpuwatch.http.client import Client, ServerSettings, ServerUrl
from gpuwatch.model import Alert, Probe, Site
from gpuwatch.notifiers.alertmanager_alerts import FIXED, Dress, Entry, Labels, Moment, labels_of
from gpuwatch.notifiers.alertmanager_server import Server
from gpuwatch.notifiers.base import Change

RESOLVED_SECONDS = 300.0
"""How long an end is told: an Alertmanager may have been away when it came."""

MOST_SERVERS = 16


def _labels(labels: dict[str, str]) -> dict[str, str]:
    for name in labels:
        if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) or name in FIXED:
            raise ValueError(f"must have names of labels that alerts do not have already; {name!r} is none")
    return labels


def _page(url: str) -> str:
    parts = urlsplit(url)
    if url and (
        parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url
    ):
        raise ValueError("must be http://… or https://…, or empty")
    return url


Page = Annotated[str, AfterValidator(_page)]


class AlertmanagerNotifier:
    """Tells every Alertmanager in `urls`, each for itself: one that is away holds up nobody but itself."""

    class Settings(ServerSettings):
        """The table `[notifiers.alertmanager]`."""

        urls: tuple[ServerUrl, ...] = Field(
            default=("http://127.0.0.1:9093",), min_length=1, max_length=MOST_SERVERS,
            description="addresses of all Alertmanagers, before /api/v2/alerts; never that of a load balancer",
        )  # fmt: skip
        timeout_seconds: float = Field(
            default=5.0, gt=0, le=60, description="wait for an answer this long; a pass waits for it"
        )
        labels: Annotated[
            dict[str, Annotated[str, StringConstraints(min_length=1, max_length=128)]], AfterValidator(_labels)
        ] = Field(
            default_factory=dict,
            description='further labels of every alert: Prometheus\' external labels, as {cluster = "hydra"}',
        )
        resolve: bool = Field(
            default=True,
            description="tell when an alert is over; false beside Prometheus' rules, which hold it longer: "
            "it ends with theirs",
        )
        runbook_url: Page = Field(
            default="https://gpuwatch.dev/runbooks",
            description="where the pages of docs/runbooks are; empty: alerts name none",
        )
        generator_url: Page = Field(
            default="", description="the page that an alert is said to come from, as accounting's; empty: none"
        )

    def __init__(self, settings: Settings, site: Site) -> None:
        self._client = Client(settings)
        self._dress = Dress(settings.labels, settings.runbook_url, settings.generator_url)
        self._tells_ends = settings.resolve
        self._servers = [Server(url, self._client, self._dress) for url in dict.fromkeys(settings.urls)]
        self._moment: Moment | None = None
        self._active: dict[Labels, Entry] = {}
        self._ended: dict[Labels, Entry] = {}

    def renew(self, active: Sequence[Alert], now: float, until: float) -> Mapping[str, int]:
        """Tell all that is active and what ended of late, also what did so unheard, as by another severity."""
        self._client.renew()
        self._moment = Moment(now, until)
        found = {entry.labels: entry for entry in (Entry(labels_of(each, self._dress), each) for each in active)}
        gone = {labels: _end(entry, now) for labels, entry in self._active.items()}
        self._active = found
        self._ended = {
            labels: entry
            for labels, entry in {**gone, **self._ended}.items()
            if self._tells_ends and labels not in found and _is_late(entry, now)
        }
        self._tell([*self._active.values(), *self._ended.values()])
        return sum((Counter(server.wrong()) for server in self._servers), Counter())

    def notify(self, changes: Sequence[Change]) -> bool:
        """Whether every Alertmanager has been told; what the pass has told already is not told again."""
        if self._moment is None:
            return False
        concerned: dict[Labels, None] = {}
        for change in changes:
            labels = labels_of(change.alert, self._dress)
            concerned[labels] = None
            if change.what == "resolved" and self._tells_ends and labels not in self._active:
                known = self._ended.get(labels)
                ended = self._moment.now if known is None else known.ended
                # With the words that say why it ended.
                self._ended[labels] = Entry(labels, change.alert, ended)
        known_now = {**self._ended, **self._active}
        return self._tell([known_now[labels] for labels in concerned if labels in known_now])

    def check(self, now: float) -> Sequence[Probe]:
        """Ask each Alertmanager whether it would take alerts, and what time it is there."""
        self._client.renew()
        with ThreadPoolExecutor(MOST_SERVERS, thread_name_prefix="alertmanager") as pool:
            found = pool.map(lambda server: list(server.check(now)), self._servers)
            return [probe for probes in found for probe in probes]

    def _tell(self, entries: Sequence[Entry]) -> bool:
        moment = self._moment
        if not entries or moment is None:
            return True
        with ThreadPoolExecutor(MOST_SERVERS, thread_name_prefix="alertmanager") as pool:
            return all(list(pool.map(lambda server: server.tell(entries, moment), self._servers)))


def _end(entry: Entry, now: float) -> Entry:
    return Entry(entry.labels, entry.alert, now)


def _is_late(entry: Entry, now: float) -> bool:
    """Whether it ended so short a time ago that it is still told; by a clock that may jump."""
    return entry.ended is not None and abs(now - entry.ended) <= RESOLVED_SECONDS
