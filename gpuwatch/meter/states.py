"""What a device did while it was held: working, spinning, idle, or unknown. The rule stands here alone."""

from __future__ import annotations

from dataclasses import dataclass

from gpuwatch.model import Reading


@dataclass(frozen=True, slots=True)
class StateRule:
    """Thresholds that tell working, spinning and idle apart; ratios of what the device can do."""

    busy_ratio: float = 0.05
    near_idle_ratio: float = 0.10
    activity_ratio: float = 0.02


def power_of(reading: Reading) -> float | None:
    """The power to integrate: the sensor that averages sees all of the time, the device rather than its module."""
    for window in ("average", "instant"):
        for scope in ("device", "module"):
            watts = reading.power_watts.get((window, scope))
            if watts is not None:
                return watts
    return None


def classify(reading: Reading | None, idle_watts: float | None, limit_watts: float | None, rule: StateRule) -> str:
    """The state of held time that ends with this reading: working, spinning, idle or unknown."""
    if reading is None:
        return "unknown"
    utilization = reading.utilization_ratio
    busy = None if utilization is None else utilization > rule.busy_ratio
    active = _active(reading, rule)
    powered = _powered(power_of(reading), idle_watts, limit_watts, rule)
    if busy is None and active is None and powered is None:
        return "unknown"
    if busy is None:
        return "working" if active or powered else "idle"
    if not busy:
        return "working" if active else "idle"
    near_idle = not active and not powered and (active is False or powered is False)
    return "spinning" if near_idle else "working"


def _active(reading: Reading, rule: StateRule) -> bool | None:
    known = [ratio for ratio in (reading.sm_activity_ratio, reading.tensor_activity_ratio) if ratio is not None]
    return max(known) > rule.activity_ratio if known else None


def _powered(
    watts: float | None, idle_watts: float | None, limit_watts: float | None, rule: StateRule
) -> bool | None:
    if watts is None or idle_watts is None or limit_watts is None or limit_watts <= idle_watts:
        return None
    return watts > idle_watts + rule.near_idle_ratio * (limit_watts - idle_watts)


def idle_level(before: float | None, reading: Reading, rule: StateRule) -> float | None:
    """The device's own idle power after this reading: fast down, slowly up, so that one glitch does not stay."""
    watts = power_of(reading)
    if watts is None or reading.utilization_ratio is None or reading.utilization_ratio > rule.busy_ratio:
        return before
    if before is None:
        return watts
    return before + (0.2 if watts < before else 0.001) * (watts - before)
