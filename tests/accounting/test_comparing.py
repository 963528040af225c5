"""Two jobs beside each other: the parts add up to the difference, and nothing is called a cause."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.comparing import Comparison, compared
from gpuwatch.accounting.comparing_sides import steps_of
from gpuwatch.accounting.views import JobView
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.quality import quality_of
from gpuwatch.model import Progress, Usage
from tests.ledger import made
from tests.ledger.batch import T0


def job(name: str, states: dict[str, float], steps: float | None = 100.0, clock: float = 2e9, **more: Any) -> Job:
    """A job of one device in these states, that made so many steps."""
    working = states.get("working", 0.0)
    changed = {key: more.pop(key) for key in ("models", "nodes") if key in more}
    usage = made.used(states, clock_cycles=clock * working, clock_seconds=working, **more)
    span = sum(states.values())
    line = made.line(usage, last_seen=T0 + span)
    told = Progress(steps, steps, 0.0, T0 + span) if steps is not None else None
    return made.job(made.run([line], last_seen=T0 + span, progress=told), name=name, progress=told, **changed)


def beside(first: Job, second: Job) -> Comparison:
    return compared(*(JobView(each, {}, (), quality_of(each)) for each in (first, second)))


def explained(found: Comparison) -> dict[str, float | None]:
    return {each.kind: each.explains for each in found.parts if not each.within}


def test_the_clock_and_the_idle_time_are_told_apart_and_ranked() -> None:
    """Half the clock takes 10 s more a step; idle 5 s; the work is the same."""
    slow = job("2", {"working": 2000.0, "idle": 500.0}, clock=1e9)
    fast = job("1", {"working": 1000.0})

    found = beside(slow, fast)

    assert ("step", 25.0, 10.0, 2.5) == (found.per, found.first, found.second, found.times)
    assert {"clock": 10.0, "idle": 5.0} == explained(found)
    assert [pytest.approx(2 / 3), pytest.approx(1 / 3)] == [found.share(each) for each in found.parts]


_seconds = st.floats(0.0, 1e5)


_states = st.tuples(_seconds, _seconds, _seconds, _seconds, st.floats(1e8, 3e9))


@given(_states, _states)
def test_the_parts_add_up_to_the_difference(first: tuple[float, ...], second: tuple[float, ...]) -> None:
    """Whatever the states and clocks are, but for parts too small to be told."""
    names = ("working", "idle", "spinning", "unknown")
    sides = [
        job(name, dict(zip(names, drawn[:4], strict=True)), clock=drawn[4])
        for name, drawn in (("2", first), ("1", second))
    ]

    found = beside(*sides)

    told = sum(each.explains or 0.0 for each in found.parts if not each.within)
    difference = found.first - found.second
    assert abs(told - difference) <= 6 * 0.02 * max(abs(difference), found.second / 2) + 1e-6


def test_what_lies_within_a_part_explains_no_more_than_it() -> None:
    """Throttling within the clock, waiting for storage within idle time."""
    slow = job("2", {"working": 2000.0, "idle": 500.0}, clock=1e9, throttled_seconds={"hw_thermal": 2000.0},
               storage_wait_seconds=900.0)  # fmt: skip
    fast = job("1", {"working": 1000.0}, throttled_seconds={"hw_thermal": 0.0}, storage_wait_seconds=0.0)

    within = {each.kind: each.explains for each in beside(slow, fast).parts if each.within}

    assert {"hw_thermal": 10.0, "storage_wait": 5.0} == within


def test_restarts_and_lost_work_are_a_part() -> None:
    """The first attempt failed at half of its time since the last report."""
    told = Progress(50.0, 100.0, 0.0, T0 + 500.0)
    first = made.run([made.line(made.used({"working": 1000.0}, last_in_state={"working": T0 + 1000.0}))],
                     outcome="NODE_FAIL", progress=told)  # fmt: skip
    later = made.line(made.used({"working": 500.0}), started=T0 + 1000, last_seen=T0 + 1500.0)
    again = made.run(
        [later], started=T0 + 1000, last_seen=T0 + 1500.0, progress=Progress(100.0, 100.0, 50.0, T0 + 1500)
    )

    found = beside(made.job(first, again, name="2"), job("1", {"working": 1000.0}))

    assert ("step", 5.0) == (found.per, explained(found)["lost"])
    assert ["2", "1"] == [next(each for each in found.parts if each.kind == "attempts")[place] for place in (2, 3)]


def test_without_steps_whole_jobs_are_compared() -> None:
    """And that is named as not measured."""
    found = beside(job("2", {"working": 200.0}, steps=None), job("1", {"working": 100.0}))

    assert ("job", 200.0, 100.0) == (found.per, found.first, found.second)
    assert "steps (of job 2)" in found.unmeasured


def test_alike_jobs_are_said_to_be_alike() -> None:
    """A hundredth is nothing."""
    found = beside(job("2", {"working": 100.5}), job("1", {"working": 100.0}))

    assert found.alike
    assert () == found.parts


def test_what_was_not_measured_is_named() -> None:
    """Links, storage, power of both; clocks of one."""
    blind = made.job(made.run((), usage=Usage(1000.0), allocated_seconds=1000.0), name="2")

    found = beside(blind, job("1", {"working": 100.0}))

    assert {"links (of both)", "waiting for storage (of both)", "clocks at work (of job 2)"} <= set(
        found.unmeasured
    )
    assert {"unknown": 1000.0} == {key: value for key, value in explained(found).items() if key == "unknown"}


def test_facts_stand_beside_without_a_part() -> None:
    """Nodes, links, errors, power, memory, another model."""
    more = {"link_bytes": {"nvlink_receive": 1e9}, "errors": {"xid": 3.0}, "energy_joules": {"counter": 5e5},
            "memory_byte_seconds": 1e12, "models": ("NVIDIA A100-SXM4-80GB",), "nodes": ("gw7",)}  # fmt: skip
    less = {"link_bytes": {"nvlink_receive": 4e9}, "errors": {"xid": 0.0}, "energy_joules": {"counter": 7e5},
            "memory_byte_seconds": 5e12, "models": ("NVIDIA H100 80GB HBM3",)}  # fmt: skip

    found = beside(job("2", {"working": 2000.0}, **more), job("1", {"working": 1000.0}, **less))

    assert ["nodes", "xid", "nvlink_receive", "watts", "memory"] == [each.kind for each in found.beside]
    assert all(each.explains is None for each in found.beside)
    model = next(each for each in found.parts if each.kind == "model")
    assert model.within
    assert 0 < (model.explains or 0.0) <= 10.0


def test_steps_done_twice_count_once() -> None:
    """From the first step of the first attempt to the farthest."""
    runs = [
        made.run((), progress=made.progress(600.0, 10.0)),
        made.run((), progress=made.progress(900.0, 20.0, 400.0)),
    ]

    assert 900.0 == steps_of(made.job(*runs))
    assert None is steps_of(made.job(made.run(())))
