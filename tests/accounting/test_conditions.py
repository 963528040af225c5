"""Jobs that stall, are throttled or not measured, accounts that use much, and what holds of all kinds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.conditions import KINDS, conditions
from gpuwatch.accounting.watched import AccountUse, DeviceLook, Outlier, RestingDevice, Watched, run_key
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.scopes import AlertKey
from gpuwatch.model import BurnUp, BurnUpPoint, Scope, Usage
from gpuwatch.notifiers.kinds import KINDS as KNOWN
from tests.accounting.doing import (
    AGE,
    HOUR,
    NOW,
    THRESHOLDS,
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
    told,
    usage,
)
from tests.ledger.batch import T0
from tests.ledger.made import line


def key(job: Job) -> Any:
    return run_key(job)


def stalling(ago: float, *, gap: float = 60.0, **changed: Any) -> list[str]:
    """A job that works, and made its last step so long ago."""
    job = doing(**changed)
    burnup = stepping(job, (ago + gap, 10.0), (ago, 20.0), (0.0, 20.0))
    return kinds(job, burnups=burnup)


@pytest.mark.parametrize(("ago", "found"), [(1799.0, []), (1800.0, ["stalled_progress"])])
def test_no_step_for_long_is_told_at_the_threshold(ago: float, found: list[str]) -> None:
    """Its devices work, and it gets nowhere."""
    assert found == stalling(ago)


@pytest.mark.parametrize(("ago", "found"), [(2399.0, []), (2400.0, ["stalled_progress"])])
def test_steps_that_take_long_may_take_four_times_as_long(ago: float, found: list[str]) -> None:
    """By the longest that was seen."""
    assert found == stalling(ago, gap=600.0)


def test_a_step_was_made_when_it_was_reported() -> None:
    """Which accounting sees a little later."""
    job = doing(progress=reported(20.0, 1800.0))

    assert ["stalled_progress"] == kinds(job, burnups=stepping(job, (1900.0, 10.0), (1790.0, 20.0), (0.0, 20.0)))


def test_what_makes_no_step_is_said_with_numbers() -> None:
    """How long, where it is, what was the longest before."""
    job = doing()

    alert = only(job, burnups=stepping(job, (7300.0, 10.0), (7200.0, 20.0), (0.0, 20.0)))

    assert ("progress", 7200.0, 1800.0, "warning") == (
        alert.quantity, alert.value, alert.declared, alert.severity
    )  # fmt: skip
    assert (
        "job 7 made no step for 2 h, since step 20 of 1,000 at 2023-11-14 12:00Z; the longest before took 2 min"
        == alert.text
    )


def test_who_does_not_stall() -> None:
    """Finished, one report, a notebook, a job that rests and will be told as idle, one that is not heard."""
    job, idle = doing(), doing(worked_ago=1500.0)
    steps = (7300.0, 10.0), (7200.0, 20.0), (0.0, 20.0)
    of_idle = stepping(idle, (1900.0, 10.0), (1850.0, 20.0), (0.0, 20.0))

    assert [] == kinds(job, burnups=stepping(job, *steps, total=20.0))
    assert [] == kinds(job, burnups=stepping(job, (7200.0, 20.0), (0.0, 20.0)))
    assert [] == kinds(doing(name="user:ada"), burnups=stepping(doing(name="user:ada"), *steps))
    assert [] == kinds(replace(job, name="jupyter"), burnups=stepping(job, *steps), open_ended=("jupyter*",))
    assert [] == kinds(idle, burnups=of_idle)
    assert [] == kinds(doing(seen_ago=1000.0), burnups=stepping(job, *steps))
    assert [] == kinds(doing(1), burnups=stepping(doing(1), (3000.0, 1.0), (2000.0, 2.0), (0.0, 2.0)))
    assert [] == kinds(job, burnups=stepping(job, *steps), now=NOW - 86_400.0)


def test_a_job_that_began_again_has_its_time_from_then_on() -> None:
    """What its attempt before reported last is no stall of this one."""
    job = doing()
    again = replace(job, runs=(replace(job.runs[0], started=int(NOW - 1000.0)),))

    assert [] == kinds(again, burnups=stepping(again, (7300.0, 10.0), (7200.0, 20.0), (0.0, 20.0)))


def test_a_step_ends_it() -> None:
    """At once: it goes on."""
    job = doing()
    before = only(job, burnups=stepping(job, (7300.0, 10.0), (7200.0, 20.0), (0.0, 20.0)))

    assert {} == told(job, standing=[before], burnups=stepping(job, (7200.0, 20.0), (60.0, 30.0), (0.0, 30.0)))


HOT = {"hw_thermal": 3600.0, "sw_thermal": 7200.0, "hw_power_brake": 0.0, "sw_power_cap": 9e4, "sync_boost": 9e4}


def hot(seconds: float, reason: int = 0, working: float = 0.5, **changed: Any) -> list[str]:
    """A job of 8 devices whose clocks were held down for so long of the last half hour, and that worked."""
    job = doing(throttled_seconds=HOT)
    held = 8 * 1800.0
    faults = tuple(value - seconds * (place == reason) for place, value in enumerate(list(HOT.values())[:3]))
    then = earlier(job, 1800.0, working=working * held)._replace(faults=faults)
    return kinds(job, snapshots=snapshots(job, then), **changed)


@pytest.mark.parametrize("reason", [0, 1, 2])
@pytest.mark.parametrize(("seconds", "found"), [(3599.0, []), (3600.0, ["throttled"])])
def test_heat_and_brakes_are_told_from_a_quarter_of_the_time_on(
    reason: int, seconds: float, found: list[str]
) -> None:
    """Of what was held in the window."""
    assert found == hot(seconds, reason)


def test_a_device_at_its_power_limit_is_not_throttled() -> None:
    """Nor one that idles hot, nor one of which nobody looked half an hour ago."""
    job = doing(throttled_seconds=HOT)

    assert [] == hot(0.0)
    assert [] == hot(8 * 1800.0, working=0.49)
    assert [] == kinds(job)
    assert [] == kinds(job, snapshots=snapshots(job, earlier(job, 1700.0)))


def test_throttling_ends_well_below_its_threshold() -> None:
    """Not where it was raised; and where nobody knows after a restart it stays."""
    job = doing(throttled_seconds=HOT)
    then = earlier(job, 1800.0, working=8 * 1800.0)._replace(faults=(0.0, 7200.0, 0.0))
    before = since(only(job, snapshots=snapshots(job, then)), 600.0)

    assert "for 25 % of the last 30 min by heat (hardware): 1 device-hours of 4 device-hours" in before.text
    assert ["throttled"] == hot(2880.0, standing=[before])
    assert [] == hot(2879.0, standing=[before])
    assert [before] == list(told(job, standing=[before]).values())


HEARD = {"gw0": NOW, "gw1": NOW, "gw2": NOW}


def blind(ago: float, **changed: Any) -> list[str]:
    """A job that the batch system says runs, and of which an agent last told so long ago; others are heard."""
    job = doing(seen_ago=ago, record=allocated())
    job = replace(job, last_seen=NOW)
    return kinds(job, **{"nodes": {"gw1": NOW, "gw2": NOW}, **changed})


@pytest.mark.parametrize(("ago", "found"), [(1799.0, []), (1800.0, ["unmeasured"])])
def test_what_no_agent_tells_of_is_unmeasured_from_the_threshold_on(ago: float, found: list[str]) -> None:
    """It runs, and it costs."""
    assert found == blind(ago)


def test_a_job_that_no_agent_ever_saw_is_unmeasured_from_its_begin() -> None:
    """With the nodes that say nothing."""
    job = of_lines(record=allocated(16.0, ("gw0", "gw1")), nodes=("gw0", "gw1"))

    alert = only(job, nodes=HEARD | {"gw0": NOW})

    assert ("device-hours", AGE, 1800.0, "warning") == (
        alert.quantity,
        alert.value,
        alert.declared,
        alert.severity,
    )
    assert "job 7 runs unmeasured on 16 devices for 6 h: 96 device-hours so far" == alert.text
    assert "the agent tells nothing of it on 2 nodes: gw0, gw1" in alert.details


def test_some_nodes_that_say_nothing_are_information() -> None:
    """As long as devices are missing: a node without any says nothing, rightly."""
    two = replace(doing(record=allocated(16.0, ("gw0", "gw9"))), nodes=("gw0", "gw9"))
    one = replace(doing(record=allocated(8.0, ("gw0", "gw9"))), nodes=("gw0", "gw9"))

    alert = only(two, nodes=HEARD)

    assert ("info", AGE) == (alert.severity, alert.value)
    assert "on 8 of its 16 devices" in alert.text
    assert "no agent was ever heard on node gw9" in alert.details
    assert [] == kinds(one, nodes=HEARD)


def test_devices_that_cannot_be_read_are_unmeasured() -> None:
    """For most of the window; and it stays until they were read for two minutes."""
    job = doing(state_seconds={"working": 4 * AGE, "unknown": 4 * AGE}, record=allocated())
    then = snapshots(job, earlier(job, 1800.0, unknown=8 * 900.0))
    less = snapshots(job, earlier(job, 1800.0, unknown=8 * 899.0))
    read = snapshots(job, earlier(job, 1800.0, unknown=0.0), earlier(job, 700.0, unknown=0.0))

    alert = only(job, snapshots=then, nodes=HEARD)

    assert "read as unknown on node gw0: the driver does not answer, or may not be asked" in alert.details
    assert [] == kinds(job, snapshots=less, nodes=HEARD)
    assert ["unmeasured"] == kinds(job, snapshots=less, nodes=HEARD, standing=[alert])
    assert [] == kinds(job, snapshots=read, nodes=HEARD, standing=[alert])


def test_who_is_not_unmeasured() -> None:
    """No agents anywhere, no devices, no batch system, most agents silent, clocks that jumped."""
    assert [] == blind(7200.0, nodes={})
    assert [] == blind(7200.0, nodes={"gw0": NOW - 7200.0, "gw1": NOW})
    assert [] == blind(7200.0, now=NOW + 86_400.0)
    assert [] == blind(7200.0, now=NOW - 86_400.0)
    assert [] == kinds(replace(doing(seen_ago=7200.0, record=allocated(0.0)), last_seen=NOW), nodes=HEARD)
    assert [] == kinds(replace(doing(seen_ago=7200.0), last_seen=NOW), nodes=HEARD)


def test_a_job_that_is_heard_again_is_measured_after_a_while() -> None:
    """Not at the first word."""
    job = doing(record=allocated())
    (known,) = told(replace(doing(seen_ago=7200.0, record=allocated()), last_seen=NOW), nodes=HEARD).values()

    assert [known] == list(told(job, nodes=HEARD, standing=[known]).values())
    assert {} == told(job, nodes=HEARD, standing=[known], snapshots=snapshots(job, earlier(job, 700.0)))


def outlier(far: float) -> DeviceLook:
    found = Outlier("gw0", "GPU-0123456789abcdef", far, (1 - far) * 2e9, 2e9, 300.0, 700.0, 0.9, 0.9, 7, 1900.0)
    return DeviceLook((found,), (), 8)


@pytest.mark.parametrize(("far", "found"), [(0.25, []), (0.2501, ["outlier_device"])])
def test_a_device_unlike_the_others_is_told_beyond_the_threshold(far: float, found: list[str]) -> None:
    """As the slow look found it."""
    job = doing()

    assert found == kinds(job, looks={key(job): outlier(far)})


def test_an_outlier_stays_until_it_is_clearly_none() -> None:
    """And where nobody could judge."""
    job = doing()
    before = only(job, looks={key(job): outlier(0.4)})

    assert (
        "job 7: device GPU-01234567… on gw0 runs at 1.20 GHz, its 7 others at 2.00 GHz, draws 300 W beside 700 W,"
        " over the last 32 min" == before.text
    )
    assert ["outlier_device"] == kinds(job, looks={key(job): outlier(0.2)}, standing=[before])
    assert [] == kinds(job, looks={key(job): outlier(0.19)}, standing=[before])
    assert [] == kinds(job, compared={key(job)}, standing=[before])
    assert ["outlier_device"] == kinds(job, looked={key(job)}, standing=[before])
    assert ["outlier_device"] == kinds(job, standing=[before])


def used(
    today: float, quantity: str = "device-hours", usual: float | None = 100 * HOUR, unit: str = ""
) -> AccountUse:
    return AccountUse("ml", quantity, unit, today, usual, 12)


@pytest.mark.parametrize(("hours", "found"), [(200.0, []), (200.1, ["rate"])])
def test_an_account_is_told_beyond_twice_what_is_usual(hours: float, found: list[str]) -> None:
    """On nine of ten days."""
    assert found == kinds(rates=(used(hours * HOUR),))


def test_one_alert_tells_of_an_account_and_its_amounts() -> None:
    """Whichever crossed first, until the day is over."""
    energy, hours = used(9e9, "energy", 1e9), used(210 * HOUR)
    first = only(rates=(used(190 * HOUR), energy), day_begins=NOW - 1000.0)

    alert = only(rates=(hours, energy), day_begins=NOW - 1000.0, standing=[first])
    tomorrow = told(rates=(used(1 * HOUR),), day_begins=NOW + 1.0, standing=[first], now=NOW + 60.0)

    assert (Scope("account", "ml"), "energy", first.since) == (alert.scope, alert.quantity, alert.since)
    assert (
        "account ml used 2.5 MWh today, 9 times the 278 kWh that it did not exceed on nine of ten days before"
        == alert.text
    )
    assert ("ml", {}) == (alert.concern.account, tomorrow)


def test_small_and_new_accounts_are_not_told() -> None:
    """Less than a day of a device; fewer than seven days to compare with."""
    assert [] == kinds(rates=(used(23 * HOUR, usual=HOUR),))
    assert [] == kinds(rates=(used(1000 * HOUR, usual=None),))
    assert ["rate"] == kinds(rates=(used(24 * HOUR, usual=HOUR),))


def test_every_kind_is_known_to_those_who_tell() -> None:
    """By its name in rules and letters."""
    assert set(KINDS) <= KNOWN.keys()


# What holds of any usage.

_seconds = st.one_of(st.none(), st.floats(-1e5, 1e6), st.sampled_from((0.0, 600.0, 1800.0, 7200.0)))
_times = st.one_of(st.none(), st.floats(0.0, 2e9 * 2), st.floats(T0, NOW + 7200.0))


@st.composite
def _usages(draw: st.DrawFn) -> Usage:
    labelled = {
        name: {key: value for key in keys if (value := draw(_seconds)) is not None and value >= 0}
        for name, keys in (
            ("state_seconds", ("working", "spinning", "idle", "unknown")),
            ("throttled_seconds", ("hw_thermal", "sw_power_cap")), ("energy_joules", ("counter",)),
            ("errors", ("xid",)),
        )
    }  # fmt: skip
    last = {key: value for key in ("working", "idle", "spinning") if (value := draw(_times)) is not None}
    return Usage(
        held_seconds=abs(draw(_seconds) or 0.0), storage_wait_seconds=draw(_seconds), last_in_state=last,
        first_working=draw(_times), **labelled,
    )  # fmt: skip


@st.composite
def _jobs(draw: st.DrawFn, name: str) -> Job:
    lines = [
        line(
            draw(_usages()), "", node=node, devices=draw(st.integers(0, 9)), share=draw(st.floats(0.0, 9.0)),
            last_seen=draw(st.floats(T0, NOW + 3600.0)), open=draw(st.booleans()),
        )
        for node in draw(st.lists(st.sampled_from(("gw0", "gw1")), unique=True))
    ]  # fmt: skip
    record = draw(st.sampled_from((None, allocated(), allocated(None), allocated(16.0, ("gw0", "gw9")))))
    state = draw(st.sampled_from(("running", "running", "running", "waiting", "unseen", "ended")))
    progress = draw(st.sampled_from((None, reported(20.0, 4000.0), reported(20.0, -1e6))))
    return of_lines(*lines, name=name, record=record, state=state, progress=progress)


@st.composite
def _watched(draw: st.DrawFn) -> Watched:
    jobs = tuple(
        draw(_jobs(name)) for name in draw(st.lists(st.sampled_from(("7", "8", "user:ada")), unique=True))
    )
    burnups = {}
    shots = {}
    looks = {}
    for job in jobs:
        agos = sorted(draw(st.lists(st.floats(0.0, 20_000.0), max_size=5)), reverse=True)
        steps = [(ago, draw(st.sampled_from((None, 1.0, 2.0)))) for ago in agos]
        points = tuple(BurnUpPoint(NOW - ago, 0.0, None, step, step and 9.0) for ago, step in steps)
        burnups[job.job_id, job.started] = BurnUp(float(job.started), points)
        if job.runs[-1].lines:
            shots[key(job)] = tuple(earlier(job, ago) for ago in (3600.0, 1800.0, 700.0) if draw(st.booleans()))
        found = draw(
            st.sampled_from((None, outlier(0.5), DeviceLook((), (RestingDevice("a", "b", 9e3, 9e3),), 8)))
        )
        if found is not None:
            looks[key(job)] = found
    nodes = draw(st.sampled_from(({}, HEARD, {"gw0": NOW - 1e5})))
    return Watched(jobs, burnups, shots, looks, nodes=nodes, rates=(used(300 * HOUR),))


@given(seen=_watched(), then=_watched(), now=st.sampled_from((NOW, NOW - 1e6, NOW + 1e6, 0.0)))
def test_whatever_is_read_the_same_is_told_and_once(seen: Watched, then: Watched, now: float) -> None:
    """Nothing raises; the order of jobs changes nothing; a job does nothing in one way at most."""
    before = conditions(then, {}, THRESHOLDS, 1.0, NOW)

    found = conditions(seen, before, THRESHOLDS, 1.0, now)
    again = conditions(replace(seen, jobs=seen.jobs[::-1]), before, THRESHOLDS, 1.0, now)

    assert list(found.items()) == list(again.items())
    assert list(found) == sorted(found)
    for job in seen.jobs:
        kinds_of_it = [each.kind for each in found if each.scope == job.scope]
        assert sum(kind in ("no_start", "hung", "idle", "stalled_progress") for kind in kinds_of_it) <= 1
    for told_key, alert in found.items():
        assert told_key == AlertKey(alert.kind, alert.scope, alert.quantity)
        assert alert.severity != "critical"
        assert "\n" not in alert.text and alert.since in (
            now,
            before[told_key].since if told_key in before else now,
        )


def test_nothing_known_tells_nothing() -> None:
    """None everywhere."""
    assert [] == kinds(of_lines(), doing(last_in_state={}, state_seconds={}, energy_joules={}))
    assert {} == conditions(Watched(), {}, THRESHOLDS, 1.0, NOW)
    assert usage().held_seconds == 8 * AGE
