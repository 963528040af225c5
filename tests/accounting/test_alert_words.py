"""The sentences of alerts."""

from __future__ import annotations

from dataclasses import replace

from gpuwatch.accounting.alert_words import exceeded, killed, projected
from gpuwatch.model import Estimate, Forecast, Scope

JOB = Scope("job", "llama-ft")
HOUR = 3600.0
T0 = 1_764_000_000.0
DECLARED = Estimate(
    JOB, "device-hours", 2.5 * HOUR, 2.5 * HOUR, 2.5 * HOUR, "s", declared_by="user:ada", declared_at=T0
)
FORECAST = Forecast(
    JOB, "device-hours", 1.2 * HOUR, {0.1: 3.2 * HOUR, 0.5: 4.1 * HOUR, 0.9: 5.5 * HOUR, 0.95: 6 * HOUR}, DECLARED,
    "its burn-up at 29 % of 9,000 steps", T0 + HOUR, p_over=0.93, crosses_at=T0 + 3 * HOUR,
    crosses_between=(T0 + 2 * HOUR, T0 + 5 * HOUR), against="declared", reference=2.5 * HOUR,
    record="no record at this site yet (n=12)",
)  # fmt: skip


def test_an_overrun_to_come_says_all_that_is_known_of_it() -> None:
    """How much and how sure, against what, declared by whom and when, how likely, until when, why, the record."""
    assert projected(FORECAST, DECLARED) == (
        "job llama-ft is projected to need 4.1 device-hours (80 % between 3.2 and 5.5), 64 % more than the 2.5 "
        "declared by user:ada at 2025-11-24 16:00Z; over the declaration by more than the tolerance with "
        "probability 93 %; crossed about 2025-11-24 19:00Z (80 %: 18:00Z to 21:00Z); 1.2 used; "
        "because: its burn-up at 29 % of 9,000 steps; record: no record at this site yet (n=12)"
    )


def test_one_that_has_become_less_likely_says_so() -> None:
    """An alert stays for a while: its median may be below what is declared then."""
    less = replace(FORECAST, quantiles={0.5: 2.4 * HOUR}, p_over=0.4, crosses_at=None, crosses_between=None)

    assert projected(less, DECLARED).startswith(
        "job llama-ft is projected to need 2.4 device-hours, where 2.5 were declared by user:ada at "
        "2025-11-24 16:00Z; over the declaration by more than the tolerance with probability 40 %; 1.2 used"
    )


def test_an_overrun_that_has_happened_says_what_more_is_to_come() -> None:
    """What is used, against what, and the median."""
    over = replace(FORECAST, used=3 * HOUR, record="")

    assert exceeded(over, replace(DECLARED, declared_by="", declared_at=0.0)) == (
        "job llama-ft used 3 device-hours, 20 % more than the 2.5 declared; projected to need 4.1 device-hours; "
        "because: its burn-up at 29 % of 9,000 steps"
    )


def test_where_nothing_is_forecast_what_is_used_is_all_there_is() -> None:
    """A notebook has a budget, and no end to be forecast."""
    energy = replace(FORECAST, quantity="energy", used=7.2e6, quantiles={}, basis="", record="")
    declared = Estimate(JOB, "energy", 3.6e6, 3.6e6, 3.6e6, "J")

    assert "job llama-ft used 2 kWh of energy, 100 % more than the 1 declared" == exceeded(energy, declared)


def test_a_time_limit_says_how_much_room_is_left() -> None:
    """Nobody declared it, so that it stands by itself."""
    assert killed(FORECAST, 0.93) == (
        "job llama-ft will be killed by its time limit with probability 93 %; 1.2 used of the 6 device-hours that "
        "the limit leaves room for; because: its burn-up at 29 % of 9,000 steps; "
        "record: no record at this site yet (n=12)"
    )
    assert "; 1.2 device-hours used; because" in killed(replace(FORECAST, quantiles={}), 0.93)
