"""A recording at once: the meter's totals are those of the series that was fed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuwatch.devices.replay import Replay, replay
from gpuwatch.errors import GpuwatchError, Rejected

FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def outcome(directory: Path, content: str | bytes, name: str = "recording.csv", gap: float = 7.5) -> Replay:
    """The replay of that content."""
    path = directory / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return replay([path], gap)


def trapezoid(series: list[tuple[float, float]], gap: float = 7.5) -> float:
    """The integral of a series, without its gaps."""
    return sum((t2 - t1) * (v1 + v2) / 2 for (t1, v1), (t2, v2) in pairwise(series) if t2 - t1 <= gap)


def test_energy_is_the_trapezoid_of_the_power(tmp_path: Path) -> None:
    """And busy seconds that of the utilization."""
    (device,) = outcome(tmp_path, "time_s,power_watts,utilization_ratio\n0,100,0\n1,200,1\n3,400,0.5\n").devices

    assert device.joules == pytest.approx(150 + 600)
    assert device.busy_seconds == pytest.approx(0.5 + 1.5)
    assert (device.uid, device.seconds, device.method) == ("replay:0", 3.0, "integrated")
    assert (device.unmeasured_seconds, dict(device.rejected)) == (0.0, {})


def test_a_gap_is_not_energy(tmp_path: Path) -> None:
    """Rows further apart than the limit measure nothing; the time is there as unmeasured."""
    content = "time_s,power_watts\n0,100\n1,100\n10,100\n11,100\n"
    (short,) = outcome(tmp_path, content).devices
    (long,) = outcome(tmp_path, content, gap=9.0).devices

    assert (short.joules, short.seconds, short.unmeasured_seconds) == (200.0, 11.0, 9.0)
    assert (long.joules, long.seconds, long.unmeasured_seconds) == (1100.0, 11.0, 0.0)


def test_the_counter_is_better_than_the_power(tmp_path: Path) -> None:
    """Where both are there the counter counts, also over a gap in the rows."""
    (device,) = outcome(
        tmp_path, "time_s,power_watts,energy_joules_total\n0,100,5000\n1,100,5120\n60,100,12000\n"
    ).devices

    assert (device.joules, device.method, device.unmeasured_seconds) == (7000.0, "counter", 0.0)


def test_a_counter_that_cannot_be_is_counted(tmp_path: Path) -> None:
    """A megajoule in a second is not believed; the power integral stands in."""
    (device,) = outcome(
        tmp_path, "time_s,power_watts,energy_joules_total\n0,100,5000\n1,100,1005000\n2,100,1005100\n"
    ).devices

    assert device.joules == 200.0
    assert dict(device.rejected) == {"counter_jump": 1}


def test_what_still_waits_at_the_end_is_settled(tmp_path: Path) -> None:
    """Time after the last measurement is unmeasured, and what the power said of it is not lost."""
    (power,) = outcome(tmp_path, "time_s,power_watts\n0,100\n1,100\n2,\n3,\n").devices
    (counter,) = outcome(
        tmp_path, "time_s,power_watts,energy_joules_total\n0,100,5000\n1,100,5100\n2,100,\n3,100,\n"
    ).devices

    assert (power.joules, power.seconds, power.unmeasured_seconds) == (100.0, 3.0, 2.0)
    assert (counter.joules, counter.seconds, counter.unmeasured_seconds) == (300.0, 3.0, 0.0)


def test_unknown_is_none(tmp_path: Path) -> None:
    """A recording of times alone has no joules and no busy seconds, rather than none of them."""
    (device,) = outcome(tmp_path, "time_s\n0\n5\n").devices

    assert (device.joules, device.method, device.busy_seconds) == (None, None, None)
    assert (device.seconds, device.unmeasured_seconds) == (5.0, 5.0)


def test_unbelievable_values_are_rejected_by_reason(tmp_path: Path) -> None:
    """Each is dropped and counted; its row's other values and the rows around it stand."""
    (device,) = outcome(
        tmp_path,
        "time_s,power_watts,utilization_ratio\n0,100,0.5\n1,nan,0.5\n2,-5,0.5\n3,4294967295,0.5\n"
        "4,50000,0.5\n5,oops,97\n6,100,0.5\n",
    ).devices

    assert dict(device.rejected) == {
        "not_finite": 1,
        "too_low": 1,
        "sentinel": 1,
        "too_high": 2,
        "not_a_number": 1,
    }
    assert device.joules == pytest.approx(600)
    assert device.busy_seconds == pytest.approx(3.0)


def test_a_job_holds_from_its_row_to_the_next(tmp_path: Path) -> None:
    """As the meter charges it: an interval is of whoever held when it began."""
    replayed = outcome(
        tmp_path,
        "time_s,power_watts,utilization_ratio,job_id\n0,100,1,\n1,100,1,a\n2,100,1,a\n4,100,1,b\n5,100,1,\n9,100,1,\n",
    )
    held = {job.job_id: (job.usage.held_seconds, job.usage.joules) for job in replayed.jobs}

    assert held == {"a": (3.0, pytest.approx(300)), "b": (1.0, pytest.approx(100))}
    assert replayed.devices[0].joules == pytest.approx(900)
    assert replayed.devices[0].busy_seconds == pytest.approx(9)


def test_a_gap_is_charged_only_to_who_held_at_both_ends(tmp_path: Path) -> None:
    """Nobody saw when the first job ended and the second began."""
    replayed = outcome(tmp_path, "time_s,power_watts,job_id\n0,9,a\n1,9,a\n100,9,a\n101,9,a\n200,9,b\n201,9,b\n")
    held = {job.job_id: job.usage.held_seconds for job in replayed.jobs}

    assert held == {"a": 101.0, "b": 1.0}
    assert replayed.devices[0].seconds == 201.0
    assert replayed.devices[0].unmeasured_seconds == 99.0 + 99.0


