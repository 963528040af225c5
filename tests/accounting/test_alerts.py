"""When an alert is raised, stays and is resolved."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.alerts import Policy, evaluate
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.model import Alert, Estimate, Forecast, Scope

JOB = Scope("job", "llama-ft")
HOUR = 3600.0
POLICY = Policy(tolerance_ratio=0.10, floor_device_hours=1.0)
Active = Mapping[AlertKey, Alert]


def forecast(
    used: float = 1.2, projected: float | None = None, declared: float | None = 2.5, quantity: str = "device-hours"
) -> Forecast:
    """In device-hours; declared as one number."""
    estimate = Estimate(JOB, quantity, *(declared * HOUR,) * 3, "s") if declared is not None else None
    quantiles = {0.5: projected * HOUR} if projected is not None else {}
    return Forecast(JOB, quantity, used * HOUR, quantiles, estimate, "used / progress, 29 % of 9000 steps", 0.0)


def step(active: Active, *forecasts: Forecast, now: float = 0.0) -> tuple[Active, list[tuple[str, str]]]:
    found, changes = evaluate(forecasts, active, POLICY, now)
    return found, [(change.what, change.alert.kind) for change in changes]


def kinds(active: Active) -> list[str]:
    return [key.kind for key in active]


def test_the_text_is_a_sentence_with_human_units() -> None:
    """It says how much, against what, and how far the job is."""
    (alert,) = step({}, forecast(1.2, 4.1))[0].values()

    expected = (
        "job llama-ft is projected to need 4.1 device-hours, 64 % more than the 2.5 declared; "
        "1.2 used (used / progress, 29 % of 9000 steps)"
    )
    assert (expected, "warning", 4.1 * HOUR, 2.5 * HOUR) == (
        alert.text,
        alert.severity,
        alert.value,
        alert.declared,
    )


def test_a_projection_within_the_tolerance_is_silent() -> None:
    """2.74 of 2.5 is less than 10 % more."""
    assert ({}, []) == step({}, forecast(projected=2.74))


def test_a_projection_without_a_declaration_is_silent() -> None:
    """Nothing to compare with."""
    assert ({}, []) == step({}, forecast(projected=100.0, declared=None))


def test_an_alert_stays_down_to_half_the_tolerance() -> None:
    """2.76 raises, 2.64 is still above 2.625, 2.6 resolves, 2.7 does not raise again."""
    active: Active = {}
    told = []
    for projected in (2.76, 2.64, 2.70, 2.60, 2.70):
        active, changes = step(active, forecast(projected=projected))
        told.append(changes)

    assert [[("raised", "projected")], [], [], [("resolved", "projected")], []] == told


def test_an_alert_keeps_its_beginning_and_updates_its_value() -> None:
    """`since` is when it was raised; nobody is told of a new value."""
    first, _ = step({}, forecast(projected=4.0), now=10.0)
    second, told = step(first, forecast(projected=5.0), now=20.0)

    (alert,) = second.values()
    assert (10.0, 5.0 * HOUR, []) == (alert.since, alert.value, told)


def test_a_projection_that_is_missing_for_a_while_changes_nothing() -> None:
    """Unknown is not good news."""
    active, _ = step({}, forecast(projected=4.0))

    assert (active, []) == step(active, forecast(projected=None))


def test_exceeded_takes_the_place_of_projected() -> None:
    """One alert of a quantity at a time."""
    active, _ = step({}, forecast(projected=4.0))
    active, told = step(active, forecast(used=2.6, projected=4.0))

    assert ["exceeded"] == kinds(active)
    assert [("resolved", "projected"), ("raised", "exceeded")] == told


def test_exceeded_has_no_tolerance() -> None:
    """What is used is used; but exactly the declared amount is within it."""
    assert ["exceeded"] == kinds(step({}, forecast(used=2.51))[0])
    assert {} == step({}, forecast(used=2.5))[0]


def test_the_high_bound_of_a_range_is_what_counts() -> None:
    """low..likely..high says that high was expected to be possible."""
    estimate = Estimate(JOB, "device-hours", 1 * HOUR, 2 * HOUR, 5 * HOUR, "s")
    given_forecast = Forecast(JOB, "device-hours", 3 * HOUR, {0.5: 5 * HOUR}, estimate, "", 0.0)

    assert ({}, []) == step({}, given_forecast)


def test_the_end_of_a_job_resolves_its_alerts() -> None:
    """It is not forecast any more; the message says why."""
    active, _ = step({}, forecast(used=3.0))

    found, (change,) = evaluate([], active, POLICY, 0.0)

    assert {} == found
    assert change.alert.text.startswith("the job ended: job llama-ft used 3 device-hours, 20 % more than the 2.5")


def test_a_raised_estimate_resolves_exceeded() -> None:
    """Somebody declared more."""
    active, _ = step({}, forecast(used=3.0))

    assert ({}, [("resolved", "exceeded")]) == step(active, forecast(used=3.0, declared=4.0))


@pytest.mark.parametrize(
    ("used", "declared", "projected", "silent"),
    [(0.9, 0.1, 0.9, True), (1.1, 0.1, 1.1, False), (0.5, 1.2, 0.5, False), (0.1, 0.5, 40.0, False)],
)
def test_small_jobs_are_silent(used: float, declared: float, projected: float, silent: bool) -> None:
    """Used, declared and projected below the floor, of whatever quantity the alert would be."""
    energy = forecast(used=9.0, projected=9.0, declared=1.0, quantity="energy")

    active, _ = step({}, forecast(used=used, declared=declared, projected=projected), energy)

    assert silent is ("energy" not in {key.quantity for key in active})


def test_quantities_have_alerts_of_their_own() -> None:
    """Energy over, hours within."""
    energy = forecast(used=9.0, declared=1.0, quantity="energy")

    active, _ = step({}, forecast(), energy)

    assert [AlertKey("exceeded", JOB, "energy")] == list(active)


_numbers = st.floats(0, 20) | st.none()


@given(st.lists(st.tuples(st.floats(0, 20), _numbers, _numbers), max_size=12))
def test_what_is_told_is_what_is_active(history: list[tuple[float, float | None, float | None]]) -> None:
    """Raised and resolved alternate for each alert, and add up to the active ones; never two of a quantity."""
    active: Active = {}
    told: dict[AlertKey, list[str]] = {}
    for used, projected, declared in history:
        active, changes = evaluate([forecast(used, projected, declared)], active, POLICY, 0.0)
        for change in changes:
            told.setdefault(key_of(change.alert), []).append(change.what)

        assert len(active) <= 1
    assert set(active) == {key for key, whats in told.items() if whats[-1] == "raised"}
    assert all(whats == (["raised", "resolved"] * len(whats))[: len(whats)] for whats in told.values())
