"""What the API answered, as what the ledger would have given, so that both are printed alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gpuwatch.accounting.advice import Advice
from gpuwatch.accounting.series import BurnUpSeries
from gpuwatch.accounting.views import JobView, with_declared
from gpuwatch.ledger.alert_store import PastChange
from gpuwatch.ledger.budgets import Budget, Committed, Expected, UserPart, Word
from gpuwatch.ledger.charging import Cost
from gpuwatch.ledger.forecast_store import KeptForecast
from gpuwatch.ledger.jobs import Job, Run
from gpuwatch.ledger.periods import Grouped, Row
from gpuwatch.ledger.quality import Figure, Gap, Kind, Quality
from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import Alert, BurnUpPoint, Estimate, Expectation, Forecast, Progress, Scope, Usage
from gpuwatch.notifiers.base import Change
from gpuwatch.schedulers.base import Facts, Grant, Live, Record, RecordId
from gpuwatch.web.api_documents import COST

Document = Mapping[str, Any]

KINDS: tuple[Kind, ...] = ("device-hours", "energy", "states")


def view_of(document: Document) -> JobView:
    """A job of `/jobs` or `/jobs/{name}`."""
    scope = Scope("job", document["job"])
    job = _job(scope, document)
    forecasts = {quantity: forecast_of(scope, quantity, each) for quantity, each in document["forecasts"].items()}
    alerts = tuple(_alert(scope, each) for each in document["alerts"])
    bases = tuple(document.get("bases", ()))
    return JobView(
        job, with_declared(forecasts, job), alerts, _quality(document), _cost(document), bases,
        _expectation(scope, document.get("expectation")),
    )  # fmt: skip


def forecast_of(scope: Scope, quantity: str, each: Document) -> Forecast:
    """A forecast of a job."""
    quantiles = {float(q): value for q, value in each["quantiles"].items()}
    begin = each.get("crosses_from")
    between = (begin, each.get("crosses_to")) if begin is not None else None
    return Forecast(
        scope, quantity, each["used"], quantiles, None, each["basis"], each["time"], each.get("p_over"),
        each.get("crosses_at"), between, each.get("against") or "", each.get("reference"), each.get("p_limit"),
        each.get("stage") or "", each.get("record") or "",
    )  # fmt: skip


def series_of(document: Document) -> BurnUpSeries:
    """How a job came to where it is, of `/forecasts/{name}`."""
    points = tuple(BurnUpPoint(*each) for each in document["burnup"])
    foretold = {quantity: [_kept(each) for each in said] for quantity, said in document["points"].items()}
    return BurnUpSeries(points, foretold)


def _kept(each: Document) -> KeptForecast:
    quantiles = {float(q): value for q, value in each["quantiles"].items()}
    return KeptForecast(
        each["started"], each["time"], each["used"], quantiles, each["declared"], each["p_over"],
        each["crosses_at"],
    )  # fmt: skip


def _expectation(scope: Scope, each: Document | None) -> Expectation | None:
    if each is None:
        return None
    quantiles = {float(q): value for q, value in each["quantiles"].items()}
    return Expectation(scope, each["quantity"], quantiles, each["n"], each["basis"])


def _cost(document: Document) -> Cost:
    return Cost(
        document["cost"], document["facility_joules"], document["carbon_grams"], frozenset(document["rates"])
    )


def history_of(document: Document) -> list[PastChange]:
    """The alerts of the past of `/jobs/{name}`."""
    scope = Scope("job", document["job"])
    return [
        PastChange(each["time"], Change(each["what"], _alert(scope, each))) for each in document["alert_history"]
    ]


def advice_of(document: Document) -> list[Advice]:
    """What `/jobs/{name}` advises; nothing of one that does not yet."""
    return [Advice(each["kind"], each["text"], each["device_seconds"]) for each in document.get("advice", ())]


def grouped_of(document: Document) -> Grouped:
    """The groups of `/usage`."""
    rows = tuple(_row(each) for each in document["groups"])
    return Grouped(rows, _row(document["total"]), tuple(document["bases"]))


def budget_of(document: Document) -> Budget:
    """A budget of `/budgets`."""
    cluster, account, resource = document["cluster"], document["account"], document["resource"]

    def grant(limit: float | None, each: Document) -> Grant:
        return Grant(
            cluster, account, "", resource, limit, each.get("used_seconds"), each["seen"], starts=each["starts"],
            ends=each["ends"], source=each["source"],
        )  # fmt: skip

    granted = document["granted_seconds"]
    return Budget(
        cluster,
        account,
        resource,
        document["time"],
        grant(granted, document) if granted is not None else None,
        tuple(Word(grant(None, each), each["recorded_seconds"]) for each in document["words"]),
        document["recorded_seconds"] or 0.0,
        document["recorded_since"],
        document["unknown_jobs"] or 0,
        Committed(
            document["running_seconds"] or 0.0,
            document["waiting_seconds"] or 0.0,
            document["running_jobs"],
            document["waiting_jobs"],
            document["unlimited_jobs"],
        ),
        document["seconds_per_second"] or 0.0,
        document["parent"] or "",
        document["within"] or "",
        tuple(document["accounts"]),
        tuple(document["coordinators"]),
        tuple(
            UserPart(each["user"], each["granted_seconds"], each["reported_seconds"], each["recorded_seconds"])
            for each in document["users"]
        ),
        expected=_expected(document),
    )


def _expected(document: Document) -> Expected | None:
    low, median, high = (document.get(f"expected_{name}seconds") for name in ("low_", "", "high_"))
    if low is None or median is None or high is None:
        return None
    return Expected(low, median, high, document["expected_jobs"], document["over_probability"])


def _job(scope: Scope, document: Document) -> Job:
    return Job(
        scope=scope,
        cluster=document["cluster"],
        job_id=document["job_id"],
        started=document["started"],
        last_seen=document["last_seen"],
        state=document["state"],
        nodes=tuple(document["nodes"]),
        devices=tuple(document["devices"]),
        models=tuple(document["models"]),
        usage=_usage(document),
        by_device={uuid: _usage(each) for uuid, each in document.get("by_device", {}).items()},
        name=document["name"],
        uid=document["uid"],
        exit_code=document["exit_code"],
        campaign=document["campaign"],
        progress=_progress(document["progress"]),
        revisions=tuple(_revisions(scope, document)),
        runs=tuple(_run(each) for each in document["attempts"]),
        allocated_seconds=document["allocated_device_seconds"],
        record=_record(document),
        job_ids=frozenset({document["job_id"]}),
        tags=document.get("tags", {}),
    )


def _progress(document: Document | None) -> Progress | None:
    if document is None:
        return None
    step, total, start, time = (document[name] for name in ("step", "total", "start_step", "time"))
    totals = (total, *document.get("other_totals", ()))
    return Progress(step, total, start, time, document.get("best"), document.get("lost"), min(totals), max(totals))


def _record(document: Document) -> Record | None:
    """What the batch system said, as far as it is shown; None where none said anything."""
    if document["outcome"] is None:
        return None
    facts = Facts(
        document["last_seen"], document["outcome"], float(document["started"]), document["ended"],
        document["device_count"], document["device_count_rule"] or "", document["device_count_doubt"] or "",
        nodes=tuple(document["nodes"]), whole=document["job_id"], display=document["display"],
        name=document["name"] or "", user=document["user"] or "", account=document["account"] or "",
        partition=document["partition"] or "", qos=document["qos"] or "", limit_seconds=document["limit_seconds"],
        exit_code=document["exit_code"],
    )  # fmt: skip
    indices = {node: tuple(each) for node, each in document["device_indices"].items()}
    live = Live(document["last_seen"], indices=indices) if indices else None
    return Record(RecordId(document["cluster"], document["job_id"], document["submitted"]), facts, live)


def _run(document: Document) -> Run:
    held, allocated = document["held_device_seconds"], document["allocated_device_seconds"]
    besides = document["device_seconds"] - allocated if allocated is not None else 0.0
    return Run(
        document["started"], document["last_seen"], Usage(held), allocated, document["outcome"] or "", besides,
        progress=_progress(document["progress"]),
    )  # fmt: skip


def _usage(document: Document) -> Usage:
    return Usage(
        held_seconds=document["held_device_seconds"],
        busy_seconds=document["busy_seconds"],
        energy_unmeasured_seconds=document["energy_unmeasured_seconds"],
        state_seconds=document["state_seconds"],
        energy_joules=document["energy_joules"],
        throttled_seconds=document["throttled_seconds"],
        memory_byte_seconds=document["memory_byte_seconds"],
        tensor_seconds=document["tensor_seconds"],
        clock_cycles=document["clock_cycles"],
        clock_seconds=document["clock_seconds"],
        storage_wait_seconds=document["storage_wait_seconds"],
        link_bytes=document["link_bytes"],
        errors=document["errors"],
        energy_gap_seconds=document["energy_gap_seconds"],
        first_working=document["first_working"],
        last_in_state=document["last_in_state"],
        host_energy_joules=document.get("host_energy_joules"),
        host_energy_measured_seconds=document.get("host_energy_measured_seconds"),
    )


def _quality(document: Document) -> Quality:
    told = document.get("quality")
    if told is None:  # a list says of the energy alone how far it is covered
        ratio = document["coverage_ratio"]
        energy = Figure("energy", document["energy_joules"], ratio or 0.0, 1.0 if ratio is not None else 0.0)
        whole = replace(energy, incomplete=document["partial"])
        return Quality(whole, whole, whole)
    hours, energy, states = (_figure(kind, told["figures"][kind]) for kind in KINDS)
    allocated, held = told["allocated_device_seconds"], told["held_device_seconds"]
    devices = document["device_count"] or 1.0
    return Quality(
        hours, energy, states, allocated, held, devices, _gaps(told["allocation_missing"]),
        told.get("host_energy_measured_seconds"), told.get("node_seconds", 0.0),
    )  # fmt: skip


def _figure(kind: Kind, each: Document) -> Figure:
    return Figure(
        kind, each["by_method"], each["covered_device_seconds"], each["charged_device_seconds"],
        each["longest_gap_seconds"], _gaps(each["missing"]), each["partial"],
    )  # fmt: skip


def _gaps(told: Iterable[Document]) -> tuple[Gap, ...]:
    return tuple(Gap(each["why"], each["device_seconds"]) for each in told)


def _revisions(scope: Scope, document: Document) -> list[Revision]:
    told = document.get("revisions")
    if told is None:
        return [Revision(_estimate(scope, name, each), True) for name, each in document["declared"].items()]
    return [revision_of(scope, each) for each in told]


def revision_of(scope: Scope, each: Document) -> Revision:
    """A revision of what is declared."""
    estimate = _estimate(scope, each["quantity"], each)
    return Revision(estimate, each["in_force"], each["original"], each["after_end"])


def _estimate(scope: Scope, quantity: str, each: Document) -> Estimate:
    return Estimate(
        scope, quantity, each["low"], each["likely"], each["high"], each["unit"], each["basis"],
        each["declared_by"], each["declared_at"], each["channel"],
    )  # fmt: skip


def _alert(scope: Scope, each: Document) -> Alert:
    return Alert(
        each["kind"], scope, each["quantity"], each["severity"], each["since"], each["value"], each["declared"],
        each["text"],
    )  # fmt: skip


def _row(each: Document) -> Row:
    told = {
        "held_seconds": each["held_device_seconds"], "allocated_seconds": each["allocated_device_seconds"],
        **{name: each[name] for name in ("energy_joules", "facility_joules", "carbon_grams")},
        "host_joules": each.get("host_joules"),
        **{f"{COST}{currency}": cost for currency, cost in each["cost"].items()},
    }  # fmt: skip
    amounts = {name: value for name, value in told.items() if value is not None}
    return Row(
        each["name"], each["device_seconds"], each["cpu_seconds"], each["jobs"], each["unknown_jobs"], amounts
    )
