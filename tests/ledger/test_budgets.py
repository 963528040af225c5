"""What accounts were granted, used and promised, out of grants and records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.ledger.budget_forecasts import FRESH_SECONDS
from gpuwatch.ledger.budgets import (
    Accounts,
    Budget,
    Committed,
    UserPart,
    accounts_in,
    budgets,
    grant_in_force,
    overlap,
)
from gpuwatch.ledger.record_store import post_grants, post_records
from gpuwatch.ledger.store import Store
from gpuwatch.schedulers.base import Grant, Record
from tests.ledger.batch import HOUR, T0, pending, record, running
from tests.ledger.foretold import post_forecast

DAY = 86_400.0
NOW = T0 + HOUR / 2


def grant(account: str = "ml", **changed: Any) -> Grant:
    values: dict[str, Any] = {
        "cluster": "default", "account": account, "user": "", "resource": "gres/gpu", "limit_seconds": 100 * HOUR,
        "used_seconds": 40 * HOUR, "seen": NOW - 60, "parent": "root", "source": "slurm", **changed,
    }  # fmt: skip
    return Grant(**values)


def budget_of(
    store: Store, told: Sequence[Record], grants: Sequence[Grant], account: str = "ml", resource: str = "gres/gpu"
) -> Budget:
    with store.writing() as connection:
        post_records(connection, told)
        post_grants(connection, grants)
        accounts = accounts_in(connection)
        (found,) = budgets(connection, accounts, [("default", account)], resource, NOW)
    return found


def ended(job_id: str = "1", **changed: Any) -> Record:
    """Two devices for ten hours, a day ago."""
    return record(
        job_id, **{"started": T0 - DAY, "ended": T0 - DAY + 10 * HOUR, "seen": T0 - DAY + 10 * HOUR, **changed}
    )


def test_what_is_granted_is_charged_by_whoever_granted_it(store: Store) -> None:
    """The records' sum stands beside it, with the difference."""
    found = budget_of(store, [ended()], [grant()])

    assert (100 * HOUR, 40 * HOUR, 60 * HOUR) == (found.granted, found.used, found.left)
    assert (20 * HOUR, 20 * HOUR, T0 - DAY) == (found.recorded_seconds, found.difference, found.recorded_since)


def test_a_report_of_a_year_is_compared_with_the_records_of_that_year(store: Store) -> None:
    """Beside the word of who granted, which comes first; a job of last year is in neither sum of this one."""
    report = grant(
        limit_seconds=None, used_seconds=19 * HOUR, starts=T0 - 2 * DAY, ends=float(T0), source="sreport"
    )
    before = ended("0", started=T0 - 9 * DAY, ended=T0 - 9 * DAY + 10 * HOUR)

    found = budget_of(store, [ended(), before], [grant(), report])

    assert [("slurm", 40 * HOUR, 40 * HOUR), ("sreport", 19 * HOUR, 20 * HOUR)] == [
        (word.grant.source, word.grant.used_seconds, word.recorded_seconds) for word in found.words
    ]
    assert (40 * HOUR, 0.0, -HOUR) == (found.used, found.difference, found.words[1].difference)


def test_jobs_that_run_and_wait_are_committed_until_their_limits(store: Store) -> None:
    """From where a running one was last seen; each task of an array; those without a limit are counted."""
    told = [running("2"), pending("3", tasks=3), pending("4", limit_seconds=None), record("5")]

    found = budget_of(store, told, [grant()])

    # The running job was seen half an hour after its start, and may use two hours of two devices.
    assert Committed(2 * 1.5 * HOUR, 3 * 2 * 2 * HOUR, 1, 4, 1) == found.committed
    assert found.left is not None
    assert found.left - 15 * HOUR == found.free


def test_sub_accounts_are_part_of_an_account(store: Store) -> None:
    """At any depth; the account above them that has a limit is named."""
    told = [ended("1", account="vision"), ended("2", account="ml"), ended("3", account="physics")]
    below = [grant("vision", parent="ml", limit_seconds=None, used_seconds=None), grant(parent="root")]

    whole = budget_of(store, told, below)
    part = budget_of(store, told, below, "vision")
    top = budget_of(store, told, below, "root")

    assert [40 * HOUR, 20 * HOUR, 40 * HOUR] == [each.recorded_seconds for each in (whole, part, top)]
    assert (("vision",), "root", "") == (whole.accounts, whole.parent, whole.within)
    assert ("ml", "ml") == (part.parent, part.within)


def test_only_the_grants_period_counts(store: Store) -> None:
    """A job that ran into it counts from its beginning; a running job is committed until its end."""
    period = grant(source="csv", used_seconds=None, starts=T0 - DAY + 9 * HOUR, ends=NOW + HOUR / 2)

    found = budget_of(store, [ended(), running("2")], [period])

    assert 2 * HOUR + 2 * 0.5 * HOUR == found.recorded_seconds == found.used
    assert 2 * 0.5 * HOUR == found.committed.running_seconds
    assert T0 - DAY + 9 * HOUR == found.recorded_since


def test_the_pace_is_that_of_the_last_7_days(store: Store) -> None:
    """Older use does not count; at that pace the rest lasts so long."""
    old = ended("9", started=T0 - 30 * DAY, ended=T0 - 29 * DAY)

    found = budget_of(store, [ended(), old], [grant()])

    assert 20 * HOUR / (7 * DAY) == found.pace
    assert NOW + 60 * HOUR / found.pace == pytest.approx(found.runs_out)


