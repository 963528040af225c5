"""From a distribution of device-seconds to what is told of a scope: amounts, how likely an overrun is, when. Pure.

What a run comes to is reckoned in device-seconds; energy, money and wall time go on with them as until now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, log
from typing import Literal

import numpy as np

from gpuwatch.forecast.calibration import Places
from gpuwatch.forecast.mixing import Distribution
from gpuwatch.forecast.trials import LEVELS
from gpuwatch.model import EMPTY, Estimate, Forecast, Scope

HOURS = "device-hours"
MEDIAN = 0.5
ENDED = "ended"

LIKELY, HARDLY = 0.9, 0.1
"""From this probability on something is taken to happen in 8 of 10 cases, and from that on down not to."""

OVERTIME_RATIO = 1.05
"""What uses so much more than its time limit leaves room for is not ended by it."""

_DRAWS = 256
_RANKS = (np.arange(_DRAWS) + 0.5) / _DRAWS
_LEAST_GAP = 0.005
_LEAST = 1e-9


def ceiling(limit: float | None, used: float) -> float | None:
    """The amount at which a time limit ends a run; None: it has none, or went on beyond it."""
    return None if limit is None or used > OVERTIME_RATIO * limit else max(limit, used)


@dataclass(frozen=True, slots=True)
class Foretold:
    """What a scope may come to in device-seconds: `places` says how its raw quantiles are corrected.

    `used` are the device-seconds that it used, `rate` how many it uses in a second now (0: none). `limit` is what
    its time limit leaves room for, in device-seconds. `kind` is that of its correction (`forecast.calibration`);
    `is_known` is False where little but what is shipped speaks of it: that says nothing about the limit.
    """

    distribution: Distribution
    places: Places
    used: float
    rate: float
    limit: float | None = None
    kind: str = ""
    is_known: bool = True
    quantiles: tuple[float, ...] = field(init=False, repr=False, compare=False)
    """Device-seconds at `LEVELS`, with the limit as an end to all."""

    def __post_init__(self) -> None:
        found = self.distribution.quantiles(self.places.in_force)
        if self.end is not None:
            found = np.minimum(found, self.end)
        object.__setattr__(self, "quantiles", tuple(found.tolist()))

    def quantile(self, level: float) -> float:
        """Device-seconds at one of `LEVELS`."""
        return self.quantiles[LEVELS.index(level)]

    def beyond(self, amount: float) -> float:
        """The probability that it comes to more device-seconds than that."""
        if amount < self.used:
            return 1.0
        if self.end is not None and amount >= self.end:
            return 0.0
        return 1.0 - self.places.corrected(self.distribution.place(amount))

    @property
    def end(self) -> float | None:
        """Device-seconds at which its time limit ends it; None: it does not."""
        return ceiling(self.limit, self.used)

    @property
    def p_limit(self) -> float | None:
        """The probability that its time limit ends it before it is done; None: it does not, or who knows."""
        if self.limit is None or self.end is None or not self.is_known:
            return None
        return 1.0 - self.places.corrected(self.distribution.place(self.limit))


@dataclass(frozen=True, slots=True)
class Together:
    """What several runs come to, with what those used that are over: device-seconds, at `LEVELS`."""

    quantiles: tuple[float, ...]
    used: float
    rate: float
    p_limit: None = None

    def beyond(self, amount: float) -> float:
        """The probability that they come to more device-seconds than that."""
        if amount < self.used:
            return 1.0
        if amount > self.quantiles[-1]:
            return _outside(amount, *self.quantiles[-1:-4:-2])
        if amount < self.quantiles[0]:
            return 1.0 - _outside(-amount, *(-each for each in self.quantiles[0:3:2]))
        return 1.0 - float(np.interp(amount, self.quantiles, LEVELS))


def _outside(amount: float, outermost: float, quarter: float) -> float:
    """The probability of what lies beyond the outermost quantile, by how far apart that is from the quarter's."""
    scale = (outermost - quarter) / log(LEVELS[2] / LEVELS[0])
    return LEVELS[0] * exp(-(amount - outermost) / scale) if scale > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Going:
    """How a quantity goes on: what was used of it, and how much a device-second takes now; both in base units.

    `gaps` is the part of the time in which it was not measured. In 8 of 10 stretches of time it went between
    `slow` and `fast` times as fast as on average.
    """

    quantity: str
    used: float
    per_device_second: float
    gaps: float = 0.0
    slow: float = 1.0
    fast: float = 1.0

    def amount(self, device_seconds: float) -> float:
        """What so many device-seconds more come to, with what was used."""
        return self.used + max(0.0, device_seconds) * self.per_device_second

    @property
    def unseen(self) -> float:
        """What was used and not measured, at most; 0 where nearly all was measured."""
        return self.used / max(1.0 - self.gaps, 0.05) - self.used if self.gaps > _LEAST_GAP else 0.0

    def device_seconds(self, amount: float) -> float:
        """How many device-seconds more come to an amount in all."""
        return (amount - self.used) / max(self.per_device_second, _LEAST)


