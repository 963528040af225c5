"""Energy, carbon and cost: each figure with its bounds, how it was come by, and by which rates. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gpuwatch.accounting.amounts import amount
from gpuwatch.reports import words
from gpuwatch.reports.blocks import Block, Fact, Facts, Plot, Section, Sentences, Table
from gpuwatch.reports.statement import Rate, Statement

_METHODS = {
    "counter": "the device's own energy counter, read at each tick of the agent",
    "integrated": "power read at most 5 s apart, by trapezoid; longer gaps count as unmeasured",
    "modelled": "a model of power from activity: no interface gives it",
}


def sections(made: Statement) -> Iterator[Section]:
    """Energy with its coverage, carbon with its rates, cost."""
    yield _energy(made)
    yield _carbon(made)
    yield _cost(made)


def _energy(made: Statement) -> Section:
    total = made.total
    facts = [
        Fact("energy of devices", words.bounded("energy", total.device_energy), total.device_energy.why),
        _hosts(made),
        Fact("facility energy", words.bounded("facility-energy", total.facility_energy), _facility(made)),
        Fact("covered", words.percent(total.covered_ratio, words.UNKNOWN), _coverage(made)),
    ]
    blocks: list[Block] = [Facts(tuple(facts))]
    if total.device_energy.known:
        blocks.append(
            Plot("energy", "Energy of devices, the facility's overhead, and what was not measured, at most.")
        )
        whole = sum(made.by_method.values())
        rows = tuple(
            (method, _METHODS.get(method, ""), words.known("energy", joules), words.percent(joules / whole))
            for method, joules in made.by_method.items()
            if joules > 0
        )
        blocks.append(Table(("method", "what it is", "energy", "share"), rows, 2))
    gaps = _gaps(made)
    if gaps:
        blocks.append(Sentences(("Not measured, and not filled in:",)))
        blocks.append(Sentences(gaps, listed=True))
    return Section("energy", "Energy", tuple(blocks))


def _hosts(made: Statement) -> Fact:
    if made.host_joules is None:
        return Fact("energy of hosts", words.UNKNOWN, "no meter of the nodes could be read; in no figure here")
    covered = made.quality.host_coverage if made.quality is not None else None
    known = "" if covered is None else f", known for {words.percent(covered, '')} of the time on nodes"
    why = f"processors and memory, by the jobs' CPU time and memory{known}; in the facility energy alone"
    return Fact("energy of hosts", amount("energy", made.host_joules), why)


def _facility(made: Statement) -> str:
    machines = "energy of devices" if made.host_joules is None else "(energy of devices + energy of hosts)"
    return f"{machines} × PUE; {made.total.facility_energy.why}"


def _coverage(made: Statement) -> str:
    quality = made.quality
    longest = quality.energy.longest_gap if quality is not None else None
    words_ = ["of the charged device-time has a measurement of energy; gaps were not filled"]
    if made.unmeasured_seconds >= 1:
        words_.append(f"{words.hours(made.unmeasured_seconds)} device-hours have none")
    if longest:
        words_.append(f"the longest gap was {amount('wall', longest)}")
    return "; ".join(words_)


def _gaps(made: Statement) -> tuple[str, ...]:
    """Why energy is missing, the most first."""
    return tuple(
        gap.why + ("" if gap.seconds is None else f": {words.hours(gap.seconds)} device-hours")
        for gap in made.gaps
    )


def _carbon(made: Statement) -> Section:
    carbon = made.total.carbon
    facts = [
        Fact(
            "CO2e, location-based",
            words.bounded("carbon", carbon),
            f"facility energy × grid intensity; {carbon.why}",
        ),
        Fact("CO2e, market-based", words.UNKNOWN, "contracts and certificates are not in the ledger"),
        Fact("CO2e, embodied", words.UNKNOWN, "making the hardware is not in the ledger"),
        Fact("water", words.UNKNOWN, "no water usage effectiveness is configured"),
    ]
    rows = tuple(map(_rate, made.rates))
    table = (Table(("rate", "source", "year", "resolution", "value"), rows, 4),) if rows else ()
    return Section("carbon", "Carbon", (Facts(tuple(facts)), *table))


def _rate(rate: Rate) -> tuple[str, ...]:
    unit = "" if rate.kind == "pue" else " g CO2e/kWh"
    value = f"{rate.low:.10g}" + (f" to {rate.high:.10g}" if rate.high != rate.low else "") + unit
    name = "PUE" if rate.kind == "pue" else "grid intensity, location-based"
    steps = "constant" if rate.values == 1 else f"{rate.values:,} values in the time"
    source = (
        rate.basis
        if rate.default
        else f"{rate.basis}"
        if rate.source in rate.basis
        else f"{rate.basis}, {rate.source}"
    )
    return name, source, "" if rate.year is None else str(rate.year), steps, value


def _cost(made: Statement) -> Section:
    if not made.cost:
        return Section("cost", "", ())
    facts = [
        Fact(f"cost in {currency}", words.cost({currency: figure.value or 0.0}), figure.why)
        for currency, figure in made.cost.items()
    ]
    blocks: list[Facts | Sentences] = [Facts(tuple(facts))]
    if made.prices:
        blocks.append(Sentences(made.prices, listed=True))
    return Section("cost", "Cost", tuple(blocks))
