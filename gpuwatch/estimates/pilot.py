"""What a large run should need, from small ones that were measured: a power law, and how far to trust it. Pure.

Device-hours are taken to go with a power of each size, and with one of the number of devices, which is what
scaling over devices costs. A prediction has Student's t for few runs, and is widened with the distance from what
was measured, as exponents change on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import atan, cos, exp, hypot, log, pi, sin, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

from gpuwatch.errors import Rejected

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUANTILES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)

FEWEST_SIZES = 3
"""Through two sizes there is always a line, whatever the truth is."""

LEAST_SCATTER = 0.02
"""Runs of one size differ by 2 % at least, however well a few of them lie on a line."""

DRIFT = 0.05
"""How much the exponent may be another beyond what was measured (one standard deviation)."""

FAR = 100.0
"""Beyond so many times the largest size the answer comes with a warning."""

DEVICES = "devices"
"""What the number of devices is called among the sizes."""

LARGEST = 1e30
"""No size, number of devices or device-hours is more, or less than one by it: beyond lies nobody's run."""

_STEP = 4.0


@dataclass(frozen=True, slots=True)
class Pilot:
    """A run that was measured: what it is called, its sizes by name, what it came to, on how many devices."""

    name: str
    sizes: Mapping[str, float]
    device_hours: float
    devices: float | None = None


@dataclass(frozen=True, slots=True)
class Exponent:
    """Device-hours go with this power of a size, 80 % within `low` and `high`."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """Device-hours by quantile, the exponents by name, and what it rests on.

    `extrapolation` is how many times the sizes lie beyond what was measured, all of them together; 1: within.
    """

    quantiles: Mapping[float, float]
    exponents: Mapping[str, Exponent]
    scatter: float
    runs: int
    extrapolation: float
    warnings: tuple[str, ...] = ()


def predict(pilots: Sequence[Pilot], to: Mapping[str, float], devices: float | None = None) -> Prediction:
    """What a run of the sizes `to`, on so many devices, should need; `Rejected` says what more to run for it."""
    _check(pilots, to, devices)
    terms = _terms(pilots, to, devices)
    goal = {**to, **({DEVICES: _target_devices(pilots, devices)} if DEVICES in terms else {})}
    fit = _fitted(pilots, terms)
    far = {name: _beyond([_size(each, name) for each in pilots], goal[name]) for name in terms}
    distance = sum(map(log, far.values()))
    middle, deviation = fit.at([log(goal[name]) for name in terms])
    logs = {q: middle + _off(q, fit.freedom, deviation, DRIFT * distance) for q in QUANTILES}
    if any(abs(each) > log(LARGEST) for each in logs.values()):
        raise Rejected(
            "pilot: by these runs it may be anything; they lie too near each other, or too far off a line: run"
            f" sizes that are {_STEP:g} times each other"
        )
    quantiles = {q: exp(each) for q, each in logs.items()}
    return Prediction(
        quantiles, dict(zip(terms, fit.exponents(), strict=True)), fit.scatter, len(pilots), exp(distance),
        tuple(_warnings(far, devices, goal)),
    )  # fmt: skip


def _off(q: float, freedom: int, deviation: float, drift: float) -> float:
    """How far a quantile is from the middle: what few runs leave open, and what may change on the way."""
    away = hypot(students_t(q, freedom) * deviation, NormalDist().inv_cdf(q) * drift)
    return away if q > 0.5 else -away


def students_t(q: float, freedom: int) -> float:
    """The quantile of Student's t with so many degrees of freedom (whole, at least 1)."""
    if q == 0.5:
        return 0.0
    if q < 0.5:
        return -students_t(1.0 - q, freedom)
    low, high = 0.0, 1.0
    while _below(high, freedom) < q:
        low, high = high, 2.0 * high
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _below(middle, freedom) < q else (low, middle)
    return (low + high) / 2.0


