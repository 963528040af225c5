"""What a watch reads of a ledger: snapshots over time, devices now and then, agents, what accounts used."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from gpuwatch.accounting.conditions import conditions
from gpuwatch.accounting.tariffs import SiteTariffs
from gpuwatch.accounting.watched import Watched
from gpuwatch.accounting.watching import Watch
from gpuwatch.ledger import charging, queries, record_store, tables, writing
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.scopes import key_of
from gpuwatch.ledger.store import Store
from gpuwatch.model import Alert
from tests.accounting.doing import HOUR, MINUTE, THRESHOLDS, thresholds
from tests.ledger import batch
from tests.ledger.deliveries import T0, delivery, row


def device(number: int, at: float, **changed: Any) -> dict[str, Any]:
    """A device of a job that works at 2 GHz and 700 W all of the time, so many seconds after its begin."""
    return row(
        uuid=f"GPU-{number}", last_seen=T0 + at,
        **{
            "held_seconds": at, "busy_seconds": at, "state_seconds": {"working": at},
            "energy_joules": {"counter": 700.0 * at}, "throttled_seconds": {}, "clock_cycles": 2e9 * at,
            "clock_seconds": at, "first_working": T0 + 1.0, "last_in_state": {"working": T0 + at}, **changed,
        },
    )  # fmt: skip


def tell(store: Store, at: float, *rows: dict[str, Any], **changed: Any) -> None:
    """What a node's agent says so many seconds after the begin."""
    said = delivery(rows, now=T0 + at, seq=int(at), **changed)
    with store.writing() as connection:
        writing.post(connection, read(said), said.origin)


def look(store: Store, watch: Watch, at: float) -> Watched:
    """What is read then."""
    with store.reading() as connection:
        current = queries.current(connection, T0 + at, cluster="default")
        return watch.look(connection, current, {}, T0 + at)


def told(seen: Watched, at: float, *standing: Alert) -> list[Alert]:
    """What holds then."""
    before = {key_of(each): each for each in standing}
    return list(conditions(seen, before, THRESHOLDS, 1.0, T0 + at).values())


def held(number: int, at: float, worked: float) -> dict[str, Any]:
    """A device that worked until so many seconds after the begin, and is idle since."""
    return device(
        number, at, state_seconds={"working": worked, "idle": at - worked}, clock_seconds=worked,
        clock_cycles=2e9 * worked, last_in_state={"working": T0 + worked, "idle": T0 + at},
    )  # fmt: skip


def test_an_idle_job_is_told_of_out_of_the_ledger(store: Store) -> None:
    """From pass to pass, with the power it draws; it ends when it works again."""
    watch = Watch("default", THRESHOLDS)
    for minute in range(60, 95):
        at = minute * MINUTE
        tell(store, at, *(held(number, at, HOUR) for number in range(4)))
        seen = look(store, watch, at)
        if minute < 90:
            assert [] == told(seen, at)
    idle = told(look(store, watch, at), at)
    for minute in range(95, 106):
        at = minute * MINUTE
        more = (minute - 94) * MINUTE
        states = {"working": HOUR + more, "idle": 34 * MINUTE}
        tell(store, at, *(device(number, at, state_seconds=states) for number in range(4)))
        standing = told(look(store, watch, at), at, *idle)
        assert minute > 95 or standing == idle

    assert ["idle"] == [each.kind for each in idle]
    assert "2.8 kW drawn" in idle[0].text
    assert [] == standing


def test_devices_that_a_job_does_not_use_are_found(store: Store) -> None:
    """By the slow look; one that works again for two minutes is none any more."""
    watch = Watch("default", THRESHOLDS)
    at = 2 * HOUR
    tell(store, at, device(0, at), *(held(number, at, 600.0) for number in (1, 2)))
    (alert,) = told(look(store, watch, at), at)
    later = at + 11 * MINUTE
    blip = {"working": 700.0, "idle": later - 700.0}
    again = {"last_in_state": {"working": T0 + later, "idle": T0 + later - 60}}
    tell(store, later, device(0, later), device(1, later, state_seconds=blip, **again), held(2, later, 600.0))
    blipped = look(store, watch, later)
    last = later + 11 * MINUTE
    works = {"working": 720.0, "idle": last - 720.0}
    tell(store, last, device(0, last), device(1, last, state_seconds=works), held(2, last, 600.0))
    (after,) = look(store, watch, last).looks.values()

    assert ("idle", "info", 2 * HOUR - 600.0) == (alert.kind, alert.severity, alert.value)
    assert "works, but not on 2 of its 3 devices" in alert.text
    none = last + 11 * MINUTE
    states = {"working": 900.0, "idle": none - 900.0}
    tell(store, none, *(device(number, none, state_seconds=states) for number in range(3)))
    assert [] == told(look(store, watch, none), none, alert)
    assert [2, 1] == [len(each.resting) for each in (*blipped.looks.values(), after)]


def test_devices_that_stop_one_after_the_other_are_not_told_before_the_whole_job_is(store: Store) -> None:
    """A minute more and the job is idle."""
    watch = Watch("default", THRESHOLDS)
    at = 2 * HOUR
    tell(store, at, held(0, at, at - 29 * MINUTE), *(held(number, at, at - 31 * MINUTE) for number in (1, 2, 3)))

    assert [] == told(look(store, watch, at), at)


