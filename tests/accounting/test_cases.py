"""What is known of a job of the ledger, as its forecast is given it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.cases import (
    BELIEVED_RATIO,
    EVEN,
    SKEW_SECONDS,
    SLOWEST,
    Reports,
    account_of,
    batch,
    case_of,
    chained,
    charged,
    declared_hours,
    devices,
    goings_of,
    grown_by,
    is_open_ended,
    limit_of,
    owner_of,
    paces_of,
    rate_of,
    reports,
    told_by,
)
from gpuwatch.ledger.charging import Cost
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import BurnUp, BurnUpPoint, Estimate, Scope, Usage
from tests.ledger import made
from tests.ledger.batch import HOUR, T0, running
from tests.ledger.made import progress, run

RECORD = running("7", limit_seconds=3 * HOUR)
USAGE = Usage(held_seconds=2000.0, energy_joules={"counter": 1e6})


def job(**changed: Any) -> Job:
    """A job of two devices for a thousand seconds by its batch system, and of what is changed."""
    values: dict[str, Any] = {"record": RECORD, **changed}
    name = values.pop("name", None)
    found = made.job(*values.pop("runs", (run(allocated_seconds=2000.0, usage=USAGE),)), **values)
    return replace(found, name=name)


def declared(quantity: str, amount: float, unit: str = "s", basis: Any = None) -> Revision:
    """What somebody declared, in force."""
    estimate = Estimate(Scope("job", "7"), quantity, amount, amount, amount, unit, basis, "ada", T0, "socket")
    return Revision(estimate, True)


def test_whose_a_job_is_is_said_by_the_batch_system_or_by_its_user_id() -> None:
    """Or by nobody."""
    alone = {"record": None}

    assert ["ada", "uid:7", ""] == [owner_of(each) for each in (job(uid=7), job(**alone, uid=7), job(**alone))]
    assert ["ml", ""] == [account_of(job()), account_of(job(**alone))]


def test_tasks_of_an_array_were_submitted_together() -> None:
    """And a run of nobody's batch system with what began when it did."""
    task = running("8", display="5_1")

    assert "array 5" == batch(job(record=task)) != batch(job())
    assert batch(job(record=None, uid=7)) != batch(job(record=None, uid=7, started=T0 + 9000))


@pytest.mark.parametrize(
    ("job_id", "name", "expected"),
    [
        ("user:ada", None, True), ("container:0a1b", None, True), ("7", "Jupyter-9", True), ("7", "train", False),
        ("7", None, False),
    ],
)  # fmt: skip
def test_processes_and_what_the_site_calls_so_are_open_ended(
    job_id: str, name: str | None, expected: bool
) -> None:
    """Whatever the case of the letters."""
    assert expected == is_open_ended(job(job_id=job_id, name=name), ["jupyter*", "vscode"])


def test_how_many_devices_a_job_has_is_known_from_records_or_from_nodes() -> None:
    """Or not at all."""
    assert 2.0 == devices(job())
    assert 3.0 == devices(job(record=None, devices=("a", "b", "c")))
    assert devices(job(record=None)) is None


def test_the_rate_is_that_of_the_latest_run_and_none_while_it_does_not_run() -> None:
    """Without a batch system, what was held in its time."""
    held = run(usage=Usage(held_seconds=500.0))

    assert (2.0, 0.5) == (rate_of(job()), rate_of(job(record=None, runs=(held,))))
    assert [0.0, 0.0] == [rate_of(job(state=state)) for state in ("waiting", "unseen")]


def test_a_limit_is_counted_from_each_start() -> None:
    """What earlier attempts used comes before it; unlimited is none."""
    earlier = run(allocated_seconds=700.0, started=T0 - 5000, last_seen=T0 - 4000.0)

    assert 6 * HOUR == limit_of(job())
    assert 6 * HOUR + 700.0 == limit_of(job(runs=(earlier, run(allocated_seconds=2000.0))))
    assert limit_of(job(record=running("7", limit_seconds=None))) is None
    assert limit_of(job(record=None)) is None


