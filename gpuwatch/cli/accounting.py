"""`gpuwatch accounting`: the daemon of one cluster."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated

import typer

from gpuwatch import config, specs
from gpuwatch.accounting.daemon import AccountingDaemon
from gpuwatch.cli.daemon import serve
from gpuwatch.cli.options import ConfigOption, LogFormatOption, VerboseOption, overrides_of
from gpuwatch.service import LogFormat
from gpuwatch.settings import Settings
from gpuwatch.web import web_config
from gpuwatch.web.api import TREE, api_routes
from gpuwatch.web.authentication import Passwords
from gpuwatch.web.desk import READERS, Desk
from gpuwatch.web.exposition import base_app
from gpuwatch.web.gate import gate_of, socket_of
from gpuwatch.web.limits import Limits
from gpuwatch.web.page import routes as page
from gpuwatch.web.page.frame import Passed
from gpuwatch.web.security import Security
from gpuwatch.web.server import Lent, WebServer
from gpuwatch.web.threads import Patient

ROOMS = ("schedulers", "usage", "notifiers", "sinks")
CONNECTIONS = 256
"""So many at once: a crowd that asks the API waits for its turn instead of being turned away."""


class Accounting:
    """A running accounting: passes and web server. A context manager; entering starts it."""

    def __init__(self, settings: Settings, before: Accounting | None = None) -> None:
        specs.known()  # a mistake in the site's specs is told at the start
        security = Security(web_config.path_of(settings.accounting.web_config_file))
        self._settings = settings
        self.daemon: AccountingDaemon = AccountingDaemon(settings, before=before.daemon if before else None)
        self._interval = settings.accounting.interval_seconds
        title = f"gpuwatch accounting of cluster {settings.site.cluster}"
        links = [
            (page.TREE, "Jobs, budgets and forecasts"),
            ("/metrics", "Metrics"),
            ("/-/ready", "Readiness"),
            ("/api/v1/openapi.json", "API"),
        ]
        passwords = Passwords()
        gate = replace(gate_of(settings, security, passwords), policy=lambda: self.daemon.alert_policy)
        # One queue for both, so that a crowd at the page is no second crowd at the ledger.
        readers = Patient(READERS)
        desk = Desk(lambda: self.daemon.store, gate, time.time, readers)
        app = base_app(
            title,
            self.daemon.render_metrics,
            self.daemon.healthy,
            self.daemon.ready,
            links,
            [*api_routes(lambda: self.daemon.store, gate, readers=readers), *page.page_routes(desk, self._passed)],
            body=self.daemon.body,
            security=security,
            bearer_paths=(TREE, page.BASE, page.TREE),
            passwords=passwords,
        )
        limits = Limits(connections=CONNECTIONS)
        self._web = WebServer(app, settings.accounting.listen, security, limits, socket_of(settings))

    @property
    def url(self) -> str:
        """Where accounting is served."""
        return self._web.url

    def _passed(self) -> Passed:
        """What passes there were, for those who look at the page."""
        health = self.daemon.health
        return Passed(sum(health.passes.values()), health.last_success_timestamp_seconds, self._interval)

    def start(self, lent: Lent | None = None) -> None:
        """Serve, open the ledger and begin with the first pass."""
        self._web.start(lent)
        try:
            self.daemon.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Let a pass that is under way come to an end of its own, and close everything."""
        self._web.stop()
        self.daemon.stop()

    def __enter__(self) -> Accounting:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def lend(self) -> Lent:
        """Where it listens, for the one that comes after it."""
        return self._web.lend()

    def prepared(self, settings: Settings) -> None:
        """Another configuration is another daemon; what it talks to is built once, to see that it can be."""
        for room in ROOMS:
            for name in getattr(settings.accounting, room):
                config.build(room, name, settings)

    def tick(self, now: float) -> None:
        """Look after the clock; about every second, with the monotonic time."""
        self.daemon.tick(now)

    def status(self) -> str:
        """One line for `systemctl status`."""
        return self.daemon.status()

    def missed(self, count: int) -> None:
        """Looks after the clock that came late cost nothing; passes have counters of their own."""

    def reloaded(self, successfully: bool) -> None:
        """The configuration was read again."""
        self.daemon.reloaded(successfully)


def accounting(
    config_file: ConfigOption = None,
    listen: Annotated[str | None, typer.Option(help="Address of /metrics, HOST:PORT.")] = None,
    ledger: Annotated[str | None, typer.Option(help="URL of the ledger, sqlite:////path.")] = None,
    interval: Annotated[float | None, typer.Option(help="Seconds between two passes.")] = None,
    verbose: VerboseOption = False,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Run accounting for the cluster: read usage into the ledger, forecast, alert, serve /metrics."""
    overrides = overrides_of(
        accounting__listen=listen, accounting__ledger=ledger, accounting__interval_seconds=interval
    )
    serve(
        lambda: config.load(config_file, overrides, ROOMS), Accounting, lambda _settings: 1.0, verbose, log_format
    )
