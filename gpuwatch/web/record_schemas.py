"""The shapes of burn-ups, outcomes and the record in JSON Schema, each with an example."""

from __future__ import annotations

from typing import Any

from gpuwatch.web.schemas import ANY_NUMBER, ANY_TEXT, NEXT, NUMBER, TEXT, WHOLE, Schema

Example = dict[str, Any]


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties, "required": [*properties]}


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_POINT: Schema = {
    "type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2, "description": "time and device-seconds",
}  # fmt: skip
BURNUPS = _object({
    "burnups": _list_of(_object({"job": TEXT, "cluster": TEXT, "points": _list_of(_POINT)})), "next": NEXT,
})  # fmt: skip
BURNUPS_EXAMPLE: Example = {
    "burnups": [{
        "job": "4711", "cluster": "hydra", "points": [[1_764_000_060.0, 480.0], [1_764_003_600.0, 28_800.0]],
    }],
    "next": None,
}  # fmt: skip

OUTCOMES = _object({
    "since": NUMBER, "jobs": WHOLE,
    "outcomes": _list_of(_object({
        "job": TEXT, "display": TEXT, "name": ANY_TEXT, "user": ANY_TEXT, "account": ANY_TEXT, "cluster": TEXT,
        "started": NUMBER, "ended": NUMBER, "ending": TEXT, "declared_device_seconds": NUMBER,
        "device_seconds": NUMBER,
    })),
})  # fmt: skip
OUTCOMES_EXAMPLE: Example = {
    "since": 1_756_227_600.0, "jobs": 24,
    "outcomes": [{
        "job": "4698", "display": "4698", "name": "train-11", "user": "ada", "account": "ml", "cluster": "hydra",
        "started": 1_763_900_000.0, "ended": 1_763_992_000.0, "ending": "completed",
        "declared_device_seconds": 576_000.0, "device_seconds": 736_000.0,
    }],
}  # fmt: skip

RECORD = _object({
    "quantity": TEXT, "forecasts": WHOLE,
    "intervals": _list_of(_object({
        "stage": ANY_TEXT, "promised": NUMBER, "held": ANY_NUMBER, "forecasts": WHOLE,
    })),
})  # fmt: skip
RECORD_EXAMPLE: Example = {
    "quantity": "device-hours", "forecasts": 812,
    "intervals": [{"stage": None, "promised": 0.8, "held": 0.81, "forecasts": 812}],
}  # fmt: skip
