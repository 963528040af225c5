"""What running jobs of accounts are forecast to use yet, together, and whether the accounts have as much. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from gpuwatch.forecast.projection import Together, together
from gpuwatch.forecast.trials import LEVELS
from gpuwatch.ledger.budget_forecasts import Remaining
from gpuwatch.ledger.budgets import Budget, Expected
from gpuwatch.ledger.groups import GroupBudget

_LOW, _MEDIAN, _HIGH = (LEVELS.index(level) for level in (0.1, 0.5, 0.9))


def expecting(budgets: Iterable[Budget]) -> Iterator[Budget]:
    """Budgets with what is expected of their running jobs."""
    for each in budgets:
        yield replace(each, expected=_expected(each.remaining, each.left, each.committed.waiting_seconds))


def group_expecting(found: GroupBudget) -> GroupBudget:
    """A group with what is expected of it, which is not the sum of its accounts' intervals."""
    parts = [part for each in found.budgets for part in each.remaining]
    waiting = sum(each.committed.waiting_seconds for each in found.budgets)
    return replace(found, expected=_expected(parts, found.left, waiting))


def _expected(parts: Sequence[Remaining], left: float | None, waiting: float) -> Expected | None:
    if not parts:
        return None
    whole = together([Together(part, 0.0, 0.0) for part in parts], 0.0)
    found = whole.quantiles
    p_over = None if left is None else whole.beyond(left - waiting)
    return Expected(found[_LOW], found[_MEDIAN], found[_HIGH], len(parts), p_over)
