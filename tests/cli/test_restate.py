"""`gpuwatch restate` on a ledger of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from gpuwatch.cli.jobs import By, jobs, show
from gpuwatch.cli.restate import restate
from gpuwatch.errors import ConfigurationError
from gpuwatch.ledger.charging import catch_up
from gpuwatch.ledger.store import open_store
from tests.ledger.batch import HOUR, T0, record
from tests.ledger.deliveries import row
from tests.ledger.test_charging import HEAD, PLACE, PRICE, tariffs, tell

NOW = T0 + 24 * HOUR


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """Two jobs of 14 November 2023, charged at two euros an hour."""
    store = open_store(str(tmp_path / "ledger.db"))
    its = row("7", started=T0, last_seen=T0 + HOUR, energy_joules={"counter": 3.6e6}, open=False)
    tell(store, [record("7"), record("8")], [its])
    catch_up(store, "default", tariffs(), NOW)
    store.close()
    return store.where


def configured(tmp_path: Path, price: str) -> Path:
    """A configuration with a rates file."""
    (tmp_path / "rates.csv").write_text(HEAD + price + PLACE)
    config = tmp_path / "gpuwatch.toml"
    config.write_text(f'[accounting]\nrates_file = "{tmp_path / "rates.csv"}"\n')
    return config


def printed(capsys: pytest.CaptureFixture[str], **options: Any) -> str:
    """What the command printed."""
    restate(**{"since": "2023-11", "until": "2023-12", **options})
    return capsys.readouterr().out


def cost_of(capsys: pytest.CaptureFixture[str], ledger: str, **options: Any) -> dict[str, float]:
    """What November cost."""
    jobs(ledger=ledger, by=By.MONTH, until="2023-12", as_json=True, **options)
    (month,) = json.loads(capsys.readouterr().out)
    cost: dict[str, float] = month["cost"]
    return cost


def test_new_figures_stand_beside_the_old_ones(
    tmp_path: Path, ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What changed is said, with the edition; the old ones can still be asked for."""
    config = configured(tmp_path, PRICE.replace("2.00", "3.00"))

    text = printed(capsys, ledger=ledger, config_file=config, reason="new contract")

    assert text.startswith("Edition 1: restated 2 rows of 2 jobs by rates ")
    assert "before  8.00 EUR, 500 g CO2e" in text
    assert "after   12.00 EUR, 500 g CO2e" in text
    assert ({"EUR": 12.0}, {"EUR": 8.0}) == (cost_of(capsys, ledger), cost_of(capsys, ledger, edition=0))
    restate(listed=True, ledger=ledger)
    listed = capsys.readouterr().out
    assert listed.startswith("edition 1  ")
    assert ": new contract" in listed


def test_a_dry_run_says_it_and_changes_nothing(
    tmp_path: Path, ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also as JSON."""
    config = configured(tmp_path, PRICE.replace("2.00", "3.00"))

    text = printed(capsys, ledger=ledger, config_file=config, dry_run=True)
    document = json.loads(printed(capsys, ledger=ledger, config_file=config, dry_run=True, as_json=True))

    assert text.startswith("Would restate 2 rows of 2 jobs")
    assert (True, 2, {"EUR": 8.0}, {"EUR": 12.0}) == (
        document["dry_run"], document["rows"], document["before"]["cost"], document["after"]["cost"],
    )  # fmt: skip
    assert {"EUR": 8.0} == cost_of(capsys, ledger)


def test_the_same_rates_change_nothing(tmp_path: Path, ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And no edition is made of it."""
    text = printed(capsys, ledger=ledger, config_file=configured(tmp_path, PRICE))

    assert text.startswith("Nothing changes")


def test_only_the_days_asked_for_are_restated(
    tmp_path: Path, ledger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The day after has nothing."""
    config = configured(tmp_path, PRICE.replace("2.00", "3.00"))

    text = printed(capsys, since="2023-11-15", ledger=ledger, config_file=config)

    assert text.startswith("Nothing changes")


def test_what_cannot_be_meant_is_said(tmp_path: Path, ledger: str) -> None:
    """No first day; a rates file with a mistake, with its line."""
    with pytest.raises(typer.BadParameter, match="is needed"):
        restate(ledger=ledger)
    with pytest.raises(ConfigurationError, match="line 2"):
        restate(
            since="2023-11", ledger=ledger, config_file=configured(tmp_path, "price,,,2023-01-01,,-1,EUR,,,\n")
        )


def test_a_job_shows_what_it_cost_and_by_what(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Money, carbon, and the PUE and intensity behind it."""
    show("7", ledger=ledger)

    text = capsys.readouterr().out
    for words in (
        "cost       4.00 EUR",
        "500 g CO2e, of 1.2 kWh",
        "PUE 1.25 (site: meter 2023",
        "grid 400 g CO2e/kWh",
    ):
        assert words in text
