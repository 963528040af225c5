"""Passes over what agents pushed: the ledger's mark moves with the windows, and nothing counts twice."""

from __future__ import annotations

from gpuwatch.accounting.accountant import Accountant
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.errors import Unavailable
from gpuwatch.ledger import queries, writing
from gpuwatch.ledger.store import Store
from gpuwatch.model import Usage
from tests.usage.fake_influxdb import Asked, FakeInflux, Point
from tests.usage.influx_points import EPOCH, T0, job_row
from tests.usage.test_influxql import ORIGIN, came_late, of_event, of_row, source


def minutes(job_id: str, count: int, open_: bool = True, first: int = 0) -> list[Point]:
    """What is written of a job that began at T0, in some minutes of its life; with `open_` it goes on."""
    found = []
    for number in range(first, count):
        time = T0 + 60.0 * number
        usage = Usage(held_seconds=60.0 * number, state_seconds={"working": 60.0 * number})
        row = job_row(job_id, usage, seq=number + 1, last_seen=time, open=open_ or number < count - 1)
        found.append(of_row(row, time))
    return found


def held(store: Store, now: float) -> dict[str, tuple[float, str]]:
    """The device-seconds and the state of each job in the ledger."""
    with store.reading() as connection:
        return {
            next(iter(job.job_ids)): (job.usage.held_seconds, job.state)
            for job in queries.jobs_since(connection, T0 - 1, now)
        }


def test_passes_add_up_whatever_comes_between(store: Store) -> None:
    """One that failed is made good by the next, one that is repeated changes nothing, and late points count."""
    there = [*minutes("4711", 60), *minutes("4712", 10, open_=False)]
    late = minutes("4713", 30, open_=False)
    influx = FakeInflux([*there, *late[:3]])
    outcomes = []

    def away(asked: Asked) -> bytes | None:
        raise Unavailable("[Errno 111] Connection refused")

    for seconds in (300.0, 900.0, 2000.0, 2000.0, 3560.0):
        influx.meddle = away if seconds == 900.0 else lambda asked: None
        if seconds == 3560.0:
            influx.points += [*late, came_late(T0 + 3500.0, T0 + 180.0, T0 + 1740.0)]
        accountant = Accountant(store, {"influxql": source(influx)}, {}, Bounds(0.1, 0.0))
        outcomes.append(accountant.run_pass(T0 + seconds).outcome)
    with store.reading() as connection:
        mark = writing.watermarks(connection, "default")[ORIGIN]

    assert ["ok", "partial", "ok", "ok", "ok"] == outcomes
    assert ("windows", T0 + 3515, None) == mark
    assert {"4711": (3480.0, "running"), "4712": (540.0, "ended"), "4713": (1740.0, "ended")} == held(
        store, T0 + 3560.0
    )


def test_what_was_declared_and_how_far_it_is_makes_a_forecast(store: Store) -> None:
    """As if the agent had been read."""
    its = {"job_id": "4711", "started": float(T0)}
    text, channel = "device-hours=1", "socket"
    influx = FakeInflux(
        [
            *minutes("4711", 30),
            of_event("declaration", T0 + 5.0, text=text, channel=channel, seq=3.0, epoch=EPOCH, **its),
            of_event("progress", T0 + 30.0, step=0.0, total=100.0, start_step=0.0, **its),
            of_event("progress", T0 + 1700.0, step=25.0, total=100.0, start_step=0.0, **its),
        ]
    )

    report = Accountant(store, {"influxql": source(influx)}, {}, Bounds(0.1, 0.0)).run_pass(T0 + 1800.0)
    (forecast,) = (each for each in report.forecasts if each.quantity == "device-hours")
    assert (3600.0, True) == (
        forecast.declared and forecast.declared.likely,
        5000 < forecast.quantiles[0.5] < 9000,
    )
