"""What the makers say of a device that a statement names, as far as all that the name fits agree. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from gpuwatch.reports.checks import Known
from gpuwatch.specs import Spec, known, lookup, normalised

_USUAL = ("bf16", "fp16", "fp32")
_LONGEST = 60
_COUNT = re.compile(r"[\d,]{1,9}\s*[x×*]\s*")
"""How many of it there are, as in `8x H100`."""
_MEAN = "mean in use"


@lru_cache(maxsize=256)
def device_known(name: str) -> Known | None:
    """Peak and board power of one device as batch systems count it; None where nothing fits the name.

    `A100-80` fits boards of 300 and of 400 W: their peak is one, and the larger power bounds both.
    """
    name = _COUNT.sub("", name.strip())
    spec = lookup(name)
    fitting = (spec,) if spec is not None else tuple(_fitting(name))
    if not fitting:
        return None
    peaks = {peak for each in fitting if (peak := peak_of(each)) is not None}
    watts = [found for each in fitting if (found := board_watts(each)) is not None]
    shown = fitting[0].name if len(fitting) == 1 else name[:_LONGEST]
    return Known(shown, max(peaks, default=None), max(watts, default=None), len(peaks) < 2)


def board_watts(spec: Spec) -> float | None:
    """What its board may draw, of one device as a batch system counts it; None: only a mean in use is known."""
    return None if spec.watts is None or spec.watts_term == _MEAN else spec.watts / spec.counted


def peak_of(spec: Spec, precision: str | None = None) -> float | None:
    """Dense FLOP/s of one device as a batch system counts it; without a precision of bf16, fp16 or fp32."""
    wanted = precision or next((each for each in _USUAL if each in spec.peak_flops), "")
    peak = spec.peak_flops.get(wanted)
    return None if peak is None else peak / spec.counted


def usual_precision(spec: Spec) -> str | None:
    """The precision that is meant where nobody says: bf16, fp16 or fp32."""
    return next((each for each in _USUAL if each in spec.peak_flops), None)


def _fitting(name: str) -> Iterable[Spec]:
    wanted = normalised(name[:_LONGEST]).split()
    if not wanted or not any(any(sign.isdigit() for sign in word) for word in wanted):
        return ()
    return (each for each in known() if all(_has(each, word) for word in wanted))


def _has(spec: Spec, word: str) -> bool:
    return any(each == word or each == f"{word}gb" or each.rstrip("0123456789") == word for each in _words(spec))


def _words(spec: Spec) -> list[str]:
    return normalised(spec.name).split()
