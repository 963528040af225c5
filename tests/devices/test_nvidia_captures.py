"""What real devices answered, played back by the fake driver: gpuwatch reads what was recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import pytest

from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.devices.nvml import FIELDS
from gpuwatch.model import Reading
from tests.captures import Capture, captures, play, read
from tests.captures.record import file_name, main, record
from tests.fake_nvml import FakeNvml

Connect = Callable[[], NvidiaDevices]


def value(capture: Capture, call: str, *args: int) -> Any:
    """What a call returned, None where it failed."""
    for answer in capture["calls"][call]:
        if answer["args"] == list(args) and answer["return"] == 0:
            return answer["value"]
    return None


def field(capture: Capture, number: int) -> Any:
    """What a field carried, None where it failed."""
    return capture["fields"][str(number)].get("value")


def scaled(number: float | None, unit: float) -> float | None:
    return None if number is None else number / unit


def assert_reading_is_what_was_recorded(capture: Capture, reading: Reading) -> None:
    rates = value(capture, "nvmlDeviceGetUtilizationRates") or {}
    memory = value(capture, "nvmlDeviceGetMemoryInfo_v2") or value(capture, "nvmlDeviceGetMemoryInfo") or {}
    energy = field(capture, 83)
    if energy is None:
        energy = value(capture, "nvmlDeviceGetTotalEnergyConsumption")
    powers = {name: field(capture, number) for name, number in (("average", 185), ("instant", 186))}
    clocks = {
        domain: number * 1e6
        for index, domain in enumerate(("graphics", "sm", "memory", "video"))
        if (number := value(capture, "nvmlDeviceGetClockInfo", index)) is not None
    }

    assert scaled(rates.get("gpu"), 100) == reading.utilization_ratio
    assert memory.get("used") == reading.memory_used_bytes
    assert scaled(energy, 1000) == reading.energy_joules
    assert clocks == reading.clock_hz
    assert scaled(value(capture, "nvmlDeviceGetEnforcedPowerLimit"), 1000) == reading.power_limit_watts
    for name, milliwatts in powers.items():
        if any(each is not None for each in powers.values()):
            assert scaled(milliwatts, 1000) == reading.power_watts.get((name, "device"))


def played(capture: Capture, driver: Callable[[int], FakeNvml], connect: Connect) -> Reading:
    fake = driver(1)
    play(capture, fake.devices[0], FIELDS)
    fake.devices[0].power_watts = (value(capture, "nvmlDeviceGetPowerUsage") or 0) / 1000
    source = connect()
    return source.read(source.scan(0.0)[0], 0.0)


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
    pynvml.nvmlInit()
    capture = record(0)
    pynvml.nvmlShutdown()
    return capture


@pytest.mark.parametrize("path", captures(), ids=lambda path: path.stem)
def test_recorded_device_reads_as_recorded(
    path: Path, driver: Callable[[int], FakeNvml], connect: Connect
) -> None:
    """Each committed recording is a test case by itself."""
    capture = read(path)

    assert_reading_is_what_was_recorded(capture, played(capture, driver, connect))


def test_a_recording_plays_back_as_it_was(
    busy: Capture, driver: Callable[[int], FakeNvml], connect: Connect
) -> None:
    """Recording and playing back are each other's inverse, through a file's text."""
    capture = json.loads(json.dumps(busy))
    reading = played(capture, driver, connect)

    assert_reading_is_what_was_recorded(capture, reading)
    assert (reading.utilization_ratio, reading.encoder_ratio, reading.decoder_ratio) == (0.83, None, 0.0)
    assert reading.power_watts == {("instant", "device"): 512.25}
    assert reading.ecc_errors["corrected", "volatile"] == 3


def test_a_recording_names_nobody(busy: Capture, fake: FakeNvml) -> None:
    """UUID, serial number and pids are not in it; costs are."""
    text = json.dumps(busy)
    processes = value(busy, "nvmlDeviceGetComputeRunningProcesses_v3")

    assert fake.devices[0].uuid not in text
    assert fake.calls("nvmlDeviceGetSerial") == 0
    assert [each["pid"] for each in processes] == [1001, 1002]
    assert 0 < busy["calls"]["nvmlDeviceGetPowerUsage"][0]["seconds"] < 1


def test_a_recording_is_named_by_vendor_model_and_driver(busy: Capture) -> None:
    """The name of the file says what it is of."""
    assert file_name(dict(busy)) == "nvidia-h100-80gb-hbm3__570.86.15.json"


def test_equal_devices_are_recorded_once(
    driver: Callable[[int], FakeNvml], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A node with two boards of one model gives one file."""
    driver(2)
    main(tmp_path)

    assert [path.name for path in tmp_path.glob("*.json")] == ["nvidia-h100-80gb-hbm3__570.86.15.json"]
    assert len(capsys.readouterr().out.splitlines()) == 1
