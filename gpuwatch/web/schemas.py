"""The shapes of the API's answers in JSON Schema, each with an example: what docs/api.md and clients go by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]


def _optional(kind: str) -> Schema:
    return {"type": [kind, "null"]}


def _object(properties: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    """An object; whoever reads it must put up with further members, as later versions may add some."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


TEXT, NUMBER, WHOLE, FLAG = ({"type": kind} for kind in ("string", "number", "integer", "boolean"))
ANY_TEXT, ANY_NUMBER, ANY_WHOLE = _optional("string"), _optional("number"), _optional("integer")
BY_LABEL: Schema = {"type": "object", "additionalProperties": NUMBER}
NEXT = {"type": ["string", "null"], "description": "give it as `cursor` to get the next page; null: there is none"}

ERROR = _object({"error": TEXT})

ESTIMATE = _object({
    "low": NUMBER, "likely": NUMBER, "high": NUMBER, "unit": TEXT, "basis": ANY_TEXT, "declared_by": TEXT,
    "declared_at": NUMBER, "channel": TEXT,
})  # fmt: skip
FORECAST = _object({
    "used": NUMBER, "quantiles": BY_LABEL, "basis": TEXT, "time": NUMBER,
    "against": {"enum": ["declared", "expected", None]}, "reference": ANY_NUMBER, "p_over": ANY_NUMBER,
    "crosses_at": ANY_NUMBER, "crosses_from": ANY_NUMBER, "crosses_to": ANY_NUMBER, "p_limit": ANY_NUMBER,
    "stage": ANY_TEXT, "record": ANY_TEXT,
})  # fmt: skip
ALERT = _object({
    "kind": TEXT, "quantity": TEXT, "severity": TEXT, "since": NUMBER, "value": NUMBER, "declared": NUMBER,
    "text": TEXT,
})  # fmt: skip
_EXPECTATION = _object({"quantity": TEXT, "quantiles": BY_LABEL, "n": WHOLE, "basis": TEXT})
_USAGE: Mapping[str, Schema] = {
    "held_device_seconds": NUMBER, "busy_seconds": ANY_NUMBER, "state_seconds": BY_LABEL,
    "throttled_seconds": BY_LABEL, "energy_joules": BY_LABEL, "energy_unmeasured_seconds": NUMBER,
    "energy_gap_seconds": NUMBER, "memory_byte_seconds": ANY_NUMBER, "tensor_seconds": ANY_NUMBER,
    "clock_cycles": ANY_NUMBER, "clock_seconds": ANY_NUMBER, "storage_wait_seconds": ANY_NUMBER,
    "link_bytes": BY_LABEL, "errors": BY_LABEL, "first_working": ANY_NUMBER, "last_in_state": BY_LABEL,
    "host_energy_joules": ANY_NUMBER, "host_energy_measured_seconds": ANY_NUMBER,
}  # fmt: skip
_COST: Mapping[str, Schema] = {
    "cost": BY_LABEL, "facility_joules": ANY_NUMBER, "carbon_grams": ANY_NUMBER, "rates": _list_of(TEXT),
}  # fmt: skip
_DECLARED: Schema = {"type": "object", "additionalProperties": ESTIMATE}
_PROGRESS = _object({
    "step": NUMBER, "total": NUMBER, "start_step": NUMBER, "ratio": NUMBER, "time": NUMBER, "best": ANY_NUMBER,
    "lost": ANY_NUMBER, "other_totals": _list_of(NUMBER),
})  # fmt: skip
_ANY_PROGRESS: Schema = {"anyOf": [_PROGRESS, {"type": "null"}]}
_ATTEMPT = _object({
    "started": WHOLE, "last_seen": NUMBER, "outcome": ANY_TEXT, "device_seconds": NUMBER,
    "allocated_device_seconds": ANY_NUMBER, "held_device_seconds": NUMBER, "progress": _ANY_PROGRESS,
})  # fmt: skip
_JOB: Mapping[str, Schema] = {
    "job": TEXT, "job_id": TEXT, "display": TEXT, "name": ANY_TEXT, "uid": ANY_WHOLE, "user": ANY_TEXT,
    "account": ANY_TEXT, "partition": ANY_TEXT, "qos": ANY_TEXT, "submitted": ANY_NUMBER, "ended": ANY_NUMBER,
    "outcome": ANY_TEXT, "limit_seconds": ANY_NUMBER, "device_count": ANY_NUMBER, "device_count_rule": ANY_TEXT,
    "device_count_doubt": ANY_TEXT,
    "device_indices": {"type": "object", "additionalProperties": _list_of(WHOLE)},
    "attempts": _list_of(_ATTEMPT), "cluster": TEXT,
    "state": {"type": "string", "enum": ["running", "waiting", "unseen", "ended"]},
    "exit_code": ANY_WHOLE, "started": WHOLE, "last_seen": NUMBER, "wall_seconds": NUMBER, "nodes": _list_of(TEXT),
    "devices": _list_of(TEXT), "models": _list_of(TEXT), "campaign": ANY_TEXT,
    "tags": {"type": "object", "additionalProperties": TEXT}, "device_seconds": NUMBER,
    "allocated_device_seconds": ANY_NUMBER, **_USAGE,
    "coverage_ratio": ANY_NUMBER, "partial": FLAG, "allocation_differs": FLAG, **_COST,
    "progress": _ANY_PROGRESS, "declared": _DECLARED,
    "forecasts": {"type": "object", "additionalProperties": FORECAST}, "alerts": _list_of(ALERT),
    "expectation": {"anyOf": [_EXPECTATION, {"type": "null"}]},
}  # fmt: skip
JOB = _object(_JOB)
_GAP = _object({"why": TEXT, "device_seconds": ANY_NUMBER})
_FIGURE = _object({
    "unit": TEXT, "by_method": BY_LABEL, "covered_device_seconds": NUMBER, "charged_device_seconds": NUMBER,
    "coverage_ratio": ANY_NUMBER, "partial": FLAG, "longest_gap_seconds": ANY_NUMBER, "missing": _list_of(_GAP),
})  # fmt: skip
_QUALITY: Mapping[str, Schema] = {
    "figures": {"type": "object", "additionalProperties": _FIGURE}, "allocated_device_seconds": ANY_NUMBER,
    "held_device_seconds": ANY_NUMBER, "allocation_difference_ratio": ANY_NUMBER, "allocation_differs": FLAG,
    "allocation_difference": ANY_TEXT, "allocation_missing": _list_of(_GAP),
    "host_energy_measured_seconds": ANY_NUMBER, "node_seconds": NUMBER, "host_energy_coverage_ratio": ANY_NUMBER,
}  # fmt: skip
_REVISION = _object({
    "quantity": TEXT, "in_force": FLAG, "original": FLAG, "after_end": FLAG, **ESTIMATE["properties"],
})  # fmt: skip
DECLARATIONS = _object({"scope": TEXT, "cluster": TEXT, "declarations": _list_of(_REVISION)})
DECLARE: Schema = {
    "type": "object",
    "properties": {"text": {"type": "string", "description": "as docs/declaring.md says, with for=KIND:NAME"}},
    "required": ["text"],
    "additionalProperties": False,
}
REFUSALS = _object({
    "refusals": _list_of(_object({
        "time": NUMBER, "who": TEXT, "uid": ANY_WHOLE, "identified_by": TEXT, "text": TEXT, "reason": TEXT,
    })),
})  # fmt: skip
_PAST = _object({"time": NUMBER, "what": TEXT, "kind": TEXT, "quantity": TEXT})
_DEVICE = _object({"held_seconds": NUMBER, **_USAGE})
_ADVICE = _object({"kind": TEXT, "text": TEXT, "device_seconds": ANY_NUMBER})
ONE_JOB = _object({
    **_JOB, "revisions": _list_of(_REVISION), "alert_history": _list_of(_PAST),
    "by_device": {"type": "object", "additionalProperties": _DEVICE}, "quality": _object(_QUALITY),
    "bases": _list_of(TEXT), "advice": _list_of(_ADVICE),
    "others": _list_of(TEXT),
})  # fmt: skip
JOBS = _object({"jobs": _list_of(JOB), "next": NEXT})
HISTORY = _object({
    "job": TEXT, "cluster": TEXT,
    "points": _list_of(_object({
        "time": NUMBER, "held_device_seconds": NUMBER, "working_seconds": NUMBER, "energy_joules": ANY_NUMBER,
    })),
})  # fmt: skip

