"""What things are called in InfluxDB: measurements, tags and fields, for those who write and those who read.

A field is called as its metric, without the prefix that the measurement says already, and with the values of the
metric's own labels behind it: `power_watts_instant_device`, `energy_joules_total_counter`. Numbers are floats.
"""

from __future__ import annotations

from collections.abc import Mapping

from gpuwatch.model.usage import ERRORS, LINKS, METHODS, STATES, THROTTLES

DEVICE = "gpuwatch_device"
HOST = "gpuwatch_host"
JOB = "gpuwatch_job"
EVENT = "gpuwatch_event"
FORECAST = "gpuwatch_forecast"

DEVICE_TAGS = ("cluster", "node", "uuid", "model")
HOST_TAGS = ("cluster", "node")
JOB_TAGS = ("cluster", "node", "job_id", "started", "uuid", "epoch")
EVENT_TAGS = ("cluster", "node", "kind")
FORECAST_TAGS = ("cluster", "scope_kind", "quantity")

PEAK = "_max"
"""Behind the name of a gauge: its greatest value in the push interval, beside the mean."""

PEAKS = ("power_watts", "utilization_ratio", "temperature_celsius")
"""The gauges that have their peak beside the mean."""

ROW_NUMBERS: Mapping[str, str] = {
    "seq": "seq",
    "last_seen": "last_seen_timestamp_seconds",
    "share": "share",
    "held_seconds": "held_seconds_total",
    "busy_seconds": "busy_seconds_total",
    "memory_byte_seconds": "memory_byte_seconds_total",
    "tensor_seconds": "tensor_seconds_total",
    "energy_unmeasured_seconds": "energy_unmeasured_seconds_total",
    "host_energy_joules": "host_energy_joules_total",
    "host_energy_measured_seconds": "host_energy_measured_seconds_total",
    "clock_cycles": "clock_cycles_total",
    "clock_seconds": "clock_seconds_total",
    "storage_wait_seconds": "storage_wait_seconds_total",
    "energy_gap_seconds": "energy_gap_seconds",
    "first_working": "first_working_timestamp_seconds",
}
"""Numbers of a row of the usage API and the fields of `gpuwatch_job` that they are."""

ROW_LABELLED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "state_seconds": ("state_seconds_total", STATES),
    "energy_joules": ("energy_joules_total", METHODS),
    "throttled_seconds": ("throttled_seconds_total", THROTTLES),
    "link_bytes": ("link_bytes_total", LINKS),
    "errors": ("errors_total", ERRORS),
    "last_in_state": ("last_in_state_timestamp_seconds", STATES),
}
"""Mappings of a row: the field's name, which is followed by `_` and one of the labels."""

ROW_OPEN = "open"
"""1 while a row may grow, 0 once it is over."""

ROW_WORDS = ("basis", "model")
"""Words of a row, which are strings."""

EVENT_WORDS = ("text", "job_id", "uuid", "channel", "epoch")
"""What an event may have as strings: `text` what was said or happened, `channel` by which way it was declared."""

EVENT_NUMBERS = ("seq", "started", "step", "total", "start_step", "best", "lost", "since", "until", "points")
"""What an event may have as floats. `since`, `until` and `points` are of the kind `REPLAYED` alone."""

DECLARATION = "declaration"
"""The kind of an event that is a declaration; its `text` is what was declared."""

PROGRESS = "progress"
"""The kind of an event that is a job's report of its progress."""

REPLAYED = "replayed"
"""The kind of an event by which a node says that points of times from `since` to `until` (Unix seconds) came late.

Whoever reads windows of time reads these once more.
"""


FORECAST_SCOPE = "scope"
"""The name of what a forecast is about, a string: a tag of its own would be a series for each job."""

FORECAST_DECLARED = "declared"
"""The likely amount that was declared, in base units."""

FORECAST_OVER = "p_over"
"""How probable it is that more than that is used."""


def quantile(q: float) -> str:
    """The field of a quantile of a forecast: `q05`, `q50`, `q97_5`."""
    return "q" + f"{100 * q:04.1f}".removesuffix(".0").replace(".", "_")


def labelled(name: str, *labels: str) -> str:
    """The field of a series: the name without its prefix, and the values of its own labels."""
    return "_".join((name, *labels)) if labels else name