@dataclass(frozen=True, slots=True)
class Against:
    """What a forecast is held against: an amount in base units, declared by somebody or expected of its like."""

    amount: float
    kind: Literal["declared", "expected"] = "declared"
    estimate: Estimate | None = None


def forecast_of(
    scope: Scope,
    foretold: Foretold | Together,
    going: Going,
    against: Against | None,
    tolerance: float,
    basis: str,
    now: float,
) -> Forecast:
    """The forecast of one quantity."""
    amounts = _widened([going.amount(each - foretold.used) for each in foretold.quantiles], going.unseen)
    if going.gaps > _LEAST_GAP:
        basis += f"; not measured for {100 * going.gaps:.0f} % of the held time"
    found = Forecast(
        scope, going.quantity, going.used, dict(zip(LEVELS, amounts, strict=True)),
        against.estimate if against is not None else None, basis, now, p_limit=foretold.p_limit,
    )  # fmt: skip
    return found if against is None else _held_against(found, foretold, going, against, tolerance)


def _widened(amounts: Sequence[float], unseen: float) -> Sequence[float]:
    """What was not measured was used all the same: nobody knows how much, at most as much as in measured time."""
    return [amount + level * unseen for amount, level in zip(amounts, LEVELS, strict=True)]


def _beyond(amount: float, forecast: Forecast, foretold: Foretold | Together, going: Going) -> float:
    """The probability of coming to more than an amount of a quantity, as the quantiles of the forecast have it."""
    level = _level(amount, forecast)
    if going.unseen and LEVELS[0] < level < LEVELS[-1]:
        return 1.0 - level
    found = foretold.beyond(foretold.used + going.device_seconds(amount - level * going.unseen))
    if not going.unseen:
        return found
    return max(found, 1.0 - level) if level == LEVELS[0] else min(found, 1.0 - level)


def _level(amount: float, forecast: Forecast) -> float:
    """Which of its quantiles an amount is, the outermost one where it lies outside."""
    return float(np.interp(amount, list(forecast.quantiles.values()), LEVELS))


def _held_against(
    forecast: Forecast, foretold: Foretold | Together, going: Going, against: Against, tolerance: float
) -> Forecast:
    most = against.amount * (1.0 + tolerance)
    # What was used and not measured is reckoned in, as it is in the quantiles.
    needed = going.device_seconds(against.amount - _level(against.amount, forecast) * going.unseen)
    crosses = _beyond(against.amount, forecast, foretold, going)
    left = needed / foretold.rate if foretold.rate > 0 and needed >= 0 else None
    return Forecast(
        forecast.scope, forecast.quantity, forecast.used, forecast.quantiles, forecast.declared, forecast.basis,
        forecast.time,
        p_over=1.0 if forecast.used > most else _beyond(most, forecast, foretold, going),
        crosses_at=forecast.time + left if left is not None and crosses >= MEDIAN else None,
        crosses_between=_crossing(forecast.time, left, going, crosses),
        against=against.kind, reference=against.amount, p_limit=forecast.p_limit,
    )  # fmt: skip


def _crossing(now: float, left: float | None, going: Going, crosses: float) -> tuple[float, float | None] | None:
    """The 80 % interval of when an amount is used up that takes so many seconds at the mean rate."""
    if left is None or crosses <= HARDLY:
        return None
    return now + left / going.fast, now + left / going.slow if crosses >= LIKELY else None


def ended(scope: Scope, quantity: str, used: float, declared: Estimate | None, now: float) -> Forecast:
    """What a scope came to that has ended."""
    amount = declared.high if declared is not None else None
    return Forecast(
        scope, quantity, used, {MEDIAN: used}, declared, ENDED, now,
        against="declared" if declared is not None else "", reference=amount,
    )  # fmt: skip


def unknown(scope: Scope, quantity: str, used: float, declared: Estimate | None, why: str, now: float) -> Forecast:
    """What is used of a quantity where nothing can be said about where it will end."""
    return Forecast(scope, quantity, used, EMPTY, declared, why, now)


def together(parts: Sequence[Foretold | Together], used: float) -> Together:
    """What several runs come to, after `used` device-seconds of others that are over.

    Runs of one purpose are slow or fast together for a half: they share code, data and devices.
    """
    rate, in_use = sum(part.rate for part in parts), sum(part.used for part in parts)
    if len(parts) == 1:
        return Together(tuple(used + each for each in parts[0].quantiles), used + in_use, rate)
    rng = np.random.default_rng(len(parts))
    common = rng.standard_normal(_DRAWS)
    total = np.full(_DRAWS, used)
    for part in parts:
        rank = np.empty(_DRAWS)
        rank[(common + rng.standard_normal(_DRAWS)).argsort()] = _RANKS
        total += np.interp(rank, LEVELS, part.quantiles)
    return Together(tuple(np.quantile(total, LEVELS).tolist()), used + in_use, rate)
