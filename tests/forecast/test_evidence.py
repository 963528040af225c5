"""Everything that says where a run will end, side by side."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.forecast.evidence import MOST, MOST_BATCHES, Begun, Case, Experience, Outlook
from gpuwatch.forecast.mixing import Distribution, distributions
from gpuwatch.forecast.outcomes import Outcome

HOUR = 3600.0
NEAREST = "ratio like"


def ended(
    final: float,
    user: str = "ada",
    name: str = "train",
    account: str = "lab",
    declared: float | None = 10 * HOUR,
    number: int = 0,
    cut: bool = False,
    projected: tuple[tuple[int, float], ...] = (),
) -> Outcome:
    """A run that came to so much; `number` tells those that were submitted apart from each other."""
    return Outcome(user, account, name, f"{user} {number}", declared, final, 0.0, cut, projected=projected)


def experience(outcomes: Iterable[Outcome]) -> Experience:
    found = Experience()
    for outcome in outcomes:
        found.add(outcome)
    return found


def case(used: float = 0.0, declared: float | None = 10 * HOUR, **other: object) -> Case:
    return Case("ada", "lab", "train", used, declared, **other)  # type: ignore[arg-type]


def seen(used: float, total: float, declared: float | None = 10 * HOUR) -> Case:
    """A run that reported ten times, by which it will come to `total`."""
    used_at = tuple(used * number / 10 for number in range(1, 11))
    return case(used, declared, used_at=used_at, ratios=tuple(at / total for at in used_at))


def told(outlook: Outlook) -> Distribution:
    return next(distributions([outlook]))


def median(outlook: Outlook) -> float:
    return float(told(outlook).quantiles((0.5,))[0])


def shares(outlook: Outlook) -> dict[str, float]:
    return dict(zip((piece.kind for piece in outlook.pieces), outlook.shares, strict=True))


_text = st.sampled_from(("", "ada", "bob", "cleo"))
_outcome = st.builds(
    Outcome, _text, _text, _text, _text, st.one_of(st.none(), st.floats(1e-3, 1e12)), st.floats(0, 1e12),
    st.just(0.0), st.booleans(),
    projected=st.lists(st.tuples(st.integers(0, 8), st.floats(0, 1e12)), max_size=3).map(tuple),
)  # fmt: skip
_case = st.builds(
    lambda user, account, name, used, declared, done, limit: Case(
        user, account, name, used, declared, None, (used / 2, used), (done / 2, done), limit=limit
    ),
    _text, _text, _text, st.floats(0, 1e12), st.one_of(st.none(), st.floats(1e-3, 1e12)), st.floats(0, 200),
    st.one_of(st.none(), st.floats(0, 1e12)),
)  # fmt: skip


@given(st.lists(_outcome, max_size=20), st.lists(_case, min_size=1, max_size=4), st.floats(0, 1e12))
def test_shares_add_up_and_forecasts_stand_whatever_there_is(
    outcomes: list[Outcome], cases: list[Case], final: float
) -> None:
    """With no names, no declaration, amounts of any order, and after anything was learned."""
    known = experience(outcomes)

    for each in cases:
        outlook = known.outlook(each, 0.0)
        quantiles = told(outlook).quantiles((0.05, 0.5, 0.95))

        assert pytest.approx(1.0) == sum(outlook.shares)
        assert min(outlook.shares) >= 0
        assert np.isfinite(quantiles).all()
        assert quantiles[0] >= each.used
        known.learn(outlook, final)


def test_with_no_history_there_is_what_is_shipped() -> None:
    """Beside what is declared, or up to the limit where nothing is."""
    declared = Experience().outlook(case(), 0.0)
    expected = Experience().outlook(case(declared=None, limit=4 * HOUR), 0.0)

    assert ({"ratio shipped": 1.0}, {"total shipped": 1.0}) == (shares(declared), shares(expected))
    assert pytest.approx(10 * HOUR, rel=0.05) == median(declared)
    assert told(expected).beyond(4 * HOUR) == 0.0


def test_the_nearest_classes_come_first() -> None:
    """One's own with that declaration, of that name, all one's own; then those of several, once they are."""
    outcomes = [ended(HOUR, user, number=number) for number, user in enumerate(("ada", "bob", "cleo"))]
    found = experience(outcomes).outlook(case(), 0.0)

    kinds = [
        "ratio like", "ratio name", "ratio user", "ratio account", "ratio called", "ratio cluster",
        "ratio shipped", "total name", "total user",
    ]  # fmt: skip

    assert kinds == [piece.kind for piece in found.pieces]


def test_the_runs_of_few_others_are_not_told_of() -> None:
    """What two people's runs came to could be told by it."""
    others = [ended(HOUR, user, number=number) for number, user in enumerate(("bob", "cleo", "bob"))]

    assert {"ratio shipped": 1.0} == shares(experience(others).outlook(case(), 0.0))