FORECASTS = _object({
    "job": TEXT, "cluster": TEXT,
    "burnup": _list_of({
        "type": "array", "items": ANY_NUMBER, "minItems": 5, "maxItems": 5,
        "description": "time, device-seconds, joules, step, total; the last three null where they are not known",
    }),
    "points": {"type": "object", "additionalProperties": _list_of(_object({
        "started": WHOLE, "time": NUMBER, "used": NUMBER, "declared": ANY_NUMBER, "p_over": ANY_NUMBER,
        "crosses_at": ANY_NUMBER, "quantiles": BY_LABEL,
    }))},
})  # fmt: skip

ESTIMATES = _object({
    "estimates": _list_of(_object({
        "scope_kind": TEXT, "scope": TEXT, "cluster": TEXT, "quantity": TEXT, **ESTIMATE["properties"],
        "used": ANY_NUMBER, "quantiles": BY_LABEL,
    })),
    "next": NEXT,
})  # fmt: skip

_SPREAD = _object({
    "quantiles": {"type": "object", "additionalProperties": ANY_NUMBER}, "n": WHOLE, "cut": WHOLE,
    "least": NUMBER, "most": NUMBER,
})  # fmt: skip
_NO_SPREAD: Schema = {"anyOf": [_SPREAD, {"type": "null"}]}
EXPECTATIONS = _object({
    "since": NUMBER, "jobs": WHOLE, "spreads": {"type": "object", "additionalProperties": _SPREAD},
    "endings": _list_of(_object({"ending": TEXT, "jobs": WHOLE, "device_seconds": NUMBER})),
    "declared_device_seconds": ANY_NUMBER, "ratio": _NO_SPREAD, "applied": _NO_SPREAD,
    "nearest": _list_of(_object({
        "display": TEXT, "name": ANY_TEXT, "user": ANY_TEXT, "account": ANY_TEXT, "cluster": TEXT,
        "started": NUMBER, "ended": ANY_NUMBER, "ending": TEXT, "device_seconds": NUMBER, "wall_seconds": NUMBER,
        "energy_joules": ANY_NUMBER, "declared_device_seconds": ANY_NUMBER,
    })),
})  # fmt: skip

