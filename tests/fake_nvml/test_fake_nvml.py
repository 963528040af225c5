"""The fake driver behaves as NVML does where tests rely on it, and fits pynvml's view of the ABI."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from ctypes import c_size_t, sizeof
from pathlib import Path
from typing import Any

import pynvml
import pytest

from tests.fake_nvml import FakeNvml, build, compiler, load, loaded_here, wait_until

pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the fake NVIDIA driver needs a C compiler; install gcc"
)

ABI = (
    pynvml.c_nvmlUtilization_t,
    pynvml.c_nvmlMemory_t,
    pynvml.c_nvmlMemory_v2_t,
    pynvml.c_nvmlTemperature_v1_t,
    pynvml.nvmlPciInfo_t,
    pynvml.c_nvmlProcessInfo_v3_t,
    pynvml.c_nvmlEventData_t,
    pynvml.c_nvmlFieldValue_t,
    pynvml.c_nvmlDeviceAttributes,
    pynvml.c_nvmlGpuFabricInfo_v2_t,
    pynvml.c_nvmlGpuFabricInfo_v3_t,
    pynvml.c_nvmlGpmSupport_t,
    pynvml.c_nvmlGpmMetric_t,
)
HEAD_OF_GPM_METRICS = pynvml.c_nvmlGpmMetricsGet_t.metrics.offset


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    load()
    made = FakeNvml(tmp_path / "state", 2, latency_seconds=0.0)
    monkeypatch.setenv("FAKE_NVML_STATE", str(made.path))
    pynvml.nvmlInit()
    yield made
    pynvml.nvmlShutdown()


@pytest.fixture
def handle(fake: FakeNvml) -> Any:
    return pynvml.nvmlDeviceGetHandleByIndex(0)


def test_structures_are_as_large_as_pynvml_has_them() -> None:
    """What the library writes fits what its caller reads."""
    sizes = (c_size_t * (len(ABI) + 1)).in_dll(load(), "fake_nvml_sizes")

    assert [*(sizeof(each) for each in ABI), HEAD_OF_GPM_METRICS] == list(sizes)


def test_library_is_built_once() -> None:
    """The same sources give the same folder, which holds the library under its own name."""
    assert build() == build()
    assert (build() / "libnvidia-ml.so.1").exists()


def test_process_knows_that_it_has_the_fake(fake: FakeNvml) -> None:
    """Tests of a real driver ask this before they believe what they see."""
    assert loaded_here()


def test_a_state_of_another_build_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Old state files do not crash the process."""
    load()
    (tmp_path / "old").write_bytes(bytes(100))
    monkeypatch.setenv("FAKE_NVML_STATE", str(tmp_path / "old"))

    with pytest.raises(pynvml.NVMLError_Unknown):
        pynvml.nvmlInit()
    assert "is not a state file of this build" in capfd.readouterr().err


def test_calls_need_initialisation(fake: FakeNvml, handle: Any) -> None:
    """After a reload of the driver every call fails until the library is initialised again."""
    fake.reload_driver()

    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetPowerUsage(handle)

    pynvml.nvmlShutdown()
    pynvml.nvmlInit()
    assert pynvml.nvmlDeviceGetCount() == 2


def test_energy_is_the_integral_of_power(fake: FakeNvml, handle: Any) -> None:
    """Between two looks the counter grows by power times time."""
    fake.devices[0].power_watts = 500.0
    looks = []
    for _ in range(2):
        began = time.monotonic()
        millijoules = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        looks.append((began, millijoules / 1000, time.monotonic()))
        time.sleep(0.03)
    (first_began, first, first_ended), (last_began, last, last_ended) = looks

    shortest, longest = last_began - first_ended, last_ended - first_began
    assert 500.0 * shortest - 0.001 <= last - first <= 500.0 * longest + 0.001


def test_a_change_of_power_keeps_the_energy_so_far(fake: FakeNvml, handle: Any) -> None:
    """The counter goes on from where it was, and stands still without power."""
    device = fake.devices[0]
    device.energy_joules = 1000.0
    device.power_watts = 300.0
    while device.energy_joules < 1001.0:
        time.sleep(0.001)
    before = device.energy_joules
    device.power_watts = 0.0
    after = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)

    assert after / 1000 >= before - 0.001 >= 1000.0
    assert pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) == after