def test_a_job_on_several_devices_is_one(tmp_path: Path) -> None:
    """Its usage is summed, its devices are listed; devices have their own time axes."""
    replayed = outcome(tmp_path, "time_s,uid,power_watts,job_id\n1000,b,100,j\n0,a,50,j\n1002,b,100,\n4,a,50,\n")
    (job,) = replayed.jobs

    assert [device.uid for device in replayed.devices] == ["a", "b"]
    assert (job.devices, job.usage.held_seconds, job.usage.joules) == (("a", "b"), 6.0, 400.0)


def test_a_device_goes_on_in_the_next_file(tmp_path: Path) -> None:
    """Rotated logs are one recording; what overlaps is not counted twice."""
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    first.write_text("time_s,power_watts\n0,100\n1,100\n2,100\n")
    second.write_text("time_s,power_watts\n1,100\n2,100\n3,100\n4,100\n")

    replayed = replay([second, first])

    (device,) = replayed.devices
    assert (device.joules, device.seconds) == (400.0, 4.0)
    assert dict(device.rejected) == {"time_backwards": 1, "time_duplicate": 1}
    assert [(each.file, each.rows) for each in replayed.files] == [(first, 3), (second, 4)]


def test_rows_without_a_device_are_counted_with_the_file(tmp_path: Path) -> None:
    """Nothing that was dropped is hidden."""
    replayed = outcome(tmp_path, "time_s,uid,power_watts\n0,a,100\ngarbage\n1,a,100\n")

    assert dict(replayed.files[0].rejected) == {"unparsable": 1}
    assert dict(replayed.devices[0].rejected) == {}


def test_a_device_of_which_every_row_was_dropped_is_listed(tmp_path: Path) -> None:
    """With no time and no energy, and what was wrong."""
    (device,) = outcome(tmp_path, "time_s,power_watts\nx,1\ny,2\n").devices

    assert (device.uid, device.seconds, device.joules) == ("replay:0", 0.0, None)
    assert dict(device.rejected) == {"unparsable": 2}


watts = st.one_of(st.none(), st.floats(0, 2000), st.sampled_from([float("nan"), -1.0, 1e9]))
steps = st.sampled_from([0.1, 0.5, 1.0, 2.0, 5.0, 7.4, 8.0, 60.0])


def bridged(series: list[tuple[float, float | None]], gap: float) -> float:
    """The trapezoid between known values that are at most a gap apart."""
    return trapezoid([(time, value) for time, value in series if value is not None], gap)


@FUZZ
@given(rows=st.lists(st.tuples(steps, watts, st.sampled_from(["", "a", "b"])), min_size=2, max_size=30))
def test_any_series_gives_its_trapezoid_and_all_time_is_accounted_for(
    tmp_path: Path, rows: list[tuple[float, float | None, str]]
) -> None:
    """Whatever is unknown, unbelievable or late: energy is the trapezoid of the rest, parts sum to the whole."""
    time, lines, series = 0.0, ["time_s,power_watts,job_id"], []
    for step, value, job in rows:
        time = round(time + step, 3)
        lines.append(f"{time},{'' if value is None else value},{job}")
        series.append((time, value if value is not None and 0 <= value <= 20_000 else None))

    replayed = outcome(tmp_path, "\n".join(lines))

    (device,) = replayed.devices
    bad = sum(value is not None and not 0 <= value <= 20_000 for _, value, _ in rows)
    measured = trapezoid([(time, 1.0) for time, value in series if value is not None])
    assert (device.joules or 0.0) == pytest.approx(bridged(series, 7.5))
    assert device.seconds == pytest.approx(series[-1][0] - series[0][0])
    assert device.unmeasured_seconds == pytest.approx(device.seconds - measured, abs=1e-6)
    assert sum(device.rejected.values()) == bad
    assert sum(job.usage.held_seconds for job in replayed.jobs) <= device.seconds + 1e-6
    assert sum(job.usage.joules for job in replayed.jobs) <= (device.joules or 0.0) + 1e-6
    for job in replayed.jobs:
        assert sum(job.usage.state_seconds.values()) == pytest.approx(job.usage.held_seconds)


HEADERS = (
    b"time_s,uid,utilization_ratio,power_watts,energy_joules_total,memory_used_bytes,job_id\n",
    b"timestamp, index, power.draw [W], utilization.gpu [%], memory.used [MiB]\n",
    b"\x1f\x8b\x08\x00",
    b"\xff\xfe",
    b"",
)
pieces = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"1,a,0.5,100,5,7,j\n",
            b"2,a,,,,,\n",
            b"2023/12/18 17:01:44.300, 0, 46.19 W, 12 %, 5 MiB\n",
            b"1e308,a,1e308,1e308,1e308,1e308,\n",
            b"9" * 400,
            b"\xef\xbb\xbf",
        ]
    ),
    st.sampled_from([b'"', b",", b"\n", b"\r", b"\x00"]),
)


@FUZZ
@given(header=st.sampled_from(HEADERS), body=st.lists(pieces, max_size=12))
def test_arbitrary_bytes_are_replayed_or_rejected(tmp_path: Path, header: bytes, body: list[bytes]) -> None:
    """Any file at all: an outcome whose numbers are finite, or the one clean error with exit code 65."""
    try:
        replayed = outcome(tmp_path, header + b"".join(body))
    except GpuwatchError as exc:
        assert isinstance(exc, Rejected)
        assert exc.exit_code == 65
        return

    for device in replayed.devices:
        assert 0 <= device.unmeasured_seconds <= device.seconds + 1e-6 < float("inf")
        assert device.joules is None or 0 <= device.joules < float("inf")
