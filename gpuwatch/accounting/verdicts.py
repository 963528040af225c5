"""Whether an alert was right, and what its owner did about it: told at its end by how it ended. Pure.

Nobody can tell of a projection whose job was cancelled, or for which more was declared meanwhile: it may have been
the reason for that.
"""

from __future__ import annotations

from gpuwatch.accounting.alerts import Gone
from gpuwatch.accounting.overruns import LIMIT, PROJECTED
from gpuwatch.ledger.episodes import Acted, Episode, Verdict
from gpuwatch.ledger.jobs import Campaign, Job, used
from gpuwatch.ledger.lost_work import outcome_of
from gpuwatch.notifiers.kinds import kind_of

LASTING_SECONDS = 3600.0
"""What a device is told of is right where it lasted for so long."""

_AT_REST = frozenset({"idle", "hung", "no_start", "stalled_progress"})
_CANCELLED = frozenset({"CANCELLED"})
_LIMITED = frozenset({"TIMEOUT", "DEADLINE"})


def acted(gone: Gone, began: Episode | None, scope: Job | Campaign | None) -> Acted:
    """What the owner did: cancelled it, or declared more."""
    if gone.how == "ended" and _outcome(scope) in _CANCELLED:
        return "cancelled"
    raised = began.raised if began is not None else gone.standing.alert.since
    revisions = scope.revisions if scope is not None else ()
    quantity = gone.standing.alert.quantity
    declared = any(
        each.in_force and each.estimate.quantity == quantity and each.estimate.declared_at > raised
        for each in revisions
    )
    return "declared" if declared else ""


def verdict(gone: Gone, began: Episode | None, scope: Job | Campaign | None, did: Acted, now: float) -> Verdict:
    """Whether what was said came true; empty where nobody can tell."""
    kind = gone.standing.alert.kind
    if kind_of(kind).fact:
        return "right"
    if kind == PROJECTED:
        return _of_projection(gone, scope, did)
    if kind == LIMIT:
        return _of_limit(gone, scope)
    if kind in _AT_REST:
        # Whoever worked again by himself needed no alert; whoever ended without was told rightly.
        return "right" if gone.how == "ended" else "wrong" if gone.how == "cleared" else ""
    raised = began.raised if began is not None else gone.standing.alert.since
    return "right" if now - raised >= LASTING_SECONDS else "wrong"


def _of_projection(gone: Gone, scope: Job | Campaign | None, did: Acted) -> Verdict:
    if gone.how == "exceeded":
        return "right"
    if gone.how == "ended":
        # It may have gone on and come to its end since it was last looked at.
        alert = gone.standing.alert
        final = used(scope, alert.quantity) if scope is not None else None
        if final is not None and final > alert.declared:
            return "right"
    return "" if did or gone.how == "floor" else "wrong"


def _of_limit(gone: Gone, scope: Job | Campaign | None) -> Verdict:
    outcome = _outcome(scope)
    if gone.how != "ended" or not outcome:
        return ""
    if outcome in _LIMITED:
        return "right"
    return "wrong" if outcome == "COMPLETED" else ""


def _outcome(scope: Job | Campaign | None) -> str:
    """How a job ended; empty where nobody knows, and of what is no job."""
    return outcome_of(scope, scope.runs[-1]) if isinstance(scope, Job) and scope.runs else ""
