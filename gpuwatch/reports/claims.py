"""What a compute statement claims of one run, or in one row of its table: numbers with the digits they have. Pure.

A number that was rounded says so: 36 MWh is anything from 35.5 to 36.5, and no identity is held against it more
strictly than that.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple


class Stated(NamedTuple):
    """A number as it was stated; the true one lies up to `half` to either side. `digits`: how many it has."""

    value: float
    half: float = 0.0
    digits: int = 0

    @property
    def slack(self) -> float:
        """The factor, at least 1, by which the true number may be larger or smaller."""
        if self.value == 0 or self.half >= abs(self.value):
            return math.inf if self.half else 1.0
        return 1.0 / (1.0 - self.half / abs(self.value))

    def times(self, factor: float) -> Stated:
        """The same in another unit."""
        return Stated(self.value * factor, self.half * factor, self.digits)


@dataclass(frozen=True, slots=True)
class Claim:
    """One row; what is not stated is None. Base units: seconds, joules, watts, grams, FLOP, and g CO2e per kWh.

    `watts` are the mean power per device, `tdp_watts` what its maker allows. `facility_joules` have the PUE in
    them, `device_joules` and `host_joules` have not; of `energy_joules` nobody says which they are.
    `covered_seconds` are the device-seconds that the energy is of, where it is not of all. `all_day`: the devices
    were held for all of the wall time.
    """

    row: str
    device: str = ""
    devices: Stated | None = None
    wall_seconds: Stated | None = None
    device_seconds: Stated | None = None
    covered_seconds: Stated | None = None
    watts: Stated | None = None
    tdp_watts: Stated | None = None
    energy_joules: Stated | None = None
    device_joules: Stated | None = None
    host_joules: Stated | None = None
    facility_joules: Stated | None = None
    pue: Stated | None = None
    grams_per_kwh: Stated | None = None
    carbon_grams: Stated | None = None
    cost: Stated | None = None
    parameters: Stated | None = None
    tokens: Stated | None = None
    flop: Stated | None = None
    utilization: Stated | None = None
    peak_flops: Stated | None = None
    all_day: bool = True
    is_total: bool = False


class Sum(NamedTuple):
    """Parts that must add up to a whole; `tolerance` is relative."""

    name: str
    parts: tuple[float, ...]
    whole: float
    unit: str = ""
    tolerance: float = 1e-6


_NUMBER = re.compile(
    r"[-+]?(?:(?:\d{1,3}(?:[,\u2009\u202f' ]\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,3})?", re.ASCII
)
_ATTACHED = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12, "%": 0.01}
_LONGEST = 60
_LARGEST = 1e50
"""Nothing that is stated is larger, nor its inverse smaller; products of a few such numbers are still numbers."""


def exactly(value: float | None) -> Stated | None:
    """A number that is not rounded; None stays None."""
    return None if value is None else Stated(value, 0.0, 0)


def between(low: float, high: float) -> Stated:
    """A number that lies somewhere between two."""
    return Stated((low + high) / 2, abs(high - low) / 2, 0)


def read_number(text: str) -> tuple[Stated, str] | None:
    """The number that a cell begins with, and the words after it; None where it begins with none.

    A letter of size counts where it touches the number: `7.0M` and `1T`, but `400 T` is 400 with a remark.
    """
    cell = text.strip().strip("*_`~≈< ").strip()[:_LONGEST]
    found = _NUMBER.match(cell)
    if found is None:
        return None
    written = re.sub(r"[,\u2009\u202f' ]", "", found[0])
    value, rest = float(written), cell[found.end() :]
    if abs(value) > _LARGEST or 0 < abs(value) < 1 / _LARGEST:
        return None
    factor = 1.0
    touching = rest[:1]
    if touching in _ATTACHED and (len(rest) == 1 or not rest[1].isalpha()):
        factor, rest = _ATTACHED[touching], rest[1:]
    return _stated(written, value).times(factor), rest.strip(" *_`~")


def _stated(written: str, value: float) -> Stated:
    """Half a unit of the last digit that was written; zeros at the end of a whole number count as rounded."""
    mantissa, _, exponent = written.lower().partition("e")
    whole, dot, fraction = mantissa.lstrip("+-").partition(".")
    shift = int(exponent) if exponent else 0
    figures = (whole + fraction).lstrip("0")
    if dot:
        return Stated(value, 0.5 * 10.0 ** (shift - len(fraction)), len(figures))
    kept = figures.rstrip("0") or "0"
    zeros = len(figures) - len(kept)
    half = 0.5 * 10.0 ** (shift + zeros)
    # 4,900 may have been rounded to hundreds; 400 as a board's power is just that.
    return Stated(value, min(half, _ZEROS * abs(value)) if zeros else half, len(kept))


_ZEROS = 0.01
"""A whole number that ends with zeros is taken to be good to this part of it, or better."""
