"""Burn-up, fan and declaration as lines of text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpuwatch.cli.burnup_chart import MOVED_HEIGHT, Chart, Moved, chart_lines
from gpuwatch.model import Estimate, Scope
from tests.cli.charts import CASES, DAY, HOUR, T0, chart, estimate, quantiles

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_numbers = st.one_of(
    st.sampled_from(
        (0.0, 1.0, -1.0, 1e-300, 1e300, float("inf"), float("-inf"), float("nan"), 1e5, 1e9, T0, T0 + 1)
    ),
    st.floats(0.0, 1e12),
)
_maybe = st.one_of(st.none(), _numbers)
_three = st.tuples(_numbers, _numbers, _numbers)
_charts = st.builds(
    Chart,
    st.sampled_from(("device-hours", "energy", "wall", "cost", "carbon")),
    _numbers,
    _numbers,
    st.lists(st.tuples(_numbers, _numbers), max_size=8),
    st.one_of(st.none(), _numbers.map(lambda likely: estimate(likely, "cost", "EUR"))),
    st.one_of(st.none(), st.tuples(_numbers, _numbers)),
    st.dictionaries(st.sampled_from((0.05, 0.1, 0.5, 0.9, 0.95)), _numbers),
    st.one_of(st.none(), _three),
    st.lists(st.builds(Moved, _numbers, _numbers, _numbers, _numbers, _maybe), max_size=5),
    _maybe,
    _maybe,
    st.booleans(),
)


@pytest.mark.parametrize("case", CASES)
def test_charts_look_as_they_were_looked_at(case: str, golden: Callable[[str, str], None]) -> None:
    """In 80 columns, and in ASCII in 60; who changes them looks at the difference."""
    lines = [*chart_lines(CASES[case]), "", *chart_lines(CASES[case], width=60, ascii_only=True)]

    golden(f"burnup_chart/{case}.txt", "\n".join(lines) + "\n")


@example(Chart("device-hours", 0.0, 0.0, [(0.0, 3e6), (1.0, 1e-300)]), 80, 14, False, False)
@given(_charts, st.integers(0, 200), st.integers(0, 40), st.booleans(), st.booleans())
def test_odd_numbers_are_drawn_within_the_width(
    drawn: Chart, width: int, height: int, colour: bool, ascii_only: bool
) -> None:
    """Whatever the numbers are: no exception, no line too long, as many lines as it must have."""
    lines = [_ESCAPE.sub("", line) for line in chart_lines(drawn, width, height, colour, ascii_only)]

    assert all(len(line) <= min(120, max(60, width)) for line in lines)
    framed = sum(line[8:9] == " " and line[9:10] in tuple("│┤└|+") for line in lines)
    upper = max(6, height) + 1
    assert framed in (0, upper, upper + MOVED_HEIGHT + 1)
    assert (framed == 0) == lines[0].startswith("No burn-up of ")


@given(_charts)
def test_ascii_is_ascii(drawn: Chart) -> None:
    """Where the terminal's encoding has nothing else."""
    assert all(line.isascii() for line in chart_lines(drawn, ascii_only=True))


def test_colour_changes_nothing_but_the_colour() -> None:
    """Who sees none has the same chart."""
    plain, coloured = chart_lines(chart()), chart_lines(chart(), colour=True)

    assert plain != coloured
    assert plain == [_ESCAPE.sub("", line).rstrip() for line in coloured]


def test_a_declaration_far_too_large_is_told_of_and_does_not_flatten_the_rest() -> None:
    """The fan still fills the chart."""
    lines = chart_lines(CASES["declared-far-too-much"])

    assert "↑ declared 640,000: above the chart" in lines
    assert lines[4].endswith("░░ 873")


def test_a_fan_far_too_wide_is_cut_and_says_so() -> None:
    """At four times its median, so that the median is not on the floor."""
    wide = chart(declared=None, fan=quantiles(60 * HOUR, 2.9), used=[(T0, 0.0), (T0 + HOUR, 8 * HOUR)])

    assert "↑ the fan goes on to 2,456, above the chart" in chart_lines(wide)


