"""An example of each answer of the API about alerts; a test holds each against its schema."""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

ALERT: Example = {
    "id": 17, "cluster": "hydra", "kind": "projected", "scope_kind": "job", "scope": "4711",
    "quantity": "device-hours", "severity": "warning", "level": 0, "mode": "told", "raised": 1_764_000_600.0,
    "resolved": None, "reopened": 0, "value": 115_200.0, "declared": 57_600.0,
    "text": "job 4711 is projected to need 32 device-hours (80 % between 28 and 37), 100 % more than declared",
    "user": "ada", "account": "ml", "partition": "gpu", "name": "llama-ft", "how": None, "verdict": None,
    "acted": "acknowledged", "acknowledged_by": "ada", "acknowledged": 1_764_001_200.0,
}  # fmt: skip
ALERTS: Example = {"alerts": [ALERT], "next": None}
MUTE: Example = {
    "number": 3, "scope": "job:4711", "kind": "idle", "quantity": None, "reason": "waits for data until Friday",
    "who": "ada", "made": 1_764_001_200.0, "until": 1_764_606_000.0, "lifted": None, "lifted_by": None,
    "in_force": True,
}  # fmt: skip
MUTES: Example = {"mutes": [MUTE]}
WHY: Example = {
    "scope": "job:4711", "cluster": "hydra", "more": 0,
    "alerts": [{
        **ALERT, "details": ["used 8 device-hours, 16 declared by ada", "projected 32, 80 % between 28 and 37"],
        "history": [{
            "time": 1_764_000_600.0, "what": "raised", "mode": "told", "severity": "warning",
            "text": "job 4711 is projected to need 32 device-hours",
        }],
        "told": [{"notifier": "apprise", "recipient": "user:ada", "time": 1_764_000_601.0, "over": False}],
        "waiting": [], "why": "told to owners: rule 1 of `tell` has it", "muted_by": None,
        "record": {"raised": 40, "right": 29, "wrong": 5, "words": "29 of 34 were right (85 %)"},
    }],
}  # fmt: skip
MUTED: Example = {"scope": "job:4711", "alerts": [], "mute": MUTE}
ACKNOWLEDGED: Example = {"scope": "job:4711", "alerts": [ALERT]}
MUTE_BODY: Example = {
    "scope": "job:4711", "kind": "idle", "quantity": "", "for": "7d", "reason": "waits for data until Friday"
}  # fmt: skip
UNMUTE_BODY: Example = {"number": "3"}
ACKNOWLEDGE_BODY: Example = {"scope": "job:4711", "kind": ""}
