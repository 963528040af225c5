"""The site's rates while accounting runs: read again when their file changes, never taken with a mistake."""

from __future__ import annotations

import logging
from datetime import UTC
from pathlib import Path

import pytest

from gpuwatch.accounting.tariffs import SiteTariffs
from gpuwatch.errors import ConfigurationError

HEAD = "kind,model,partition,from,to,value,unit,source,year,country\n"


def priced(value: str) -> str:
    """A file with one price."""
    return f"{HEAD}price,,,2026-01-01,,{value},EUR,,,\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A rates file of two euros."""
    (tmp_path / "rates.csv").write_text(priced("2.00"))
    return tmp_path / "rates.csv"


def test_a_file_that_changes_is_read_again(path: Path) -> None:
    """What was in force stays as it is while it does not change."""
    site = SiteTariffs(path, UTC)
    before = site.look()
    path.write_text(priced("3.00"))

    after = site.look()

    assert before is not after
    assert before.rates.version != after.rates.version
    assert after is site.look()


@pytest.mark.parametrize("broken", [priced("-1"), "price\n", ""])
def test_a_mistake_changes_nothing_and_is_said_once(
    path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Until the file is right again."""
    site = SiteTariffs(path, UTC)
    before = site.look()
    path.write_text(broken)

    with caplog.at_level(logging.ERROR):
        assert (before, False) == (site.look(), site.successful)
        said = len(caplog.records)
        site.look()

    assert 0 < said == len(caplog.records)
    path.write_text(priced("4.00"))
    assert before is not site.look()
    assert site.successful


def test_a_file_that_is_gone_changes_nothing(path: Path) -> None:
    """Somebody moves it about."""
    site = SiteTariffs(path, UTC)
    before = site.look()
    path.unlink()

    assert (before, False) == (site.look(), site.successful)


def test_accounting_does_not_start_with_a_mistake(path: Path) -> None:
    """Nobody finds out weeks later."""
    path.write_text(priced("-1"))

    with pytest.raises(ConfigurationError, match="line 2"):
        SiteTariffs(path, UTC)


def test_without_a_file_the_defaults_hold() -> None:
    """There is no price then."""
    rates = SiteTariffs(None, UTC).look().rates

    assert ("", None) == (rates.currency, rates.price_at("H100", "", 1.8e9))
