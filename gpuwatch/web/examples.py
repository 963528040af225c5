"""An example of each answer of the API, for its OpenAPI document; a test holds each against its schema."""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

_USAGE: Example = {
    "held_device_seconds": 28_790.0,
    "busy_seconds": 25_100.0,
    "state_seconds": {"working": 26_000.0, "idle": 2_790.0},
    "throttled_seconds": {"sw_power_cap": 120.0},
    "energy_joules": {"counter": 9_750_000.0},
    "energy_unmeasured_seconds": 0.0,
    "energy_gap_seconds": 2.0,
    "memory_byte_seconds": 1.6e15,
    "tensor_seconds": 8_200.0,
    "clock_cycles": 4.4e13,
    "clock_seconds": 26_000.0,
    "storage_wait_seconds": 310.0,
    "link_bytes": {"pcie_receive": 3.1e12, "nvlink_transmit": 9.4e13},
    "errors": {"ecc_corrected": 0.0},
    "first_working": 1_764_000_042.0,
    "last_in_state": {"working": 1_764_003_599.0, "idle": 1_764_002_000.0},
    "host_energy_joules": 390_000.0,
    "host_energy_measured_seconds": 3_590.0,
}
_PROGRESS: Example = {
    "step": 250.0, "total": 1000.0, "start_step": 0.0, "ratio": 0.25, "time": 1_764_003_590.0, "best": 250.0,
    "lost": 0.0, "other_totals": [],
}  # fmt: skip
ESTIMATE: Example = {
    "low": 36_000.0, "likely": 43_200.0, "high": 57_600.0, "unit": "s", "basis": "pilot",
    "declared_by": "uid:1000", "declared_at": 1_764_000_012.0, "channel": "socket",
}  # fmt: skip
JOB: Example = {
    "job": "4711", "job_id": "4711", "display": "4711", "name": "llama-ft", "uid": 1000, "user": "ada",
    "account": "ml", "partition": "gpu", "qos": "normal", "submitted": 1_763_999_900, "ended": None,
    "outcome": "RUNNING", "limit_seconds": 86_400.0, "device_count": 8.0, "device_count_rule": "generic",
    "device_count_doubt": None, "device_indices": {"gw0": [0, 1, 2, 3, 4, 5, 6, 7]},
    "attempts": [{
        "started": 1_764_000_000, "last_seen": 1_764_003_600.0, "outcome": "RUNNING", "device_seconds": 28_800.0,
        "allocated_device_seconds": 28_800.0, "held_device_seconds": 28_790.0, "progress": _PROGRESS,
    }],
    "cluster": "hydra", "state": "running", "exit_code": None, "started": 1_764_000_000,
    "last_seen": 1_764_003_600.0, "wall_seconds": 3600.0, "nodes": ["gw0"], "devices": ["GPU-0"],
    "models": ["H100"], "campaign": "llama", "tags": {"params": "7e9"}, "device_seconds": 28_800.0,
    "allocated_device_seconds": 28_800.0,
    **_USAGE, "coverage_ratio": 0.9997, "partial": False, "allocation_differs": False,
    "cost": {"EUR": 25.60}, "facility_joules": 27_700_000.0, "carbon_grams": 2924.0, "rates": ["0c9f3be7a412"],
    "progress": _PROGRESS,
    "declared": {"device-hours": ESTIMATE},
    "forecasts": {"device-hours": {
        "used": 28_800.0, "quantiles": {"0.1": 100_800.0, "0.5": 115_200.0, "0.9": 133_200.0},
        "basis": "its burn-up at 25 % of 1,000 steps", "time": 1_764_003_600.0,
        "against": "declared", "reference": 57_600.0, "p_over": 0.97,
        "crosses_at": 1_764_007_200.0, "crosses_from": 1_764_007_200.0, "crosses_to": 1_764_007_200.0,
        "p_limit": 0.02, "stage": "0.5", "record": "no record at this site yet (n=12)",
    }},
    "expectation": None,
    "alerts": [{
        "kind": "projected", "quantity": "device-hours", "severity": "warning", "since": 1_764_000_600.0,
        "value": 115_200.0, "declared": 57_600.0,
        "text": "job 4711 is projected to need 32 device-hours (80 % between 28 and 37), 100 % more than the 16"
        " declared by uid:1000 at 2025-11-24 16:00Z",
    }],
}  # fmt: skip
_QUALITY: Example = {
    "figures": {"energy": {
        "unit": "J", "by_method": {"counter": 9_750_000.0}, "covered_device_seconds": 28_790.0,
        "charged_device_seconds": 28_800.0, "coverage_ratio": 0.9997, "partial": False, "longest_gap_seconds": 0.0,
        "missing": [{"why": "no agent told of it", "device_seconds": 10.0}],
    }},
    "allocated_device_seconds": 28_800.0, "held_device_seconds": 28_790.0, "allocation_difference_ratio": -0.0003,
    "allocation_differs": False, "allocation_difference": None, "allocation_missing": [],
    "host_energy_measured_seconds": 3_590.0, "node_seconds": 3_600.0, "host_energy_coverage_ratio": 0.9972,
}  # fmt: skip
QUALITY: Example = {"jobs": [{"job": "4711", "cluster": "hydra", **_QUALITY}], "next": None}
HISTORY: Example = {
    "job": "4711", "cluster": "hydra",
    "points": [{
        "time": 1_764_000_059.0, "held_device_seconds": 472.0, "working_seconds": 136.0, "energy_joules": 98_000.0,
    }],
}  # fmt: skip
FORECASTS: Example = {
    "job": "4711", "cluster": "hydra",
    "burnup": [
        [1_764_000_060.0, 480.0, 163_000.0, None, None], [1_764_003_600.0, 28_800.0, 9_750_000.0, 250.0, 1000.0],
    ],
    "points": {"device-hours": [{
        "started": 1_764_000_000, "time": 1_764_001_800.0, "used": 14_400.0, "declared": 57_600.0, "p_over": 0.61,
        "crosses_at": 1_764_007_200.0, "quantiles": {"0.1": 41_100.0, "0.5": 70_300.0, "0.9": 97_000.0},
    }]},
}  # fmt: skip
JOBS: Example = {"jobs": [JOB], "next": "WzE3NjQwMDAwMDAsIjQ3MTEiXQ"}
_REVISION: Example = {
    "quantity": "device-hours", "in_force": True, "original": True, "after_end": False, **ESTIMATE,
}  # fmt: skip
DECLARE: Example = {"text": "device-hours=10..12..16 basis=pilot for=job:4711"}
DECLARATIONS: Example = {
    "scope": "job:4711", "cluster": "hydra",
    "declarations": [{**_REVISION, "declared_by": "user:ada", "channel": "api"}],
}  # fmt: skip
REFUSALS: Example = {
    "refusals": [{
        "time": 1_764_000_012.0, "who": "bob", "uid": 1001, "identified_by": "socket",
        "text": "device-hours=12 for=account:ml",
        "reason": "for=account:ml: there is none of that name, or it is not yours to declare for; its coordinators"
        " and admins may",
    }],
}  # fmt: skip
ONE_JOB: Example = {
    **JOB,
    "revisions": [_REVISION],
    "alert_history": [{"time": 1_764_000_600.0, "what": "raised", **JOB["alerts"][0]}],
    "by_device": {"GPU-0": {"held_seconds": 3598.75, **_USAGE}},
    "quality": _QUALITY,
    "bases": ["PUE 1.25 (meter, 2026)", "grid 380 g CO2e/kWh (site, 2026)"],
    "advice": [{
        "kind": "idle", "device_seconds": 2790.0,
        "text": "at most 0.78 device-hours (10 % of what was held, 2.48 EUR) were idle between work: let loading,"
        " evaluation and saving go on beside it, or ask for fewer devices",
    }],
    "others": [],
}  # fmt: skip
ESTIMATES: Example = {
    "estimates": [{
        "scope_kind": "job", "scope": "4711", "cluster": "hydra", "quantity": "device-hours", **ESTIMATE,
        "used": 28_800.0, "quantiles": {"0.5": 115_200.0},
    }],
    "next": None,
}  # fmt: skip
_QUANTILES: Example = {
    "0.025": None, "0.1": 432_000.0, "0.25": 576_000.0, "0.5": 738_000.0, "0.75": 936_000.0, "0.9": 1_116_000.0,
    "0.975": None,
}  # fmt: skip
EXPECTATIONS: Example = {
    "since": 1_732_464_000.0, "jobs": 24,
    "spreads": {"device-hours": {
        "quantiles": _QUANTILES, "n": 24, "cut": 1, "least": 401_000.0, "most": 1_240_000.0,
    }},
    "endings": [
        {"ending": "completed", "jobs": 23, "device_seconds": 17_300_000.0},
        {"ending": "timed out", "jobs": 1, "device_seconds": 1_240_000.0},
        {"ending": "failed", "jobs": 4, "device_seconds": 210_000.0},
    ],
    "declared_device_seconds": None, "ratio": None, "applied": None,
    "nearest": [{
        "display": "4698", "name": "train-11", "user": "ada", "account": "ml", "cluster": "hydra",
        "started": 1_763_900_000.0, "ended": 1_763_992_000.0, "ending": "completed", "device_seconds": 736_000.0,
        "wall_seconds": 92_000.0, "energy_joules": 2.5e8, "declared_device_seconds": None,
    }],
}  # fmt: skip
_GROUP: Example = {
    "name": "2026-11", "device_seconds": 28_800.0, "allocated_device_seconds": 28_800.0,
    "held_device_seconds": 28_790.0, "cpu_seconds": 115_200.0, "energy_joules": 9_750_000.0,
    "host_joules": 390_000.0, "facility_joules": 12_675_000.0, "cost": {"EUR": 16.0},
    "carbon_grams": 1232.3, "jobs": 1, "unknown_jobs": 0,
}  # fmt: skip
USAGE: Example = {
    "by": "month", "from": 1_761_955_200.0, "to": 1_764_003_600.0, "timezone": "UTC", "groups": [_GROUP],
    "total": {**_GROUP, "name": None}, "bases": ["PUE 1.25 (meter, 2026)", "grid 380 g CO2e/kWh (site, 2026)"],
}  # fmt: skip
CAMPAIGN: Example = {
    "campaign": "llama", "state": "running", "started": 1_764_000_000, "last_seen": 1_764_003_600.0,
    "wall_seconds": 3600.0, "jobs": 1, "complete": True, "device_seconds": 28_800.0,
    "allocated_device_seconds": 28_800.0, **_USAGE,
    "chains": [{
        "jobs": ["4711"], "silent_jobs": 0, "runs": 1, "restarts": 0, "state": "running", "finished": False,
        "started": 1_764_000_000, "last_seen": 1_764_003_600.0, "step": 250.0, "total": 1000.0,
        "totals": [1000.0], "start_step": 0.0, "ratio": 0.25, "time": 1_764_003_590.0, "made_steps": 250.0,
        "skipped_steps": 0.0, "lost_steps": 0.0, "lost_ratio": 0.0, "lost_device_seconds": 0.0,
        "device_seconds": 28_800.0, "gap_seconds": 0.0,
    }],
    "declared": {}, "forecasts": {},
}  # fmt: skip
CAMPAIGNS: Example = {"campaigns": [CAMPAIGN], "next": None}
ONE_CAMPAIGN: Example = {**CAMPAIGN, "members": [JOB]}
BUDGET: Example = {
    "account": "ml", "cluster": "hydra", "resource": "gres/gpu", "time": 1_764_003_600.0,
    "granted_seconds": 3_600_000.0, "used_seconds": 1_800_000.0, "left_seconds": 1_800_000.0,
    "running_seconds": 662_400.0, "waiting_seconds": 0.0, "running_jobs": 1, "waiting_jobs": 0,
    "expected_low_seconds": 410_400.0, "expected_seconds": 518_400.0, "expected_high_seconds": 622_800.0,
    "expected_jobs": 1, "over_probability": 0.0,
    "unlimited_jobs": 0, "left_after_committed_seconds": 1_137_600.0, "seconds_per_second": 2.5,
    "pace_period_seconds": 604_800.0,
    "runs_out": 1_764_723_600.0, "source": "slurm", "seen": 1_764_003_000.0, "starts": None, "ends": None,
    "recorded_seconds": 1_799_000.0, "recorded_since": 1_761_955_200.0, "unknown_jobs": 0,
    "words": [{
        "source": "slurm", "seen": 1_764_003_000.0, "starts": None, "ends": None, "used_seconds": 1_800_000.0,
        "recorded_seconds": 1_799_000.0,
    }],
    "parent": "science", "within": None, "accounts": [], "coordinators": ["grace"],
    "users": [{
        "user": "ada", "granted_seconds": None, "reported_seconds": 1_800_000.0, "recorded_seconds": 1_799_000.0,
    }],
}  # fmt: skip
BUDGETS: Example = {"budgets": [BUDGET]}
RATES: Example = {
    "versions": [{"version": "5f3a9c", "since": 1_761_955_200.0, "text": '[[price]]\nmodel = "H100"\n'}]
}
ME: Example = {
    "name": "ada", "uid": 1000, "cluster": "hydra", "roles": ["self"], "accounts": [], "identified_by": "socket",
}  # fmt: skip
OPENAPI: Example = {"openapi": "3.1.0", "info": {"title": "gpuwatch accounting", "version": "1"}, "paths": {}}
