"""What a statement of ours claims, in the words of the linter: held to the same identities as anybody's. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpuwatch.reports.claims import Claim, Stated, Sum, between, exactly
from gpuwatch.reports.statement import Rate, Statement

_HOUR = 3600.0


def claims_of(made: Statement) -> tuple[Claim, ...]:
    """One row for the whole, and one for each model of device, of which power is known."""
    if made.empty:
        return ()
    models = (
        Claim(
            row=model.name or "unknown model", device=model.name,
            device_seconds=exactly(model.device_seconds),
            covered_seconds=exactly(model.covered_seconds or None),
            device_joules=exactly(model.energy_joules or None) if model.covered_seconds else None,
        )
        for model in made.models
    )  # fmt: skip
    return _whole(made), *models


def _whole(made: Statement) -> Claim:
    total, computed = made.total, made.computed
    facility = total.facility_energy.value
    return Claim(
        row="total",
        devices=exactly(made.devices_at_once),
        wall_seconds=exactly(made.run_wall_seconds),
        device_seconds=exactly(total.device_seconds or None),
        device_joules=exactly(made.charged_joules),
        host_joules=exactly(made.host_joules),
        facility_joules=exactly(facility),
        pue=_range(made.rates, "pue"),
        grams_per_kwh=_range(made.rates, "intensity"),
        carbon_grams=exactly(total.carbon.value),
        flop=exactly(computed.flop),
        peak_flops=exactly(computed.peak_flops),
        utilization=exactly(computed.utilization),
        all_day=False,
    )


def _range(rates: Sequence[Rate], kind: str) -> Stated | None:
    """Between the least and the greatest that held: the mean that counted lies there."""
    those = [rate for rate in rates if rate.kind == kind]
    if not those:
        return None
    return between(min(rate.low for rate in those), max(rate.high for rate in those))


def sums_of(made: Statement) -> Iterator[Sum]:
    """Tables of the statement whose rows are all of a whole."""
    hours = made.total.device_seconds / _HOUR
    if made.empty:
        return
    yield Sum("runs by how they ended", tuple(each.device_seconds / _HOUR for each in made.outcomes), hours, "h")
    yield Sum("list of runs", tuple(each.device_seconds / _HOUR for each in made.runs), hours, "h")
    parts = made.parts
    where = (parts.working, parts.spinning, parts.idle, parts.lost, parts.unknown)
    yield Sum("where device-hours went", tuple(each / _HOUR for each in where), hours, "h")
    if made.tags:
        yield Sum("rows by tag", tuple(each.device_seconds / _HOUR for each in made.tags), hours, "h")
    if not made.goes_on and made.days and not made.unknown_devices:
        days = tuple((each.kept + each.stopped + each.other) / _HOUR for each in made.days)
        yield Sum("device-hours by day", days, hours, "h", 1e-3)
    energy = made.total.device_energy.value
    if energy is not None and made.by_method:
        yield Sum(
            "energy by method", tuple(each / 3.6e6 for each in made.by_method.values()), energy / 3.6e6, "kWh"
        )
