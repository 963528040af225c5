"""A campaign's figures as JSON: totals, how its runs ended, members with why each belongs. Pure.

Base units; what is not known is null. The document of a campaign is what `freeze` keeps, so a figure that is taken
out here is missing from snapshots to come.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gpuwatch import __version__
from gpuwatch.ledger.campaign_reading import Asked, CampaignView, Charge, Member
from gpuwatch.ledger.campaigns import Pattern, name_of, owner_of
from gpuwatch.ledger.chain_document import chain_document
from gpuwatch.ledger.chains import chains_of
from gpuwatch.ledger.jobs import Campaign, Job, Run, used
from gpuwatch.ledger.records import devices_of
from gpuwatch.ledger.scopes import Revision
from gpuwatch.ledger.tables import SCHEMA_VERSION
from gpuwatch.model import Estimate, Usage

OUTCOMES = ("completed", "failed", "cancelled", "timed out", "requeued", "running", "not known")
"""How a run ended; `requeued` is one after which the job ran, or may run, again."""

_WORDS: Mapping[str, str] = {
    "COMPLETED": "completed", "CANCELLED": "cancelled", "TIMEOUT": "timed out", "DEADLINE": "timed out",
    "PREEMPTED": "requeued", "REQUEUED": "requeued", "RUNNING": "running", "SUSPENDED": "running",
}  # fmt: skip
_DEBUG = re.compile(r"(?<![a-z])(debug|debugging|dbg|interactive|devel|smoke)(?![a-z])")


def document(seen: CampaignView) -> dict[str, Any]:
    """Everything of a campaign, for JSON."""
    charge = _together(member.charge for member in seen.members)
    return {
        "campaign": seen.name,
        "now": seen.now,
        "gpuwatch": __version__,
        "schema": SCHEMA_VERSION,
        "totals": totals(seen.members),
        "declared": _declared(seen.revisions, seen.scope, charge),
        "revisions": [_revision(each) for each in seen.revisions],
        "chains": [chain_document(each) for each in chains_of(each.job for each in seen.members)],
        "members": [member_document(each) for each in seen.members],
        "asked": [asked_document(each) for each in seen.asked],
        "patterns": [pattern_document(each) for each in seen.patterns],
    }


def totals(members: Sequence[Member]) -> dict[str, Any]:
    """What some members come to together; failed, cancelled, requeued and debugging runs are in it."""
    jobs = [member.job for member in members]
    usage = sum((job.usage for job in jobs), Usage())
    began = min((job.started for job in jobs), default=None)
    ended = max((job.last_seen for job in jobs), default=None)
    allocated = [job.allocated_seconds for job in jobs if job.allocated_seconds is not None]
    spent = sum(job.device_seconds for job in jobs)
    return {
        "jobs": len(jobs),
        "runs": sum(max(1, len(job.runs)) for job in jobs),
        "users": sorted({name_of(owner_of(job)) for job in jobs} - {""}),
        "began": began,
        "ended": ended,
        "wall_seconds": None if began is None or ended is None else max(0.0, ended - began),
        "device_seconds": spent,
        "allocated_device_seconds": sum(allocated) if allocated else None,
        "devices_not_known_jobs": sum(job.record is not None and job.allocated_seconds is None for job in jobs),
        **_usage(usage),
        **_charge(_together(member.charge for member in members)),
        "outcomes": _outcomes(jobs, spent),
        "debugging": _part([each.job.device_seconds for each in members if is_debugging(each)], spent, "jobs"),
    }


def by_tag(members: Sequence[Member], key: str) -> list[dict[str, Any]]:
    """Totals by the value of a tag, in order of the values; `value` null has those without the tag, the last."""
    groups: dict[str | None, list[Member]] = defaultdict(list)
    for member in members:
        groups[member.tags.get(key)].append(member)
    values = sorted((value for value in groups if value is not None), key=_natural)
    rest = [None] if None in groups else []
    return [{"tag": key, "value": value, **totals(groups[value])} for value in (*values, *rest)]


def _natural(value: str) -> tuple[tuple[int, int, str], ...]:
    """Numbers by size: table 10 comes after table 9."""
    parts = re.findall(r"[0-9]{1,18}|[^0-9]+|[0-9]+", value)
    return tuple((0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in parts)


def is_debugging(member: Member) -> bool:
    """Whether its name, partition or QOS says that it only tried something, or its tag `run:debug`."""
    job = member.job
    facts = job.record.facts if job.record is not None else None
    words = (
        job.name or "",
        facts.partition if facts else "",
        facts.qos if facts else "",
        member.tags.get("run", ""),
    )
    return any(_DEBUG.search(word.casefold()) for word in words)


def outcome_of(job: Job, number: int) -> str:
    """How the run of that number ended, one of `OUTCOMES`."""
    if number < len(job.runs) - 1 or (job.runs and job.state == "waiting"):
        return "requeued"
    said = job.runs[number].outcome if job.runs else ""
    if said:
        return _WORDS.get(said.partition(" ")[0], "failed")
    if job.state != "ended":
        return "running"
    return "not known" if job.exit_code is None else "failed" if job.exit_code else "completed"


def _outcomes(jobs: Iterable[Job], spent: float) -> dict[str, dict[str, Any]]:
    found: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        for number, seconds in enumerate([run.device_seconds for run in job.runs] or [job.device_seconds]):
            found[outcome_of(job, number)].append(seconds)
    return {outcome: _part(found[outcome], spent, "runs") for outcome in OUTCOMES if outcome in found}


def _part(seconds: Sequence[float], whole: float, noun: str) -> dict[str, Any]:
    part = sum(seconds)
    return {noun: len(seconds), "device_seconds": part, "share": part / whole if whole > 0 else None}


def member_document(member: Member) -> dict[str, Any]:
    """One member: what it is, why it belongs, and every figure of it."""
    job, why = member.job, member.membership
    facts = job.record.facts if job.record is not None else None
    return {
        "job": job.scope.name,
        "job_id": job.job_id,
        "cluster": job.cluster,
        "display": job.display,
        "name": job.name,
        "user": name_of(owner_of(job)) or None,
        "account": facts.account or None if facts else None,
        "partition": facts.partition or None if facts else None,
        "state": job.state,
        "exit_code": job.exit_code,
        "started": job.started,
        "last_seen": job.last_seen,
        "why": {
            "by": why.why, "who": why.by or None, "time": why.time, "reason": why.reason or None,
            "standing": why.standing or None,
        },
        "tags": dict(sorted(member.tags.items())),
        "debugging": is_debugging(member),
        "models": list(job.models),
        "nodes": list(job.nodes),
        "device_count": devices_of(job.record) if job.record is not None else len(job.devices) or None,
        "device_seconds": job.device_seconds,
        "allocated_device_seconds": job.allocated_seconds,
        **_usage(job.usage),
        **_charge(member.charge),
        "runs": [_run(job, number, run) for number, run in enumerate(job.runs)],
        "declared": _declared(job.revisions, job, member.charge),
    }  # fmt: skip


def _run(job: Job, number: int, run: Run) -> dict[str, Any]:
    return {
        "started": run.started, "last_seen": run.last_seen, "outcome": outcome_of(job, number),
        "device_seconds": run.device_seconds, "allocated_device_seconds": run.allocated_seconds,
        "held_device_seconds": run.usage.held_seconds,
    }  # fmt: skip


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "held_device_seconds": usage.held_seconds,
        "state_seconds": dict(sorted(usage.state_seconds.items(), key=str)),
        "busy_seconds": usage.busy_seconds,
        "tensor_seconds": usage.tensor_seconds,
        "throttled_seconds": dict(sorted(usage.throttled_seconds.items(), key=str)),
        "energy_joules": dict(sorted(usage.energy_joules.items(), key=str)),
        "energy_unmeasured_seconds": usage.energy_unmeasured_seconds,
        "energy_gap_seconds": usage.energy_gap_seconds,
        "energy_covered_ratio": _covered(usage),
        "host_energy_joules": usage.host_energy_joules,
    }


def _covered(usage: Usage) -> float | None:
    if usage.held_seconds <= 0:
        return None
    return max(0.0, 1 - usage.energy_unmeasured_seconds / usage.held_seconds)


def _charge(charge: Charge) -> dict[str, Any]:
    return {
        "facility_joules": charge.facility_joules,
        "carbon_grams": charge.carbon_grams,
        "cost": dict(sorted(charge.cost.items())),
        "rates": list(charge.rates),
        "editions": list(charge.editions),
    }


def _together(charges: Iterable[Charge]) -> Charge:
    found = list(charges)
    cost: dict[str, float] = defaultdict(float)
    for each in found:
        for currency, money in each.cost.items():
            cost[currency] += money
    facility = [each.facility_joules for each in found if each.facility_joules is not None]
    carbon = [each.carbon_grams for each in found if each.carbon_grams is not None]
    return Charge(
        sum(facility) if facility else None,
        sum(carbon) if carbon else None,
        dict(cost),
        tuple(sorted({rates for each in found for rates in each.rates})),
        tuple(sorted({edition for each in found for edition in each.editions})),
    )


def _declared(revisions: Sequence[Revision], scope: Job | Campaign | None, charge: Charge) -> dict[str, Any]:
    in_force = {each.estimate.quantity: each.estimate for each in revisions if each.in_force}
    first = {each.estimate.quantity: each.estimate for each in revisions if each.original}
    return {
        quantity: {
            "in_force": _estimate(estimate),
            "original": _estimate(first[quantity]) if quantity in first else None,
            "used": _used(scope, estimate, charge),
        }
        for quantity, estimate in sorted(in_force.items())
    }


def _used(scope: Job | Campaign | None, estimate: Estimate, charge: Charge) -> float | None:
    """What was used of an estimate's quantity so far, in its unit; None where that is not known."""
    charged = {
        "facility-energy": charge.facility_joules,
        "carbon": charge.carbon_grams,
        "cost": charge.cost.get(estimate.unit),
    }
    if estimate.quantity in charged:
        return charged[estimate.quantity]
    return used(scope, estimate.quantity) if scope is not None else None


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {
        "low": estimate.low, "likely": estimate.likely, "high": estimate.high, "unit": estimate.unit,
        "basis": estimate.basis, "declared_by": estimate.declared_by, "declared_at": estimate.declared_at,
        "channel": estimate.channel,
    }  # fmt: skip


def _revision(revision: Revision) -> dict[str, Any]:
    estimate = revision.estimate
    return {"quantity": estimate.quantity, "in_force": revision.in_force, **_estimate(estimate)}


def asked_document(asked: Asked) -> dict[str, Any]:
    """A job whose owner has not agreed: its id, and who asked when."""
    request = asked.request
    return {
        "job": asked.job, "cluster": asked.cluster, "asked_by": request.by, "asked_at": request.time,
        "refused": request.refused,
    }  # fmt: skip


def pattern_document(pattern: Pattern) -> dict[str, Any]:
    """A pattern, for JSON."""
    return {
        "number": pattern.id, "name": pattern.name, "user": pattern.user, "account": pattern.account,
        "partition": pattern.partition, "begins": pattern.begins, "ends": pattern.ends,
        "by": name_of(pattern.by), "time": pattern.time,
    }  # fmt: skip


def possible_document(jobs: Iterable[Job]) -> Iterator[dict[str, Any]]:
    """Jobs that may belong too."""
    for job in jobs:
        yield {
            "job": job.scope.name, "cluster": job.cluster, "display": job.display, "name": job.name,
            "user": name_of(owner_of(job)) or None, "started": job.started, "device_seconds": job.device_seconds,
        }  # fmt: skip
