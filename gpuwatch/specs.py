"""What a device is: dense peak rates, watts and memory, with their sources; the data is in specs.toml.

A site's own rows, in /etc/gpuwatch/specs.toml, stand before the shipped ones.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gpuwatch.errors import ConfigurationError

SITE_FILE = Path("/etc/gpuwatch/specs.toml")
"""A site's own rows, read where the file is there."""
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "fp8", "fp4", "int8")

_DATA = Path(__file__).with_name("specs.toml")
# Words that say who makes or sells it, and nothing about what it is.
_BRANDS = frozenset(
    ["nvidia", "tesla", "geforce", "amd", "instinct", "intel", "habana", "google", "cloud", "aws", "corporation"]
)
_LONGEST_NAME = 256
_LARGEST_FILE = 2**20

Row = Mapping[str, Any]
"""An entry of a file, as TOML has it, its sources written out."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A model of accelerator, per card or chip; None and a missing precision are unknown.

    `peak_flops` is dense FLOP/s by precision (int8: operations per second), with fp32 accumulation. `watts` is
    the power its maker gives, of the kind `watts_term` says. A driver shows `devices` devices for one of it; of
    a MIG slice these are the figures of the whole, and `Device.fraction` is its part. `conflicts` are what other
    sources say. A batch system counts `counted` devices for one of it.
    """

    name: str
    vendor: str
    peak_flops: Mapping[str, float]
    watts: float | None
    watts_term: str
    idle_watts: float | None
    memory_bytes: float
    devices: int
    source: str
    note: str
    conflicts: tuple[str, ...] = ()
    counted: int = 1


@dataclass(frozen=True, slots=True)
class Table:
    """Specs, each with the expression that the normalised names of its model match; the first match counts."""

    rows: tuple[tuple[re.Pattern[str], Spec], ...]

    def lookup(self, model: str) -> Spec | None:
        """The spec of a model by the name its driver gives; None where unsure."""
        name = normalised(model[:_LONGEST_NAME])
        return next((spec for pattern, spec in self.rows if pattern.fullmatch(name)), None)

    @property
    def specs(self) -> tuple[Spec, ...]:
        """Every spec there is."""
        return tuple(spec for _, spec in self.rows)


@lru_cache(maxsize=256)
def lookup(model: str) -> Spec | None:
    """The spec of a model by the name its driver gives (`NVIDIA H100 80GB HBM3`); None where unsure."""
    return _table().lookup(model)


def known() -> tuple[Spec, ...]:
    """Every spec there is; `ConfigurationError` where the site's file cannot be used."""
    return _table().specs


def load(*files: Path) -> Table:
    """The shipped specs under the rows of files, earlier files first; `ConfigurationError` has every mistake.

    A row with the name of another one, or of a shipped one, replaces what it says of it and keeps the rest.
    """
    rows: dict[str, Row] = {str(row["name"]): row for row in _shipped()}
    own: list[str] = []
    for path in reversed(files):
        for row in _rows_of(path, rows):
            rows[str(row["name"])] = row
            own.insert(0, str(row["name"]))
    names = [*dict.fromkeys(own), *(name for name in rows if name not in own)]
    return Table(tuple((re.compile(rows[name]["match"]), _spec(rows[name])) for name in names))


def normalised(model: str) -> str:
    """A model's name in lower case and single blanks, without maker, brand and MIG profile."""
    words = re.findall(r"[a-z0-9]+", model.casefold())
    if "mig" in words:
        words = words[: words.index("mig")]
    return " ".join(word for word in words if word not in _BRANDS)


def site_files() -> tuple[Path, ...]:
    """The site's file, where there is one that may be looked at."""
    try:
        return (SITE_FILE,) if SITE_FILE.is_file() else ()
    except OSError:
        return ()


@cache
def _table() -> Table:
    return load(*site_files())


def _shipped() -> Iterator[Row]:
    data = tomllib.loads(_DATA.read_text(encoding="utf-8"))
    for row in data["device"]:
        yield {**row, "source": "; ".join(data["sources"][source] for source in row["source"])}


