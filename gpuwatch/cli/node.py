"""The agent of one node as it runs: sources, meter, sockets, web server, and how it takes over other settings."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from threading import Thread
from typing import Any

from gpuwatch import config, service, specs
from gpuwatch.agent.agent import Agent
from gpuwatch.agent.job_files import JobFiles
from gpuwatch.agent.sampler import Sampler
from gpuwatch.agent.socket import JobSocket
from gpuwatch.agent.state import StateDirectory
from gpuwatch.agent.tokens import secret_of
from gpuwatch.errors import Unavailable
from gpuwatch.meter import MeterSettings, StateRule
from gpuwatch.model import Site
from gpuwatch.settings import Settings
from gpuwatch.web import web_config
from gpuwatch.web.exposition import base_app
from gpuwatch.web.job_api import PREFIX, JobApi
from gpuwatch.web.security import Security
from gpuwatch.web.server import Lent, WebServer
from gpuwatch.web.usage_api import PATHS, usage_routes

log = logging.getLogger("gpuwatch")

ROOMS = ("devices", "host", "jobs", "sinks")
# Also where readings are far apart, the loop that feeds the watchdog does not wait longer for a source.
LONGEST_WAIT_SECONDS = 5.0


def _meter_settings(settings: Settings) -> MeterSettings:
    rules = {model: StateRule(**rule) for model, rule in settings.meter.rules().items()}
    return MeterSettings(
        gap_seconds=settings.meter.gap_seconds, rule=StateRule(**settings.meter.rule()), models=rules
    )


def _built(room: str, settings: Settings) -> dict[str, Any]:
    return {name: config.build(room, name, settings) for name in getattr(settings.agent, room)}


def _sampler(settings: Settings) -> Sampler:
    devices, host, jobs = (_built(room, settings) for room in ("devices", "host", "jobs"))
    return Sampler(
        devices,
        host,
        jobs,
        deadline_seconds=min(0.8 * settings.agent.interval_seconds, LONGEST_WAIT_SECONDS),
    )


def _warmed(sampler: Sampler, runs: Callable[[], Mapping[str, Any]] = dict) -> Sampler:
    """The sampler once it has found its devices and read them, which may take seconds; nothing is metered."""
    sampler.sample(time.monotonic(), time.time(), runs)
    return sampler


def _sampling(settings: Settings) -> Any:
    """What a sampler depends on."""
    room = settings.agent
    tables = (settings.devices, settings.host, settings.jobs)
    return room.devices, room.host, room.jobs, room.interval_seconds, tables


def _serving(settings: Settings) -> Any:
    """What the web server depends on, beside the page of metrics."""
    room = settings.agent
    return room.listen, room.web_config_file, room.usage_token_file, room.job_token_file


class Node:
    """A running agent; `before` is the one whose place it takes, and runs while this one finds its devices."""

    def __init__(self, settings: Settings, before: Node | None = None) -> None:
        specs.known()  # a mistake in the site's specs is told at the start
        self._settings = settings
        self._site = Site(settings.site.cluster, settings.site.node, settings.site.procfs, settings.site.sysfs)
        self._security = Security(web_config.path_of(settings.agent.web_config_file))
        self._sinks = _built("sinks", settings)
        self._sampler = _sampler(settings)
        if before is not None:
            _warmed(self._sampler)
        self._running = ExitStack()

    def start(self, lent: Lent | None = None) -> None:
        """Lock the state, go on from it, and serve."""
        room = self._settings.agent
        with ExitStack() as stack:
            directory = stack.enter_context(StateDirectory(room.state_directory))
            self._say_what_is_odd(directory)
            self.agent = Agent(
                self._site,
                self._sampler,
                list(self._sinks.values()),
                directory,
                _meter_settings(self._settings),
                socket_counters=self._counters,
            )
            self._job_api = self._jobs_by_http(self._settings)
            self._socket = JobSocket(str(room.socket), self.agent.handle, self._site.procfs)
            self._files = JobFiles(room.jobs_directory, self.agent.intake, lambda: self.agent.living)
            self._web = self._server(self._settings, self._sinks, self._security, self._job_api)
            stack.callback(self.agent.close)
            self.agent.start()
            self._socket.start()
            stack.callback(lambda: self._socket.stop())
            self._files.start()
            stack.callback(lambda: self._files.stop())
            self._web.start(lent)
            stack.callback(lambda: self._web.stop())
            self._running = stack.pop_all()

    def _say_what_is_odd(self, directory: StateDirectory) -> None:
        if before := directory.claim(self._site.cluster, self._site.node):
            log.warning(
                "this node is called otherwise than before, its counters begin anew; what was kept is set aside"
                " before=%s now=%s/%s",
                before, self._site.cluster, self._site.node,
            )  # fmt: skip
        if not service.is_possible(time.time()):
            log.warning(
                "the wall clock cannot be right, set it or start NTP; readings go on, times are wrong time=%.0f",
                time.time(),
            )

    def stop(self) -> None:
        """End everything, the web server first and the lock of the state last."""
        self._running.close()

    def __enter__(self) -> Node:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _jobs_by_http(self, settings: Settings) -> JobApi | None:
        return JobApi(self.agent.intake.speak, self._job_secret) if settings.agent.job_token_file else None

    def _server(
        self, settings: Settings, sinks: Mapping[str, Any], security: Security, job_api: JobApi | None
    ) -> WebServer:
        jobs = job_api.routes() if job_api is not None else []
        own_tokens = (*(PATHS if settings.agent.usage_token_file else ()), *((PREFIX,) if jobs else ()))
        application = base_app(
            f"gpuwatch agent on {settings.site.node}",
            self._page(sinks["prometheus"]) if "prometheus" in sinks else bytes,
            self.agent.healthy,
            self.agent.ready,
            [("/metrics", "Metrics"), ("/api/v1/usage?since=0", "Usage"), ("/-/ready", "Readiness")],
            [*usage_routes(self.agent, self._token), *jobs],
            security=security,
            bearer_paths=own_tokens,
        )
        return WebServer(application, settings.agent.listen, security)

    def _page(self, sink: Any) -> Callable[[], bytes]:
        def page() -> bytes:
            body: bytes = sink.render()
            # After it: what is kept is what the page says, or more.
            self.agent.keep()
            return body

        return page

    def _token(self) -> str | None:
        path = self._settings.agent.usage_token_file
        return path.read_text(encoding="utf-8").strip() if path is not None else None

    def _job_secret(self) -> bytes:
        path = self._settings.agent.job_token_file
        if path is None:
            raise Unavailable("jobs speak over HTTP no longer")
        return secret_of(path)

    def _counters(self) -> Mapping[tuple[str, str], float]:
        return {**self._socket.counters(), **(self._job_api.counters() if self._job_api is not None else {})}

    @property
    def url(self) -> str:
        """Where the agent is served."""
        return self._web.url

    def lend(self) -> Lent:
        """Where it listens, for the one that comes after it."""
        return self._web.lend()

    def tick(self, now: float) -> None:
        """One tick; the first one fails where a device is required and there is none."""
        first = self.agent.snapshot is None
        snapshot = self.agent.tick(now)
        if first and self._settings.agent.require_device and not snapshot.devices:
            reasons = "; ".join(
                f"{each.source}: {each.message}" for each in snapshot.sources.values() if not each.up
            )
            raise Unavailable(f"no device found, and one is required; {reasons}")

    def status(self) -> str:
        """One line for `systemctl status`."""
        return self.agent.status()

    def missed(self, count: int) -> None:
        """So many ticks have been missed."""
        self.agent.missed(count)

    def reloaded(self, successfully: bool) -> None:
        """The configuration was read again."""
        self.agent.reloaded(successfully)

    def prepared(self, settings: Settings) -> Callable[[], None] | None:
        """Build what other settings need; None where they are about another node, cluster or state."""
        old, new = self._settings, settings
        if (new.site, new.agent.state_directory) != (old.site, old.agent.state_directory):
            return None
        anew = _sampling(new) != _sampling(old)
        sampler = _warmed(_sampler(new), self.agent.intake.runs) if anew else None
        sinks = {name: self._sink(name, new) for name in new.agent.sinks}
        served = _serving(new) != _serving(old) or sinks.get("prometheus") is not self._sinks.get("prometheus")
        security = self._security
        if new.agent.web_config_file != old.agent.web_config_file:
            security = Security(web_config.path_of(new.agent.web_config_file))
        return lambda: self._take_over(new, sampler, sinks, security if served else None)

    def _sink(self, name: str, settings: Settings) -> Any:
        """The output as it is where its table is the same."""
        same = settings.sinks.get(name) == self._settings.sinks.get(name)
        return self._sinks[name] if same and name in self._sinks else config.build("sinks", name, settings)

    def _take_over(
        self, settings: Settings, sampler: Sampler | None, sinks: dict[str, Any], security: Security | None
    ) -> None:
        """Between two ticks: first what may fail, each with how to undo it; then what cannot."""
        with ExitStack() as undo:
            self._start_sinks(sinks, undo)
            job_api = self._job_api
            web = self._web
            if security is not None:
                same = settings.agent.job_token_file == self._settings.agent.job_token_file
                job_api = self._job_api if same else self._jobs_by_http(settings)
                web = self._server(settings, sinks, security, job_api)
                lent = self._web.lend()
                with closing(lent.listening):
                    web.start(lent)
                undo.callback(web.stop)
            socket = self._socket
            if settings.agent.socket != self._settings.agent.socket:
                socket = JobSocket(str(settings.agent.socket), self.agent.handle, self._site.procfs)
                socket.start()
            undo.pop_all()
        self.agent.adopt(list(sinks.values()), _meter_settings(settings), sampler)
        self._retire(settings, sampler, web, socket)
        self._settings, self._sinks, self._job_api = settings, sinks, job_api
        self._security = security or self._security

    def _start_sinks(self, sinks: Mapping[str, Any], undo: ExitStack) -> None:
        # What is replaced may have a lock that its successor needs, and goes first.
        for name, sink in self._sinks.items():
            if sinks.get(name) is not sink:
                sink.close()
                undo.callback(sink.start)
        for name, sink in sinks.items():
            if self._sinks.get(name) is not sink:
                sink.start()
                undo.callback(sink.close)
                if name == "prometheus" and self.agent.snapshot is not None:
                    sink.take(self.agent.snapshot)  # a scrape before the next tick sees what there is

    def _retire(self, settings: Settings, sampler: Sampler | None, web: WebServer, socket: JobSocket) -> None:
        """End what is not used any more, in a thread of its own: a driver that hangs holds up no tick."""
        ends: list[Callable[[], None]] = []
        if web is not self._web:
            ends.append(self._web.stop)
        if socket is not self._socket:
            ends.append(self._socket.stop)
        if sampler is not None:
            ends.append(self._sampler.close)
            self._sampler = sampler
        if settings.agent.jobs_directory != self._settings.agent.jobs_directory:
            ends.append(self._files.stop)
            directory = settings.agent.jobs_directory
            self._files = JobFiles(directory, self.agent.intake, lambda: self.agent.living)
            self._files.start()
        self._web, self._socket = web, socket
        Thread(target=_end, args=(ends,), name="gpuwatch-retire", daemon=True).start()


def _end(ends: Sequence[Callable[[], None]]) -> None:
    for end in ends:
        end()
    gc.collect()  # job sources are not closed: what they have open goes with them
