"""What is expected of a run that declares nothing: by its like, given what it used already."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.estimates.distribution import Sample, distribution
from gpuwatch.estimates.expectations import QUANTILES, Experience, Run, thinned
from gpuwatch.ledger.past import PastJob
from gpuwatch.model import Expectation, Scope
from tests.estimates.test_history import past
from tests.ledger.batch import HOUR

JOB = Scope("job", "7")


def expected(
    jobs: list[PastJob], others: list[PastJob] | None = None, used: float = 0.0, limit: float | None = None,
    name: str = "train-99",
) -> Expectation | None:  # fmt: skip
    """What is expected of ada's run of account ml, in device-hours used and left."""
    run = Run(JOB, "ada", "ml", name, used * HOUR, None if limit is None else limit * HOUR)
    return Experience({"ada": jobs}, others or []).expectation(run)


def hours(expectation: Expectation | None) -> dict[float, float]:
    """Its quantiles in device-hours."""
    assert expectation is not None
    return {q: round(each / HOUR, 6) for q, each in expectation.quantiles.items()}


def test_the_user_s_runs_of_the_name_come_first() -> None:
    """Its number aside; the words say which they are and how many."""
    found = expected([*(past(n, 10) for n in range(12)), *(past(20 + n, 1, name="eval") for n in range(3))])

    assert found is not None
    assert (12, "jobs like it (ada, train-#)") == (found.n, found.basis)
    assert 10.0 == hours(found)[0.5]


def test_without_that_name_the_user_s_others_speak_then_the_account_s_then_all() -> None:
    """Each from five runs on, and others' from three people on."""
    mine = [past(n, 2, name="eval") for n in range(6)]
    theirs = [past(30 + n, 3, user=f"user{n}") for n in range(6)]
    far = [past(60 + n, 4, user=f"user{n}", account="cv") for n in range(6)]

    bases = [expected(jobs, others) for jobs, others in ((mine, []), ([], [*theirs, *far]), ([], far))]
    assert ["jobs of ada", "jobs of account ml", "jobs of the cluster"] == [each and each.basis for each in bases]


def test_jobs_of_two_people_are_not_told_to_a_third() -> None:
    """An expectation is of several people's jobs, or of the user's own."""
    theirs = [past(30 + n, 3, user=f"user{n % 2}") for n in range(40)]

    assert expected([], theirs) is None


def test_who_has_a_hundred_runs_speaks_for_himself() -> None:
    """With one run less the others' count too."""
    theirs = [past(500 + n, 50, user=f"user{n}") for n in range(40)]
    mine = [past(n, 2, name="eval") for n in range(100)]

    few, many = expected(mine[1:], theirs, used=3), expected(mine, theirs, used=3)
    assert few is not None
    assert many is not None
    assert few.quantiles
    assert not many.quantiles


def test_four_runs_are_too_few() -> None:
    """Nothing is expected."""
    assert expected([past(n, 1) for n in range(4)]) is None


def test_what_it_used_already_is_known() -> None:
    """After three hours the ones that took one say nothing."""
    jobs = [*(past(n, 1) for n in range(20)), *(past(40 + n, 5 + n) for n in range(10))]

    assert 1.0 == hours(expected(jobs))[0.1]
    assert min(hours(expected(jobs, used=3)).values()) >= 5.0


def test_a_run_that_outlived_all_has_no_interval() -> None:
    """It is said that it did."""
    found = expected([past(n, 1) for n in range(20)], used=2)

    assert found is not None
    assert ({}, 20) == (found.quantiles, found.n)


def test_the_time_limit_is_an_end() -> None:
    """Runs that hit theirs needed more; this one gets what its own leaves."""
    jobs = [*(past(n, 10) for n in range(10)), *(past(40 + n, 24, ending="timed out") for n in range(10))]

    assert 12.0 == hours(expected(jobs, limit=12))[0.9]
    assert 48.0 == hours(expected(jobs, limit=48))[0.9]
    assert 0.9 not in hours(expected(jobs))


def test_failed_runs_say_nothing_of_what_one_needs() -> None:
    """Nor do those that still run: only what ended before counts."""
    jobs = [past(n, 10) for n in range(6)]
    wrong = [past(20 + n, 0.1, ending="failed") for n in range(50)]
    still = [past(90 + n, 0.1, ending="running", ended=None) for n in range(50)]

    assert expected(jobs) == expected([*wrong, *jobs, *still])


@given(
    st.lists(st.tuples(st.floats(0.01, 1000), st.sampled_from(("train", "eval"))), min_size=5, max_size=60),
    st.floats(0, 500),
    st.one_of(st.none(), st.floats(500, 2000)),
)
def test_quantiles_rise_from_what_is_used_to_the_limit(
    told: list[tuple[float, str]], used: float, limit: float | None
) -> None:
    """Whatever came before."""
    jobs = [past(n, amount, name=name) for n, (amount, name) in enumerate(told)]
    found = hours(expected(jobs, jobs, used, limit, "train"))

    assert all(found[low] <= found[high] for low, high in pairwise(q for q in QUANTILES if q in found))
    assert all(used - 1e-6 <= each <= (limit or 1000) + 1e-6 for each in found.values())


def test_intervals_cover_what_they_say_on_users_of_different_kinds() -> None:
    """In order of time, with no hindsight: 80 % of 800 runs lie in theirs, give or take a few."""
    chance = random.Random(1)
    by_user: dict[str, list[PastJob]] = {f"user{n}": [] for n in range(6)}
    inside = total = 0
    for number in range(1000):
        user = f"user{chance.randrange(6)}"
        spread = 0.3 + 0.1 * (int(user[4:]) % 5)
        amount = chance.lognormvariate(0.5 * int(user[4:]), spread)
        name = f"train-{number}"
        together = [job for jobs in by_user.values() for job in jobs[:5]]
        found = Experience({user: by_user[user]}, together).expectation(Run(JOB, user, "ml", name, 0.0))
        if found is not None and number > 200:
            total += 1
            inside += found.quantiles[0.1] <= amount * HOUR <= found.quantiles[0.9]
        by_user[user].insert(0, past(number, amount, user=user))

    assert 0.78 <= inside / total <= 0.9


def test_a_thinned_distribution_is_nearly_the_same() -> None:
    """Two hundred of two thousand amounts say the same to a hundredth."""
    whole = distribution([Sample(float(n)) for n in range(1, 2001)])
    found = thinned(whole, 200)

    assert 200 == len(found.amounts)
    for q in (0.1, 0.5, 0.9):
        assert whole.quantile(q) == pytest.approx(found.quantile(q), rel=0.01)
