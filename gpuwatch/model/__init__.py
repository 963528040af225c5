"""The nouns of gpuwatch, all frozen values. A field declared with `metric()` *is* an exported metric.

Units are base units (seconds, joules, watts, bytes, celsius, hertz, ratio 0 to 1). `None` and a missing
key mean unknown, and unknown is absent in every output; 0 is a reading.
"""

from __future__ import annotations

from gpuwatch.model.burnups import BurnUp, BurnUpPoint, grown
from gpuwatch.model.devices import Device, Process, Reading, Site
from gpuwatch.model.estimates import Alert, Concern, Declared, Estimate, Expectation, Forecast, Progress, Scope
from gpuwatch.model.host import HostReading, merge_host
from gpuwatch.model.metric import (
    EMPTY,
    Labelled,
    Labels,
    Metric,
    MetricField,
    count_series,
    metric,
    metrics_of,
    series_of,
)
from gpuwatch.model.probe import Probe
from gpuwatch.model.snapshot import AgentHealth, SinkHealth, Snapshot, SourceHealth
from gpuwatch.model.usage import (
    BASES,
    ERRORS,
    LINKS,
    METHODS,
    STATES,
    THROTTLES,
    Allocation,
    DeviceUsage,
    GroupUse,
    JobKey,
    JobRow,
    RowKey,
    Usage,
)

__all__ = [
    "BASES",
    "EMPTY",
    "ERRORS",
    "LINKS",
    "METHODS",
    "STATES",
    "THROTTLES",
    "AgentHealth",
    "Alert",
    "Allocation",
    "BurnUp",
    "BurnUpPoint",
    "Concern",
    "Declared",
    "Device",
    "DeviceUsage",
    "Estimate",
    "Expectation",
    "Forecast",
    "GroupUse",
    "HostReading",
    "JobKey",
    "JobRow",
    "Labelled",
    "Labels",
    "Metric",
    "MetricField",
    "Probe",
    "Process",
    "Progress",
    "Reading",
    "RowKey",
    "Scope",
    "SinkHealth",
    "Site",
    "Snapshot",
    "SourceHealth",
    "Usage",
    "count_series",
    "grown",
    "merge_host",
    "metric",
    "metrics_of",
    "series_of",
]
