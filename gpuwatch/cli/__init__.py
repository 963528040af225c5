"""The command line: one file per group of commands, each importing what it needs when it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from gpuwatch import __version__
from gpuwatch.errors import GpuwatchError

COMMANDS = {
    "up": "gpuwatch.cli.up:up",
    "agent": "gpuwatch.cli.agent:agent",
    "accounting": "gpuwatch.cli.accounting:accounting",
    "run": "gpuwatch.cli.run:run",
    "declare": "gpuwatch.cli.declare:declare",
    "declarations": "gpuwatch.cli.declarations:declarations",
    "progress": "gpuwatch.cli.progress:progress",
    "token": "gpuwatch.cli.token:token",
    "estimate": "gpuwatch.cli.estimate:group",
    "jobs": "gpuwatch.cli.jobs:jobs",
    "show": "gpuwatch.cli.jobs:show",
    "top": "gpuwatch.cli.top:top",
    "compare": "gpuwatch.cli.compare:compare",
    "alerts": "gpuwatch.cli.alerts:group",
    "campaign": "gpuwatch.cli.campaign:campaign",
    "tag": "gpuwatch.cli.tag:tag",
    "untag": "gpuwatch.cli.tag:untag",
    "waste": "gpuwatch.cli.waste:waste",
    "idle": "gpuwatch.cli.waste:idle",
    "nodes": "gpuwatch.cli.nodes:nodes",
    "budget": "gpuwatch.cli.budget:budget",
    "report": "gpuwatch.cli.report:report",
    "rates": "gpuwatch.cli.rates:rates",
    "restate": "gpuwatch.cli.restate:restate",
    "backtest": "gpuwatch.cli.backtest:backtest",
    "import": "gpuwatch.cli.imports:imports",
    "ledger": "gpuwatch.cli.ledger:group",
    "replay": "gpuwatch.cli.replay:replay",
    "metrics": "gpuwatch.cli.metrics:metrics",
    "check": "gpuwatch.cli.check:check",
    "install": "gpuwatch.cli.install:install",
    "uninstall": "gpuwatch.cli.install:uninstall",
}
"""Every command and the function or group it is; a module is imported only when its command is asked for."""

USAGE = 64
# What follows the command of `run` belongs to that command, options and all.
_CONTEXT = {"run": {"allow_interspersed_args": False}}


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gpuwatch {__version__}")
        raise typer.Exit


def _gpuwatch(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """What deep learning costs, told while the job runs: device-hours, energy, and where they will end."""


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def application(names: Sequence[str] = tuple(COMMANDS)) -> typer.Typer:
    """The Typer application with the given commands."""
    # The class that the framework raises for a wrong command line; its own code, 2, says less than sysexits' does.
    typer.BadParameter.__bases__[0].exit_code = USAGE  # type: ignore[attr-defined]
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_gpuwatch)
    for name in names:
        loaded = _load(COMMANDS[name])
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=name)
        else:
            app.command(name, context_settings=_CONTEXT.get(name))(loaded)
    return app


def _wanted(arguments: Sequence[str]) -> Sequence[str]:
    """The one command that the arguments name, so that only its module is imported; else all of them."""
    completing = any(name.endswith("_COMPLETE") for name in os.environ)
    return [arguments[0]] if arguments and arguments[0] in COMMANDS and not completing else tuple(COMMANDS)


def main() -> None:
    """Run the command line and exit with its code (see `gpuwatch.errors`)."""
    try:
        application(_wanted(sys.argv[1:]))(prog_name="gpuwatch")
    except GpuwatchError as exc:
        for line in str(exc).splitlines():
            print(f"gpuwatch: {line}", file=sys.stderr)
        sys.exit(exc.exit_code)
    except BrokenPipeError:
        # The reader of a pipe has gone; the interpreter must not complain about it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