def _spec(row: Row) -> Spec:
    return Spec(
        row["name"],
        row["vendor"],
        MappingProxyType({precision: tera * 1e12 for precision, tera in row.get("peak", {}).items()}),
        row.get("watts"),
        row.get("term", "board"),
        row.get("idle_watts"),
        row["memory"] * 2.0**30,
        row.get("devices", 1),
        row["source"],
        row.get("note", ""),
        tuple(row.get("conflicts", ())),
        row.get("counted", row.get("devices", 1)),
    )


def _rows_of(path: Path, there: Mapping[str, Row]) -> list[Row]:
    """The rows of a file, completed by those of the same name that are there already."""
    mistakes: list[str] = []
    found: dict[str, Row] = {}
    for number, row in enumerate(_devices_in(path), 1):
        wrong, name = [], row.get("name") if isinstance(row, dict) else None
        if not isinstance(name, str) or not name:
            wrong.append("name: is missing; the name of the device, as gpuwatch is to show it")
        elif name in found:
            wrong.append(f"name: {name!r} stands twice")
        else:
            found[name] = _completed(row, there.get(name, {}))
            wrong.extend(_mistakes_in(row, found[name]))
        mistakes += [f"{path}: device {number}: {each}" for each in wrong]
    if mistakes:
        raise ConfigurationError(mistakes)
    return list(found.values())


def _devices_in(path: Path) -> list[Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            raise ConfigurationError([f"{path}: is longer than {_LARGEST_FILE // 2**20} MiB"])
        document = tomllib.loads(data.decode("utf-8"))
    except OSError as exc:
        raise ConfigurationError([f"{path}: cannot be read; {exc.strerror}"]) from exc
    except (ValueError, RecursionError) as exc:
        raise ConfigurationError([f"{path}: is not TOML; {exc}"]) from exc
    unknown = sorted(document.keys() - {"device"})
    devices = document.get("device", [])
    if unknown or not isinstance(devices, list):
        raise ConfigurationError([f"{path}: {(unknown or ['device'])[0]!r} is not possible; there is: [[device]]"])
    return devices


def _completed(row: Row, before: Row) -> Row:
    whole = {"vendor": "", "match": re.escape(normalised(str(row["name"]))), **before, **row}
    if isinstance(row.get("source"), list):
        whole["source"] = "; ".join(map(str, row["source"]))
    return whole


def _mistakes_in(row: Row, whole: Row) -> Iterator[str]:
    for key, value in row.items():
        if key not in _KEYS:
            near = get_close_matches(key, _KEYS, n=1)
            hint = f", did you mean {near[0]!r}" if near else ""
            yield f"unknown key {key[:40]!r}{hint}; there is: {', '.join(_KEYS)}"
        elif not _KEYS[key][0](value):
            yield f"{key}: {str(value)[:60]!r} is not possible; {_KEYS[key][1]}"
    yield from (f"{key}: is missing; {_KEYS[key][1]}" for key in ("memory", "source") if key not in whole)


def _text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 1000


def _texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_text, value))


def _within(low: float, high: float) -> Callable[[object], bool]:
    return lambda value: type(value) in (int, float) and low <= value <= high  # type: ignore[operator]


def _few(value: object) -> bool:
    return type(value) is int and 1 <= value <= 64


def _peaks(value: object) -> bool:
    rate = _within(0.01, 1e6)
    return isinstance(value, dict) and value.keys() <= set(PRECISIONS) and all(map(rate, value.values()))


def _expression(value: object) -> bool:
    try:
        return _text(value) and bool(re.compile(str(value)))
    except re.error:
        return False


_KEYS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "name": (_text, "a text"),
    "vendor": (_text, "a text"),
    "match": (_expression, "a regular expression for the whole normalised name"),
    "peak": (_peaks, f"dense TFLOP/s by precision, of {', '.join(PRECISIONS)}"),
    "watts": (_within(1, 100_000), "watts, 1 to 100,000"),
    "term": (_text, "what kind of power it is, as board or TDP"),
    "idle_watts": (_within(0, 100_000), "watts, 0 to 100,000"),
    "memory": (_within(0.1, 100_000), "GiB"),
    "devices": (_few, "a whole number, 1 to 64"),
    "counted": (_few, "a whole number, 1 to 64"),
    "source": (
        lambda value: _text(value) or _texts(value),
        "where the figures are from: a text, or a list of them",
    ),
    "note": (_text, "a text"),
    "conflicts": (_texts, "what other sources say: a list of texts"),
}
"""What a row may say, and what each value must be."""
