"""What the NVIDIA source reads from a healthy driver, through stock pynvml and the fake library."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.errors import Unavailable
from gpuwatch.model import Device, Process, Reading
from tests.fake_nvml import FakeNvml

Connect = Callable[[], NvidiaDevices]
NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, UNKNOWN = 3, 4, 13, 999


def first_reading(source: NvidiaDevices, now: float = 1000.0) -> Reading:
    return source.read(source.scan(now)[0], now)


def test_devices_are_described(fake: FakeNvml, connect: Connect) -> None:
    """A device is its UUID; model, address and driver are as the driver says."""
    expected = Device(
        uid="GPU-fa4e0000-0000-4000-8000-000000000000",
        node="n1",
        index=0,
        vendor="nvidia",
        model="NVIDIA H100 80GB HBM3",
        pci="00000000:01:00.0",
        driver="570.86.15",
    )

    assert [expected] == list(connect().scan(0.0))


def test_a_device_keeps_its_identity_when_it_is_numbered_anew(eight: FakeNvml, connect: Connect) -> None:
    """After a renumbering the same UUID still gives the readings of the same board."""
    source = connect()
    eight.devices[5].temperature_celsius = 71
    device = next(each for each in source.scan(0.0) if each.uid == eight.devices[5].uuid)
    source.read(device, 0.0)
    eight.reorder([5, 0, 1, 2, 3, 4, 6, 7])

    with pytest.raises(Unavailable, match="fallen off the bus"):
        source.read(device, 1.0)  # by its handle of before

    assert source.read(device, 2.0).temperature_celsius == {"gpu": 71}
    assert next(each.index for each in source.scan(3.0) if each.uid == device.uid) == 0


def test_utilization_is_a_ratio(fake: FakeNvml, connect: Connect) -> None:
    """Percentages become ratios, of compute, memory, encoder and decoder."""
    fake.devices[0].load(0.97, memory=0.41, encoder=0.05, decoder=0.12)

    reading = first_reading(connect())

    assert (reading.utilization_ratio, reading.memory_utilization_ratio) == (0.97, 0.41)
    assert (reading.encoder_ratio, reading.decoder_ratio) == (0.05, 0.12)


def test_used_memory_leaves_out_what_the_driver_reserves(fake: FakeNvml, connect: Connect) -> None:
    """The version 2 call tells used and reserved memory apart."""
    fake.devices[0].memory(total=80_000, reserved=600, used=1_000)

    reading = first_reading(connect())

    assert (
        reading.memory_total_bytes,
        reading.memory_reserved_bytes,
        reading.memory_used_bytes,
    ) == (80_000, 600, 1_000)


def test_old_driver_gives_memory_by_the_first_version(fake: FakeNvml, connect: Connect) -> None:
    """Without the version 2 call memory is still known, and reserved memory is not."""
    fake.devices[0].memory(total=80_000, reserved=600, used=1_000)
    fake.fail("nvmlDeviceGetMemoryInfo_v2", FUNCTION_NOT_FOUND)

    reading = first_reading(connect())

    assert (reading.memory_total_bytes, reading.memory_used_bytes) == (80_000, 1_600)
    assert reading.memory_reserved_bytes is None


def test_power_is_known_by_window(fake: FakeNvml, connect: Connect) -> None:
    """Average and instant power are two values, told apart by their window."""
    fake.devices[0].power_watts = 431.5

    assert first_reading(connect()).power_watts == {("average", "device"): 431.5, ("instant", "device"): 431.5}


@pytest.mark.parametrize(
    ("capability", "window"),
    [
        pytest.param((3, 7), "average", id="Kepler"),
        pytest.param((6, 0), "instant", id="Pascal"),
        pytest.param((7, 0), "instant", id="Volta"),
        pytest.param((7, 5), "instant", id="Turing"),
        pytest.param((8, 0), "instant", id="GA100"),
        pytest.param((8, 6), "average", id="GA10x"),
        pytest.param((8, 9), "average", id="Ada"),
        pytest.param((9, 0), "average", id="Hopper"),
        pytest.param((10, 0), "average", id="Blackwell"),
    ],
)
def test_power_usage_is_labelled_by_architecture(
    fake: FakeNvml, connect: Connect, capability: tuple[int, int], window: str
) -> None:
    """Where the fields of power are not supported, the older call's window depends on the chip."""
    device = fake.devices[0]
    device.capability = capability
    device.power_watts = 250.0
    device.fail_field(185, NOT_SUPPORTED)
    device.fail_field(186, NOT_SUPPORTED)

    assert {(window, "device"): 250.0} == first_reading(connect()).power_watts


