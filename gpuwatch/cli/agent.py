"""`gpuwatch agent`: the daemon of one node, composed from its plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from gpuwatch import config, specs
from gpuwatch.agent.agent import Agent
from gpuwatch.agent.job_files import JobFiles
from gpuwatch.agent.sampler import Sampler
from gpuwatch.agent.socket import JobSocket
from gpuwatch.agent.state import StateDirectory
from gpuwatch.agent.tokens import secret_of
from gpuwatch.cli.daemon import serve
from gpuwatch.cli.options import ConfigOption, VerboseOption, overrides_of
from gpuwatch.errors import Unavailable
from gpuwatch.meter import MeterSettings, StateRule
from gpuwatch.model import Site
from gpuwatch.settings import Settings
from gpuwatch.web import web_config
from gpuwatch.web.exposition import base_app
from gpuwatch.web.job_api import PREFIX, JobApi
from gpuwatch.web.security import Security
from gpuwatch.web.server import WebServer
from gpuwatch.web.usage_api import PATHS, usage_routes

ROOMS = ("devices", "host", "jobs", "sinks")
# Also where readings are far apart, the loop that feeds the watchdog does not wait longer for a source.
LONGEST_WAIT_SECONDS = 5.0


def _meter_settings(settings: Settings) -> MeterSettings:
    rules = {model: StateRule(**rule) for model, rule in settings.meter.rules().items()}
    return MeterSettings(
        gap_seconds=settings.meter.gap_seconds, rule=StateRule(**settings.meter.rule()), models=rules
    )


class Node:
    """A running agent: sources, meter, socket and web server. A context manager; entering starts it."""

    def __init__(self, settings: Settings) -> None:
        specs.known()  # a mistake in the site's specs is told at the start
        self._settings = settings
        site = Site(settings.site.cluster, settings.site.node, settings.site.procfs, settings.site.sysfs)
        room = settings.agent
        self._security = Security(web_config.path_of(room.web_config_file))
        sources = {
            name: {each: config.build(name, each, settings) for each in getattr(room, name)} for name in ROOMS
        }
        sampler = Sampler(
            sources["devices"],
            sources["host"],
            sources["jobs"],
            deadline_seconds=min(0.8 * room.interval_seconds, LONGEST_WAIT_SECONDS),
        )
        self._directory = StateDirectory(room.state_directory)
        self._directory.__enter__()
        self.agent = Agent(
            site, sampler, list(sources["sinks"].values()), self._directory, _meter_settings(settings)
        )
        self._socket = JobSocket(str(room.socket), self.agent.handle, site.procfs)
        self._job_api = JobApi(self.agent.intake.speak, self._job_secret) if room.job_token_file else None
        self.agent.socket_counters = self._counters
        self._files = JobFiles(room.jobs_directory, self.agent.intake, lambda: self.agent.living)
        application = self._application(sources["sinks"].get("prometheus"))
        self._web = WebServer(application, room.listen, self._security)

    def _application(self, exposition: Any) -> Any:
        title = f"gpuwatch agent on {self._settings.site.node}"
        jobs = self._job_api.routes() if self._job_api is not None else []
        routes = [*usage_routes(self.agent, self._token), *jobs]
        own_tokens = (*(PATHS if self._settings.agent.usage_token_file else ()), *((PREFIX,) if jobs else ()))
        render = exposition.render if exposition is not None else bytes
        links = [("/metrics", "Metrics"), ("/api/v1/usage?since=0", "Usage"), ("/-/ready", "Readiness")]
        return base_app(
            title,
            render,
            self.agent.healthy,
            self.agent.ready,
            links,
            routes,
            security=self._security,
            bearer_paths=own_tokens,
        )

    def _token(self) -> str | None:
        path = self._settings.agent.usage_token_file
        return path.read_text(encoding="utf-8").strip() if path is not None else None

    def _job_secret(self) -> bytes:
        path = self._settings.agent.job_token_file
        assert path is not None
        return secret_of(path)

    def _counters(self) -> Mapping[tuple[str, str], float]:
        return {**self._socket.counters(), **(self._job_api.counters() if self._job_api is not None else {})}

    @property
    def url(self) -> str:
        """Where the agent is served."""
        return self._web.url

    def __enter__(self) -> Node:
        self.agent.start()
        self._socket.start()
        self._files.start()
        self._web.start()
        return self

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

    def __exit__(self, *_: object) -> None:
        self._web.stop()
        self._files.stop()
        self._socket.stop()
        self.agent.close()
        self._directory.__exit__(None, None, None)


def agent(
    config_file: ConfigOption = None,
    node: Annotated[str | None, typer.Option(help="Name of this node as the batch system names it.")] = None,
    listen: Annotated[str | None, typer.Option(help="Address of /metrics and the usage API, HOST:PORT.")] = None,
    state_directory: Annotated[str | None, typer.Option(help="Where counters and journal are kept.")] = None,
    socket: Annotated[str | None, typer.Option(help="Unix socket where jobs declare and report.")] = None,
    require_device: Annotated[
        bool | None, typer.Option("--require-device", help="Exit 69 without a device.")
    ] = None,
    verbose: VerboseOption = False,
) -> None:
    """Run the agent of this node: read the devices every second, meter jobs, serve /metrics."""
    overrides = overrides_of(
        site__node=node, agent__listen=listen, agent__state_directory=state_directory, agent__socket=socket,
        agent__require_device=require_device,
    )  # fmt: skip
    serve(
        lambda: config.load(config_file, overrides, ROOMS),
        Node,
        lambda settings: settings.agent.interval_seconds,
        verbose,
    )
