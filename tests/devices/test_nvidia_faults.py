"""What the NVIDIA source does when the driver, a device or a call fails."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.errors import RestartRequired, Unavailable
from gpuwatch.model import Device
from tests.fake_nvml import FakeNvml, wait_until
from tests.fake_nvml.layout import CALLS

Connect = Callable[[], NvidiaDevices]
UNINITIALIZED, NO_PERMISSION, DRIVER_NOT_LOADED, GPU_IS_LOST = 1, 4, 9, 15
RESET_REQUIRED, VERSION_MISMATCH, GPU_NOT_FOUND, UNKNOWN = 16, 18, 28, 999

SCAN = """
import sys

from gpuwatch.model import Site
from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.errors import GpuwatchError

source = NvidiaDevices(NvidiaDevices.Settings(), Site(sysfs=sys.argv[1]))
try:
    for device in source.scan(0.0):
        print(device.uid, source.read(device, 0.0).power_limit_watts)
except GpuwatchError as error:
    print(type(error).__name__, error)
source.close()
"""


def scan_in_new_process(bus: str, variables: Mapping[str, str], prelude: str = "") -> str:
    """What a fresh process says, with pynvml loading the library by itself."""
    ran = subprocess.run(
        [sys.executable, "-c", prelude + SCAN, bus],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


@pytest.mark.integration
def test_library_is_found_by_its_name_in_a_new_process(eight: FakeNvml, nvidia_bus: str) -> None:
    """With LD_LIBRARY_PATH set, stock pynvml finds the fake driver, and this source finds eight devices."""
    said = scan_in_new_process(nvidia_bus, eight.environment())

    assert [f"{device.uuid} 700.0" for device in eight.devices] == said.splitlines()


@pytest.mark.integration
def test_no_library_says_what_to_install(tmp_path: Path, nvidia_bus: str) -> None:
    """A node without the driver's library is unavailable, not broken."""
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")

    said = scan_in_new_process(nvidia_bus, {"LD_LIBRARY_PATH": str(tmp_path)})

    assert said.startswith("Unavailable nvidia: libnvidia-ml.so.1 is not installed; install the NVIDIA driver")


@pytest.mark.integration
def test_no_binding_says_what_to_install(nvidia_bus: str) -> None:
    """A node without pynvml is unavailable, not broken."""
    said = scan_in_new_process(nvidia_bus, {}, prelude="import sys; sys.modules['pynvml'] = None\n")

    assert said == "Unavailable nvidia: the Python module pynvml is missing; install nvidia-ml-py"


@pytest.mark.parametrize(
    ("result", "advice"),
    [(DRIVER_NOT_LOADED, "modprobe nvidia"), (NO_PERMISSION, "/dev/nvidiactl"), (UNKNOWN, "NVML error 999")],
)
def test_a_driver_that_cannot_be_opened_says_why(
    fake: FakeNvml, connect: Connect, result: int, advice: str
) -> None:
    """The message says what is missing and what to do; once mended, the next scan finds the devices."""
    source = connect()
    fake.fail("nvmlInitWithFlags", result)

    with pytest.raises(Unavailable, match=advice):
        source.scan(0.0)

    fake.fail("nvmlInitWithFlags", 0)
    assert len(source.scan(1.0)) == 1


def test_no_device_is_an_error(driver: Callable[[int], FakeNvml], connect: Connect) -> None:
    """A driver that lists nothing is a failed scan, not an empty success."""
    driver(0)

    with pytest.raises(Unavailable, match=r"driver 570\.86\.15 is loaded but lists no GPU"):
        connect().scan(0.0)


def test_no_permission_for_any_device_is_an_error(eight: FakeNvml, connect: Connect) -> None:
    """When each device refuses to be opened, the message is that of the refusal."""
    eight.fail("nvmlDeviceGetHandleByIndex_v2", NO_PERMISSION)

    with pytest.raises(Unavailable, match="no GPU can be opened: no permission"):
        connect().scan(0.0)


def test_a_device_without_a_pci_address_is_still_a_device(fake: FakeNvml, connect: Connect) -> None:
    """What is not known about it stays unknown."""
    fake.fail("nvmlDeviceGetPciInfo_v3", 3)

    assert [device.pci for device in connect().scan(0.0)] == [None]


@pytest.mark.parametrize("call", ["nvmlInitWithFlags", "nvmlDeviceGetCount_v2", "nvmlDeviceGetUtilizationRates"])
def test_a_replaced_driver_asks_for_a_restart(fake: FakeNvml, connect: Connect, call: str) -> None:
    """Error 18 cannot be mended inside this process, wherever it appears."""
    source = connect()
    fake.fail(call, VERSION_MISMATCH)

    with pytest.raises(RestartRequired, match="a new process is needed"):
        source.read(source.scan(0.0)[0], 0.0)


