"""Why a forecast says what it says, in words."""

from __future__ import annotations

import numpy as np
import pytest

from gpuwatch.forecast.burnup import BurnUp
from gpuwatch.forecast.evidence import Case, Outlook, Piece
from gpuwatch.forecast.reference import Member, ReferenceClass, Tail, row_around
from gpuwatch.forecast.words import basis_of, record_of

ROW = row_around(0.1)


def of(count: int) -> ReferenceClass:
    found = ReferenceClass(2000, Tail())
    for number in range(count):
        found.add(Member(0.0, str(number), "ada"))
    return found


def outlook(*pieces: tuple[str, int], user: str = "ada", name: str = "train-#", ratio: float = 0.25) -> Outlook:
    """Pieces by their kind, and how many runs they are of; 0: none."""
    made = tuple(Piece(kind, of(count) if count else None, ROW, 0.0) for kind, count in pieces)
    case = Case(user, "lab", name, 0.0)
    return Outlook(case, (-1, 0, 0, True), made, (1.0,) * len(made), BurnUp(9.0, ratio))


def basis(found: Outlook, *weights: float, total: float | None = None) -> str:
    return basis_of(found, np.array(weights), total)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ratio like", "1,500 jobs of ada called train-# that declared as much"),
        ("total name", "1,500 jobs of ada called train-#"),
        ("ratio user", "1,500 jobs of ada"),
        ("ratio account", "1,500 jobs of account lab"),
        ("ratio called", "1,500 jobs called train-#, of anybody"),
        ("ratio cluster", "1,500 jobs of this cluster"),
    ],
)
def test_a_class_is_called_by_whose_runs_it_has(kind: str, words: str) -> None:
    """With how many there are."""
    assert words == basis(outlook((kind, 1500)), 1.0)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ratio shipped", "what is shipped about declarations: nothing alike has ended here"),
        ("total shipped", "what is shipped about jobs: nothing alike has ended here"),
    ],
)
def test_what_is_shipped_is_never_told_as_the_sites_own(kind: str, words: str) -> None:
    """It says what it is of, and that nothing alike has ended."""
    assert words == basis(outlook((kind, 0)), 1.0)


def test_a_burn_up_says_how_far_it_is() -> None:
    """All that projections by it were off, in whatever class, is one reason."""
    found = outlook(("burn name", 5), ("burn user", 9), ("burn shipped", 0))

    assert "its burn-up at 25 % of 12,000 steps" == basis(found, 0.3, 0.3, 0.4, total=12_000.0)
    assert "its burn-up at 25 %" == basis(found, 0.3, 0.3, 0.4)


def test_several_reasons_stand_by_their_weight() -> None:
    """The weightiest first, what says less than a tenth not at all, totals beside ratios of the same runs."""
    found = outlook(("ratio name", 12), ("total name", 12), ("burn shipped", 0), ("ratio shipped", 0))

    assert "its burn-up at 25 % (62 %), 12 jobs of ada called train-# (30 %)" == basis(found, 0.2, 0.1, 0.62, 0.08)


def test_if_all_say_little_the_weightiest_is_told() -> None:
    """A forecast always has a reason; one that has outlived all evidence, too."""
    kinds = ("ratio like", "ratio name", "ratio user", "ratio account", "ratio called", "ratio cluster")
    found = outlook(*((kind, 2) for kind in kinds))

    assert "2 jobs of ada" == basis(found, 0.05, 0.05, 0.09, 0.05, 0.05, 0.05)
    assert basis(found, *[0.0] * 6)


def test_runs_of_nobody_without_a_name_can_be_told_of() -> None:
    """Words in place of nothing."""
    assert "2 jobs of nobody called nothing" == basis(outlook(("ratio name", 2), user="", name=""), 1.0)


def test_one_job_is_no_jobs() -> None:
    """Of one."""
    assert "1 job of ada called train-#" == basis(outlook(("ratio name", 1)), 1.0)


@pytest.mark.parametrize("n", [0, 12, 99])
def test_below_a_hundred_there_is_no_record(n: int) -> None:
    """And how many there are."""
    assert f"no record at this site yet (n={n})" == record_of(n, 1.0)


def test_a_record_says_how_often_intervals_held() -> None:
    """Those of 80 %, and of how many forecasts."""
    expected = "80 % intervals held 79 % of the time in 1,234 finished forecasts at this site"

    assert expected == record_of(1234, 0.79)


def test_what_is_shipped_says_that_nothing_else_is_known_only_where_that_is_so() -> None:
    """Beside jobs of its like it is one piece of evidence among others."""
    alone, beside = outlook(("ratio shipped", 0)), outlook(("ratio name", 2), ("ratio shipped", 0))

    assert "what is shipped about declarations: nothing alike has ended here" == basis(alone, 1.0)
    assert "2 jobs of ada called train-# (60 %), what is shipped about declarations (40 %)" == basis(
        beside, 0.6, 0.4
    )
