"""A job of the ledger with its forecasts and alerts, as a table row, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from gpuwatch import hygiene
from gpuwatch.accounting.amounts import amount, digits, split
from gpuwatch.accounting.forecasts import job_forecasts
from gpuwatch.forecast.projection import MEDIAN
from gpuwatch.ledger import alert_store, queries
from gpuwatch.ledger.alert_store import PastChange
from gpuwatch.ledger.queries import Job, used
from gpuwatch.ledger.records import devices_of
from gpuwatch.model import STATES, Alert, Estimate, Forecast

HEAD = ("JOB", "NAME", "STATE", "DEVICE-HOURS", "ENERGY", "DECLARED", "PROGRESS", "PROJECTED", "ALERT")
_HOURS = "device-hours"
_RULES = {
    "generic": "gres/gpu",
    "typed": "the sum of its typed gres",
    "gres": "the indices of its gres",
    "table": "the site's table",
}


@dataclass(frozen=True, slots=True)
class JobView:
    """One attempt of a job and what follows from it."""

    job: Job
    forecasts: Mapping[str, Forecast]
    alerts: tuple[Alert, ...]

    def cells(self) -> tuple[str, ...]:
        """The row of the table, in the order of `HEAD`."""
        job, hours = self.job, self.job.estimates.get(_HOURS)
        energy = used(job, "energy")
        return (
            job.display,
            job.name or "",
            _state(job),
            split(_HOURS, job.device_seconds)[0],
            amount("energy", energy) if energy is not None else "",
            split(_HOURS, hours.likely)[0] if hours else "",
            f"{100 * min(1.0, job.progress.ratio):.0f} %" if job.progress else "",
            self._projected(),
            ", ".join(f"{alert.kind} {alert.quantity}" for alert in self.alerts),
        )

    def _projected(self) -> str:
        forecast = self.forecasts.get(_HOURS)
        if forecast is None or not forecast.quantiles or self.job.state == "ended":
            return ""
        return split(_HOURS, forecast.quantiles[MEDIAN])[0]

    def document(self) -> dict[str, Any]:
        """Everything but the history, for JSON; base units, what is not known is null or missing."""
        job, usage = self.job, self.job.usage
        return {
            "job": job.scope.name,
            "job_id": job.job_id,
            "display": job.display,
            "name": job.name,
            "uid": job.uid,
            **_batch_document(job),
            "cluster": job.cluster,
            "state": job.state,
            "exit_code": job.exit_code,
            "started": job.started,
            "last_seen": job.last_seen,
            "wall_seconds": job.wall_seconds,
            "nodes": list(job.nodes),
            "devices": list(job.devices),
            "models": list(job.models),
            "campaign": job.campaign,
            "allocated_device_seconds": job.allocated_seconds,
            "held_device_seconds": usage.held_seconds,
            "busy_seconds": usage.busy_seconds,
            "state_seconds": dict(usage.state_seconds),
            "throttled_seconds": dict(usage.throttled_seconds),
            "energy_joules": dict(usage.energy_joules),
            "energy_unmeasured_seconds": usage.energy_unmeasured_seconds,
            "progress": _progress_document(job),
            "declared": {quantity: _estimate_document(each) for quantity, each in job.estimates.items()},
            "forecasts": {quantity: _forecast_document(each) for quantity, each in self.forecasts.items()},
            "alerts": [_alert_document(alert) for alert in self.alerts],
        }


def views_since(connection: Connection, time: float, now: float) -> list[JobView]:
    """The jobs seen since `time`, the latest first."""
    return _views(connection, queries.jobs_since(connection, time, now), now)


def views_named(connection: Connection, name: str, now: float) -> list[JobView]:
    """The jobs that `name` means, the best match first."""
    return _views(connection, queries.jobs_named(connection, name, now), now)


def _views(connection: Connection, jobs: Sequence[Job], now: float) -> list[JobView]:
    active = alert_store.active(connection).values()
    return [
        JobView(
            job,
            {forecast.quantity: forecast for forecast in job_forecasts(job, now)},
            tuple(alert for alert in active if alert.scope == job.scope),
        )
        for job in jobs
    ]


def _state(job: Job) -> str:
    """How it is, by the batch system's word for how it ended, where it has one."""
    if job.state == "ended" and job.record is not None and job.record.facts.ended is not None:
        ended = job.record.facts.state.lower().replace("_", " ")
        return f"{ended} ({job.exit_code})" if job.exit_code else ended
    return f"failed ({job.exit_code})" if job.state == "ended" and job.exit_code else job.state


