"""Jobs and campaigns with what the latest pass forecast of them."""

from __future__ import annotations

from typing import Any

from gpuwatch.accounting.forecaster import Forecaster, Policy
from gpuwatch.accounting.forecasts import OPEN_ENDED
from gpuwatch.accounting.views import JobView, campaigns_forecasts, views_named, views_since, with_burnup
from gpuwatch.ledger import queries
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store
from gpuwatch.model import Forecast
from gpuwatch.schedulers.base import Live, Record
from tests.accounting.forecasting import forecast
from tests.ledger.batch import HOUR, T0, record, running

NOW = T0 + HOUR


def before(count: int, cluster: str = "default") -> list[Record]:
    """Jobs of ada's that took four device-hours each, in the week before."""
    return [
        record(
            f"{cluster}{n}", cluster=cluster, name=f"train-{n}", submitted=int(T0 - (24 + 2 * n) * HOUR),
            started=T0 - (24 + 2 * n) * HOUR, ended=T0 - (22 + 2 * n) * HOUR, seen=T0 - 22 * HOUR,
        )
        for n in range(count)
    ]  # fmt: skip


def going_on(job_id: str, text: str = "", seen: float = NOW, **changed: Any) -> Record:
    """A job of ada's on two devices that has run for an hour."""
    live = Live(float(T0), f"gpuwatch: {text}") if text else None
    return running(job_id, live=live, name=f"train-{job_id}", seen=seen, limit_seconds=None, **changed)


def post(store: Store, *records: Record) -> None:
    with store.writing() as connection:
        post_records(connection, records)


def view(store: Store, name: str, now: float = NOW) -> JobView:
    with store.reading() as connection:
        return with_burnup(connection, views_named(connection, name, now)[0])


def test_a_job_is_shown_with_what_the_pass_said(store: Store) -> None:
    """The same figures, and what is declared for it."""
    post(store, *before(9), going_on("1", "device-hours=3"))
    said = {each.quantity: each for each in forecast(store, NOW)}

    shown = view(store, "1").forecasts
    assert said == shown
    assert shown["device-hours"].declared == view(store, "1").job.estimates["device-hours"]


def test_before_the_next_pass_there_is_no_forecast(store: Store) -> None:
    """And nobody reckons one who looks."""
    forecast(store, NOW)
    post(store, going_on("1", "device-hours=3"))

    shown = view(store, "1")
    assert ("running", {}, None) == (shown.job.state, shown.forecasts, shown.expectation)


def test_what_has_no_end_to_be_forecast_says_so(store: Store) -> None:
    """Nobody waits for the forecast of a notebook, whether or not it declares anything."""
    post(store, running("1", name="jupyter-lab", seen=NOW, limit_seconds=None))
    forecast(store, NOW, forecaster=Forecaster("default", Policy(open_ended=("jupyter*",))))

    shown = view(store, "1").forecasts
    assert [("device-hours", OPEN_ENDED, {})] == [
        (each.quantity, each.basis, each.quantiles) for each in shown.values()
    ]


def test_what_ended_since_came_to_what_it_used(store: Store) -> None:
    """Whatever was forecast of it."""
    post(store, going_on("1", "device-hours=3"))
    forecast(store, NOW)
    post(store, record("1", name="train-1", ended=NOW + 60.0, seen=NOW + 60.0))

    hours = view(store, "1", NOW + 60.0).forecasts["device-hours"]
    assert ("ended", {0.5: 2 * (HOUR + 60.0)}) == (hours.basis, hours.quantiles)


def test_a_job_that_declares_no_device_hours_is_expected_something(store: Store) -> None:
    """What its forecast says, and of how many runs that is; one that declares them is not, nor one that ended."""
    post(store, *before(9), going_on("1", "energy=3kWh"), going_on("2", "device-hours=3"), going_on("3"))
    forecast(store, NOW)

    first, third = view(store, "1"), view(store, "3")
    assert first.expectation is not None
    assert third.expectation is not None
    assert (9, "device-hours", (0.1, 0.25, 0.5, 0.75, 0.9)) == (
        third.expectation.n, third.expectation.quantity, tuple(third.expectation.quantiles)
    )  # fmt: skip
    assert third.forecasts["device-hours"].basis == third.expectation.basis
    assert (None, None) == (view(store, "2").expectation, view(store, "default1").expectation)


def test_what_is_declared_since_the_pass_is_no_expectation_any_more(store: Store) -> None:
    """The next pass holds the forecast against it."""
    post(store, *before(9), going_on("1"))
    forecast(store, NOW)
    post(store, going_on("1", "device-hours=3", seen=NOW + 1.0))

    shown = view(store, "1")
    assert None is shown.expectation
    assert shown.forecasts["device-hours"].declared is not None


def test_another_cluster_s_job_of_that_number_is_another_one(store: Store) -> None:
    """Each has the forecast of its own accounting."""
    post(store, *before(9), going_on("1"), going_on("1", cluster="other"))
    forecast(store, NOW)

    with store.reading() as connection:
        shown = {each.job.cluster: each for each in views_since(connection, NOW, NOW)}
    assert (True, False) == (bool(shown["default"].forecasts), bool(shown["other"].forecasts))


def test_how_it_came_to_where_it_is_is_read_for_one_job(store: Store) -> None:
    """Its burn-up over passes, and what was forecast on the way."""
    forecaster = Forecaster("default", Policy())
    times = [T0 + HOUR * number / 4 for number in (1, 2, 3, 4)]
    for time in times:
        post(store, going_on("1", "device-hours=3", seen=time))
        forecast(store, time, forecaster=forecaster)

    series = view(store, "1").burnup
    assert series is not None
    assert [(time, 2 * (time - T0)) for time in times] == [(each.time, each.used) for each in series.points]
    assert {"device-hours", "wall"} == series.foretold.keys()
    assert times == [each.time for each in series.foretold["device-hours"]]


def found(store: Store, name: str) -> dict[str, Forecast] | None:
    with store.reading() as connection:
        campaigns = queries.campaigns_of(connection, [name], NOW)
        shown = campaigns_forecasts(connection, campaigns).get(name)
    return None if shown is None else dict(shown)


def test_a_campaign_is_shown_with_what_the_pass_said(store: Store) -> None:
    """Of one that has ended nothing is forecast."""
    over = record("9", Live(float(T0), "gpuwatch: campaign=done"), ended=T0 + 60.0)
    post(store, *before(9), over, going_on("1", "device-hours=3 campaign=llama"))
    said = {each.quantity: each for each in forecast(store, NOW) if each.scope.kind == "campaign"}

    assert said == found(store, "llama")
    assert said["device-hours"].n > 0
    assert None is found(store, "done")


def test_a_campaign_before_its_first_pass_has_no_forecast(store: Store) -> None:
    """It is asked for, and there is none."""
    post(store, going_on("1", "device-hours=3 campaign=llama"))

    assert {} == found(store, "llama")
