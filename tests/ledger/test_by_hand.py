"""A job that was reckoned by hand: three attempts on two nodes, a MIG slice, a new price, a month's end.

| attempt | from | hours | devices | watts each | price | g/kWh |
|---|---|---|---|---|---|---|
| 1, its node fails | 30 Jan 22:00 | 4 | 2 H100 on gw0 | 500 | 2.00 | 400 |
| 2, preempted | 31 Jan 20:00 | 7 | 1 H100 on gw0 | 350 | 2.00 | 400, from February 200 |
| | | | a seventh of an A100 on gw1 | 70 | 1.40 | the same |
| 3 | 2 Feb 22:00 | 4 | 1 H100 on gw1 | 600 | 2.00, from 3 Feb 3.00 | 200 |

Power is drawn evenly, and the PUE is 1.25. In hours, joules, euros and grams:

| | hours | kWh | euros | grams |
|---|---|---|---|---|
| attempt 1 | 2 × 4 = 8 | 2 × 4 × 0.5 = 4 | 8 × 2.00 = 16.00 | 4 × 1.25 × 400 = 2,000 |
| attempt 2, H100 | 7 | 2.45 | 14.00 | (1.4 × 400 + 1.05 × 200) × 1.25 = 962.5 |
| attempt 2, slice | 7 / 7 = 1 | 0.49 | 1.40 | (0.28 × 400 + 0.21 × 200) × 1.25 = 192.5 |
| attempt 3 | 4 | 2.4 | 2 × 2.00 + 2 × 3.00 = 10.00 | 2.4 × 1.25 × 200 = 600 |
| together | 20 | 9.34 | 41.40 | 3,755 |
| in January | 8 + 4 + 4/7 | 4 + 1.4 + 0.28 | 16 + 8 + 0.80 | 2,000 + 700 + 140 |
| in February | 3 + 3/7 + 4 | 1.05 + 0.21 + 2.4 | 6 + 0.60 + 10 | 262.5 + 52.5 + 600 |
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gpuwatch.ledger import charging, queries
from gpuwatch.ledger.charging import catch_up
from gpuwatch.ledger.store import Store
from gpuwatch.ledger.summaries import Question, summary
from gpuwatch.schedulers.base import Record
from tests.ledger.batch import record
from tests.ledger.deliveries import row
from tests.ledger.test_charging import tariffs, tell

RATES = """\
price,H100,,2026-01-01,2026-02-03,2.00,EUR,,,
price,H100,,2026-02-03,,3.00,EUR,,,
price,A100,,2026-01-01,,1.40,EUR,,,
pue,,,2026-01-01,,1.25,,meter,2026,
intensity,,,2026-01-01,2026-02-01,400,,site,2026,
intensity,,,2026-02-01,,200,,site,2026,
"""
HOUR = 3600.0
SLICE = "NVIDIA A100-SXM4-80GB MIG 1g.10gb"
LATER = datetime(2026, 3, 1, tzinfo=UTC).timestamp()


def at(day: int, hour: int, month: int = 1) -> float:
    """That hour of 2026, Unix seconds."""
    return datetime(2026, month, day, hour, tzinfo=UTC).timestamp()


FIRST, SECOND, THIRD = at(30, 22), at(31, 20), at(2, 22, month=2)


def attempt(started: float, hours: float, devices: float, state: str, restarts: int, *nodes: str) -> Record:
    """What the batch system says of one attempt."""
    ended = started + hours * HOUR
    return record(
        "7", submitted=int(started) - 60, started=started, ended=ended, seen=ended, devices=devices, state=state,
        restarts=restarts, nodes=nodes,
    )  # fmt: skip


def seen(started: float, hours: float, uuid: str, watts: float, **changed: Any) -> dict[str, Any]:
    """What an agent saw of one device, from start to end."""
    share = changed.get("share", 1.0)
    return row(
        "7", started=int(started), last_seen=started + hours * HOUR, uuid=uuid, open=False,
        held_seconds=hours * HOUR * share, energy_joules={"counter": watts * hours * HOUR},
        **{"model": "NVIDIA H100 80GB HBM3", "basis": "whole", "share": share, **changed},
    )  # fmt: skip


@pytest.fixture
def charged(store: Store) -> Store:
    """The job, told by the batch system and by the agents of both nodes, and charged."""
    tell(
        store,
        [
            attempt(FIRST, 4, 2.0, "NODE_FAIL", 0, "gw0"),
            attempt(SECOND, 7, 1 + 1 / 7, "PREEMPTED", 1, "gw0", "gw1"),
            attempt(THIRD, 4, 1.0, "COMPLETED", 2, "gw1"),
        ],
        [seen(FIRST, 4, "GPU-0", 500), seen(FIRST, 4, "GPU-1", 500), seen(SECOND, 7, "GPU-0", 350)],
    )
    slice_ = seen(SECOND, 7, "MIG-0", 70, share=1 / 7, basis="mig", model=SLICE)
    tell(store, rows=[slice_, seen(THIRD, 4, "GPU-9", 600)], node="gw1", epoch="fedcba987654")
    catch_up(store, "default", tariffs(RATES), LATER)
    return store


def to_the_last_digit(value: float) -> str:
    """Nine digits after the point: more than a bill has, and less than binary fractions lose."""
    return f"{value:.9f}"


def figures(device_seconds: float | None, amounts: Any) -> tuple[str, ...]:
    """Hours, joules, euros and grams."""
    hours = (device_seconds or 0.0) / HOUR
    return tuple(
        map(to_the_last_digit, (hours, amounts["energy_joules"], amounts["cost:EUR"], amounts["carbon_grams"]))
    )


def expected(hours: float, kwh: float, euros: float, grams: float) -> tuple[str, ...]:
    """The same by hand."""
    return tuple(map(to_the_last_digit, (hours, kwh * 3.6e6, euros, grams)))


def test_by_month_it_is_what_was_reckoned_by_hand(charged: Store) -> None:
    """Each attempt's part of each month, and the whole."""
    with charged.reading() as connection:
        found = summary(connection, Question("month", now=LATER))

    january, february = (figures(each.device_seconds, each.amounts) for each in found.rows)
    assert expected(12 + 4 / 7, 5.68, 24.80, 2840) == january
    assert expected(7 + 3 / 7, 3.66, 16.60, 915) == february
    assert expected(20, 9.34, 41.40, 3755) == figures(found.total.device_seconds, found.total.amounts)
    assert ([1, 1], 1) == ([each.jobs for each in found.rows], found.total.jobs)


def test_the_job_is_what_was_reckoned_by_hand(charged: Store) -> None:
    """One job of three attempts on both nodes; held and allocated agree."""
    with charged.reading() as connection:
        (job,) = queries.jobs_of(connection, ["7"], LATER)
        cost = charging.cost_of([job], charging.costs_of(connection, [("default", "7")]))

    assert (3, ("gw0", "gw1")) == (len(job.runs), job.nodes)
    assert ["8.000000000", "8.000000000", "4.000000000"] == [
        to_the_last_digit(run.device_seconds / HOUR) for run in job.runs
    ]
    assert (to_the_last_digit(20.0), to_the_last_digit(9.34 * 3.6e6)) == (
        to_the_last_digit(job.usage.held_seconds / HOUR), to_the_last_digit(job.usage.joules),
    )  # fmt: skip
    assert (to_the_last_digit(41.40), to_the_last_digit(3755.0), to_the_last_digit(9.34 * 1.25 * 3.6e6)) == (
        to_the_last_digit(cost.cost["EUR"]), to_the_last_digit(cost.carbon_grams or 0.0),
        to_the_last_digit(cost.facility_joules or 0.0),
    )  # fmt: skip
