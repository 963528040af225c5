"""What accounting cannot do as it should, as alerts to its operators: for sites without a Prometheus to watch it.

Something has to be wrong for a quarter of an hour; what passes by itself is nobody's business. A pass that fails
as a whole tells nobody: the ledger, by which it would be known who was told, is what failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gpuwatch.accounting.allocations import Asked
from gpuwatch.accounting.site_record import Standing
from gpuwatch.forecast.scoring import number_at
from gpuwatch.forecast.trials import STAGES
from gpuwatch.ledger.scopes import AlertKey
from gpuwatch.model import EMPTY, Alert, Scope

HEALTH = "health"
LASTING_SECONDS = 900.0

PROMISED, LEAST_HELD, ENOUGH = 0.8, 0.7, 200
"""Of 80 % intervals so many must hold, once so many forecasts are over; a little less may be chance."""


class Trouble(NamedTuple):
    """What is wrong: `value` of `of` there are, and what to do about it."""

    value: float
    of: float
    text: str
    advice: str


@dataclass(frozen=True, slots=True)
class State:
    """What a pass knows of itself: nodes asked and not read, batch systems, what waits to be told, its files."""

    nodes: int = 0
    failed: int = 0
    asked: Asked = field(default_factory=Asked)
    waiting: Mapping[str, int] = EMPTY
    rates_successful: bool = True
    policy_successful: bool = True
    record: Standing | None = None


def troubles(state: State) -> Iterator[tuple[str, Trouble]]:
    """By what each is called."""
    if state.failed:
        told = f"{state.failed} of {state.nodes} sources of usage cannot be read"
        yield "nodes", Trouble(state.failed, state.nodes, told, "gpuwatch check --probe says which, and why")
    for name, up in state.asked.up.items():
        if not up:
            told = f"the batch system {name} does not answer every question"
            yield f"scheduler-{name}", Trouble(1, 1, told, "gpuwatch check --probe asks it")
    for name, number in state.waiting.items():
        if number:
            told = f"{number} news wait to be told by {name}"
            yield f"notifier-{name}", Trouble(number, number, told, "gpuwatch check --probe tries it out")
    if not state.rates_successful:
        yield "rates", Trouble(1, 1, "the rates file has a mistake, the old rates stay", "gpuwatch rates names it")
    if not state.policy_successful:
        told = "the alert policy has a mistake, the old one stays"
        yield "policy", Trouble(1, 1, told, "gpuwatch check names it")
    yield from _coverage(state.record)


def _coverage(record: Standing | None) -> Iterator[tuple[str, Trouble]]:
    if record is None or record.n < ENOUGH:
        return
    stages = (number_at(record.figures, "coverage", "80", "jobs", stage) for stage in STAGES)
    known = [each for each in stages if each is not None]
    held = sum(known) / len(known) if known else PROMISED
    if held < LEAST_HELD:
        told = f"of the intervals that forecasts gave 80 %, {100 * held:.0f} % held what jobs came to"
        yield "forecasts", Trouble(held, PROMISED, told, "gpuwatch backtest shows where")


class SelfCheck:
    """Remembers since when what has been wrong."""

    def __init__(self, cluster: str) -> None:
        self._scope = Scope("cluster", cluster)
        self._since: dict[str, float] = {}

    def look(self, state: State, now: float) -> dict[AlertKey, Alert]:
        """The alerts of what has been wrong for long enough."""
        found = dict(troubles(state))
        # By a clock that may jump: nothing has been wrong since a time that is yet to come.
        self._since = {name: min(self._since.get(name, now), now) for name in found}
        alerts = {}
        for name, trouble in found.items():
            since = self._since[name]
            if now - since >= LASTING_SECONDS:
                key = AlertKey(HEALTH, self._scope, name)
                lines = (trouble.text, f"look closer: {trouble.advice}")
                alerts[key] = Alert(
                    *key, "warning", since, trouble.value, trouble.of, "; ".join(lines), lines
                )  # fmt: skip
        return alerts
