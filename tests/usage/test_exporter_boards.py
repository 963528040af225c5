"""Boards: known answers, what borders cost, conservation, and that windows and restarts change nothing."""

from __future__ import annotations

import copy
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuwatch.model import DeviceUsage, JobKey, Reading, RowKey, Usage
from gpuwatch.usage.exporter_boards import (
    SILENT_SECONDS,
    Board,
    Standing,
    advance,
    decode,
    encode,
    gap_of,
    times_of,
)
from gpuwatch.usage.exporter_claims import Claim, Span
from gpuwatch.usage.exporter_names import Source
from gpuwatch.usage.windows import Window

UID = "GPU-a"
SOURCE = Source(UID, "gw0", 0, "NVIDIA H100 80GB HBM3", False)
A, B = JobKey("a", 100), JobKey("b", 200)


def board(gap_seconds=45.0):
    return Board(SOURCE, 0.0, gap_seconds, usage=DeviceUsage(UID))


def reading(time, watts=None, joules=None, utilization=None):
    power = {} if watts is None else {("instant", "device"): watts}
    return Reading(UID, time, utilization_ratio=utilization, power_watts=power, energy_joules=joules)


def claim(job=A, since=100.0, until=200.0, share=1.0, basis="whole"):
    return Claim(job, since, until, share, basis)


def read(readings, held=(), unknown=(), running=(), window=Window(0, 300), it=None):
    """A board after one window, and the rows that it tells."""
    it = it if it is not None else board()
    rows = {row.key: row for row in advance(it, readings, held, unknown, running, window)}
    return it, rows


def row(job):
    return RowKey(job.job_id, job.started, UID)


def test_a_job_gets_exactly_its_time_though_it_starts_between_two_scrapes():
    """300 W all along, from 100 s to 200 s, scraped every 15 s."""
    it, rows = read([reading(15.0 * n, 300.0) for n in range(21)], [claim()])

    told = rows[row(A)]
    assert told.usage.held_seconds == pytest.approx(100)
    assert told.usage.energy_joules == {"integrated": pytest.approx(30_000)}
    assert (told.share, told.basis, told.open, told.last_seen) == (1.0, "whole", False, 200.0)
    assert it.usage.unallocated_seconds == pytest.approx(200)
    assert it.rows == {}


def test_the_counter_of_the_hardware_wins():
    """As on a node: `counter`, whatever power says."""
    _, rows = read([reading(15.0 * n, 999.0, 300.0 * 15 * n) for n in range(21)], [claim()])

    assert rows[row(A)].usage.energy_joules == {"counter": pytest.approx(30_000)}


@pytest.mark.parametrize("offset", [0.0, 5.0, 7.5, 10.0])
def test_what_borders_cost_is_at_most_a_quarter_of_a_scrape_s_difference(offset):
    """Within a scrape nobody knows when the power rose: idle at 100 W and busy at 700 W, every 15 s."""
    start, end = 150.0 + offset, 600.0

    def drawn(time):
        return 100.0 * time + 600.0 * max(0.0, min(time, end) - start)

    looks = [reading(15.0 * n, None, drawn(15.0 * n)) for n in range(61)]
    _, rows = read(looks, [claim(JobKey("a", int(start)), start, end)], window=Window(0, 900))

    (told,) = rows.values()
    error = 700.0 * (end - start) - told.usage.joules
    assert told.usage.held_seconds == pytest.approx(end - start)
    assert 0 <= error <= 15 * 600 / 4 + 1e-6


