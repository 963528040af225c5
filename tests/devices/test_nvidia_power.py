"""Power and energy by what they cover: the device, or the module that it shares with its CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.model import Reading
from tests.fake_nvml import FakeNvml
from tests.fake_nvml.device import MODULE_SCOPE, FakeDevice

Connect = Callable[[], NvidiaDevices]
ENERGY, AVERAGE, INSTANT, SCOPED_ENERGY = 83, 185, 186, 191
NOT_SUPPORTED, INVALID_ARGUMENT, UNKNOWN = 3, 2, 999
UNSIGNED_INT = 1


def reading(source: NvidiaDevices, now: float = 0.0) -> Reading:
    return source.read(source.scan(now)[0], now)


def module_of(device: FakeDevice, watts: float, joules: float | None = None) -> None:
    """Let the device sit on a module with a CPU."""
    for field in (AVERAGE, INSTANT):
        device.field(field, watts * 1000, UNSIGNED_INT, scope=MODULE_SCOPE)
    if joules is not None:
        device.field(SCOPED_ENERGY, joules * 1000, scope=MODULE_SCOPE)


@pytest.fixture
def board(fake: FakeNvml) -> FakeDevice:
    """A device of 400 W whose own counter stands at 1000 J, wherever it sits."""
    device = fake.devices[0]
    device.power_watts = 0.0
    device.energy_joules = 1000.0
    device.field(AVERAGE, 400_000, UNSIGNED_INT)
    device.field(INSTANT, 410_000, UNSIGNED_INT)
    return device


def test_device_and_module_are_two_values(board: FakeDevice, connect: Connect) -> None:
    """Each is given with its scope; nothing is added."""
    module_of(board, 620.0)

    assert reading(connect()).power_watts == {
        ("average", "device"): 400.0,
        ("instant", "device"): 410.0,
        ("average", "module"): 620.0,
        ("instant", "module"): 620.0,
    }


def test_energy_of_a_module_is_not_taken_for_the_devices(board: FakeDevice, connect: Connect) -> None:
    """With power of both scopes and no counter of the device alone there is none: field 83 may be the module's."""
    module_of(board, 620.0, joules=2000.0)

    assert reading(connect()).energy_joules is None


def test_energy_has_the_scope_of_the_power(board: FakeDevice, connect: Connect) -> None:
    """Where the scoped counter exists for the device, it is the one."""
    module_of(board, 620.0, joules=2000.0)
    board.field(SCOPED_ENERGY, 700_000)

    assert reading(connect()).energy_joules == 700.0


def test_a_scoped_counter_that_ignores_its_scope_is_no_counter(board: FakeDevice, connect: Connect) -> None:
    """The same number for device and module says nothing about which it is."""
    module_of(board, 620.0, joules=2000.0)
    board.field(SCOPED_ENERGY, 2_000_000)

    assert reading(connect()).energy_joules is None


@pytest.mark.parametrize("refusal", [NOT_SUPPORTED, INVALID_ARGUMENT])
@pytest.mark.parametrize(("scoped", "expected"), [(2000.0, 2000.0), (None, 1000.0)])
def test_a_module_alone_is_what_power_and_energy_are_of(
    board: FakeDevice, connect: Connect, refusal: int, scoped: float | None, expected: float
) -> None:
    """GH200: the device's own power is refused; field 83 counts the module there, the scoped counter for sure."""
    board.fail_field(AVERAGE, refusal)
    board.fail_field(INSTANT, refusal)
    module_of(board, 620.0, joules=scoped)

    said = reading(connect())

    assert said.power_watts == {("average", "module"): 620.0, ("instant", "module"): 620.0}
    assert said.energy_joules == expected


def test_a_module_without_fields_of_energy_has_the_older_call(
    fake: FakeNvml, board: FakeDevice, connect: Connect
) -> None:
    """Its power is not asked for by a call whose scope nobody knows."""
    for field in (ENERGY, AVERAGE, INSTANT):
        board.fail_field(field, NOT_SUPPORTED)
    module_of(board, 620.0)

    assert reading(connect()).energy_joules == 1000.0
    assert fake.calls("nvmlDeviceGetPowerUsage") == 0