def test_a_driver_replaced_while_running_asks_for_a_restart(fake: FakeNvml, connect: Connect) -> None:
    """Both the next reading and the next scan say so."""
    source = connect()
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    fake.fail_everything(VERSION_MISMATCH)

    with pytest.raises(RestartRequired):
        source.read(device, 1.0)
    with pytest.raises(RestartRequired):
        source.scan(2.0)


def test_a_field_can_carry_the_version_mismatch(fake: FakeNvml, connect: Connect) -> None:
    """Also when only one field's own result says it."""
    source = connect()
    (device,) = source.scan(0.0)
    fake.devices[0].fail_field(83, VERSION_MISMATCH)

    with pytest.raises(RestartRequired):
        source.read(device, 1.0)


def uids(devices: object) -> list[str]:
    assert isinstance(devices, tuple)
    return [device.uid for device in devices if isinstance(device, Device)]


def test_one_lost_device_leaves_seven_readable(eight: FakeNvml, connect: Connect) -> None:
    """The lost one stays listed, and only its own reads fail."""
    source = connect()
    devices = source.scan(0.0)
    for device in devices:
        source.read(device, 0.0)
    eight.devices[3].lose()

    failed = []
    for device in devices:
        try:
            source.read(device, 1.0)
        except Unavailable:
            failed.append(device.uid)

    assert [eight.devices[3].uuid] == failed
    assert uids(devices) == uids(source.scan(2.0))


def test_a_device_lost_before_the_start_hides_no_other(eight: FakeNvml, connect: Connect) -> None:
    """It has no known identity, so seven are listed; it joins them when it is back."""
    source = connect()
    eight.devices[0].lose()
    seven = source.scan(0.0)
    eight.devices[0].restore()

    assert [device.uuid for device in eight.devices[1:]] == uids(seven)
    assert [device.uuid for device in eight.devices] == uids(source.scan(1.0))


def test_a_device_taken_off_the_bus_is_no_longer_listed(eight: FakeNvml, connect: Connect) -> None:
    """What the driver does not count any more is gone, not lost."""
    source = connect()
    before = source.scan(0.0)
    eight.reorder([0, 1, 2, 3, 5, 6, 7])

    assert [uid for uid in uids(before) if uid != eight.devices[4].uuid] == uids(source.scan(1.0))
    with pytest.raises(Unavailable, match="no longer there"):
        source.read(before[4], 2.0)


@pytest.mark.parametrize("result", [GPU_IS_LOST, RESET_REQUIRED, GPU_NOT_FOUND])
def test_a_lost_device_returns_by_itself(fake: FakeNvml, connect: Connect, result: int) -> None:
    """When it is back, the next reading finds it by its UUID, without a scan."""
    source = connect()
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    fake.devices[0].lose(result)
    with pytest.raises(Unavailable, match="the GPU"):
        source.read(device, 1.0)
    fake.devices[0].restore()

    assert {("average", "device"), ("instant", "device")} == set(source.read(device, 2.0).power_watts)


def test_a_returned_device_is_asked_anew_what_it_supports(fake: FakeNvml, connect: Connect) -> None:
    """What was not supported before the reset may be after it."""
    source = connect()
    (device,) = source.scan(0.0)
    fake.devices[0].fail("nvmlDeviceGetUtilizationRates", 3)
    source.read(device, 0.0)
    fake.devices[0].fail("nvmlDeviceGetUtilizationRates", 0)
    fake.devices[0].lose()
    with pytest.raises(Unavailable):
        source.read(device, 1.0)
    fake.devices[0].restore()

    assert source.read(device, 2.0).utilization_ratio == 0.0


@pytest.mark.parametrize("call", ["nvmlDeviceGetUtilizationRates", "nvmlDeviceGetMemoryInfo_v2"])
def test_an_unknown_error_makes_one_value_absent_once(fake: FakeNvml, connect: Connect, call: str) -> None:
    """The other values of the reading are there, and so is the value itself next time."""
    field = {"nvmlDeviceGetUtilizationRates": "utilization_ratio"}.get(call, "memory_used_bytes")
    source = connect()
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    fake.devices[0].fail(call, UNKNOWN)
    during = source.read(device, 1.0)
    fake.devices[0].fail(call, 0)

    assert (getattr(during, field), during.temperature_celsius) == (None, {"gpu": 34})
    assert getattr(source.read(device, 2.0), field) == 0


def test_an_unknown_error_of_a_field_makes_it_absent_once(fake: FakeNvml, connect: Connect) -> None:
    """Energy that was not read is absent, never 0 and never the last value, and asked for at the next read."""
    source = connect()
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    fake.devices[0].fail_field(83, UNKNOWN)
    during = source.read(device, 5.0)
    fake.devices[0].fail_field(83, 0)

    assert during.energy_joules is None
    assert source.read(device, 6.0).energy_joules is not None


def test_an_unknown_error_of_the_whole_list_is_no_verdict_on_its_fields(fake: FakeNvml, connect: Connect) -> None:
    """Its fields are absent once; the older calls are not put in their place."""
    source = connect()
    (device,) = source.scan(0.0)
    fake.fail("nvmlDeviceGetFieldValues", UNKNOWN)
    during = source.read(device, 0.0)
    fake.fail("nvmlDeviceGetFieldValues", 0)

    assert (during.energy_joules, during.power_watts) == (None, {})
    assert source.read(device, 1.0).power_watts["average", "device"] == 70.0
    assert fake.calls("nvmlDeviceGetPowerUsage") == 0


