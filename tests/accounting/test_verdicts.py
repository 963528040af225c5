"""Whether alerts were right, and what was done about them."""

from __future__ import annotations

from typing import Any

import pytest

from gpuwatch.accounting.alerts import Gone
from gpuwatch.accounting.verdicts import LASTING_SECONDS, acted, verdict
from gpuwatch.ledger.alert_store import Standing
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import Alert, Estimate, Scope
from tests.ledger import made

JOB = Scope("job", "7")
RAISED = 1000.0
NOW = RAISED + 600.0


def gone(kind: str, how: str) -> Gone:
    alert = Alert(kind, JOB, "energy", "warning", RAISED, 2.0, 36_000.0, "text")
    return Gone(Standing(alert), how)  # type: ignore[arg-type]


def ended(outcome: str, **changed: Any) -> Job:
    usage = made.used({"working": 100.0}, energy_joules={"counter": 30_000.0})
    return made.job(made.run([made.line(usage)], outcome=outcome), state="ended", **changed)


@pytest.mark.parametrize(
    ("kind", "how", "outcome", "expected"),
    [
        ("projected", "exceeded", "COMPLETED", "right"), ("projected", "ended", "COMPLETED", "wrong"),
        ("projected", "cleared", "", "wrong"), ("projected", "ended", "CANCELLED", ""),
        ("projected", "floor", "", ""),
        ("limit", "ended", "TIMEOUT", "right"), ("limit", "ended", "COMPLETED", "wrong"),
        ("limit", "ended", "FAILED", ""), ("limit", "cleared", "", ""),
        ("idle", "ended", "COMPLETED", "right"), ("idle", "cleared", "", "wrong"),
        ("hung", "ended", "CANCELLED", "right"), ("no_start", "cleared", "", "wrong"),
        ("exceeded", "ended", "COMPLETED", "right"), ("pace", "cleared", "", "right"),
        ("throttled", "cleared", "", "wrong"),
    ],
)  # fmt: skip
def test_how_it_ended_says_whether_it_was_right(kind: str, how: str, outcome: str, expected: str) -> None:
    """What nobody can tell is neither right nor wrong."""
    over, job = gone(kind, how), ended(outcome)

    assert expected == verdict(over, None, job, acted(over, None, job), NOW)


def test_what_a_device_did_for_an_hour_was_right() -> None:
    """Whatever made an end of it."""
    assert "right" == verdict(gone("throttled", "cleared"), None, None, "", RAISED + LASTING_SECONDS)


def test_what_came_true_at_the_very_end_was_right() -> None:
    """The job used more than declared after it was last looked at, and ended."""
    usage = made.used({"working": 100.0}, energy_joules={"counter": 40_000.0})
    job = made.job(made.run([made.line(usage)], outcome="COMPLETED"), state="ended")

    assert "right" == verdict(gone("projected", "ended"), None, job, "", NOW)


@pytest.mark.parametrize(("declared_at", "expected"), [(RAISED + 1.0, "declared"), (RAISED - 1.0, "")])
def test_who_declares_more_after_it_was_told_acted_on_it(declared_at: float, expected: str) -> None:
    """And whether it would have come true is not known any more."""
    estimate = Estimate(JOB, "energy", 1.0, 1.0, 1.0, "J", declared_at=declared_at)
    job, over = made.job(made.run(), revisions=(Revision(estimate, True),)), gone("projected", "cleared")

    did = acted(over, None, job)

    assert (expected, "" if expected else "wrong") == (did, verdict(over, None, job, did, NOW))


def test_who_cancels_acted_on_it() -> None:
    """By the batch system's word."""
    assert "cancelled" == acted(gone("idle", "ended"), None, ended("CANCELLED"))
    assert "" == acted(gone("idle", "ended"), None, ended("COMPLETED"))
