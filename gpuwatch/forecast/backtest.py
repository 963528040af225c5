"""What would have been forecast of runs that are over, strictly in the order of time. Pure.

At each decision only that is known which had ended by then. Decisions are made as a run is submitted, when each
stage is reached, and at every tenth of what is declared until all of it is used: from then on that it is exceeded
is a fact, and no forecast. An overrun that nobody called by then counts as called when the tolerance was used up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from typing import NamedTuple

from gpuwatch.forecast.baselines import BASELINES, Baselines
from gpuwatch.forecast.burnup import first_in_each_bucket
from gpuwatch.forecast.calibration import Calibration, kind_of
from gpuwatch.forecast.evidence import Begun, Case, Experience, Outlook
from gpuwatch.forecast.history import BacktestRun
from gpuwatch.forecast.mixing import Distribution, distributions
from gpuwatch.forecast.outcomes import Outcome
from gpuwatch.forecast.projection import ceiling
from gpuwatch.forecast.trials import (
    CUT_STATES,
    FAILED_STATES,
    POLLS,
    SHARES,
    THRESHOLDS,
    Call,
    Mark,
    Stage,
    Trial,
    at_end,
)

_AT_ONCE = 512
_TOLD_EACH = 100
_FIRST: Stage = "submit"
_STAGES: Mapping[float, Stage] = {share: stage for stage, share in SHARES.items()}
_SHARES = tuple(sorted({*_STAGES, *(number / POLLS for number in range(1, POLLS))}))
_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of a backtest: what was forecast of each run that declares, and what simpler rules had said."""

    trials: tuple[Trial, ...]
    baselines: Mapping[str, tuple[Trial, ...]]


class _Decision(NamedTuple):
    """What was known at one time; `stage` is the last one that was reached, `marks` whether it was just now.

    Without an outlook of its own it is known what was at that stage, and how much is used since.
    """

    running: _Running
    used: float
    stage: Stage
    marks: bool
    outlook: Outlook | None


@dataclass(slots=True, eq=False)
class _Running:
    """A run while it is replayed."""

    run: BacktestRun
    used_at: tuple[float, ...]
    ratios: tuple[float, ...]
    stage: Stage = _FIRST
    weight: float = 1.0
    marks: dict[Stage, Mark] = field(default_factory=dict)
    calls: dict[float, Call] = field(default_factory=dict)
    outlooks: list[Outlook] = field(default_factory=list)
    known: Distribution | None = None

    @property
    def begun(self) -> Begun:
        """The run as it is known once it goes on."""
        run = self.run
        return Begun(run.user, run.account, run.name, _batch(run), run.started, run.devices, run.declared)


def replayed(runs: Sequence[BacktestRun], tolerance: float, told: Callable[[float], None] | None = None) -> Replay:
    """Replay runs in the order of time; `tolerance` is how far above what is declared an overrun begins.

    Each cluster is replayed by itself, as it is forecast. `told` is called now and then with what part is done.
    """
    of_cluster = defaultdict[str, list[BacktestRun]](list)
    for run in runs:
        of_cluster[run.cluster].append(run)
    ended = _Ended(len(runs), told)
    replays = [_Replaying(tolerance, ended).over(some) for some in of_cluster.values() or ([],)]
    return Replay(
        tuple(trial for each in replays for trial in each.trials),
        {rule: tuple(trial for each in replays for trial in each.baselines[rule]) for rule in BASELINES},
    )


class _Ended:
    """Counts runs that are over, and tells now and then what part of all they are."""

    def __init__(self, runs: int, told: Callable[[float], None] | None) -> None:
        self._runs, self._told, self._count = runs, told, 0

    def add(self) -> None:
        """One more."""
        self._count += 1
        if self._told is not None and self._count % _TOLD_EACH == 0:
            self._told(min(1.0, self._count / self._runs))


