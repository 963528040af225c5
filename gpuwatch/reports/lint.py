"""Whether the numbers of a compute statement can be true together. Pure.

Each identity has two sides. They are equal, or one bounds the other, as far as the digits that were stated can
tell; where they are not, a check says by which factor, and what would make it right. docs/report.md lists the
identities, and where their bounds are from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from gpuwatch.reports.checks import (
    TOLERANCE,
    Check,
    Devices,
    Known,
    Linted,
    Side,
    Verdict,
    equal,
    number,
    shown,
    side,
)
from gpuwatch.reports.claims import Claim, Stated, Sum

GRID = (5.0, 1200.0)
"""Between these lies the carbon intensity of every grid, g CO2e/kWh."""
WORLD = 473.05
"""The world's mean grid intensity of 2024 (Ember), g CO2e/kWh."""
PUES = (1.0, 3.0)
USUAL_PUE = 2.0
UTILIZATION = (0.03, 0.65)
"""What part of their dense peak published trainings reached over the whole run; above 1 nothing can be."""
WATTS = (0.15, 1.3)
"""Mean power of a device over its board's; a mean above the board's is hardly possible, below 0.15 it idled."""
NODE_WATTS = 2.0
"""The same where the node's other parts may be in it."""
RECOMPUTED = 1.6
"""Counted FLOP over 6ND: attention and recomputation add to it, nothing takes away."""
LOOSELY = 1.6
"""By which factor energy may be off that follows from hours and the board's power, or without a PUE."""
_MOST_SLACK = 1e3
_SAME = 0.02
DIGITS = 4
"""More significant digits than these no energy or carbon figure has: sensors are good to 5 %."""


def lint(claims: Sequence[Claim], devices: Devices, sums: Iterable[Sum] = ()) -> Linted:
    """Check every row, and that sums are sums."""
    found: list[Check] = []
    usual = _usual_intensity(claims)
    for claim in claims:
        known = devices(claim.device) if claim.device else None
        for identity in _IDENTITIES:
            found += identity(claim, known, usual)
    found += [_sum(each) for each in sums]
    return Linted((*found, *_totals(claims)))


def _positive(*stated: Stated | None) -> bool:
    return all(each is not None and each.value > 0 for each in stated)


_KWH = 3.6e6


def _energy(claim: Claim, known: Known | None, usual: float | None) -> Iterator[Check]:
    """Energy is device-hours times watts, and times PUE where the facility's is meant."""
    hours, watts = claim.covered_seconds or claim.device_seconds, claim.watts
    if hours is None or watts is None or not _positive(hours, watts):
        return
    plain = side("device-hours × W", "energy", hours, watts)
    full = plain
    if claim.pue is not None and _is(claim.pue):
        full = side("device-hours × W × PUE", "energy", hours, watts, claim.pue)
    remedy = "check the unit of each, and whether W is a mean or the board's limit"
    for name, energy, sides in (
        ("energy of devices", claim.device_joules, (plain,)),
        ("facility energy", claim.facility_joules, (full,)),
        ("energy", claim.energy_joules, (full, plain)),
    ):
        if energy is not None and energy.value > 0:
            left = side(name, "energy", energy)
            near = min(sides, key=lambda side: abs(math.log(left.value / side.value)))
            yield equal(claim, "energy = device-hours × W × PUE", left, near, remedy)


def _overhead(claim: Claim, known: Known | None, usual: float | None) -> Iterator[Check]:
    """Facility energy is that of the machines times PUE."""
    devices, facility, pue = claim.device_joules, claim.facility_joules, claim.pue
    if devices is None or facility is None or pue is None or not _positive(devices, facility, pue):
        return
    host, what = claim.host_joules, "energy of devices"
    if host is not None:
        devices = Stated(devices.value + host.value, devices.half + host.half, min(devices.digits, host.digits))
        what = "(energy of devices + hosts)"
    left = side("facility energy", "energy", facility)
    right = side(f"{what} × {_range(pue)}", "energy", devices, pue)
    yield equal(
        claim, "facility energy = energy × PUE", left, right, "name what else is in it: hosts, network, storage"
    )


def _is(stated: Stated | None) -> bool:
    return stated is not None and stated.value > 0