def test_a_limit_far_away_is_told_of() -> None:
    """Instead of squeezing all else to the left."""
    assert "time limit 2025-12-04 16:00Z: beyond the chart" in chart_lines(CASES["declared-far-too-much"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"used": ()}, "No burn-up of device-hours yet."),
        ({"fan": {}, "ends": None}, "No forecast."),
        ({"declared": None}, "nothing declared"),
        ({"ended": True}, "end"),
    ],
)
def test_what_is_not_there_is_said(changed: dict[str, object], words: str) -> None:
    """In words, not by a chart that lacks something."""
    assert any(words in line for line in chart_lines(chart(**changed)))


def test_what_is_expected_is_never_called_declared() -> None:
    """Nobody declared it."""
    text = "\n".join(chart_lines(CASES["wide-and-expected"]))

    assert "expected 20 to 310" in text
    assert "declared" not in text


def test_what_its_like_do_not_exceed_is_no_amount_that_is_expected() -> None:
    """A forecast is held against that; an interval has two ends."""
    held = chart(declared=None, expected=(640 * HOUR, 640 * HOUR), crosses_at=None)

    assert "╌ expected at most 640" in chart_lines(held)[-1]


def test_when_it_ends_is_said_by_how_long_it_will_take() -> None:
    """With its interval."""
    assert "ends in about 12 h (80 %: 9 h to 18 h), 2025-11-25 13:00Z" in chart_lines(chart())


def test_what_does_not_fit_is_left_out_whole() -> None:
    """A date without its time would be read as one."""
    long = replace(CASES["month"], ends=(T0 + 40.25 * DAY, T0 + 56.25 * DAY, T0 + 75.25 * DAY))

    assert "ends in about 50.2 d (80 %: 34.2 d to 69.2 d)" in chart_lines(long, width=60)
    assert "ends in about 50.2 d (80 %: 34.2 d to 69.2 d), 2026-01-19 22:00Z" in chart_lines(long, width=80)


def test_of_a_declared_range_the_end_is_drawn() -> None:
    """That is what it is held against, and where it is crossed."""
    declared = Estimate(Scope("job", "7"), "device-hours", 400 * HOUR, 500 * HOUR, 640 * HOUR, "s")
    lines = chart_lines(chart(declared=declared))

    assert chart_lines(chart())[:-1] == lines[:-1]
    assert "╌ declared at most 640" in lines[-1]


def test_a_fan_without_an_end_is_drawn_for_half_as_long_again() -> None:
    """Where nobody knows when it ends, the fan has a place all the same."""
    lines = chart_lines(replace(chart(), ends=None, limit_at=None))

    assert sum("░" in line for line in lines[1:16]) > 5


def test_one_kept_forecast_has_not_moved() -> None:
    """There is no second chart."""
    assert not any("as forecast" in line for line in chart_lines(chart(moved=chart().moved[:1])))


def test_a_median_alone_has_no_interval() -> None:
    """Nothing is shaded, and nothing says 80 %."""
    end = T0 + 21 * HOUR
    lines = chart_lines(chart(fan={0.5: 702 * HOUR}, ends=(end, end, end), moved=()))

    assert "ends in about 12 h, 2025-11-25 13:00Z" in lines
    assert not any("░" in line or "80 %" in line for line in lines)


def test_a_forecast_that_was_far_too_wide_is_cut_and_says_so() -> None:
    """As in the first minutes."""
    lines = chart_lines(chart(moved=[Moved(T0, 1.0, 2 * HOUR, 9e9), *chart().moved[1:]]))

    assert "↑ up to 2,500,000, above the chart" in lines


def test_the_crossing_is_in_the_legend_where_it_is_in_the_chart() -> None:
    """And only there."""
    shown, hidden = chart_lines(chart()), chart_lines(chart(crosses_at=T0 + 900 * HOUR))

    assert (True, False) == ("× crossed" in shown[-1], "× crossed" in hidden[-1])
