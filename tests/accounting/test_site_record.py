"""How right forecasts were at a site: nothing before there is enough, and then its own figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpuwatch.accounting.site_record import MOST, THRESHOLD, SiteRecord
from gpuwatch.forecast.calibration import FEWEST
from gpuwatch.forecast.trials import Call, Mark
from tests.forecast.made_trials import many, trial


def test_below_a_hundred_it_says_how_many_there_are() -> None:
    """And has no figures, nor a threshold of its own."""
    record = SiteRecord(0.1)
    record.add(many(FEWEST - 1, 10))
    record.refresh()

    assert (f"no record at this site yet (n={FEWEST - 1})", {}, THRESHOLD) == (
        record.words, record.figures, record.threshold,
    )  # fmt: skip


def test_from_a_hundred_on_it_says_how_often_intervals_held() -> None:
    """Of all forecasts, at all stages."""
    record = SiteRecord(0.1)
    record.add(replace(each, final=95.0 * 3600 if number % 4 else 1e9) for number, each in enumerate(
        [trial() for _ in range(FEWEST)]))  # fmt: skip
    record.refresh()

    assert "80 % intervals held 75 % of the time in 100 finished forecasts at this site" == record.words
    assert record.figures["coverage"]


def test_what_was_cut_or_never_forecast_is_not_counted() -> None:
    """Nobody knows what it would have come to; of the other nothing was said."""
    record = SiteRecord(0.1)
    record.add(
        [trial(cut=True), replace(trial(), marks={}), replace(trial(), marks={"0.5": Mark(1.0, ())}), trial()]
    )
    record.refresh()

    assert "no record at this site yet (n=1)" == record.words


def test_a_record_that_is_large_is_reckoned_anew_after_some_more() -> None:
    """Not in every pass: figures of five thousand do not change by one."""
    record = SiteRecord(0.1)
    record.add(many(500, 10))
    record.refresh()
    before = record.words
    record.add(many(5, 5))
    record.refresh()
    unchanged = record.words
    record.add(many(10, 10))
    record.refresh()

    assert before == unchanged
    assert record.words.endswith("515 finished forecasts at this site")


def test_the_latest_are_kept() -> None:
    """A site of today is not that of years ago."""
    record = SiteRecord(0.1)
    record.add(trial(user="old") for _ in range(10))
    record.add(trial() for _ in range(MOST))

    assert (MOST, {"ada"}) == (len(record.trials), {each.user for each in record.trials})


@pytest.mark.parametrize(("wrong", "expected"), [(0, 0.5), (300, THRESHOLD)])
def test_the_threshold_is_what_the_record_supports(wrong: int, expected: float) -> None:
    """The least at which most calls were right; what is shipped where none is."""
    record = SiteRecord(0.1)
    calls = {at: Call(50.0, at) for at in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)}
    record.add(trial(user=f"u{number % 9}", final=200.0, calls=calls) for number in range(200))
    record.add(trial(user=f"u{number % 9}", final=90.0, calls=calls) for number in range(wrong))
    record.refresh()

    assert expected == record.threshold
