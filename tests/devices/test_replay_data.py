"""Real recorded telemetry, where the public sample data lie beside the checkout."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from gpuwatch.devices.replay import replay

DATA = Path(__file__).parents[3] / "shared" / "data"
BENCHMARK = sorted((DATA / "gpu_power_benchmark").glob("*.csv"))
NODES = sorted((DATA / "mlperf_v5.0_lenovo_8xB200").glob("*/power/*/node_*.txt"))

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not BENCHMARK or not NODES, reason=f"the public sample data are not at {DATA}"),
]

Series = list[tuple[float, float]]


def trapezoid(series: Series) -> float:
    """The integral of a series."""
    return sum((t2 - t1) * (v1 + v2) / 2 for (t1, v1), (t2, v2) in pairwise(series))


def short(path: Path) -> str:
    """A name for the test."""
    return path.stem if path.suffix == ".csv" else f"{path.parts[-4]}-{path.parts[-2]}"


def columns(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV, read by somebody else's parser."""
    with path.open(newline="") as file:
        yield from csv.DictReader(file, skipinitialspace=True)


def node_power(path: Path) -> Series:
    """The power readings of a result log."""
    entries = [json.loads(line.removeprefix(":::MLLOG ")) for line in path.read_text().splitlines()]
    return [(each["time_ms"] / 1000, each["value"]) for each in entries if each["key"] == "power_reading"]


def replayed(directory: Path, series: Series) -> tuple[float, float]:
    """Joules and seconds of that series through the pipeline."""
    path = directory / "node.csv"
    path.write_text("time_s,power_watts\n" + "".join(f"{time!r},{watts!r}\n" for time, watts in series))
    (device,) = replay([path]).devices
    assert (device.unmeasured_seconds, dict(device.rejected)) == (0.0, {})
    return device.joules or 0.0, device.seconds


@pytest.mark.parametrize("path", BENCHMARK, ids=short)
def test_an_nvidia_smi_recording_gives_its_trapezoid(path: Path) -> None:
    """To 0.1 % of what another parser and a plain sum make of the same file; nothing of it is rejected."""
    series = [
        (
            datetime.strptime(row["timestamp"] + "+0000", "%Y/%m/%d %H:%M:%S.%f%z").timestamp(),
            float(row["power.draw [W]"].removesuffix(" W")),
        )
        for row in columns(path)
    ]

    (device,) = replay([path]).devices

    assert device.joules == pytest.approx(trapezoid(series), rel=1e-3)
    assert device.seconds == pytest.approx(series[-1][0] - series[0][0], abs=1e-3)
    assert (device.unmeasured_seconds, dict(device.rejected)) == (0.0, {})


def test_utilization_of_an_nvidia_smi_recording_becomes_busy_seconds() -> None:
    """Where the file has it, as percent without the sign; absent where it has not."""
    busy = {path.name: replay([path]).devices[0].busy_seconds for path in BENCHMARK}
    path = next(path for path in BENCHMARK if "Transient" in path.name)
    series = [
        (
            datetime.strptime(row["timestamp"] + "+0000", "%Y/%m/%d %H:%M:%S.%f%z").timestamp(),
            float(row["utilization.gpu [%]"]) / 100,
        )
        for row in columns(path)
    ]

    assert busy[path.name] == pytest.approx(trapezoid(series), rel=1e-3)
    assert busy["tests_MLPerf_data.csv"] is None


@pytest.mark.parametrize("path", NODES, ids=short)
def test_node_power_gives_its_trapezoid(path: Path, tmp_path: Path) -> None:
    """To 0.1 %, for each of the twenty runs."""
    series = node_power(path)

    joules, seconds = replayed(tmp_path, series)

    assert joules == pytest.approx(trapezoid(series), rel=1e-3)
    assert seconds == pytest.approx(series[-1][0] - series[0][0])


@pytest.mark.parametrize("phase", range(5))
@pytest.mark.parametrize("path", NODES, ids=short)
def test_every_fifth_sample_is_within_a_percent(path: Path, phase: int, tmp_path: Path) -> None:
    """Sampling at 5 s instead of 1 s costs less than 1 % of the full series over the same span, at every phase."""
    series = node_power(path)
    decimated = series[phase::5]
    full = [sample for sample in series if decimated[0][0] <= sample[0] <= decimated[-1][0]]

    sparse, _ = replayed(tmp_path, decimated)
    dense, _ = replayed(tmp_path, full)

    assert sparse == pytest.approx(dense, rel=1e-2)


def test_a_recording_with_faults_reports_them(tmp_path: Path) -> None:
    """A real recording with values spoiled by hand: each is counted, and the energy stays within 0.1 %."""
    path = next(path for path in BENCHMARK if "MLPerf" in path.name)
    lines = path.read_text().splitlines()
    clean = replay([path]).devices[0]
    for place, spoiled in ((100, "-1.00 W"), (200, "nan"), (300, "4294967295 W"), (400, "[N/A]"), (500, "4x W")):
        cells = lines[place].split(", ")
        lines[place] = ", ".join([cells[0], spoiled, *cells[2:]])
    lines[600:600] = [lines[590], "2023/12/18 17:0", lines[0]]
    copy = tmp_path / "spoiled.csv"
    copy.write_text("\n".join(lines))

    (device,) = replay([copy]).devices

    assert dict(device.rejected) == {
        "too_low": 1,
        "not_finite": 1,
        "sentinel": 1,
        "not_a_number": 1,
        "time_backwards": 1,
        "unparsable": 1,
    }
    assert device.joules == pytest.approx(clean.joules, rel=1e-3)