def test_instant_power_alone_is_enough(fake: FakeNvml, connect: Connect) -> None:
    """A chip with only one of the two power fields (GA100) is not asked by the older call as well."""
    fake.devices[0].fail_field(185, NOT_SUPPORTED)

    assert first_reading(connect()).power_watts == {("instant", "device"): 70.0}
    assert fake.calls("nvmlDeviceGetPowerUsage") == 0


def test_energy_is_the_hardware_counter_in_joules(fake: FakeNvml, connect: Connect) -> None:
    """The counter's millijoules become joules."""
    fake.devices[0].power_watts = 0.0
    fake.devices[0].energy_joules = 123_456.789

    assert first_reading(connect()).energy_joules == 123_456.789


def test_energy_has_an_older_call(fake: FakeNvml, connect: Connect) -> None:
    """Where field 83 is not supported, the counter is read by its own call."""
    fake.devices[0].power_watts = 0.0
    fake.devices[0].energy_joules = 5.25
    fake.devices[0].fail_field(83, NOT_SUPPORTED)

    assert first_reading(connect()).energy_joules == 5.25


def test_a_reset_of_the_energy_counter_is_passed_on(fake: FakeNvml, connect: Connect) -> None:
    """The source does not hide a reset: the meter knows what to do with it."""
    source = connect()
    fake.devices[0].power_watts = 0.0
    fake.devices[0].energy_joules = 9000.0
    before = first_reading(source)
    fake.devices[0].reset_energy()

    assert (before.energy_joules, source.read(source.scan(1.0)[0], 1.0).energy_joules) == (9000.0, 0.0)


@pytest.mark.parametrize("missing", [None, "nvmlDeviceGetTemperatureV"])
def test_temperature_comes_from_the_newest_call_there_is(
    fake: FakeNvml, connect: Connect, missing: str | None
) -> None:
    """Drivers before 13 have only the older call."""
    fake.devices[0].temperature_celsius = 66
    if missing:
        fake.fail(missing, FUNCTION_NOT_FOUND)

    assert first_reading(connect()).temperature_celsius == {"gpu": 66}


def test_temperature_can_be_below_zero(fake: FakeNvml, connect: Connect) -> None:
    """The newer call's number has a sign."""
    fake.devices[0].temperature_celsius = -3

    assert first_reading(connect()).temperature_celsius == {"gpu": -3}


def test_a_clock_that_the_device_does_not_have_is_absent(fake: FakeNvml, connect: Connect) -> None:
    """Domains are separate; the others are given."""
    fake.devices[0].clocks(graphics=1980e6, sm=1980e6, memory=2619e6, video=None)

    assert first_reading(connect()).clock_hz == {"graphics": 1980e6, "sm": 1980e6, "memory": 2619e6}


def test_throttle_time_is_in_seconds_by_reason(fake: FakeNvml, connect: Connect) -> None:
    """The counters' nanoseconds become seconds."""
    fake.devices[0].throttle("sw_power_cap", 12.5)
    fake.devices[0].throttle("hw_thermal", 0.25)

    assert first_reading(connect()).throttle_seconds == {
        "sw_power_cap": 12.5,
        "sync_boost": 0.0,
        "sw_thermal": 0.0,
        "hw_thermal": 0.25,
        "hw_power_brake": 0.0,
    }