def test_a_driver_that_ignores_scopes_has_no_module(board: FakeDevice, connect: Connect) -> None:
    """It answers every scope with the device's power, and its counter is the device's."""
    board.ignore_scopes()

    said = reading(connect())

    assert said.power_watts == {("average", "device"): 400.0, ("instant", "device"): 410.0}
    assert said.energy_joules == 1000.0


def test_a_module_that_draws_nothing_is_none(board: FakeDevice, connect: Connect) -> None:
    """A board without modules may answer 0 instead of refusing."""
    module_of(board, 0.0)

    assert reading(connect()).power_watts == {("average", "device"): 400.0, ("instant", "device"): 410.0}


def test_what_is_not_of_use_is_not_asked_again(fake: FakeNvml, board: FakeDevice, connect: Connect) -> None:
    """Scopes are found out at the first read; a module that comes later is not looked for at every one."""
    source = connect()
    first = reading(source)
    module_of(board, 620.0)

    assert source.read(source.scan(1.0)[0], 1.0).power_watts == first.power_watts


def test_scopes_are_found_out_when_all_have_answered(board: FakeDevice, connect: Connect) -> None:
    """An error that passes at the first read decides nothing; until then no counter is given."""
    module_of(board, 620.0)
    board.field(SCOPED_ENERGY, 700_000)
    board.fail_field(AVERAGE, UNKNOWN, scope=MODULE_SCOPE)
    board.fail_field(INSTANT, UNKNOWN, scope=MODULE_SCOPE)
    source = connect()
    during = reading(source)
    board.fail_field(AVERAGE, 0, scope=MODULE_SCOPE)
    board.fail_field(INSTANT, 0, scope=MODULE_SCOPE)
    after = source.read(source.scan(1.0)[0], 1.0)

    assert (during.energy_joules, during.power_watts["average", "device"]) == (None, 400.0)
    assert (after.energy_joules, after.power_watts["average", "module"]) == (700.0, 620.0)


def test_power_that_is_refused_later_is_found_out_anew(
    fake: FakeNvml, board: FakeDevice, connect: Connect
) -> None:
    """The read after it uses what there is then."""
    source = connect()
    device = source.scan(0.0)[0]
    source.read(device, 0.0)
    for field in (AVERAGE, INSTANT, ENERGY):
        board.fail_field(field, NOT_SUPPORTED)
    board.power_watts = 90.0
    source.read(device, 1.0)
    said = source.read(device, 2.0)

    assert list(said.power_watts) == [("average", "device")]
    assert said.energy_joules is not None and said.energy_joules >= 1000.0


def test_fault_25_without_an_energy_counter_power_is_there_to_integrate(
    fake: FakeNvml, board: FakeDevice, connect: Connect
) -> None:
    """Before Volta, and on a vGPU: the counter is probed for once, is absent, and power is given."""
    board.fail_field(ENERGY, NOT_SUPPORTED)
    fake.fail("nvmlDeviceGetTotalEnergyConsumption", NOT_SUPPORTED)
    source = connect()
    device = source.scan(0.0)[0]
    said = [source.read(device, float(second)) for second in range(5)]

    assert [None] * 5 == [each.energy_joules for each in said]
    assert [400.0] * 5 == [each.power_watts["average", "device"] for each in said]
    assert fake.calls("nvmlDeviceGetTotalEnergyConsumption") == 1


def test_fault_25_a_library_without_the_functions_leaves_only_their_values_out(
    fake: FakeNvml, board: FakeDevice, connect: Connect
) -> None:
    """An old library knows neither fields nor the newer calls: FUNCTION_NOT_FOUND costs what it is about."""
    for call in (
        "nvmlDeviceGetFieldValues",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlGpmQueryDeviceSupport",
        "nvmlDeviceGetGpuFabricInfoV",
        "nvmlDeviceGetRemappedRows",
        "nvmlDeviceGetMigMode",
    ):
        fake.fail(call, 13)
    board.power_watts = 123.0

    said = reading(connect())

    assert said.power_watts == {("average", "device"): 123.0}
    assert (said.energy_joules, said.remapped_rows, said.fabric_state) == (None, {}, {})
    assert said.memory_used_bytes == 0
