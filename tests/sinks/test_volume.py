"""How much is pushed by default: what the documentation says of it holds."""

from __future__ import annotations

import pytest

from gpuwatch.model import points
from tests.benchmarks import influx_lines
from tests.benchmarks.influx_lines import Volume
from tests.sinks.node_at_work import DEVICES

SECONDS = 600
SPOOL_BYTES = 512 * 2**20


@pytest.fixture(scope="module")
def ten_minutes() -> Volume:
    """Of a node with eight devices and every field."""
    return influx_lines.volume(SECONDS)


def test_a_week_of_eight_devices_fits_the_default_spool(ten_minutes: Volume) -> None:
    """Compressed as a spool stores it, with room for what is greater elsewhere."""
    week = ten_minutes.stored / SECONDS * 7 * 86400

    assert 2 * week < SPOOL_BYTES


def test_points_are_as_many_as_the_contract_says(ten_minutes: Volume) -> None:
    """Devices and host every 15 s, jobs every minute; the last interval is still open."""
    intervals, minutes = SECONDS // 15, SECONDS // 60

    assert {
        points.DEVICE: DEVICES * intervals,
        points.HOST: intervals,
        points.JOB: DEVICES * minutes,
    } == pytest.approx(dict(ten_minutes.points), abs=DEVICES)


def test_series_are_one_for_each_device_job_and_node(ten_minutes: Volume) -> None:
    """No tag but those of the contract makes more of them."""
    assert 2 * DEVICES + 1 == len(ten_minutes.tags)


def test_lines_are_written_fast_enough() -> None:
    """A million fields a second is asked for; a tenth of it here, as tests run beside each other."""
    assert influx_lines.fields_per_second() > 100_000
