"""Options that several commands share, and where one user's own gpuwatch keeps its things."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration file (default: /etc/gpuwatch/gpuwatch.toml).")
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")]


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