@pytest.mark.parametrize(
    ("changed", "runs_out"),
    [
        ({"used_seconds": 100 * HOUR}, NOW),
        ({"used_seconds": 900 * HOUR}, NOW),
        ({"ends": NOW + DAY}, None),
        ({"limit_seconds": None}, None),
    ],
)
def test_it_runs_out_only_where_that_is_to_be_expected(
    store: Store, changed: dict[str, Any], runs_out: float | None
) -> None:
    """At once where nothing is left; not where the period ends before, or without a limit."""
    assert runs_out == budget_of(store, [ended()], [grant(**changed)]).runs_out


def test_without_use_it_does_not_run_out(store: Store) -> None:
    """No pace, no day."""
    found = budget_of(store, [], [grant()])

    assert (0.0, None, None) == (found.pace, found.runs_out, found.recorded_since)


def test_an_account_without_a_grant_shows_its_use(store: Store) -> None:
    """Nothing is made up."""
    found = budget_of(store, [ended()], [])

    assert (None, 20 * HOUR, None, None, None) == (
        found.granted, found.used, found.left, found.free, found.difference,
    )  # fmt: skip


def test_what_the_records_cannot_tell_is_unknown(store: Store) -> None:
    """Memory is in no record; devices that nobody told are counted as such."""
    told = [ended(), ended("2", devices=None)]

    memory, devices = budget_of(store, told, [], resource="mem"), budget_of(store, told, [])

    assert (None, 0.0) == (memory.used, memory.recorded_seconds)
    assert (20 * HOUR, 1) == (devices.recorded_seconds, devices.unknown_jobs)


@pytest.mark.parametrize(("resource", "seconds"), [("cpu", 160 * HOUR), ("billing", 1000 * HOUR)])
def test_other_resources_are_those_of_the_records(store: Store, resource: str, seconds: float) -> None:
    """Billing units are the batch system's own."""
    assert seconds == budget_of(store, [ended(billing=100.0)], [], resource=resource).recorded_seconds


def test_users_have_limits_of_their_own(store: Store) -> None:
    """Beside what they used, those who used the most first; the account's own grant is not a user's."""
    mine = [grant(), grant(user="bob", limit_seconds=9 * HOUR, used_seconds=1.0, coordinators=())]

    found = budget_of(store, [ended(), ended("2", user="")], mine)

    assert (UserPart("ada", None, None, 20 * HOUR), UserPart("bob", 9 * HOUR, 1.0, 0.0)) == found.users


def test_of_several_grants_the_one_for_today_counts() -> None:
    """A limit goes before none, today's period before others, then the later one."""
    past, today, none = grant(starts=1.0, ends=2.0), grant(starts=NOW - 5, ends=NOW + 5), grant(limit_seconds=None)

    assert [today, today, past, None] == [
        grant_in_force(each, NOW) for each in ([past, today, none], [today, past], [past, none], [none])
    ]


def test_a_circle_of_accounts_does_no_harm() -> None:
    """No batch system has one; a file may."""
    accounts = Accounts({("c", "a"): "b", ("c", "b"): "a"}, [("c", "x")])

    assert (("c", "b"), ("c", "a")) == accounts.above(("c", "a"))
    assert (("c", "a"), ("c", "b"), ("c", "x")) == accounts.all
    assert (("c", "b"),) == accounts.below(("c", "a"))


def test_accounts_of_two_clusters_are_kept_apart(store: Store) -> None:
    """Of the same name."""
    found = budget_of(store, [ended(), ended(cluster="other")], [replace(grant(), cluster="other")])

    assert (None, 20 * HOUR) == (found.granted, found.recorded_seconds)


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.lists(st.floats(0, 1e9), min_size=2, max_size=6))
def test_parts_of_time_add_up(begins: float, length: float, cuts: list[float]) -> None:
    """What lies in the pieces of a period is what lies in the period."""
    edges = sorted(cuts)
    pieces = [overlap(begins, begins + length, *each) for each in pairwise(edges)]

    assert math.isclose(
        overlap(begins, begins + length, edges[0], edges[-1]), math.fsum(pieces), rel_tol=1e-6, abs_tol=1e-3
    )


def test_what_running_jobs_will_use_yet_is_what_is_forecast_of_them(store: Store) -> None:
    """Less what they had used; nothing of what waits, was forecast long ago, or is not known."""
    with store.writing() as connection:
        post_forecast(connection, "1", HOUR, (1, 2, 3, 4, 5, 6, 7), NOW - 60)
        post_forecast(connection, "2@1700000000", HOUR, (2, 2, 2, 2, 2, 2, 2), NOW - 60)
        post_forecast(connection, "3", HOUR, (1, 2, 3, 4, 5, 6, 7), NOW - FRESH_SECONDS - 1)
        post_forecast(connection, "4", HOUR, (None,) * 7, NOW)
        post_forecast(connection, "5", HOUR, (1, 2, 3, 4, 5, 6, 7), NOW)

    told = [*(running(str(number)) for number in range(1, 5)), pending("5"), ended("6")]
    found = budget_of(store, told, [grant()])

    assert [tuple(HOUR * hours for hours in range(7)), (HOUR,) * 7] == sorted(found.remaining)


@pytest.mark.parametrize(("resource", "factor"), [("gres/gpu", 1.0), ("cpu", 8.0)])
def test_what_comes_after_the_period_is_not_charged_to_it(store: Store, resource: str, factor: float) -> None:
    """Two devices and 16 CPUs for the half hour that the period lasts yet, and no more."""
    period = grant(resource=resource, starts=T0 - DAY, ends=NOW + HOUR / 2)
    with store.writing() as connection:
        post_forecast(connection, "1", 0.0, (0.25, 0.5, 1, 2, 3, 4, 5), NOW)

    found = budget_of(store, [running("1")], [period], resource=resource)

    assert (tuple(HOUR * factor * hours for hours in (0.25, 0.5, 1, 1, 1, 1, 1)),) == found.remaining