def test_power_follows_its_script(fake: FakeNvml, handle: Any) -> None:
    """Steps repeat, and average power looks back over them."""
    fake.devices[0].power_script([(0.02, 700.0), (0.02, 100.0)], mean_seconds=0.04)
    time.sleep(0.05)
    seen = set()
    for _ in range(200):
        (instant,) = pynvml.nvmlDeviceGetFieldValues(handle, [186])
        seen.add(instant.value.uiVal)
        if len(seen) == 2:
            break
        time.sleep(0.001)

    assert {700_000, 100_000} == seen
    assert pynvml.nvmlDeviceGetPowerUsage(handle) == pytest.approx(400_000, rel=0.02)


def test_library_and_python_agree_on_energy(fake: FakeNvml, handle: Any) -> None:
    """Both sides integrate the script in the same way."""
    fake.devices[0].power_script([(0.001, 700.0), (0.002, 100.0), (0.0005, 0.0)])
    time.sleep(0.02)
    before = fake.devices[0].energy_joules
    there = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000

    assert before - 0.001 <= there <= fake.devices[0].energy_joules


def test_versions_of_structures_are_checked(fake: FakeNvml, handle: Any) -> None:
    """A caller with the wrong version is refused, as by the real library."""
    with pytest.raises(pynvml.NVMLError) as caught:
        pynvml.nvmlDeviceGetMemoryInfo(handle, version=0x03000028)

    assert caught.value.value == pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH


def test_process_list_asks_for_room(fake: FakeNvml, handle: Any) -> None:
    """The first call says how many there are; a list that outgrows its room is refused."""
    fake.devices[0].processes(*((pid, 1) for pid in range(100)))

    assert list(range(100)) == [each.pid for each in pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)]
    assert fake.calls("nvmlDeviceGetComputeRunningProcesses_v3") == 2


def test_graphics_processes_are_a_list_of_their_own(fake: FakeNvml, handle: Any) -> None:
    """Display servers are told apart from compute."""
    fake.devices[0].processes((5, None), graphics=True)

    assert [
        (each.pid, each.usedGpuMemory) for each in pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3(handle)
    ] == [(5, None)]
    assert pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle) == []


def test_waiting_for_events_times_out(fake: FakeNvml, handle: Any) -> None:
    """Without an event the wait ends with the timeout's own error."""
    events = pynvml.nvmlEventSetCreate()
    pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
    began = time.monotonic()

    with pytest.raises(pynvml.NVMLError_Timeout):
        pynvml.nvmlEventSetWait_v2(events, 30)
    assert time.monotonic() - began >= 0.03
    pynvml.nvmlEventSetFree(events)


@pytest.mark.parametrize("change", ["event", "error", "reload"])
def test_waiting_for_events_sleeps_until_something_happens(fake: FakeNvml, handle: Any, change: str) -> None:
    """It costs the process under test no wake-up before, and ends at once when there is something to say."""
    events = pynvml.nvmlEventSetCreate()
    pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
    switches: list[int] = []

    def wait(milliseconds: int) -> None:
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        with suppress(pynvml.NVMLError):
            pynvml.nvmlEventSetWait_v2(events, milliseconds)
        switches.append(resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before)

    wait(250)
    waiting = threading.Thread(target=wait, args=(600_000,), daemon=True)
    waiting.start()
    assert wait_until(lambda: fake.calls("nvmlEventSetWait_v2") == 2)
    if change == "event":
        fake.raise_event(fake.devices[0], 79)
    elif change == "error":
        fake.fail("nvmlEventSetWait_v2", 999)
    else:
        fake.reload_driver()
    waiting.join(30.0)

    assert not waiting.is_alive()
    assert switches[0] <= 2


def test_fields_have_scopes(fake: FakeNvml, handle: Any) -> None:
    """One id answers by scope, and a scope that was never set is not supported."""
    fake.devices[0].field(186, 900_000, 1, scope=1)
    device, module, other = pynvml.nvmlDeviceGetFieldValues(handle, [(186, 0), (186, 1), (186, 2)])

    assert (device.value.uiVal, module.value.uiVal) == (70_000, 900_000)
    assert other.nvmlReturn == pynvml.NVML_ERROR_NOT_SUPPORTED


