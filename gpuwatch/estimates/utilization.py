"""Which part of its peak a device reaches over a whole training run, pauses and restarts included. Pure.

Run utilization is model FLOP / (device-seconds × dense peak FLOP/s). It is lower than the MFU that a training loop
prints, which knows of its own steps alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType

from gpuwatch.errors import Rejected
from gpuwatch.estimates.quantiles import LEVELS, Quantiles, certain, log_normal, scaled
from gpuwatch.specs import Spec


@dataclass(frozen=True, slots=True)
class Utilization:
    """Run utilization as a ratio, and where it is from, in words."""

    quantiles: Quantiles
    source: str
    of_hardware: bool
    """Whether time follows from what the hardware computes (an MFU has paid for recomputation already)."""


_ANY: Quantiles = MappingProxyType(
    dict(zip(LEVELS, (0.183, 0.231, 0.263, 0.325, 0.381, 0.476, 0.506), strict=True))
)
"""Of 43 published language-model trainings of at least 1e9 parameters, as 6ND / (device-hours × peak)."""

_GENERATIONS: Mapping[str, tuple[float, float, int]] = MappingProxyType(
    {"A100": (0.365, 0.27, 28), "H100": (0.243, 0.31, 13)}
)
"""Median, standard deviation of the logarithm, and number of runs among those 43."""

_SAME_CHIP: Mapping[str, str] = MappingProxyType(
    {"A100": "A100", "A800": "A100", "H100": "H100", "H200": "H100", "H800": "H100", "GH200": "H100"}
)

_RUN_PER_STEP: Quantiles = MappingProxyType(
    dict(zip(LEVELS, (0.60, 0.636, 0.70, 0.77, 0.835, 0.874, 0.91), strict=True))
)
"""Run utilization over step MFU of seven published runs: OPT .60 (by the clock), PaLM .66, PLaMo .74, GLM .77,
Skywork .82, Llama 3.1 405B .85, TinyLlama .91."""


def of_device(spec: Spec) -> Utilization:
    """What published trainings reached on devices of its generation; on others, what they reached on any."""
    generation = _SAME_CHIP.get(spec.name.split()[0])
    if generation is None:
        words = "43 published trainings, nearly all on A100 and H100: none says much of this device"
        return Utilization(_ANY, words, True)
    median, log_sd, runs = _GENERATIONS[generation]
    return Utilization(log_normal(median, log_sd), f"{runs} published trainings on {generation}", True)


def of_mfu(mfu: float) -> Utilization:
    """Run utilization of a run whose steps reach this MFU: restarts, evaluation and slow nodes take their part."""
    _check("MFU", mfu)
    words = f"step MFU {mfu:g} × 0.60 to 0.91, as seven published runs lost between step and run"
    return Utilization(scaled(_RUN_PER_STEP, mfu), words, False)


def given(ratio: float) -> Utilization:
    """Run utilization taken as known."""
    _check("utilization", ratio)
    return Utilization(certain(ratio), "given, and taken as certain", False)


def _check(name: str, ratio: float) -> None:
    if not isfinite(ratio) or not 0.001 <= ratio <= 1:
        raise Rejected(f"{name}: {ratio:g} is not possible; a ratio of the peak, 0.001 to 1, as in 0.45")
