"""Slices of a fake device (MIG)."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from tests.fake_nvml.layout import ACTIVITIES, INSTANCE_PROCESSES, INSTANCES, Activity, DeviceState, InstanceState

GIB = 2**30
FIRST_GPU_INSTANCE = 7
UNKNOWN_MEMORY = GIB // 4
PROFILE = re.compile(r"(?:(?P<compute>\d)c\.)?(?P<gpu>\d)g\.(?P<memory>\d+)gb")


class FakeSlice:
    """One MIG device; worthless once its device is cut anew."""

    def __init__(self, instance: InstanceState) -> None:
        self._instance = instance
        self.uuid = bytes(instance.uuid).decode()

    def processes(self, *running: tuple[int, int | None]) -> None:
        """Set the (pid, bytes) that run on the slice; its used memory is theirs."""
        if len(running) > INSTANCE_PROCESSES:
            raise ValueError(
                f"fake_nvml: {len(running)} processes on a slice; there is room for {INSTANCE_PROCESSES}"
            )
        self._instance.memory_used = hold(self._instance.compute, running)
        self._instance.compute_count = len(running)

    def activity(self, *, sm: float = 0.0, tensor: float = 0.0, dram: float = 0.0) -> None:
        """From now on so much of the time of its GPU instance is active."""
        set_activity(self._instance.activity, (sm, tensor, dram))

    def become(self, **facts: str | int | None) -> None:
        """Change what the slice says of itself, by the names in `InstanceState`; None changes nothing."""
        for name, fact in facts.items():
            if fact is not None:
                setattr(self._instance, name, fact.encode() if isinstance(fact, str) else fact)
        self.uuid = bytes(self._instance.uuid).decode()

    def remove(self) -> None:
        """Destroy this slice alone."""
        self._instance.present = 0


def hold(table: Any, running: Sequence[tuple[int, int | None]]) -> int:
    """Write a process table; the memory that they use together."""
    for index, (pid, size) in enumerate(running):
        table[index].pid, table[index].memory = pid, 2**64 - 1 if size is None else size
    return sum(UNKNOWN_MEMORY if size is None else size for _, size in running)


def set_activity(activity: Activity, ratios: Sequence[float]) -> None:
    """From now on these ratios; what was active so far stays counted."""
    now = time.monotonic()
    for index in range(ACTIVITIES):
        activity.base[index] += activity.ratio[index] * (now - activity.since)
        activity.ratio[index] = ratios[index]
    activity.since = now


def partition(
    device: DeviceState, slot: int, profiles: Sequence[str] | None, same_handles: bool
) -> list[FakeSlice]:
    """Cut a device anew."""
    device.mig_mode = profiles is not None
    for index in range(INSTANCES):
        device.instances[index].present = 0
        device.instances[index].incarnation += not same_handles
    made: list[FakeSlice] = []
    gpu_instance, compute_instance, left = FIRST_GPU_INSTANCE - 1, 0, 0
    for index, profile in enumerate(profiles or ()):
        match = PROFILE.fullmatch(profile)
        if match is None or index >= INSTANCES:
            raise ValueError(f"fake_nvml: {profile!r} is no profile for slice {index}; as in '1g.10gb'")
        gpu_slices = int(match["gpu"])
        compute_slices = int(match["compute"] or gpu_slices)
        if left < compute_slices or match["compute"] is None:
            gpu_instance, compute_instance, left = gpu_instance + 1, 0, gpu_slices
        instance = device.instances[index]
        _describe(instance, bytes(device.name).decode(), profile, slot, index)
        instance.gpu_instance, instance.compute_instance = gpu_instance, compute_instance
        instance.gpu_slices, instance.compute_slices = gpu_slices, compute_slices
        instance.memory_total = int(match["memory"]) * GIB
        compute_instance, left = compute_instance + 1, left - compute_slices
        made.append(FakeSlice(instance))
    return made


_made = 0


def _describe(instance: InstanceState, model: str, profile: str, slot: int, index: int) -> None:
    global _made
    _made += 1
    instance.uuid = f"MIG-fa4e{_made % 0x10000:04x}-0000-4000-8000-{slot:06x}{index:06x}".encode()
    instance.name = f"{model} MIG {profile}".encode()
    instance.memory_used = instance.compute_count = 0
    set_activity(instance.activity, (0.0, 0.0, 0.0))
    instance.present = 1