def test_the_more_runs_a_near_class_has_the_more_it_counts() -> None:
    """n / (n + 20) of what is left."""
    found = [
        shares(experience(ended(HOUR, number=number) for number in range(n)).outlook(case(), 0.0))[NEAREST]
        for n in (1, 5, 20, 80)
    ]

    assert sorted(found) == found
    assert pytest.approx([0.85 * n / (n + 20) for n in (1, 5, 20, 80)], rel=0.2) == found


def test_an_array_counts_as_its_root() -> None:
    """Twenty-five tasks of one array are five runs."""
    array = experience(ended(HOUR, number=1) for _ in range(25)).outlook(case(), 0.0)
    alone = experience(ended(HOUR, number=number) for number in range(5)).outlook(case(), 0.0)

    assert pytest.approx(shares(alone)) == shares(array)


def test_what_was_declared_otherwise_is_not_alike() -> None:
    """The same name with twice the declaration is another class; rounding is none."""
    known = experience(ended(HOUR, declared=20 * HOUR, number=number) for number in range(5))

    assert "ratio like" not in shares(known.outlook(case(), 0.0))
    assert "ratio name" in shares(known.outlook(case(), 0.0))
    assert "ratio like" in shares(known.outlook(case(declared=20.01 * HOUR), 0.0))


def test_a_class_is_bounded() -> None:
    """The user's runs of a name: the latest hundred."""
    known = experience(ended(HOUR, number=number) for number in range(1000))

    assert max(MOST.values()) >= max(len(found) for found in known.classes.values())
    assert 100 == len(known.classes["total", "name", ("ada", "train")])


def test_shares_move_to_what_told_best() -> None:
    """Runs of this name come to half of what is declared; all others of the user to twice."""
    known = experience(
        ended(20 * HOUR * (1 + 0.01 * (n % 7)), name="other", declared=11 * HOUR, number=n) for n in range(60)
    )
    for number in range(6):
        known.add(ended(5 * HOUR, number=100 + number))
    before = shares(known.outlook(case(), 0.0))
    for _ in range(40):
        known.learn(known.outlook(case(), 0.0), 5 * HOUR)
    after = shares(known.outlook(case(), 0.0))

    near = ("ratio like", "ratio name", "total name")
    assert sum(before[kind] for kind in near) + 0.3 < sum(after[kind] for kind in near)
    assert after["ratio user"] < before["ratio user"]


def test_what_is_learned_about_declared_runs_moves_no_others() -> None:
    """Each context has its own: how far, how many alike, whether it declares."""
    known = experience(ended(5 * HOUR, number=number) for number in range(10))
    others = (case(declared=None), seen(HOUR, 5 * HOUR))
    before = [shares(known.outlook(each, 0.0)) for each in others]
    first = known.outlook(case(), 0.0)
    for _ in range(50):
        known.learn(first, 5 * HOUR)

    assert before == [shares(known.outlook(each, 0.0)) for each in others]
    assert shares(first) != shares(known.outlook(case(), 0.0))
    assert [(-1, 0, 3, True)] == list(known.learned)


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_a_declaration_a_thousand_times_off_is_put_right_by_history(factor: float) -> None:
    """Runs of that name come to 10 hours, whatever is declared for this one."""
    known = experience(ended(10 * HOUR, declared=10 * HOUR * factor, number=number) for number in range(30))

    assert pytest.approx(10 * HOUR, rel=0.05) == median(known.outlook(case(declared=10 * HOUR * factor), 0.0))


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_with_no_history_its_burn_up_puts_it_right(factor: float) -> None:
    """A third of the whole is done with 3 of 9 hours."""
    found = Experience().outlook(seen(3 * HOUR, 9 * HOUR, 9 * HOUR * factor), 0.0)

    assert pytest.approx(9 * HOUR, rel=0.1) == median(found)


