"""What an attempt comes to by day, on hand-made attempts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import fsum
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuwatch.ledger.attempts import Attempt
from gpuwatch.ledger.charges import Charge, Point, charges_of, date_of, days_between
from gpuwatch.ledger.facts import Line
from gpuwatch.ledger.jobs import Part
from gpuwatch.model import Usage
from gpuwatch.schedulers.base import Record
from tests.ledger.batch import HOUR, T0, record, running

NOW = 4e9
DAY = 86_400.0
MIDNIGHT = T0 - T0 % DAY + DAY


def line(started: float, last_seen: float, held: float, model: str = "H100", **changed: object) -> Line:
    """One device that was held and drew 400 W, all of it measured."""
    usage = Usage(held_seconds=held, energy_joules={"counter": 400.0 * held})
    values = {"node": "gw0", "epoch": "e", "uuid": "", "devices": 1, "share": 1.0, "open": False, **changed}
    return Line(started=int(started), last_seen=last_seen, model=model, usage=usage, **values)  # type: ignore[arg-type]


def part(lines: Sequence[Line] = (), its: Record | None = None, job_id: str = "7") -> Part:
    """An attempt with what was seen of it."""
    starts = frozenset(each.started for each in lines)
    began = int(its.facts.started or 0) if its is not None else min(starts)
    last = max((each.last_seen for each in lines), default=float(began))
    return Part(Attempt("default", job_id, starts, began, last, its), tuple(lines))


def charged(*parts: Part, curves: dict[int, list[Point]] | None = None, zone: object = UTC) -> list[Charge]:
    """The charges of one job id of ada's."""
    return charges_of([(each, "ada") for each in parts], curves or {}, zone, NOW)  # type: ignore[arg-type]


def test_what_was_allocated_is_charged_and_what_was_held_stands_beside() -> None:
    """Two devices for an hour, of which agents saw a little less."""
    (found,) = charged(part([line(T0 + 10, T0 + HOUR, 7000.0)], record("7")))

    assert (7200.0, 7200.0, 7000.0, 57_600.0) == (
        found.charged_seconds, found.allocated_seconds, found.held_seconds, found.cpu_seconds,
    )  # fmt: skip
    assert (2_800_000.0, 7000.0, "ada", "ml", "gpu", True) == (
        found.energy_joules, found.covered_seconds, found.user, found.account, found.partition, found.final,
    )  # fmt: skip


def test_what_was_held_is_charged_where_nobody_says_what_was_allocated() -> None:
    """No batch system, or one that does not know the devices; what is not known is not 0."""
    (alone,) = charged(part([line(T0, T0 + 100.0, 90.0)]))
    (unknown,) = charged(part([line(T0, T0 + 100.0, 90.0)], record("7", devices=None)))
    (nothing,) = charged(part([], record("7", devices=None)))

    assert [(90.0, None), (90.0, None), (None, None)] == [
        (each.charged_seconds, each.allocated_seconds) for each in (alone, unknown, nothing)
    ]
    assert (None, None) == (nothing.held_seconds, nothing.energy_joules)


def test_a_running_attempt_is_charged_until_it_was_last_seen_and_is_not_final() -> None:
    """The batch system may be down; nothing is charged for what nobody saw."""
    (found,) = charged(part([], running("7")))

    assert (T0 + HOUR / 2, False) == (found.ends, found.final)


def test_an_attempt_within_one_second_was_allocated_nothing() -> None:
    """As the batch system counts it; what an agent saw of it is held, and its energy is not lost."""
    (found,) = charged(part([line(T0, T0 + 0.5, 0.5)], record("7", ended=float(T0))))

    assert (0.0, 0.0, 0.0, 0.5, 200.0) == (
        found.charged_seconds, found.allocated_seconds, found.cpu_seconds, found.held_seconds, found.energy_joules,
    )  # fmt: skip


