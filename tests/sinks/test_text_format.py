"""What we write is what the client library reads."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gpuwatch import hygiene
from gpuwatch.model import Metric
from gpuwatch.sinks.text_format import Sample, TextFormat, number

PLAIN = Metric("test_plain", 'A \\ "gauge"\nof two lines.')
LABELLED = Metric("test_bytes_total", "A counter.", ("job_id", "way"), "counter")

NUMBERS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**62), 2**62))
TEXTS = st.text(st.characters(), max_size=300)


def read(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All series as the independent parser sees them; fails on a family or a series that is there twice."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    names: list[str] = []
    for family in text_string_to_metric_families(text):
        names.append(family.name)
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    assert len(set(names)) == len(names)
    return found


@given(NUMBERS)
def test_a_number_reads_back_as_itself(value: float) -> None:
    """No digit is lost, over the whole range of floats."""
    assert float(value) == float(number(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.0, "1"), (0, "0"), (True, "1"), (0.1, "0.1"), (-2.5, "-2.5"), (1e12, "1000000000000"), (1e300, "1e+300")],
)
def test_numbers_are_short(value: float, expected: str) -> None:
    """Whole numbers have no fraction, others the fewest digits."""
    assert expected == number(value)


@given(st.dictionaries(st.tuples(TEXTS, TEXTS), NUMBERS, max_size=8), NUMBERS)
def test_any_label_reads_back_cleaned(series: dict[tuple[str, str], float], plain: float) -> None:
    """Hostile label values give exactly one series for each distinct cleaned value, and all others are counted."""
    samples = [Sample(LABELLED.name, (job,), (way,), value) for (job, way), value in series.items()]
    expected: dict[tuple[str, frozenset[tuple[str, str]]], float] = {("test_plain", frozenset()): float(plain)}
    for (job, way), value in series.items():
        labels = frozenset({("job_id", hygiene.label(job)), ("way", hygiene.label(way))})
        expected.setdefault((LABELLED.name, labels), float(value))

    page = TextFormat([PLAIN, LABELLED]).write([Sample(PLAIN.name, (), (), plain), *samples])

    assert expected == read(page.text)
    assert len(expected) == page.series
    assert len(samples) + 1 == page.series + page.dropped.get("duplicate", 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_left_out_and_counted(value: float) -> None:
    """One bad number stays alone."""
    page = TextFormat([PLAIN, LABELLED]).write(
        [Sample(PLAIN.name, (), (), value), Sample(LABELLED.name, ("a",), ("b",), 1)]
    )

    assert list(read(page.text).values()) == [1.0]
    assert page.dropped == {"invalid": 1}


def test_labels_that_do_not_fit_are_left_out_and_counted() -> None:
    """A plugin that gives one label too few costs its own series alone."""
    page = TextFormat([LABELLED]).write(
        [Sample(LABELLED.name, ("a",), (), 1), Sample(LABELLED.name, ("a",), ("b",), 2)]
    )

    assert list(read(page.text).values()) == [2.0]
    assert page.dropped == {"invalid": 1}


def test_a_family_is_in_one_piece_with_one_header() -> None:
    """Samples may come in any order; the page has each family once, in the order of its metrics."""
    samples = [Sample(LABELLED.name, ("a",), ("b",), 1), Sample(PLAIN.name, (), (), 2)]
    samples.append(Sample(LABELLED.name, ("c",), ("d",), 3))

    page = TextFormat([PLAIN, LABELLED]).write(samples)

    assert page.text == (
        '# HELP test_plain A \\\\ "gauge"\\nof two lines.\n'
        "# TYPE test_plain gauge\n"
        "test_plain 2\n"
        "# HELP test_bytes_total A counter.\n"
        "# TYPE test_bytes_total counter\n"
        'test_bytes_total{job_id="a",way="b"} 1\n'
        'test_bytes_total{job_id="c",way="d"} 3\n'
    )


def test_names_of_series_that_are_gone_are_forgotten() -> None:
    """What is kept between pages is bounded by the page, whatever jobs come and go."""
    page_format = TextFormat([LABELLED])
    for job in range(50):
        page_format.write([Sample(LABELLED.name, (str(job),), ("b",), 1)])

    assert len(page_format._prefixes) == 1
