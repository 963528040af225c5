"""What a request may ask: declared once, for the reader of a request and for the OpenAPI document alike.

A parameter that is not declared, is there twice, or has a value that cannot be is refused, never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from gpuwatch import declaration
from gpuwatch.errors import Rejected
from gpuwatch.ledger.periods import midnight
from gpuwatch.model import EMPTY

NAME_LENGTH = 256
LATEST = 2.0**32
ZONE_PATTERN = r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,3}$"
TIME_PATTERN = (
    r"^([0-9]{1,10}([.][0-9]{1,6})?|[0-9]{4}-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01])(T([01][0-9]|2[0-3]):[0-5][0-9]"
    r"(:[0-5][0-9])?(Z|[+-][0-9]{2}:[0-9]{2})?)?)?)$"
)
HOURS_PATTERN = r"^[0-9]{1,12}([.][0-9]{1,9})?$"
_HOURS = re.compile(HOURS_PATTERN)
_SECONDS = re.compile(r"[0-9]{1,10}([.][0-9]{1,6})?")
_FIRST = date(1970, 1, 2)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: `read` makes a value of its text or raises `Rejected`, `schema` is its JSON Schema."""

    name: str
    description: str
    read: Callable[[str], Any]
    schema: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    default: Any = None
    required: bool = False


def word(name: str, description: str) -> Parameter:
    """Any text that could be a name in the ledger."""
    schema = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH}
    return Parameter(name, description, lambda text: name_of(name, text), schema)


def choice(name: str, description: str, choices: Sequence[str], default: str | None = None) -> Parameter:
    """One of some words."""
    schema = {"type": "string", "enum": list(choices)} | ({"default": default} if default else {})

    def read(text: str) -> str:
        if text not in choices:
            raise Rejected(f"{name}: {text[:40]!r} is not possible; there is: {', '.join(choices)}")
        return text

    return Parameter(name, description, read, schema, default)


def scope(name: str, description: str) -> Parameter:
    """What declarations are for, KIND:NAME; it must be given."""
    schema = {"type": "string", "pattern": r"^(job|campaign|account|array):[A-Za-z0-9]", "maxLength": NAME_LENGTH}
    return Parameter(name, description, declaration.scope, schema, required=True)


def whole(name: str, description: str, low: int, high: int, default: int) -> Parameter:
    """A whole number."""
    schema = {"type": "integer", "minimum": low, "maximum": high, "default": default}

    def read(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high:
            return int(text)
        raise Rejected(f"{name}: {text[:40]!r} is not possible; it must be a whole number from {low} to {high}")

    return Parameter(name, description, read, schema, default)


def hours(name: str, description: str) -> Parameter:
    """An amount in hours, read as seconds."""
    schema = {"type": "string", "pattern": HOURS_PATTERN}

    def read(text: str) -> float:
        if _HOURS.fullmatch(text) and float(text) > 0:
            return float(text) * 3600.0
        raise Rejected(f"{name}: {text[:40]!r} is not possible; it must be a number of hours above 0")

    return Parameter(name, description, read, schema)


def moment(name: str, description: str) -> Parameter:
    """A time; it is read later, as a day begins when it does in the time zone that is asked for."""
    schema = {"type": "string", "pattern": TIME_PATTERN}
    return Parameter(name, f"{description}: Unix seconds, 2026-11, 2026-11-25 or 2026-11-25T13:00", _short, schema)


def zone(name: str, description: str) -> Parameter:
    """A time zone."""
    schema = {"type": "string", "pattern": ZONE_PATTERN, "maxLength": 64, "default": "UTC"}
    return Parameter(name, f"{description}, as in Europe/Berlin", zone_of, schema, UTC)


def values_of(parameters: Iterable[Parameter], given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The values of all parameters by name; `Rejected` for one that is not declared, wrong, or there twice."""
    declared = {each.name: each for each in parameters}
    values = {name: each.default for name, each in declared.items()}
    seen: set[str] = set()
    for name, text in given:
        if name not in declared:
            there = ", ".join(declared) or "none"
            raise Rejected(f"{name[:40]!r}: is no parameter; there is: {there}")
        if name in seen:
            raise Rejected(f"{name}: is there twice")
        seen.add(name)
        values[name] = declared[name].read(text)
    for name, each in declared.items():
        if each.required and name not in seen:
            raise Rejected(f"{name}: is missing; it is {each.description}")
    return values


def name_of(where: str, text: str) -> str:
    """A name as the ledger may have it; `Rejected` for what cannot be one."""
    if 0 < len(text) <= NAME_LENGTH and text.isprintable() and _is_text(text):
        return text
    raise Rejected(f"{where}: {text[:40]!r} is no name; it has 1 to {NAME_LENGTH} characters that can be printed")


def zone_of(name: str) -> tzinfo:
    """The time zone of a name; `Rejected` where there is none."""
    parts = name.split("/")
    try:
        if len(name) <= 64 and all(
            part.replace("_", "").replace("-", "").replace("+", "").isalnum() for part in parts
        ):
            return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        pass
    raise Rejected(f"timezone: {name[:40]!r} is no time zone; write one as in Europe/Berlin")


def time_of(where: str, text: str, zone: tzinfo) -> float:
    """Unix seconds of a time as it is typed, in `zone` where it names none; `Rejected` where it is none."""
    try:
        if _SECONDS.fullmatch(text):
            seconds = float(text)
        elif len(text) <= len("2026-11-25"):
            day = date.fromisoformat(f"{text}-01" if len(text) == len("2026-11") else text)
            seconds = midnight(max(_FIRST, day), zone)
        else:
            found = datetime.fromisoformat(text)
            seconds = (found if found.tzinfo else found.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError, OSError) as exc:
        raise _no_time(where, text) from exc
    if not 0 <= seconds <= LATEST:
        raise _no_time(where, text)
    return seconds


def _no_time(where: str, text: str) -> Rejected:
    return Rejected(
        f"{where}: {text[:40]!r} is no time; write Unix seconds, 2026-11-25, 2026-11 or 2026-11-25T13:00"
    )


def _short(text: str) -> str:
    if len(text) > 40:
        raise Rejected(f"{text[:40]!r}: is no time")
    return text


def _is_text(text: str) -> bool:
    return text.encode("utf-8", "replace").decode() == text
