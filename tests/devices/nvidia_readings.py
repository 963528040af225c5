"""What several tests of the NVIDIA source look at."""

from __future__ import annotations

from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.model import Device, Reading

SEVEN = ["1g.10gb"] * 7
"""The most slices that a device can be cut into."""


def by_uid(source: NvidiaDevices, now: float = 0.0) -> dict[str, Device]:
    """The devices of a scan."""
    return {device.uid: device for device in source.scan(now)}


def activity(reading: Reading) -> tuple[float | None, float | None, float | None]:
    """Of SMs, tensor units and memory."""
    return reading.sm_activity_ratio, reading.tensor_activity_ratio, reading.dram_activity_ratio