def test_an_unknown_field_is_absent_and_the_others_are_read(fake: FakeNvml, connect: Connect) -> None:
    """Each field carries its own result; one that an old driver does not know spoils nothing."""
    fake.devices[0].fail_field(270, 2)

    reading = first_reading(connect())

    assert {"sw_power_cap", "sync_boost", "sw_thermal", "hw_power_brake"} == set(reading.throttle_seconds)
    assert reading.energy_joules is not None


@pytest.mark.parametrize("kind", range(7))
def test_a_field_is_read_by_its_value_type(fake: FakeNvml, connect: Connect, kind: int) -> None:
    """Drivers differ in the type in which they give the same field."""
    fake.devices[0].field(83, 25_000, kind)

    assert first_reading(connect()).energy_joules == 25.0


def test_ecc_totals_have_type_and_scope(fake: FakeNvml, connect: Connect) -> None:
    """All four totals are given, each with its labels; 0 is a reading."""
    fake.devices[0].ecc("corrected", "volatile", 7)
    fake.devices[0].ecc("uncorrected", "aggregate", 2)

    assert first_reading(connect()).ecc_errors == {
        ("corrected", "volatile"): 7,
        ("corrected", "aggregate"): 0,
        ("uncorrected", "volatile"): 0,
        ("uncorrected", "aggregate"): 2,
    }


def test_slow_values_are_asked_for_every_ten_seconds(fake: FakeNvml, connect: Connect) -> None:
    """They are given with every reading and asked for with every tenth, not all with the same one."""
    source = connect()
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    seen: dict[str, list[int]] = {"limit": [], "errors": []}
    for second in range(1, 41):
        fake.devices[0].power_limit_watts = second
        fake.devices[0].ecc("corrected", "volatile", second)
        reading = source.read(device, float(second))
        if reading.power_limit_watts == second:
            seen["limit"].append(second)
        if reading.ecc_errors["corrected", "volatile"] == second:
            seen["errors"].append(second)

    assert [seen["limit"][0] + 10 * turn for turn in range(4)] == seen["limit"]
    assert [seen["errors"][0] + 10 * turn for turn in range(4)] == seen["errors"]
    assert seen["limit"][0] <= 10 >= seen["errors"][0] != seen["limit"][0]


def test_slow_values_of_before_a_gap_are_not_repeated(fake: FakeNvml, connect: Connect) -> None:
    """When reading goes on, all of them are asked for at once; also where the clock went back."""
    source = connect()
    (device,) = source.scan(0.0)
    source.read(device, 100.0)
    for second, celsius in ((130.0, 50), (90.0, 60)):
        fake.devices[0].temperature_celsius = celsius
        fake.devices[0].ecc("corrected", "volatile", celsius)
        reading = source.read(device, second)

        assert (celsius, celsius) == (
            reading.temperature_celsius["gpu"],
            reading.ecc_errors["corrected", "volatile"],
        )


def test_a_slow_value_that_fails_is_not_repeated(fake: FakeNvml, connect: Connect) -> None:
    """When its turn comes and the driver gives an error, the last good value goes."""
    source = connect()
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    fake.fail("nvmlDeviceGetEnforcedPowerLimit", UNKNOWN)

    assert source.read(device, 10.0).power_limit_watts is None


def test_processes_are_listed_with_their_memory(fake: FakeNvml, connect: Connect) -> None:
    """The list has any length; memory that the driver does not know is unknown."""
    running = [(1000 + n, n * 2**20) for n in range(40)]
    fake.devices[0].processes(*running, (7, None))

    expected = (*(Process(pid, size) for pid, size in running), Process(7, None))
    assert expected == first_reading(connect()).processes


def test_a_process_listed_twice_is_one(fake: FakeNvml, connect: Connect) -> None:
    """A process on two slices of a device has the sum of their memory, unknown where a part is."""
    fake.devices[0].processes((7, 100), (8, 5), (7, 20), (8, None), (8, 5))

    assert (Process(7, 120), Process(8, None)) == first_reading(connect()).processes


def test_no_process_is_not_an_unknown_process(fake: FakeNvml, connect: Connect) -> None:
    """An empty list is an answer."""
    assert first_reading(connect()).processes == ()


