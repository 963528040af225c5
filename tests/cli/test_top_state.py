"""What `gpuwatch top` makes of an agent's metrics and of jobs."""

from __future__ import annotations

from gpuwatch.cli.top_state import SORTS, JobNow, Order, chosen, devices_in, job_now
from gpuwatch.model import Alert, Forecast, Scope
from tests.ledger import made

PAGE = r"""# HELP gpuwatch_device_info A device.
gpuwatch_device_info{uuid="GPU-b",kind="gpu",vendor="nvidia",model="NVIDIA H100",index="10",pci="",driver=""} 1
gpuwatch_device_info{uuid="GPU-a",kind="gpu",vendor="nvidia",model="NVIDIA H100",index="2",pci="",driver=""} 1
gpuwatch_device_up{uuid="GPU-a"} 1
gpuwatch_device_up{uuid="GPU-b"} 0
gpuwatch_device_utilization_ratio{uuid="GPU-a"} 0.97
gpuwatch_device_power_watts{uuid="GPU-a",window="average",scope="device"} 600
gpuwatch_device_power_watts{uuid="GPU-a",window="instant",scope="device"} 640.5
gpuwatch_device_power_watts{uuid="GPU-a",window="instant",scope="module"} 900
gpuwatch_device_power_limit_watts{uuid="GPU-a"} 700
gpuwatch_device_memory_used_bytes{uuid="GPU-a"} 6.4e+10
gpuwatch_device_memory_total_bytes{uuid="GPU-a"} 8.5e+10
gpuwatch_device_temperature_celsius{uuid="GPU-a",sensor="gpu"} 61
gpuwatch_device_temperature_celsius{uuid="GPU-a",sensor="memory"} 80
gpuwatch_device_job_share{uuid="GPU-a",job_id="a \"job\"",started="1",basis="whole"} 1
gpuwatch_device_energy_joules_total{uuid="GPU-a",method="counter"} 5
gpuwatch_device_utilization_ratio{uuid="GPU-b"} NaN
gpuwatch_device_power_limit_watts{uuid="GPU-b"} much
up{job="gpuwatch"} 1
this is no sample
"""


def test_an_agents_page_is_read() -> None:
    """By index; what is not told is not known."""
    first, second = devices_in(PAGE)

    assert ("GPU-a", "2", 0.97, 640.5, 700.0, 6.4e10, 61.0, ('a "job"',)) == (
        first.uuid, first.index, first.utilization, first.watts, first.watts_limit, first.memory_used,
        first.celsius, first.holders,
    )  # fmt: skip
    assert ("GPU-b", False, None, ()) == (second.uuid, second.up, second.utilization, second.holders)
    assert None is second.watts_limit


def job(name: str, p_over: float | None = None, used: float = 1.0, **changed: object) -> JobNow:
    values = {"user": "ada", "started": 0.0, "devices": 1.0, **changed}
    return JobNow(name, name, f"train-{name}", used=used, p_over=p_over, **values)  # type: ignore[arg-type]


def test_the_likeliest_to_overrun_comes_first() -> None:
    """Then what has an alert, then what used most."""
    jobs = [job("1"), job("2", used=9.0), job("3", 0.2), job("4", 0.9), job("5", alerts=("idle",))]

    assert ["4", "3", "5", "2", "1"] == [each.display for each in chosen(jobs, "P over", "")]


def test_jobs_are_sorted_and_filtered_as_asked() -> None:
    """Each of the sorts puts them in another order; a filter knows ids, names, users and alerts."""
    jobs = [job("a", user="zoe", started=3.0), job("b", user="bob", used=5.0, started=1.0), job("c", started=9.0)]

    orders = {sort: "".join(each.display for each in chosen(jobs, sort, "")) for sort in SORTS}
    assert {"P over": "bac", "used": "bac", "name": "abc", "user": "cba", "started": "cab"} == orders
    assert ["a"] == [each.display for each in chosen(jobs, "used", "ZOE")]
    assert [] == chosen(jobs, "used", "nobody")


def test_a_job_has_what_it_declared_or_what_was_expected() -> None:
    """And the quantity that is likeliest to be over."""
    scope = Scope("job", "7")
    quantiles = {0.1: 15.0, 0.5: 20.0, 0.9: 30.0}
    forecasts = {
        "device-hours": Forecast(scope, "device-hours", 10.0, quantiles, None, "", 0.0, 0.4,
                                 against="expected", reference=25.0),
        "wall": Forecast(scope, "wall", 1.0, {}, None, "", 0.0, 0.9),
    }  # fmt: skip
    told = [
        Alert(kind, scope, "", severity, 0.0, 0.0, 0.0, "")
        for kind, severity in (("idle", "info"), ("hung", "critical"))
    ]

    found = job_now(made.job(made.run()), forecasts, told, 2.0)

    assert (25.0, True, 20.0, 0.9, "wall") == (
        found.declared, found.expected, found.projected, found.p_over, found.over,
    )  # fmt: skip
    assert (("hung", "idle"), "critical") == (found.alerts, found.severity)


def test_the_same_jobs_are_put_in_order_once() -> None:
    """And anew where they are others, or are wanted in another order."""
    first, second = job("1", used=5.0), job("2", used=9.0)
    order, jobs = Order(), (first, second)

    found = order(jobs, "used", "")

    assert [second, first] == found
    assert found is order(jobs, "used", "")
    assert [first, second] == order(jobs, "name", "")
    assert [first] == order((first,), "name", "")