def _power(claim: Claim, known: Known | None, usual: float | None) -> Iterator[Check]:
    """The mean power of a device lies between idling and what its board allows."""
    board = claim.tdp_watts or (Stated(known.watts) if known and known.watts else None)
    hours = claim.covered_seconds or claim.device_seconds
    if board is None or not _positive(board):
        return
    limit = f"{number(board.value)} W board power"
    energy, what, most = _device_energy(claim)
    if energy is not None and _positive(hours) and hours is not None:
        mean = side(f"{what} / device-hours", "W per device", energy, over=hours)
        yield _within(claim, mean, board, limit, most)
        if abs(mean.value / board.value - 1) < _SAME:
            yield Check(
                claim.row, "energy is hours × board power", "note", mean.words, limit, None,
                "that is an upper bound and no measurement: say so",
            )  # fmt: skip
    if claim.watts is not None and _positive(claim.watts):
        yield _within(claim, side("W per device", "W", claim.watts), board, limit, NODE_WATTS)


def _device_energy(claim: Claim) -> tuple[Stated | None, str, float]:
    """Energy without PUE, in words, and how far above the board's its mean may be."""
    if _is(claim.device_joules):
        return claim.device_joules, "energy of devices", 1.0
    energy = claim.facility_joules or claim.energy_joules
    if energy is None or energy.value <= 0:
        return None, "", NODE_WATTS
    if claim.pue is None or claim.pue.value <= 0:
        return energy, "energy", NODE_WATTS
    pue = claim.pue.value
    return Stated(energy.value / pue, energy.half / pue, energy.digits), "energy / PUE", NODE_WATTS


def _within(claim: Claim, mean: Side, board: Stated, limit: str, most: float) -> Check:
    """Never above the board's power (twice that with the rest of the node), seldom below 0.15 of it."""
    ratio = mean.value / board.value
    slack, doubted = TOLERANCE * mean.slack, min(most, WATTS[1])
    right = f"{number(WATTS[0])} to {number(most)} × {limit}"
    verdict: Verdict = "holds"
    remedy, factor = "", None
    if ratio > most * slack:
        verdict, factor = "wrong", ratio / most
        remedy = f"energy at most {number(1 / factor)} of what is stated, or as many times the device-hours"
    elif ratio > doubted * slack:
        verdict, factor, remedy = "doubtful", ratio / doubted, "say that it is of whole nodes"
    elif ratio * slack < WATTS[0]:
        verdict, factor = "doubtful", WATTS[0] / ratio
        remedy = "devices that idle draw so little: are all hours held, or is energy missing?"
    return Check(claim.row, "mean power within the board's", verdict, mean.words, right, factor, remedy)


def _carbon(claim: Claim, known: Known | None, usual: float | None) -> Iterator[Check]:
    """Carbon is facility energy times the grid's intensity; what it implies must be a grid's."""
    carbon = claim.carbon_grams
    energy, what, slack = _facility(claim, known)
    if carbon is None or carbon.value < 0 or energy is None:
        return
    left, grams = side("CO2e", "carbon", carbon), claim.grams_per_kwh
    if grams is not None and _positive(grams, carbon):
        right = side(f"{what} × {_range(grams)} g/kWh", "carbon", energy.times(1 / _KWH), grams)
        need = shown("energy", carbon.value / grams.value * _KWH)
        remedy = f"CO2e of {shown('carbon', right.value)}, or energy of {need}"
        yield equal(claim, "CO2e = energy × intensity", left, right._replace(slack=right.slack * slack), remedy)
        return
    kwh = energy.value / _KWH
    allowed = TOLERANCE * slack * energy.slack * carbon.slack if carbon.value else 1.0
    words = f"{left.words} / {what} {shown('energy', energy.value)}"
    yield _grid(claim, words, carbon.value / kwh, allowed, usual, kwh)


def _range(stated: Stated) -> str:
    """What changed in the time is shown from its least to its greatest."""
    if stated.digits or not stated.half:
        return number(stated.value)
    return f"{number(stated.value - stated.half)} to {number(stated.value + stated.half)}"


def _facility(claim: Claim, known: Known | None) -> tuple[Stated | None, str, float]:
    """Energy of the facility, its words, and by which factor it may be off: stated, else by hours and watts."""
    if _is(claim.facility_joules):
        return claim.facility_joules, "facility energy", 1.0
    if _is(claim.energy_joules):
        return claim.energy_joules, "energy", 1.0
    watts = claim.watts or claim.tdp_watts or (Stated(known.watts) if known and known.watts else None)
    hours = claim.device_seconds
    if watts is None or hours is None or not _positive(watts, hours):
        return None, "", 1.0
    pue = claim.pue.value if claim.pue is not None and claim.pue.value > 0 else 1.0
    value = hours.value * watts.value * pue
    relative = hours.slack * watts.slack - 1
    words = "device-hours × W" + (" × PUE" if pue != 1.0 else "")
    sure = claim.watts is not None and claim.pue is not None
    return Stated(value, value * min(relative, 0.9), 0), words, 1.0 if sure else LOOSELY


