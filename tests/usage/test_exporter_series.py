"""From series to readings: units, slices, two servers that scrape the same, and values that are none."""

from __future__ import annotations

import math
import time

import pytest

from gpuwatch.usage.exporter_series import seen
from gpuwatch.usage.windows import Window

WINDOW = Window(0, 300)
BOARD = {"UUID": "GPU-a", "device": "nvidia0", "gpu": "0", "Hostname": "gw0", "modelName": "H100", "instance": "i"}


def series(name, points, **labels):
    return {"__name__": name, **BOARD, **labels}, points


def every(seconds, value, first=0.0, last=300.0):
    return [(first + seconds * n, value) for n in range(int((last - first) // seconds) + 1)]


def test_what_one_scrape_brings_is_one_reading_in_base_units():
    """Metrics of one scrape have one time."""
    found = seen(
        [
            series("DCGM_FI_DEV_POWER_USAGE", [(15, 400.0)]),
            series("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", [(15, 7e6)]),
            series("DCGM_FI_DEV_GPU_UTIL", [(15, 87.0)]),
            series("DCGM_FI_DEV_FB_USED", [(15, 1024.0)]),
            series("DCGM_FI_DEV_SM_CLOCK", [(15, 1980.0)]),
            series("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", [(15, 0.4)]),
        ],
        WINDOW,
    )

    (reading,) = found["GPU-a"].readings
    assert (reading.time, reading.energy_joules, reading.memory_used_bytes) == (15, 7000.0, 2**30)
    assert reading.utilization_ratio == pytest.approx(0.87)
    assert reading.power_watts == {("instant", "device"): 400.0}
    assert reading.clock_hz == {"sm": 1.98e9}
    assert (reading.tensor_activity_ratio, reading.sm_activity_ratio) == (0.4, None)


def test_a_sample_belongs_to_one_window():
    """What was at its start is of the one before, however the server cuts."""
    found = seen([series("DCGM_FI_DEV_POWER_USAGE", [(0, 1.0), (1, 2.0), (300, 3.0), (301, 4.0)])], WINDOW)

    assert [each.time for each in found["GPU-a"].readings] == [1, 300]


def test_two_servers_that_scrape_the_same_are_one():
    """Of a pair that stands in for each other, one is read; the other fills its holes."""
    first = every(15, 400.0, 1, 100) + every(15, 400.0, 201, 300)
    second = every(15, 401.0, 5, 300)
    found = seen(
        [
            series("DCGM_FI_DEV_POWER_USAGE", first, replica="a"),
            series("DCGM_FI_DEV_POWER_USAGE", second, replica="b"),
        ],
        WINDOW,
    )

    times = [each.time for each in found["GPU-a"].readings]
    assert times == [time for time, _ in second]
    assert found["GPU-a"].spacing_seconds == 15


def test_labels_that_change_while_it_runs_lose_nothing():
    """dcgm-exporter names the pod that holds the device; with the next pod the series is another."""
    found = seen(
        [
            series("DCGM_FI_DEV_POWER_USAGE", every(15, 400.0, 15, 150), exported_pod="one"),
            series("DCGM_FI_DEV_POWER_USAGE", every(15, 100.0, 165, 300), exported_pod="two"),
        ],
        WINDOW,
    )

    assert [each.time for each in found["GPU-a"].readings] == [15 * n for n in range(1, 21)]


def test_what_slices_repeat_of_their_board_is_counted_once():
    """Energy and power on a slice's series are the board's; utilization is the slice's, and is not the board's."""
    slices = [{"GPU_I_ID": str(n), "GPU_I_PROFILE": "1g.10gb"} for n in range(3)]
    found = seen(
        [
            *(series("DCGM_FI_DEV_POWER_USAGE", [(15, 300.0)], **each) for each in slices),
            *(series("DCGM_FI_PROF_GR_ENGINE_ACTIVE", [(15, 0.9)], **each) for each in slices),
        ],
        WINDOW,
    )

    (reading,) = found["GPU-a"].readings
    assert (reading.power_watts, reading.utilization_ratio) == ({("instant", "device"): 300.0}, None)
    assert found["GPU-a"].source.sliced


def test_the_better_of_two_metrics_counts():
    """Where both are exported, `GPU_UTIL` is the utilization and the engine's activity is not."""
    found = seen(
        [
            series("DCGM_FI_PROF_GR_ENGINE_ACTIVE", [(15, 0.2), (30, 0.3)]),
            series("DCGM_FI_DEV_GPU_UTIL", [(15, 50.0)]),
        ],
        WINDOW,
    )

    assert [each.utilization_ratio for each in found["GPU-a"].readings] == [0.5, 0.3]


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 9.2e18])
def test_what_is_no_value_is_left_out(value):
    """DCGM has numbers that stand for blank, not found and not permitted."""
    found = seen(
        [
            series("DCGM_FI_DEV_POWER_USAGE", [(15, value), (30, 100.0)]),
            series("DCGM_FI_DEV_GPU_UTIL", [(15, 1.0)]),
        ],
        WINDOW,
    )

    assert [dict(each.power_watts) for each in found["GPU-a"].readings] == [{}, {("instant", "device"): 100.0}]


def test_index_and_model_come_from_the_info_where_series_have_only_a_uuid():
    """nvidia_gpu_exporter says them once."""
    plain = {"uuid": "df6e", "instance": "gw0:9835"}
    found = seen(
        [
            ({"__name__": "nvidia_smi_power_draw_watts", **plain}, [(15, 50.0)]),
            ({"__name__": "nvidia_smi_gpu_info", **plain, "index": "3", "name": "NVIDIA A40"}, [(15, 1.0)]),
        ],
        WINDOW,
    )

    assert found["GPU-df6e"].source == ("GPU-df6e", "gw0", 3, "NVIDIA A40", False)


def test_a_device_that_two_exporters_know_is_read_from_one():
    """dcgm-exporter and nvidia_gpu_exporter on one node have the same boards."""
    found = seen(
        [
            ({"__name__": "nvidia_smi_power_draw_watts", "uuid": "a", "instance": "gw0:9835"}, [(20, 50.0)]),
            series("DCGM_FI_DEV_POWER_USAGE", [(15, 51.0)]),
        ],
        WINDOW,
    )

    assert [each.time for each in found["GPU-a"].readings] == [15]


def test_what_no_exporter_exports_is_no_device():
    """A server has many other series."""
    assert seen([({"__name__": "up", "instance": "a"}, [(1, 1.0)])], WINDOW) == {}


def test_very_many_series_of_one_device_take_no_more_than_their_number():
    """Anybody who is scraped can say the uid of a device, with as many other labels as there is room for."""
    many = [series("DCGM_FI_DEV_POWER_USAGE", [(n / 40, 100.0)], pod=str(n)) for n in range(1, 12_000)]
    twice = [series("DCGM_FI_DEV_POWER_USAGE", every(0.025, 100.0, 0.025, 300), server=each) for each in "ab"]
    began = time.process_time()
    found = seen([*many, *twice], WINDOW)

    assert len(found["GPU-a"].readings) == 12_000
    assert time.process_time() - began < 5.0
