"""Jobs that hold devices and do not work on them: told at the threshold, and nobody for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from gpuwatch.accounting.watched import DeviceLook, RestingDevice, run_key
from gpuwatch.ledger.jobs import Job
from gpuwatch.model import Alert, Concern, Scope, Usage
from tests.accounting.doing import (
    AGE,
    HOUR,
    MINUTE,
    NOW,
    allocated,
    doing,
    earlier,
    kinds,
    of_lines,
    only,
    reported,
    since,
    snapshots,
    stepping,
    thresholds,
    told,
    usage,
)
from tests.ledger.batch import T0
from tests.ledger.made import line


@pytest.mark.parametrize(("ago", "found"), [(1799.0, []), (1800.0, ["idle"])])
def test_a_job_without_work_is_idle_from_the_threshold_on(ago: float, found: list[str]) -> None:
    """Not a second before."""
    assert found == kinds(doing(worked_ago=ago))


@pytest.mark.parametrize(("ago", "found"), [(899.0, []), (900.0, ["hung"])])
def test_a_job_that_spins_hangs_from_the_threshold_on(ago: float, found: list[str]) -> None:
    """Its devices report busy at idle power."""
    assert found == kinds(doing(worked_ago=ago, idle_ago=ago, spun_ago=0.0, spinning=8 * ago))


@pytest.mark.parametrize(("age", "found"), [(1799.0, []), (1800.0, ["no_start"])])
def test_a_job_that_never_worked_has_not_started(age: float, found: list[str]) -> None:
    """From when it held devices on."""
    assert found == kinds(doing(age=age, worked_ago=None), now=T0 + age)


@pytest.mark.parametrize(("devices", "found"), [(1, []), (2, ["idle"])])
def test_small_losses_are_not_told(devices: int, found: list[str]) -> None:
    """Half an hour of one device is below a device-hour."""
    assert found == kinds(doing(devices, worked_ago=1800.0))


def test_what_is_told_has_numbers_first_and_whose_it_is() -> None:
    """The line, the details, and the concern."""
    idle = doing(worked_ago=3 * HOUR, record=allocated(name="train"))
    lately = earlier(idle, 600.0, joules=600.0 * 1200.0, energy_seconds=8 * 600.0)

    alert = only(idle, snapshots=snapshots(idle, lately), nodes={"gw0": NOW})

    assert ("idle", Scope("job", "7"), "device-hours", "warning", NOW, 10_800.0, 1800.0) == (
        alert.kind, alert.scope, alert.quantity, alert.severity, alert.since, alert.value, alert.declared
    )  # fmt: skip
    assert (
        "job 7 holds 8 devices and has not worked on any of them since 2023-11-14 11:00Z (3 h): 24 device-hours"
        " so far, 1.2 kW drawn"
    ) == alert.text
    assert (
        "last at work 2023-11-14 11:00Z (3 h), on node gw0",
        "so far: 24 device-hours, about 3.6 kWh",
        "look closer: gpuwatch show 7, gpuwatch idle",
    ) == alert.details
    assert Concern("ada", "ml", "gpu", "train") == Concern(
        alert.concern.user, alert.concern.account, alert.concern.partition, "train"
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"storage_wait_seconds": 0.6 * 8 * AGE},
            "likely: its processes waited for storage 60 % of the time lately",
        ),
        ({"errors": {"xid": 2.0}}, "likely: 2 driver errors (XID) on its devices since it began"),
    ],
)
def test_what_it_may_be_is_said_with_its_numbers(changed: dict[str, Any], said: str) -> None:
    """By what else was measured."""
    assert said in only(doing(worked_ago=HOUR, **changed)).details


def test_steps_without_devices_are_said() -> None:
    """It goes on, and does not need them."""
    idle = doing(worked_ago=2 * HOUR)

    alert = only(idle, burnups=stepping(idle, (3 * HOUR, 10.0), (2 * HOUR, 20.0), (60.0, 30.0)))

    assert "last step meanwhile, without its devices: 30 of 1,000, at 2023-11-14 13:59Z" in alert.details


HEALTHY = {
    "a-pause-for-a-checkpoint": doing(worked_ago=5 * MINUTE),
    "an-evaluation-on-cpus": doing(worked_ago=20 * MINUTE),
    "waits-for-data-most-of-the-time": doing(
        worked_ago=8.0, state_seconds={"working": 0.4 * 8 * AGE, "idle": 4.8 * AGE}
    ),
    "a-notebook-used-every-20-minutes": doing(
        1, "user:ada", worked_ago=20 * MINUTE, state_seconds={"working": 600.0, "idle": AGE - 600.0}
    ),
    "one-node-works": of_lines(
        line(usage(worked_ago=0.0), "", devices=8, share=8.0, last_seen=NOW),
        line(usage(worked_ago=HOUR), "", node="gw1", devices=8, share=8.0, last_seen=NOW),
    ),
    "uneven-stages": doing(worked_ago=1.0, energy_joules={"counter": 100.0}),
    "spun-for-a-moment": doing(worked_ago=20 * MINUTE, spun_ago=0.0, spinning=30.0),
    "small-kernels-that-report-steps": doing(
        worked_ago=None, spun_ago=0.0, spinning=8 * AGE, progress=reported(50.0, 30.0)
    ),
    "nothing-known": of_lines(line(Usage(), "", devices=8, share=8.0, last_seen=NOW)),
    "no-lines": of_lines(),
    "not-read-lately": doing(worked_ago=HOUR, idle_ago=HOUR),
    "not-heard-lately": doing(worked_ago=2 * HOUR, seen_ago=1000.0),
    "worked-nobody-says-when": doing(worked_ago=HOUR, last_in_state={"idle": NOW}),
    "released": of_lines(line(usage(worked_ago=HOUR), "", devices=8, share=8.0, last_seen=NOW, open=False)),
    "ended": doing(worked_ago=HOUR, state="ended"),
    "waiting": doing(worked_ago=HOUR, state="waiting"),
}  # fmt: skip


@pytest.mark.parametrize("healthy", HEALTHY.values(), ids=HEALTHY.keys())
def test_nobody_is_told_for_nothing(healthy: Job) -> None:
    """What looks like it, and what nobody knows."""
    assert [] == kinds(healthy)


def test_a_first_compilation_is_no_missing_start() -> None:
    """Twenty minutes before the first work, where half an hour is the threshold."""
    assert [] == kinds(doing(age=20 * MINUTE, worked_ago=None), now=T0 + 20 * MINUTE)


def test_a_notebook_that_nobody_uses_is_idle() -> None:
    """They are the costliest."""
    assert ["idle"] == kinds(doing(1, "user:ada", worked_ago=2 * HOUR))


def test_a_clock_that_jumped_makes_nobody_idle() -> None:
    """Time is no more than what was measured at rest; what is told in times to come is not believed."""
    jumped = usage(worked_ago=5 * HOUR, state_seconds={"working": 8 * AGE, "idle": 600.0})
    ahead = line(usage(worked_ago=HOUR), "", devices=8, share=8.0, last_seen=NOW + 7200.0)
    back = usage(worked_ago=-7200.0, state_seconds={"working": 8 * AGE, "idle": 8 * HOUR})

    assert [] == kinds(of_lines(line(jumped, "", devices=8, share=8.0, last_seen=NOW)))
    assert [] == kinds(of_lines(ahead))
    assert [] == kinds(of_lines(line(back, "", devices=8, share=8.0, last_seen=NOW)))
    assert [] == kinds(doing(worked_ago=HOUR), now=NOW + 86_400.0)
    assert [] == kinds(doing(worked_ago=HOUR), now=NOW - 86_400.0)


def idle_before() -> Alert:
    return since(only(doing(worked_ago=HOUR)), 1800.0)


def test_an_alert_keeps_its_begin_and_tells_what_is_now() -> None:
    """Values grow, the alert is the same."""
    alert = only(doing(worked_ago=2 * HOUR), standing=[idle_before()])

    assert (NOW - 1800.0, 7200.0) == (alert.since, alert.value)


@pytest.mark.parametrize(("worked", "stays"), [(8 * 119.0, True), (8 * 120.0, False)])
def test_it_ends_when_it_worked_for_two_minutes_of_the_last_ten(worked: float, stays: bool) -> None:
    """A blip is no work."""
    again = doing(worked_ago=10.0)
    those = snapshots(again, earlier(again, 700.0, working=worked))

    assert ([idle_before()] if stays else []) == list(
        told(again, standing=[idle_before()], snapshots=those).values()
    )


@pytest.mark.parametrize(("worked", "stays"), [(29.0, True), (30.0, False)])
def test_it_ends_when_one_of_many_devices_works_on_and_on(worked: float, stays: bool) -> None:
    """A tenth of the time between all of the last snapshots."""
    again = doing(512, worked_ago=10.0)
    before = only(doing(512, worked_ago=HOUR))
    those = [earlier(again, 300.0 * ago, working=worked * ago) for ago in (3, 2, 1, 0)]

    found = told(again, standing=[before], snapshots=snapshots(again, *those))

    assert ([before] if stays else []) == list(found.values())


@pytest.mark.parametrize(
    "changed", [{"seen_ago": 1000.0}, {"state": "unseen"}, {"state": "waiting"}, {"idle_ago": HOUR}]
)
def test_what_nobody_knows_of_now_keeps_its_alert(changed: dict[str, Any]) -> None:
    """As it was, until the job has ended."""
    job = doing(worked_ago=2 * HOUR, **changed)

    assert [idle_before()] == list(told(job, standing=[idle_before()]).values())
    assert {} == told(doing(worked_ago=HOUR, state="ended"), standing=[idle_before()])
    assert {} == told(standing=[idle_before()])


def test_what_hangs_goes_on_hanging_until_it_works() -> None:
    """Also while it is seen idle: the name of it does not change to and fro."""
    hung = since(only(doing(worked_ago=HOUR, spun_ago=0.0, spinning=8 * HOUR)), 60.0)

    alert = only(doing(worked_ago=2 * HOUR, spun_ago=HOUR, spinning=8 * HOUR), standing=[hung])

    assert ("hung", NOW - 60.0) == (alert.kind, alert.since)


def test_what_is_idle_may_begin_to_hang() -> None:
    """One alert, then the other."""
    assert ["hung"] == kinds(doing(worked_ago=HOUR, spun_ago=0.0, spinning=8 * 1800.0), standing=[idle_before()])


def test_what_steps_does_not_hang() -> None:
    """Kernels too small to draw power; also where it was told before."""
    small = doing(worked_ago=HOUR, spun_ago=0.0, spinning=8 * HOUR)
    steps = stepping(small, (7000.0, 10.0), (3000.0, 20.0), (60.0, 30.0))
    hung = only(small)

    assert ("hung", []) == (hung.kind, kinds(small, burnups=steps))
    assert {} == told(small, burnups=steps, standing=[hung])


def test_a_start_that_comes_late_ends_the_alert_once_it_works() -> None:
    """A second of work is not it yet."""
    before = only(doing(worked_ago=None))
    begins = doing(worked_ago=5.0, state_seconds={"working": 8.0, "idle": 8 * AGE})
    works = doing(worked_ago=5.0)

    assert [before] == list(told(begins, standing=[before]).values())
    assert {} == told(works, standing=[before], snapshots=snapshots(works, earlier(works, 700.0, working=960.0)))


def test_devices_that_nobody_sees_are_said() -> None:
    """A node without an agent may work: what is told is of the others."""
    alert = only(doing(worked_ago=HOUR, record=allocated(16.0, ("gw0", "gw9"))))

    assert "not measured, nor counted: 8 more devices" in alert.details


def test_names_from_outside_are_cut() -> None:
    """A sentence stays one."""
    alert = only(doing(name="x" * 200 + "; rm -rf /", worked_ago=HOUR))

    assert "job " + "x" * 47 + "… holds" in alert.text
    assert "look closer: gpuwatch jobs, gpuwatch idle" in alert.details


def look(seconds: float, count: int = 6, lost: float = 3600.0) -> DeviceLook:
    resting = tuple(RestingDevice("gw0", f"GPU-{number}", seconds, lost) for number in range(count))
    return DeviceLook((), resting, 8)


def test_devices_that_a_working_job_does_not_use_are_told_as_information() -> None:
    """The commonest waste: eight asked for, two used."""
    busy = doing()
    key = run_key(busy)
    assert key is not None

    alert = only(busy, looks={key: look(7200.0)})

    assert ("idle", "info", 7200.0) == (alert.kind, alert.severity, alert.value)
    assert "job 7 works, but not on 6 of its 8 devices for 2 h or longer: 6 device-hours so far" == alert.text
    assert [] == kinds(busy, looks={key: look(7200.0, count=1, lost=3599.0)})
    assert {} == told(busy, standing=[alert], looks={}, looked={key})
    assert [alert] == list(told(busy, standing=[alert]).values())


def test_one_alert_says_that_a_job_does_nothing() -> None:
    """Whatever else would hold of it."""
    idle = doing(worked_ago=2 * HOUR)
    key = run_key(idle)
    assert key is not None
    steps = stepping(idle, (9000.0, 10.0), (8000.0, 20.0), (0.0, 20.0))

    assert ["idle"] == kinds(idle, looks={key: look(7200.0)}, burnups=steps)


def test_thresholds_are_the_sites() -> None:
    """Each by its own."""
    assert ["idle"] == kinds(doing(worked_ago=60.0), thresholds=thresholds(idle_seconds=60.0), floor_hours=0.0)
