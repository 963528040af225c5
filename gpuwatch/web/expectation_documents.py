"""What others came to, as the API answers it: base units, null for what is not known (docs/api.md)."""

from __future__ import annotations

from typing import Any

from gpuwatch.estimates.history import Likeness, Spread
from gpuwatch.ledger.past import PastJob
from gpuwatch.model import Expectation

Document = dict[str, Any]


def expectation_document(expectation: Expectation | None) -> Document | None:
    """What a job that declares nothing may come to."""
    if expectation is None:
        return None
    return {
        "quantity": expectation.quantity,
        "quantiles": {f"{q:g}": value for q, value in expectation.quantiles.items()},
        "n": expectation.n,
        "basis": expectation.basis,
    }


def likeness_document(likeness: Likeness) -> Document:
    """What jobs of a kind came to."""
    return {
        "jobs": likeness.n,
        "spreads": {quantity: _spread_document(each) for quantity, each in likeness.spreads.items()},
        "endings": [
            {"ending": each.ending, "jobs": each.jobs, "device_seconds": each.device_seconds}
            for each in likeness.endings
        ],
        "declared_device_seconds": likeness.declared_seconds,
        "ratio": _spread_document(likeness.ratio) if likeness.ratio else None,
        "applied": _spread_document(likeness.applied) if likeness.applied else None,
        "nearest": [_past_document(each) for each in likeness.nearest],
    }


def _spread_document(spread: Spread) -> Document:
    return {
        "quantiles": {f"{q:g}": value for q, value in spread.quantiles.items()},
        "n": spread.n,
        "cut": spread.cut,
        "least": spread.least,
        "most": spread.most,
    }


def _past_document(job: PastJob) -> Document:
    return {
        "display": job.display,
        "name": job.name or None,
        "user": job.user or None,
        "account": job.account or None,
        "cluster": job.cluster,
        "started": job.started,
        "ended": job.ended,
        "ending": job.ending,
        "device_seconds": job.device_seconds,
        "wall_seconds": job.wall_seconds,
        "energy_joules": job.joules,
        "declared_device_seconds": job.declared_seconds,
    }
