"""What is advised of a job: savings as upper bounds, facts without a price, silence where little is known."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.advice import advice_on, savings_of
from gpuwatch.accounting.views import JobView
from gpuwatch.ledger.charging import Cost
from gpuwatch.ledger.jobs import Job, Run
from gpuwatch.ledger.quality import quality_of
from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import Estimate, Scope, Usage
from tests.ledger import made
from tests.ledger.batch import T0, record

HOUR = 3600.0
SPAN = 10 * HOUR


def device(uuid: str, node: str = "gw0", span: float = SPAN, **states: float) -> Any:
    """A device held for `span`, in these states for so many hours; at work for the rest."""
    hours = {name: value * HOUR for name, value in states.items()}
    usage = made.used({"working": span - sum(hours.values()), **hours}, last_in_state={"working": T0 + span})
    return made.line(usage, uuid, node=node, last_seen=T0 + span)


def run(*lines: Any, span: float = SPAN, **changed: Any) -> Run:
    return made.run(lines, last_seen=T0 + span, **changed)


def view(job: Job, cost: float | None = None) -> JobView:
    return JobView(job, {}, (), quality_of(job), Cost({"EUR": cost} if cost is not None else {}))


def advised(job: Job, cost: float | None = None) -> dict[str, str]:
    return {each.kind: each.text for each in advice_on(view(job, cost))}


def test_idle_time_is_a_saving_at_most_with_its_price_and_what_to_do() -> None:
    """3 of 10 device-hours, at a tenth of the money for each."""
    found = advised(made.job(run(device("GPU-0", idle=3.0))), cost=20.0)

    assert {
        "idle": "at most 3 device-hours (30 % of what was held, 6.00 EUR) were idle between work: let loading,"
        " evaluation and saving go on beside it, or ask for fewer devices"
    } == found


def test_devices_that_never_worked_are_named() -> None:
    """Fewer are to be asked for."""
    lines = [device("GPU-0"), made.line(made.used({"idle": SPAN}), "GPU-1", last_seen=T0 + SPAN)]

    found = advised(made.job(run(*lines)))

    assert found["idle"].startswith("at most 10 device-hours (50 % of what was held) were idle: 1 of 2 devices")
    assert found["idle"].endswith("never worked (GPU-1); use them, or ask for 1")


def test_idle_before_the_first_work_is_told_apart() -> None:
    """Data can be fetched before devices are held."""
    usage = made.used({"working": 6 * HOUR, "idle": 4 * HOUR}, first_working=T0 + 4 * HOUR,
                      last_in_state={"working": T0 + SPAN})  # fmt: skip

    found = advised(made.job(run(made.line(usage, last_seen=T0 + SPAN))))

    assert "4 device-hours of it before the first work: fetch data and software before devices" in found["idle"]


def test_a_hang_is_a_saving_and_collectives_want_a_timeout() -> None:
    """Busy at idle power."""
    assert "give collectives a timeout" in advised(made.job(run(device("GPU-0", spinning=2.0))))["spinning"]


def test_lost_work_says_how_often_to_save() -> None:
    """Two attempts; the first failed 2 h after its last report."""
    first = run(device("GPU-0"), outcome="NODE_FAIL", progress=made.progress(500.0, 8 * HOUR))
    began = int(T0 + SPAN)
    again = made.line(made.used({"working": SPAN}), started=began, last_seen=began + SPAN)
    second = made.run(
        [again], started=began, last_seen=began + SPAN, progress=made.progress(900.0, 19 * HOUR, 500.0)
    )

    found = advised(made.job(first, second))

    assert found["lost"].startswith(
        "at most 2 device-hours (10 % of what was held) of work were lost in 2 attempts"
    )
    assert found["lost"].endswith("about 2 h each time: save more often than that")


def test_heat_names_the_node_and_the_power_limit_is_no_fault() -> None:
    """A device at its power limit is as it should be."""
    hot = made.line(made.used({"working": SPAN}, throttled_seconds={"hw_thermal": HOUR, "sw_power_cap": SPAN}),
                    node="gw3", last_seen=T0 + SPAN)  # fmt: skip

    assert {
        "throttled": "at most 1 device-hours (10 % of what was held) had their clocks held down, mostly by heat"
        " (hw_thermal): have node gw3 looked at"
    } == advised(made.job(run(hot)))


_hours = st.floats(0.0, 10.0)


@given(st.lists(st.tuples(_hours, _hours, _hours, _hours), min_size=1, max_size=4), st.booleans())
def test_savings_are_never_more_than_what_was_held(devices: list[tuple[float, ...]], failed: bool) -> None:
    """Whatever the states say, and however they overlap with throttling and loss."""
    lines = [
        made.line(made.used({"working": a, "idle": b, "spinning": c}, throttled_seconds={"hw_thermal": d}), str(n))
        for n, (a, b, c, d) in enumerate(devices)
    ]  # fmt: skip
    job = made.job(made.run(lines, outcome="FAILED" if failed else ""))

    found = savings_of(view(job))

    assert sum(found.values()) <= job.usage.held_seconds * (1 + 1e-9)
    assert all(seconds >= 0 for seconds in found.values())


def test_thin_coverage_and_tiny_jobs_are_not_advised() -> None:
    """A quarter of the time is not known; or all of it is minutes."""
    assert {} == advised(made.job(run(device("GPU-0", idle=5.0, unknown=2.5))))
    assert {} == advised(made.job(run(device("GPU-0", span=1800.0, idle=0.4), span=1800.0)))


def test_facts_have_no_price() -> None:
    """Tensor units, storage, memory."""
    usage = made.used({"working": SPAN}, tensor_seconds=36.0, storage_wait_seconds=2 * HOUR,
                      memory_byte_seconds=4 * 2**30 * SPAN)  # fmt: skip
    job = made.job(run(made.line(usage, last_seen=T0 + SPAN)), models=("NVIDIA H100 80GB HBM3",))

    found = advice_on(view(job, 100.0))

    assert [("tensor", None), ("storage", None), ("memory", None)] == [
        (each.kind, each.device_seconds) for each in found
    ]
    texts = [each.text for each in found]
    assert texts[0].startswith("tensor units were active 0.1 % of the time at work: ")
    assert texts[1].startswith("all of its processes waited for storage 20 % of the time: ")
    assert texts[2].startswith("4 of 80 GiB of memory were used on the mean (5 %): a larger batch fits")


def test_a_device_unlike_the_others_is_a_fact() -> None:
    """It works a fifth of the time, the others all of it."""
    lines = [device(f"GPU-{n}", node=f"gw{n}") for n in range(3)] + [
        device("GPU-3", node="gw3", unknown=0.0, idle=8)
    ]

    found = advised(made.job(run(*lines)))["unequal"]

    assert found.startswith(
        "a device is unlike the others: GPU-3 on gw3: works 20 % of the time, its 3 others 100 %"
    )


def ended(span: float, limit: float, likely: float | None = None, state: str = "COMPLETED") -> Job:
    """A job of one device that ran for `span`."""
    told = record(started=float(T0), ended=T0 + span, limit_seconds=limit, state=state, devices=1.0)
    declared = Estimate(Scope("job", "7"), "device-hours", likely or 1.0, likely or 1.0, likely or 1.0, "s")
    one = run(device("GPU-0", span=span), span=span, outcome=state, allocated_seconds=span)
    revisions = (Revision(declared, True),) if likely is not None else ()
    return made.job(one, record=told, state="ended", revisions=revisions)


@pytest.mark.parametrize(
    ("span", "limit", "told"),
    [(3.0, 48.0, True), (3.0, 8.0, False), (47.0, 48.0, False), (1.0, 1.5, False)],
)
def test_a_limit_far_from_use_could_be_shorter(span: float, limit: float, told: bool) -> None:
    """48 h for 3 h; not where it is used up, nor where minutes are at stake."""
    found = advised(ended(span * HOUR, limit * HOUR))

    expected = "the time limit was 2 d and 3 h were used: with a limit of 4 h 30 min the next one may start sooner"
    assert told == ("limit" in found)
    assert not told or found["limit"].startswith(expected)


def test_a_declaration_far_from_use_is_told_by_its_factor() -> None:
    """Both ways for what completed; what failed says only that it was too little."""
    assert (
        "it came to 10 device-hours, 2.5 times the 4 declared: declare 10 for the next one like it"
        == advised(ended(SPAN, 12 * HOUR, 4 * HOUR))["declared"]
    )
    assert advised(ended(SPAN, 12 * HOUR, 40 * HOUR))["declared"].startswith("it came to 10 device-hours, 25 % of")
    assert "declared" not in advised(ended(SPAN, 12 * HOUR, 40 * HOUR, "FAILED"))
    assert "declared" not in advised(ended(SPAN, 12 * HOUR, 9 * HOUR))


def test_nothing_is_said_of_a_job_that_nobody_measured() -> None:
    """Nor of one that holds nothing."""
    assert {} == advised(made.job(made.run((), usage=Usage(), allocated_seconds=SPAN)))
    assert {} == advised(made.job())
