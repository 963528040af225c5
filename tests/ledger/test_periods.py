"""Apportioning what was held: by local days, by months, by whose it was."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.ledger.periods import BY, Calendar, Row, Span, grouped, midnight

HOUR = 3600.0
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def span(begins: str, ends: str, devices: float | None = 2.0, job: str = "7", **more: str) -> Span:
    return Span(("default", job), at(begins), at(ends), devices, 16.0, **more)


_zones = st.sampled_from(
    ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu", "America/Havana")
)
_begins = st.floats(1e9, 2e9, allow_nan=False)
_spans = st.builds(
    lambda job, begins, seconds, devices, user: Span(
        ("default", job), begins, begins + seconds, devices, None, user=user, account="ml"
    ),
    st.sampled_from(("1", "2", "3")),
    _begins,
    st.floats(0.0, 1e6),
    st.one_of(st.none(), st.floats(0.0, 64.0)),
    st.sampled_from((None, "ada", "bob")),
)


@given(st.lists(_spans, max_size=8), st.sampled_from(BY), _zones, _begins, st.floats(0.0, 1e8))
def test_groups_add_up_to_the_whole(spans: list[Span], by: str, zone: str, begins: float, length: float) -> None:
    """Whatever the groups, the time zone and the part of time that is asked for."""
    found = grouped(spans, by, ZoneInfo(zone), begins, begins + length)

    clipped = [
        (each.devices or 0.0) * max(0.0, min(each.ends, begins + length) - max(each.begins, begins))
        for each in spans
    ]
    parts = [row.device_seconds or 0.0 for row in found.rows]
    assert math.isclose(math.fsum(clipped), math.fsum(parts), rel_tol=1e-6, abs_tol=1e-3)
    assert math.isclose(math.fsum(clipped), found.total.device_seconds or 0.0, rel_tol=1e-6, abs_tol=1e-3)


@given(_begins, st.floats(0.0, 1e7), _zones, st.sampled_from(("day", "month")))
def test_every_part_lies_in_the_day_it_is_named_by(begins: float, length: float, zone: str, by: str) -> None:
    """Its middle has that local date."""
    at_now = begins
    for name, seconds in Calendar(by, ZoneInfo(zone)).parts(begins, begins + length):
        middle = datetime.fromtimestamp(at_now + seconds / 2, ZoneInfo(zone))
        assert f"{middle:%Y-%m-%d}".startswith(name)
        at_now += seconds
    assert math.isclose(begins + length, at_now)


def test_a_job_over_midnight_is_divided_there() -> None:
    """Two hours on the one day, one on the other, and one job on each."""
    found = grouped([span("2026-11-24T22:00", "2026-11-25T01:00")], "day", UTC)

    assert (
        Row("2026-11-24", 4 * HOUR, 32 * HOUR, 1),
        Row("2026-11-25", 2 * HOUR, 16 * HOUR, 1),
    ) == found.rows
    assert Row(None, 6 * HOUR, 48 * HOUR, 1) == found.total


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-25", 24)])
def test_a_day_on_which_the_clocks_change_is_shorter_or_longer(day: str, hours: int) -> None:
    """In the time zone that is asked for."""
    begins = midnight(date.fromisoformat(day), BERLIN)
    week = Span(("default", "7"), begins - 50 * HOUR, begins + 90 * HOUR, 1.0)

    by_name = {row.name: row.device_seconds for row in grouped([week], "day", BERLIN).rows}

    assert hours * HOUR == by_name[day]


def test_a_midnight_that_does_not_exist_is_the_first_moment_of_its_day() -> None:
    """In Brazil the clocks were put from 00:00 to 01:00."""
    assert at("2018-11-04T03:00") == midnight(date(2018, 11, 4), ZoneInfo("America/Sao_Paulo"))


def test_months_are_named_by_year_and_month() -> None:
    """December and the January after it, in order."""
    found = grouped([span("2027-01-01T00:00", "2027-01-01T01:00"), span("2026-12-31T23:00", "2027-01-01T00:00")],
                    "month", UTC)  # fmt: skip

    assert ["2026-12", "2027-01"] == [row.name for row in found.rows]


def test_only_the_time_asked_for_counts() -> None:
    """Clipped at both ends; what lies outside of it is no row."""
    spans = [span("2026-11-24T00:00", "2026-11-25T00:00"), span("2026-11-20T00:00", "2026-11-21T00:00", job="8")]

    found = grouped(spans, "user", UTC, at("2026-11-24T20:00"), at("2026-11-24T21:00"))

    assert (Row(None, 2 * HOUR, 16 * HOUR, 1),) == found.rows


def test_the_most_comes_first_and_each_job_once() -> None:
    """Two submissions of a job are one job."""
    spans = [
        span("2026-11-24T00:00", "2026-11-24T01:00", user="ada"),
        span("2026-11-24T02:00", "2026-11-24T03:00", user="ada"),
        span("2026-11-24T00:00", "2026-11-24T09:00", user="bob", job="8"),
    ]

    assert [("bob", 1), ("ada", 1)] == [(row.name, row.jobs) for row in grouped(spans, "user", UTC).rows]


def test_unknown_devices_are_counted_not_taken_for_none() -> None:
    """A group of nothing known has no figure; beside a known job the unknown one is named."""
    unknown, known = (
        span("2026-11-24T00:00", "2026-11-24T01:00", None),
        span("2026-11-24T00:00", "2026-11-24T01:00", job="8"),
    )

    (alone,), (both,) = (grouped(each, "account", UTC).rows for each in ([unknown], [unknown, known]))

    assert (None, 1, 1) == (alone.device_seconds, alone.jobs, alone.unknown_jobs)
    assert (2 * HOUR, 2, 1) == (both.device_seconds, both.jobs, both.unknown_jobs)
