"""Whose declarations come true, and by what factor not."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.ledger.declaring_record import declaring_record
from gpuwatch.ledger.past import PastJob


def past(user: str, used: float, declared: float | None, ending: Any = "completed", number: int = 0) -> PastJob:
    return PastJob(
        "default", f"{user}{number}", "", f"job-{number}", user, "ml", "gpu", "", 0.0, 10.0, 10.0, ending, used,
        declared_seconds=declared,
    )  # fmt: skip


def test_who_is_always_too_low_comes_first_with_the_factor() -> None:
    """Bob's jobs take three times of what he declares; ada's what she does; eve declares nothing."""
    jobs = [past("bob", 300.0, 100.0, number=number) for number in range(6)]
    jobs += [past("ada", 100.0 + number, 100.0, number=number) for number in range(6)]
    jobs += [past("eve", 5.0, None)]

    bob, ada, eve = declaring_record(jobs, "user")

    assert ("bob", 6, 3.0, "too little") == (bob.name, bob.jobs, bob.factor, bob.always)
    assert (3.0, 3.0, 600.0, 1800.0) == (bob.low, bob.high, bob.declared_seconds, bob.used_seconds)
    assert ("ada", "", 6) == (ada.name, ada.always, ada.true)
    assert ("eve", 0, 1, None, "") == (eve.name, eve.jobs, eve.silent, eve.factor, eve.always)


def test_few_jobs_are_no_always() -> None:
    """Four times wrong may be chance; and there is no interval of them."""
    (bob,) = declaring_record([past("bob", 30.0, 100.0, number=number) for number in range(4)], "user")

    assert ("", None, 4, 0.3) == (bob.always, bob.low, bob.under, bob.factor)


def test_what_failed_or_was_cancelled_is_not_judged() -> None:
    """It would have come to more; what hit its limit came to so much at least."""
    jobs = [past("bob", 10.0, 100.0, ending) for ending in ("failed", "cancelled", "running", "unknown")]

    assert () == declaring_record(jobs, "user")
    assert 1 == declaring_record([past("bob", 10.0, 100.0, "timed out")], "user")[0].jobs


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(1, 1e6), st.none() | st.floats(1, 1e6)), max_size=40))
def test_every_job_is_counted_once(drawn: list[tuple[str, float, float | None]]) -> None:
    """As more, less, about, or without a declaration."""
    found = declaring_record([past(*each, number=number) for number, each in enumerate(drawn)], "user")  # type: ignore[arg-type]

    assert len(drawn) == sum(each.over + each.under + each.true + each.silent for each in found)
