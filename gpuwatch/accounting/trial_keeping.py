"""Trials between the ledger, where they are numbers, and the forecast, which knows what they mean. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from gpuwatch.forecast.calibration import KINDS, Calibration, Places
from gpuwatch.forecast.projection import HOURS
from gpuwatch.forecast.trials import LEVELS, STAGES, THRESHOLDS, Call, Mark, Stage, Trial
from gpuwatch.ledger.trial_store import CalibrationKey, KeptTrial, Numbers, Outcome
from gpuwatch.model import EMPTY


@dataclass(frozen=True, slots=True)
class OpenTrial:
    """A run that goes on: what it is held against (amounts in base units), and what was forecast of it so far."""

    user: str
    against: Literal["declared", "expected"]
    declared: float
    marks: Mapping[Stage, Mark] = EMPTY
    calls: Mapping[float, Call] = EMPTY


def marked(trial: OpenTrial, stage: Stage, mark: Mark) -> OpenTrial:
    """With a forecast at a stage; the first at each counts."""
    return trial if stage in trial.marks else replace(trial, marks={**trial.marks, stage: mark})


def called(trial: OpenTrial, used: float, p_over: float | None) -> OpenTrial:
    """With calls at the thresholds that P(over) has reached, each at the first time."""
    if p_over is None:
        return trial
    reached = {at: Call(used, p_over) for at in THRESHOLDS if at <= p_over and at not in trial.calls}
    return replace(trial, calls={**trial.calls, **reached}) if reached else trial


def kept(trial: OpenTrial, outcome: Outcome | None = None) -> KeptTrial:
    """For the ledger."""
    marks: dict[str, Numbers] = {stage: _numbers(mark) for stage, mark in trial.marks.items()}
    return KeptTrial(trial.user, trial.against, trial.declared, marks, dict(trial.calls), outcome)


def open_trial(kept: KeptTrial) -> OpenTrial:
    """From the ledger, to go on with."""
    against: Literal["declared", "expected"] = "declared" if kept.against == "declared" else "expected"
    return OpenTrial(kept.user, against, kept.declared, _marks(kept), _calls(kept))


def finished_trial(kept: KeptTrial) -> Trial | None:
    """From the ledger, to score and to learn from; None while it goes on."""
    if kept.outcome is None:
        return None
    return Trial(kept.user, kept.declared, kept.outcome.final, _marks(kept), _calls(kept), kept.outcome.cut)


def _numbers(mark: Mark) -> Numbers:
    if not mark.quantiles:
        return (mark.used, mark.p_over)
    kind = KINDS.index(mark.kind) if mark.kind in KINDS else None
    return (mark.used, mark.p_over, kind, *mark.quantiles, *mark.places)


def _marks(kept: KeptTrial) -> dict[Stage, Mark]:
    """Those of stages that there are today, and with as many quantiles and places as there are today, or none."""
    found: dict[Stage, Mark] = {}
    for stage in STAGES:
        used, p_over, kind, *numbers = (*kept.marks.get(stage, (None, None)), None)[: 3 + 2 * len(LEVELS)]
        known = tuple(each for each in numbers if each is not None)
        if used is not None and len(known) == 2 * len(LEVELS):
            name = KINDS[int(kind)] if kind is not None and 0 <= kind < len(KINDS) else ""
            found[stage] = Mark(used, known[: len(LEVELS)], p_over, known[len(LEVELS) :], name)
        elif used is not None and not known:
            found[stage] = Mark(used, (), p_over)
    return found


def _calls(kept: KeptTrial) -> dict[float, Call]:
    # As many numbers as there are today.
    known = ((at, said[0], said[1]) for at, said in kept.calls.items() if len(said) == len(Call._fields))
    return {at: Call(used, stated) for at, used, stated in known if used is not None}


def calibration_of(kept: Mapping[CalibrationKey, tuple[float, int]]) -> Calibration:
    """From the ledger: what is known of each stage; where a level is not there, or is no place, nothing is."""
    stages: dict[str, dict[float, tuple[float, int]]] = {}
    for (quantity, stage, level), told in kept.items():
        if quantity == HOURS:
            stages.setdefault(stage, {})[level] = told
    return Calibration(
        {
            stage: Places(tuple(told[level][0] for level in LEVELS), min(n for _, n in told.values()))
            for stage, told in stages.items()
            if set(LEVELS) <= told.keys() and all(map(_is_place, told.values()))
        }
    )


def _is_place(told: tuple[float, int]) -> bool:
    place, n = told
    return isinstance(place, float) and isinstance(n, int) and 0.0 < place < 1.0 and n >= 0


def calibration_rows(calibration: Calibration) -> dict[CalibrationKey, tuple[float, int]]:
    """For the ledger."""
    return {
        (HOURS, stage, level): (place, places.n)
        for stage, places in calibration.stages.items()
        for level, place in zip(LEVELS, places.places, strict=True)
    }
