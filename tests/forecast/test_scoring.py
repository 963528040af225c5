"""Scores of forecasts: by hand, by what is known of them, and whatever comes in."""

from __future__ import annotations

import json
from math import exp, inf, log
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuwatch.forecast.scoring import at, document, figures, name_of, number_at, supported
from gpuwatch.forecast.trials import STAGES, THRESHOLDS, Call, Mark, Trial
from tests.forecast.made_trials import Replay, many, trial

WEIGHTS = ("jobs", "device_hours")


def figure(trials: list[Trial], *path: str, tolerance: float = 0.1) -> Any:
    return at(figures(trials, tolerance).values, *path)


def test_coverage_counts_runs_and_device_hours() -> None:
    """Of the 80 % intervals 70 to 150 one holds its run, of 100 h, and one does not, of 300 h; ends are within."""
    trials = [trial(final=100), trial(final=300)]

    assert (0.5, 0.25) == tuple(figure(trials, "coverage", "80", each, "submit") for each in WEIGHTS)
    assert 1.0 == figure([trial(final=70), trial(final=150)], "coverage", "80", "jobs", "submit")
    assert 2 == figure(trials, "n", "submit")


def test_winkler_score_is_the_width_and_what_lies_outside() -> None:
    """On logarithms; outside of an 80 % interval each unit costs ten, of a 50 % one four."""
    width, outside = log(150 / 70), log(300 / 150)

    assert pytest.approx(width) == figure([trial()], "winkler", "80", "jobs", "submit")
    assert pytest.approx(width + 10 * outside) == figure([trial(final=300)], "winkler", "80", "jobs", "submit")
    low = figure([trial(final=35)], "winkler", "50", "jobs", "submit")
    assert pytest.approx(log(120 / 85) + 4 * log(85 / 35)) == low
    both = figure([trial(), trial(final=300)], "winkler", "80", "device_hours", "submit")
    assert pytest.approx(width + 0.75 * 10 * outside) == both


def test_width_and_error_are_medians() -> None:
    """Of three runs the middle one, by device-hours the one that has half of them below; of two, between them."""
    trials = [trial(final=each) for each in (90, 100, 400)]

    assert pytest.approx(150 / 70) == figure(trials, "width", "80", "jobs", "submit")
    assert pytest.approx(log(100 / 90)) == figure(trials, "error", "jobs", "submit")
    assert pytest.approx(log(4)) == figure(trials, "error", "device_hours", "submit")
    assert pytest.approx(log(100 / 90) / 2) == figure(trials[:2], "error", "jobs", "submit")


def test_a_run_that_was_cut_says_nothing_about_intervals() -> None:
    """It would have come to more; it is counted apart."""
    trials = [trial(), trial(final=300, cut=True)]

    assert (1, 1, 1.0) == tuple(
        figure(trials, *path)
        for path in (("n", "submit"), ("cut", "submit"), ("coverage", "80", "jobs", "submit"))
    )


def test_stages_that_nobody_reached_are_not_known() -> None:
    """None, not 0."""
    values = figures([trial()], 0.1).values

    assert 0 == at(values, "n", "0.5")
    assert [None] * 4 == [
        at(values, *path)
        for path in (
            ("coverage", "80", "jobs", "0.5"),
            ("winkler", "80", "jobs", "0.5"),
            ("width", "80", "device_hours", "0.5"),
            ("error", "jobs", "0.5"),
        )
    ]


CALLED = [
    trial("ada", final=200, calls={0.8: Call(40, 0.9)}),  # an overrun called early
    trial("bob", final=120, calls={0.8: Call(110, 0.82)}),  # one called late
    trial("bob", final=100, calls={0.8: Call(80, 0.8)}),  # no overrun
    trial("eve", final=130, cut=True),  # an overrun that nobody called
    trial("eve", final=50),
]


def test_alerts_are_scored_by_what_became_of_them() -> None:
    """Three calls, two of them right, one of those early; three overruns."""
    found = figure(CALLED, "alert", "0.8")

    assert 3 == found["n"]
    assert {
        "precision": 2 / 3, "recall": 2 / 3, "early": 1 / 2, "early_precision": 1 / 2, "per_job": 3 / 5,
        "stated": 2.52 / 3, "lead": 0.25,
    } == pytest.approx({name: each["jobs"] for name, each in found.items() if name != "n"})  # fmt: skip


def test_alerts_are_scored_by_device_hours() -> None:
    """200 and 120 of 420 h called were right; of 450 h of overruns they were 320."""
    found = figure(CALLED, "alert", "0.8")

    assert {
        "precision": 320 / 420, "recall": 320 / 450, "early": 200 / 320, "early_precision": 200 / 300,
        "per_job": 420 / 600,
        "stated": (200 * 0.9 + 120 * 0.82 + 100 * 0.8) / 420, "lead": 0.6,
    } == pytest.approx({name: each["device_hours"] for name, each in found.items() if name != "n"})  # fmt: skip


