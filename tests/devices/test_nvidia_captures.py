"""What real devices answered, played back by the fake driver: gpuwatch reads what was recorded."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpuwatch.devices import capture as recorder
from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.devices.nvml_fields import FIELDS
from gpuwatch.model import Device, Reading
from tests import goldens
from tests.captures import FOLDER as COMMITTED
from tests.captures import Capture, captures, field, golden_of, golden_text, play, read, value
from tests.fake_nvml import FakeNvml

Drive = Callable[[int], FakeNvml]
Played = Callable[[Capture], tuple[list[Device], dict[str, Reading]]]
Golden = Callable[[Path, str], None]


def recorded(window: float = 0.0) -> Capture:
    """A recording of the driver that this process sees, through a file's text; GPM over so many seconds."""
    (capture,) = recorder.record(lambda call: call(), lambda seconds: time.sleep(min(seconds, window)))
    loaded: Capture = json.loads(recorder.text_of(capture))
    return loaded


@pytest.fixture
def played(driver: Drive, connect: Callable[[], NvidiaDevices], ticks: Callable[[float], None]) -> Played:
    """What gpuwatch reads of a fake device that answers as recorded: the devices, and their readings by uid.

    Activity is known at the second reading; by then all has been asked for again.
    """

    def read_all(capture: Capture) -> tuple[list[Device], dict[str, Reading]]:
        play(capture, driver(1).devices[0], FIELDS)
        source = connect()
        devices = list(source.scan(0.0))
        for device in devices:
            source.read(device, 0.0)
        ticks(5.0)
        return devices, {device.uid: source.read(device, 5.0) for device in devices}

    return read_all


def first(played: tuple[list[Device], dict[str, Reading]]) -> Reading:
    """The reading of the whole device."""
    devices, readings = played
    return readings[devices[0].uid]


def as_golden(capture: Capture, played: Played) -> str:
    """What the golden of a recording has to say."""
    return golden_text(capture, *played(capture))


def scaled(number: float | None, unit: float) -> float | None:
    return None if number is None else number / unit


def assert_reading_is_what_was_recorded(capture: Capture, reading: Reading) -> None:
    rates = value(capture, "nvmlDeviceGetUtilizationRates") or {}
    memory = value(capture, "nvmlDeviceGetMemoryInfo_v2") or value(capture, "nvmlDeviceGetMemoryInfo") or {}
    powers = {name: field(capture, number).get("value") for name, number in (("average", 185), ("instant", 186))}
    clocks = {
        domain: number * 1e6
        for index, domain in enumerate(("graphics", "sm", "memory", "video"))
        if (number := value(capture, "nvmlDeviceGetClockInfo", index)) is not None
    }

    assert scaled(rates.get("gpu"), 100) == reading.utilization_ratio
    assert memory.get("used") == reading.memory_used_bytes
    assert clocks == reading.clock_hz
    assert scaled(value(capture, "nvmlDeviceGetEnforcedPowerLimit"), 1000) == reading.power_limit_watts
    if (millijoules := field(capture, 83).get("value")) is not None:
        assert millijoules / 1000 == reading.energy_joules
    for name, milliwatts in powers.items():
        if any(each is not None for each in powers.values()):
            assert scaled(milliwatts, 1000) == reading.power_watts.get((name, "device"))


@pytest.fixture
def busy(fake: FakeNvml) -> Capture:
    """A recording of a fake device that has something to say and something that it does not support."""
    device = fake.devices[0]
    device.load(0.83, memory=0.4)
    device.memory(used=7 * 2**30)
    device.power_watts = 512.25
    device.processes((4321, 2**30), (4322, None))
    device.clocks(video=None)
    device.fail("nvmlDeviceGetEncoderUtilization", 3)
    device.fail_field(185, 3)
    device.ecc("corrected", "volatile", 3)
    return recorded()


@pytest.fixture
def dropped_in(busy: Capture, tmp_path: Path) -> Path:
    """That recording as a file in a folder, as if somebody had sent it."""
    path = tmp_path / "captures" / recorder.file_name(busy)
    path.parent.mkdir()
    path.write_text(json.dumps(busy))
    return path


