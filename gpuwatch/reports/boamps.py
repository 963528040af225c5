"""A statement in the report format of BoAmps (Boavizta, CC BY): what it asks for and the ledger knows. Pure.

What BoAmps requires and the ledger cannot know is absent, and named in `missing`; tags of the jobs tell most of
it: `stage`, `family`, `algorithm`, `country`, `infrastructure`. Energy is that of devices, in kWh.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gpuwatch.reports.statement import ModelRow, Statement

SPECIFICATION = "https://github.com/Boavizta/BoAmps/tree/main/model"
_KWH = 3.6e6
_INFRASTRUCTURE = ("publicCloud", "privateCloud", "onPremise", "other")


def boamps(made: Statement) -> dict[str, Any]:
    """The report; `missing` names required fields that nobody said."""
    tags = _tags(made)
    report: dict[str, Any] = {
        "header": _without_none({
            "licensing": made.asked.licence or None,
            "formatVersionSpecificationUri": SPECIFICATION,
            "reportId": made.id,
            "reportDatetime": _time(made.made),
            "reportStatus": "draft" if made.goes_on else "final",
        }),
        "task": _task(made, tags),
        "measures": _measures(made),
        "infrastructure": _without_none({
            "infraType": tags.get("infrastructure") if tags.get("infrastructure") in _INFRASTRUCTURE else None,
            "components": [_component(each) for each in made.models],
        }),
        "environment": _without_none({
            "country": tags.get("country"),
            "powerSourceCarbonIntensity": _intensity(made),
        }),
    }  # fmt: skip
    quality = _quality(made)
    if quality is not None:
        report["quality"] = quality
    report["missing"] = _missing(report)
    return report


def _tags(made: Statement) -> dict[str, str]:
    """What all jobs that have a tag say alike."""
    said: dict[str, set[str]] = {}
    for row in made.runs:
        for key, value in row.tags.items():
            said.setdefault(key, set()).add(value)
    return {key: values.pop() for key, values in said.items() if len(values) == 1}


def _task(made: Statement, tags: dict[str, str]) -> dict[str, Any]:
    computed = made.computed
    algorithm = _without_none({
        "algorithmType": tags.get("algorithm"),
        # Billions, as its schema has it.
        "parametersNumber": None if computed.parameters is None else computed.parameters / 1e9,
        "quantization": computed.precision or None,
    })  # fmt: skip
    dataset = (
        [] if computed.tokens is None
        else [{"dataUsage": "input", "dataType": "token", "dataQuantity": computed.tokens}]
    )  # fmt: skip
    return _without_none({
        "taskStage": tags.get("stage"),
        "taskFamily": tags.get("family"),
        "algorithms": [algorithm] if algorithm else None,
        "dataset": dataset or None,
        "taskDescription": made.purpose or None,
    })  # fmt: skip


def _measures(made: Statement) -> list[dict[str, Any]]:
    """What was measured; nothing where nothing was, and never an estimate in its place."""
    energy = made.total.device_energy.value
    if energy is None or made.begins is None:
        return []
    methods = "+".join(made.by_method) or "nvml"
    return [
        _without_none({
            "measurementMethod": "gpuwatch",
            "version": made.version,
            "gpuTrackingMode": methods,
            "powerConsumption": energy / _KWH,
            "measurementDuration": made.run_wall_seconds,
            "measurementDateTime": _time(made.begins),
        })
    ]  # fmt: skip


def _component(model: ModelRow) -> dict[str, Any]:
    return _without_none({
        "componentName": model.name or None,
        "componentType": "gpu",
        "nbComponent": model.devices,
    })  # fmt: skip


def _intensity(made: Statement) -> float | None:
    """The mean that counted: carbon over facility energy."""
    carbon, energy = made.total.carbon.value, made.total.facility_energy.value
    return None if carbon is None or not energy else carbon / (energy / _KWH)


def _quality(made: Statement) -> str | None:
    """Its three classes: within 10, 25 or 50 %."""
    energy = made.total.device_energy
    if energy.value is None or energy.low is None or energy.high is None or energy.value <= 0:
        return None if energy.value is None else "low"
    off = max(energy.high / energy.value - 1, 1 - energy.low / energy.value)
    return "high" if off <= 0.1 else "medium" if off <= 0.25 else "low"


_REQUIRED = (
    ("task", "taskStage"), ("task", "taskFamily"), ("task", "algorithms"), ("task", "dataset"),
    ("infrastructure", "infraType"), ("environment", "country"),
)  # fmt: skip


def _missing(report: dict[str, Any]) -> list[str]:
    missing = [f"{room}.{name}" for room, name in _REQUIRED if name not in report[room]]
    return missing + ([] if report["measures"] else ["measures"])


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _time(time: float) -> str:
    """UTC, as the format writes it."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S}"
