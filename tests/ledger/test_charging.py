"""Charging out of a ledger: what was told becomes rows by day with money and carbon, and the sums of days."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from math import fsum
from typing import Any

import pytest
from sqlalchemy import func, select

from gpuwatch.ledger import charging, history, restating, tables
from gpuwatch.ledger.charges import day_of
from gpuwatch.ledger.charging import SUMS, Tariffs, catch_up
from gpuwatch.ledger.marking import marked
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.rate_file import read_rates
from gpuwatch.ledger.rates import Rates
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store
from gpuwatch.ledger.writing import post
from gpuwatch.schedulers.base import Record
from tests.ledger.batch import HOUR, T0, record, running
from tests.ledger.deliveries import delivery, row

NOW = T0 + 30 * 86_400.0
HEAD = "kind,model,partition,from,to,value,unit,source,year,country\n"
PRICE = "price,,,2023-01-01,,2.00,EUR,,,\n"
PLACE = "pue,,,2023-01-01,,1.25,,meter,2023,\nintensity,,,2023-01-01,,400,,site,2023,\n"


def rates(text: str) -> Rates:
    """The rates of a file."""
    return read_rates(iter((HEAD + text).splitlines(keepends=True)), "rates.csv", UTC, lambda _name: ())


def tariffs(text: str = PRICE + PLACE) -> Tariffs:
    """Two euros an hour, a PUE of 1.25 and 400 g/kWh."""
    return Tariffs(rates(text))


def tell(store: Store, records: Iterable[Record] = (), rows: Iterable[Any] = (), **changed: Any) -> None:
    """Post records, and rows of one delivery."""
    with store.writing() as connection:
        post_records(connection, list(records))
        post(connection, read(delivery(list(rows), **changed)), "test")


def charges(store: Store, **where: object) -> list[Any]:
    """The charges that are there, in the order of their keys."""
    query = select(tables.charges).order_by(*tables.charges.primary_key)
    for name, value in where.items():
        query = query.where(tables.charges.c[name] == value)
    with store.reading() as connection:
        return list(connection.execute(query))


def sums_hold(store: Store) -> bool:
    """Whether the daily sums are those of the charges in force."""
    there, daily = tables.charges.c, tables.daily.c
    with store.reading() as connection:
        for name in SUMS:
            of_charges = connection.scalar(select(func.sum(there[name])).where(there.current))
            of_days = connection.scalar(select(func.sum(daily[name])))
            if pytest.approx(of_charges) != of_days:
                return False
    return True


def test_a_job_has_hours_energy_money_and_carbon(store: Store) -> None:
    """Two devices for an hour at two euros, 1 kWh of them, with the facility's share of it."""
    its = row(
        "7", started=T0, last_seen=T0 + HOUR, held_seconds=7200.0, energy_joules={"counter": 3.6e6}, open=False
    )
    tell(store, [record("7")], [its])

    catch_up(store, "default", tariffs(), NOW)

    (found,) = charges(store)
    assert (7200.0, 4.0, "EUR", 4.5e6, 500.0, True) == (
        found.charged_seconds, found.cost, found.currency, found.facility_joules, found.carbon_grams, found.final,
    )  # fmt: skip
    assert sums_hold(store)


def test_what_has_no_price_has_no_cost_and_what_was_not_measured_no_carbon(store: Store) -> None:
    """Unknown is not 0, neither in a charge nor in a sum."""
    tell(store, [record("7")])

    catch_up(store, "default", tariffs(PLACE), NOW)

    (found,) = charges(store)
    assert (None, "", None, None) == (found.cost, found.currency, found.facility_joules, found.carbon_grams)
    assert sums_hold(store)


def test_charging_again_changes_nothing(store: Store) -> None:
    """Facts that are told twice are charged once."""
    told = [record("7"), running("8")]
    tell(store, told, [row("7", started=T0, last_seen=T0 + HOUR)])
    catch_up(store, "default", tariffs(), NOW)
    before = charges(store)
    tell(store, told, [row("7", started=T0, last_seen=T0 + HOUR)])

    again = catch_up(store, "default", tariffs(), NOW)

    assert (0, before) == (again.rows, charges(store))


def test_a_running_job_is_charged_again_and_its_days_stay(store: Store) -> None:
    """Over midnight: yesterday keeps what it had, whatever is used today."""
    midnight = T0 + 16 * HOUR
    for seen, held in ((midnight - 60.0, 100.0), (midnight + 60.0, 120.0), (midnight + HOUR, 5000.0)):
        its = row("run-1", started=T0, last_seen=seen, held_seconds=held, state_seconds={"working": held})
        tell(store, rows=[its])
        catch_up(store, "default", tariffs(), seen)

    yesterday, today = charges(store)

    assert (pytest.approx(110.0), 5000.0) == (yesterday.held_seconds, yesterday.held_seconds + today.held_seconds)
    assert sums_hold(store)


