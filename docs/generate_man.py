"""Write docs/gpuwatch.1, the manual page, from the commands themselves, in plain roff: `man -l` shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from gpuwatch.cli import COMMANDS, application

PAGE = Path(__file__).with_name("gpuwatch.1")

_EXITS = (
    ("0", "done"), ("64", "the command line is wrong"), ("65", "data cannot be used"),
    ("69", "something is not there, or does not answer"), ("75", "try again: a lock, a replaced driver"),
    ("77", "not permitted"), ("78", "the configuration has mistakes"),
)  # fmt: skip
_ENVIRONMENT = (
    ("GPUWATCH_ESTIMATE", "what a job declares, as `gpuwatch declare` takes it"),
    ("NO_COLOR", "no colours, where it is set to anything"),
    ("SLURM_JWT", "the token that commands show accounting over TCP, as `scontrol token` sets it"),
    ("XDG_STATE_HOME", "where `gpuwatch up` keeps what it knows, below gpuwatch/ (default: ~/.local/state)"),
)
_FILES = (
    ("/etc/gpuwatch/gpuwatch.toml, /etc/gpuwatch/conf.d/*.toml", "configuration"),
    ("/etc/gpuwatch/web-config.yml", "TLS and users of both daemons"),
    ("/run/gpuwatch/agent.sock", "where jobs tell the agent what they declare and how far they are"),
    ("/var/lib/gpuwatch*/", "counters of the agent, the ledger of accounting"),
)


def render() -> str:
    """The whole page."""
    group: Any = typer.main.get_command(application())
    context = group.make_context("gpuwatch", [], resilient_parsing=True)
    return "\n".join(_page(group, context)) + "\n"


def _page(group: Any, context: Any) -> Iterator[str]:
    yield '.TH GPUWATCH 1 "" "gpuwatch" "User Commands"'
    yield from (".SH NAME", r"gpuwatch \- what deep learning costs, told while the job runs")
    yield from (".SH SYNOPSIS", r".B gpuwatch", ".I COMMAND", "[OPTION]...", ".SH DESCRIPTION")
    yield from _text(group.help or "")
    yield from _text("`gpuwatch COMMAND --help` says what stands here of one command, docs/ says more.")
    yield ".SH COMMANDS"
    for name in COMMANDS:
        yield from _command(name, group.get_command(context, name), context)
    yield from _listed("EXIT STATUS", _EXITS)
    yield from _listed("ENVIRONMENT", _ENVIRONMENT)
    yield from _listed("FILES", _FILES)
    yield from (".SH COMPLETION", r"\fBgpuwatch \-\-install\-completion\fR puts it into the files of your shell.")


def _command(name: str, command: Any, parent: Any) -> Iterator[str]:
    yield f'.SS "gpuwatch {_escaped(name)}"'
    yield from _text(command.help or "")
    context = command.make_context(name.rpartition(" ")[2], [], parent=parent, resilient_parsing=True)
    for parameter in command.params:
        told = parameter.get_help_record(context)
        if told is not None:
            yield from _parameter(parameter, *told)
    for part, each in getattr(command, "commands", {}).items():
        yield from _command(f"{name} {part}", each, context)


def _parameter(parameter: Any, usage: str, meaning: str) -> Iterator[str]:
    """An option in bold, what it takes and an argument in italics, as `--help` words them."""
    yield ".TP"
    if parameter.param_type_name == "argument":
        yield rf"\fI{_escaped(usage)}\fR"
    else:
        yield re.sub(r"(?<![^ ,/])((?:\\-){1,2}[a-z][a-z\\-]*)", r"\\fB\1\\fR", _escaped(usage))
    yield _line(" ".join(meaning.split()))


def _text(text: str) -> Iterator[str]:
    """Paragraphs."""
    for paragraph in re.split(r"\n\s*\n", text.replace("\b", "").strip()):
        yield ".PP"
        yield _line(" ".join(paragraph.split()))


def _listed(title: str, rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    yield f'.SH "{title}"'
    for name, meaning in rows:
        yield from (".TP", rf"\fB{_escaped(name)}\fR", _line(meaning))


def _line(text: str) -> str:
    """A line that roff takes for text, with what stands in backquotes in bold."""
    told = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", _escaped(text))
    return rf"\&{told}" if told[:1] in (".", "'") else told or r"\&"


def _escaped(text: str) -> str:
    """Characters that roff would take for its own, or print as others."""
    return text.replace("\\", r"\e").replace("-", r"\-").replace("~", r"\(ti").replace("^", r"\(ha")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
