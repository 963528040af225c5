"""What the API answers, and `--json` prints: base units, Unix seconds, null for what is unknown (docs/api.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpuwatch.accounting.advice import Advice
from gpuwatch.accounting.views import JobView
from gpuwatch.ledger.alert_store import PastChange
from gpuwatch.ledger.budgets import PACE_SECONDS, RESOURCES, Budget, UserPart, Word
from gpuwatch.ledger.chain_document import chain_document, progress_document
from gpuwatch.ledger.chains import chains_of
from gpuwatch.ledger.charging import Cost
from gpuwatch.ledger.history import Point
from gpuwatch.ledger.jobs import Campaign, Job, used
from gpuwatch.ledger.periods import Grouped, Row
from gpuwatch.ledger.quality import quality_document
from gpuwatch.ledger.records import devices_of
from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import EMPTY, Alert, Estimate, Forecast, Usage
from gpuwatch.web.expectation_documents import expectation_document

Document = dict[str, Any]

COST = "cost:"
"""What amounts of money are called by, before their currency."""


def job_document(view: JobView) -> Document:
    """A job with all but its history."""
    job = view.job
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
        "tags": dict(job.tags),
        "device_seconds": job.device_seconds,
        "allocated_device_seconds": job.allocated_seconds,
        **usage_document(job.usage),
        "coverage_ratio": view.quality.energy.coverage,
        "partial": view.quality.energy.partial,
        "allocation_differs": view.quality.differs,
        **cost_document(view.cost),
        "progress": progress_document(job.progress),
        "declared": {quantity: estimate_document(each) for quantity, each in job.estimates.items()},
        "forecasts": {quantity: forecast_document(each) for quantity, each in view.forecasts.items()},
        "expectation": expectation_document(view.expectation),
        "alerts": [alert_document(alert) for alert in view.alerts],
    }


def cost_document(cost: Cost) -> Document:
    """Money by currency, carbon and facility energy, and the versions of the rates they were reckoned by."""
    return {
        "cost": dict(sorted(cost.cost.items())),
        "facility_joules": cost.facility_joules,
        "carbon_grams": cost.carbon_grams,
        "rates": sorted(cost.rates),
    }


def usage_document(usage: Usage) -> Document:
    """What nodes saw of something."""
    return {
        "held_device_seconds": usage.held_seconds,
        "busy_seconds": usage.busy_seconds,
        "state_seconds": dict(usage.state_seconds),
        "throttled_seconds": dict(usage.throttled_seconds),
        "energy_joules": dict(usage.energy_joules),
        "energy_unmeasured_seconds": usage.energy_unmeasured_seconds,
        "energy_gap_seconds": usage.energy_gap_seconds,
        "memory_byte_seconds": usage.memory_byte_seconds,
        "tensor_seconds": usage.tensor_seconds,
        "clock_cycles": usage.clock_cycles,
        "clock_seconds": usage.clock_seconds,
        "storage_wait_seconds": usage.storage_wait_seconds,
        "link_bytes": dict(usage.link_bytes),
        "errors": dict(usage.errors),
        "first_working": usage.first_working,
        "last_in_state": dict(usage.last_in_state),
        "host_energy_joules": usage.host_energy_joules,
        "host_energy_measured_seconds": usage.host_energy_measured_seconds,
    }


def points_document(job: Job, points: Sequence[Point]) -> Document:
    """What a job had used over time, as running totals."""
    return {
        "job": job.scope.name,
        "cluster": job.cluster,
        "points": [
            {
                "time": point.seen,
                "held_device_seconds": point.held_seconds,
                "working_seconds": point.working_seconds,
                "energy_joules": point.joules,
            }
            for point in points
        ],
    }


def history_document(view: JobView, history: Sequence[PastChange], advice: Sequence[Advice]) -> Document:
    """What is told of one job alone: revisions of declarations, alerts of the past, each device, advice."""
    return {
        "revisions": [revision_document(each) for each in view.job.revisions],
        "alert_history": [
            {"time": past.time, "what": past.change.what, **alert_document(past.change.alert)} for past in history
        ],
        "by_device": {
            uuid: {"held_seconds": usage.held_seconds, **usage_document(usage)}
            for uuid, usage in view.job.by_device.items()
        },
        "quality": quality_document(view.quality),
        "bases": list(view.bases),
        "advice": [
            {"kind": each.kind, "text": each.text, "device_seconds": each.device_seconds} for each in advice
        ],
    }


def campaign_document(campaign: Campaign, complete: bool, forecasts: Mapping[str, Forecast] = EMPTY) -> Document:
    """A campaign, or as much of it as the reader may see; what is declared and forecast only where that is all."""
    return {
        "campaign": campaign.scope.name,
        "state": campaign.state,
        "started": campaign.started,
        "last_seen": campaign.last_seen,
        "wall_seconds": campaign.wall_seconds,
        "jobs": len(campaign.jobs),
        "complete": complete,
        "device_seconds": campaign.device_seconds,
        "allocated_device_seconds": campaign.allocated_seconds,
        **usage_document(campaign.usage),
        "chains": [chain_document(each) for each in chains_of(campaign.jobs)],
        "declared": {quantity: estimate_document(each) for quantity, each in campaign.estimates.items()},
        "forecasts": {quantity: forecast_document(each) for quantity, each in forecasts.items() if complete},
    }


def estimate_documents(view: JobView) -> list[Document]:
    """What is declared for a job and in force, beside what it used and is projected to need."""
    return [
        {
            "scope_kind": "job",
            "scope": view.job.scope.name,
            "cluster": view.job.cluster,
            "quantity": quantity,
            **estimate_document(estimate),
            "used": used(view.job, quantity),
            "quantiles": _quantiles(view.forecasts[quantity]) if quantity in view.forecasts else {},
        }
        for quantity, estimate in view.job.estimates.items()
    ]


def groups_document(found: Grouped) -> Document:
    """What was allocated, by group; a name that is null is that of jobs which have none."""
    rows = [_row_document(row) for row in found.rows]
    return {"groups": rows, "total": _row_document(found.total), "bases": list(found.bases)}


def budget_document(budget: Budget) -> Document:
    """A budget, in seconds of the resource."""
    grant, committed, expected = budget.grant, budget.committed, budget.expected
    told = budget.resource in RESOURCES
    return {
        "account": budget.account,
        "cluster": budget.cluster,
        "resource": budget.resource,
        "time": budget.now,
        "granted_seconds": budget.granted,
        "used_seconds": budget.used,
        "left_seconds": budget.left,
        "running_seconds": committed.running_seconds if told else None,
        "waiting_seconds": committed.waiting_seconds if told else None,
        "running_jobs": committed.running_jobs,
        "waiting_jobs": committed.waiting_jobs,
        "unlimited_jobs": committed.unlimited_jobs,
        "left_after_committed_seconds": budget.free if told else None,
        "expected_low_seconds": expected.low_seconds if expected else None,
        "expected_seconds": expected.seconds if expected else None,
        "expected_high_seconds": expected.high_seconds if expected else None,
        "expected_jobs": expected.jobs if expected else 0,
        "over_probability": expected.p_over if expected else None,
        "seconds_per_second": budget.pace if told else None,
        "pace_period_seconds": PACE_SECONDS,
        "runs_out": budget.runs_out,
        "source": grant.source if grant else None,
        "seen": grant.seen if grant else None,
        "starts": grant.starts if grant else None,
        "ends": grant.ends if grant else None,
        "recorded_seconds": budget.recorded_seconds if told else None,
        "recorded_since": budget.recorded_since,
        "unknown_jobs": budget.unknown_jobs if told else None,
        "words": [_word_document(each) for each in budget.words],
        "parent": budget.parent or None,
        "within": budget.within or None,
        "accounts": list(budget.accounts),
        "coordinators": list(budget.coordinators),
        "users": [_user_document(each) for each in budget.users],
    }


def estimate_document(estimate: Estimate) -> Document:
    """What somebody declared, when and how."""
    return {
        "low": estimate.low, "likely": estimate.likely, "high": estimate.high, "unit": estimate.unit,
        "basis": estimate.basis, "declared_by": estimate.declared_by, "declared_at": estimate.declared_at,
        "channel": estimate.channel,
    }  # fmt: skip


def revision_document(revision: Revision) -> Document:
    """One declaration of a quantity, whether it counts, and whether it is what the estimate is judged by."""
    return {
        "quantity": revision.estimate.quantity, "in_force": revision.in_force, "original": revision.original,
        "after_end": revision.after_end, **estimate_document(revision.estimate),
    }  # fmt: skip


def forecast_document(forecast: Forecast) -> Document:
    """What was used, the quantiles of what it will come to, and how that is to what it is compared with."""
    between = forecast.crosses_between
    return {
        "used": forecast.used, "quantiles": _quantiles(forecast), "basis": forecast.basis, "time": forecast.time,
        "against": forecast.against or None, "reference": forecast.reference, "p_over": forecast.p_over,
        "crosses_at": forecast.crosses_at, "crosses_from": between[0] if between else None,
        "crosses_to": between[1] if between else None, "p_limit": forecast.p_limit,
        "stage": forecast.stage or None, "record": forecast.record or None,
    }  # fmt: skip


def alert_document(alert: Alert) -> Document:
    """Something worth telling."""
    return {
        "kind": alert.kind, "quantity": alert.quantity, "severity": alert.severity, "since": alert.since,
        "value": alert.value, "declared": alert.declared, "text": alert.text,
    }  # fmt: skip


def _batch_document(job: Job) -> Document:
    """What the batch system says; all null where none does. The time limit is a ceiling, no estimate."""
    record = job.record
    facts = record.facts if record is not None else None
    return {
        "user": facts.user or None if facts else None,
        "account": facts.account or None if facts else None,
        "partition": facts.partition or None if facts else None,
        "qos": facts.qos or None if facts else None,
        "submitted": record.key.submitted if record else None,
        "ended": facts.ended if facts else None,
        "outcome": facts.state if facts else None,
        "limit_seconds": facts.limit_seconds if facts else None,
        "device_count": devices_of(record) if record else None,
        "device_count_rule": facts.rule or None if facts else None,
        "device_count_doubt": facts.doubt or None if facts else None,
        "device_indices": {node: list(each) for node, each in record.live.indices.items()}
        if record and record.live else {},
        "attempts": [
            {
                "started": run.started, "last_seen": run.last_seen, "outcome": run.outcome or None,
                "device_seconds": run.device_seconds, "allocated_device_seconds": run.allocated_seconds,
                "held_device_seconds": run.usage.held_seconds, "progress": progress_document(run.progress),
            }
            for run in job.runs
        ],
    }  # fmt: skip


def _quantiles(forecast: Forecast) -> dict[str, float]:
    return {f"{q:g}": value for q, value in forecast.quantiles.items()}


def _row_document(row: Row) -> Document:
    amounts = row.amounts
    return {
        "name": row.name,
        "device_seconds": row.device_seconds,
        "allocated_device_seconds": amounts.get("allocated_seconds"),
        "held_device_seconds": amounts.get("held_seconds"),
        "cpu_seconds": row.cpu_seconds,
        "energy_joules": amounts.get("energy_joules"),
        "host_joules": amounts.get("host_joules"),
        "facility_joules": amounts.get("facility_joules"),
        "cost": {name.removeprefix(COST): each for name, each in sorted(amounts.items()) if name.startswith(COST)},
        "carbon_grams": amounts.get("carbon_grams"),
        "jobs": row.jobs,
        "unknown_jobs": row.unknown_jobs,
    }


def _word_document(word: Word) -> Document:
    grant = word.grant
    return {
        "source": grant.source, "seen": grant.seen, "starts": grant.starts, "ends": grant.ends,
        "used_seconds": grant.used_seconds, "recorded_seconds": word.recorded_seconds,
    }  # fmt: skip


def _user_document(part: UserPart) -> Document:
    return {
        "user": part.user, "granted_seconds": part.limit_seconds, "reported_seconds": part.reported_seconds,
        "recorded_seconds": part.recorded_seconds,
    }  # fmt: skip
