"""`gpuwatch up`: agent and accounting in one process with the embedded store; `--demo` brings its own hardware."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from gpuwatch import config, plugins, service
from gpuwatch.cli.accounting import Accounting
from gpuwatch.cli.demo import DemoJobs, scenario
from gpuwatch.cli.jobs import print_jobs
from gpuwatch.cli.node import ROOMS as AGENT_ROOMS
from gpuwatch.cli.node import Node
from gpuwatch.cli.options import (
    ConfigOption,
    LogFormatOption,
    VerboseOption,
    ledger_in,
    overrides_of,
    own_directory,
)
from gpuwatch.settings import Settings

log = logging.getLogger("gpuwatch")

ROOMS = (*AGENT_ROOMS, "schedulers", "usage", "notifiers")
TABLE_SECONDS = 20.0


def _local(directory: Path) -> dict[str, Any]:
    """One machine, its owner's: everything in one directory, served on loopback."""
    return {
        "agent.listen": "127.0.0.1:9838",
        "accounting.listen": "127.0.0.1:9839",
        "agent.state_directory": str(directory / "agent"),
        "agent.socket": str(directory / "agent.sock"),
        "accounting.ledger": ledger_in(directory),
        "accounting.reserve_bytes": 0,
        "accounting.spool_directory": str(directory / "accounting-spool"),
        "accounting.socket": str(directory / "api.sock"),
        # Whoever runs it reads its log, and it is his jobs that it tells of.
        "alerts.tell": ["exceeded", "projected", "limit"],
        # What protects the node's own daemons is not for this one, which could not read itself through it.
        "agent.web_config_file": os.devnull,
        "accounting.web_config_file": os.devnull,
    }


def _spools(settings: Settings, directory: Path) -> dict[str, Any]:
    """Where what the agent pushes waits, if it does and nothing else is said."""
    chosen = set(settings.agent.sinks) & plugins.available("sinks").keys()
    spooled = (name for name in chosen if "spool_directory" in plugins.load("sinks", name).Settings.model_fields)
    keys = (("sinks", name, "spool_directory") for name in spooled)
    return {".".join(key): str(directory / "spool" / key[1]) for key in keys if not settings.says(*key)}


DEMO_RATES = """\
kind,model,partition,from,to,value,unit,source,year,country
price,,,2020-01-01,,2.50,EUR,,,
"""
"""A price that is made up, so that something costs something; PUE and grid intensity are the defaults."""


DEMO_POLICY = """\
[[tell]]
kinds = ["*"]
[thresholds]
idle_seconds = 60.0
hung_seconds = 60.0
no_start_seconds = 60.0
stalled_seconds = 60.0
window_seconds = 60.0
"""
"""Everything is told, and a minute is a long time."""


def _demo(directory: Path) -> dict[str, Any]:
    """Minutes instead of days: a pass every five seconds, and alerts from a hundredth of a device-hour."""
    rates = directory / "rates.csv"
    rates.write_text(DEMO_RATES)
    policy = directory / "alerts.toml"
    policy.write_text(DEMO_POLICY)
    return {
        "accounting.rates_file": str(rates),
        "site.cluster": "demo",
        "agent.devices": ["demo"],
        "agent.listen": f"127.0.0.1:{_free(9838)}",
        "accounting.listen": f"127.0.0.1:{_free(9839)}",
        "accounting.interval_seconds": 5.0,
        "alerts.floor_device_hours": 0.01,
        "alerts.policy_file": str(policy),
        "devices.demo.driver_directory": str(directory / "driver"),
    }


def _free(port: int) -> int:
    """The port, or 0 (any) where somebody has it: a demo should not fail for that."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


@contextmanager
def _directory(given: Path | None, demo: bool) -> Iterator[Path]:
    """Where everything is kept; a demo that was given no place leaves nothing behind."""
    if given is None and demo:
        made = Path(tempfile.mkdtemp(prefix="gpuwatch-demo-"))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return
    directory = given or own_directory()
    directory.mkdir(parents=True, exist_ok=True)
    yield directory.resolve()


def up(
    demo: Annotated[
        bool, typer.Option("--demo", help="Simulated accelerators and jobs: see it work now.")
    ] = False,
    config_file: ConfigOption = None,
    state_directory: Annotated[
        Path | None,
        typer.Option(help="Keep everything here (default: as configured, else ~/.local/state/gpuwatch)."),
    ] = None,
    agent_listen: Annotated[str | None, typer.Option(help="Address of the agent, HOST:PORT.")] = None,
    accounting_listen: Annotated[str | None, typer.Option(help="Address of accounting, HOST:PORT.")] = None,
    verbose: VerboseOption = False,
    log_format: LogFormatOption = service.LogFormat.TEXT,
) -> None:
    """Run agent and accounting on this one machine: no server, no configuration needed."""
    stop = service.Stop()
    service.spare_memory()
    service.listen_from_the_start(stop)
    service.set_up_logging(verbose, log_format)
    options = overrides_of(agent__listen=agent_listen, accounting__listen=accounting_listen)
    configured = config_file is not None or config.DEFAULT_PATH.exists()
    with service.last_words(), ExitStack() as stack:
        overrides = options
        if demo or state_directory is not None or not configured:
            directory = stack.enter_context(_directory(state_directory, demo))
            overrides = {**_local(directory), **(_demo(directory) if demo else {}), **options}
            overrides |= _spools(config.load(config_file, overrides), directory)
        settings = config.load(config_file, overrides, ROOMS)
        with Node(settings) as node:
            reading = config.load(config_file, {**overrides, "usage.agents.urls": [node.url]}, ROOMS)
            with Accounting(reading) as accounting:
                _run(reading, node, accounting, directory if demo else None, stop)
    if demo:
        print("\nThe demo has ended and left nothing behind.", flush=True)


def _run(settings: Settings, node: Node, accounting: Accounting, demo: Path | None, stop: service.Stop) -> None:
    jobs = DemoJobs(scenario(demo / "driver", settings.agent.socket), demo / "logs") if demo else None
    table_at = time.monotonic() + TABLE_SECONDS / 2

    def tick(now: float) -> None:
        nonlocal table_at
        node.tick(now)
        accounting.tick(now)
        if jobs is not None:
            jobs.poll(now)
            if now >= table_at:
                table_at = now + TABLE_SECONDS
                _print_table(settings)

    _print_addresses(settings, node, accounting, demo is not None)
    try:
        if jobs is not None:
            jobs.start()
        service.run(
            tick,
            interval_seconds=settings.agent.interval_seconds,
            status=node.status,
            missed=node.missed,
            stop=stop,
        )
    finally:
        if jobs is not None:
            jobs.stop()


def _print_addresses(settings: Settings, node: Node, accounting: Accounting, demo: bool) -> None:
    print(f"agent       {node.url}/")
    print(f"accounting  {accounting.url}/")
    for command in ("jobs", "alerts", "waste", "idle --since 1m"):
        print(f"{command.partition(' ')[0]:11} gpuwatch {command} --ledger {settings.accounting.ledger}")
    print(f"API         {settings.accounting.socket}")
    if demo:
        print("\nSimulated accelerators, real pipeline. What to look at:")
        for job in scenario(Path(), Path()):
            print(f"  {job.name:15} {job.shows}")
        print(
            "\nThe first projection comes within a minute, the jobs are listed every 20 seconds. Ctrl-C ends it."
        )
    print(flush=True)


def _print_table(settings: Settings) -> None:
    print(flush=True)
    print_jobs(settings.accounting.ledger)
    print(flush=True)
