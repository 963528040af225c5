"""Alerts as Alertmanager has them: the labels that make one the same alert, and its JSON. Pure.

Names, labels and summaries are those of deploy/prometheus, so that an alert that comes both ways is one. Values
are in annotations alone: in a label, each would be another alert.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from gpuwatch import hygiene
from gpuwatch.model import EMPTY, Alert
from gpuwatch.notifiers.kinds import KINDS, kind_of

FIXED = ("alertname", "kind", "scope_kind", "scope", "quantity", "severity")
"""The labels of every alert, but for those that are empty."""

DESCRIPTION_LENGTH = 4000

Labels = tuple[tuple[str, str], ...]
"""Names and values in order: an alert's identity."""


@dataclass(frozen=True, slots=True)
class Dress:
    """What is added to every alert: `labels`, and where its page and its origin are; empty for nowhere."""

    labels: Mapping[str, str] = EMPTY
    runbooks: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """An alert to be told; `ended`, Unix seconds, is None while it is active."""

    labels: Labels
    alert: Alert
    ended: float | None = None


class Moment(NamedTuple):
    """When something is told, and until when it holds if nothing more is heard; Unix seconds."""

    now: float
    until: float


def labels_of(alert: Alert, dress: Dress) -> Labels:
    """Its identity; Prometheus' rules give the same, with `dress.labels` as external labels."""
    own = {
        "alertname": kind_of(alert.kind).alertname,
        "kind": alert.kind,
        "scope_kind": alert.scope.kind,
        "scope": alert.scope.name,
        "quantity": alert.quantity,
        "severity": alert.severity,
    }
    labels = {name: hygiene.label(value) for name, value in {**dress.labels, **own}.items()}
    return tuple(sorted((name, value) for name, value in labels.items() if value))


def document(entry: Entry, moment: Moment, ahead: float, dress: Dress) -> dict[str, object]:
    """An alert for `POST /api/v2/alerts`, by the clock of a server that is `ahead` seconds before ours."""
    now = moment.now + ahead
    ends = moment.until + ahead if entry.ended is None else min(entry.ended + ahead, now)
    since = entry.alert.since
    # A clock that was wrong when it was raised: nothing may end before it starts.
    starts = since if 0.0 <= since <= ends else ends
    if entry.ended is None:
        starts = min(starts, now)
    described: dict[str, object] = {
        "labels": dict(entry.labels),
        "annotations": dict(_annotations(entry, dress)),
        "startsAt": _rfc3339(starts),
        "endsAt": _rfc3339(ends),
    }
    return described | ({"generatorURL": dress.origin} if dress.origin else {})


def _annotations(entry: Entry, dress: Dress) -> Iterator[tuple[str, str]]:
    alert = entry.alert
    kind = kind_of(alert.kind)
    yield "summary", kind.summary
    if described := hygiene.text(_shortened(alert), DESCRIPTION_LENGTH):
        yield "description", described
    if dress.runbooks and alert.kind in KINDS:
        yield "runbook_url", f"{dress.runbooks.rstrip('/')}/{kind.alertname}"
    for name, value in (("value", alert.value), ("declared", alert.declared)):
        if math.isfinite(value):
            yield name, f"{value:.6g}"


def _shortened(alert: Alert) -> str:
    """Its text with a name as long as that of its label, so that the numbers behind it are not cut off."""
    name = alert.scope.name
    return alert.text.replace(name, hygiene.label(name)) if len(name) > hygiene.LABEL_LENGTH else alert.text


def _rfc3339(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
