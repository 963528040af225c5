"""Find plugins by entry point; built-ins use the same door as a stranger's package."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from gpuwatch.errors import ConfigurationError

ROOMS = ("devices", "host", "jobs", "sinks", "schedulers", "usage", "notifiers")


def available(room: str) -> dict[str, EntryPoint]:
    """The installed plugins of a room, by name."""
    return dict(_installed(room, tuple((each, _changed(each)) for each in sys.path)))


def _changed(place: str) -> int:
    try:
        return Path(place).stat().st_mtime_ns
    except OSError:
        return 0


# Every package is looked at for each room, and a configuration is checked room by room.
@lru_cache(maxsize=len(ROOMS))
def _installed(room: str, places: tuple[tuple[str, int], ...]) -> dict[str, EntryPoint]:
    return {found.name: found for found in entry_points(group=f"gpuwatch.{room}")}


def load(room: str, name: str) -> Any:
    """The plugin's class; `ConfigurationError` where there is none of that name or it cannot be imported."""
    found = available(room)
    if name not in found:
        there = ", ".join(sorted(found)) or "none"
        raise ConfigurationError([f"{room}: no plugin {name!r}; there is: {there}"])
    try:
        return found[name].load()
    except (ImportError, AttributeError) as exc:
        raise ConfigurationError([f"{room}.{name}: cannot be imported; {exc}"]) from exc
