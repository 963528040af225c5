"""What the columns of somebody else's table are, by their heads: which field of a claim, in which unit. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from gpuwatch.model import EMPTY

_HOUR, _DAY = 3600.0, 86_400.0
_JOULES = {
    "wh": 3600.0,
    "kwh": 3.6e6,
    "mwh": 3.6e9,
    "gwh": 3.6e12,
    "j": 1.0,
    "joules": 1.0,
    "kj": 1e3,
    "mj": 1e6,
    "gj": 1e9,
}
_GRAMS = {
    "g": 1.0,
    "grams": 1.0,
    "kg": 1e3,
    "t": 1e6,
    "tonnes": 1e6,
    "tonne": 1e6,
    "tons": 1e6,
    "kt": 1e9,
    "mt": 1e6,
}
_WATTS = {"w": 1.0, "watts": 1.0, "kw": 1e3}
_TIME = {"h": _HOUR, "hours": _HOUR, "hour": _HOUR, "d": _DAY, "days": _DAY, "day": _DAY, "s": 1.0, "seconds": 1.0}
_INTENSITY = {"g": 1.0, "gco2": 1.0, "gco2e": 1.0, "gco2eq": 1.0, "kg": 1e3, "kgco2": 1e3, "kgco2e": 1e3, "t": 1e3}


class Column(NamedTuple):
    """What a column is: a field of `Claim`, by what its numbers are multiplied, and units that cells may name."""

    field: str
    factor: float = 1.0
    units: Mapping[str, float] = EMPTY


_HEADS: tuple[tuple[str, Column], ...] = (
    (
        r"(g|grams|kg)( co2e?q?)? (per )?kwh|.*intensity.*|carbon factor|ci|grid",
        Column("grams_per_kwh", 1.0, _INTENSITY),
    ),
    (r"pue|.*usage effectiveness.*", Column("pue")),
    (r"(dense |peak |bf16 |fp16 )*(tflops?|peak tflops?)( s| per s.*)?", Column("peak_flops", 1e12)),
    (r"(dense )?peak flops?( .*)?", Column("peak_flops")),
    (r"pflop?s? days?|petaflop s days?", Column("flop", 8.64e19)),
    (r".*\bflops?\b.*", Column("flop")),
    (r"mfu|hfu|.*utili[sz]ation.*|u run", Column("utilization")),
    (
        r"(.* )?(gpu|tpu|device|accelerator|chip|a100|h100|v100)s? ?(hours?|hrs?|h)( .*)?",
        Column("device_seconds", _HOUR),
    ),
    (r"(gpu|tpu|device|accelerator|chip)s? ?days?( .*)?", Column("device_seconds", _DAY)),
    (r"device seconds?( .*)?", Column("device_seconds")),
    (r"hours( .*)?", Column("device_seconds", _HOUR)),
    (r"(tdp|tgp|tbp|board power|max power|peak power)( .*)?|.*\btdp\b.*", Column("tdp_watts", 1.0, _WATTS)),
    (
        r"(w|watts?|power|mean power)( per)?( dev| device| gpu| chip| accelerator)?( .*)?|.*power consumption k?w",
        Column("watts", 1.0, _WATTS),
    ),
    (r"(facility|datacenter|data center) (energy|joules|power).*", Column("facility_joules", 0.0, _JOULES)),
    (r"(gpu|device|accelerator)s? (energy|joules).*", Column("device_joules", 0.0, _JOULES)),
    (r"(energy|electricity|power consumption).*|[kmg]?wh|joules", Column("energy_joules", 0.0, _JOULES)),
    (r".*(co2|carbon|emission|ghg).*", Column("carbon_grams", 0.0, _GRAMS)),
    (r"(cost|price|usd|eur|dollars?|euros?)( .*)?", Column("cost")),
    (r"n|params?|parameters?|.* param(eter)?s|model size|size", Column("parameters")),
    (r"d|(training )?tokens|.* tokens", Column("tokens")),
    (r"(number of |num |n )?(devices|gpus|tpus|chips|accelerators)|(device|gpu) count", Column("devices")),
    (
        r"(wall|wall clock|training|elapsed)( time)?( .*)?|days|duration.*|wall seconds",
        Column("wall_seconds", 0.0, _TIME),
    ),
)
"""What heads of columns mean, the first that fits; factor 0: the unit is in the head or in the cell."""

NAMED = re.compile(r"run|model|name|row|experiment|training run|job|table|value|label")
DEVICE = re.compile(r"device|gpu|tpu|chip|hardware|accelerator|device model|gpu (type|model)|hardware type")


def words_of(head: str) -> str:
    """`Energy (MWh)` and `energy_mwh` are `energy mwh`."""
    parts = re.findall(r"[a-z0-9]+", re.sub(r"([a-z])CO2", r"\1 CO2", head).casefold().replace("co₂", "co2"))
    return " ".join(parts)


def column_of(head: str) -> Column | None:
    """What a column is by its head; None where it is nothing that can be checked."""
    words = words_of(head)
    if words in ("t", "tco2", "tco2e", "tco2eq", "t co2", "t co2e", "t co2eq"):
        return Column("carbon_grams", 1e6, _GRAMS)
    if "market" in words.split():
        return None  # contracts and certificates, and no grid's
    for expression, column in _HEADS:
        if re.fullmatch(expression, words):
            return column._replace(factor=_factor(column, words)) if column.units else column
    return None


def _factor(column: Column, words: str) -> float:
    """The unit that the head names; 0 where it names none."""
    last = [each for each in words.split() if each in column.units]
    if column.field == "carbon_grams":
        last += [each for each in ("kg", "t", "g") if f"{each}co2" in words.replace(" ", "")]
    if column.field == "grams_per_kwh":
        return 1e3 if re.search(r"\bkg", words) else 1.0
    return column.units[last[0]] if last else column.factor
