"""`gpuwatch agent`: the daemon of one node, composed from its plugins."""

from __future__ import annotations

from typing import Annotated

import typer

from gpuwatch import config
from gpuwatch.cli.daemon import serve
from gpuwatch.cli.node import ROOMS, Node
from gpuwatch.cli.options import ConfigOption, LogFormatOption, VerboseOption, overrides_of
from gpuwatch.service import LogFormat


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
    log_format: LogFormatOption = LogFormat.TEXT,
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
        log_format,
    )
