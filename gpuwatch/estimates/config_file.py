"""The `config.json` beside a model, read as text that anybody may have written: every mistake is told at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from gpuwatch.errors import ConfigurationError

LARGEST_BYTES = 4 * 2**20
LARGEST_SIZE = 10**9
"""No width, depth or vocabulary is larger."""


def read(path: Path) -> Mapping[str, Any]:
    """The object in a file; `ConfigurationError` where there is none."""
    try:
        if not path.is_file():
            raise ConfigurationError([f"{path}: is no file; name the config.json of a model"])
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as exc:
        raise ConfigurationError([f"{path}: cannot be read; {exc}"]) from exc
    if len(data) > LARGEST_BYTES:
        raise ConfigurationError([f"{path}: is longer than {LARGEST_BYTES // 2**20} MiB; no configuration is"])
    return parse(data, str(path))


def parse(data: bytes, name: str) -> Mapping[str, Any]:
    """The object that a text is; `name` is for messages."""
    try:
        document = json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError) as exc:
        reason = "nested too deep" if isinstance(exc, RecursionError) else str(exc)[:200]
        raise ConfigurationError([f"{name}: is not JSON; {reason}"]) from exc
    if not isinstance(document, dict):
        raise ConfigurationError([f"{name}: is no object; a configuration is, as in {{'hidden_size': 4096}}"])
    return document


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


class Reader:
    """The keys of a configuration, each under any of its names.

    `mistakes` are those found so far, `assumed` says what was not in it and what was taken instead. A value that
    is wrong is read as its default, or 1, so that the others are looked at, too.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.mistakes: list[str] = []
        self.assumed: list[str] = []

    def size(self, *names: str, default: int | None = None, why: str = "", least: int = 1) -> int:
        """A whole number; without a default it must be there. `why` says where the default is from."""
        found = self._named(names)
        if found is None:
            if default is None:
                self.mistakes.append(f"{' or '.join(names)}: is missing; a whole number")
                return least or 1
            if why:
                self.assumed.append(f"{names[0]} is missing: {default}, {why}")
            return default
        name, value = found
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST_SIZE:
            shown = _shown(value)
            self.mistakes.append(f"{name}: {shown} is not possible; a whole number, {least} to {LARGEST_SIZE:g}")
            return default or least or 1
        return value

    def optional(self, *names: str) -> int | None:
        """A whole number of at least 1, None where it is missing, null or 0."""
        found = self._named(names)
        if found is None or found[1] in (0, False):
            return None
        return self.size(*names)

    def flag(self, *names: str, default: bool, why: str = "") -> bool:
        """True or false."""
        found = self._named(names)
        if found is None:
            if why:
                self.assumed.append(f"{names[0]} is missing: {str(default).lower()}, {why}")
            return default
        if not isinstance(found[1], bool):
            self.mistakes.append(f"{found[0]}: {_shown(found[1])} is not possible; true or false")
            return default
        return found[1]

    def text(self, name: str) -> str:
        """A word; empty where it is missing."""
        value = self.document.get(name)
        if value is not None and not isinstance(value, str):
            self.mistakes.append(f"{name}: {_shown(value)} is not possible; a word")
        return value if isinstance(value, str) else ""

    def list(self, name: str) -> list[Any]:
        """A list; empty where it is missing."""
        value = self.document.get(name)
        if value is not None and not isinstance(value, list):
            self.mistakes.append(f"{name}: {_shown(value)} is not possible; a list")
        return value if isinstance(value, list) else []

    def _named(self, names: tuple[str, ...]) -> tuple[str, Any] | None:
        return next(((name, self.document[name]) for name in names if self.document.get(name) is not None), None)


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) > LARGEST_SIZE:
        return "a huge number" if value > 0 else "a number below 0"
    text = repr(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    return text[:60]