def test_a_device_at_half_the_clock_is_found(store: Store) -> None:
    """In the whole run at first, then in the time since the look before."""
    watch = Watch("default", THRESHOLDS)
    at = HOUR
    slow = {"clock_cycles": 1e9 * at, "energy_joules": {"counter": 300.0 * at}}
    tell(store, at, *(device(number, at) for number in range(7)), device(7, at, **slow))
    (alert,) = told(look(store, watch, at), at)
    found = []
    for minutes in (31, 62):
        later = at + minutes * MINUTE
        cycles = 1e9 * at + 2e9 * minutes * MINUTE
        tell(store, later, *(device(number, later) for number in range(7)), device(7, later, clock_cycles=cycles))
        found.append(told(look(store, watch, later), later, alert))

    assert ("outlier_device", 0.25) == (alert.kind, alert.declared)
    assert pytest.approx(1 - 300 / 700) == alert.value
    assert "GPU-7 on gw0 runs at 1.00 GHz, its 7 others at 2.00 GHz, draws 300 W beside 700 W" in alert.text
    assert [[], []] == found


def test_a_young_job_and_one_of_few_devices_are_not_compared(store: Store) -> None:
    """Less than a window, fewer than four."""
    watch = Watch("default", THRESHOLDS)
    at = 1700.0
    tell(store, at, *(device(number, at) for number in range(7)), device(7, at, clock_cycles=1e9 * at))
    few = (device(number, at, job_id="run-2", clock_cycles=number * 1e9 * at) for number in range(3))
    tell(store, at, *few, node="gw1", epoch="aa")
    seen = look(store, watch, at)

    assert ({}, set(), {"run-1", "run-2"}) == (seen.looks, seen.compared, {name for name, _ in seen.looked})


def test_throttling_is_told_from_snapshots_and_begins_anew(store: Store) -> None:
    """Half an hour after the watch began; and again after it was made to forget."""
    watch = Watch("default", THRESHOLDS)
    found = {}
    for minute in range(60, 130, 5):
        at = minute * MINUTE
        tell(store, at, *(device(number, at, throttled_seconds={"hw_thermal": 0.4 * at}) for number in range(4)))
        if minute == 95:
            watch.forget()
        found[minute] = [each.kind for each in told(look(store, watch, at), at)]

    assert [90, 125] == [minute for minute, kinds in found.items() if kinds == ["throttled"]]


def test_snapshots_are_bounded_and_a_clock_set_back_begins_anew(store: Store) -> None:
    """A few minutes apart, no more than are needed; those of jobs that ended are gone."""
    watch = Watch("default", thresholds(window_seconds=86_400.0))
    number = 0
    for minute in range(60, 4000, 20):
        at = minute * MINUTE
        tell(store, at, device(0, at))
        number = max(number, *(len(each) for each in look(store, watch, at).snapshots.values()))
    at = 4000 * MINUTE
    tell(store, at, device(0, at, open=False))
    ended = look(store, watch, at)

    assert 10 <= number <= 13
    assert {} == ended.snapshots


def test_agents_and_jobs_that_they_do_not_see(store: Store) -> None:
    """The batch system says that it runs; other agents are heard."""
    at = HOUR
    tell(store, at, device(0, at), node="gw1")
    said = batch.running(
        "4711", submitted=T0 - 60, started=float(T0), seen=T0 + at, devices=8.0, nodes=("gw9",)
    )  # fmt: skip
    with store.writing() as connection:
        record_store.post_records(connection, [said])
    seen = look(store, Watch("default", THRESHOLDS), at)

    (alert,) = told(seen, at)

    assert {"gw1": T0 + at} == seen.nodes
    assert ("unmeasured", HOUR, "ada", "ml") == (
        alert.kind,
        alert.value,
        alert.concern.user,
        alert.concern.account,
    )
    assert {} == look(store, Watch("other", THRESHOLDS), at).nodes


def test_what_accounts_used_today_is_read_by_the_ledgers_days(store: Store) -> None:
    """Every ten minutes, and of this cluster."""
    began = T0 - T0 % 86_400
    with store.writing() as connection:
        rows = [
            {
                "cluster": cluster, "day": began // 86_400 - ago, "user": user, "account": "ml",
                "partition": "gpu", "currency": "EUR", "charged_seconds": (100 if ago else 300) * HOUR,
                "jobs": 1, "jobs_new_in_month": 1, "jobs_new": 1, "jobs_unknown": 0,
            }
            for ago in range(12) for user in ("ada", "bob") for cluster in ("default", "other")
        ]  # fmt: skip
        connection.execute(tables.daily.insert(), rows)
    watch = Watch("default", THRESHOLDS)
    at = began + 20 * HOUR - T0

    (use,) = look(store, watch, at).rates
    (alert,) = told(look(store, watch, at), at)
    tomorrow = look(store, watch, at + 86_400.0)

    assert (600 * HOUR, 200 * HOUR, 11) == (use.today, use.usual, use.days)
    assert ("rate", 600 * HOUR, 400 * HOUR) == (alert.kind, alert.value, alert.declared)
    assert (began + 86_400.0, ()) == (tomorrow.day_begins, tomorrow.rates)


@pytest.mark.parametrize("now", [0.0, -1e12, 1e15])
def test_no_clock_makes_it_raise(store: Store, now: float) -> None:
    """Whatever it says."""
    tell(store, HOUR, device(0, HOUR))

    assert [] == told(look(store, Watch("default", THRESHOLDS), now - T0), now - T0)


def test_what_was_charged_by_the_pass_is_what_is_read(store: Store) -> None:
    """The ledger's own days, without a row made by hand."""
    tell(store, HOUR, device(0, HOUR))
    said = batch.running("run-1", submitted=T0 - 60, started=float(T0), seen=T0 + HOUR, devices=1.0)
    with store.writing() as connection:
        record_store.post_records(connection, [said])
    charging.catch_up(store, "default", SiteTariffs(None, UTC).look(), T0 + HOUR)

    rates = look(store, Watch("default", THRESHOLDS), HOUR).rates

    assert {"device-hours", "energy"} == {each.quantity for each in rates}