def test_what_was_told_too_late_is_divided_over_the_time_in_which_nobody_saw(store: Store) -> None:
    """An agent that was out of reach for two days: its hours are not all today's."""
    midnight = T0 + 16 * HOUR
    told = record(
        "7", started=midnight - HOUR, ended=None, state="RUNNING", seen=midnight + 47 * HOUR, devices=1.0
    )
    its = {"started": int(midnight - HOUR), "state_seconds": {}}
    tell(store, [told], [row("7", last_seen=midnight, held_seconds=HOUR, **its)])
    catch_up(store, "default", tariffs(), midnight + 47 * HOUR)
    tell(store, [told], [row("7", last_seen=midnight + 48 * HOUR, held_seconds=49 * HOUR, **its)])

    catch_up(store, "default", tariffs(), midnight + 48 * HOUR)

    assert [HOUR, 24 * HOUR, 24 * HOUR] == [pytest.approx(each.held_seconds) for each in charges(store)]


def test_what_has_ended_keeps_its_rates_and_what_runs_takes_the_new_ones(store: Store) -> None:
    """A price that is corrected is for what comes; the past waits for a restatement."""
    tell(store, [record("7"), running("8")])
    catch_up(store, "default", tariffs(), NOW)
    dearer = tariffs("price,,,2023-01-01,,3.00,EUR,,,\n" + PLACE)
    tell(store, [record("7"), running("8", seen=T0 + HOUR)])

    catch_up(store, "default", dearer, NOW)

    ended, runs = charges(store)
    assert (4.0, 6.0) == (ended.cost, runs.cost)
    with store.reading() as connection:
        assert 2 == connection.scalar(select(func.count()).select_from(tables.rate_sets))
        assert tariffs().rates == charging.Tariffs(dearer.rates).version(connection, ended.rates)


def test_late_facts_of_a_job_that_has_ended_are_reckoned_by_its_own_rates(store: Store) -> None:
    """Energy that an agent delivers after the price has changed."""
    tell(store, [record("7")])
    catch_up(store, "default", tariffs(), NOW)
    tell(store, rows=[row("7", started=T0, last_seen=T0 + HOUR, energy_joules={"counter": 3.6e6})])

    catch_up(store, "default", tariffs("price,,,2023-01-01,,9.00,EUR,,,\n"), NOW)

    (found,) = (each for each in charges(store) if each.model == "H100")
    assert (4.0, 500.0) == (found.cost, found.carbon_grams)


def test_a_restatement_stands_beside_what_was_charged(store: Store) -> None:
    """Old figures stay, the new ones are in force; hours and joules are the same; a second one finds nothing."""
    its = row("7", started=T0, last_seen=T0 + HOUR, energy_joules={"counter": 3.6e6})
    tell(store, [record("7")], [its])
    catch_up(store, "default", tariffs(), NOW)
    dearer = tariffs("price,,,2023-01-01,,3.00,EUR,,,\n" + PLACE)
    days = (day_of(datetime(2023, 11, 1, tzinfo=UTC).date()), day_of(datetime(2023, 12, 1, tzinfo=UTC).date()))

    with store.writing() as connection:
        first = restating.restate(connection, "default", days, dearer, "ada", "new contract", NOW)
    with store.writing() as connection:
        second = restating.restate(connection, "default", days, dearer, "ada", "again", NOW)

    old, new = charges(store)
    assert (1, 1, 1, {"EUR": 4.0}, {"EUR": 6.0}) == (
        first.edition, first.rows, first.jobs, first.before.cost, first.after.cost,
    )  # fmt: skip
    assert (None, 0) == (second.edition, second.rows)
    assert [(0, False, 4.0, 7200.0), (1, True, 6.0, 7200.0)] == [
        (each.edition, each.current, each.cost, each.charged_seconds) for each in (old, new)
    ]
    assert sums_hold(store)
    with store.reading() as connection:
        (past,) = restating.past(connection)
    assert ("ada", "new contract", dearer.rates.version, 1) == (past.by, past.reason, past.rates, past.rows)