@pytest.mark.parametrize("result", [UNKNOWN, NO_PERMISSION])
def test_a_device_that_refuses_every_call_is_unavailable(fake: FakeNvml, connect: Connect, result: int) -> None:
    """A reading without a value is no reading; once mended, everything is asked for again."""
    source = connect()
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    calls = [call for call in CALLS if call.startswith("nvmlDeviceGet") and "Handle" not in call]
    for call in calls:
        fake.fail(call, result)
    with pytest.raises(Unavailable, match="refuses every call"):
        source.read(device, 1.0)
    for call in calls:
        fake.fail(call, 0)

    assert source.read(device, 2.0).temperature_celsius["gpu"] == 34


@pytest.mark.parametrize("result", [UNINITIALIZED, DRIVER_NOT_LOADED])
def test_a_reloaded_driver_is_opened_again(eight: FakeNvml, connect: Connect, result: int) -> None:
    """After the driver was unloaded and loaded, the next scan opens it and reading goes on."""
    source = connect()
    devices = source.scan(0.0)
    source.read(devices[0], 0.0)
    eight.fail_everything(result)
    with pytest.raises(Unavailable):
        source.read(devices[0], 1.0)
    with pytest.raises(Unavailable):
        source.scan(2.0)
    eight.fail_everything(0)
    eight.reload_driver()

    assert uids(devices) == uids(source.scan(3.0))
    assert source.read(devices[0], 3.0).temperature_celsius["gpu"] == 34


def test_reading_needs_a_scan(fake: FakeNvml, connect: Connect) -> None:
    """Before the first scan, and after the last, the driver is not open."""
    source = connect()
    device = Device(uid=fake.devices[0].uuid, node="n1", index=0, vendor="nvidia", model="")

    with pytest.raises(Unavailable, match="the driver is not open"):
        source.read(device, 0.0)

    source.scan(0.0)
    source.close()
    with pytest.raises(Unavailable, match="the driver is not open"):
        source.read(device, 1.0)


def test_closing_without_a_driver_is_harmless(connect: Connect) -> None:
    """A source that never scanned has nothing to let go of."""
    source = connect()

    assert source.close() is None


@pytest.mark.integration
def test_a_hung_device_holds_up_no_other(eight: FakeNvml, connect: Connect) -> None:
    """While a call hangs on one device, the others are read and scanned; its own answer comes when it comes."""
    source = connect()
    devices = source.scan(0.0)
    eight.devices[2].hang(60.0)
    answers: list[float | None] = []
    hung = threading.Thread(
        target=lambda: answers.append(source.read(devices[2], 0.0).utilization_ratio), daemon=True
    )
    hung.start()
    assert wait_until(lambda: eight.devices[2].calls("nvmlDeviceGetFieldValues") > 0)

    others = [source.read(device, 1.0).utilization_ratio for device in devices if device is not devices[2]]

    assert others == [0.0] * 7
    assert len(source.scan(2.0)) == 8
    assert answers == []
    eight.devices[2].unhang()
    hung.join(10.0)
    assert answers == [0.0]


@pytest.mark.integration
def test_a_driver_in_which_a_call_hangs_is_not_let_go_of(
    fake: FakeNvml, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing returns within seconds and says why the driver stays open."""
    source = connect()
    (device,) = source.scan(0.0)
    fake.devices[0].hang(60.0, ["nvmlDeviceGetFieldValues"])
    hung = threading.Thread(target=lambda: source.read(device, 0.0), daemon=True)
    hung.start()
    assert wait_until(lambda: fake.devices[0].calls("nvmlDeviceGetFieldValues") > 0)

    source.close()

    assert "driver left open" in caplog.text
    fake.devices[0].unhang()
    hung.join(10.0)
    assert not hung.is_alive()


@pytest.mark.integration
def test_devices_are_read_at_once(eight: FakeNvml, connect: Connect) -> None:
    """All eight are inside the driver at the same time: no read waits for another device's."""
    source = connect()
    devices = source.scan(0.0)
    for device in eight.devices:
        device.hang(60.0, ["nvmlDeviceGetUtilizationRates"])
    answers: dict[str, float | None] = {}

    def read(device: Device) -> None:
        answers[device.uid] = source.read(device, 0.0).utilization_ratio

    threads = [threading.Thread(target=read, args=(device,), daemon=True) for device in devices]
    for thread in threads:
        thread.start()
    all_inside = wait_until(lambda: eight.calls("nvmlDeviceGetUtilizationRates") == 8)
    for device in eight.devices:
        device.unhang()
    for thread in threads:
        thread.join(10.0)

    assert all_inside
    assert dict.fromkeys(uids(devices), 0.0) == answers
