"""Accounts that use far more today than on other days: `rate`. Pure.

Beside it stand only days with any use, and at least seven of them: who works on one day a week is not told of each
time. Who grows by and by raises what is usual. A day's amount is what was charged so far, so that nothing is told
before it has happened; one alert tells of an account, whichever amount crossed first, and it ends with the day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gpuwatch.accounting import condition_words as words
from gpuwatch.accounting.alert_policy import Thresholds
from gpuwatch.accounting.watched import AccountUse, Watched
from gpuwatch.ledger.device_rows import AccountDay
from gpuwatch.ledger.scopes import AlertKey
from gpuwatch.model import Alert, Concern, Scope

RATE = "rate"
QUANTITIES = ("device-hours", "energy", "cost")

DAYS = 28
"""So many days before are looked at."""

FEWEST_DAYS = 7
_QUANTILE = 0.9
KEPT = 0.8


def account_uses(days: Iterable[AccountDay], today: int) -> tuple[AccountUse, ...]:
    """What accounts used today, where anything, beside the days before."""
    amounts: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
    for account, day, currency, seconds, joules, money in days:
        for quantity, unit, value in (
            ("device-hours", "", seconds), ("energy", "", joules), ("cost", currency, money)
        ):  # fmt: skip
            if value is not None and (quantity != "cost" or unit):
                by_day = amounts[account, quantity, unit]
                by_day[day] = by_day.get(day, 0.0) + value
    found = (
        AccountUse(*key, by_day[today], usual(past), len(past))
        for key, by_day in amounts.items()
        if by_day.get(today, 0.0) > 0.0
        for past in [[value for day, value in by_day.items() if today - DAYS <= day < today and value > 0.0]]
    )
    return tuple(sorted(found, key=lambda each: (each.account, QUANTITIES.index(each.quantity), each.unit)))


def usual(past: Sequence[float]) -> float | None:
    """What is not exceeded on nine of ten days; None where there are too few days."""
    if len(past) < FEWEST_DAYS:
        return None
    ordered = sorted(past)
    place = _QUANTILE * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def rates(watched: Watched, standing: Mapping[AlertKey, Alert], limits: Thresholds, now: float) -> Iterator[Alert]:
    """One alert for each account that uses far more today."""
    by_account: dict[str, list[AccountUse]] = defaultdict(list)
    for each in watched.rates:
        by_account[each.account].append(each)
    for account, uses in by_account.items():
        scope = Scope("account", account)
        known = [
            alert
            for quantity in QUANTITIES
            if (alert := standing.get(AlertKey(RATE, scope, quantity))) is not None
            and alert.since >= watched.day_begins
        ]
        hours = next((each.today for each in uses if each.quantity == "device-hours"), 0.0)
        told = next((alert for alert in known), None)
        use = _farthest(uses, told, limits)
        if use is None or (told is None and hours < limits.rate_device_hours * 3600.0):
            continue
        limit = limits.rate_factor * (use.usual or 0.0)
        since = told.since if told is not None else now
        text, details = words.rate(use, uses, limits.rate_factor)
        concern = Concern(account=account, name=account)
        yield Alert(
            RATE, scope, use.quantity, "warning", since, use.today, limit, text, details, concern=concern
        )  # fmt: skip


def _farthest(uses: Sequence[AccountUse], told: Alert | None, limits: Thresholds) -> AccountUse | None:
    """The amount that is told: the one that was, while it is about as much, else the first above its limit."""

    def ratio(use: AccountUse) -> float:
        return use.today / (limits.rate_factor * use.usual) if use.usual else 0.0

    if told is not None:
        its = [use for use in uses if use.quantity == told.quantity]
        best = max(its, key=ratio, default=None)
        if best is not None and ratio(best) >= KEPT:
            return best
    for quantity in QUANTITIES:
        its = [use for use in uses if use.quantity == quantity]
        best = max(its, key=ratio, default=None)
        if best is not None and ratio(best) > 1.0:
            return best
    return None
