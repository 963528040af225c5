"""`gpuwatch estimate`: what a run should need, before it starts; each way has a file of its own."""

from __future__ import annotations

import typer

from gpuwatch.cli.estimate_flops import flops
from gpuwatch.cli.estimate_like import like
from gpuwatch.cli.estimate_pilot import pilot

group = typer.Typer(
    no_args_is_help=True,
    help="What a run should need, before it starts: an interval, and a line to declare it with.",
)
group.command("flops")(flops)
group.command("like")(like)
group.command("pilot")(pilot)
