"""Write docs/commands.md and docs/gpuwatch.1 from the commands, and docs/configuration.md from the settings."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import typer

from gpuwatch.cli import COMMANDS, application

PAGE = Path(__file__).with_name("commands.md")

HEAD = """# Commands

Generated from the commands themselves (`make generate`); `gpuwatch COMMAND --help` says the same, and so does the
manual page (`man -l docs/gpuwatch.1`). `gpuwatch --install-completion` makes bash, zsh and fish complete commands
and options, `gpuwatch --show-completion` prints what that adds. Colours and bars are for terminals alone, and
`NO_COLOR` is respected; what takes longer than a second shows on standard error how far it is. Exit codes:
0 done, 64 usage, 65 bad data, 69 unavailable, 75 try again (a lock, a replaced driver), 77 no permission,
78 configuration.
"""


def render() -> str:
    """The whole page."""
    group: Any = typer.main.get_command(application())
    context = group.make_context("gpuwatch", [], resilient_parsing=True)
    return HEAD + "".join(_command(name, group.get_command(context, name)) for name in COMMANDS)


def _command(name: str, command: Any) -> str:
    help_text = re.sub(r"\n[ \t]+", "\n", (command.help or "").strip()).replace("\b", "")
    rows = [row for parameter in command.params if (row := _row(parameter))]
    table = "\n| option | meaning |\n|---|---|\n" + "\n".join(rows) + "\n" if rows else ""
    parts = "".join(_command(f"{name} {part}", each) for part, each in getattr(command, "commands", {}).items())
    return f"\n## `gpuwatch {name}`\n\n{help_text}\n{table}{parts}"


def _row(parameter: Any) -> str:
    if getattr(parameter, "hidden", False):
        return ""
    names = ", ".join(f"`{each}`" for each in (*parameter.opts, *parameter.secondary_opts))
    if parameter.param_type_name == "argument":
        names = f"`{(parameter.metavar or parameter.name).upper()}`"
    meaning = " ".join((parameter.help or "").split()).replace("|", "\\|")
    return f"| {names} | {meaning} |"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    for sibling in ("generate_man.py", "generate_configuration.py"):
        runpy.run_path(str(PAGE.with_name(sibling)), run_name="__main__")