def _grid(
    claim: Claim, left: str, implied: float, slack: float, usual: float | None, kwh: float | None = None
) -> Check:
    low, high = GRID
    right = f"a grid, {number(low)} to {number(high)} g/kWh"
    words = left if left.endswith("g/kWh") else f"{left} = {number(implied)} g/kWh"
    identity = "stated intensity is a grid's" if kwh is None else "implied intensity is a grid's"
    if low / slack <= implied <= high * slack:
        return Check(claim.row, identity, "holds", words, right)
    like = usual if usual is not None else WORLD
    of = "of the other rows" if usual is not None else "of the world in 2024 (Ember)"
    remedy = f"check the unit; {number(like)} g/kWh are those {of}"
    factor = max(implied / like, like / implied) if implied > 0 else None
    if kwh is not None:
        remedy = f"at the {number(like)} g/kWh {of} it would be {shown('carbon', kwh * like)}"
        if factor is not None:
            remedy += f", {number(factor)} times as {'much' if implied < like else 'little'}"
    remedy += "; market-based figures belong beside location-based ones, and say so"
    return Check(claim.row, identity, "wrong", words, right, factor, remedy)


def _usual_intensity(claims: Sequence[Claim]) -> float | None:
    """The median of what the rows imply or state, where it is a grid's and several do."""
    found = sorted(
        each.grams_per_kwh.value
        for each in claims
        if each.grams_per_kwh is not None and GRID[0] <= each.grams_per_kwh.value <= GRID[1]
    )
    return found[len(found) // 2] if len(found) > 1 else None


def _ratios(claim: Claim, known: Known | None, usual: float | None) -> Iterator[Check]:
    """PUE and intensity are what they can be."""
    if claim.pue is not None:
        value = claim.pue.value
        verdict: Verdict = "wrong" if not PUES[0] <= value <= PUES[1] else "holds"
        verdict = "doubtful" if verdict == "holds" and value > USUAL_PUE else verdict
        remedy = "" if verdict == "holds" else "PUE is facility energy over that of the machines: 1 or more"
        yield Check(claim.row, "PUE", verdict, f"PUE {_range(claim.pue)}", "1 to 2, at most 3", None, remedy)
    grams = claim.grams_per_kwh
    if grams is not None:
        yield _grid(claim, f"{_range(grams)} g/kWh", grams.value, min(grams.slack, _MOST_SLACK), usual)


def _hours(claim: Claim, known: Known | None, usual: float | None) -> Iterator[Check]:
    """Device-hours are devices times wall time, and never more."""
    if claim.device_seconds is None or claim.devices is None or claim.wall_seconds is None:
        return
    if not _positive(claim.device_seconds, claim.devices, claim.wall_seconds):
        return
    left = side("device-hours", "device-hours", claim.device_seconds)
    right = side("devices × wall time", "device-hours", claim.devices, claim.wall_seconds)
    need = f"{number(claim.device_seconds.value / claim.wall_seconds.value)} devices, or "
    need += f"{number(claim.device_seconds.value / claim.devices.value / 86_400)} days"
    if claim.all_day:
        yield equal(claim, "device-hours = devices × wall time", left, right, need)
        return
    over = left.value / right.value
    holds = over <= TOLERANCE * left.slack * right.slack
    yield Check(
        claim.row, "device-hours ≤ devices × wall time", "holds" if holds else "wrong", left.words, right.words,
        None if holds else over, "" if holds else need,
    )  # fmt: skip


def _flop(claim: Claim, known: Known | None, usual: float | None) -> Iterator[Check]:
    """Counted FLOP are 6ND or some more."""
    if not _positive(claim.flop, claim.parameters, claim.tokens):
        return
    if claim.flop is None or claim.parameters is None or claim.tokens is None:
        return
    left = side("FLOP", "", claim.flop)
    right = side("6 × parameters × tokens", "", Stated(6.0), claim.parameters, claim.tokens)
    ratio, slack = left.value / right.value, TOLERANCE * left.slack * right.slack
    holds = 1 / slack <= ratio <= RECOMPUTED * slack
    factor = None if holds else 1 / ratio if ratio < 1 else ratio / RECOMPUTED
    remedy = "" if holds else f"{number(right.value)} FLOP at least, or name what is counted besides"
    verdict: Verdict = "holds" if holds else "wrong"
    yield Check(claim.row, "FLOP ≥ 6ND", verdict, left.words, right.words, factor, remedy)


def _utilization(claim: Claim, known: Known | None, usual: float | None) -> Iterator[Check]:
    """What part of the dense peak the run reached, as published runs did."""
    peak = claim.peak_flops or (Stated(known.peak_flops) if known and known.peak_flops else None)
    flop = claim.flop
    if flop is None and claim.parameters is not None and claim.tokens is not None:
        value = 6 * claim.parameters.value * claim.tokens.value
        flop = Stated(value, value * min(claim.parameters.slack * claim.tokens.slack - 1, 0.9))
    if flop is None or peak is None or not _positive(flop, peak, claim.device_seconds):
        return
    hours = claim.device_seconds or Stated(0.0)
    words = f"FLOP / (device-hours × {number(peak.value / 1e12)} TFLOP/s)"
    left = Side(words, flop.value / hours.value / peak.value, flop.slack * hours.slack)
    sure = claim.peak_flops is not None or (known is not None and known.sure)
    if sure and claim.utilization is not None and claim.utilization.value > 0:
        stated = side("utilization stated", "", claim.utilization)
        yield equal(claim, "utilization = FLOP / (device-hours × peak)", stated, left, "say which peak was used")
    yield _reached(claim, left)


def _reached(claim: Claim, left: Side) -> Check:
    low, high = UTILIZATION
    slack, value = TOLERANCE * left.slack, left.value
    verdict: Verdict = "holds"
    remedy, factor = "", None
    if value > slack:
        verdict, factor = "wrong", value
        remedy = f"{number(value)} times the device-hours at least, or a lower precision's peak"
    elif not low / slack <= value <= high * slack:
        verdict, factor = "doubtful", value / high if value > high else low / value
        remedy = "is the peak dense, and of the precision that was used? are all runs in the hours?"
    words = f"{left.words} = {number(value)}"
    right = f"{number(low)} to {number(high)}, below 1"
    return Check(claim.row, "utilization of the run", verdict, words, right, factor, remedy)


def _digits(claim: Claim, known: Known | None, usual: float | None) -> Iterator[Check]:
    """No energy or carbon figure is good to five digits."""
    for name, stated in (
        ("energy", claim.energy_joules or claim.facility_joules or claim.device_joules),
        ("CO2e", claim.carbon_grams),
    ):
        if stated is not None and stated.digits > DIGITS:
            yield Check(
                claim.row, "significant digits", "note", f"{name} with {stated.digits} significant digits",
                "2 or 3: power is measured to ±5 %", None, "round it, and state its uncertainty",
            )  # fmt: skip


_IDENTITIES = (_hours, _energy, _overhead, _power, _ratios, _carbon, _flop, _utilization, _digits)

_ADDITIVE = (
    ("device-hours", "device_seconds", "device-hours"),
    ("energy", "energy_joules", "energy"),
    ("facility energy", "facility_joules", "energy"),
    ("energy of devices", "device_joules", "energy"),
    ("CO2e", "carbon_grams", "carbon"),
    ("cost", "cost", ""),
)


def _totals(claims: Sequence[Claim]) -> Iterator[Check]:
    """A row that is called a total is the sum of the others."""
    rows = [each for each in claims if not each.is_total]
    for total in (each for each in claims if each.is_total and rows):
        for name, attribute, quantity in _ADDITIVE:
            parts = [getattr(each, attribute) for each in rows]
            whole = getattr(total, attribute)
            if whole is not None and not any(each is None for each in parts):
                yield _total(total.row, name, quantity, parts, whole)


def _apart(one: float, other: float) -> float | None:
    return max(one / other, other / one) if one > 0 and other > 0 else None


def _total(row: str, name: str, quantity: str, parts: Sequence[Stated], whole: Stated) -> Check:
    given = math.fsum(each.value for each in parts)
    room = whole.half + sum(each.half for each in parts) + 1e-9 * abs(given)
    holds = abs(whole.value - given) <= room
    return Check(
        row, "rows add up to the total", "holds" if holds else "wrong",
        f"{name} of the total = {shown(quantity, whole.value)}", f"of its rows = {shown(quantity, given)}",
        None if holds else _apart(whole.value, given),
        "" if holds else f"{shown(quantity, given)}, or name what else is in the total",
    )  # fmt: skip


def _sum(each: Sum) -> Check:
    given = math.fsum(each.parts)
    holds = math.isclose(given, each.whole, rel_tol=each.tolerance, abs_tol=1e-6)
    return Check(
        each.name, "parts add up to the whole", "holds" if holds else "wrong",
        f"sum of {len(each.parts)} {'part' if len(each.parts) == 1 else 'parts'} = {shown(each.unit, given)}",
        f"whole = {shown(each.unit, each.whole)}", None if holds else _apart(given, each.whole),
        "" if holds else "a part is missing, or counted twice",
    )  # fmt: skip