def _batch_document(job: Job) -> dict[str, Any]:
    """What the batch system says; all null where none does. The time limit is a ceiling, no estimate."""
    facts = job.record.facts if job.record is not None else None
    return {
        "user": facts.user or None if facts else None,
        "account": facts.account or None if facts else None,
        "partition": facts.partition or None if facts else None,
        "qos": facts.qos or None if facts else None,
        "submitted": job.record.key.submitted if job.record else None,
        "outcome": facts.state if facts else None,
        "limit_seconds": facts.limit_seconds if facts else None,
        "device_count": devices_of(job.record) if job.record else None,
        "device_count_rule": facts.rule or None if facts else None,
        "device_count_doubt": facts.doubt or None if facts else None,
        "device_indices": {node: list(each) for node, each in job.record.live.indices.items()}
        if job.record and job.record.live else {},
        "attempts": [
            {
                "started": run.started, "last_seen": run.last_seen, "outcome": run.outcome or None,
                "allocated_device_seconds": run.allocated_seconds, "held_device_seconds": run.usage.held_seconds,
            }
            for run in job.runs
        ],
    }  # fmt: skip


def _progress_document(job: Job) -> dict[str, float] | None:
    progress = job.progress
    if progress is None:
        return None
    return {
        "step": progress.step, "total": progress.total, "start_step": progress.start_step,
        "ratio": progress.ratio, "time": progress.time,
    }  # fmt: skip


def _estimate_document(estimate: Estimate) -> dict[str, Any]:
    return {
        "low": estimate.low, "likely": estimate.likely, "high": estimate.high, "unit": estimate.unit,
        "basis": estimate.basis, "declared_by": estimate.declared_by, "declared_at": estimate.declared_at,
        "channel": estimate.channel,
    }  # fmt: skip


def _forecast_document(forecast: Forecast) -> dict[str, Any]:
    quantiles = {f"{q:g}": value for q, value in forecast.quantiles.items()}
    return {"used": forecast.used, "quantiles": quantiles, "basis": forecast.basis}


def _alert_document(alert: Alert) -> dict[str, Any]:
    return {
        "kind": alert.kind, "quantity": alert.quantity, "severity": alert.severity, "since": alert.since,
        "value": alert.value, "declared": alert.declared, "text": alert.text,
    }  # fmt: skip


def history_document(view: JobView, history: Sequence[PastChange]) -> dict[str, Any]:
    """Revisions of declarations and alerts of the past, for JSON."""
    return {
        "revisions": [
            {"quantity": each.estimate.quantity, "in_force": each.in_force, **_estimate_document(each.estimate)}
            for each in view.job.revisions
        ],
        "alert_history": [
            {"time": past.time, "what": past.change.what, **_alert_document(past.change.alert)} for past in history
        ],
        "by_device": {
            uuid: {"held_seconds": usage.held_seconds, "energy_joules": dict(usage.energy_joules)}
            for uuid, usage in view.job.by_device.items()
        },
    }


def detail_lines(view: JobView, history: Sequence[PastChange], others: Sequence[str], now: float) -> Iterator[str]:
    """The job as text, line by line."""
    yield f"job {view.job.scope.name}" + (f"  {view.job.name}" if view.job.name else "")
    if others:
        yield f"  of the same name: {', '.join(others[:10])}{', …' if len(others) > 10 else ''}"
    for title, lines in (
        ("", _identity(view.job)),
        ("allocated", _allocated(view.job)),
        ("held", _held(view.job)),
        ("energy", _energy(view.job)),
        ("progress", _progress(view.job, now)),
        ("projected", _projection(view)),
        ("declared", _declared(view.job)),
        ("alerts", _alerts(view, history)),
    ):
        for number, line in enumerate(lines):
            yield f"  {title if number == 0 else '':10} {hygiene.log(line)}".rstrip()


def _identity(job: Job) -> Iterator[str]:
    yield f"{_state(job)}, {_moment(job.started)} to {_moment(job.last_seen)} ({amount('wall', job.wall_seconds)})"
    seen = f": {_count(len(job.devices), 'device')} {', '.join(job.models)}".rstrip() if job.devices else ""
    if job.nodes:
        yield f"on {', '.join(job.nodes)}{seen}"
    if job.record is not None:
        facts = job.record.facts
        known = (("user", facts.user), ("account", facts.account), ("partition", facts.partition))
        yield ", ".join(f"{name} {value}" for name, value in known if value)
    if job.campaign:
        yield f"campaign {job.campaign}"
    if job.uid is not None:
        yield f"user id {job.uid}"


