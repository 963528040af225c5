"""The site's record as series."""

from __future__ import annotations

from gpuwatch.accounting import record_metrics
from gpuwatch.accounting.record_metrics import CATALOGUE, series
from gpuwatch.accounting.site_record import Standing
from gpuwatch.forecast.scoring import figures
from gpuwatch.forecast.trials import LEVELS, STAGES, THRESHOLDS, Call, Mark, Trial


def trial(final: float, called: bool) -> Trial:
    """Forecast at each stage between 1 and 7 hours, with a call before half of what is declared was used."""
    marks = {stage: Mark(0.0, tuple(3600.0 * (1 + number) for number in range(len(LEVELS)))) for stage in STAGES}
    calls = {at: Call(1800.0, 0.95) for at in THRESHOLDS} if called else {}
    return Trial("ada", 3600.0, final, marks, calls)


def test_before_anything_is_known_there_is_a_number_and_a_threshold() -> None:
    """No ratio of nothing, and nothing at all before a pass."""
    told = {described.name: value for described, _, value in series(Standing())}

    assert {"gpuwatch_forecast_finished": 0.0, "gpuwatch_forecast_alert_threshold": 0.8} == told
    assert [] == list(series(None))


def test_intervals_and_alerts_are_exported_as_they_are_scored() -> None:
    """Of four trials three came to what was forecast; two of three overruns were told of, and early."""
    trials = [trial(4 * 3600.0, True), trial(4 * 3600.0, True), trial(4 * 3600.0, False), trial(60.0, True)]

    told = {
        (described.name, *labels): value
        for described, labels, value in series(Standing(4, 0.7, figures(trials, 0.1, seed=None).values))
    }

    assert 0.75 == told["gpuwatch_forecast_coverage_ratio", "0.25", "0.8", "jobs"]
    assert 0.99 < told["gpuwatch_forecast_coverage_ratio", "0.25", "0.8", "device_hours"]
    assert (2 / 3, 2 / 3, 1.0) == tuple(
        told[f"gpuwatch_forecast_alert_{name}_ratio", "0.8"] for name in ("precision", "recall", "early")
    )


def test_every_series_is_in_the_catalogue_and_there_are_few() -> None:
    """With as many labels as it says; stages, levels and thresholds are fixed."""
    values = figures([trial(4 * 3600.0, True)], 0.1, seed=None).values

    told = list(series(Standing(1, 0.8, values)))

    assert {described for described, _, _ in told} == set(CATALOGUE)
    assert all(len(described.labels) == len(labels) for described, labels, _ in told)
    assert 2 + 5 * 3 * 2 + 4 * len(THRESHOLDS) == len(told)
    assert record_metrics.COVERAGE.labels == ("stage", "level", "weight")
