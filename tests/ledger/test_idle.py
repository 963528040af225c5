"""Who holds devices right now and does nothing with them."""

from __future__ import annotations

from typing import Any

import pytest

from gpuwatch.ledger.facts import Line
from gpuwatch.ledger.idle import holders
from tests.ledger.batch import T0
from tests.ledger.made import job, line, run, used

NOW = T0 + 1010.0


def device(uuid: str = "GPU-0", working: float | None = 0.0, **last: Any) -> Line:
    """A device that was last seen working, idle and so on at these times after `T0`, seen 1000 s after it."""
    changed = {name: last.pop(name) for name in ("open", "node", "share", "last_seen") if name in last}
    times = {state: T0 + after for state, after in last.items()}
    states = {"idle": 900.0, "spinning": 50.0} | ({"working": 50.0} if working else {})
    if working:
        times["working"] = T0 + working
    return line(used(states, last_in_state=times), uuid, **changed)


def test_a_holder_that_never_worked_is_named_from_its_start() -> None:
    """All of the time it held the device."""
    (found,) = holders([job(run([device(idle=1000.0)]))], NOW, 900.0)

    assert ("7", "gw0", ("GPU-0",), "idle", 1000.0, 950.0, False) == (
        found.job.scope.name, found.node, found.devices, found.doing, found.seconds, found.lost_seconds,
        found.worked,
    )  # fmt: skip


def test_what_worked_a_moment_ago_is_not_named() -> None:
    """It waits for input now and then."""
    assert () == holders([job(run([device(working=990.0, idle=1000.0)]))], NOW, 60.0)


def test_the_later_of_idle_and_spinning_is_what_it_does() -> None:
    """It was idle before, and spins since."""
    (found,) = holders([job(run([device(working=200.0, idle=210.0, spinning=1000.0)]))], NOW, 60.0)

    assert ("spinning", 800.0, True) == (found.doing, found.seconds, found.worked)


def test_devices_of_a_job_on_a_node_stand_together() -> None:
    """For as long as the one that worked last; each loses its own time, by its share."""
    lines = [device(working=200.0, idle=1000.0), device("GPU-1", working=600.0, idle=1000.0, share=0.5)]

    (found,) = holders([job(run(lines))], NOW, 60.0)

    assert (("GPU-0", "GPU-1"), 400.0, 800.0 + 200.0, 1.5) == (
        found.devices, found.seconds, found.lost_seconds, found.share
    )  # fmt: skip


def test_the_most_lost_comes_first() -> None:
    """Over jobs and nodes."""
    jobs = [
        job(run([device(working=500.0, idle=1000.0)]), name="7"),
        job(run([device(idle=1000.0, node="gw1"), device(working=900.0, idle=1000.0)]), name="8"),
    ]

    assert [("8", "gw1"), ("7", "gw0"), ("8", "gw0")] == [
        (each.job.scope.name, each.node) for each in holders(jobs, NOW, 60.0)
    ]


def test_the_power_of_what_never_worked_is_its_mean() -> None:
    """By share; of what worked nobody knows what it draws now."""
    usage = used({"idle": 900.0}, energy_joules={"counter": 45_000.0}, last_in_state={"idle": T0 + 1000.0})
    lines = [line(usage), line(usage, "GPU-1", share=0.5)]

    (found,) = holders([job(run(lines))], NOW, 60.0)
    (other,) = holders([job(run([device(working=200.0, idle=1000.0)]))], NOW, 60.0)

    assert (75.0, None) == (found.watts, other.watts)


@pytest.mark.parametrize(
    "seen",
    [
        {"idle": 1000.0, "open": False},
        {"idle": 1000.0, "last_seen": T0 - 500.0},
        {"unknown": 1000.0, "idle": 50.0},
        {},
        {"working": 1000.0, "idle": 1000.0},
    ],
    ids=["released", "not-seen-lately", "not-readable-since", "never-measured", "working"],
)
def test_nobody_is_named_on_a_guess(seen: dict[str, Any]) -> None:
    """What does not hold, what no agent saw lately, what cannot be read, and what works."""
    assert () == holders([job(run([device(**seen)]))], NOW, 0.0)


def test_only_the_latest_run_of_a_job_that_has_not_ended_holds() -> None:
    """What an attempt before left open counts for nothing."""
    before = run([device(idle=1000.0)])
    now = run([device(working=999.0, idle=1000.0)])

    assert () == holders([job(before, now), job(before, state="ended"), job()], NOW, 60.0)
