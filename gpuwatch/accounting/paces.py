"""Budgets that are used up before their period ends, or will lapse unused. Pure.

A mark of the budget is told of only where it comes too early: somebody who is on plan is not told that half of the
year is over. A budget without a period has no plan, and every mark of it is told of.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from gpuwatch.accounting.alert_policy import Thresholds
from gpuwatch.accounting.amounts import alike, amount
from gpuwatch.accounting.forecast_words import moment
from gpuwatch.ledger.scopes import AlertKey
from gpuwatch.ledger.spending import Spending
from gpuwatch.model import Alert, Concern, Scope

PACE = "pace"

EARLY = 1.1
"""A mark comes too early where so many times what the plan has by now is used: a day more or less is none."""

_DAY = 86_400.0

_Severity = Literal["info", "warning"]


def paces(
    spendings: Iterable[Spending], standing: Mapping[AlertKey, Alert], thresholds: Thresholds, now: float
) -> dict[AlertKey, Alert]:
    """The alerts about budgets; `level` is the mark in percent, 0 where budget will lapse."""
    found: dict[AlertKey, Alert] = {}
    for each in spendings:
        key = AlertKey(PACE, Scope("account", each.account), each.quantity)
        was = standing.get(key)
        alert = _ahead(key, each, was, thresholds, now) or _behind(key, each, was, thresholds, now)
        if alert is not None:
            found[key] = alert
    return found


def _ahead(
    key: AlertKey, spending: Spending, was: Alert | None, thresholds: Thresholds, now: float
) -> Alert | None:
    ratio = spending.used / spending.granted
    marks = [mark for mark in thresholds.pace_ratios if ratio >= mark]
    if not marks or not (ratio >= 1.0 or _is_early(spending, ratio, was, now)):
        return None
    mark = max(marks)
    severity: _Severity = "info" if mark == min(thresholds.pace_ratios) else "warning"
    lines = [*_lines(spending, ratio, now)]
    text = f"account {spending.account} used {100 * ratio:.0f} % of its {spending.quantity}; " + "; ".join(lines)
    return _alert(key, spending, was, severity, text, lines, now, round(100 * mark))


def _is_early(spending: Spending, ratio: float, was: Alert | None, now: float) -> bool:
    """Whether it is above its plan; what was told stays until it is on plan again."""
    gone = _gone(spending, now)
    if gone is None:
        return True
    return ratio > gone * (EARLY if was is None or was.level == 0 else 1.0)


def _behind(
    key: AlertKey, spending: Spending, was: Alert | None, thresholds: Thresholds, now: float
) -> Alert | None:
    """Use it or lose it: near the end of the period much will be left at the present pace."""
    gone = _gone(spending, now)
    if gone is None or spending.ends is None or gone < 1.0 - thresholds.pace_last_ratio:
        return None
    if not spending.complete:
        # More may have been used than is known: what is left is not.
        return was if was is not None and was.level == 0 else None
    left = spending.granted - spending.used - spending.pace * (spending.ends - now)
    least = thresholds.pace_unused_ratio * (1.0 if was is None else 0.8)
    if left < least * spending.granted:
        return None
    lines = [*_lines(spending, spending.used / spending.granted, now)]
    lapses = f"{_amount(spending, left)} will lapse unused on {moment(spending.ends)} at the present pace"
    text = f"account {spending.account}: {lapses}; " + "; ".join(lines)
    return _alert(key, spending, was, "info", text, [lapses, *lines], now, 0)


def _alert(
    key: AlertKey,
    spending: Spending,
    was: Alert | None,
    severity: _Severity,
    text: str,
    lines: list[str],
    now: float,
    level: int,
) -> Alert:
    since = was.since if was is not None else now
    commands = (f"look closer: gpuwatch budget {shlex.quote(spending.account)}",)
    return Alert(
        *key, severity, since, spending.used, spending.granted, text, (*lines, *commands), level,
        Concern(account=spending.account),
    )  # fmt: skip


def _lines(spending: Spending, ratio: float, now: float) -> Iterator[str]:
    granted = f"{_amount(spending, spending.granted)} granted ({100 * ratio:.0f} %)"
    word = ", by the batch system's word" if spending.reported else ""
    yield f"used: {_amount(spending, spending.used)} of {granted}{word}"
    gone = _gone(spending, now)
    if gone is not None and spending.ends is not None:
        yield f"period: {100 * gone:.0f} % of it is over; it ends {moment(spending.ends)}"
    if spending.pace > 0:
        yield f"pace: {_amount(spending, spending.pace * _DAY)} a day in the last week"
    left = spending.granted - spending.used
    if left <= 0:
        yield "nothing is left"
    elif spending.pace > 0:
        out = now + left / spending.pace
        before = spending.ends is None or out < spending.ends
        if before:
            yield f"at that pace nothing is left from {moment(out)} on"


def _gone(spending: Spending, now: float) -> float | None:
    """Which part of the period is over; None where it has none."""
    if spending.begins is None or spending.ends is None or spending.ends <= spending.begins:
        return None
    return min(1.0, max(0.0, (now - spending.begins) / (spending.ends - spending.begins)))


def _amount(spending: Spending, value: float) -> str:
    if spending.quantity == "device-hours":
        return amount("device-hours", value)
    hours = alike("device-hours", value, 3600.0)
    return f"{hours} {'CPU-hours' if spending.quantity == 'cpu-hours' else 'billing-hours'}"
