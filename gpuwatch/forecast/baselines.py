"""Rules that anybody would try first, in the same replay: what forecasts are measured against. Pure.

Each names one amount. Its interval is what it was off by before, at that stage, so that none is at a disadvantage
for saying nothing of its own doubt.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log

import numpy as np

from gpuwatch.forecast.burnup import BurnUp
from gpuwatch.forecast.evidence import Outlook
from gpuwatch.forecast.history import BacktestRun
from gpuwatch.forecast.reference import MIDDLE, Array, Member, ReferenceClass, Tail
from gpuwatch.forecast.trials import CUT_STATES, LEVELS, Call, Mark, Stage, Trial

DECLARED, LAST_TWO, BY_PROGRESS, BUDGET = "declared", "last_two", "used_by_progress", "budget_80"
BASELINES = (DECLARED, LAST_TWO, BY_PROGRESS, BUDGET)
"""What is declared; the mean of the user's last two runs (Tsafrir 2007); what is used by how far it is; and a
budget of which 80 % are used, which calls an overrun and foretells nothing. A rule that knows nothing says what is
declared."""

RULE = 0.0
"""The threshold that their calls stand under."""

BUDGET_SHARE = 0.8
_MOST = 1000


@dataclass(slots=True)
class _Said:
    marks: dict[Stage, Mark] = field(default_factory=dict)
    points: dict[Stage, float] = field(default_factory=dict)
    call: Call | None = None


class Baselines:
    """What the rules say as time goes by."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._last: dict[str, deque[float]] = {}
        self._off: dict[tuple[str, Stage], ReferenceClass] = {}
        self._factors: dict[tuple[str, Stage], tuple[Array, tuple[float, ...]]] = {}
        self._said: dict[str, dict[str, _Said]] = {}
        self._trials: dict[str, list[Trial]] = defaultdict(list)

    def decide(self, run: BacktestRun, used: float, outlook: Outlook | None, stage: Stage | None) -> None:
        """A decision about a run; `stage` is the one that was just reached. Without an outlook nothing is new."""
        declared = run.declared or 0.0
        said = self._said.get(run.job_id)
        if said is None:
            said = self._said[run.job_id] = {rule: _Said() for rule in BASELINES}
        if used >= BUDGET_SHARE * declared * (1 - 1e-9):
            said[BUDGET].call = said[BUDGET].call or Call(used)
        if outlook is None:
            return
        over = declared * (1.0 + self._tolerance)
        for rule, point in self._points(run.user, used, declared, outlook.burn_up).items():
            its = said[rule]
            if stage is not None:
                its.points[stage] = point
                its.marks[stage] = Mark(used, self._interval(rule, stage, point, used))
            if its.call is None and point > over:
                its.call = Call(used)

    def _points(self, user: str, used: float, declared: float, seen: BurnUp | None) -> Mapping[str, float]:
        last = self._last.get(user)
        return {
            DECLARED: max(declared, used),
            LAST_TWO: max(sum(last) / len(last) if last else declared, used),
            BY_PROGRESS: max(used / min(1.0, seen.ratio) if seen is not None else declared, used),
        }

    def _interval(self, rule: str, stage: Stage, point: float, used: float) -> tuple[float, ...]:
        found = self._off.get((rule, stage))
        row = found.row(0.0) if found is not None else None
        if row is None:
            return (point,) * len(LEVELS)
        of, factors = self._factors.get((rule, stage), (None, ()))
        if of is not row:
            factors = tuple(np.exp(np.interp(LEVELS, MIDDLE, row)).tolist())
            self._factors[rule, stage] = row, factors
        return tuple([amount if (amount := factor * point) > used else used for factor in factors])

    def end(self, run: BacktestRun) -> None:
        """A run came to its end."""
        self._last.setdefault(run.user, deque(maxlen=2)).append(run.final)
        if not run.declared:
            return
        over = run.declared * (1.0 + self._tolerance)
        for rule, said in self._said.pop(run.job_id, {}).items():
            for stage, point in said.points.items():
                found = self._off.setdefault((rule, stage), ReferenceClass(_MOST, Tail(), weighed=False))
                found.add(Member(log(run.final / point), run.job_id, run.user))
            call = said.call or (Call(over) if run.final > over else None)
            calls = {} if rule == DECLARED or call is None else {RULE: call}
            self._trials[rule].append(
                Trial(run.user, run.declared, run.final, said.marks, calls, run.state in CUT_STATES)
            )

    def trials(self) -> Mapping[str, tuple[Trial, ...]]:
        """What each rule said of the runs that are over."""
        return {rule: tuple(self._trials[rule]) for rule in BASELINES}