@pytest.mark.parametrize(
    ("quantity", "amount", "expected"),
    [("device-hours", 7200.0, 7200.0), ("wall", 3600.0, 7200.0), ("energy", 4e6, 8000.0), ("cost", 5.0, None)],
)
def test_device_hours_follow_from_wall_time_and_energy(quantity: str, amount: float, expected: float) -> None:
    """By how many devices it has, and what it took until now; nothing follows from money."""
    assert (expected, "pilot" if expected else None) == declared_hours(
        job(revisions=(declared(quantity, amount, basis="pilot"),))
    )


def test_what_was_not_seen_is_told_at_an_even_rate() -> None:
    """Each run tells of itself: a report after half of its time, half of what it used."""
    first = run(allocated_seconds=400.0, started=T0, last_seen=T0 + 200.0, progress=progress(100, 100.0))
    second = run(allocated_seconds=1200.0, started=T0 + 400, last_seen=T0 + 1000.0, progress=progress(300, 700.0))

    grown = grown_by(job(runs=(first, second), progress=progress(300, 700.0)), None)
    assert [(T0 + 100.0, 200.0, 100), (T0 + 700.0, 1000.0, 300), (T0 + 1000.0, 1600.0, 300)] == [
        (point.time, point.used, point.step) for point in grown.points
    ]


def test_what_will_be_told_says_nothing_of_now() -> None:
    """A clock that was set back: the steps are of a time that is to come."""
    ahead = progress(900, 1000.0)

    assert grown_by(job(progress=ahead), None, T0 + 1000.0 - SKEW_SECONDS - 1).points[-1].step is None
    assert 900 == grown_by(job(progress=ahead), None, T0 + 1000.0).points[-1].step


def point(used: float, step: float | None) -> BurnUpPoint:
    """What was used at a step."""
    return BurnUpPoint(T0 + used, used, None, step, 1000.0)


def test_only_the_first_sight_of_a_step_is_a_report() -> None:
    """A job that says the same for long hangs; one that goes back lost something."""
    points = [point(1, None), point(2, 10), point(3, 10), point(4, 20), point(5, 15), point(6, None), point(7, 15)]

    assert ((2, 4, 5), (0.01, 0.02, 0.015)) == reports(points, 1000.0)
    assert ((), ()) == reports(points, None) == reports(points, 0.0)


def test_what_was_used_before_anything_was_done_brought_it_nowhere() -> None:
    """Runs that failed without a word."""
    vain = run(allocated_seconds=500.0, last_seen=T0 + 100.0)
    told = run(allocated_seconds=600.0, started=T0 + 200, progress=progress(300, 500.0, start_step=200))

    found = told_by(job(runs=(vain, told)), [point(600, 250), point(1100, 300)], 1000.0)
    assert Reports((500.0, 600, 1100), (0.2, 0.25, 0.3), 0.2) == found
    assert Reports((400,), (0.25,), 0.2) == told_by(job(runs=(vain, told)), [point(400, 250)], 1000.0)


@given(st.floats(0.0, 10.0))
def test_steps_in_another_unit_than_the_whole_are_not_believed(ratio: float) -> None:
    """Farther than planned is possible; twice as far is not."""
    found = told_by(job(), [point(100, 1000.0 * ratio)], 1000.0)

    assert (ratio <= BELIEVED_RATIO) == bool(found.used_at)


def test_a_case_has_all_that_is_known() -> None:
    """Names have no numbers in them."""
    told = progress(400, 900.0, start_step=100)
    one = run(allocated_seconds=2000.0, usage=USAGE, progress=told)
    burnup = BurnUp(float(T0), (point(1000, 250), point(2000, 400)))

    found = case_of(
        job(runs=(one,), progress=told, name="llama-7", revisions=(declared("device-hours", 9e3),)), burnup
    )
    assert ("ada", "ml", "llama-#", 2000.0, 9000.0, None) == (
        found.user, found.account, found.name, found.used, found.declared, found.method,
    )  # fmt: skip
    assert ((1000, 2000), (0.25, 0.4), 0.1, 6 * HOUR) == (found.used_at, found.ratios, found.begun, found.limit)


