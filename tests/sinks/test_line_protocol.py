"""What we write is what a reader that knows the specification alone reads: a line for each point."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gpuwatch import hygiene
from gpuwatch.sinks.line_protocol import (
    COUNT,
    COUNTER,
    EXACT,
    GAUGE,
    LIMIT_CACHED,
    TEXT,
    Encoder,
    Field,
    Series,
    exact,
)
from tests.sinks.line_parser import Point, parse

MARKS = st.sampled_from(
    [
        ",", "=", " ", "\\", '"', "#", "\n", "\r\n", "\t", "\x00", "\u2028", "\u2029", "\x85", "\udcff", "\ud83d",
        "\u202e", "%s", "%", "i", "👩‍👩‍👧‍👦", "e\u0301", "\\n", "'", "a", "/scratch data",
    ]
)  # fmt: skip
HOSTILE = st.one_of(st.lists(MARKS, max_size=10).map("".join), st.text(st.characters(), max_size=200))
NUMBERS = st.one_of(st.floats(), st.integers(-(2**70), 2**70), st.booleans(), st.just(10**400))
FORMS = st.sampled_from([GAUGE, COUNTER, COUNT, EXACT])
FIELDS = st.one_of(
    st.tuples(st.builds(Field, HOSTILE, FORMS), NUMBERS),
    st.tuples(st.builds(Field, HOSTILE, st.just(TEXT)), HOSTILE),
)
TAGS = st.lists(st.tuples(HOSTILE, st.one_of(HOSTILE, st.none())), max_size=4, unique_by=lambda tag: tag[0])
NOW = 1_764_000_000_123


def tag(text: str) -> str:
    """A tag as it may be written: cleaned, and no backslash before a mark or at the end."""
    return re.sub(r"\\(?=[,= \\]|\Z)", "\ufffd", hygiene.label(text))


def key(text: str) -> str:
    """The name of a field."""
    return tag(text.replace('"', "'"))


def written(form: str, value: float | str) -> float | str:
    """What is left of a value."""
    if isinstance(value, str):
        return hygiene.text(value, 16_384)
    return float(value) if form == EXACT else float(form % value)


def known(field: Field, value: float | str) -> bool:
    """Whether a value can be written at all."""
    try:
        return key(field.name) != "" and (value != "" if isinstance(value, str) else math.isfinite(value))
    except OverflowError:
        return False


def line(
    fields: list[tuple[Field, float | str]],
    series: Series | None = None,
    time: int = NOW,
    encoder: Encoder | None = None,
) -> str:
    """One line of an encoder that has not written anything yet."""
    series = series or Series("m")
    return (encoder or Encoder()).line(series, tuple(f for f, _ in fields), [v for _, v in fields], time)


@given(HOSTILE, TAGS, st.lists(FIELDS, max_size=6), st.integers(-(2**40), 2**42))
def test_any_point_reads_back_cleaned_and_is_one_line(
    measurement: str, tags: list[tuple[str, str | None]], fields: list[tuple[Field, float | str]], time: int
) -> None:
    """Whatever the strings hold, there is one line for one point, and everything in it is what was meant."""
    names = [key(name) for name, value in tags if value]
    assume(len(set(names)) == len(names))
    text = line(fields, Series(measurement, tuple(tags)), time)

    expected: dict[str, float | str] = {}
    for field, value in fields:
        if known(field, value):
            expected.setdefault(key(field.name), written(field.form, value))
    if not expected or not measurement:
        assert text == ""
        return
    cleaned = key(measurement)
    cleaned = "\ufffd" + cleaned[1:] if cleaned.startswith("#") else cleaned
    kept = tuple((key(name), tag(value)) for name, value in tags if value and key(name))
    assert [Point(cleaned, kept, tuple(expected.items()), time * 1_000_000)] == parse(text.encode())
    assert text.count("\n") == 1
    assert len(text.splitlines()) == 1


@given(st.lists(FIELDS, max_size=6), st.lists(FIELDS, max_size=6))
def test_what_was_written_before_changes_nothing(
    first: list[tuple[Field, float | str]], second: list[tuple[Field, float | str]]
) -> None:
    """The same point is the same bytes, so that sending it again stores it once."""
    encoder = Encoder()
    line(first, encoder=encoder)

    assert line(second) == line(second, encoder=encoder) == line(second, encoder=encoder)


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(0.1)
@example(2.0**60)
@example(5e-324)
@example(-0.0)
def test_exact_numbers_lose_no_digit(value: float) -> None:
    """The ledger is read back from them."""
    assert value == float(exact(value))


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        (GAUGE, 651.2345678, "651.235"),
        (GAUGE, 70_123_456_789, "7.01235e+10"),
        (GAUGE, 0.0, "0"),
        (COUNTER, 12.34567, "12.346"),
        (COUNT, 123_456_789_012_345.0, "123456789012345"),
        (EXACT, 1e22, "1e+22"),
        (EXACT, 0.1 + 0.2, "0.30000000000000004"),
        (EXACT, 42, "42"),
        (EXACT, True, "1"),
    ],
)
def test_forms_of_numbers(form: str, value: float, expected: str) -> None:
    """Each is a float to a server: it ends with neither `i` nor `u`."""
    assert f"m f={expected} {NOW}000000\n" == line([(Field("f", form), value)])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_number_that_is_none_is_left_out(value: float) -> None:
    """Unknown is absent; the rest of the point is there."""
    fields: list[tuple[Field, float | str]] = [(Field("a", GAUGE), value), (Field("b", GAUGE), 1.0)]

    assert f"m b=1 {NOW}000000\n" == line(fields)
    assert line(fields[:1]) == ""


def test_point_without_fields_is_no_line() -> None:
    """A server would refuse it."""
    assert line([]) == ""


def test_newline_in_a_tag_forges_no_point() -> None:
    """The known attack: a line of one's own behind a line break."""
    series = Series("m", (("job_id", "1\nm,job_id=2 energy=0 1"),))

    (point,) = parse(line([(Field("energy", EXACT), 5.0)], series).encode())

    assert (("job_id", "1\ufffdm,job_id=2 energy=0 1"),) == point.tags


def test_backslash_that_reads_in_one_way_stays() -> None:
    """A user of a domain keeps his name, on all servers."""
    series = Series("m", (("a", "DOMAIN\\ada"), ("b", "x\\"), ("c", "y\\,z")))

    assert f"m,a=DOMAIN\\ada,b=x\ufffd,c=y\ufffd\\,z f=1 {NOW}000000\n" == line([(Field("f", EXACT), 1)], series)


def test_caches_are_bounded() -> None:
    """Devices and jobs come and go for months."""
    encoder = Encoder()
    for number in range(2 * LIMIT_CACHED + 1):
        encoder.line(Series("m", (("job_id", str(number)),)), (Field(f"f{number}", GAUGE),), (1.0,), NOW)

    assert max(len(encoder._heads), len(encoder._layouts)) <= LIMIT_CACHED