def test_a_slice_is_told_from_its_device(fake: FakeNvml, handle: Any) -> None:
    """Its handle answers what a slice can, and refuses the rest."""
    (slice_,) = fake.devices[0].mig(["2g.20gb"])
    part = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 0)
    attributes = pynvml.nvmlDeviceGetAttributes_v2(part)

    assert pynvml.nvmlDeviceGetUUID(part) == slice_.uuid
    assert (attributes.gpuInstanceSliceCount, attributes.computeInstanceSliceCount) == (2, 2)
    assert pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(part)) == (
        fake.devices[0].uuid
    )
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetPowerUsage(part)
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 1)


def test_used_memory_is_that_of_the_processes_until_it_is_set(fake: FakeNvml, handle: Any) -> None:
    """So a process that comes or goes is seen in the memory, as on a real device."""
    used = []
    for running in ([(7, 2**30), (8, 2**29)], [(8, 2**29)], []):
        fake.devices[0].processes(*running)
        used.append(pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2).used)
    fake.devices[0].memory(used=5)
    fake.devices[0].processes((7, 2**30))

    assert used == [2**30 + 2**29, 2**29, 0]
    assert pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2).used == 5


def test_latency_is_real_and_counted(fake: FakeNvml, handle: Any) -> None:
    """A call takes its time, and what it took can be subtracted."""
    fake.latency_seconds = 0.002
    began = time.monotonic()
    for _ in range(5):
        pynvml.nvmlDeviceGetPowerUsage(handle)
    took = time.monotonic() - began

    assert 0.01 <= fake.slept_seconds <= took
    assert fake.slept_seconds == pytest.approx(fake.devices[0].slept_seconds)
    assert fake.devices[1].slept_seconds == 0.0


def test_latency_can_be_of_one_call(fake: FakeNvml, handle: Any) -> None:
    """The others take none."""
    fake.slow("nvmlDeviceGetClockInfo", 0.002)
    pynvml.nvmlDeviceGetPowerUsage(handle)

    assert fake.slept_seconds == 0.0
    pynvml.nvmlDeviceGetClockInfo(handle, 0)
    assert fake.slept_seconds >= 0.002


def test_a_hang_ends_after_its_time(fake: FakeNvml, handle: Any) -> None:
    """A call that hangs sleeps inside the library and then answers."""
    fake.devices[0].hang(0.05, ["nvmlDeviceGetPowerUsage"])
    began = time.monotonic()

    assert pynvml.nvmlDeviceGetPowerUsage(handle) == 70_000
    assert time.monotonic() - began >= 0.05


def test_a_forbidden_call_is_counted(fake: FakeNvml, handle: Any) -> None:
    """Whatever sets something is refused and remembered."""
    with pytest.raises(pynvml.NVMLError_NoPermission):
        pynvml.nvmlDeviceSetPersistenceMode(handle, 1)

    assert fake.forbidden_calls == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param(lambda fake: fake.devices[0].lose(), pynvml.NVMLError_GpuIsLost, id="lost"),
        pytest.param(lambda fake: fake.devices[0].forget_handles(), pynvml.NVMLError_GpuIsLost, id="old handle"),
        pytest.param(lambda fake: fake.fail_everything(18), pynvml.NVMLError_LibRmVersionMismatch, id="replaced"),
        pytest.param(
            lambda fake: fake.devices[0].fail("nvmlDeviceGetPowerUsage", 3),
            pynvml.NVMLError_NotSupported,
            id="call",
        ),
    ],
)
def test_errors_happen_when_told(
    fake: FakeNvml, handle: Any, change: Callable[[FakeNvml], None], error: type[Exception]
) -> None:
    """Each way to fail gives its own error, on the device it was told for."""
    change(fake)

    with pytest.raises(error):
        pynvml.nvmlDeviceGetPowerUsage(handle)


def test_too_much_is_refused(tmp_path: Path, fake: FakeNvml) -> None:
    """The state has fixed room, and says so."""
    with pytest.raises(ValueError, match="there is room for 16"):
        FakeNvml(tmp_path / "other", 17)
    with pytest.raises(ValueError, match="there is room for 128"):
        fake.devices[0].processes(*((pid, 0) for pid in range(129)))
    with pytest.raises(ValueError, match="there is room for 1 to 16"):
        fake.devices[0].power_script([])
