"""Parameters and cursors: what is typed is read, or refused with the reason."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Rejected
from gpuwatch.ledger.listing import Position
from gpuwatch.web.cursors import cursor, name_after, position
from gpuwatch.web.parameters import choice, time_of, values_of, whole, word, zone_of

BERLIN = ZoneInfo("Europe/Berlin")


@given(st.integers(0, 2**33), st.text(min_size=1, max_size=256))
def test_a_cursor_comes_back_as_it_was(started: int, name: str) -> None:
    """Whatever the job is called; it is a word that needs no quoting."""
    given_ = cursor(started, name)

    assert Position(started, name) == position(given_)
    assert given_.replace("-", "").replace("_", "").isalnum()
    assert name == name_after(cursor(name))


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_any_other_word_is_refused(text: str) -> None:
    """With an error of ours."""
    for read in (position, name_after):
        try:
            read(text)
        except Rejected:
            continue
        assert text == cursor(*position(text)) if read is position else cursor(name_after(text))


@pytest.mark.parametrize("parts", [(), ("a",), (1,), ("a", 1), (1, 2), (True, "a"), (2**53, "a"), (1, "a", "b")])
def test_a_cursor_of_another_shape_is_refused(parts: tuple[str | int, ...]) -> None:
    """Also where it was made by something of ours, for another list."""
    with pytest.raises(Rejected):
        position(cursor(*parts))


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("0", UTC, 0.0),
        ("1764000000.25", UTC, 1_764_000_000.25),
        ("2025-11", UTC, 1_761_955_200.0),
        ("2025-11-25", UTC, 1_764_028_800.0),
        ("2025-11-25", BERLIN, 1_764_025_200.0),
        ("2025-11-25T13:00", BERLIN, 1_764_072_000.0),
        ("2025-11-25T13:00Z", BERLIN, 1_764_075_600.0),
    ],
)
def test_times_are_read_in_their_zone(text: str, zone: ZoneInfo, expected: float) -> None:
    """Seconds, months, days, times of day."""
    assert expected == time_of("from", text, zone)


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    """With an error of ours, and never a time that the ledger cannot have."""
    try:
        assert 0 <= time_of("from", text, UTC) <= 2**32
    except Rejected as exc:
        assert str(exc).startswith("from: ")


@given(st.text(max_size=80))
def test_any_text_is_a_zone_or_refused(text: str) -> None:
    """No path leaves the database of zones."""
    with suppress(Rejected):
        assert ".." not in str(zone_of(text))


def test_parameters_have_defaults_and_are_there_once() -> None:
    """What is not declared is refused with what there is."""
    declared = (word("user", ""), choice("by", "", ("day", "month"), "day"), whole("limit", "", 1, 9, 5))

    assert {"user": None, "by": "day", "limit": 5} == values_of(declared, [])
    assert {"user": "ada", "by": "month", "limit": 9} == values_of(
        declared, [("user", "ada"), ("by", "month"), ("limit", "9")]
    )
    for wrong in (
        [("x", "1")],
        [("limit", "5"), ("limit", "5")],
        [("limit", "²")],
        [("limit", "10")],
        [("user", "")],
    ):
        with pytest.raises(Rejected):
            values_of(declared, wrong)
