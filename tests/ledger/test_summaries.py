"""Groups out of daily sums are groups out of charges, whatever is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuwatch.ledger.charging import Tariffs, catch_up
from gpuwatch.ledger.periods import BY, By, Grouped
from gpuwatch.ledger.rates import Rates
from gpuwatch.ledger.spans import spans
from gpuwatch.ledger.store import Store
from gpuwatch.ledger.summaries import Question, _out_of_charges, summary, zone_of
from gpuwatch.schedulers.base import Live
from tests.ledger.batch import HOUR, T0, record, running
from tests.ledger.deliveries import row
from tests.ledger.test_charging import NOW, tariffs, tell

DAY = 86_400.0
MIDNIGHT = T0 - T0 % DAY


@pytest.fixture
def busy(store: Store) -> Store:
    """Jobs of three users in two accounts over five weeks, some over midnight, one of which nobody knows much."""
    told = [
        record(
            str(number), submitted=T0 + number, started=MIDNIGHT + number * 7 * HOUR,
            ended=MIDNIGHT + number * 7 * HOUR + (number % 5) * 9 * HOUR, user=("ada", "bob", "")[number % 3],
            account=("ml", "bio")[number % 2], devices=None if number == 11 else float(number % 4),
        )
        for number in range(120)
    ]  # fmt: skip
    its = row("5", started=int(MIDNIGHT + 35 * HOUR), last_seen=MIDNIGHT + 36 * HOUR, open=False)
    tell(store, [*told, running("900")], [its, row("user:eve", started=T0, last_seen=T0 + 30 * HOUR)])
    catch_up(store, "default", tariffs(), NOW)
    return store


def plain(found: Grouped) -> list[tuple[object, ...]]:
    """Groups without what floating point makes of other orders of adding up."""

    def near(value: float | None) -> float | None:
        return None if value is None else round(value, 5)

    def amounts(values: Mapping[str, float]) -> dict[str, float]:
        return {name: round(value, 5) for name, value in sorted(values.items()) if value}

    rows = sorted(found.rows, key=lambda each: each.name or "")
    return [
        (each.name, near(each.device_seconds) or None, near(each.cpu_seconds) or None, amounts(each.amounts))
        for each in (*rows, found.total)
        if each.device_seconds or each.cpu_seconds or each.amounts
    ]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from([each for each in BY if each != "campaign"]), st.integers(0, 40), st.integers(1, 40))
def test_daily_sums_are_the_charges(busy: Store, by: By, first: int, days: int) -> None:
    """By day, month, user, account, partition and group, over any days."""
    begins = MIDNIGHT + first * DAY
    question = Question(by, begins, begins + days * DAY, UTC, NOW * 2, {"all": ("*/ml",)})
    with busy.reading() as connection:
        assert plain(_out_of_charges(connection, question)) == plain(summary(connection, question))


@pytest.fixture
def returning(store: Store) -> Store:
    """Jobs over midnight whose ids come back after days, of one of which nobody knows the devices."""
    told = [
        record(
            str(number % 48), submitted=T0 + number, started=MIDNIGHT + (number * 7 + 1) * HOUR,
            ended=MIDNIGHT + (number * 7 + 1) * HOUR + (1 + number % 5) * 9 * HOUR,
            user=("ada", "bob", "")[number % 3], account=("ml", "bio")[number % 2],
            devices=None if number % 48 == 11 else float(1 + number % 4),
            live=Live(MIDNIGHT, ("", "gpuwatch: campaign=llama", "gpuwatch: campaign=bert", "")[number % 4]),
        )
        for number in range(120)
    ]  # fmt: skip
    tell(store, told)
    catch_up(store, "default", tariffs(), NOW * 2)
    return store


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(BY), st.integers(-30, 900), st.integers(1, 900),
    st.sampled_from((None, "ada")), st.sampled_from((UTC, ZoneInfo("Asia/Kolkata"))),
)  # fmt: skip
def test_times_within_days_are_the_charges_too(
    returning: Store, by: By, first: int, hours: int, user: str | None, zone: tzinfo
) -> None:
    """Sums, jobs and jobs of unknown devices, between any hours, for everybody and for one."""
    begins = MIDNIGHT + first * HOUR
    may = None if user is None else (lambda _cluster, whose, _account: whose == user)
    question = Question(by, begins, begins + hours * HOUR, zone, NOW * 2, {"all": ("*/ml",)}, may)

    with returning.reading() as connection:
        expected, found = _out_of_charges(connection, question), summary(connection, question)

    assert plain(expected) == plain(found)
    assert {each.name: each.jobs for each in expected.rows} == {each.name: each.jobs for each in found.rows}
    assert (expected.total.jobs, expected.total.unknown_jobs) == (found.total.jobs, found.total.unknown_jobs)


@pytest.mark.parametrize(("begins", "days"), [(0.0, 0), (MIDNIGHT + 3 * DAY, 10), (MIDNIGHT + 16 * DAY, 20)])
def test_each_job_counts_once(busy: Store, begins: float, days: int) -> None:
    """In every month that it had anything in, and once in the whole."""
    ends = begins + days * DAY if days else NOW * 2
    with busy.reading() as connection:
        for by in ("month", "day"):
            found = summary(connection, Question(by, begins, ends, UTC, NOW * 2))
            there = list(spans(connection, begins, ends))
            assert len({each.job for each in there}) == found.total.jobs


def test_only_what_may_be_seen_is_added_up(busy: Store) -> None:
    """The same by either way."""
    question = Question("day", now=NOW, ends=NOW, visible=lambda _cluster, user, _account: user == "ada")
    with busy.reading() as connection:
        seen = summary(connection, question)
        by_user = summary(connection, Question("user", now=NOW, ends=NOW))

    (ada,) = (each for each in by_user.rows if each.name == "ada")
    assert (pytest.approx(ada.device_seconds), ada.jobs) == (seen.total.device_seconds, seen.total.jobs)


def test_earlier_editions_can_be_asked_for(busy: Store) -> None:
    """Before a restatement, as it was then."""
    from gpuwatch.ledger import restating

    dearer = tariffs("price,,,2023-01-01,,3.00,EUR,,,\n")
    with busy.writing() as connection:
        restating.restate(connection, "default", (0, 100_000), dearer, "ada", "", NOW)
    with busy.reading() as connection:
        before, after = (
            summary(connection, Question("account", now=NOW, ends=NOW, edition=edition)) for edition in (0, None)
        )

    assert pytest.approx(1.5) == after.total.amounts["cost:EUR"] / before.total.amounts["cost:EUR"]
    assert before.total.device_seconds == pytest.approx(after.total.device_seconds)


@pytest.mark.parametrize("zone", [UTC, ZoneInfo("Europe/Berlin")])
def test_the_ledger_knows_by_whose_days_it_charges(store: Store, zone: tzinfo) -> None:
    """It was written down with the rates."""
    tell(store, [record("7")])
    catch_up(store, "default", Tariffs(Rates.of((), str(zone)), zone), NOW)

    with store.reading() as connection:
        assert str(zone) == str(zone_of(connection))
