"""`gpuwatch compare` as text and as JSON."""

from __future__ import annotations

import pytest

from gpuwatch.cli.compare_views import document_of, lines
from tests.accounting.test_comparing import beside, job


def test_the_factor_comes_first_and_the_words_are_no_causes() -> None:
    """In lines that a pipe takes."""
    slow, fast = job("2", {"working": 2000.0, "idle": 500.0}, clock=1e9), job("1", {"working": 1000.0})

    found = list(lines(beside(slow, fast)))

    assert [
        "job 2 is slower than job 1 by a factor of 2.5: 25 device-seconds per step, against 10 device-seconds",
        "by the clock on the wall 25 s a step, against 10 s; over 100 steps, against 100",
        "",
        "MEASURED       2         1         EXPLAINS AT MOST",
        "clock at work  1.00 GHz  2.00 GHz  +10 s (67 %)",
        "idle           20 %      0 %       +5 s (33 %)",
    ] == found[:6]
    assert "none of them is a cause by itself" in found[-1]


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (100.0, 300.0, "job 2 is faster than job 1 by a factor of 3: "),
        (100.0, 100.0, "job 2 is as fast as job 1: "),
        (100.0, 0.0, "job 2 took 1 device-seconds per step, against 0 device-seconds: nothing to compare with"),
    ],
)
def test_which_one_is_slower_is_said(first: float, second: float, verdict: str) -> None:
    """Also where it is not the one that was asked about, or where there is nothing."""
    assert next(lines(beside(job("2", {"working": first}), job("1", {"working": second})))).startswith(verdict)


def test_json_is_in_base_units() -> None:
    """With what each part can explain as a ratio of the difference."""
    found = document_of(beside(job("2", {"working": 2000.0}), job("1", {"working": 1000.0})))

    assert (["2", "1"], "step", [20.0, 10.0], 2.0) == tuple(
        found[key] for key in ("jobs", "per", "device_seconds", "ratio")
    )
    assert [("cycles", 1.0)] == [(each["kind"], each["explains_ratio"]) for each in found["differences"]]


def test_a_hostile_name_breaks_no_line() -> None:
    """Of a node, say."""
    found = beside(job("2\n", {"working": 2.0}, nodes=("a\x1b[31m\nb",)), job("1", {"working": 1.0}))

    assert not any("\n" in line or "\x1b" in line for line in lines(found))
