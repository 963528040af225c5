"""What headers say of time."""

from __future__ import annotations

import pytest

from gpuwatch.http.times import MOST_WAIT_SECONDS, date_of, retry_after, skew_text

NOW = 1_000_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("86400", MOST_WAIT_SECONDS),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Sun, 09 Sep 2001 01:46:50 GMT", 10.0),
        ("Sun, 09 Sep 2001 01:46:30 GMT", 0.0),
        ("Sun, 09 Sep 99999 01:46:30 GMT", None),
    ],
)
def test_a_server_says_how_long_to_wait(text: str | None, seconds: float | None) -> None:
    """In seconds or as a date; never longer than ten minutes, whatever it says."""
    assert seconds == retry_after(text, NOW)


def test_a_date_says_nothing_without_a_clock_beside_it() -> None:
    """Ours may be another."""
    assert retry_after("Sun, 09 Sep 2001 01:46:50 GMT", None) is None


@pytest.mark.parametrize(
    ("text", "time"),
    [("Sun, 09 Sep 2001 01:46:40 GMT", NOW), ("yesterday", None), ("", None), (None, None)],
)
def test_a_servers_clock_is_read_where_it_can_be(text: str | None, time: float | None) -> None:
    """Else it is not known."""
    assert time == date_of(text)


@pytest.mark.parametrize(
    ("ahead", "said"),
    [(0.4, "agrees with ours"), (300.0, "is 300 s ahead of ours"), (-80.0, "is 80 s behind ours")],
)
def test_skew_is_said_with_its_direction(ahead: float, said: str) -> None:
    """Less than a second is none: a `Date` header has no more."""
    assert f"its clock {said}" == skew_text(ahead)
