"""A statement as JSON: everything in base units, null for what is not known, and the same in two exchange formats.

Pure. docs/report.md lists every key; a key that is taken away or changes its meaning makes a new `schema`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from gpuwatch.ledger.charges import date_of
from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import Forecast
from gpuwatch.reports.boamps import boamps
from gpuwatch.reports.checks import Check, Linted
from gpuwatch.reports.figures import Figure
from gpuwatch.reports.pieces import RunPart
from gpuwatch.reports.spdx import spdx
from gpuwatch.reports.statement import SCHEMA, Group, ModelRow, Rate, RunRow, Statement


def document(made: Statement) -> dict[str, Any]:
    """The statement, and its mappings to BoAmps and to SPDX 3.0.1."""
    return {
        "schema": SCHEMA,
        **_about(made),
        "declared": [_declared(each) for each in made.declared],
        **_used(made),
        **_energy(made),
        **_trust(made),
        "boamps": boamps(made),
        "spdx": spdx(made),
    }


def _about(made: Statement) -> dict[str, Any]:
    asked = made.asked
    return {
        "id": made.id,
        "scope": {"kind": asked.kind, "name": asked.name, "title": made.title},
        "purpose": made.purpose or None,
        "author": made.author or None,
        "licence": asked.licence or None,
        "made": made.made,
        "timezone": str(made.zone),
        "period": {
            "from": _bound(asked.begins), "to": _bound(asked.ends), "began": made.begins, "ended": made.ends,
            "goes_on": made.goes_on,
        },
        "software": {"name": "gpuwatch", "version": made.version, "ledger_schema": made.ledger_schema},
        "provenance": {
            "rates": list(made.rate_versions), "editions": list(made.editions), "ledger_rows": made.ledger_rows,
            "sha256": made.digest or None, "configuration_sha256": asked.configuration or None,
        },
    }  # fmt: skip


def _bound(time: float) -> float | None:
    return time if isfinite(time) else None


def _declared(each: Any) -> dict[str, Any]:
    return {
        "quantity": each.quantity, "unit": each.unit, "final": each.final, "ratio": each.ratio,
        "original_ratio": each.original_ratio, "revisions": [_revision(one) for one in each.revisions],
    }  # fmt: skip


def _revision(revision: Revision) -> dict[str, Any]:
    estimate = revision.estimate
    return {
        "declared_at": estimate.declared_at, "low": estimate.low, "likely": estimate.likely, "high": estimate.high,
        "basis": estimate.basis, "channel": estimate.channel, "in_force": revision.in_force,
        "original": revision.original, "after_end": revision.after_end,
    }  # fmt: skip


def _used(made: Statement) -> dict[str, Any]:
    parts, computed = made.parts, made.computed
    return {
        "total": _group(made.total),
        "outcomes": [_group(each, "runs") for each in made.outcomes],
        "debugging": _group(made.debugging),
        "tag": made.asked.tag or None,
        "tags": [_group(each) for each in made.tags],
        "jobs": [_job(each) for each in made.runs],
        "runs": [_run(each) for each in made.attempts],
        "devices": [_model(each) for each in made.models],
        "nodes": made.nodes,
        "people": made.users,
        "not_agreed_jobs": made.waiting,
        "unknown_devices_jobs": made.unknown_devices,
        "devices_at_once": made.devices_at_once,
        "allocated_device_seconds": made.allocated_seconds,
        "held_device_seconds": made.held_seconds,
        "wall_seconds": made.wall_seconds,
        "run_wall_seconds": made.run_wall_seconds,
        "device_seconds": {
            "working": parts.working, "spinning": parts.spinning, "idle": parts.idle, "lost": parts.lost,
            "unknown": parts.unknown, "lost_at_most": parts.bounded,
        },
        "wasted_cost_at_most": dict(sorted(made.wasted_cost.items())),
        "flop": {
            "flop": computed.flop, "basis": computed.basis or None, "runs": computed.jobs,
            "left_out_runs": computed.left_out, "parameters": computed.parameters, "tokens": computed.tokens,
            "precision": computed.precision or None, "peak_flops": computed.peak_flops,
            "peak": computed.peak or None, "utilization": computed.utilization,
        },
        "days": [
            {"day": str(date_of(day.number)), "kept": day.kept, "stopped": day.stopped, "debugging": day.other}
            for day in made.days
        ],
    }  # fmt: skip


def _group(group: Group, noun: str = "jobs") -> dict[str, Any]:
    return {
        "name": group.name, noun: group.count, "device_seconds": group.device_seconds, "share": group.share,
        "device_joules": _figure(group.device_energy), "facility_joules": _figure(group.facility_energy),
        "carbon_grams": _figure(group.carbon), "cost": dict(sorted(group.cost.items())),
        "covered_ratio": group.covered_ratio,
    }  # fmt: skip


def _figure(figure: Figure) -> dict[str, Any] | None:
    if figure.value is None:
        return None
    return {"value": figure.value, "low": figure.low, "high": figure.high, "bounds": figure.why or None}


def _job(row: RunRow) -> dict[str, Any]:
    return {
        "job": row.job, "name": row.name or None, "began": row.begins, "ended": row.ends, "outcome": row.outcome,
        "debugging": row.debugging, "runs": row.runs, "device_count": row.devices, "models": list(row.models),
        "device_seconds": row.device_seconds, "device_joules": row.energy_joules,
        "covered_ratio": row.covered_ratio, "carbon_grams": row.carbon_grams,
        "cost": dict(sorted(row.cost.items())), "tags": dict(row.tags),
    }  # fmt: skip


def _run(run: RunPart) -> dict[str, Any]:
    return {
        "began": run.begins, "ended": run.ends, "outcome": run.outcome, "device_seconds": run.device_seconds,
        "device_joules": run.energy_joules, "carbon_grams": run.carbon_grams,
    }  # fmt: skip


def _model(model: ModelRow) -> dict[str, Any]:
    return {
        "model": model.name or None, "devices": model.devices, "device_seconds": model.device_seconds,
        "covered_device_seconds": model.covered_seconds,
        "device_joules": model.energy_joules if model.covered_seconds > 0 else None,
        "board_watts": model.board_watts, "peak_flops": model.peak_flops,
        "peak_precision": model.peak_precision or None, "source": model.source or None,
    }  # fmt: skip


def _energy(made: Statement) -> dict[str, Any]:
    return {
        "energy": {
            "device_joules": _figure(made.total.device_energy),
            "by_method": dict(made.by_method),
            "host_joules": made.host_joules,
            "facility_joules": _figure(made.total.facility_energy),
            "covered_ratio": made.total.covered_ratio,
            "unmeasured_device_seconds": made.unmeasured_seconds,
            "longest_gap_seconds": made.quality.energy.longest_gap if made.quality is not None else None,
            "gaps": [{"why": gap.why, "device_seconds": gap.seconds} for gap in made.gaps],
            "gaps_filled": False,
        },
        "carbon": {
            "location_based_grams": _figure(made.total.carbon), "market_based_grams": None, "embodied_grams": None,
        },
        "rates": [_rate(each) for each in made.rates],
        "prices": list(made.prices),
        "cost": {currency: _figure(figure) for currency, figure in made.cost.items()},
    }  # fmt: skip


def _rate(rate: Rate) -> dict[str, Any]:
    return {
        "kind": rate.kind, "low": rate.low, "high": rate.high, "values": rate.values, "basis": rate.basis,
        "source": rate.source or None, "year": rate.year, "default": rate.default,
    }  # fmt: skip


def _trust(made: Statement) -> dict[str, Any]:
    record = made.record
    return {
        "forecasts": {
            "record": record.words, "n": record.n, "coverage_of_80_percent": dict(record.coverage),
            "now": {quantity: _forecast(each) for quantity, each in sorted(made.forecasts.items())},
        },
        "advice": [
            {"job": job, "kind": each.kind, "text": each.text, "device_seconds_at_most": each.device_seconds}
            for job, each in made.advice
        ],
        "lint": lint_document(made.lint),
        "unknown": [{"what": each.what, "why": each.why} for each in made.unknown],
    }  # fmt: skip


def _forecast(each: Forecast) -> dict[str, Any]:
    quantiles = {f"{level:g}": value for level, value in sorted(each.quantiles.items())}
    return {"used": each.used, "quantiles": quantiles}


def lint_document(linted: Linted) -> dict[str, Any]:
    """Every check, and how many of each verdict."""
    verdicts = ("holds", "note", "doubtful", "wrong")
    return {
        "counts": {each: sum(check.verdict == each for check in linted.checks) for each in verdicts},
        "checks": [_check(each) for each in linted.checks],
    }


def _check(check: Check) -> Mapping[str, Any]:
    return {
        "row": check.row, "identity": check.identity, "verdict": check.verdict, "left": check.left,
        "right": check.right, "factor": check.factor, "remedy": check.remedy or None,
    }  # fmt: skip