def test_tolerance_says_what_an_overrun_is() -> None:
    """At 25 % 120 of 100 h is none."""
    assert 1 / 3 == figure(CALLED, "alert", "0.8", "precision", "jobs", tolerance=0.25)


def test_what_was_never_called_has_no_precision() -> None:
    """And calls per run are 0."""
    found = figure(CALLED, "alert", "0.95")

    assert (0, None, None, None, 0.0) == (
        found["n"], found["precision"]["jobs"], found["lead"]["jobs"], found["stated"]["jobs"],
        found["per_job"]["jobs"],
    )  # fmt: skip


def test_an_interval_needs_two_users() -> None:
    """Many runs of one user say nothing about others; nor do those of whom one has calls alone."""
    alone = figures([trial(), trial(final=300)], 0.1).intervals
    two = figures(CALLED, 0.1).intervals

    assert None is at(alone, "coverage", "80", "jobs", "submit")
    assert [0.0, 1.0] == at(two, "alert", "0.8", "early", "jobs")
    assert None is at(figures(CALLED[3:], 0.1).intervals, "alert", "0.8", "precision", "jobs")


def test_intervals_are_wider_where_users_differ() -> None:
    """Of runs alike within a user, a hundred of each say no more than one of each."""
    one = [trial(f"user-{number}", final=300 if number % 5 == 0 else 100) for number in range(20)]

    few = at(figures(one, 0.1).intervals, "coverage", "80", "jobs", "submit")
    many_runs = at(figures(one * 100, 0.1).intervals, "coverage", "80", "jobs", "submit")
    assert few == pytest.approx(many_runs)
    assert isinstance(few, list) and few[0] < 0.7 < 0.9 < few[1] <= 1.0


def test_true_quantiles_cover_what_they_say() -> None:
    """5,000 runs whose distribution is the forecast: 50, 80 and 90 % lie within their intervals."""
    found = figures(list(many(5_000, users=200)), 0.1)

    for percent in ("50", "80", "90"):
        covered = number_at(found.values, "coverage", percent, "jobs", "0.25")
        assert int(percent) / 100 == pytest.approx(covered, abs=0.02)
    ends = at(found.intervals, "coverage", "80", "jobs", "0.25")
    assert isinstance(ends, list) and ends[0] < 0.8 < ends[1] and ends[1] - ends[0] < 0.04


def test_the_same_trials_give_the_same_figures() -> None:
    """The draws are those of a seed."""
    trials = list(many(200, users=9))

    assert figures(trials, 0.1) == figures(trials, 0.1)
    assert figures(trials, 0.1).intervals != figures(trials, 0.1, seed=2).intervals


def test_users_without_number_are_drawn_in_groups() -> None:
    """The interval is that of as many independent runs: 80 % of 20,000 within half a percent or so."""
    found = figures(list(many(20_000, users=20_000)), 0.1)

    ends = at(found.intervals, "coverage", "80", "jobs", "submit")
    assert 20_000 == number_at(found.values, "users")
    assert isinstance(ends, list) and ends[1] - ends[0] == pytest.approx(
        2 * 1.96 * (0.16 / 20_000) ** 0.5, rel=0.1
    )


def test_the_document_is_json_with_a_tree_for_each_simpler_rule() -> None:
    """Stages and thresholds are one word of a path though they have a point; a rule calls under its own name."""
    point = Trial("ada", 100.0, 150.0, {"submit": Mark(0.0, (75.0,))}, {0.0: Call(80.0)})

    told = json.loads(json.dumps(document(Replay(tuple(CALLED), {"last two": (point,)}), 0.1), allow_nan=False))
    assert (5, 3, 0.1, 0.6) == (told["trials"], told["users"], told["tolerance"], told["overrun"]["jobs"])
    assert {*map(str, THRESHOLDS)} == {*told["alert"]}
    assert {*STAGES} == {*told["coverage"]["80"]["jobs"]} == {*told["interval"]["coverage"]["80"]["jobs"]}
    simpler = told["baselines"]["last_two"]
    assert pytest.approx(10 * log(2)) == simpler["winkler"]["80"]["jobs"]["submit"]
    assert ["rule", *map(name_of, THRESHOLDS)] == list(simpler["alert"])
    assert [simpler["alert"]["rule"]] * len(THRESHOLDS) == [simpler["alert"][name_of(each)] for each in THRESHOLDS]
    assert (1.0, None) == (
        simpler["alert"]["rule"]["precision"]["jobs"],
        simpler["alert"]["rule"]["stated"]["jobs"],
    )


