"""`gpuwatch rates`: what is in force, and a rates file checked with every mistake at once."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.command import gpuwatch

HEAD = "kind,value,unit,from,to,source,year\n"


def configured(folder: Path, text: str) -> str:
    (folder / "rates.csv").write_text(text)
    path = folder / "gpuwatch.toml"
    path.write_text(f'[accounting]\nrates_file = "{folder / "rates.csv"}"\ntimezone = "Europe/Berlin"\n')
    return str(path)


def test_rates_of_a_day_are_shown(tmp_path: Path) -> None:
    """As JSON: the price that begins at midnight in Berlin, and the default intensity called that."""
    config = configured(tmp_path, f"{HEAD}price,1.5,EUR,2026-01-01,,,\npue,1.2,,,,meter,2025\n")

    shown = gpuwatch("rates", "--json", "--at", "2026-01-01", "--config", config)

    told = json.loads(shown.stdout)
    assert (0, str(tmp_path / "rates.csv"), 1767222000.0) == (shown.returncode, told["file"], told["time"])
    assert [1.5] == [price["value"] for price in told["prices"]]
    assert ("site: meter 2025", "default: world 2024, Ember") == (told["pue"]["basis"], told["intensity"]["basis"])


def test_words_name_the_file(tmp_path: Path) -> None:
    """For people, who will want to change it."""
    shown = gpuwatch("rates", "--config", configured(tmp_path, f"{HEAD}price,1.5,EUR\n"))

    assert "price: 1.5 EUR per device-hour (site)\n" in shown.stdout
    assert shown.stdout.endswith(f"file: {tmp_path / 'rates.csv'}\n")


def test_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Exit code 78, as when accounting starts."""
    shown = gpuwatch("rates", "--config", configured(tmp_path, f"{HEAD}price,-1,EUR\npue,0.5,,,,a,2025\n"))

    path = tmp_path / "rates.csv"
    assert (78, "") == (shown.returncode, shown.stdout)
    assert [
        f"gpuwatch: {path}: line 2: value: -1 is not possible for a price per device-hour; it is 0 to 10,000",
        f"gpuwatch: {path}: line 3: value: 0.5 is not possible for a PUE; it is 1 to 3",
    ] == shown.stderr.splitlines()


def test_a_word_that_is_no_day_is_a_usage_error() -> None:
    """With an example; nor is there a day before there were accelerators."""
    for word in ("tomorrow", "0001-01-01"):
        shown = gpuwatch("rates", "--at", word)

        assert 64 == shown.returncode
        assert f"{word!r} is no day" in shown.stderr