def _allocated(job: Job) -> Iterator[str]:
    """What the batch system says it gave, attempt by attempt."""
    if job.record is None:
        yield "no batch system says"
        return
    facts, count = job.record.facts, devices_of(job.record)
    if job.allocated_seconds is None or count is None:
        yield "how many devices is not known"
    else:
        rule = f" by {_RULES.get(facts.rule, facts.rule)}" if facts.rule else ""
        yield f"{amount(_HOURS, job.allocated_seconds)}, {_count(digits(count), 'device')}{rule}"
    if facts.doubt:
        yield f"but {facts.doubt}"
    indices = job.record.live.indices if job.record.live is not None else {}
    if indices and not job.devices:
        yield "indices " + "; ".join(f"{node}: {', '.join(map(str, indices[node]))}" for node in sorted(indices))
    if facts.limit_seconds is not None:
        yield f"time limit {amount('wall', facts.limit_seconds)}: a ceiling, not an estimate"
    if len(job.runs) > 1:
        for number, run in enumerate(job.runs, 1):
            outcome = f", {run.outcome.lower()}" if run.outcome else ""
            spent = amount(_HOURS, run.device_seconds)
            yield f"attempt {number}: {_moment(run.started)} to {_moment(run.last_seen)}, {spent}{outcome}"


def _held(job: Job) -> Iterator[str]:
    held = job.usage.held_seconds
    if not job.devices:
        yield "no agent saw it hold a device"
        return
    yield amount(_HOURS, held)
    for state in STATES:
        seconds = job.usage.state_seconds.get(state, 0.0)
        if seconds > 0:
            yield f"{amount(_HOURS, seconds)} {state} ({_share(seconds, held)})"


def _energy(job: Job) -> Iterator[str]:
    joules = used(job, "energy")
    if joules is None:
        yield "not measured"
        return
    yield amount("energy", joules)
    for method, part in sorted(job.usage.energy_joules.items(), key=str):
        yield f"{amount('energy', part)} by method {method}"
    if job.usage.energy_unmeasured_seconds > 0:
        unmeasured = _share(job.usage.energy_unmeasured_seconds, job.usage.held_seconds)
        yield f"not measured for {unmeasured} of the held time"


def _progress(job: Job, now: float) -> Iterator[str]:
    progress = job.progress
    if progress is None:
        yield "none reported"
        return
    ago = amount("wall", max(0.0, now - progress.time))
    ratio = _share(min(progress.step, progress.total), progress.total)
    yield f"{digits(progress.step)} of {digits(progress.total)} steps ({ratio}), reported {ago} ago"
    if progress.start_step > 0:
        yield f"began at step {digits(progress.start_step)}"


def _projection(view: JobView) -> Iterator[str]:
    for quantity, forecast in view.forecasts.items():
        if not forecast.quantiles:
            yield f"{quantity}: {forecast.basis}"
        else:
            yield f"{_labelled(quantity, forecast.quantiles[MEDIAN])} ({forecast.basis})"


def _declared(job: Job) -> Iterator[str]:
    if not job.revisions:
        yield "nothing"
    for each in job.revisions:
        estimate = each.estimate
        value = _labelled(estimate.quantity, estimate.likely, estimate.unit)
        if estimate.low != estimate.high:
            low, high = (
                amount(estimate.quantity, bound, estimate.unit) for bound in (estimate.low, estimate.high)
            )
            value += f", from {low} to {high}"
        by = f" by {estimate.declared_by}" if estimate.declared_by else ""
        superseded = "" if each.in_force else " (no longer in force)"
        yield f"{value}, {_moment(estimate.declared_at)}{by} via {estimate.channel}{superseded}"


def _alerts(view: JobView, history: Sequence[PastChange]) -> Iterator[str]:
    if not view.alerts and not history:
        yield "none"
    for alert in view.alerts:
        yield f"since {_moment(alert.since)}: {alert.text}"
    for past in reversed(history):
        yield f"{_moment(past.time)} {past.change.what} {past.change.alert.kind} {past.change.alert.quantity}"


def _labelled(quantity: str, value: float, unit: str = "") -> str:
    return amount(quantity, value) if quantity == _HOURS else f"{amount(quantity, value, unit)} {quantity}"


def _moment(time: float) -> str:
    try:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S}Z"
    except (ValueError, OverflowError, OSError):
        return f"@{time:.0f}"


def _count(number: int | str, noun: str) -> str:
    return f"{number} {noun}" if number in (1, "1") else f"{number} {noun}s"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole > 0 else "0 %"
