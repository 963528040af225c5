"""What runs like one came to: those that were cut short, those that failed apart, what declarations came to."""

from __future__ import annotations

from typing import Any

import pytest

from gpuwatch.estimates.history import likeness, nearest, samples
from gpuwatch.ledger.past import PastJob
from tests.ledger.batch import HOUR, T0


def past(number: int, hours: float, **changed: Any) -> PastJob:
    """Ada's job of that number, which came to so many device-hours on one device."""
    values: dict[str, Any] = {
        "cluster": "default", "job_id": str(number), "display": str(number), "name": f"train-{number}",
        "user": "ada", "account": "ml", "partition": "gpu", "batch": f"ada {number}",
        "started": T0 + number * HOUR,
        "ended": T0 + number * HOUR + hours * HOUR, "seen": T0 + number * HOUR + hours * HOUR,
        "ending": "completed", "device_seconds": hours * HOUR, **changed,
    }  # fmt: skip
    return PastJob(**values)


def test_a_spread_is_of_runs_that_came_to_an_end_of_their_own() -> None:
    """Failed and cancelled ones stand apart, with what they cost."""
    jobs = [past(n, n) for n in range(1, 20)]
    wrong = [past(30, 100, ending="failed"), past(31, 0.5, ending="cancelled"), past(32, 1.5, ending="failed")]

    found = likeness([*jobs, *wrong])
    assert (19, 19) == (found.n, found.spreads["device-hours"].n)
    assert pytest.approx(10 * HOUR) == found.spreads["device-hours"].quantiles[0.5]
    assert [("completed", 19), ("failed", 2), ("cancelled", 1)] == [(e.ending, e.jobs) for e in found.endings]
    assert 101.5 * HOUR == found.endings[1].device_seconds


def test_runs_that_were_cut_short_needed_more() -> None:
    """With four of twelve at the limit the 90 % are not known, and the median is above that of the others."""
    ended = [past(n, n) for n in range(1, 9)]
    cut = [past(20 + n, 8, ending="timed out") for n in range(4)]

    spread = likeness([*ended, *cut]).spreads["device-hours"]
    assert (12, 4) == (spread.n, spread.cut)
    assert spread.quantiles[0.9] is None
    assert spread.quantiles[0.5] is not None
    assert spread.quantiles[0.5] > 4.5 * HOUR


def test_a_few_runs_are_a_list() -> None:
    """Of four there is no median, and each is named."""
    found = likeness([past(n, n) for n in range(1, 5)])

    assert {} == found.spreads
    assert ["4", "3", "2", "1"] == [job.job_id for job in found.nearest]


def test_what_was_submitted_together_counts_less() -> None:
    """Sixteen tasks of an array weigh as much as four runs."""
    array = [past(n, 1, batch="array 7") for n in range(16)]

    assert pytest.approx(4.0) == sum(each.weight for each in samples(array, lambda job: job.device_seconds))


def test_a_declaration_comes_to_what_declarations_came_to() -> None:
    """Those that declared took twice as much: so 640 are 1,280, whatever runs without a declaration took."""
    declared = [past(n, 2.0 * n, declared_seconds=n * HOUR) for n in range(1, 12)]
    others = [past(50 + n, 0.1) for n in range(20)]

    found = likeness([*declared, *others], declared_seconds=640 * HOUR)
    assert found.ratio is not None
    assert found.applied is not None
    assert (11, pytest.approx(2.0)) == (found.ratio.n, found.ratio.quantiles[0.5])
    assert pytest.approx(1280 * HOUR) == found.applied.quantiles[0.5]
    assert found.best is found.applied


def test_too_few_declarations_say_nothing_of_yours() -> None:
    """Four are too few; the spread of the runs is there all the same."""
    found = likeness([past(n, n, declared_seconds=HOUR) for n in range(1, 5)] + [past(9, 9)], None, HOUR)

    assert found.applied is None
    assert found.spreads["device-hours"] is found.best


def test_the_nearest_are_those_of_the_nearest_declaration_then_name_then_time() -> None:
    """By the ratio of amounts: 600 is nearer to 640 than 700 is."""
    jobs = [
        past(1, 1, declared_seconds=700 * HOUR), past(2, 1, declared_seconds=600 * HOUR),
        past(3, 1, name="other"), past(4, 1), past(5, 1),
    ]  # fmt: skip

    found = nearest(jobs, "train-9", 640 * HOUR, 5)
    assert ["2", "1", "5", "4", "3"] == [job.job_id for job in found]


def test_energy_that_is_not_known_is_in_no_spread() -> None:
    """Six of nine were measured."""
    jobs = [past(n, n, joules=1e6 * n if n < 7 else None) for n in range(1, 10)]

    assert 6 == likeness(jobs).spreads["energy"].n
