"""What a reading costs; the budget of the agent is 5 ms of processor time in each second for eight GPUs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from ctypes import sizeof

import pynvml
import pytest

from gpuwatch.devices.gpm import METRIC
from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.devices.nvml import VALUE_TYPES
from gpuwatch.devices.nvml_fields import ANSWER, VALUES
from gpuwatch.model import Device, Process
from tests.fake_nvml import FakeNvml

Connect = Callable[[], NvidiaDevices]
BUDGET_SECONDS = 0.0004
EVERY_READ = {
    "nvmlDeviceGetFieldValues",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetTemperatureV",
    "nvmlDeviceGetClockInfo",
    "nvmlGpmSampleGet",
}
ARITHMETIC = {"nvmlEventSetWait_v2", "nvmlGpmMetricsGet"}
LIST = "nvmlDeviceGetComputeRunningProcesses_v3"


def test_a_read_asks_what_changes_and_one_question_more(
    fake: FakeNvml, connect: Connect, ticks: Callable[[float], None]
) -> None:
    """Over ten seconds: six calls at each read, processes and costly counters twice, each slow question once."""
    source = connect()
    fake.devices[0].processes((7, 100))
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    each_read = []
    for second in range(1, 11):
        before = Counter(fake.all_calls)
        ticks(1.0)
        source.read(device, float(second))
        made = Counter(fake.all_calls) - before
        each_read.append({call: count for call, count in made.items() if call not in ARITHMETIC})
    in_all = sum((Counter(made) for made in each_read), Counter())

    assert all(set(made) >= EVERY_READ for made in each_read)
    assert max(sum(made.values()) for made in each_read) <= len(EVERY_READ) + 5
    assert in_all[LIST] == 4  # the list and its length, each two times
    assert sum(in_all.values()) <= 10 * len(EVERY_READ) + 4 + 2 + 14
    assert in_all["nvmlDeviceGetMigMode"] == 1


def counted(source: NvidiaDevices, device: Device, seconds: int) -> list[int]:
    """The seconds from 1 on in which a reading has the energy counter."""
    readings = {second: source.read(device, float(second)) for second in range(1, seconds + 1)}
    return [second for second, reading in readings.items() if reading.energy_joules is not None]


def test_the_energy_counter_costs_its_price_every_five_seconds(fake: FakeNvml, connect: Connect) -> None:
    """On an H100 it takes 3 ms of processor time, more than all else; it counts on in between."""
    source = connect()
    (device,) = source.scan(0.0)
    first = source.read(device, 0.0)

    assert first.energy_joules is not None
    assert set(first.throttle_seconds) == {
        "sw_power_cap",
        "sync_boost",
        "sw_thermal",
        "hw_thermal",
        "hw_power_brake",
    }
    assert [5, 10, 15] == counted(source, device, 16)


def test_the_energy_counter_of_an_old_driver_is_not_asked_for_more_often(fake: FakeNvml, connect: Connect) -> None:
    """There it is a call of its own, which costs as much."""
    fake.fail("nvmlDeviceGetFieldValues", 3)
    source = connect()
    (device,) = source.scan(0.0)
    source.read(device, 0.0)

    assert [5, 10] == counted(source, device, 11)


def test_what_was_counted_is_asked_for_when_others_hold_the_device(fake: FakeNvml, connect: Connect) -> None:
    """So that each is charged for what was counted while it did; memory alone is no reason."""
    board, source = fake.devices[0], connect()
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    board.processes((7, 2**29))
    came = source.read(device, 1.0)
    board.processes((7, 2**30))
    grew = source.read(device, 2.0)
    board.processes()
    went = source.read(device, 3.0)

    assert [True, False, True] == [each.energy_joules is not None for each in (came, grew, went)]


@pytest.mark.parametrize("change", ["memory", "busy"])
def test_processes_are_asked_for_when_something_changed(fake: FakeNvml, connect: Connect, change: str) -> None:
    """A new context takes memory, and the first kernel makes the device busy: both are seen at once."""
    board, source = fake.devices[0], connect()
    if change == "busy":
        board.memory(used=2**30)  # from now on processes do not change it
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    board.processes((7, 2**29))
    if change == "busy":
        board.load(0.5)

    assert source.read(device, 1.0).processes == (Process(7, 2**29),)


def test_a_process_that_went_is_missed_at_once(fake: FakeNvml, connect: Connect) -> None:
    """Its memory goes with it."""
    board, source = fake.devices[0], connect()
    board.processes((7, 2**29), (8, 2**30))
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    board.processes((8, 2**30))

    assert source.read(device, 1.0).processes == (Process(8, 2**30),)


def test_an_exchange_that_changes_nothing_else_shows_in_five_seconds(fake: FakeNvml, connect: Connect) -> None:
    """One process for another of the same size; between the asking the holders of before are given."""
    board, source = fake.devices[0], connect()
    board.processes((7, 2**29))
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    board.processes((8, 2**29))

    seen = [source.read(device, float(second)).processes for second in range(1, 6)]

    assert [(Process(7, 2**29),)] * 4 + [(Process(8, 2**29),)] == seen


def test_a_list_that_could_not_be_had_is_not_replaced_by_the_last(fake: FakeNvml, connect: Connect) -> None:
    """After an error it is unknown, and asked for at the next read."""
    board, source = fake.devices[0], connect()
    board.processes((7, 2**29))
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    fake.fail(LIST, 999)
    during = source.read(device, 5.0)
    fake.fail(LIST, 0)

    assert during.processes is None
    assert source.read(device, 6.0).processes == (Process(7, 2**29),)


def test_processes_are_asked_for_at_every_read_where_memory_is_unknown(fake: FakeNvml, connect: Connect) -> None:
    """Nothing else would tell that one came."""
    for call in ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMemoryInfo_v2"):
        fake.fail(call, 3)
    board, source = fake.devices[0], connect()
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    board.processes((7, None))

    assert source.read(device, 1.0).processes == (Process(7, None),)


@pytest.mark.parametrize("kind", range(7))
def test_field_values_are_unpacked_where_pynvml_has_them(kind: int) -> None:
    """The layout is NVML's; a pynvml that laid it out otherwise would be found out here."""
    answer = pynvml.c_nvmlFieldValue_t()
    answer.fieldId, answer.scopeId, answer.timestamp, answer.latencyUsec = 1, 2, -3, -4
    answer.valueType, answer.nvmlReturn = kind, 6
    setattr(answer.value, VALUE_TYPES[kind], 7)
    *head, value = ANSWER.unpack(answer)

    assert [1, 2, -3, -4, kind, 6] == head
    assert VALUES[kind].unpack_from(value) == (7,)
    assert sizeof(pynvml.c_nvmlFieldValue_t) == ANSWER.size


def test_gpm_metrics_are_unpacked_where_pynvml_has_them() -> None:
    """As of the fields."""
    metric = pynvml.c_nvmlGpmMetric_t()
    metric.metricId, metric.nvmlReturn, metric.value = 10, 3, 0.5

    assert METRIC.unpack(metric)[:3] == (10, 3, 0.5)
    assert sizeof(metric) == METRIC.size


@pytest.mark.integration
def test_a_reading_stays_within_its_share(
    fake: FakeNvml, connect: Connect, ticks: Callable[[float], None]
) -> None:
    """Processor time of the reading thread, three processes on the device, the driver taking none."""
    fake.devices[0].processes((7, 100), (8, 100), (9, 100))
    source = connect()
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    costs = []
    for _ in range(10):
        began = time.thread_time()
        for second in range(50):
            ticks(1.0)
            source.read(device, float(second))
        costs.append((time.thread_time() - began) / 50)

    assert min(costs) <= BUDGET_SECONDS
