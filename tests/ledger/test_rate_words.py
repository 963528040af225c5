"""What is in force, in words and as JSON: with basis and age, and nothing silent about what is missing."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from gpuwatch.ledger.rate_words import document, words
from gpuwatch.ledger.rates import Rate, Rates

T = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
SITE = Rates.of(
    [
        Rate("price", "2.10", "EUR", "site: board 2025", "H100", begins=T, ends=T + 86_400),
        Rate("price", None, "", "site: none", "A100", "gpu"),
        Rate("price", "9", "EUR", "site", "B200", begins=T + 86_400),
        Rate("tariff", "0.25", "EUR", "site: contract"),
        Rate("pue", "1.31", "ratio", "site: report 2026", source="report", year=2026),
        Rate("intensity", "344.14", "g/kWh", "Germany 2024, Ember", source="Ember", year=2024),
    ]
)


def test_defaults_are_told_with_their_age() -> None:
    """And that there is no price."""
    rates = Rates.of(())

    assert [
        f"Rates {rates.version} on 2026-03-01 (UTC)",
        "price: none, so what device-hours cost is not known; accounting.rates_file can say it",
        "tariff: none, so energy is not part of the cost",
        "PUE: 1.54 (default: Uptime survey 2025; 1 year old)",
        "grid intensity: 473.05 g CO2e/kWh, location-based (default: world 2024, Ember; 2 years old)",
    ] == words(rates, T, UTC)


def test_rates_of_a_site_are_told_with_source_and_time() -> None:
    """Those in force, and when the next change comes."""
    assert [
        f"Rates {SITE.version} on 2026-03-01 (UTC)",
        "price: 2.10 EUR per device-hour of H100 (site: board 2025) since 2026-03-01 until 2026-03-02",
        "price: not known of A100 in gpu (site: none)",
        "tariff: 0.25 EUR per kWh (site: contract)",
        "PUE: 1.31 (site: report 2026)",
        "grid intensity: 344.14 g CO2e/kWh, location-based (Germany 2024, Ember; 2 years old)",
        "next change: 2026-03-02",
    ] == words(SITE, T, UTC)


def test_what_the_site_does_not_know_is_said() -> None:
    """With what that takes away."""
    rates = Rates.of([Rate("pue", None, "ratio", "site: none"), Rate("intensity", None, "g/kWh", "site: none")])

    assert [
        "PUE: not known, and so neither facility energy nor carbon",
        "grid intensity: not known, and so carbon is not",
    ] == words(rates, T, UTC)[-2:]


def test_document_has_everything_in_force() -> None:
    """Unknown is null, times are Unix seconds."""
    told = json.loads(json.dumps(document(SITE, T), allow_nan=False))

    assert (SITE.version, "UTC", "EUR", T, T + 86_400) == (
        told["version"], told["timezone"], told["currency"], told["time"], told["next_change"]
    )  # fmt: skip
    assert [("A100", "gpu", None, None), ("H100", None, 2.1, "EUR")] == sorted(
        (each["model"], each["partition"], each["value"], each["unit"]) for each in told["prices"]
    )
    assert (0.25, "kWh") == (told["tariff"]["value"], told["tariff"]["per"])
    assert {
        "value": 1.31, "unit": "ratio", "per": None, "basis": "site: report 2026", "source": "report",
        "year": 2026, "default": False, "from": None, "to": None,
    } == told["pue"]  # fmt: skip
    assert document(Rates.of(()), T)["tariff"] is None
    assert document(Rates.of(()), T)["intensity"]["default"] is True
