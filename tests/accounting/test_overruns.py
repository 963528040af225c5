"""When an overrun is an alert, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.overruns import Bounds, overruns
from gpuwatch.ledger.scopes import AlertKey
from gpuwatch.model import Alert, Estimate, Forecast, Scope

JOB = Scope("job", "llama-ft")
HOUR = 3600.0
BOUNDS = Bounds(tolerance_ratio=0.10, floor_device_hours=1.0)
Active = Mapping[AlertKey, Alert]


def forecast(
    used: float = 1.2,
    p_over: float | None = 0.9,
    declared: float | None = 2.5,
    median: float = 4.0,
    quantity: str = "device-hours",
    p_limit: float | None = None,
) -> Forecast:
    """In device-hours; declared as one number. Nothing is forecast where `p_over` is None."""
    estimate = Estimate(JOB, quantity, *(declared * HOUR,) * 3, "s") if declared is not None else None
    quantiles = {0.1: 0.8 * median * HOUR, 0.5: median * HOUR, 0.9: 1.25 * median * HOUR}
    return Forecast(
        JOB, quantity, used * HOUR, quantiles if p_over is not None else {}, estimate, "its burn-up at 29 %", 0.0,
        p_over if declared is not None else None, against="declared" if declared is not None else "",
        reference=declared * HOUR if declared is not None else None, p_limit=p_limit,
    )  # fmt: skip


def step(active: Active, *forecasts: Forecast, now: float = 0.0) -> tuple[Active, list[tuple[str, str]]]:
    """What is active now, and what is over and new."""
    found = overruns(forecasts, active, BOUNDS, now).alerts
    over = [("resolved", key.kind) for key in active if key not in found]
    return found, over + [("raised", key.kind) for key in found if key not in active]


def kinds(active: Active) -> list[str]:
    return [key.kind for key in active]


def test_the_value_is_the_median_beside_what_is_declared() -> None:
    """In base units, as the contract has them; a warning."""
    (alert,) = step({}, forecast(median=4.1))[0].values()

    assert ("warning", 4.1 * HOUR, 2.5 * HOUR) == (alert.severity, alert.value, alert.declared)
    assert alert.text.startswith("job llama-ft is projected to need 4.1 device-hours")


def test_an_overrun_is_told_by_its_probability_and_not_by_the_median() -> None:
    """Far above what is declared, and nobody is sure; a little above it, and everybody is."""
    assert {} == step({}, forecast(p_over=0.79, median=9.0))[0]
    assert ["projected"] == kinds(step({}, forecast(p_over=0.8, median=2.8))[0])


def test_a_projection_without_a_declaration_is_silent() -> None:
    """What is expected of its like is nobody's declaration."""
    expected = replace(forecast(declared=None), against="expected", reference=HOUR, p_over=1.0)

    assert ({}, []) == step({}, expected)


def test_an_alert_stays_until_an_overrun_is_much_less_likely() -> None:
    """0.81 raises, 0.66 is above 0.8 less 0.15, 0.64 resolves, 0.79 does not raise again."""
    active: Active = {}
    told = []
    for p_over in (0.81, 0.66, 0.7, 0.64, 0.79):
        active, changes = step(active, forecast(p_over=p_over))
        told.append(changes)

    assert [[("raised", "projected")], [], [], [("resolved", "projected")], []] == told


def test_the_threshold_is_the_sites() -> None:
    """Where its record supports less than 0.8, less is told."""
    found = overruns([forecast(p_over=0.61)], {}, Bounds(threshold=0.6), 0.0)

    assert ["projected"] == kinds(found.alerts)


def test_an_alert_keeps_its_beginning_and_updates_its_value() -> None:
    """`since` is when it was raised; nobody is told of a new value."""
    first, _ = step({}, forecast(median=4.0), now=10.0)
    second, told = step(first, forecast(median=5.0), now=20.0)

    (alert,) = second.values()
    assert (10.0, 5.0 * HOUR, []) == (alert.since, alert.value, told)


def test_a_projection_that_is_missing_for_a_while_changes_nothing() -> None:
    """Unknown is not good news, of the declaration or of the time limit."""
    active, _ = step({}, forecast(p_limit=0.9))

    assert ["projected", "limit"] == kinds(active)
    assert (active, []) == step(active, forecast(p_over=None))


def test_exceeded_takes_the_place_of_projected() -> None:
    """One alert of a quantity at a time."""
    active, _ = step({}, forecast())
    active, told = step(active, forecast(used=2.6))

    assert ["exceeded"] == kinds(active)
    assert [("resolved", "projected"), ("raised", "exceeded")] == told


def test_exceeded_has_no_tolerance() -> None:
    """What is used is used; but exactly the declared amount is within it."""
    assert ["exceeded"] == kinds(step({}, forecast(used=2.51))[0])
    assert {} == step({}, forecast(used=2.5, p_over=0.1))[0]


def test_the_high_bound_of_a_range_is_what_counts() -> None:
    """low..likely..high says that high was expected to be possible."""
    estimate = Estimate(JOB, "device-hours", 1 * HOUR, 2 * HOUR, 5 * HOUR, "s")
    given_forecast = replace(forecast(used=3.0, p_over=0.5), declared=estimate)

    assert ({}, []) == step({}, given_forecast)


