"""What becomes of the samples of a push interval."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.model import DeviceUsage, HostReading, Reading, metrics_of, points
from gpuwatch.sinks.averages import LIMIT_CELLS, Averages, Cells, host_cells, reading_cells, usage_cells
from tests.sinks.snapshots import host, reading


def of(*readings: Reading, peaks: bool = True) -> dict[str, float]:
    """Fields of an interval by name."""
    averages = Averages(peaks)
    for each in readings:
        averages.add(reading_cells(each))
    return {field.name: value for field, value in averages.fields().items()}


def test_gauges_are_means_and_peaks_are_beside_them() -> None:
    """A second of high power is seen, and energy can be had from the mean."""
    low, high = (
        Reading("GPU-0", 1.0, utilization_ratio=ratio, dram_activity_ratio=ratio, temperature_celsius={"gpu": 60})
        for ratio in (0.25, 0.75)
    )

    assert {
        "utilization_ratio": 0.5,
        "utilization_ratio_max": 0.75,
        "dram_activity_ratio": 0.5,
        "temperature_celsius_gpu": 60.0,
        "temperature_celsius_gpu_max": 60.0,
    } == of(low, high)


def test_labels_make_fields_of_their_own() -> None:
    """Both powers of a device are there."""
    found = of(reading())

    assert (651.25, 640.5) == (found["power_watts_instant_device"], found["power_watts_average_device"])


def test_gauge_that_a_sample_lacks_is_the_mean_of_the_others() -> None:
    """Unknown is not 0."""
    assert {"encoder_ratio": 0.5} == of(Reading("GPU-0", 1.0), Reading("GPU-0", 2.0, encoder_ratio=0.5))


def test_counters_and_moments_are_the_last() -> None:
    """The mean of two counts, or of two moments, is none."""
    first = Reading("G", 1.0, pcie_bytes={"receive": 10}, xid_last_timestamp_seconds={"31": 100.0})
    second = Reading("G", 2.0, pcie_bytes={"receive": 30}, xid_last_timestamp_seconds={"31": 200.0})

    assert {"xid_last_timestamp_seconds_31": 200.0, "pcie_bytes_total_receive": 30} == of(first, second)


def test_samples_alone_have_no_peaks() -> None:
    """A sample is its own peak."""
    assert [name for name in of(reading(), peaks=False) if name.endswith(points.PEAK)] == []


@given(st.permutations([reading(), replace(reading(), power_watts={}), Reading("GPU-0", 1.0, encoder_ratio=0.5)]))
def test_order_of_fields_does_not_depend_on_that_of_samples(readings: list[Reading]) -> None:
    """The same fields are the same template, and lines compress."""
    assert list(of(*readings)) == list(of(reading()))


def test_every_metric_of_a_reading_is_a_field() -> None:
    """Nothing that a device says is left out, but for the energy that is metered."""
    names = of(reading())

    for _, metric in metrics_of(Reading):
        base = metric.name.removeprefix("gpuwatch_device_")
        assert any(name.startswith(base) for name in names), base
    assert not any("energy" in name for name in names)


def test_energy_that_was_never_measured_is_unknown() -> None:
    """As on /metrics: 0 would be a measurement."""
    dark, metered = DeviceUsage("G", 5.0, {}, 5.0), DeviceUsage("G", 5.0, {"counter": 9.0}, 5.0)

    assert not any("energy" in cell.field.name for cell, _ in usage_cells(dark))
    assert "unallocated_energy_joules_total" in {cell.field.name for cell, _ in usage_cells(metered)}


def test_fields_of_a_host_are_called_as_its_metrics() -> None:
    """Without the prefix, with their own labels behind."""
    names = {cell.field.name for cell, _ in host_cells(host())}

    assert {"load1", "cpu_seconds_total_idle", "filesystem_size_bytes_/scratch data"} <= names
    assert "infiniband_errors_total_mlx5_0_1_symbol_error" in names


@pytest.mark.parametrize("peaked", points.PEAKS)
def test_gauges_with_a_peak_exist(peaked: str) -> None:
    """The names in `points.PEAKS` are gauges of a reading."""
    assert f"gpuwatch_device_{peaked}" in {metric.name for _, metric in metrics_of(Reading)}


def test_names_that_are_remembered_are_bounded() -> None:
    """Mounts and interfaces come and go, by whatever name."""
    cells = Cells(HostReading, points.HOST)
    for number in range(LIMIT_CELLS + 100):
        list(cells.of(HostReading(1.0, network_up={f"veth{number}": 1})))

    assert len(cells._cells) <= LIMIT_CELLS
