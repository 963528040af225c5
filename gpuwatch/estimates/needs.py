"""What a training needs of devices, from its FLOP: device-time, energy, money and carbon, as quantiles. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from types import MappingProxyType

from gpuwatch.errors import Rejected
from gpuwatch.estimates import devices
from gpuwatch.estimates.flops import Flop
from gpuwatch.estimates.quantiles import LEVELS, Quantiles, certain, log_normal, over, product, scaled
from gpuwatch.estimates.utilization import Utilization
from gpuwatch.ledger import rate_words
from gpuwatch.ledger.rates import Figures, Rates
from gpuwatch.specs import Spec

POWER_SOURCE = (
    "0.40 to 1.00 of its rating, likely 0.75: a node of eight H100 in training took 0.76 of its rating"
    " (arXiv 2412.08602), and within a run power swings between 0.15 and 0.85 (arXiv 2503.05804)"
)
_POWER: Quantiles = MappingProxyType(dict(zip(LEVELS, (0.40, 0.50, 0.63, 0.75, 0.85, 0.95, 1.0), strict=True)))
"""Mean power of a device in training over its rated power; a judgement from few measurements."""
_MEAN_IN_USE = "mean in use"


@dataclass(frozen=True, slots=True)
class Needs:
    """What is needed, base units; None: not known. `watts` is the mean power of one device over the run."""

    device_seconds: Quantiles
    watts: Quantiles | None
    energy_joules: Quantiles | None
    facility_joules: Quantiles | None
    cost: Quantiles | None
    currency: str
    carbon_grams: Quantiles | None
    wall_seconds: Quantiles | None


def device_seconds(flop: Flop, spec: Spec, precision: str, utilization: Utilization) -> Quantiles:
    """Seconds that one device would compute, from its dense peak and how much of it a run reaches."""
    work = flop.hardware if utilization.of_hardware else flop.model
    return over(work / devices.peak_of(spec, precision), utilization.quantiles)


def power_of(spec: Spec, given: float | None = None) -> Quantiles | None:
    """Mean watts of one device in training; `given` is taken as certain. None: no power is published."""
    if given is not None:
        if not 0 < given <= 100_000:
            raise Rejected(f"watts: {given:g} is not possible; more than 0 and at most 100,000")
        return certain(given)
    watts = devices.watts_of(spec)
    if watts is None:
        return None
    return log_normal(watts, 0.2) if spec.watts_term == _MEAN_IN_USE else scaled(_POWER, watts)


def needs(
    seconds: Quantiles,
    watts: Quantiles | None,
    rates: Rates,
    model: str,
    partition: str,
    now: float,
    count: int | None,
) -> Needs:
    """What device-time comes to by the rates in force at `now`, and how long `count` devices take for it.

    Facility energy is that of the devices times PUE: as the ledger reckons it where nobody measures the hosts.
    """
    joules = None if watts is None else product(seconds, watts)
    figures = {
        level: rates.figures(
            now, now + 1, seconds[level], None if joules is None else joules[level], None, model, partition
        )
        for level in LEVELS
    }
    return Needs(
        seconds,
        watts,
        joules,
        _each(figures, "facility_joules"),
        _each(figures, "cost"),
        rates.currency,
        _each(figures, "carbon_grams"),
        None if count is None else scaled(seconds, 1 / count),
    )


def assumptions(
    spec: Spec, given: float | None, rates: tuple[Rates, tzinfo], model: str, partition: str, now: float
) -> Iterator[str]:
    """What energy, money and carbon rest on, in words; what is not known is said with what would tell it."""
    if given is not None:
        yield f"power {given:g} W per device: given, and taken as certain"
    elif spec.watts is None:
        yield f"power of {spec.name} is not published, so neither energy nor carbon is known; --watts says it"
    elif spec.watts_term == _MEAN_IN_USE:
        yield f"power about {devices.watts_of(spec):g} W per device, its {spec.watts_term}: {spec.source}"
    else:
        yield f"power of {devices.watts_of(spec):g} W ({spec.watts_term}) per device, {POWER_SOURCE}"
    bases = "; ".join(rate_words.bases(rates[0], now, rates[1]))
    yield f"{bases}; hosts are not in it: the ledger has them where they are metered"
    price = rates[0].price_at(model, partition, now)
    if price is None:
        yield "no price is known, so cost is not; --rates or accounting.rates_file says it"
    else:
        tariff = rates[0].tariff_at(now)
        energy = "" if tariff is None else f" and {tariff.value:.10g} {tariff.unit} per kWh ({tariff.basis})"
        yield f"price {price.value:.10g} {price.unit} per device-hour ({price.basis}){energy}, as today"


def _each(figures: dict[float, Figures], name: str) -> Quantiles | None:
    found = {level: getattr(each, name) for level, each in figures.items()}
    return None if None in found.values() else found
