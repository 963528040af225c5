"""How a forecast moved since a while ago, and what was measured in between that goes with it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gpuwatch.accounting.amounts import alike, amount, digits
from gpuwatch.accounting.condition_words import percent
from gpuwatch.accounting.forecast_words import moment
from gpuwatch.accounting.views import JobView
from gpuwatch.forecast.projection import MEDIAN
from gpuwatch.ledger.forecast_store import KeptForecast
from gpuwatch.model import BurnUpPoint, Forecast

BACK_SECONDS = 86_400.0
LEAST_SECONDS = 600.0
"""A forecast that is younger is no earlier one."""

MOVED = 0.05
"""A median that moved by a smaller part has hardly moved."""

FASTER = 1.1
"""What was used for a step, or in an hour, changed where it is by such a factor."""

_LOW, _HIGH = 0.1, 0.9


class ForecastChange(NamedTuple):
    """What was forecast `then`, what is now, and what changed in between, in words."""

    then: KeptForecast
    now: Forecast
    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        """`2025-11-24 12:00Z 80 to 120, now 200 to 280: a step takes 2.4 times what it took until then`."""
        shown = self.now.quantiles.get(_HIGH, self.now.quantiles[MEDIAN])
        quantity = self.now.quantity
        before = _interval(self.then.quantiles, quantity, shown)
        after = _interval(self.now.quantiles, quantity, shown)
        unit = amount(quantity, shown).partition(" ")[2]
        why = "; ".join(self.reasons) or "nothing that was measured says why"
        return f"{moment(self.then.time)}: {before}, now {after} {unit}: {why}"


def changes(view: JobView, back: float = BACK_SECONDS) -> Iterator[ForecastChange]:
    """How the forecasts of a job that runs moved since `back` seconds ago, or since its first; those that did."""
    if view.burnup is None or view.job.state == "ended":
        return
    for quantity, forecast in view.forecasts.items():
        then = _then(view.burnup.foretold.get(quantity, ()), forecast, back)
        if then is not None and _has_moved(then, forecast):
            yield ForecastChange(then, forecast, tuple(_reasons(view, then, forecast, view.burnup.points)))


def _then(kept: Sequence[KeptForecast], now: Forecast, back: float) -> KeptForecast | None:
    known = [each for each in kept if MEDIAN in each.quantiles and each.time <= now.time - LEAST_SECONDS]
    earlier = [each for each in known if each.time <= now.time - back]
    return earlier[-1] if earlier else known[0] if known else None


def _has_moved(then: KeptForecast, now: Forecast) -> bool:
    if MEDIAN not in now.quantiles:
        return False
    before, after = then.quantiles[MEDIAN], now.quantiles[MEDIAN]
    narrower = _width(now.quantiles) < 0.5 * _width(then.quantiles)
    return abs(after - before) > MOVED * max(before, after) or narrower


def _width(quantiles: Mapping[float, float]) -> float:
    return quantiles.get(_HIGH, 0.0) - quantiles.get(_LOW, 0.0)


def _interval(quantiles: Mapping[float, float], quantity: str, shown: float) -> str:
    low, high = quantiles.get(_LOW), quantiles.get(_HIGH)
    if low is None or high is None:
        return alike(quantity, quantiles[MEDIAN], shown)
    return f"{alike(quantity, low, shown)} to {alike(quantity, high, shown)}"


def _reasons(view: JobView, then: KeptForecast, now: Forecast, points: Sequence[BurnUpPoint]) -> Iterator[str]:
    """What changed in between, as far as it is kept."""
    stepped = _steps(points, then.time)
    if stepped is not None:
        yield stepped
    elif view.job.progress is not None and not any(each.step for each in points if each.time <= then.time):
        yield "it reports progress since"
    rate = _rate(then, now, view.job.started)
    if rate is not None:
        yield rate
    progress = view.job.progress
    if progress is not None and progress.other_totals:
        before = " and ".join(map(digits, progress.other_totals))
        yield f"its total is {digits(progress.total)} steps, and was {before}"
    declared = now.declared.likely if now.declared is not None else None
    if declared is not None and then.declared is not None and declared != then.declared:
        amounts = alike(now.quantity, declared, declared), amount(now.quantity, then.declared)
        yield f"{amounts[0]} are declared, and {amounts[1]} were"
    if _width(now.quantiles) < 0.5 * _width(then.quantiles):
        yield "more of it has run, so that less of it is unknown"


def _steps(points: Sequence[BurnUpPoint], time: float) -> str | None:
    """How what a step takes changed."""
    known = [each for each in points if each.step is not None]
    before = [each for each in known if each.time <= time]
    after = known[max(0, len(before) - 1) :]
    first, then = _pace(before), _pace(after)
    if first is None or then is None or 1 / FASTER < then / first < FASTER:
        return None
    return f"a step takes {_times(then / first)} what it took until then"


def _pace(points: Sequence[BurnUpPoint]) -> float | None:
    if len(points) < 2:
        return None
    steps, used = (points[-1].step or 0.0) - (points[0].step or 0.0), points[-1].used - points[0].used
    return used / steps if steps > 0 and used > 0 else None


def _rate(then: KeptForecast, now: Forecast, started: float) -> str | None:
    """How what it uses in an hour changed; of the time itself that is always the same."""
    first, since = then.time - started, now.time - then.time
    if now.quantity == "wall" or first <= 0 or since <= 0 or then.used <= 0:
        return None
    times = (now.used - then.used) / since / (then.used / first)
    if times <= 0 or 1 / FASTER < times < FASTER:
        return None
    return f"it uses {_times(times)} as much in an hour as until then"


def _times(ratio: float) -> str:
    return f"{digits(ratio)} times" if ratio > 1 else percent(ratio)
