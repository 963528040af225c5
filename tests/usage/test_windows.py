"""Windows of time: without a hole, none twice, none in the future."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.usage.windows import Window, halves, windows

TIMES = st.floats(1e6, 4e9, allow_nan=False)
LENGTHS = st.integers(1, 7200)


def all_windows(mark: float | None, now: float, window: float = 3600, most: int = 10_000) -> list[Window]:
    """What a source has to read, 30 s behind, a day back the first time."""
    return list(windows(mark, now, 30, window, 86_400, most))


def test_the_first_reading_reaches_back_a_day() -> None:
    """As far as it is told to, and no further."""
    found = all_windows(None, 1_000_000_030)

    assert (1_000_000_000 - 86_400, 1_000_000_000) == (found[0].start, found[-1].end)


def test_a_day_without_accounting_comes_hour_by_hour() -> None:
    """Each ends with the hour, the last one where there is no more yet."""
    found = all_windows(36_000_000 - 1800, 36_000_000 + 7230)

    assert [
        Window(35_998_200, 36_000_000), Window(36_000_000, 36_003_600), Window(36_003_600, 36_007_200)
    ] == found  # fmt: skip


def test_a_pass_a_minute_later_reads_a_minute() -> None:
    """It does not wait until the hour is over."""
    assert [Window(36_000_000, 36_000_060)] == all_windows(36_000_000, 36_000_090.7)


def test_a_clock_that_went_back_gives_nothing() -> None:
    """What was read is not read under another time."""
    assert [] == all_windows(1_000_000, 900_000)
    assert [] == all_windows(1_000_000, 1_000_030)


@given(mark=TIMES, ahead=st.floats(0, 1e6), length=LENGTHS)
def test_they_cover_all_and_nothing_twice(mark: float, ahead: float, length: int) -> None:
    """From the mark to the lag before now, each beginning where the one before ends."""
    now = mark + ahead
    found = list(windows(mark, now, 30, length, 86_400, 10**7)) if ahead / length < 2000 else []

    assert all(before.end == after.start for before, after in pairwise(found))
    assert all(0 < each.seconds <= length and each.end <= now - 30 for each in found)
    assert all(each.end % length == 0 for each in found[:-1])
    if found:
        assert (found[0].start - mark < 1, now - 30 - found[-1].end < 1) == (True, True)


@given(mark=TIMES, ahead=st.floats(0, 1e7), most=st.integers(0, 5))
def test_passes_of_a_few_windows_are_one_pass_of_all(mark: float, ahead: float, most: int) -> None:
    """Each pass goes on where the one before stopped."""
    everything = all_windows(mark, mark + ahead)
    first = all_windows(mark, mark + ahead, most=most)
    rest = all_windows(first[-1].end if first else mark, mark + ahead)

    assert (most >= len(first), everything) == (True, first + rest)


@given(start=st.integers(0, 2**31), seconds=st.integers(1, 7200), least=st.integers(1, 600))
def test_halves_are_the_whole(start: int, seconds: int, least: int) -> None:
    """Until they would be too short to be worth it."""
    window = Window(start, start + seconds)
    found = halves(window, least)

    if seconds // 2 < least:
        assert () == found
    else:
        assert (start, start + seconds) == (found[0].start, found[1].end)
        assert found[0].end == found[1].start
        assert all(each.seconds >= least for each in found)