QUALITY = _object({"jobs": _list_of(_object({"job": TEXT, "cluster": TEXT, **_QUALITY})), "next": NEXT})

GROUP = _object({
    "name": ANY_TEXT, "device_seconds": ANY_NUMBER, "allocated_device_seconds": ANY_NUMBER,
    "held_device_seconds": ANY_NUMBER, "cpu_seconds": ANY_NUMBER, "energy_joules": ANY_NUMBER,
    "host_joules": ANY_NUMBER, "facility_joules": ANY_NUMBER, "cost": BY_LABEL, "carbon_grams": ANY_NUMBER,
    "jobs": WHOLE, "unknown_jobs": WHOLE,
})  # fmt: skip
USAGE = _object({
    "by": TEXT, "from": NUMBER, "to": NUMBER, "timezone": TEXT, "groups": _list_of(GROUP), "total": GROUP,
    "bases": _list_of(TEXT),
})  # fmt: skip

_CHAIN = _object({
    "jobs": _list_of(TEXT), "silent_jobs": WHOLE, "runs": WHOLE, "restarts": WHOLE, "state": TEXT,
    "finished": FLAG, "started": WHOLE, "last_seen": NUMBER, "step": NUMBER, "total": NUMBER,
    "totals": _list_of(NUMBER), "start_step": NUMBER, "ratio": NUMBER, "time": NUMBER, "made_steps": NUMBER,
    "skipped_steps": NUMBER, "lost_steps": NUMBER, "lost_ratio": ANY_NUMBER, "lost_device_seconds": NUMBER,
    "device_seconds": NUMBER, "gap_seconds": NUMBER,
})  # fmt: skip
_CAMPAIGN: Mapping[str, Schema] = {
    "campaign": TEXT, "state": TEXT, "started": WHOLE, "last_seen": NUMBER, "wall_seconds": NUMBER, "jobs": WHOLE,
    "complete": FLAG, "device_seconds": NUMBER, "allocated_device_seconds": ANY_NUMBER, **_USAGE,
    "chains": _list_of(_CHAIN), "declared": _DECLARED,
    "forecasts": {"type": "object", "additionalProperties": FORECAST},
}  # fmt: skip
CAMPAIGNS = _object({"campaigns": _list_of(_object(_CAMPAIGN)), "next": NEXT})
CAMPAIGN = _object({**_CAMPAIGN, "members": _list_of(JOB)})

