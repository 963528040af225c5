"""The columns of recordings: what each is called, in which unit it comes, and where in a reading it belongs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from gpuwatch.hygiene import label
from gpuwatch.model import Labels

DEFAULT_UID = "replay:0"
# Later than any clock in seconds; what is larger is milliseconds or garbage.
LATEST = 1e11

UNITS: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "watts": {"W": 1.0, "mW": 1e-3, "kW": 1e3},
    "ratio": {"%": 0.01},
    "bytes": {"MiB": 2.0**20, "B": 1.0, "KiB": 2.0**10, "GiB": 2.0**30, "MB": 1e6, "GB": 1e9},
    "hertz": {"MHz": 1e6, "Hz": 1.0, "kHz": 1e3, "GHz": 1e9},
    "joules": {"mJ": 1e-3, "J": 1.0, "kJ": 1e3},
    "celsius": {"C": 1.0, "°C": 1.0},
}
"""The units in which a number may come, by what they measure; the first is that of a number without one."""


class Quantity(NamedTuple):
    """A column that is a number: the field of a reading, its labels where it has any, and its `UNITS`."""

    field: str
    labels: Labels | None = None
    units: str = "none"


OWN: Mapping[str, Quantity] = {
    "utilization_ratio": Quantity("utilization_ratio"),
    "power_watts": Quantity("power_watts", ("average", "device")),
    "energy_joules_total": Quantity("energy_joules"),
    "memory_used_bytes": Quantity("memory_used_bytes"),
}

AVERAGE = Quantity("power_watts", ("average", "device"), "watts")
INSTANT = Quantity("power_watts", ("instant", "device"), "watts")
LIMIT = Quantity("power_limit_watts", None, "watts")
ENERGY = Quantity("energy_joules", None, "joules")

# What `nvidia-smi --help-query-gpu` names, without the units that its header adds. Of columns for the same
# number the earlier one here counts wherever it is known: the average before the draw.
NVIDIA_SMI: Mapping[str, Quantity] = {
    "power.draw.average": AVERAGE,
    "power.draw": AVERAGE,
    "power.draw.instant": INSTANT,
    "enforced.power.limit": LIMIT,
    "power.limit": LIMIT,
    "total_energy_consumption": ENERGY,
    "total.energy.consumption": ENERGY,
    "energy.total": ENERGY,
    "utilization.gpu": Quantity("utilization_ratio", None, "ratio"),
    "utilization.memory": Quantity("memory_utilization_ratio", None, "ratio"),
    "memory.used": Quantity("memory_used_bytes", None, "bytes"),
    "memory.total": Quantity("memory_total_bytes", None, "bytes"),
    "memory.reserved": Quantity("memory_reserved_bytes", None, "bytes"),
    "temperature.gpu": Quantity("temperature_celsius", "gpu", "celsius"),
    "temperature.memory": Quantity("temperature_celsius", "memory", "celsius"),
    "clocks.current.sm": Quantity("clock_hz", "sm", "hertz"),
    "clocks.sm": Quantity("clock_hz", "sm", "hertz"),
    "clocks.current.memory": Quantity("clock_hz", "memory", "hertz"),
    "clocks.mem": Quantity("clock_hz", "memory", "hertz"),
}
UIDS = ("uuid", "gpu_uuid", "pci.bus_id", "gpu_bus_id", "index")
MODELS = ("name", "gpu_name")

_UNKNOWN = frozenset(
    ("", "n/a", "na", "none", "null", "-", "err!", "not supported", "unknown error", "gpu is lost")
)
_WITH_UNIT = re.compile(r"(.*?)\s*([A-Za-z%°]+)")
_LONGEST_NUMBER = 40


class Column(NamedTuple):
    """A quantity at its place in the row, and the factor for a number that comes without a unit."""

    cell: int
    quantity: Quantity
    scale: float


class Layout:
    """What the columns of one header mean. The methods take the cells of a row, of any number."""

    def __init__(self, format: str, names: Sequence[str], units: Sequence[str | None]) -> None:
        own = format == "gpuwatch"
        self.format = format
        self.width = len(names)
        self._time_index = names.index("time_s" if own else "timestamp")
        self._time_of = _plain if own else _timestamp
        self._uid_name = _first(("uid",) if own else UIDS, names)
        self._uid_index = None if self._uid_name is None else names.index(self._uid_name)
        self._job_index = names.index("job_id") if own and "job_id" in names else None
        model = None if own else _first(MODELS, names)
        self._model_index = None if model is None else names.index(model)
        known = OWN if own else NVIDIA_SMI
        self._columns = tuple(
            _column(names.index(name), quantity, units) for name, quantity in known.items() if name in names
        )

    @property
    def has_uid(self) -> bool:
        """Whether rows say which device they are about."""
        return self._uid_index is not None

    def time(self, cells: list[str]) -> float | None:
        """The row's time in seconds; None where the row is none of this layout, or its time is no time."""
        if len(cells) != self.width and (len(cells) < self.width or any(map(str.strip, cells[self.width :]))):
            return None
        time = self._time_of(cells[self._time_index].strip())
        return time if time is not None and -LATEST < time < LATEST else None

    def uid(self, cells: list[str]) -> str:
        """The device that the row is about."""
        if self._uid_index is None:
            return DEFAULT_UID
        text = cells[self._uid_index].strip()
        if not text or (self._uid_name != "uid" and _unknown(text)):
            return DEFAULT_UID
        return label(f"replay:{text}" if self._uid_name == "index" else text)

    def job_id(self, cells: list[str]) -> str | None:
        """The job that the row names."""
        text = "" if self._job_index is None else cells[self._job_index].strip()
        return label(text) if text else None

    def model(self, cells: list[str]) -> str | None:
        """The model of the device, where the recording has it."""
        text = "" if self._model_index is None else cells[self._model_index].strip()
        return None if _unknown(text) else label(text)

    def values(self, cells: list[str]) -> dict[str, Any]:
        """The fields of a reading; a cell that is no number stays text, for the range check to drop and count."""
        values: dict[str, Any] = {}
        for cell, (field, labels, units), scale in self._columns:
            value = number(cells[cell], units, scale)
            if value is None:
                continue
            if labels is None:
                values.setdefault(field, value)
            else:
                values.setdefault(field, {}).setdefault(labels, value)
        return values


