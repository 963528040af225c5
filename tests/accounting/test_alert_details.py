"""What an alert says line by line."""

from __future__ import annotations

from dataclasses import replace

from gpuwatch.accounting.alert_details import Case, commands, details
from gpuwatch.accounting.alert_record import Record, Tally, record_of
from gpuwatch.ledger.charging import Cost
from gpuwatch.ledger.episodes import Count
from gpuwatch.model import Alert, Estimate, Forecast, Scope
from tests.ledger import made
from tests.ledger.batch import HOUR, T0

JOB = Scope("job", "7")
DECLARED = Estimate(
    JOB, "device-hours", 8 * HOUR, 9 * HOUR, 10 * HOUR, "s", "history", "user:ada", T0 + 60.0, "socket"
)  # fmt: skip
FORECAST = Forecast(
    JOB, "device-hours", 6 * HOUR, {0.1: 11 * HOUR, 0.5: 15 * HOUR, 0.9: 20 * HOUR}, DECLARED,
    "its burn-up at 40 %", 0.0, 0.93, T0 + 8 * HOUR, against="declared", reference=10 * HOUR,
    record="80 % of 230 held",
)  # fmt: skip
ALERT = Alert("projected", JOB, "device-hours", "warning", 0.0, 15 * HOUR, 10 * HOUR, "text")
RECORD = Record({"projected": Tally(40, 40, 2, 29, 5, 12)})


def job(**changed: object) -> object:
    usage = made.used({"working": 4 * HOUR, "idle": 2 * HOUR}, energy_joules={"counter": 1e7})
    return made.job(made.run([made.line(usage)], allocated_seconds=6 * HOUR), name="7", **changed)  # type: ignore[arg-type]


def test_it_says_who_declared_what_is_used_and_to_come_why_what_it_costs_and_what_to_do() -> None:
    """With numbers, and how often such alerts were right here."""
    case = Case(job(), {"device-hours": FORECAST}, Cost({"EUR": 15.0}))  # type: ignore[arg-type]

    assert (
        "declared: between 8 device-hours and 10 device-hours, most likely 9 device-hours by user:ada at "
        "2023-11-14 08:01Z (from history)",
        "used: 6 device-hours, 60 % of what was declared, since 2023-11-14 08:00Z",
        "projected: 80 % between 11 and 20, most likely 15 (declared at most 10)",
        "over the declaration by more than the tolerance with probability 93 %; crossed about 2023-11-14 16:00Z",
        "likely reason: its devices were idle 33 % of the time (2 device-hours)",
        "cost so far: 15.00 EUR; about 37.50 EUR at its end, 12.50 EUR more than what is declared comes to",
        "forecasts here: 80 % of 230 held",
        "such alerts here: 29 of 34 were right (85 %)",
        "look closer: gpuwatch show 7",
        "declare anew: gpuwatch declare --for job:7 …",
    ) == details(ALERT, case, RECORD)


def test_what_is_not_known_is_left_out() -> None:
    """No price, no forecast, no measurement."""
    case = Case(made.job(made.run(allocated_seconds=6 * HOUR), name="7"))

    assert ("such alerts here: none whose outcome is known yet", "look closer: gpuwatch show 7") == details(
        replace(ALERT, kind="limit", quantity="wall"), case, Record()
    )


def test_a_hostile_name_is_one_word_of_the_command() -> None:
    """Somebody will paste it."""
    alert = replace(ALERT, kind="limit", scope=Scope("campaign", "x; rm -rf ~"))

    assert ["look closer: gpuwatch campaign show 'x; rm -rf ~'"] == list(commands(alert))


def test_the_record_counts_by_kind() -> None:
    """Right and wrong, told and muted, and what was acted upon of what was told."""
    found = record_of([
        Count("idle", "told", "right", "cancelled", 3), Count("idle", "told", "wrong", "", 1),
        Count("idle", "observed", "right", "cancelled", 5), Count("idle", "muted", "", "", 2),
        Count("idle", "told", "", "muted", 1), Count("hung", "told", "", "", 7),
    ])  # fmt: skip

    assert Tally(12, 5, 3, 8, 1, 3) == found.by_kind["idle"]
    assert "8 of 9 were right (89 %)" == found.words("idle")
    assert "none whose outcome is known yet" == found.words("hung")
    assert "a fact, not a forecast" == found.words("exceeded")