@pytest.mark.parametrize("path", captures(), ids=lambda path: path.stem)
def test_recorded_device_reads_as_recorded(path: Path, played: Played) -> None:
    """Each committed recording is a test case by itself."""
    capture = read(path)

    assert_reading_is_what_was_recorded(capture, first(played(capture)))


@pytest.mark.parametrize("path", captures(), ids=lambda path: path.stem)
def test_recorded_device_reads_as_its_golden_says(path: Path, played: Played, golden: Golden) -> None:
    """What gpuwatch makes of a recording is reviewed once, and every change of it after that."""
    golden(golden_of(path), as_golden(read(path), played))


def test_every_golden_belongs_to_a_recording() -> None:
    """A recording that is taken out takes its golden along."""
    assert {golden_of(path) for path in captures()} == set(COMMITTED.glob("*.golden.json"))


def test_a_recording_plays_back_as_it_was(busy: Capture, played: Played) -> None:
    """Recording and playing back are each other's inverse, through a file's text."""
    reading = first(played(busy))

    assert_reading_is_what_was_recorded(busy, reading)
    assert (reading.utilization_ratio, reading.encoder_ratio, reading.decoder_ratio) == (0.83, None, 0.0)
    assert reading.power_watts == {("instant", "device"): 512.25}
    assert reading.ecc_errors["corrected", "volatile"] == 3


def test_a_recording_of_a_played_recording_says_the_same(busy: Capture, driver: Drive) -> None:
    """Whoever records the fake gets what was recorded of the real one, but for what it cost."""
    play(busy, driver(1).devices[0], FIELDS)
    again = recorded()

    for call, answers in busy["calls"].items():
        if call != "nvmlDeviceGetTotalEnergyConsumption":
            assert [each.get("value") for each in answers] == [each.get("value") for each in again["calls"][call]]
            assert [each["return"] for each in answers] == [each["return"] for each in again["calls"][call]]
    assert [each.get("value") for each in busy["fields"]] == [each.get("value") for each in again["fields"]]


def test_a_device_that_is_cut_plays_back_with_its_slices(driver: Drive, played: Played) -> None:
    """Their fractions, memory and processes; the golden of such a recording has them all."""
    board = driver(1).devices[0]
    board.most_slices(4)
    for number, each in enumerate(board.mig(["2g.12gb", "1c.2g.12gb"])):
        each.processes((100 + number, (number + 1) << 30))
    devices, readings = played(recorded())

    assert ["gpu", "mig", "mig"] == [device.kind for device in devices]
    assert [1.0, 2 / 4, 1 / 4] == [device.fraction for device in devices]
    assert [1 << 30, 2 << 30] == [readings[device.uid].memory_used_bytes for device in devices[1:]]
    assert [1, 1] == [len(readings[device.uid].processes or ()) for device in devices[1:]]
    assert readings[devices[0].uid].processes == ()


def test_activity_plays_back(fake: FakeNvml, played: Played) -> None:
    """Of the whole and of a slice; the golden is steady."""
    whole = fake.devices[0]
    whole.activity(sm=0.5, tensor=0.25, dram=0.1)
    (large,) = whole.mig(["3g.40gb"])
    large.activity(sm=0.7, tensor=0.6, dram=0.2)
    capture = recorded(0.01)

    devices, readings = played(capture)
    whole_reading, large_reading = (readings[device.uid] for device in devices)

    assert whole_reading.sm_activity_ratio == pytest.approx(0.5, abs=0.01)
    assert large_reading.tensor_activity_ratio == pytest.approx(0.6, abs=0.01)
    assert as_golden(capture, played) == as_golden(capture, played)


def test_a_device_on_a_module_plays_back_with_both_scopes(driver: Drive, played: Played) -> None:
    """Health and traffic come back too: what was a field is one again, what was a call is one."""
    board = driver(1).devices[0]
    board.field(185, 900_000, 1, scope=1)
    board.field(191, 5_000_000)
    board.field(138, 3, scope=2**32 - 1)
    board.remapped_rows(corrected=2)
    board.fabric(3, summary=2)
    reading = first(played(recorded()))

    assert (reading.power_watts["average", "module"], reading.energy_joules) == (900.0, 5000.0)
    assert reading.nvlink_bytes == {"transmit": 3 * 1024}
    assert reading.remapped_rows["corrected"] == 2
    assert (reading.fabric_state["completed"], reading.fabric_state["healthy"]) == (1.0, 0.0)


