"""Numbers with bounds: how they follow from what a sensor can do, and from what was not measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gpuwatch.reports.pieces import ModelPart, Piece

SENSOR = 0.05
"""How far power sensors and energy counters of devices may be off, either way."""

MODELLED = 0.37
"""How far energy may be off that follows from a model of power and was never read (arXiv 2506.14551)."""


class Figure(NamedTuple):
    """A value and its bounds; None: not known. `why` says what the bounds are of, or why there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""

    @property
    def known(self) -> bool:
        """Whether there is any value."""
        return self.value is not None

    def times(self, factor: float, why: str = "") -> Figure:
        """The same by a factor that is taken as certain."""
        low, value, high = (None if each is None else each * factor for each in (self.low, self.value, self.high))
        return Figure(value, low, high, why or self.why)


class Limits(NamedTuple):
    """Joules that unmeasured time may have taken at most; None: the board of some of it is not known."""

    seconds: float
    joules: float | None


def exact(value: float | None, why: str = "") -> Figure:
    """A number that was counted, and not measured."""
    return Figure(value, value, value, why)


def unmeasured(models: Mapping[str, ModelPart], watts: Mapping[str, float]) -> Limits:
    """Device-seconds without a measurement of energy, and what their boards can have drawn in that time."""
    missing = {model: max(0.0, part.device_seconds - part.covered_seconds) for model, part in models.items()}
    seconds = sum(missing.values())
    if any(each > _MOMENT and model not in watts for model, each in missing.items()):
        return Limits(seconds, None)
    return Limits(seconds, sum(watts.get(model, 0.0) * each for model, each in missing.items()))


_MOMENT = 1.0


def energy_figure(joules: float | None, by_method: Mapping[str, float], limits: Limits) -> Figure:
    """What was measured, less what the sensor may have added; with that, plus all that may be missing."""
    if joules is None:
        return Figure(None, None, None, "no energy was measured")
    modelled = by_method.get("modelled", 0.0)
    off = SENSOR * (joules - modelled) + MODELLED * modelled
    high = None if limits.joules is None else joules + off + limits.joules
    return Figure(joules, joules - off, high, _why(modelled, limits))


def _why(modelled: float, limits: Limits) -> str:
    words = ["sensor ±5 %"] if not modelled else ["sensor ±5 %, modelled part ±37 %"]
    if limits.seconds > _MOMENT:
        top = "an unknown board" if limits.joules is None else "the board's power"
        words.append(f"unmeasured time from 0 W to {top}")
    return "; ".join(words)


def summed(pieces: Iterable[Piece]) -> dict[str, ModelPart]:
    """The models of several jobs together."""
    found: dict[str, ModelPart] = {}
    for piece in pieces:
        for model, part in piece.models.items():
            found[model] = found.get(model, ModelPart()).plus(part)
    return dict(sorted(found.items(), key=lambda item: (-item[1].device_seconds, item[0])))
