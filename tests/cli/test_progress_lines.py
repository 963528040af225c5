"""Progress from printed lines: the newest that matches, whatever else is printed, within a limit of time."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.cli import progress_lines
from gpuwatch.cli.progress_lines import compiled, follow, found, newest

STEP = re.compile(r"step (?P<step>[\d,.]+)(?:/(?P<total>\S+))?")


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """What the alarm did before."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"step 5/10", (5.0, 10.0)),
        (b"epoch 1 step 5", (5.0, None)),
        (b"step 1,200/9,000", (1200.0, 9000.0)),
        (b"\x1b[32mstep \x1b[1m7\x1b[0m/9", (7.0, 9.0)),
        (b"\xff\xfe step 5/10 \x00", (5.0, 10.0)),
        (b"step 5/many", (5.0, None)),
        (b"step 5/inf", (5.0, None)),
        (b"step ...", None),
        (b"loss 0.1", None),
        (b"", None),
        (b"x" * 4085 + b" step 5/10", (5.0, 10.0)),
        (b"x" * 5000 + b" step 5/10", None),
    ],
)
def test_line_shows_step_and_total(line: bytes, expected: tuple[float, float | None] | None) -> None:
    """Colours, commas and what is no text are no matter; a long line is looked at only in its beginning."""
    assert expected == found(STEP, line)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"step 1\nstep 2\nloss 3\n", (2.0, None)),
        (b"\r  1% step 1/9\r  2% step 2/9\r", (2.0, 9.0)),
        (b"loss 1\n\n\n", None),
        (b"step 1\nstep .\n", (1.0, None)),
    ],
)
def test_the_last_line_with_a_step_counts(block: bytes, expected: tuple[float, float | None] | None) -> None:
    """Bars that return to the line's beginning are lines as well."""
    assert expected == newest(STEP, block)


@given(st.binary())
def test_whatever_is_printed_is_read(block: bytes) -> None:
    """It may be anything."""
    newest(re.compile(r"(?P<step>.*)"), block)


@pytest.mark.parametrize(
    ("pattern", "total", "told"),
    [
        ("(", None, "no regular expression"),
        ("(?P<step>a{99999999999})", None, "no regular expression"),
        (r"step \d+", None, "no group named step"),
        (r"(?P<step>\d)(?P<total>\d)", 9.0, "leave out one of it and --progress-total"),
    ],
)
def test_pattern_that_is_no_use_is_a_value_error(pattern: str, total: float | None, told: str) -> None:
    """It says what to write."""
    with pytest.raises(ValueError, match=told):
        compiled(pattern, total)


def followed(pattern: str, *blocks: bytes) -> tuple[list[tuple[float, float | None]], list[str]]:
    """What is reported and warned of when blocks are printed at once."""
    source, sink = os.pipe()
    reports: list[tuple[float, float | None]] = []
    warnings: list[str] = []
    for block in blocks:
        os.write(sink, block)
    os.close(sink)
    follow(source, re.compile(pattern), lambda *shown: reports.append(shown), warnings.append)
    os.close(source)
    return reports, warnings


def test_newest_of_what_is_there_is_reported() -> None:
    """The others are old."""
    assert ([(3.0, None)], []) == followed(STEP.pattern, b"step 1\nst", b"ep 2\nstep 3\nstep 4")


def test_pattern_that_takes_for_ever_is_stopped_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few blocks it is said once, and no time goes there any more."""
    monkeypatch.setattr(progress_lines, "TIME_LIMIT", 0.01)
    monkeypatch.setattr(progress_lines, "BLOCK", 64)
    began = time.process_time()
    reports, warnings = followed("(?P<step>(a+)+)$", *[b"a" * 62 + b"!\n"] * 100)

    assert ([], 1) == (reports, len(warnings))
    assert "takes too long" in warnings[0]
    assert time.process_time() - began < 1.0