def test_an_old_device_plays_back_by_its_older_calls(driver: Drive, played: Played) -> None:
    """Where the driver refuses all fields, power and energy come from calls of their own; the golden is steady."""
    old = driver(1).devices[0]
    old.capability, old.power_watts, old.energy_joules = (7, 0), 250.0, 1e6
    old.fail("nvmlDeviceGetFieldValues", 3)
    old.fail("nvmlDeviceGetMemoryInfo_v2", 13)
    capture = recorded()
    joules = value(capture, "nvmlDeviceGetTotalEnergyConsumption") / 1000

    told = json.loads(as_golden(capture, played))["devices"][0]["reading"]

    assert told["power_watts"] == {"instant,device": 250.0}
    assert told["energy_joules"] == joules
    assert "memory_reserved_bytes" not in told


def test_a_call_that_hung_is_played_as_a_failure(busy: Capture, played: Played) -> None:
    """A recording says null for it; playing it must not hang the tests."""
    busy["calls"]["nvmlDeviceGetUtilizationRates"][0] = {"args": [], "return": None, "failure": "no answer"}

    assert first(played(busy)).utilization_ratio is None


def test_a_recording_without_a_golden_says_how_to_get_one(dropped_in: Path, played: Played) -> None:
    """The first run after a recording was put into the folder."""
    actual = as_golden(read(dropped_in), played)

    with pytest.raises(
        AssertionError, match=r"nvidia-h100.*\.golden\.json is not there: run pytest --update-golden"
    ):
        goldens.compare(golden_of(dropped_in), actual, update=False)


def test_a_golden_is_written_beside_its_recording_and_then_holds(dropped_in: Path, played: Played) -> None:
    """`pytest --update-golden` is all it takes; the golden is no recording, and what it says does not vary."""
    goldens.compare(golden_of(dropped_in), as_golden(read(dropped_in), played), update=True)

    goldens.compare(golden_of(dropped_in), as_golden(read(dropped_in), played), update=False)
    written = json.loads(golden_of(dropped_in).read_text())
    assert captures(dropped_in.parent) == [dropped_in]
    assert written["devices"][0]["device"]["model"] == "NVIDIA H100 80GB HBM3"
    assert written["devices"][0]["reading"]["utilization_ratio"] == 0.83
    uuid = written["devices"][0]["device"]["uid"]
    assert f'gpuwatch_device_utilization_ratio{{uuid="{uuid}"}} 0.83' in written["metrics"]


def test_a_golden_notices_what_gpuwatch_reads_differently(dropped_in: Path, played: Played) -> None:
    """It fails until it is written again, and holds after that."""
    golden = golden_of(dropped_in)
    goldens.compare(golden, as_golden(read(dropped_in), played), update=True)
    changed: dict[str, Any] = dict(read(dropped_in))
    changed["calls"]["nvmlDeviceGetUtilizationRates"][0]["value"]["gpu"] = 12

    actual = as_golden(changed, played)

    with pytest.raises(AssertionError):
        goldens.compare(golden, actual, update=False)
    goldens.compare(golden, actual, update=True)
    goldens.compare(golden, actual, update=False)


def test_a_recording_of_another_schema_is_refused(dropped_in: Path) -> None:
    """Its keys would mean something else."""
    dropped_in.write_text(json.dumps(dict(read(dropped_in)) | {"schema": 3}))

    with pytest.raises(ValueError, match="schema 3 is not known; there is 2"):
        read(dropped_in)


def test_keys_of_a_later_version_are_passed_over(busy: Capture, played: Played) -> None:
    """A newer gpuwatch records more; an older one's tests still play it."""
    newer: dict[str, Any] = dict(busy) | {"weather": "fine"}
    newer["calls"]["nvmlDeviceGetSomethingNew"] = [{"args": [], "return": 0, "value": 1, "mood": "good"}]

    assert first(played(newer)).utilization_ratio == 0.83
