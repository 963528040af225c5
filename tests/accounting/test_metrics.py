"""The exposition of accounting."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gpuwatch.accounting import metrics
from gpuwatch.accounting.accountant import Collected, Report
from gpuwatch.accounting.allocations import Asked
from gpuwatch.accounting.metrics import CATALOGUE, after, at_start, render
from gpuwatch.accounting.shown import MAX_SCOPES, shown
from gpuwatch.accounting.site_record import Standing
from gpuwatch.ledger.jobs import Run
from gpuwatch.ledger.queries import Campaign, Current, Job
from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import Alert, Estimate, Forecast, Scope, SinkHealth, Usage

JOB = Scope("job", "run-1")
HOURS = Estimate(JOB, "device-hours", 100.0, 180.0, 200.0, "s")
USAGE = Usage(held_seconds=100.0, energy_joules={"counter": 30_000.0, "integrated": 6000.0})


def job(name: str = "run-1", **changed: object) -> Job:
    values: dict[str, object] = {
        "name": "secret-name", "uid": 1000, "campaign": "llama", "revisions": (Revision(HOURS, True),), **changed,
    }  # fmt: skip
    return Job(
        Scope("job", name),
        "default",
        "run-1",
        1000,
        1100.0,
        "running",
        ("gw0",),
        ("GPU-0",),
        ("H100",),
        USAGE,
        **values,
    )  # type: ignore[arg-type]


def report(*jobs: Job) -> Report:
    alert = Alert("projected", JOB, "device-hours", "warning", 1050.0, 400.0, 200.0, "secret text")
    forecast = Forecast(
        JOB, "device-hours", 100.0, {0.1: 300.0, 0.5: 400.0}, HOURS, "its burn-up at 25 %", 1100.0, 0.9, 1200.0,
        against="declared", reference=200.0, p_limit=0.25,
    )  # fmt: skip
    campaigns = (Campaign(Scope("campaign", "llama"), jobs),) if jobs else ()
    return Report(1100.0, "ok", Collected(2, 1, 3), Current(jobs, campaigns), (forecast,), (alert,))


def _labels(labels: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def samples(text: bytes) -> dict[str, float]:
    """Series (labels sorted) to value."""
    return {
        f"{sample.name}{{{_labels(sample.labels)}}}": sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_a_job_and_its_campaign_are_exported() -> None:
    """The ledger, the forecast, what was declared, the alert."""
    found = samples(render(report(job()), at_start()))

    alert = "kind=projected,quantity=device-hours,scope=run-1,scope_kind=job,severity=warning"
    expected = {
        "gpuwatch_ledger_held_device_seconds_total{scope=run-1,scope_kind=job}": 100.0,
        "gpuwatch_ledger_energy_joules_total{scope=run-1,scope_kind=job}": 36_000.0,
        "gpuwatch_ledger_held_device_seconds_total{scope=llama,scope_kind=campaign}": 100.0,
        "gpuwatch_ledger_energy_joules_total{scope=llama,scope_kind=campaign}": 36_000.0,
        "gpuwatch_forecast_quantile{q=0.1,quantity=device-hours,scope=run-1,scope_kind=job}": 300.0,
        "gpuwatch_forecast_quantile{q=0.5,quantity=device-hours,scope=run-1,scope_kind=job}": 400.0,
        "gpuwatch_forecast_over_probability{quantity=device-hours,scope=run-1,scope_kind=job}": 0.9,
        "gpuwatch_forecast_crossing_timestamp_seconds{quantity=device-hours,scope=run-1,scope_kind=job}": 1200.0,
        "gpuwatch_forecast_limit_probability{scope=run-1,scope_kind=job}": 0.25,
        "gpuwatch_declared{quantity=device-hours,scope=run-1,scope_kind=job}": 180.0,
        f"gpuwatch_alert_active{{{alert}}}": 1.0,
    }
    assert expected == {key: value for key, value in found.items() if "accounting" not in key}


def test_what_is_expected_of_its_like_is_no_declaration() -> None:
    """Whoever watches P(over) watches what somebody declared."""
    told = report(job())
    (forecast,) = told.forecasts

    text = render(replace(told, forecasts=(replace(forecast, against="expected", p_limit=None),)), at_start())

    assert b"forecast_quantile" in text
    assert not re.search(rb"_over_|_crossing_|_limit_", text)


def test_the_record_of_the_site_is_exported() -> None:
    """How many forecasts it is of, from when on an overrun is told, and what became of them."""
    told = samples(render(replace(report(), record=Standing(7)), at_start()))

    assert (7.0, 0.8) == (told["gpuwatch_forecast_finished{}"], told["gpuwatch_forecast_alert_threshold{}"])


def test_what_is_unknown_is_absent() -> None:
    """No energy was measured: no series, not 0."""
    text = render(report(replace(job(), usage=Usage(held_seconds=5.0))), at_start())

    assert b"energy_joules" not in text


def test_a_job_that_held_other_than_it_was_allocated_is_exported_and_counted() -> None:
    """Half of an hour of two devices; the same of a job whose energy is known for half of its time is counted."""
    usage = Usage(held_seconds=3600.0, energy_unmeasured_seconds=0.0, energy_joules={"counter": 1e6})
    run = Run(1000, 4600.0, usage, 7200.0)
    odd = replace(job(), usage=usage, runs=(run,), allocated_seconds=7200.0)

    told = report(odd, job("run-2"))
    found = samples(render(told, after(at_start(), told)))

    ratio = "gpuwatch_ledger_allocation_difference_ratio"
    assert {f"{ratio}{{scope=run-1,scope_kind=job}}": -0.5} == {
        name: value for name, value in found.items() if name.startswith(ratio)
    }
    assert (1.0, 1.0) == (
        found["gpuwatch_accounting_jobs_allocation_differs{}"],
        found["gpuwatch_accounting_jobs_partial{}"],
    )


def test_nobody_is_named() -> None:
    """Neither user nor name nor the text of an alert."""
    text = render(report(job()), at_start()).decode()

    assert None is re.search(r"secret|uid|user|account(?!ing)", text)


def test_before_the_first_pass_only_accounting_itself_is_known() -> None:
    """Counters whose labels are known begin at 0."""
    found = samples(render(None, at_start()))

    assert 0.0 == found["gpuwatch_accounting_passes_total{outcome=failed}"]
    assert not [key for key in found if "ledger" in key or "pass_seconds" in key]


def test_a_pass_moves_the_counters_of_accounting() -> None:
    """Gauges of the last pass, sums of all."""
    health = metrics.after(metrics.after(at_start(), report(job())), report(job()))

    found = samples(render(None, health))

    assert (6.0, 2.0, 1.0, 1100.0) == (
        found["gpuwatch_accounting_rows_posted_total{}"],
        found["gpuwatch_accounting_nodes{}"],
        found["gpuwatch_accounting_nodes_failed{}"],
        found["gpuwatch_accounting_last_success_timestamp_seconds{}"],
    )


def test_everything_exported_is_in_the_catalogue() -> None:
    """With its labels, its type and its help."""
    sinks = {"influxdb:site": SinkHealth(True, 3.0, 2.0, {"age": 1.0}, 0.0)}
    health = replace(metrics.after(at_start(), report(job())), sinks=sinks)
    text = render(report(job()), health).decode()
    assert 'gpuwatch_sink_dropped_total{reason="age",sink="influxdb:site"} 1.0' in text
    described = {each.name: each for each in CATALOGUE}

    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found = described[sample.name]
            assert set(found.labels) == set(sample.labels)
            assert (found.kind, found.help) == (family.type, family.documentation)


@pytest.mark.parametrize("each", CATALOGUE, ids=lambda each: each.name)
def test_names_follow_the_conventions(each: object) -> None:
    """Counters end in _total, nothing else does, and everything has help."""
    assert isinstance(each, metrics.Metric)
    assert (each.kind == "counter") is each.name.endswith("_total")
    assert each.help
    assert not set(each.labels) & {"job", "instance", "pod", "namespace", "node", "le", "quantile"}


def test_hostile_names_leave_the_scrape_valid() -> None:
    """Quotes, line breaks, half a surrogate and 100 kB; two that are cut to the same are one series."""
    names = ['a"b\n\\', "\ud800", "x" * 100_000, "x" * 100_001]

    text = render(report(*(job(name) for name in names)), at_start())

    held = [key for key in samples(text) if key.startswith("gpuwatch_ledger_held") and "kind=job" in key]
    assert 3 == len(held)
    assert all(len(line) < 1000 for line in text.splitlines())


def test_too_many_scopes_are_dropped_and_counted() -> None:
    """The latest stay."""
    jobs = [replace(job(f"run-{number}"), last_seen=float(number)) for number in range(MAX_SCOPES + 5)]
    many = report(*jobs)

    kept, dropped = shown(many.current)

    assert (MAX_SCOPES, 6) == (len(kept), dropped)
    assert Scope("job", "run-0") not in {each.scope for each in kept}


def test_what_was_allocated_is_beside_what_was_held() -> None:
    """Absent, not 0, where no batch system says."""
    told = samples(render(report(job(), job("run-2", allocated_seconds=7200.0)), at_start()))

    name = "gpuwatch_ledger_allocated_device_seconds_total"
    assert {
        f"{name}{{scope=run-2,scope_kind=job}}": 7200.0,
        f"{name}{{scope=llama,scope_kind=campaign}}": 7200.0,
    } == {series: value for series, value in told.items() if series.startswith(name)}


def test_batch_systems_are_seen_to_answer() -> None:
    """Whether each did, how long it took, and what was taken and refused."""
    asked = Asked({"slurm": 1.5}, {"slurm": False}, 20, {"range": 2})

    health = metrics.after(at_start(), replace(report(), asked=asked))

    told = samples(render(None, health))
    prefix = "gpuwatch_accounting_"
    assert (0.0, 1.5, 20.0, 2.0, 0.0) == (
        told[f"{prefix}scheduler_up{{scheduler=slurm}}"],
        told[f"{prefix}scheduler_seconds{{scheduler=slurm}}"],
        told[f"{prefix}records_posted_total{{}}"],
        told[f"{prefix}records_rejected_total{{reason=range}}"],
        told[f"{prefix}records_rejected_total{{reason=key}}"],
    )
