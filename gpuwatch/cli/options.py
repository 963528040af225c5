"""Options that several commands share, and where one user's own gpuwatch keeps its things."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from gpuwatch.service import LogFormat

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration file (default: /etc/gpuwatch/gpuwatch.toml).")
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")]
LogFormatOption = Annotated[LogFormat, typer.Option(help="Log lines as text, or as json: an object on each.")]


def overrides_of(**options: Any) -> dict[str, Any]:
    """Command-line options as dotted keys of the configuration; `site__node` is `site.node`."""
    return {name.replace("__", "."): value for name, value in options.items() if value is not None}


def own_directory() -> Path:
    """Where `gpuwatch up` of this user keeps everything, and the other commands look for it."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "gpuwatch"


def ledger_in(directory: Path) -> str:
    """The URL of the ledger that `gpuwatch up` keeps in a directory."""
    return f"sqlite:///{directory / 'ledger.db'}"


_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(s|m|min|h|d)", re.ASCII)


def seconds_of(text: str, option: str) -> float:
    """A duration as people write it, `90s`, `30m`, `2h` or `1d`, in seconds; a usage error where it is none."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no duration; write 90s, 30m, 2h or 1d", param_hint=option)
    return float(found[1]) * _UNITS[found[2]]
