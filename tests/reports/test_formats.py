"""What the formats have in common, the page, and the two exchange formats."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpuwatch.forecast.projection import HOURS
from gpuwatch.ledger.store import open_store
from gpuwatch.model import Forecast, Scope
from gpuwatch.reports.document import document
from gpuwatch.reports.html import html
from gpuwatch.reports.markdown import markdown
from gpuwatch.reports.plots import plot
from gpuwatch.reports.statement import Statement
from gpuwatch.reports.svg import round_ticks, time_ticks
from gpuwatch.reports.words import factor, hours, percent, scientific, si, significant
from tests.reports import campaigns
from tests.reports.made import made

PAGE = Path(__file__).parents[2] / "docs" / "report.md"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Statement]:
    """The campaign of the picture in the documentation, with what was forecast of it."""
    store = open_store(str(tmp_path_factory.mktemp("formats") / "ledger.db"))
    now = campaigns.fill(store)
    first = made(store, now, "campaign", campaigns.NAME)
    campaigns.foretell(store, first.total.device_seconds, first.begins or now, first.ends or now)
    yield made(store, now, "campaign", campaigns.NAME, tag="table")
    store.close()


def test_every_key_of_the_json_is_documented(campaign: Statement) -> None:
    """docs/report.md lists all of them."""
    page = PAGE.read_text(encoding="utf-8")

    assert [] == [key for key in document(campaign) if f"`{key}`" not in page]


def test_headlines_stand_beside_their_bounds(campaign: Statement) -> None:
    """In both formats for people, in the same words."""
    page, text = html(campaign), markdown(campaign)

    for words in ("2.59 MWh (2.46 to 2.79)", "812 kg (771 to 873)", "7,996.48 EUR"):
        assert words in page
        assert words in text


def test_the_page_needs_nothing_but_itself(campaign: Statement) -> None:
    """No script and no request; dark and printed as well."""
    page = html(campaign)

    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|https?://(?!www\.w3\.org)", page)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert 100_000 > len(page)


def test_burn_up_has_what_was_declared_and_foretold(campaign: Statement) -> None:
    """Two declarations, a band of forecasts, and what it came to."""
    drawn = plot("burn-up", campaign)

    assert 2 == drawn.count('class="line-declared"')
    assert 1 == drawn.count('class="fill-fan"')
    assert "declared 3,300" in drawn
    assert "3,808 h" in drawn


def test_what_goes_on_has_a_fan(campaign: Statement) -> None:
    """To where it will end: in 8 and in 5 of 10 cases."""
    used = campaign.total.device_seconds
    quantiles = {0.1: 1.1 * used, 0.25: 1.2 * used, 0.5: 1.4 * used, 0.75: 1.6 * used, 0.9: 2.0 * used}
    forecast = Forecast(Scope("campaign", "x"), HOURS, used, quantiles, None, "its burn-up", campaign.made)
    goes_on = replace(campaign, goes_on=True, forecasts={HOURS: forecast}, foretold=())

    assert 2 == plot("burn-up", goes_on).count('class="fill-fan"')
    assert "will come to" in markdown(goes_on)
    assert "| device-hours | 3,808 device-hours | 5,331 device-hours |" in markdown(goes_on)


def test_boamps_has_what_tags_say_and_names_what_they_do_not(campaign: Statement) -> None:
    """Its required fields are filled from tags, or missing by name."""
    told: Any = document(campaign)["boamps"]
    assert ["task.taskStage", "task.taskFamily", "infrastructure.infraType", "environment.country"] == told[
        "missing"
    ]
    assert {"parametersNumber": 8.0, "quantization": "bf16"} == told["task"]["algorithms"][0]

    tags = {
        "stage": "finetuning",
        "family": "text generation",
        "infrastructure": "onPremise",
        "country": "germany",
    }
    tagged = replace(campaign, runs=tuple(replace(row, tags={**row.tags, **tags}) for row in campaign.runs))
    told = document(tagged)["boamps"]
    assert [] == told["missing"]
    assert ("finetuning", "onPremise", "germany") == (
        told["task"]["taskStage"], told["infrastructure"]["infraType"], told["environment"]["country"],
    )  # fmt: skip
    energy = (campaign.total.device_energy.value or 0) / 3.6e6
    assert pytest.approx(energy) == told["measures"][0]["powerConsumption"]
    assert 298 < told["environment"]["powerSourceCarbonIntensity"] < 331


def test_spdx_has_kilowatt_hours_of_the_stage(campaign: Statement) -> None:
    """A decimal that is written out, under the property of the stage."""
    told: Any = document(campaign)["spdx"]["ai_energyConsumption"]
    (description,) = told["ai_trainingEnergyConsumption"]

    assert ("ai_EnergyConsumptionDescription", "kilowattHour") == (
        description["type"],
        description["ai_energyUnit"],
    )
    assert re.fullmatch(r"\d+\.\d+", description["ai_energyQuantity"])
    facility = (campaign.total.facility_energy.value or 0) / 3.6e6
    assert pytest.approx(facility) == float(description["ai_energyQuantity"])

    tagged = replace(campaign, runs=tuple(replace(row, tags={"stage": "inference"}) for row in campaign.runs))
    assert "ai_inferenceEnergyConsumption" in document(tagged)["spdx"]["ai_energyConsumption"]


def test_amounts_are_read_as_people_read_them() -> None:
    """Three digits, never more than is known, and nothing rounded to all or to nothing."""
    assert ["0", "0.05", "1.00", "16.0", "3,762"] == [hours(3600 * each) for each in (0, 0.05, 1, 16, 3762.2)]
    assert ["0 %", "< 0.1 %", "1.0 %", "87 %", "> 99.9 %", "100 %"] == [
        percent(each) for each in (0.0, 0.0001, 0.01, 0.87, 0.99999, 1.0)
    ]
    assert ["0.120", "2.00", "64.3", "802", "7,900"] == [
        significant(each) for each in (0.12, 2, 64.32, 802.1, 7896)
    ]
    assert ("8.1 × 10²²", "7B", "1.4T", "1.59 ×", "12 ×") == (
        scientific(8.1e22), si(7e9), si(1.4e12), factor(1.587), factor(12.04),
    )  # fmt: skip


def test_scales_have_round_marks() -> None:
    """From 0 to above the most; times at midnight, or at the first of a month."""
    assert ([0, 2, 4, 6, 8], [0.0, 1.0]) == (round_ticks(7.3), round_ticks(0))
    zone = campaigns.UTC
    assert ["Sep 3", "Sep 5", "Sep 7", "Sep 9", "Sep 11"] == [
        shown for _, shown in time_ticks(campaigns.BEGUN, campaigns.BEGUN + 10 * 86_400, zone)
    ]
    year = [shown for _, shown in time_ticks(campaigns.BEGUN, campaigns.BEGUN + 380 * 86_400, zone)]
    assert ("Dec 2024", 4) == (year[0], len(year))
