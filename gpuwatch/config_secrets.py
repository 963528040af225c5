"""Files that hold secrets: whom they are open to. What everybody may read or write is no secret."""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpuwatch.errors import ConfigurationError

_HOLDS_A_SECRET = re.compile(r"(.*_)?(token|password|secret|key)_file|kubeconfig")

_HAS_A_PASSWORD = re.compile(r"://[^/@\s?:]*:[^/@\s?]+@")

Key = tuple[str, ...]


def named_in(table: Mapping[str, Any], key: Key = ()) -> Iterator[tuple[Key, Path]]:
    """The files with secrets that a table of the configuration names, and by which keys."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from named_in(value, (*key, name))
        elif isinstance(value, str | Path) and str(value) and _HOLDS_A_SECRET.fullmatch(name):
            yield (*key, name), Path(value)


def passwords_in(value: Any, key: Key = ()) -> Iterator[Key]:
    """The keys below which there is an address with a password in it."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from passwords_in(each, (*key, name))
    elif isinstance(value, list | tuple):
        if any(True for each in value for _ in passwords_in(each)):
            yield key
    elif isinstance(value, str) and _HAS_A_PASSWORD.search(value):
        yield key


def exposure(path: Path) -> str:
    """How everybody on this machine gets at the file, and the command that ends that; empty where nobody does."""
    mode = _mode(path)
    if not mode & (stat.S_IROTH | stat.S_IWOTH) or not _is_reachable(path):
        return ""
    may = "read" if mode & stat.S_IROTH else "write"
    return f"holds a secret and everybody may {may} it (mode {mode:04o}); run: chmod o= {shlex.quote(str(path))}"


def loose(path: Path) -> str:
    """Whether the group may change it, and the command that ends that; empty where it may not."""
    mode = _mode(path)
    if not mode & stat.S_IWGRP:
        return ""
    return f"its group may change it (mode {mode:04o}); run: chmod g-w {shlex.quote(str(path))}"


def refuse_exposed(path: Path) -> None:
    """Raise `ConfigurationError` where everybody gets at the file."""
    told = exposure(path)
    if told:
        raise ConfigurationError([f"{path}: {told}"])


def _mode(path: Path) -> int:
    """Its permissions; none where there is no such file, or it is a device, as /dev/null."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return 0
    return stat.S_IMODE(found.st_mode) if stat.S_ISREG(found.st_mode) else 0


def _is_reachable(path: Path) -> bool:
    """Whether everybody may go through the directories above it: those of credentials are closed."""
    try:
        return all(each.stat().st_mode & stat.S_IXOTH for each in path.resolve().parents)
    except OSError:
        return False