def test_a_job_over_midnight_is_divided_there() -> None:
    """What was allocated evenly, what was held evenly over the time in which it was seen."""
    its = record("7", started=MIDNIGHT - HOUR, ended=MIDNIGHT + 3 * HOUR)

    first, second = charged(part([line(MIDNIGHT - HOUR, MIDNIGHT + 3 * HOUR, 2 * 4 * HOUR)], its))

    assert [(2 * HOUR, 2 * HOUR), (6 * HOUR, 6 * HOUR)] == [
        (each.charged_seconds, each.held_seconds) for each in (first, second)
    ]
    assert (first.day + 1, first.ends, second.begins) == (second.day, MIDNIGHT, MIDNIGHT)
    assert [(None, 3), (first.day, 1)] == [(each.previous_day, each.counts) for each in (first, second)]


def test_what_was_charged_before_divides_better_than_an_even_rate() -> None:
    """All was held before midnight, and idleness after it was told: the days keep what they had."""
    its = record("7", started=MIDNIGHT - HOUR, ended=MIDNIGHT + HOUR)
    curves = {int(MIDNIGHT - HOUR): [Point(MIDNIGHT - 60.0, 3000.0)]}

    first, second = charged(part([line(MIDNIGHT - HOUR, MIDNIGHT + HOUR, 3600.0)], its), curves=curves)

    assert pytest.approx(3000.0 + 600.0 * 60 / 3660) == first.held_seconds
    assert 3600.0 == first.held_seconds + second.held_seconds


def test_a_job_counts_once_a_day_once_a_month_and_once() -> None:
    """Three attempts on two days of one month and one of the next."""
    begin = datetime(2026, 1, 30, tzinfo=UTC).timestamp()
    moments = [begin, begin + HOUR, begin + DAY, begin + 3 * DAY]
    parts = [part([], record("7", started=at, ended=at + 60.0, submitted=int(at))) for at in moments]

    found = charged(*parts)

    assert [3, 0, 1, 2] == [each.counts for each in found]


def test_each_model_has_its_part_of_the_devices() -> None:
    """An attempt over three devices of two models; CPUs are counted once."""
    lines = [line(T0, T0 + HOUR, 2 * HOUR, "A100", devices=2, share=2.0), line(T0, T0 + HOUR, HOUR, "H100")]

    first, second = charged(part(lines, record("7", devices=3.0)))

    assert [("A100", 2 * HOUR, 16 * HOUR), ("H100", HOUR, None)] == [
        (each.model, each.charged_seconds, each.cpu_seconds) for each in (first, second)
    ]
    assert (1, 0) == (min(first.counts, 1), second.counts)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)])
def test_days_are_those_of_the_sites_time_zone(day: str, hours: int) -> None:
    """A day has 23 or 25 hours where the clocks are changed."""
    zone = ZoneInfo("Europe/Berlin")
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=zone).timestamp()

    found = days_between(noon - 30 * HOUR, noon + 30 * HOUR, zone)

    (whole,) = (each for each in found if str(date_of(each.number)) == day)
    assert hours * HOUR == whole.ends - whole.begins


_zones = st.sampled_from((UTC, ZoneInfo("Asia/Kathmandu"), ZoneInfo("America/New_York")))
_times = st.integers(0, 400 * 24).map(lambda hour: T0 + hour * HOUR / 2)


@settings(max_examples=300)
@given(_times, st.floats(0.5, 40 * DAY), st.floats(0.0, 1e7), _zones, st.data())
def test_the_days_of_an_attempt_add_up_to_it(
    begins: float, length: float, held: float, zone: object, data: st.DataObject
) -> None:
    """Whatever was charged before, in whatever zone; and no day has less than nothing."""
    ends = begins + length
    before = data.draw(st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)), max_size=5))
    curve = [Point(begins + at * length, share * held) for at, share in sorted(before)]
    its = record("7", started=begins, ended=ends, submitted=int(begins))

    found = charged(part([line(begins, ends, held)], its), curves={int(begins): curve}, zone=zone)

    assert pytest.approx(held, abs=1e-6) == fsum(each.held_seconds or 0.0 for each in found)
    assert pytest.approx(2.0 * length) == fsum(each.charged_seconds or 0.0 for each in found)
    assert all((each.held_seconds or 0.0) >= -1e-6 and each.ends >= each.begins for each in found)
    assert [each.day for each in found] == sorted({each.day for each in found})
