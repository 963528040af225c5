"""A statement of `gpuwatch report --format json`, read back for what it claims. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gpuwatch.reports.claims import Claim, Stated, between, exactly

SCHEMA_PREFIX = "gpuwatch-statement/"


def is_own(document: Any) -> bool:
    """Whether it is one."""
    return isinstance(document, dict) and str(document.get("schema", "")).startswith(SCHEMA_PREFIX)


def own_claims(document: Mapping[str, Any]) -> tuple[Claim, ...]:
    """The whole, and each model of device; what is damaged is passed over."""
    return (_whole(document), *_models(document))


def _whole(document: Mapping[str, Any]) -> Claim:
    total, flop = _room(document, "total"), _room(document, "flop")
    return Claim(
        "total",
        devices=_number(document, "devices_at_once"),
        wall_seconds=_number(document, "run_wall_seconds"),
        device_seconds=_number(total, "device_seconds"),
        device_joules=_number(_room(total, "device_joules"), "value"),
        host_joules=_number(_room(document, "energy"), "host_joules"),
        facility_joules=_number(_room(total, "facility_joules"), "value"),
        pue=_range(document, "pue"),
        grams_per_kwh=_range(document, "intensity"),
        carbon_grams=_number(_room(total, "carbon_grams"), "value"),
        flop=_number(flop, "flop"),
        peak_flops=_number(flop, "peak_flops"),
        utilization=_number(flop, "utilization"),
        all_day=False,
    )


def _models(document: Mapping[str, Any]) -> Iterator[Claim]:
    devices = document.get("devices")
    for each in devices if isinstance(devices, list) else ():
        if isinstance(each, dict):
            name = str(each.get("model") or "unknown model")[:120]
            yield Claim(
                name, name,
                device_seconds=_number(each, "device_seconds"),
                covered_seconds=_number(each, "covered_device_seconds"),
                device_joules=_number(each, "device_joules"),
            )  # fmt: skip


def _range(document: Mapping[str, Any], kind: str) -> Stated | None:
    rates = document.get("rates")
    rows = [each for each in rates if isinstance(each, dict)] if isinstance(rates, list) else []
    ends = [_number(row, end) for row in rows if row.get("kind") == kind for end in ("low", "high")]
    values = [each.value for each in ends if each is not None]
    return between(min(values), max(values)) if values else None


def _room(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _number(document: Mapping[str, Any], name: str) -> Stated | None:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-50 < value < 1e50:
        return None
    return exactly(float(value))