def test_late_facts_reach_every_edition(store: Store) -> None:
    """Each by its own rates, so that before and after stay comparable."""
    tell(store, [record("7")], [row("7", started=T0, last_seen=T0 + HOUR, energy_joules={})])
    catch_up(store, "default", tariffs(), NOW)
    greener = tariffs(PRICE + PLACE.replace(",400,", ",100,") + "tariff,,,2023-01-01,,0.10,EUR,,,\n")
    with store.writing() as connection:
        restating.restate(connection, "default", (0, 100_000), greener, "ada", "", NOW)
    tell(store, rows=[row("7", started=T0, last_seen=T0 + HOUR, energy_joules={"counter": 3.6e6})])

    catch_up(store, "default", tariffs(), NOW)

    assert [(0, 500.0), (1, 125.0)] == [(each.edition, each.carbon_grams) for each in charges(store)]


def test_history_is_thinned_as_it_grows_old(store: Store) -> None:
    """A point a minute for two days, one in ten minutes for sixty, then none; the running total is kept."""
    begin = T0 - T0 % 600
    for minute in range(25):
        seen = begin + 60.0 * minute + 30.0
        tell(store, rows=[row("run-1", started=begin, last_seen=seen, held_seconds=30.0 + 60.0 * minute)])
        catch_up(store, "default", tariffs(), seen)
    counts = []
    for days in (1, 3, 61):
        # What is old is old beside what was seen last.
        now = begin + days * 86_400.0
        tell(store, rows=[row("run-2", started=begin, last_seen=now)])
        catch_up(store, "default", tariffs(), now)
        with store.writing() as connection:
            history.thin(connection, "default", now)
            curve = history.curves(connection, ["run-1"]).get(("default", "run-1"), [])
            counts.append([point.held_seconds for point in curve])

    assert [30.0 + 60.0 * minute for minute in range(25)] == counts[0]
    assert [570.0, 1170.0, 1470.0] == counts[1]
    assert [] == counts[2]


def test_history_stays_within_its_limit(store: Store) -> None:
    """The oldest points go first."""
    for hour in range(6):
        seen = T0 + hour * HOUR
        tell(store, rows=[row("run-1", started=T0, last_seen=seen + 1.0, held_seconds=seen - T0)])
        catch_up(store, "default", tariffs(), seen)

    with store.writing() as connection:
        dropped = history.thin(connection, "default", T0 + 6 * HOUR, limit_bytes=3 * history.BYTES_EACH)
        (curve,) = history.curves(connection, ["run-1"]).values()

    assert (3, [T0 + hour * HOUR + 1.0 for hour in (3, 4, 5)]) == (dropped, [point.seen for point in curve])


def test_totals_of_jobs_are_those_of_their_charges(store: Store) -> None:
    """Money by currency, with the versions of the rates that were used."""
    tell(store, [record("7"), record("8", started=T0 + HOUR, ended=T0 + 3 * HOUR)])
    catch_up(store, "default", tariffs(), NOW)

    with store.reading() as connection:
        costs = charging.costs_of(connection, [("default", "7"), ("default", "8")])

    assert [{"EUR": 4.0}, {"EUR": 8.0}] == [costs["default", each].cost for each in ("7", "8")]
    assert 12.0 == fsum(each.cost["EUR"] for each in costs.values())
    assert {tariffs().rates.version} == costs["default", "7"].rates


def test_the_history_of_a_job_is_that_of_its_parts_together() -> None:
    """Of each part the last point that was seen by then; what was not measured stays unknown."""
    first = [history.Point(10.0, 1.0, 0.5, None), history.Point(30.0, 3.0, 1.5, 300.0)]
    second = [history.Point(20.0, 10.0, 5.0, None)]

    found = history.together([first, second, []])

    assert [
        history.Point(10.0, 1.0, 0.5, None), history.Point(20.0, 11.0, 5.5, None),
        history.Point(30.0, 13.0, 6.5, 300.0),
    ] == found  # fmt: skip


def test_no_more_is_charged_at_once_than_is_asked_for(store: Store) -> None:
    """The rest comes the next time; what is left is told."""
    tell(store, [record(str(number)) for number in range(charging.AT_ONCE + 10)])

    catch_up(store, "default", tariffs(), NOW, portions=1)
    with store.reading() as connection:
        left = marked(connection, "default")
    catch_up(store, "default", tariffs(), NOW, portions=1)

    assert (10, charging.AT_ONCE + 10) == (left, len(charges(store)))
    with store.reading() as connection:
        assert 0 == marked(connection, "default")


def test_a_job_of_several_parts_is_one_job_however_it_is_charged(store: Store) -> None:
    """Components of a heterogeneous job: each has charges of its own, and the job is there once."""
    parts = [running("12", whole="12"), running("13", whole="12", display="12+1")]
    tell(store, parts)

    found = catch_up(store, "default", tariffs(), T0 + HOUR)

    assert (["12"], 2) == ([job.scope.name for job in found.jobs], len(charges(store)))
