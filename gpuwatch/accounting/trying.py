"""Forecasts on trial: what was said of each run at each stage, until it is known what the run came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from gpuwatch.accounting.trial_keeping import OpenTrial, called, finished_trial, kept, marked
from gpuwatch.forecast.calibration import Calibration
from gpuwatch.forecast.evidence import Experience, Outlook
from gpuwatch.forecast.projection import HOURS
from gpuwatch.forecast.trials import POLLS, Mark, Trial, at_end, stage_of
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.queries import RECENT_SECONDS
from gpuwatch.ledger.trial_store import KeptTrial, Outcome, TrialKey

LEARNERS = 2000
"""Of so many runs at once it is learned which evidence told best: what is known of one takes 10 KB."""

MOST_BATCHES = 50_000
"""Of so many batches it is remembered how many of each have ended."""

_COMPLETING = "COMPLETING"

Kind = Literal["declared", "expected"]


@dataclass(frozen=True, slots=True)
class Said:
    """What is forecast of a run now: quantiles at `LEVELS` in device-seconds, and which raw ones they are."""

    key: TrialKey
    user: str
    used: float
    kind: Kind
    amount: float
    quantiles: tuple[float, ...]
    places: tuple[float, ...]
    p_over: float
    outlook: Outlook
    correction: str = ""
    """Of which kind of runs its correction is (`forecast.calibration`)."""


@dataclass(slots=True)
class Trying:
    """The trials of runs that go on; `changed` are those that the ledger does not know as they are.

    `dropped` are those of which nobody will know what they came to.
    """

    tolerance: float
    open: dict[TrialKey, OpenTrial] = field(default_factory=dict)
    changed: set[TrialKey] = field(default_factory=set)
    over: dict[TrialKey, KeptTrial] = field(default_factory=dict)
    dropped: set[TrialKey] = field(default_factory=set)
    _polled: dict[TrialKey, int] = field(default_factory=dict)
    _outlooks: dict[TrialKey, list[Outlook]] = field(default_factory=dict)
    _sizes: Counter[str] = field(default_factory=Counter)

    def expected(self, key: TrialKey) -> float | None:
        """What a run is held against that declares nothing; None before anything was said of it."""
        trial = self.open.get(key)
        return trial.declared if trial is not None and trial.against == "expected" else None

    def take(self, said: Said) -> None:
        """A forecast of a run that goes on; what counts is the first at each stage, and the first call."""
        before = self.open.get(said.key)
        trial = before or OpenTrial(said.user, said.kind, said.amount)
        share = said.used / trial.declared if trial.declared > 0 else 0.0
        stage = stage_of(share)
        if stage not in trial.marks and share < 1.0:
            trial = marked(
                trial, stage, Mark(said.used, said.quantiles, said.p_over, said.places, said.correction)
            )
            self._remember(said)
        poll = int(share * POLLS)
        # What is declared anew is another amount; calls are about the first one.
        if share < 1.0 and poll > self._polled.get(said.key, -1) and said.amount == trial.declared:
            self._polled[said.key] = poll
            trial = called(trial, said.used, said.p_over)
        if trial is not before:
            self.open[said.key] = trial
            self.changed.add(said.key)

    def _remember(self, said: Said) -> None:
        if said.key in self._outlooks or len(self._outlooks) < LEARNERS:
            self._outlooks.setdefault(said.key, []).append(said.outlook)

    def finish(
        self, key: TrialKey, outcome: Outcome, batch: str, experience: Experience, calibration: Calibration
    ) -> Trial | None:
        """A run is over: learn from what was forecast of it. None where it was not on trial.

        What was submitted together (`batch`) teaches less than its number promises.
        """
        trial = self.open.pop(key, None)
        outlooks = self._outlooks.pop(key, ())
        self._polled.pop(key, None)
        self.changed.discard(key)
        if trial is None:
            return None
        trial = replace(trial, calls=at_end(trial.calls, trial.declared, outcome.final, self.tolerance))
        self.over[key] = kept(trial, outcome)
        if not outcome.cut:
            weight = self._weight(batch)
            for stage, mark in trial.marks.items():
                calibration.learn(stage, mark.kind, mark.place(outcome.final), weight)
            for outlook in outlooks:
                experience.learn(outlook, outcome.final, weight)
        return finished_trial(self.over[key])

    def _weight(self, batch: str) -> float:
        if len(self._sizes) > MOST_BATCHES:
            self._sizes.clear()
        self._sizes[batch] += 1
        return float(self._sizes[batch] ** -0.5)

    def drop(self, keys: Iterable[TrialKey]) -> None:
        """These runs are not there any more: they have got another begin, or another name."""
        for key in keys:
            self.open.pop(key, None)
            self._outlooks.pop(key, None)
            self._polled.pop(key, None)
            self.changed.discard(key)
            self.dropped.add(key)

    def saved(self) -> None:
        """The ledger knows what there was to save, and no more what was dropped."""
        self.dropped.clear()
        self.changed.clear()
        self.over.clear()

    def to_save(self) -> Mapping[TrialKey, KeptTrial]:
        """What the ledger does not know yet."""
        return {**{key: kept(self.open[key]) for key in self.changed if key in self.open}, **self.over}


def is_over(job: Job, now: float) -> bool:
    """Whether it is known how it ended: for a while a batch system may say no more than that it is completing."""
    state = job.record.facts.state if job.record is not None else ""
    return job.state == "ended" and (state != _COMPLETING or now - job.last_seen > RECENT_SECONDS)


def outcome_of(job: Job) -> Outcome:
    """What a job came to that has ended."""
    state = job.record.facts.state if job.record is not None else ""
    # What was lost, or ended unheard, may have been cut short.
    whole = state == "COMPLETED" if state else job.exit_code == 0
    return Outcome(job.device_seconds, job.last_seen, not whole)


def key_of(job: Job) -> TrialKey:
    """The trial of a job."""
    return TrialKey(job.scope, HOURS, job.started)
