"""What accounts used of what they were granted, from sums of days."""

from __future__ import annotations

from datetime import UTC

import pytest

from gpuwatch.ledger import charging
from gpuwatch.ledger.charging import Tariffs
from gpuwatch.ledger.rate_file import load_rates
from gpuwatch.ledger.record_store import post_grants, post_records
from gpuwatch.ledger.spending import Spending, spendings
from gpuwatch.ledger.store import Store
from gpuwatch.schedulers.base import Grant
from tests.ledger.batch import HOUR, T0, record

DAY = 86_400.0
NOW = T0 + 10 * DAY
BEGINS, ENDS = T0 - 8 * HOUR, T0 + 92 * DAY


def grant(account: str = "ml", **changed: object) -> Grant:
    values: dict[str, object] = {
        "cluster": "default", "account": account, "user": "", "resource": "gres/gpu",
        "limit_seconds": 1000 * HOUR, "used_seconds": None, "seen": float(T0), "starts": float(BEGINS),
        "ends": float(ENDS), "source": "slurm", **changed,
    }  # fmt: skip
    return Grant(**values)  # type: ignore[arg-type]


@pytest.fixture
def spent(store: Store) -> Store:
    """Twenty device-hours of ml and ten of its part ml-vision, in the last week; and five before the period."""
    jobs = [
        record("1", started=T0 + 5 * DAY, ended=T0 + 5 * DAY + 10 * HOUR, account="ml"),
        record("2", started=T0 + 6 * DAY, ended=T0 + 6 * DAY + 5 * HOUR, account="ml-vision"),
        record("3", started=T0 - 30 * DAY, ended=T0 - 30 * DAY + 2.5 * HOUR, account="ml"),
    ]
    with store.writing() as connection:
        post_records(connection, jobs)
    charging.catch_up(store, "default", Tariffs(load_rates(None, UTC), UTC), NOW)
    return store


def look(store: Store, *grants: Grant, now: float = NOW) -> list[Spending]:
    with store.writing() as connection:
        post_grants(connection, grants)
        return list(spendings(connection, "default", now))


def test_what_was_charged_in_the_period_counts_with_sub_accounts(spent: Store) -> None:
    """And the pace of the last week."""
    (ml,) = look(spent, grant(), grant("ml-vision", limit_seconds=None, parent="ml"))

    assert ("ml", "device-hours", 1000 * HOUR, 30 * HOUR, False) == (
        ml.account, ml.quantity, ml.granted, ml.used, ml.reported
    )  # fmt: skip
    assert pytest.approx(30 * HOUR / (7 * DAY)) == ml.pace
    assert (BEGINS, ENDS) == (ml.begins, ml.ends)


def test_jobs_whose_devices_nobody_told_make_it_incomplete(spent: Store) -> None:
    """They are not 0; what the batch system says is whole as far as it is used, and the pace is not."""
    with spent.writing() as connection:
        post_records(connection, [record("9", started=T0 + 6 * DAY, ended=T0 + 7 * DAY, devices=None)])
    charging.catch_up(spent, "default", Tariffs(load_rates(None, UTC), UTC), NOW)

    assert {"ml": False, "bio": True} == {
        each.account: each.complete for each in look(spent, grant(), grant("bio"))
    }


def test_the_batch_systems_word_comes_first(spent: Store) -> None:
    """Where it says what was used."""
    (ml,) = look(spent, grant(used_seconds=77 * HOUR))

    assert (77 * HOUR, True) == (ml.used, ml.reported)


def test_a_grant_without_a_period_counts_everything(spent: Store) -> None:
    """That was ever charged."""
    (ml,) = look(spent, grant(starts=None, ends=None))

    assert (25 * HOUR, None, None) == (ml.used, ml.begins, ml.ends)


def test_what_is_not_in_force_or_not_known_is_left_out(spent: Store) -> None:
    """A period that is over or yet to come, no limit, another cluster, CPUs of which nobody tells."""
    found = look(
        spent, grant("a", starts=float(T0), ends=T0 + DAY), grant("b", starts=NOW + DAY),
        grant("c", limit_seconds=None), grant("d", cluster="other"), grant("e", resource="cpu"),
        grant("f", user="ada"), grant("g", limit_seconds=0.0),
    )  # fmt: skip

    assert [] == found


def test_billing_units_go_by_report_and_by_the_pace_of_the_period(spent: Store) -> None:
    """As nobody else counts them."""
    (one,) = look(spent, grant(resource="billing", used_seconds=100 * HOUR, starts=NOW - 10 * DAY))

    assert ("charge", 100 * HOUR, 100 * HOUR / (10 * DAY)) == (one.quantity, one.used, one.pace)