_WORD = _object({
    "source": TEXT, "seen": NUMBER, "starts": ANY_NUMBER, "ends": ANY_NUMBER, "used_seconds": ANY_NUMBER,
    "recorded_seconds": NUMBER,
})  # fmt: skip
_BUDGET_USER = _object({
    "user": TEXT, "granted_seconds": ANY_NUMBER, "reported_seconds": ANY_NUMBER, "recorded_seconds": NUMBER,
})  # fmt: skip
BUDGET = _object({
    "account": TEXT, "cluster": TEXT, "resource": TEXT, "time": NUMBER, "granted_seconds": ANY_NUMBER,
    "used_seconds": ANY_NUMBER, "left_seconds": ANY_NUMBER, "running_seconds": ANY_NUMBER,
    "waiting_seconds": ANY_NUMBER, "running_jobs": WHOLE, "waiting_jobs": WHOLE, "unlimited_jobs": WHOLE,
    "expected_low_seconds": ANY_NUMBER, "expected_seconds": ANY_NUMBER, "expected_high_seconds": ANY_NUMBER,
    "expected_jobs": WHOLE, "over_probability": ANY_NUMBER,
    "left_after_committed_seconds": ANY_NUMBER, "seconds_per_second": ANY_NUMBER, "pace_period_seconds": NUMBER,
    "runs_out": ANY_NUMBER, "source": ANY_TEXT, "seen": ANY_NUMBER, "starts": ANY_NUMBER, "ends": ANY_NUMBER,
    "recorded_seconds": ANY_NUMBER, "recorded_since": ANY_NUMBER, "unknown_jobs": ANY_WHOLE,
    "words": _list_of(_WORD), "parent": ANY_TEXT, "within": ANY_TEXT, "accounts": _list_of(TEXT),
    "coordinators": _list_of(TEXT), "users": _list_of(_BUDGET_USER),
})  # fmt: skip
BUDGETS = _object({"budgets": _list_of(BUDGET)})

RATES = _object({"versions": _list_of(_object({"version": TEXT, "since": NUMBER, "text": TEXT}))})
ME = _object({
    "name": TEXT, "uid": ANY_WHOLE, "cluster": TEXT, "accounts": _list_of(TEXT), "identified_by": TEXT,
    "roles": _list_of({"type": "string", "enum": ["self", "coordinator", "support", "admin"]}),
})  # fmt: skip
OPENAPI = _object({"openapi": TEXT, "info": {"type": "object"}, "paths": {"type": "object"}})