def test_each_quantity_goes_on_as_until_now() -> None:
    """Energy by what a device-second took, wall time by the devices; money where it is declared and known."""
    usage = Usage(held_seconds=2000.0, energy_joules={"counter": 1e6}, energy_unmeasured_seconds=500.0)
    said = declared("cost", 9.0, "EUR"), declared("carbon", 1000.0, "g")

    found = {each.quantity: each for each in goings_of(job(usage=usage, revisions=said), Cost({"EUR": 4.0}))}
    assert {"device-hours": (2000.0, 1.0, 0.0), "energy": (1e6, 500.0, 0.25), "wall": (1000.0, 0.5, 0.0),
            "cost": (4.0, 0.002, 0.0)} == {
        name: (each.used, each.per_device_second, each.gaps) for name, each in found.items()
    }  # fmt: skip


def test_what_has_used_nothing_yet_has_no_energy_to_go_on_with() -> None:
    """Nothing is known of how much a device-second takes."""
    nothing = job(runs=(run(allocated_seconds=0.0),), usage=Usage(energy_joules={"counter": 0.0}))

    assert ["device-hours", "wall"] == [each.quantity for each in goings_of(nothing, Cost())]


def test_what_was_charged_is_told_in_its_currency() -> None:
    """And nothing in another one, or of what was never computed."""
    cost = Cost({"EUR": 4.0}, facility_joules=7.0)
    units = {"cost": "EUR", "facility-energy": "J", "carbon": "g", "charge": ""}
    told = {name: charged(cost, name, declared(name, 1.0, unit).estimate) for name, unit in units.items()}

    assert {"cost": 4.0, "facility-energy": 7.0, "carbon": None, "charge": None} == told
    assert charged(cost, "cost", declared("cost", 1.0, "CHF").estimate) is None


def test_burn_ups_of_a_chain_are_one() -> None:
    """What each used comes on top of what those before it were charged."""
    burnups = [
        (job(), BurnUp(float(T0), (point(500, 10), point(2000, 20)))),
        (job(), BurnUp(0.0, (point(5, 30),))),
    ]

    assert [(500, 10), (2000, 20), (2005, 30)] == [(each.used, each.step) for each in chained(burnups)]


def uneven(used: list[float], joules: list[float | None]) -> list[BurnUpPoint]:
    """What was used in each minute, and of energy."""
    points, so_far, energy = [BurnUpPoint(0.0, 0.0, 0.0)], 0.0, 0.0
    for minute, (amount, more) in enumerate(zip(used, joules, strict=True), 1):
        so_far, energy = so_far + amount, energy + (more or 0.0)
        points.append(BurnUpPoint(60.0 * minute, so_far, None if more is None else energy))
    return points


def test_a_job_that_went_on_evenly_will() -> None:
    """Two devices at the same power all the time."""
    hours, energy = paces_of(uneven([120.0] * 20, [36_000.0] * 20), 2.0)

    assert (pytest.approx(EVEN), pytest.approx(EVEN)) == (hours, energy)


def test_pauses_and_power_that_swings_make_it_uncertain_when_an_amount_is_used_up() -> None:
    """It stood still in every fourth minute, and used twice the energy in every other one."""
    points = uneven([120.0, 120.0, 120.0, 0.0] * 8, [30_000.0, 15_000.0] * 16)

    hours, energy = paces_of(points, 2.0)

    assert (SLOWEST, 1.0) == hours
    assert pytest.approx((2 / 3, 4 / 3)) == energy


@pytest.mark.parametrize("points", [[], uneven([120.0] * 3, [None] * 3), uneven([0.0] * 9, [None] * 9)])
def test_too_little_says_nothing_of_how_even_it_is(points: list[BurnUpPoint]) -> None:
    """Of few points, of energy that nobody measured, and of a job that does not run."""
    assert EVEN == paces_of(points, 2.0)[1]
    assert (EVEN, EVEN) == paces_of(points, 0.0)