def test_a_value_that_the_exporter_repeats_is_not_read_twice():
    """It asks the device every 30 s and is scraped every 10 s; at full power the step is no jump."""
    looks = [reading(10.0 * n, None, 700.0 * 30 * (n // 3)) for n in range(31)]
    it, rows = read(looks, [claim(until=math.inf)], running={A})

    assert rows[row(A)].usage.energy_joules == {"counter": pytest.approx(700.0 * 200, rel=0.05)}
    assert it.usage.energy_joules == {"counter": pytest.approx(700.0 * 300)}


def test_a_start_that_is_heard_of_late_counts_from_the_end_of_the_window_before():
    """What was given to nobody there is not taken back."""
    it, _ = read([reading(15.0 * n, 300.0) for n in range(21)])
    _, rows = read([reading(315.0, 300.0)], [claim(since=100.0, until=math.inf)], (), {A}, Window(300, 320), it)

    assert rows[row(A)].usage.held_seconds == 15


def test_a_start_at_the_very_end_of_a_window_is_not_late():
    """The next window begins with it."""
    held = [claim(JobKey("a", 300), 300.0, math.inf)]
    it, _ = read([reading(15.0 * n, 300.0) for n in range(21)])
    _, rows = read([reading(315.0, 300.0)], held, (), {A}, Window(300, 320), it)

    assert [each.usage.held_seconds for each in rows.values()] == [15]


def test_two_jobs_on_one_device_share_it():
    """Where the batch system gave it to both, each has half, by the number of holders."""
    held = [claim(A, 0, 300), claim(B, 0, 300)]
    _, rows = read([reading(15.0 * n, 300.0) for n in range(21)], held)

    assert {key: (each.usage.held_seconds, each.share, each.basis) for key, each in rows.items()} == {
        row(A): (150, 0.5, "holders"),
        row(B): (150, 0.5, "holders"),
    }


def test_what_has_no_holder_that_is_known_is_unattributed():
    """Its time and energy are nobody's, and the share of it is told."""
    it, rows = read([reading(15.0 * n, 300.0) for n in range(21)], (), [Span(150.0, math.inf)])

    assert rows == {}
    assert (it.usage.unattributed_seconds, it.usage.unattributed_energy_joules) == (150, 45_000)
    assert times_of([it]) == (300, 150)
    assert times_of([]) == (0, 0)


def test_a_row_stays_open_until_its_last_energy_is_known():
    """The job ends at 299 s; the counter of 315 s has its share of the last scrape."""
    it, rows = read([reading(15.0 * n, None, 4500.0 * n) for n in range(20)], [claim(until=299.0)])
    assert rows[row(A)].open

    it, rows = read([reading(315.0, None, 94_500.0)], (), (), (), Window(300, 600), it)

    told = rows[row(A)]
    assert (told.open, told.usage.held_seconds) == (False, pytest.approx(199))
    assert told.usage.joules == pytest.approx(199 * 300)
    assert it.rows == {}


def test_a_job_that_the_batch_system_still_has_is_not_closed():
    """Closing is for ever; a board that fell silent does not end a job."""
    it, _ = read([reading(15.0, 300.0)], [claim(since=10.0, until=math.inf)], running={A})
    end = 0
    while end <= SILENT_SECONDS + 600:
        it, rows = read([], [claim(since=10.0, until=math.inf)], (), {A}, Window(end + 300, end + 600), it)
        end += 300
    assert it.rows[row(A)].open and it.meter is None

    it, rows = read([], (), (), (), Window(end, end + 300), it)

    assert (rows[row(A)].open, it.rows) == (False, {})
    assert rows[row(A)].usage.held_seconds == pytest.approx(SILENT_SECONDS, abs=600)


def test_time_without_readings_is_held_and_nothing_is_known_of_it():
    """The server of time series was down for 100 s: who held is known, power is not."""
    looks = [reading(15.0 * n, 300.0, None, 0.9) for n in range(21) if not 100 < 15 * n < 200]
    _, rows = read(looks, [claim(since=0.0, until=300.0)])

    usage = rows[row(A)].usage
    assert usage.held_seconds == 300
    assert usage.energy_unmeasured_seconds == pytest.approx(120)
    assert usage.state_seconds["unknown"] > 0


def test_gaps_are_three_scrapes():
    """At least as on a node, at most two and a half minutes, and what the site says first."""
    assert (gap_of(1.0, 45.0), gap_of(15.0, 0.0), gap_of(60.0, 0.0), gap_of(90.0, 0.0)) == (7.5, 45, 150, 150)
    assert (gap_of(None, 45.0), gap_of(15.0, 45.0, 20.0)) == (45, 20)


def test_a_text_that_was_damaged_or_is_of_a_later_version_is_not_read():
    """What follows would be counted wrongly."""
    text = encode(Standing("0123456789ab", {UID: board()}))

    assert decode(text).epoch == "0123456789ab"
    for damaged in (text[:-8], "", "AAAA", text[:20] + ("A" if text[20] != "A" else "B") + text[21:]):
        with pytest.raises(ValueError):
            decode(damaged)


jobs = st.lists(
    st.tuples(
        st.sampled_from([JobKey("a", 1), JobKey("b", 1), JobKey("c", 2)]),
        st.floats(0, 900), st.floats(1, 900), st.sampled_from([1.0, 0.25]),
    ),
    max_size=4,
)  # fmt: skip
draws = st.lists(
    st.tuples(st.sampled_from([0.5, 15.0, 15.0, 15.0, 100.0]), st.none() | st.floats(0, 700), st.booleans()),
    max_size=40,
)


def told_of(script):
    """Readings of a script: seconds since the one before, watts, and whether the exporter has a counter."""
    time, joules, found = 0.0, 0.0, []
    for seconds, watts, counts in script:
        time = round(time + seconds, 3)
        joules += seconds * (watts or 0.0)
        found.append(reading(time, watts, joules if counts else None, 0.5))
    return found


def in_windows(readings, held, unknown, ends, restarted):
    """The board and what the ledger keeps (the greatest of each row) after windows that end at `ends`."""
    it, kept, start = board(), {}, 0
    for end in ends:
        window = Window(start, end)
        within = [each for each in readings if start < each.time <= end]
        running = {each.job for each in held if each.until > end}
        for told in advance(it, within, held, unknown, running, window):
            kept[told.key] = told.usage
        if restarted:
            it = decode(encode(Standing("", {UID: it}))).boards[UID]
        start = end
    return it, kept


@settings(max_examples=60, deadline=None)
@given(draws, jobs, st.lists(st.tuples(st.floats(0, 900), st.floats(0, 900)), max_size=2))
def test_jobs_unallocated_and_unattributed_sum_to_the_device(script, allocations, unknown):
    """Whatever is read, held or unknown: nothing is lost and nothing is made, in seconds and in joules."""
    held = [Claim(job, since, since + length, share, "whole") for job, since, length, share in allocations]
    spans = [Span(min(each), max(each)) for each in unknown]
    it, kept = in_windows(told_of(script), held, spans, range(300, 6001, 300), restarted=False)

    usage = it.usage
    jobs_together = sum(kept.values(), Usage())
    assert usage.residual_seconds == pytest.approx(0, abs=1e-6)
    assert usage.residual_joules == pytest.approx(0, abs=1e-6 * (1 + sum(usage.energy_joules.values())))
    assert jobs_together.held_seconds == pytest.approx(usage.held_seconds, abs=1e-6)
    assert jobs_together.joules == pytest.approx(usage.held_energy_joules, rel=1e-9, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(draws, jobs, st.lists(st.integers(1, 5999), max_size=12))
def test_windows_and_restarts_change_nothing(script, allocations, cuts):
    """However time is cut into windows, and whoever goes on from what is kept."""
    held = [Claim(job, since, since + length, share, "whole") for job, since, length, share in allocations]
    readings = told_of(script)
    ends = sorted({*cuts, *range(300, 6001, 300)})

    _, whole = in_windows(readings, held, (), [*range(300, 6001, 300)], restarted=False)
    _, cut = in_windows(copy.deepcopy(readings), held, (), ends, restarted=True)

    assert {key: usage.held_seconds for key, usage in cut.items()} == pytest.approx(
        {key: usage.held_seconds for key, usage in whole.items()}
    )
    assert {key: usage.joules for key, usage in cut.items()} == pytest.approx(
        {key: usage.joules for key, usage in whole.items()}
    )
