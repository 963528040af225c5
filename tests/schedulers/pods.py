"""Made-up pods as the API server has them. Times are seconds after midnight of 1 May 2026 UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

MIDNIGHT = datetime(2026, 5, 1, tzinfo=UTC).timestamp()


def at(seconds: float) -> float:
    """Unix seconds."""
    return MIDNIGHT + seconds


def written(seconds: float) -> str:
    """As Kubernetes writes it."""
    return datetime.fromtimestamp(at(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ended(finished: float, code: int = 0, reason: str = "Completed") -> dict[str, Any]:
    """The status of a container that has ended."""
    return {"state": {"terminated": {"exitCode": code, "reason": reason, "finishedAt": written(finished)}}}


RUNNING = {"state": {"running": {"startedAt": written(20)}}}


def pod(
    name: str,
    requests: Mapping[str, str] | None = None,
    *,
    namespace: str = "ml",
    phase: str = "Running",
    start: float | None = 10,
    owner: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
    containers: list[Mapping[str, Any]] | None = None,
    metadata: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    **status: Any,
) -> dict[str, Any]:
    """A pod made at second 0; `requests` are those of its one container, `containers` their statuses."""
    asked = {"nvidia.com/gpu": "1"} if requests is None else requests
    return {
        "metadata": {
            "name": name, "namespace": namespace, "uid": f"uid-{name}", "creationTimestamp": written(0),
            "annotations": annotations or {}, "ownerReferences": [owner] if owner else [], **(metadata or {}),
        },
        "spec": {
            "containers": [{"name": "main", "resources": {"requests": asked}}],
            **({"nodeName": "n1"} if start is not None else {}), **(spec or {}),
        },
        "status": {
            "phase": phase, **({"startTime": written(start)} if start is not None else {}),
            "containerStatuses": containers or [], **status,
        },
    }  # fmt: skip