def test_nothing_to_score_is_no_mistake() -> None:
    """A history of which nothing was forecast."""
    found = document(Replay(()), 0.1)

    assert (0.1, 0, 0, {}) == (found["tolerance"], found["trials"], found["users"], found["baselines"])


@pytest.mark.parametrize("trials", [(), (trial(),)])
def test_every_path_is_there_whatever_there_is_to_score(trials: tuple[Trial, ...]) -> None:
    """For each stage, interval, threshold and weight, also of simpler rules; what is not known is None."""
    values = document(Replay(trials, {"declared": trials}), 0.1)
    paths = [("n", stage) for stage in STAGES]
    for weight in ("jobs", "device_hours"):
        paths += [("coverage", each, weight, stage) for each in ("50", "80", "90") for stage in STAGES]
        paths += [
            ("alert", name_of(threshold), figure, weight)
            for threshold in THRESHOLDS
            for figure in ("precision", "recall", "early", "lead", "per_job")
        ]

    starts: tuple[tuple[str, ...], ...] = ((), ("baselines", "declared"))
    there = [at(values, *start, *path[:-1]) for start in starts for path in paths]
    assert [True] * 2 * len(paths) == [
        isinstance(each, dict) and path[-1] in each for each, path in zip(there, [*paths, *paths], strict=True)
    ]


def test_the_supported_threshold_is_the_lowest_that_is_right_often_enough() -> None:
    """And that has enough calls to say so."""
    right = trial(final=200, calls={each: Call(40, each) for each in THRESHOLDS})
    wrong = trial(final=90, calls={each: Call(40, each) for each in THRESHOLDS if each < 0.7})

    assert 0.7 == supported(figures([right] * 20 + [wrong] * 5, 0.1).values)
    assert 0.5 == supported(figures([right] * 20 + [wrong] * 3, 0.1).values)
    assert None is supported(figures([right] * 19, 0.1).values)
    assert None is supported(figures([wrong] * 30, 0.1).values)


amounts = st.floats(0, 1e15) | st.sampled_from([0.0, 1.0, inf])


@st.composite
def trials_of_any_kind(draw: st.DrawFn) -> Trial:
    """Amounts of 0, no end, far apart; stages and calls of any number."""
    quantiles = st.lists(amounts, min_size=7, max_size=7).map(sorted).map(tuple)
    marks = draw(st.dictionaries(st.sampled_from(STAGES), st.builds(Mark, amounts, quantiles | st.just(()))))
    calls = draw(st.dictionaries(st.sampled_from(THRESHOLDS), st.builds(Call, st.floats(0, 1e15), st.none())))
    final = draw(st.floats(0, 1e15))
    return Trial(draw(st.sampled_from("abc")), draw(st.floats(1, 1e15)), final, marks, calls, draw(st.booleans()))


@settings(max_examples=40)
@given(st.lists(trials_of_any_kind(), max_size=8))
def test_any_trials_are_scored(trials: list[Trial]) -> None:
    """Ratios lie between 0 and 1, and all that is written is a number or null."""
    told = json.loads(json.dumps(document(Replay(tuple(trials)), 0.1), allow_nan=False))

    ratios = [
        *(
            told.get("coverage", {}).get(each, {}).get(weight, {})
            for each in ("50", "80", "90")
            for weight in WEIGHTS
        ),
        *(each[name] for each in told.get("alert", {}).values() for name in ("precision", "recall", "early")),
    ]
    values = [each for ratio in ratios for each in ratio.values()]
    assert all(each is None or 0.0 <= each <= 1.0 + 1e-9 for each in values)


@settings(max_examples=20)
@given(st.floats(1, 1e6), st.floats(1, 100), st.floats(1, 100))
def test_scores_do_not_depend_on_the_unit(scale: float, low: float, high: float) -> None:
    """Times a factor: the width, Winkler score and error are the same."""
    quantiles = tuple(sorted((100 / low, 100 / low, 100 / low, 100, 100 * high, 100 * high, 100 * high)))
    made = [trial(final=130, quantiles=quantiles)]
    scaled = [trial(final=130 * scale, quantiles=tuple(scale * each for each in quantiles))]

    for path in (
        ("winkler", "80", "jobs", "submit"),
        ("width", "80", "jobs", "submit"),
        ("error", "jobs", "submit"),
    ):
        assert figure(made, *path) == pytest.approx(figure(scaled, *path))
    assert pytest.approx(low * high) == exp(log(figure(made, "width", "50", "jobs", "submit")))
