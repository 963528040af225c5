"""What changes slowly: memory temperature, bytes over the buses, remapped rows, recovery action, fabric."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.devices.nvml_fields import RECOVERY_ACTIONS
from gpuwatch.model import Reading
from tests.fake_nvml import FakeNvml
from tests.fake_nvml.device import ALL_LINKS

Connect = Callable[[], NvidiaDevices]
NOT_SUPPORTED, UNKNOWN = 3, 999
UNSIGNED_INT, UNSIGNED_LONG, UNSIGNED_LONG_LONG = 1, 2, 3
NOT_STARTED, IN_PROGRESS, COMPLETED = 1, 2, 3


def first(source: NvidiaDevices) -> Reading:
    return source.read(source.scan(0.0)[0], 0.0)


def test_memory_has_a_temperature_of_its_own(fake: FakeNvml, connect: Connect) -> None:
    """It stands beside that of the chip."""
    fake.devices[0].field(82, 58, UNSIGNED_INT)

    assert first(connect()).temperature_celsius == {"gpu": 34, "memory": 58}


def test_nvlink_bytes_are_of_all_links(fake: FakeNvml, connect: Connect) -> None:
    """The counters of the scope of all links, in KiB, become bytes by direction."""
    fake.devices[0].field(138, 5, scope=ALL_LINKS)
    fake.devices[0].field(139, 7, scope=ALL_LINKS)
    fake.devices[0].field(138, 1, scope=0)

    assert first(connect()).nvlink_bytes == {"transmit": 5 * 1024, "receive": 7 * 1024}


@pytest.mark.parametrize("kind", [UNSIGNED_LONG, UNSIGNED_LONG_LONG])
def test_pcie_bytes_are_as_the_driver_counts_them(fake: FakeNvml, connect: Connect, kind: int) -> None:
    """A counter of 64 bits is passed on, also one that begins again: who reads it knows resets."""
    source = connect()
    fake.devices[0].field(197, 2**40, kind)
    fake.devices[0].field(198, 2**33, kind)
    before = first(source)
    fake.devices[0].field(197, 3, kind)
    after = source.read(source.scan(20.0)[0], 20.0)

    assert before.pcie_bytes == {"transmit": 2**40, "receive": 2**33}
    assert after.pcie_bytes == {"transmit": 3, "receive": 2**33}


def test_pcie_bytes_in_32_bits_are_left_out(fake: FakeNvml, connect: Connect) -> None:
    """They wrap within a second under load: between two reads nobody knows how often."""
    fake.devices[0].field(197, 1000, UNSIGNED_INT)
    fake.devices[0].field(198, 1000, UNSIGNED_INT)

    assert first(connect()).pcie_bytes == {}


def test_remapped_rows_are_fields(fake: FakeNvml, connect: Connect) -> None:
    """By state; the older call is then not made."""
    for field, number in ((142, 3), (143, 1), (144, 1), (145, 0)):
        fake.devices[0].field(field, number, UNSIGNED_INT)

    assert first(connect()).remapped_rows == {"corrected": 3, "uncorrected": 1, "pending": 1, "failure": 0}
    assert fake.calls("nvmlDeviceGetRemappedRows") == 0


def test_remapped_rows_have_an_older_call(fake: FakeNvml, connect: Connect) -> None:
    """Where none of the fields is supported."""
    fake.devices[0].remapped_rows(corrected=2, failure=1)

    assert first(connect()).remapped_rows == {"corrected": 2, "uncorrected": 0, "pending": 0, "failure": 1}


@pytest.mark.parametrize(("number", "action"), list(enumerate(RECOVERY_ACTIONS)))
def test_recovery_action_is_a_set_of_states(fake: FakeNvml, connect: Connect, number: int, action: str) -> None:
    """Every action is there, and the one that is asked for is 1."""
    fake.devices[0].field(230, number, UNSIGNED_INT)

    assert first(connect()).recovery_action == dict.fromkeys(RECOVERY_ACTIONS, 0.0) | {action: 1.0}


def test_an_action_that_nobody_knows_is_absent(fake: FakeNvml, connect: Connect) -> None:
    """A later driver may have more of them; that none is needed would be a lie."""
    fake.devices[0].field(230, len(RECOVERY_ACTIONS), UNSIGNED_INT)

    assert first(connect()).recovery_action == {}


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("number", "state"), [(NOT_STARTED, "not_started"), (IN_PROGRESS, "in_progress"), (COMPLETED, "completed")]
)
def test_fabric_state_is_a_set_of_states(
    fake: FakeNvml, connect: Connect, version: int, number: int, state: str
) -> None:
    """By the newest structure that the driver knows; without a word on health there is none."""
    fake.devices[0].fabric(number, version=version)

    assert first(connect()).fabric_state == dict.fromkeys(("not_started", "in_progress", "completed"), 0.0) | {
        state: 1.0
    }


@pytest.mark.parametrize(
    ("said", "healthy"),
    [
        pytest.param({"summary": 1}, 1.0, id="healthy"),
        pytest.param({"summary": 2}, 0.0, id="unhealthy"),
        pytest.param({"summary": 3}, 0.0, id="limited capacity"),
        pytest.param({"summary": 1, "status": UNKNOWN}, 0.0, id="registration failed"),
        pytest.param({"health": 0b10101010, "version": 2}, 1.0, id="all is well"),
        pytest.param({"health": 0b10, "version": 3}, 1.0, id="no summary, bandwidth is well"),
        pytest.param({"health": 0b01, "version": 2}, 0.0, id="degraded bandwidth"),
        pytest.param({"health": 0b01 << 2, "version": 2}, 0.0, id="route recovery"),
        pytest.param({"health": 0b01 << 4, "version": 2}, 0.0, id="unhealthy route"),
        pytest.param({"health": 0b01 << 6, "version": 2}, 0.0, id="access timeout"),
        pytest.param({"health": 4 << 8, "version": 2}, 0.0, id="no partition"),
        pytest.param({"health": 1 << 8, "version": 2}, 1.0, id="configuration is sound"),
    ],
)
def test_fabric_health_is_told_where_the_driver_tells_it(
    fake: FakeNvml, connect: Connect, said: dict[str, int], healthy: float
) -> None:
    """By its summary, else by its mask; a registration that failed is not healthy."""
    fake.devices[0].fabric(COMPLETED, **said)

    assert first(connect()).fabric_state["healthy"] == healthy


@pytest.mark.parametrize("state", [0, None])
def test_no_fabric_is_absent_and_not_asked_again(fake: FakeNvml, connect: Connect, state: int | None) -> None:
    """Whether the call is refused or says that there is none."""
    if state is not None:
        fake.devices[0].fabric(state)
    source = connect()
    reading = first(source)
    asked = fake.calls("nvmlDeviceGetGpuFabricInfoV")
    source.read(source.scan(20.0)[0], 20.0)

    assert reading.fabric_state == {}
    assert asked == fake.calls("nvmlDeviceGetGpuFabricInfoV")


def test_an_old_driver_has_none_of_it_and_all_the_rest(fake: FakeNvml, connect: Connect) -> None:
    """Each new value is absent alone, and its questions are not repeated."""
    fake.fail("nvmlDeviceGetRemappedRows", NOT_SUPPORTED)
    fake.devices[0].most_slices(0)
    source = connect()
    said = first(source)
    fields = fake.calls("nvmlDeviceGetFieldValues")
    for second in range(1, 21):
        source.read(source.scan(float(second))[0], float(second))

    assert (said.pcie_bytes, said.nvlink_bytes, said.remapped_rows) == ({}, {}, {})
    assert (said.recovery_action, said.fabric_state) == ({}, {})
    assert said.temperature_celsius == {"gpu": 34}
    assert fields + 20 + 4 == fake.calls("nvmlDeviceGetFieldValues")  # each time, and the costly ones every 5 s
    assert fake.calls("nvmlDeviceGetRemappedRows") == 1


def test_a_field_of_a_type_that_nobody_knows_is_absent(fake: FakeNvml, connect: Connect) -> None:
    """A later driver may give it in a type that cannot be read; the others are read."""
    fake.devices[0].field(82, 58, UNSIGNED_INT)
    fake.devices[0].field(230, 0, UNSIGNED_INT)
    fake.devices[0].retype_field(82, 7)

    said = first(connect())

    assert said.temperature_celsius == {"gpu": 34}
    assert said.recovery_action["none"] == 1.0


def test_a_field_that_fails_once_is_absent_for_its_turn_alone(fake: FakeNvml, connect: Connect) -> None:
    """The others of its kind are there, and so is it ten seconds later."""
    fake.devices[0].field(82, 58, UNSIGNED_INT)
    fake.devices[0].field(230, 0, UNSIGNED_INT)
    fake.devices[0].fail_field(82, UNKNOWN)
    source = connect()
    during = first(source)
    fake.devices[0].fail_field(82, 0)

    assert during.temperature_celsius == {"gpu": 34}
    assert during.recovery_action["none"] == 1.0
    assert source.read(source.scan(15.0)[0], 15.0).temperature_celsius["memory"] == 58
