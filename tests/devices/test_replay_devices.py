"""A recording in real time: what `gpuwatch agent` sees of it as devices of its node."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuwatch.devices.replay import ReplayDevices
from gpuwatch.errors import Unavailable
from gpuwatch.meter import Meter
from gpuwatch.model import Device, Reading, Site

NOW = 1_764_000_000.0
ROWS = (
    "time_s,uid,power_watts,utilization_ratio,energy_joules_total\n"
    "100,a,100,0.1,5000\n101,a,200,0.2,5150\n101,b,50,,\n102,a,300,0.3,5400\n103,b,60,,\n120,a,400,0.4,9000\n"
)
AVERAGE = ("average", "device")


def playing(directory: Path, content: str = ROWS, **options: object) -> tuple[ReplayDevices, dict[str, Device]]:
    """The plugin on that recording, begun at `NOW`, and its devices."""
    path = directory / "recording.csv"
    path.write_text(content)
    source = ReplayDevices(ReplayDevices.Settings.model_validate({"file": path, **options}), Site(node="n0"))
    return source, {device.uid: device for device in source.scan(NOW)}


def watts(reading: Reading) -> float:
    """The power it says."""
    return reading.power_watts[AVERAGE]


def test_the_devices_are_those_of_the_recording(tmp_path: Path) -> None:
    """In the order in which they appear, on this node."""
    source, devices = playing(tmp_path)
    source.close()

    assert [(each.uid, each.index, each.vendor, each.node) for each in devices.values()] == [
        ("a", 0, "replay", "n0"),
        ("b", 1, "replay", "n0"),
    ]


def test_the_model_is_taken_from_the_recording(tmp_path: Path) -> None:
    """So that the meter and the specs know what it was."""
    source, devices = playing(
        tmp_path,
        "timestamp, name, index, power.draw [W]\n2023/12/18 17:01:44.300, NVIDIA A100-SXM4-80GB, 0, 60 W\n",
    )
    source.close()

    assert devices["replay:0"].model == "NVIDIA A100-SXM4-80GB"


def test_a_reading_is_what_the_recording_says_at_that_moment(tmp_path: Path) -> None:
    """With this moment's time."""
    source, devices = playing(tmp_path)
    readings = [source.read(devices["a"], NOW + course) for course in (0, 1.5, 2)]
    source.close()

    assert [watts(each) for each in readings] == [100, 200, 300]
    assert [each.utilization_ratio for each in readings] == [0.1, 0.2, 0.3]
    assert [each.time for each in readings] == [NOW, NOW + 1.5, NOW + 2]
    assert readings[0].processes is None


def test_before_its_first_row_in_a_gap_and_after_the_end_there_is_no_reading(tmp_path: Path) -> None:
    """The last good value is never repeated beyond the gap limit."""
    source, devices = playing(tmp_path)
    for uid, course, why in (("b", 0, "gap"), ("a", 12, "gap"), ("a", 40, "ended"), ("b", 20, "ended")):
        with pytest.raises(Unavailable, match=why):
            source.read(devices[uid], NOW + course)
    last = source.read(devices["a"], NOW + 25)
    source.close()

    assert watts(last) == 400


def test_speed_makes_the_course_faster_and_the_counter_no_faster_than_the_clock(tmp_path: Path) -> None:
    """At ten times the speed the counter rises a tenth as fast per row: as much as the power shown here gives."""
    source, devices = playing(tmp_path, speed=10.0)
    first, second = source.read(devices["a"], NOW), source.read(devices["a"], NOW + 0.2)
    source.close()

    assert (watts(first), watts(second)) == (100, 300)
    assert (second.energy_joules or 0) - (first.energy_joules or 0) == pytest.approx(40)


def test_a_loop_begins_again_and_its_counter_goes_on(tmp_path: Path) -> None:
    """One second after its last row; the counter never falls."""
    source, devices = playing(tmp_path, loop=True)
    end = source.read(devices["a"], NOW + 20)
    again = source.read(devices["a"], NOW + 21)
    later = source.read(devices["a"], NOW + 22)
    source.close()

    assert [watts(each) for each in (end, again, later)] == [400, 100, 200]
    assert [each.energy_joules for each in (end, again, later)] == [4000, 4000, 4150]


def test_a_clock_that_went_back_is_followed(tmp_path: Path) -> None:
    """The recording is read again from its beginning."""
    source, devices = playing(tmp_path)
    source.read(devices["a"], NOW + 2)

    back = source.read(devices["a"], NOW + 1)
    source.close()

    assert watts(back) == 200


@pytest.mark.parametrize("content", ["", "no,recording\n", "time_s\n"])
def test_a_file_that_is_none_is_unavailable(tmp_path: Path, content: str) -> None:
    """The agent runs, and says so."""
    with pytest.raises(Unavailable):
        playing(tmp_path, content)


def test_a_missing_file_is_tried_again(tmp_path: Path) -> None:
    """It may still come."""
    source = ReplayDevices(ReplayDevices.Settings(file=tmp_path / "later.csv"), Site())
    with pytest.raises(Unavailable, match="cannot be read"):
        source.scan(NOW)
    (tmp_path / "later.csv").write_text(ROWS)

    found = source.scan(NOW + 5)
    first = source.read(found[0], NOW + 5)
    source.close()

    assert watts(first) == 100


def test_a_device_of_another_recording_is_unavailable(tmp_path: Path) -> None:
    """It says what there is."""
    source, _ = playing(tmp_path)

    with pytest.raises(Unavailable, match="there is a, b"):
        source.read(Device("c", "n0", 2, "replay", ""), NOW)
    source.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(
    rows=st.lists(st.tuples(st.sampled_from([0.5, 1.0, 4.0, 20.0]), st.floats(0, 1e6)), min_size=1, max_size=8),
    speed=st.sampled_from([0.5, 1.0, 7.0]),
    loop=st.booleans(),
)
def test_the_counter_shown_never_falls(
    tmp_path: Path, rows: list[tuple[float, float]], speed: float, loop: bool
) -> None:
    """Whatever the file's own counter does, and through every round of it."""
    time, lines = 0.0, ["time_s,energy_joules_total"]
    for step, joules in rows:
        time += step
        lines.append(f"{time},{joules}")
    source, devices = playing(tmp_path, "\n".join(lines), speed=speed, loop=loop)
    shown = []
    for tick in range(40):
        try:
            shown.append(source.read(devices["replay:0"], NOW + tick).energy_joules or 0.0)
        except Unavailable:
            continue
    source.close()

    assert shown == sorted(shown)


def test_the_meter_adds_up_what_is_played(tmp_path: Path) -> None:
    """Read once a second and metered, the joules are the recording's."""
    rows = "".join(f"{second},{100 + second % 50}\n" for second in range(60))
    source, devices = playing(tmp_path, "time_s,power_watts\n" + rows)
    meter = Meter()
    for second in range(60):
        reading = source.read(devices["replay:0"], NOW + second)
        meter.advance(reading.time, {"replay:0": reading})
    source.close()

    said = sum((100 + s % 50 + 100 + (s + 1) % 50) / 2 for s in range(59))
    assert sum(meter.devices["replay:0"].energy_joules.values()) == pytest.approx(said)