def _column(cell: int, quantity: Quantity, units: Sequence[str | None]) -> Column:
    known = UNITS[quantity.units]
    usual = next(iter(known.values()), 1.0)
    return Column(cell, quantity, known.get(units[cell] or "", usual))


def _first(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def layout_of(cells: Sequence[str]) -> Layout | None:
    """The layout that a header announces; None where the line is no header of a format that is known."""
    parts = [cell.strip().partition("[") for cell in cells]
    names = [name.strip().lower() for name, _, _ in parts]
    units = [unit.rstrip("] \n") or None for _, _, unit in parts]
    if "time_s" in names:
        return Layout("gpuwatch", names, units)
    return Layout("nvidia-smi", names, units) if "timestamp" in names else None


def number(cell: str, units: str, scale: float) -> float | str | None:
    """A cell as a number in the base unit, None where it says unknown, else its text."""
    plain = _plain(cell)
    if plain is not None:
        return plain * scale
    return _cached_wordy(cell, units) if len(cell) <= _LONGEST_NUMBER else _wordy(cell, units)


def _unknown(text: str) -> bool:
    return text.lower() in _UNKNOWN or (text.startswith("[") and text.endswith("]"))


def _wordy(cell: str, units: str) -> float | str | None:
    """A cell that is more than a number, or none."""
    text = cell.strip()
    if _unknown(text):
        return None
    match = _WITH_UNIT.fullmatch(text)
    factor = UNITS[units].get(match[2]) if match else None
    plain = _plain(match[1]) if match and factor is not None else None
    return text if plain is None or factor is None else plain * factor


# Devices say the same number many times in a row.
_cached_wordy = lru_cache(maxsize=8192)(_wordy)


def _plain(text: str) -> float | None:
    try:
        # Python allows 1_000; a recording does not.
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _timestamp(text: str) -> float | None:
    """`2023/12/18 17:01:44.300`; it has no time zone and is taken as UTC, for only differences count."""
    minute, seconds = _minute(text[:17].replace("-", "/")), _plain(text[17:])
    return None if minute is None or seconds is None or not 0 <= seconds < 61 else minute + seconds


@lru_cache(maxsize=256)
def _minute(text: str) -> float | None:
    try:
        return datetime.strptime(f"{text}+0000", "%Y/%m/%d %H:%M:%z").timestamp()
    except ValueError:
        return None
