"""The shapes of what the API says of alerts, in JSON Schema."""

from __future__ import annotations

from gpuwatch.ledger.quieting import REASON_LENGTH, WHO_MAY
from gpuwatch.notifiers.kinds import KINDS
from gpuwatch.web.schemas import (
    ANY_NUMBER,
    ANY_TEXT,
    FLAG,
    NEXT,
    NUMBER,
    TEXT,
    WHOLE,
    Schema,
    _list_of,
    _object,
)

_MODE: Schema = {"type": "string", "enum": ["told", "observed", "muted"]}
_ALERT: dict[str, Schema] = {
    "id": WHOLE, "cluster": TEXT, "kind": TEXT, "scope_kind": TEXT, "scope": TEXT, "quantity": TEXT,
    "severity": {"type": "string", "enum": ["info", "warning", "critical"]}, "level": WHOLE, "mode": _MODE,
    "raised": NUMBER, "resolved": ANY_NUMBER, "reopened": WHOLE, "value": NUMBER, "declared": NUMBER, "text": TEXT,
    "user": ANY_TEXT, "account": ANY_TEXT, "partition": ANY_TEXT, "name": ANY_TEXT,
    "how": {"enum": ["ended", "cleared", "exceeded", "floor", None]},
    "verdict": {"enum": ["right", "wrong", None]},
    "acted": {"enum": ["cancelled", "declared", "acknowledged", "muted", None]},
    "acknowledged_by": ANY_TEXT, "acknowledged": ANY_NUMBER,
}  # fmt: skip
ALERT = _object(_ALERT)
ALERTS = _object({"alerts": _list_of(ALERT), "next": NEXT})
MUTE = _object({
    "number": WHOLE, "scope": TEXT, "kind": ANY_TEXT, "quantity": ANY_TEXT, "reason": TEXT, "who": TEXT,
    "made": NUMBER, "until": ANY_NUMBER, "lifted": ANY_NUMBER, "lifted_by": ANY_TEXT, "in_force": FLAG,
})  # fmt: skip
MUTES = _object({"mutes": _list_of(MUTE)})
_CHANGE = _object({"time": NUMBER, "what": TEXT, "mode": _MODE, "severity": TEXT, "text": TEXT})
_TOLD = _object({"notifier": TEXT, "recipient": TEXT, "time": NUMBER, "over": FLAG})
_RECORD = _object({"raised": WHOLE, "right": WHOLE, "wrong": WHOLE, "words": TEXT})
WHY = _object({
    "scope": TEXT, "cluster": TEXT, "more": WHOLE,
    "alerts": _list_of(_object({
        **_ALERT, "details": _list_of(TEXT), "history": _list_of(_CHANGE), "told": _list_of(_TOLD),
        "waiting": _list_of(TEXT), "why": ANY_TEXT, "muted_by": {"anyOf": [MUTE, {"type": "null"}]},
        "record": _RECORD,
    })),
})  # fmt: skip
MUTED = _object({"scope": TEXT, "mute": MUTE, "alerts": _list_of(ALERT)})
ACKNOWLEDGED = _object({"scope": TEXT, "alerts": _list_of(ALERT)})

_SCOPE: Schema = {
    "type": "string", "minLength": 1, "maxLength": 300,
    "description": f"the id of a job, or {', '.join(f'{kind}:NAME' for kind in WHO_MAY)}",
}  # fmt: skip
_KIND: Schema = {"type": "string", "enum": ["", *KINDS], "description": "one kind of alert; empty: each"}


def _body(properties: dict[str, Schema]) -> Schema:
    return {
        "type": "object", "properties": properties, "required": [*properties], "additionalProperties": False,
    }  # fmt: skip


MUTE_BODY = _body({
    "scope": _SCOPE, "kind": _KIND,
    "quantity": {"type": "string", "maxLength": 128, "description": "one quantity, as device-hours; empty: each"},
    "for": {
        "type": "string", "pattern": "^([1-9][0-9]{0,5}[mhdw]|forever)$",
        "description": "how long, as 2h, 7d or 2w; or forever",
    },
    "reason": {"type": "string", "minLength": 1, "maxLength": REASON_LENGTH, "description": "why"},
})  # fmt: skip
UNMUTE_BODY = _body({
    "number": {"type": "string", "pattern": "^[0-9]{1,9}$", "description": "that of the mute, as text"},
})  # fmt: skip
ACKNOWLEDGE_BODY = _body({"scope": _SCOPE, "kind": _KIND})
