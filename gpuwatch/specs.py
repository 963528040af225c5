"""What a device is: dense peak rates, watts and memory, with their sources; the data is in specs.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

_DATA = Path(__file__).with_name("specs.toml")
# Words that say who makes or sells it, and nothing about what it is.
_BRANDS = frozenset(
    ["nvidia", "tesla", "geforce", "amd", "instinct", "intel", "habana", "google", "cloud", "aws", "corporation"]
)
_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class Spec:
    """A model of accelerator, per card or chip; None and a missing precision are unknown.

    `peak_flops` is dense FLOP/s by precision (int8: operations per second), with fp32 accumulation. `watts` is
    the power its maker gives, of the kind `watts_term` says. A driver shows `devices` devices for one of it; of
    a MIG slice these are the figures of the whole, and `Device.fraction` is its part.
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


@lru_cache(maxsize=256)
def lookup(model: str) -> Spec | None:
    """The spec of a model by the name its driver gives (`NVIDIA H100 80GB HBM3`); None where unsure."""
    name = normalised(model[:_LONGEST_NAME])
    for pattern, spec in _table():
        if pattern.fullmatch(name):
            return spec
    return None


def known() -> tuple[Spec, ...]:
    """Every spec there is."""
    return tuple(spec for _, spec in _table())


def normalised(model: str) -> str:
    """A model's name in lower case and single blanks, without maker, brand and MIG profile."""
    words = re.findall(r"[a-z0-9]+", model.casefold())
    if "mig" in words:
        words = words[: words.index("mig")]
    return " ".join(word for word in words if word not in _BRANDS)


@cache
def _table() -> tuple[tuple[re.Pattern[str], Spec], ...]:
    data = tomllib.loads(_DATA.read_text(encoding="utf-8"))
    return tuple((re.compile(entry["match"]), _spec(entry, data["sources"])) for entry in data["device"])


def _spec(entry: Mapping[str, Any], sources: Mapping[str, str]) -> Spec:
    return Spec(
        entry["name"],
        entry["vendor"],
        MappingProxyType({precision: tera * 1e12 for precision, tera in entry.get("peak", {}).items()}),
        entry.get("watts"),
        entry.get("term", "board"),
        entry.get("idle_watts"),
        entry["memory"] * 2.0**30,
        entry.get("devices", 1),
        "; ".join(sources[source] for source in entry["source"]),
        entry.get("note", ""),
    )