@pytest.mark.parametrize("refusal", [NOT_SUPPORTED, NO_PERMISSION])
def test_processes_are_unknown_where_the_driver_refuses(fake: FakeNvml, connect: Connect, refusal: int) -> None:
    """None says that nobody could look."""
    fake.fail("nvmlDeviceGetComputeRunningProcesses_v3", refusal)

    assert first_reading(connect()).processes is None


def test_display_servers_are_not_holders(fake: FakeNvml, connect: Connect) -> None:
    """Graphics processes are left out: they would share the device with the job on it."""
    fake.devices[0].processes((500, 2**20), graphics=True)

    assert first_reading(connect()).processes == ()


OPTIONAL: dict[str, str] = {
    "nvmlDeviceGetUtilizationRates": "utilization_ratio",
    "nvmlDeviceGetEncoderUtilization": "encoder_ratio",
    "nvmlDeviceGetDecoderUtilization": "decoder_ratio",
    "nvmlDeviceGetClockInfo": "clock_hz",
    "nvmlDeviceGetEnforcedPowerLimit": "power_limit_watts",
    "nvmlDeviceGetTotalEccErrors": "ecc_errors",
    "nvmlDeviceGetComputeRunningProcesses_v3": "processes",
}


@pytest.mark.parametrize(("call", "field"), OPTIONAL.items())
@pytest.mark.parametrize("refusal", [NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND])
def test_what_is_not_supported_is_asked_once_and_then_absent(
    fake: FakeNvml, connect: Connect, call: str, field: str, refusal: int
) -> None:
    """One failing call finds it out; after that no call fails again, and all else is read."""
    source = connect()
    (device,) = source.scan(0.0)
    fake.devices[0].fail(call, refusal)
    source.read(device, 0.0)
    asked = fake.calls(call)

    reading = source.read(device, 20.0)

    assert not getattr(reading, field)
    assert asked == fake.calls(call)
    assert reading.memory_used_bytes == 0


def test_support_is_looked_up_again_after_ten_minutes(fake: FakeNvml, connect: Connect) -> None:
    """MIG mode can be switched off without a reset; what it hid comes back by itself."""
    source = connect()
    (device,) = source.scan(0.0)
    fake.devices[0].fail("nvmlDeviceGetUtilizationRates", NOT_SUPPORTED)
    source.read(device, 0.0)
    fake.devices[0].fail("nvmlDeviceGetUtilizationRates", 0)

    readings = [source.read(device, second).utilization_ratio for second in (599.0, 600.0)]

    assert readings == [None, 0.0]


def test_a_driver_that_refuses_the_whole_list_is_asked_field_by_field(fake: FakeNvml, connect: Connect) -> None:
    """No field is lost that has an older call, and nothing is asked twice."""
    source = connect()
    (device,) = source.scan(0.0)
    fake.devices[0].power_watts = 0.0
    fake.devices[0].energy_joules = 77.0
    fake.fail("nvmlDeviceGetFieldValues", NOT_SUPPORTED)
    source.read(device, 0.0)
    asked = fake.calls("nvmlDeviceGetFieldValues")

    reading = source.read(device, 5.0)

    assert (reading.energy_joules, reading.power_watts) == (77.0, {("average", "device"): 0.0})
    assert reading.throttle_seconds == {}
    assert asked == fake.calls("nvmlDeviceGetFieldValues")


def test_readings_belong_to_their_device(eight: FakeNvml, connect: Connect) -> None:
    """Eight devices give eight different answers."""
    source = connect()
    boards = eight.devices
    for number, board in enumerate(boards):
        board.temperature_celsius = 40 + number

    temperatures = {each.uid: source.read(each, 0.0).temperature_celsius["gpu"] for each in source.scan(0.0)}

    assert {board.uuid: 40 + number for number, board in enumerate(boards)} == temperatures


def test_the_driver_is_only_read(eight: FakeNvml, connect: Connect) -> None:
    """Nothing is set, and the call that blocks for 20 ms is not made."""
    source = connect()
    for device in source.scan(0.0):
        source.read(device, 0.0)
    source.close()

    assert eight.forbidden_calls == 0
