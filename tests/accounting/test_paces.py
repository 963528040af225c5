"""Budgets that run out too early, or lapse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.alert_policy import Thresholds
from gpuwatch.accounting.paces import paces
from gpuwatch.ledger.scopes import AlertKey
from gpuwatch.ledger.spending import Spending
from gpuwatch.model import Alert, Scope

HOUR, DAY = 3600.0, 86_400.0
BEGINS, ENDS = 1_764_000_000.0, 1_764_000_000.0 + 100 * DAY
KEY = AlertKey("pace", Scope("account", "ml"), "device-hours")
THRESHOLDS = Thresholds()


def spending(used: float, pace: float = 0.0) -> Spending:
    """Of 1,000 device-hours in 100 days; the pace in device-hours a day."""
    return Spending("ml", "device-hours", 1000 * HOUR, used * HOUR, pace * HOUR / DAY, BEGINS, ENDS)


def look(one: Spending, day: float, before: dict[AlertKey, Alert] | None = None) -> dict[AlertKey, Alert]:
    return paces([one], before or {}, THRESHOLDS, BEGINS + day * DAY)


@pytest.mark.parametrize(
    ("used", "day", "told"),
    [
        (490, 20, None), (510, 20, (50, "info")), (510, 50, None), (560, 50, (50, "info")),
        (810, 60, (80, "warning")), (810, 79, None), (1000, 99, (100, "warning")), (1300, 99, (100, "warning")),
    ],
)  # fmt: skip
def test_a_mark_is_told_where_it_comes_too_early(used: float, day: float, told: tuple[int, str] | None) -> None:
    """Half of it at half of the time is as planned; all of it is told whenever it is used."""
    found = look(spending(used, used / day), day)

    assert ([] if told is None else [told]) == [(each.level, each.severity) for each in found.values()]


def test_the_alert_says_what_when_and_until_when() -> None:
    """With the command to look closer; it concerns the account."""
    (alert,) = look(spending(810, 13.5), 60).values()

    assert (
        "account ml used 81 % of its device-hours; used: 810 device-hours of 1,000 device-hours granted (81 %); "
        "period: 60 % of it is over; it ends 2026-03-04 16:00Z; pace: 13.5 device-hours a day in the last week; "
        "at that pace nothing is left from 2026-02-06 17:46Z on"
    ) == alert.text
    assert ("look closer: gpuwatch budget ml", "ml") == (alert.details[-1], alert.concern.account)


def test_what_is_above_its_plan_stays_until_it_is_on_plan() -> None:
    """A tenth above it begins the alert, the plan ends it."""
    first = look(spending(560), 50)

    assert [KEY] == list(look(spending(560), 55, first))
    assert {} == look(spending(560), 57, first)


def test_a_budget_without_a_period_has_no_plan() -> None:
    """Every mark is told."""
    endless = replace(spending(510), begins=None, ends=None)

    assert [50] == [each.level for each in look(endless, 50).values()]


@pytest.mark.parametrize(
    ("used", "pace", "day", "told"), [(300, 3, 79, 0), (300, 3, 81, 1), (700, 5, 81, 0), (300, 25, 81, 0)]
)
def test_what_will_lapse_is_told_in_the_last_part_of_the_period(
    used: float, pace: float, day: float, told: int
) -> None:
    """A quarter of it or more, at the pace of the last week."""
    found = look(spending(used, pace), day)

    assert told == len(found)
    assert all((each.level, each.severity) == (0, "info") for each in found.values())
    assert all("will lapse unused on 2026-03-04 16:00Z" in each.text for each in found.values())


def test_what_is_not_all_known_does_not_lapse() -> None:
    """Jobs whose devices nobody told may have used it; marks that are reached without them are reached."""
    lapsing, over = (replace(spending(used, 3), complete=False) for used in (300, 1100))

    assert {} == look(lapsing, 90)
    assert [100] == [each.level for each in look(over, 90).values()]
    told = look(spending(300, 3), 90)
    assert told == look(lapsing, 90, told)


@given(st.floats(0, 2000), st.floats(0, 100), st.floats(-10, 200))
def test_there_is_at_most_one_alert_whatever_was_used(used: float, pace: float, day: float) -> None:
    """And it is the same one again with the next look."""
    first = look(spending(used, pace), day)
    second = look(spending(used, pace), day, first)

    assert len(first) <= 1
    assert first == second
