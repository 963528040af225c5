"""What accounting cannot do as it should, told to its operators after a quarter of an hour."""

from __future__ import annotations

import pytest

from gpuwatch.accounting.allocations import Asked
from gpuwatch.accounting.self_check import LASTING_SECONDS, SelfCheck, State
from gpuwatch.accounting.site_record import Standing
from gpuwatch.forecast.trials import STAGES

NOW = 1_764_000_000.0
WELL = State(nodes=40, asked=Asked(up={"slurm": True}), waiting={"log": 0})


def coverage(held: float, n: int = 300) -> Standing:
    return Standing(n, 0.8, {"coverage": {"80": {"jobs": dict.fromkeys(STAGES, held)}}})


@pytest.mark.parametrize(
    ("state", "called", "text"),
    [
        (State(nodes=40, failed=3), "nodes", "3 of 40 sources of usage cannot be read"),
        (State(asked=Asked(up={"slurm": False})), "scheduler-slurm", "the batch system slurm does not answer"),
        (State(waiting={"apprise": 12}), "notifier-apprise", "12 news wait to be told by apprise"),
        (State(rates_successful=False), "rates", "the rates file has a mistake"),
        (State(policy_successful=False), "policy", "the alert policy has a mistake"),
        (State(record=coverage(0.61)), "forecasts", "of the intervals that forecasts gave 80 %, 61 % held"),
    ],
)  # fmt: skip
def test_what_is_wrong_for_a_quarter_of_an_hour_is_told(state: State, called: str, text: str) -> None:
    """And not before; it is over as soon as it is well."""
    check = SelfCheck("hydra")

    assert {} == check.look(state, NOW)
    assert {} == check.look(state, NOW + LASTING_SECONDS - 1.0)
    (alert,) = check.look(state, NOW + LASTING_SECONDS).values()
    assert {} == check.look(WELL, NOW + LASTING_SECONDS + 60.0)

    assert (called, "warning", NOW) == (alert.quantity, alert.severity, alert.since)
    assert alert.text.startswith(text)
    assert "look closer: gpuwatch " in alert.details[-1]


def test_what_goes_to_and_fro_is_nobodys_business() -> None:
    """A node that is away for ten minutes now and then."""
    check = SelfCheck("hydra")
    bad = State(nodes=40, failed=1)

    found = [check.look(bad if number % 20 < 10 else WELL, NOW + 60.0 * number) for number in range(200)]

    assert not any(found)


def test_forecasts_that_hold_what_they_promise_are_well() -> None:
    """So are those of which there are too few to tell."""
    check = SelfCheck("hydra")
    for now in (NOW, NOW + 2 * LASTING_SECONDS):
        assert {} == check.look(State(record=coverage(0.78)), now)
        assert {} == check.look(State(record=coverage(0.5, n=150)), now)


def test_a_clock_that_is_set_back_raises_nothing_at_once() -> None:
    """What has been wrong since tomorrow has been wrong since now."""
    check, bad = SelfCheck("hydra"), State(nodes=40, failed=1)
    check.look(bad, NOW + 86_400.0)

    assert {} == check.look(bad, NOW)
    assert 1 == len(check.look(bad, NOW + LASTING_SECONDS))
