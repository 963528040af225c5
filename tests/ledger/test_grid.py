"""The shipped table of grid intensities is complete, plausible and found by whatever people call a country."""

from __future__ import annotations

import pytest

from gpuwatch.ledger import grid


def test_every_row_is_plausible_and_has_a_year() -> None:
    """Grams of CO2e over the life cycle; only one country's grid is known to be above 1,200."""
    years = [year for name in grid.names() for year in grid.country(name)]

    odd = {year.name for year in years if not 5 <= float(year.grams) <= 1200}
    assert {"Turkmenistan"} == odd
    assert {2022, 2023, 2024} == {year.year for year in years}
    assert len(years) >= 209
    assert all(year.grams == f"{float(year.grams):g}" for year in years)


@pytest.mark.parametrize("name", ["DE", "deu", "Germany", " germany "])
def test_country_is_found_by_codes_and_name(name: str) -> None:
    """In whichever case."""
    assert [("Germany", 2024, "344.14")] == [(each.name, each.year, each.grams) for each in grid.country(name)]


def test_unknown_country_has_no_years() -> None:
    """Regions are no countries; the world is."""
    assert () == grid.country("Atlantis") == grid.country("Europe") == grid.country("")
    assert "World 2024, Ember" == grid.world().basis


def test_codes_and_names_are_of_one_country_each() -> None:
    """No name is another country's code."""
    codes = [name for name in grid.names() if len(grid.country(name)) != 1]

    assert [] == codes