def test_the_farther_a_run_is_the_more_its_burn_up_says() -> None:
    """Nothing at the very beginning, nearly all at the end."""
    known = experience(ended(10 * HOUR, number=number) for number in range(10))
    found = [
        shares(known.outlook(seen(done * 10 * HOUR, 10 * HOUR), 0.0))["burn shipped"]
        for done in (0.01, 0.05, 0.2, 0.6, 0.95)
    ]

    assert 0.0 == found[0]
    assert sorted(found) == found
    assert found[-1] > 0.8


def test_projections_of_runs_that_go_the_same_way_are_put_right() -> None:
    """Runs of that name come to half again what their burn-ups said."""
    known = experience(
        ended(15 * HOUR, declared=None, number=number, projected=((4, 10 * HOUR),)) for number in range(40)
    )
    found = known.outlook(seen(3 * HOUR, 10 * HOUR, None), 0.0)

    assert pytest.approx(15 * HOUR, rel=0.1) == median(found)
    assert "burn name" in shares(found)


def test_runs_that_are_of_nobody_are_a_class_too() -> None:
    """No user, account or name: nothing breaks, and no account is made of it."""
    known = experience(ended(HOUR, "", "", "", number=number) for number in range(5))
    found = known.outlook(Case("", "", "", 0.0, 10 * HOUR), 0.0)

    assert "ratio account" not in shares(found)
    assert pytest.approx(1.0) == sum(found.shares)


def test_the_same_history_says_the_same() -> None:
    """To the last digit."""
    outcomes = [ended(HOUR * (1 + number % 5), number=number, cut=number % 7 == 0) for number in range(50)]
    first, second = (told(experience(outcomes).outlook(seen(HOUR, 3 * HOUR), 0.0)) for _ in range(2))

    assert first.amounts.tolist() == second.amounts.tolist()
    assert first.upto.tolist() == second.upto.tolist()


def test_siblings_that_go_on_count_until_they_are_over() -> None:
    """Ten began together; two ended after an hour. After five hours that is not what they come to."""
    known = Experience()
    runs = {f"j{n}": Begun("ada", "lab", "train", f"ada {n}", 0.0, 1.0, 10 * HOUR) for n in range(10)}
    for name, run in runs.items():
        known.begin(name, run)
    for number in range(2):
        known.over(f"j{number}", runs[f"j{number}"])
        known.add(ended(HOUR, number=number))
    going = told(known.outlook(case(), 5 * HOUR)).beyond(4 * HOUR)
    for name, run in runs.items():
        known.over(name, run)
    known.add(ended(HOUR, number=99))

    assert told(known.outlook(case(), 5 * HOUR)).beyond(4 * HOUR) < going - 0.05


def test_what_is_over_twice_or_never_began_changes_nothing() -> None:
    """Endings are told again after a restart."""
    known = Experience()
    known.over("j1", Begun("ada", "lab", "train", "b", 0.0, 1.0, None))

    assert {} == known.classes


def test_opt_175b_is_called_an_overrun_by_day_6() -> None:
    """Its public logbook: declared for 33 days of 992 devices; a tenth was done on day 6. It took 56.5."""
    day = 992 * 24 * HOUR
    run = Case("", "", "opt-175b", 6 * day, 33 * day, None, (6 * day,), (0.10,))

    found = told(Experience().outlook(run, 0.0))

    assert found.beyond(33 * day * 1.1) >= 0.8
    assert found.quantiles((0.1,))[0] < 56.5 * day < found.quantiles((0.9,))[0]


def test_of_many_batches_the_first_are_forgotten() -> None:
    """A class for each hour of each user would grow for ever."""
    known = Experience()
    for number in range(MOST_BATCHES + 10):
        known.add(Outcome("ada", "", "train", f"hour {number}", None, HOUR, float(number), False))

    kept = {key[2][0] for key in known.classes if key[1] == "batch"}
    assert {f"hour {number}" for number in range(10, MOST_BATCHES + 10)} == kept


def test_where_its_like_is_known_what_is_shipped_about_anything_says_little() -> None:
    """Runs of two hours each: one more of them is not believed to take a year."""
    known = Experience()
    for number in range(30):
        known.add(Outcome("ada", "", "train", f"{number}", None, (2.0 + number % 7 / 10) * HOUR, 0.0, False))
    found = known.outlook(Case("ada", "", "train", 0.0), 0.0)

    (distribution,) = distributions([found])

    assert dict(zip((piece.kind for piece in found.pieces), found.shares, strict=True))["total shipped"] <= 0.03
    assert distribution.quantiles((0.95,))[0] < 6 * HOUR
