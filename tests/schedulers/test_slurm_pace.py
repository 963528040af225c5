"""When a query may be made again."""

from __future__ import annotations

from gpuwatch.schedulers.slurm_pace import Pace


def waits(pace: Pace, failures: int) -> list[float]:
    found = []
    for _ in range(failures):
        pace.failed(0.0, "no database")
        found.append(pace.wait(0.0))
    return found


def test_the_first_query_need_not_wait() -> None:
    """Nor one that was answered at once."""
    pace = Pace()
    first = pace.wait(0.0)
    pace.succeeded(0.0, 0.1)

    assert (0.0, 0.0) == (first, pace.wait(1.0))


def test_a_slow_query_takes_a_tenth_of_the_time() -> None:
    """And waits a quarter of an hour at most."""
    pace = Pace()
    pace.succeeded(100.0, 20.0)
    slow = pace.wait(100.0)
    pace.succeeded(100.0, 500.0)

    assert (200.0, 900.0) == (slow, pace.wait(100.0))


def test_failures_double_the_wait() -> None:
    """Up to a quarter of an hour, and one success ends that."""
    pace = Pace()
    found = waits(pace, 6)
    pace.succeeded(0.0, 0.0)

    assert [60.0, 120.0, 240.0, 480.0, 900.0, 900.0] == found
    assert (0.0, 0) == (pace.wait(0.0), pace.failures)


def test_what_is_wanted_seldom_waits_longer() -> None:
    """As long as it is wanted."""
    pace = Pace()
    pace.succeeded(0.0, 0.1, every=3600.0)

    assert 3600.0 == pace.wait(0.0)


def test_a_clock_that_is_set_back_makes_nobody_wait_for_it() -> None:
    """What cannot be is no wait."""
    pace = Pace()
    pace.failed(1_000_000.0, "no database")

    assert 0.0 == pace.wait(0.0)


def test_the_first_wait_is_as_long_as_a_site_says() -> None:
    """Those after it follow from it."""
    assert [1.0, 2.0, 4.0] == waits(Pace(1.0), 3)