def _below(t: float, freedom: int) -> float:
    """The probability of less than t >= 0, by the finite series for whole degrees of freedom."""
    angle = atan(t / sqrt(freedom))
    odd = freedom % 2
    term = cos(angle) if odd else 1.0
    total = 0.0
    for place in range(freedom // 2 if not odd else (freedom - 1) // 2):
        if place:
            term *= cos(angle) ** 2 * (2 * place - (0 if odd else 1)) / (2 * place + (1 if odd else 0))
        total += term
    inside = 2.0 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total
    return 0.5 + inside / 2.0


def _check(pilots: Sequence[Pilot], to: Mapping[str, float], devices: float | None) -> None:
    if not to:
        raise Rejected("pilot: no size to predict for; write --to PARAM=VALUE")
    if DEVICES in to:
        raise Rejected(f"pilot: the number of devices is no size; write --devices {to[DEVICES]:g}")
    for name, value in (*to.items(), *([(DEVICES, devices)] if devices is not None else [])):
        if not _is_possible(value):
            raise Rejected(f"pilot: {name}={value:g} is not possible; more than 0 and at most {LARGEST:g}")
    for each in pilots:
        for name in to:
            if name not in each.sizes:
                raise Rejected(f"run {each.name!r}: has no {name!r}; say it with a tag or --size, or a column")
        values = [each.device_hours, *each.sizes.values(), *([each.devices] if each.devices is not None else [])]
        if not all(map(_is_possible, values)):
            wanted = f"must be more than 0 and at most {LARGEST:g}"
            raise Rejected(f"run {each.name!r}: device-hours, sizes and devices {wanted}")


def _is_possible(value: float) -> bool:
    return 1.0 / LARGEST <= value <= LARGEST


def _terms(pilots: Sequence[Pilot], to: Mapping[str, float], devices: float | None) -> list[str]:
    """The sizes that the runs tell something of; `Rejected` where they tell too little for what is asked."""
    terms = []
    for name, goal in to.items():
        there = sorted({each.sizes[name] for each in pilots})
        if there == [goal] and len(to) > 1:
            continue
        if len(there) < FEWEST_SIZES:
            raise Rejected(f"pilot: {_more(name, there, goal)}")
        terms.append(name)
    counts = {each.devices for each in pilots}
    if None not in counts and len(counts) > 1:
        terms.append(DEVICES)
    elif devices is not None and counts != {devices}:
        known = ", ".join(f"{count:g}" for count in counts if count is not None) or "a number nobody told"
        raise Rejected(
            f"pilot: all runs had {known} devices; run one size on {devices:g} or another number too, so that what"
            " scaling costs is known"
        )
    if len(pilots) < len(terms) + 2:
        raise Rejected(
            f"pilot: too few runs, {len(pilots)} for {', '.join(terms) or 'their scatter'}; run {len(terms) + 2}"
            " at least, as each size takes one, and so do factor and scatter"
        )
    return terms


def _more(name: str, there: Sequence[float], goal: float) -> str:
    """Which sizes to run, where there are fewer than three."""
    known = ", ".join(f"{each:.4g}" for each in there) or "none"
    wanted = " and ".join(f"{name}={each:.3g}" for each in suggested(there, goal))
    return (
        f"runs of {FEWEST_SIZES} different {name} are needed, there is {known}; run {wanted} too (a line through"
        " fewer says nothing of how wrong it is)"
    )


def suggested(there: Sequence[float], goal: float) -> list[float]:
    """Sizes to run that make three: each four times another, towards the goal and below it."""
    sizes = sorted(there) or [goal / _STEP**4]
    added: list[float] = [] if there else list(sizes)
    while len(set(sizes)) < FEWEST_SIZES:
        upwards = sizes[-1] * _STEP
        added.append(upwards if upwards < goal else sizes[0] / _STEP)
        sizes = sorted([*sizes, added[-1]])
    return sorted(added)


def _size(pilot: Pilot, name: str) -> float:
    if name == DEVICES and pilot.devices is not None:
        return pilot.devices
    return pilot.sizes[name]


def _target_devices(pilots: Sequence[Pilot], devices: float | None) -> float:
    """How many devices are meant: as many as the largest pilot had, where nobody says."""
    return devices if devices is not None else max(each.devices or 0.0 for each in pilots)


def _beyond(there: Sequence[float], goal: float) -> float:
    return max(1.0, goal / max(there), min(there) / goal)


def _warnings(far: Mapping[str, float], devices: float | None, goal: Mapping[str, float]) -> Iterator[str]:
    for name, times in far.items():
        if times > FAR:
            yield (
                f"{name} lies {times:,.0f} times beyond what was measured, where nothing says that the power law"
                f" holds; run one of {goal[name] / FAR:.3g} or more"
            )
    if DEVICES in goal and devices is None:
        yield f"for {goal[DEVICES]:g} devices, as the largest run had; --devices says another number"


@dataclass(frozen=True, slots=True)
class _Fit:
    """A line in logarithms: its coefficients, the inverse of their normal matrix, and the scatter around it."""

    coefficients: Sequence[float]
    inverse: NDArray[float]  # type: ignore[type-var]
    scatter: float
    freedom: int

    def at(self, logs: Sequence[float]) -> tuple[float, float]:
        """The logarithm of the device-hours there, and its standard deviation for one run more."""
        place = [1.0, *logs]
        middle = sum(each * factor for each, factor in zip(place, self.coefficients, strict=True))
        doubt = sum(
            left * right * float(self.inverse[row, column])
            for row, left in enumerate(place)
            for column, right in enumerate(place)
        )
        return middle, self.scatter * sqrt(1.0 + max(0.0, doubt))

    def exponents(self) -> Iterator[Exponent]:
        """All but the first coefficient, with the ends of their 80 % intervals."""
        for place, value in enumerate(self.coefficients[1:], 1):
            half = students_t(0.9, self.freedom) * self.scatter * sqrt(float(self.inverse[place, place]))
            yield Exponent(value, value - half, value + half)


def _fitted(pilots: Sequence[Pilot], terms: Sequence[str]) -> _Fit:
    import numpy as np

    rows = np.array([[1.0, *(log(_size(each, name)) for name in terms)] for each in pilots])
    amounts = np.array([log(each.device_hours) for each in pilots])
    if np.linalg.matrix_rank(rows) < rows.shape[1]:
        raise Rejected(
            f"pilot: {' and '.join(terms)} changed together in all runs; run one in which only {terms[-1]} is"
            " another"
        )
    coefficients, *_ = np.linalg.lstsq(rows, amounts, rcond=None)
    freedom = len(pilots) - rows.shape[1]
    left = amounts - rows @ coefficients
    scatter = max(LEAST_SCATTER, sqrt(float(left @ left) / freedom))
    # Not by inverting the product, whose diagonal falls below 0 where sizes are nearly the same.
    inner = np.linalg.pinv(rows)
    return _Fit([float(each) for each in coefficients], inner @ inner.T, scatter, freedom)