class _Replaying:
    """The state of a backtest as time goes by.

    Decisions and ends wait until many outlooks can be mixed at once, and are then judged in their order: what a
    decision says is corrected by what was known at its time.
    """

    def __init__(self, tolerance: float, ended: _Ended) -> None:
        self._tolerance = tolerance
        self._ended = ended
        self._experience = Experience()
        self._calibration = Calibration()
        self._baselines = Baselines(tolerance)
        self._waiting: list[_Decision | _Running] = []
        self._outlooks: list[Outlook] = []
        self._trials: list[Trial] = []
        self._sizes: Counter[str] = Counter()

    def over(self, runs: Sequence[BacktestRun]) -> Replay:
        in_order = sorted((run for run in runs if run.final > 0), key=lambda run: run.job_id)
        there = [_Running(run, *_burn_up(run)) for run in in_order]
        ends = sorted(((each.run.ended, 0, place, 0.0) for place, each in enumerate(there)))
        decisions = sorted(
            (time, 1, place, share)
            for place, each in enumerate(there)
            if each.run.declared
            for share, time in _times(each.run)
        )
        starts = sorted((each.run.started, 2, place, 0.0) for place, each in enumerate(there))
        for time, what, place, share in merge(ends, decisions, starts):
            if what == 1:
                self._decide(there[place], share, time)
            elif what == 2:
                self._experience.begin(there[place].run.job_id, there[place].begun)
            else:
                self._end(there[place])
                self._ended.add()
        self._judge_all()
        return Replay(tuple(self._trials), self._baselines.trials())

    def _decide(self, running: _Running, share: float, now: float) -> None:
        used = share * (running.run.declared or 0.0)
        marks = share in _STAGES
        if marks:
            running.stage = _STAGES[share]
        # Of one that has said nothing of itself nothing is new between stages but what it used.
        has_said = bool(running.used_at) and running.used_at[0] <= used
        outlook = self._experience.outlook(_case(running, used), now) if marks or has_said else None
        self._baselines.decide(running.run, used, outlook, running.stage if marks else None)
        self._waiting.append(_Decision(running, used, running.stage, marks, outlook))
        if outlook is None:
            return
        if marks:
            running.outlooks.append(outlook)
        self._outlooks.append(outlook)
        if len(self._outlooks) >= _AT_ONCE:
            self._judge_all()

    def _judge_all(self) -> None:
        found = distributions(self._outlooks)
        for each in self._waiting:
            if not isinstance(each, _Decision):
                self._score(each)
                continue
            if each.outlook is not None:
                each.running.known = next(found)
            if each.running.known is not None:
                self._judge(each, each.running.known)
        self._waiting.clear()
        self._outlooks.clear()

    def _judge(self, decision: _Decision, known: Distribution) -> None:
        running, used = decision.running, decision.used
        kind = kind_of(decision.outlook is not None and decision.outlook.burn_up is not None)
        places = self._calibration.at(decision.stage, kind)
        over, end = (running.run.declared or 0.0) * (1.0 + self._tolerance), ceiling(_limit(running.run), used)
        below = known.place(over) if decision.outlook is not None else known.place_after(used, over)
        p_over = 0.0 if end is not None and over >= end else 1.0 - places.corrected(below)
        if decision.marks:
            quantiles = known.quantiles(places.in_force).tolist()
            amounts = tuple(quantiles if end is None else (min(each, end) for each in quantiles))
            running.marks[decision.stage] = Mark(used, amounts, p_over, places.in_force, kind)
        for threshold in THRESHOLDS:
            if p_over >= threshold and threshold not in running.calls:
                running.calls[threshold] = Call(used, p_over)

    def _score(self, running: _Running) -> None:
        run = running.run
        # It is a view of all that was mixed with it.
        running.known = None
        self._trials.append(_trial(running, run.declared or 0.0, self._tolerance))
        if run.state not in CUT_STATES:
            for stage, mark in running.marks.items():
                self._calibration.learn(stage, mark.kind, mark.place(run.final), running.weight)

    def _end(self, running: _Running) -> None:
        run = running.run
        # What was submitted together teaches less than its number promises.
        self._sizes[_batch(run)] += 1
        running.weight = self._sizes[_batch(run)] ** -0.5
        if run.declared:
            self._waiting.append(running)
        if run.state not in CUT_STATES:
            for outlook in running.outlooks:
                self._experience.learn(outlook, run.final, running.weight)
        running.outlooks.clear()
        self._baselines.end(run)
        self._experience.over(run.job_id, running.begun)
        if run.state not in FAILED_STATES:
            self._experience.add(_outcome(running))


def _limit(run: BacktestRun) -> float | None:
    return None if run.limit_seconds is None else run.limit_seconds * run.devices


def _case(running: _Running, used: float) -> Case:
    run = running.run
    return Case(
        run.user, run.account, run.name, used, run.declared, None, running.used_at, running.ratios,
        limit=_limit(run), batch=_batch(run),
    )  # fmt: skip


def _times(run: BacktestRun) -> Iterator[tuple[float, float]]:
    """When which share of what is declared was used."""
    yield 0.0, run.submitted
    for share in _SHARES[1:]:
        time = run.started + share * (run.declared or 0.0) / run.devices
        if time >= run.ended:
            return
        yield share, time


def _burn_up(run: BacktestRun) -> tuple[tuple[float, ...], tuple[float, ...]]:
    used_at = tuple((time - run.started) * run.devices for time, _ in run.progress)
    return used_at, tuple(ratio for _, ratio in run.progress)


def _trial(running: _Running, declared: float, tolerance: float) -> Trial:
    run = running.run
    calls = at_end(running.calls, declared, run.final, tolerance)
    return Trial(run.user, declared, run.final, running.marks, calls, run.state in CUT_STATES)


def _batch(run: BacktestRun) -> str:
    return f"{run.user} {int(run.submitted // _HOUR)}"


def _outcome(running: _Running) -> Outcome:
    run = running.run
    return Outcome(
        run.user, run.account, run.name, _batch(run), run.declared, run.final, run.ended,
        cut=run.state in CUT_STATES,
        projected=first_in_each_bucket(running.used_at, running.ratios),
    )  # fmt: skip
