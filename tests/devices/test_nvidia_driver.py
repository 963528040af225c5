"""A driver that is loaded anew: who asks can tell, and what it counts begins again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.errors import Unavailable
from tests.devices.nvidia_readings import by_uid
from tests.fake_nvml import FakeNvml

Connect = Callable[[], NvidiaDevices]
DRIVER_NOT_LOADED, GPU_IS_LOST, UNKNOWN = 9, 15, 999


def sessions(source: NvidiaDevices, now: float = 0.0) -> set[int]:
    return {device.session for device in source.scan(now)}


def test_a_driver_loaded_anew_is_another_session(eight: FakeNvml, connect: Connect) -> None:
    """Of every device and slice, once for each time, however many reads have failed meanwhile."""
    slices = eight.devices[1].mig(["1g.10gb"] * 7)
    source = connect()
    devices = by_uid(source)
    seen = [sessions(source)]
    for second in (1.0, 2.0):
        eight.reload_driver()
        for device in devices.values():
            with pytest.raises(Unavailable):
                source.read(device, second)
        seen.append(sessions(source, second))

    assert [{0}, {1}, {2}] == seen
    assert by_uid(source, 3.0)[slices[0].uuid].session == 2


def test_a_driver_that_was_away_for_a_while_is_one_session_more(fake: FakeNvml, connect: Connect) -> None:
    """Every failed attempt to open it in between is no session."""
    source = connect()
    (device,) = source.scan(0.0)
    fake.fail_everything(DRIVER_NOT_LOADED)
    with pytest.raises(Unavailable):
        source.read(device, 1.0)
    for second in (2.0, 3.0, 4.0):
        with pytest.raises(Unavailable):
            source.scan(second)
    fake.fail_everything(0)

    assert sessions(source, 5.0) == {1}


@pytest.mark.parametrize("result", [DRIVER_NOT_LOADED, UNKNOWN])
def test_a_driver_that_comes_late_is_in_its_first_session(fake: FakeNvml, connect: Connect, result: int) -> None:
    """What was never open was not loaded anew."""
    source = connect()
    fake.fail("nvmlInitWithFlags", result)
    with pytest.raises(Unavailable):
        source.scan(0.0)
    fake.fail("nvmlInitWithFlags", 0)

    assert sessions(source, 1.0) == {0}


def test_a_lost_device_is_no_other_session(eight: FakeNvml, connect: Connect) -> None:
    """Also where all are lost and the library is opened again to look for them: the driver did not go."""
    source = connect()
    device, *_ = source.scan(0.0)
    eight.reload_driver()
    with pytest.raises(Unavailable):
        source.read(device, 1.0)
    before = sessions(source, 2.0)
    opened = eight.calls("nvmlInitWithFlags")
    for board in eight.devices:
        board.lose(GPU_IS_LOST)
    source.scan(3.0)
    for board in eight.devices:
        board.restore()

    assert before == sessions(source, 4.0) == {1}
    assert eight.calls("nvmlInitWithFlags") == opened + 1


def test_fault_24_a_reload_restarts_the_counter_and_says_so(eight: FakeNvml, connect: Connect) -> None:
    """Energy falls to what was used since; the same reading's device is in another session, by the same UUID."""
    source = connect()
    for board in eight.devices:
        board.power_watts = 0.0
        board.energy_joules = 5e6
    before = by_uid(source)
    joules = [source.read(device, 0.0).energy_joules for device in before.values()]
    eight.reload_driver()
    eight.reorder([1, 0, 3, 2, 5, 4, 7, 6])
    with pytest.raises(Unavailable, match="unloaded"):
        source.read(next(iter(before.values())), 1.0)
    after = by_uid(source, 2.0)

    assert [5e6] * 8 == joules
    assert before.keys() == after.keys()
    assert {1} == {device.session for device in after.values()}
    assert [0.0] * 8 == [source.read(device, 2.0).energy_joules for device in after.values()]