def test_what_is_not_forecast_any_more_has_no_alerts() -> None:
    """The job ended."""
    active, _ = step({}, forecast(used=3.0))

    assert ({}, [("resolved", "exceeded")]) == step(active)


@pytest.mark.parametrize(("used", "mark"), [(2.6, 100), (3.75, 150), (4.99, 150), (5.0, 200), (60.0, 1000)])
def test_marks_that_are_passed_are_the_level_of_what_is_exceeded(used: float, mark: int) -> None:
    """In percents of what is declared."""
    (alert,) = step({}, forecast(used=used))[0].values()

    assert mark == alert.level


def test_a_raised_estimate_resolves_exceeded() -> None:
    """Somebody declared more."""
    active, _ = step({}, forecast(used=3.0))

    assert ({}, [("resolved", "exceeded")]) == step(active, forecast(used=3.0, declared=4.0, p_over=0.1))


@pytest.mark.parametrize(
    ("used", "declared", "median", "silent"),
    [(0.7, 0.1, 0.7, True), (1.1, 0.1, 1.1, False), (0.5, 1.2, 0.5, False), (0.1, 0.5, 0.9, False)],
)
def test_small_jobs_are_silent(used: float, declared: float, median: float, silent: bool) -> None:
    """Used, declared and what 9 of 10 come to below the floor, of whatever quantity the alert would be."""
    energy = forecast(used=9.0, median=9.0, declared=1.0, quantity="energy")

    active, _ = step({}, forecast(used=used, declared=declared, median=median, p_limit=0.9), energy)

    assert silent is ("energy" not in {key.quantity for key in active})
    assert silent is ("limit" not in kinds(active))


def test_quantities_have_alerts_of_their_own() -> None:
    """Energy over, hours within."""
    energy = forecast(used=9.0, declared=1.0, quantity="energy")

    active, _ = step({}, forecast(p_over=0.1), energy)

    assert [AlertKey("exceeded", JOB, "energy")] == list(active)


def test_a_time_limit_that_ends_a_job_is_told_once_whatever_it_declares() -> None:
    """One alert of wall time, though every quantity knows of the limit; its value is the probability."""
    energy = forecast(quantity="energy", p_over=0.1, p_limit=0.9)

    for declared in (2.5, None):
        active, told = step({}, forecast(p_over=0.1, declared=declared, p_limit=0.9), energy)

        assert [AlertKey("limit", JOB, "wall")] == list(active)
        assert [(0.9, 0.8)] == [(alert.value, alert.declared) for alert in active.values()]
        assert [("raised", "limit")] == told


def test_a_limit_that_is_likely_no_more_is_resolved() -> None:
    """It was raised by the batch system, or lifted: then nothing is said of it beside what is forecast."""
    active, _ = step({}, forecast(p_over=0.1, p_limit=0.9))

    assert ["limit"] == kinds(step(active, forecast(p_over=0.1, p_limit=0.66))[0])
    assert ({}, [("resolved", "limit")]) == step(active, forecast(p_over=0.1, p_limit=0.64))
    assert ({}, [("resolved", "limit")]) == step(active, forecast(p_over=0.1))


def test_a_limit_is_not_told_of_where_others_go_on_with_the_work() -> None:
    """A chain of jobs runs into its limits by intention."""
    found = overruns([forecast(p_over=0.1, p_limit=0.99)], {}, BOUNDS, 0.0, taken_up={JOB})

    assert {} == found.alerts


@pytest.mark.parametrize(
    ("p_over", "median", "severity"), [(0.96, 20.0, "critical"), (0.94, 20.0, "warning"), (0.96, 12.0, "warning")]
)
def test_what_is_sure_and_large_is_critical(p_over: float, median: float, severity: str) -> None:
    """From a probability of 95 % and ten times the floor beyond what was declared on."""
    (alert,) = step({}, forecast(p_over=p_over, median=median))[0].values()

    assert severity == alert.severity


def test_energy_is_as_grave_as_the_device_hours_that_come_with_it() -> None:
    """Half of the energy comes on top, and with it half of 40 device-hours."""
    hours = forecast(p_over=0.1, median=40.0, declared=50.0)
    energy = forecast(p_over=0.99, median=5.0, declared=2.5, quantity="energy")

    (alert,) = step({}, hours, energy)[0].values()

    assert ("energy", "critical") == (alert.quantity, alert.severity)


def test_what_became_critical_does_not_tremble() -> None:
    """As with the alert itself."""
    active: Active = {}
    severities = []
    for p_over in (0.96, 0.85, 0.79, 0.9):
        active, _ = step(active, forecast(p_over=p_over, median=20.0))
        severities += [alert.severity for alert in active.values()]

    assert ["critical", "critical", "warning", "warning"] == severities


_probabilities = st.floats(0, 1) | st.none()


@given(
    st.lists(
        st.tuples(st.floats(0, 20), _probabilities, st.floats(0, 20) | st.none(), _probabilities), max_size=12
    )
)
def test_there_are_never_two_alerts_of_a_quantity(
    history: list[tuple[float, float | None, float | None, float | None]],
) -> None:
    """What is exceeded is no projection any more, whatever was before."""
    active: Active = {}
    for used, p_over, declared, p_limit in history:
        active, _ = step(active, forecast(used, p_over, declared, p_limit=p_limit))

        assert len({key.quantity for key in active}) == len(active)
