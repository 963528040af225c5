"""What the latest pass forecast, in both databases."""

from __future__ import annotations

from typing import Any

from gpuwatch.ledger import latest_forecasts
from gpuwatch.ledger.latest_forecasts import of_scopes
from gpuwatch.ledger.store import Store
from gpuwatch.model import Estimate, Forecast, Scope
from tests.ledger.batch import T0

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
JOB = Scope("job", "7")


def forecast(scope: Scope = JOB, quantity: str = "device-hours", now: float = T0, **changed: Any) -> Forecast:
    """All that can be said of one."""
    values: dict[str, Any] = {
        "used": 5.0, "quantiles": dict(zip(LEVELS, (6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0), strict=True)),
        "declared": None, "basis": "19 jobs of ada", "p_over": 0.25, "crosses_at": T0 + 9.5,
        "crosses_between": (T0 + 7.0, T0 + 99.0), "against": "expected", "reference": 11.0, "p_limit": 0.125,
        "stage": "0.25", "record": "no record at this site yet (n=12)", "n": 19, **changed,
    }  # fmt: skip
    return Forecast(scope, quantity, time=now, **values)


def save(store: Store, *forecasts: Forecast, now: float = T0, cluster: str = "default") -> None:
    with store.writing() as connection:
        latest_forecasts.save(connection, cluster, forecasts, now)


def read(store: Store, *scopes: Scope, cluster: str = "default") -> dict[Scope, dict[str, Forecast]]:
    with store.reading() as connection:
        found = of_scopes(connection, [(cluster, scope) for scope in scopes])
    return {scope: each for (_, scope), each in found.items()}


def test_what_was_forecast_is_read_as_it_was(store: Store) -> None:
    """All of it, and what is not known is not known then either."""
    said = forecast()
    open_end = forecast(quantity="wall", crosses_between=(T0 + 7.0, None), against="declared")
    nothing = Forecast(JOB, "energy", 3.0, {}, None, "nothing to project from", T0)

    save(store, said, open_end, nothing)

    assert {JOB: {"device-hours": said, "wall": open_end, "energy": nothing}} == read(store, JOB)


def test_what_is_declared_is_for_who_knows_the_job(store: Store) -> None:
    """It may be another one by the time at which somebody looks."""
    save(store, forecast(declared=Estimate(JOB, "device-hours", 1.0, 2.0, 3.0, "s"), against="declared"))

    assert None is read(store, JOB)[JOB]["device-hours"].declared


def test_the_next_pass_takes_its_place(store: Store) -> None:
    """What it does not forecast has ended; also where the clock was set back."""
    other = Scope("job", "8")
    save(store, forecast(), forecast(quantity="energy"), forecast(other))
    newer = forecast(now=T0 - 60.0, used=6.0)
    save(store, newer, now=T0 - 60.0)

    assert {JOB: {"device-hours": newer}} == read(store, JOB, other)


def test_another_cluster_s_are_left_alone(store: Store) -> None:
    """Its job of that number is another one, and a campaign of that name is no job."""
    campaign = forecast(Scope("campaign", "7"), basis="1 job running")
    save(store, forecast(), campaign)
    theirs = forecast(used=9.0, now=T0 + 60.0)
    save(store, theirs, now=T0 + 60.0, cluster="other")

    assert {JOB: {"device-hours": forecast()}} == read(store, JOB)
    assert {campaign.scope: {"device-hours": campaign}} == read(store, campaign.scope)
    assert {JOB: {"device-hours": theirs}} == read(store, JOB, cluster="other")
    assert {} == read(store, Scope("job", "9"))
