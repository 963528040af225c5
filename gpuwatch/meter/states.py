"""What a device did while it was held: working, spinning, idle, or unknown. The rule stands here alone.

A kernel that only waits, as those of a hung collective do, occupies its SMs and draws little; light work draws no
more. What tells the two apart: it does not pause, so its device reports itself busy all of the time, and it
moves no data, so tensor units and memory stay idle.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpuwatch.model import Reading


@dataclass(frozen=True, slots=True)
class StateRule:
    """Thresholds that tell working, spinning and idle apart; ratios of what the device can do.

    The last three are no settings. They come from an H100: held and idle it drew 9 % of the way to its limit more
    than with nobody on it; waiting kernels made it 100 % busy, with 0.00 % of tensor and memory activity.
    """

    busy_ratio: float = 0.05
    near_idle_ratio: float = 0.10
    activity_ratio: float = 0.02
    context_ratio: float = 0.10
    full_ratio: float = 0.95
    trace_ratio: float = 0.002


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
    resident = _any_above(rule.activity_ratio, reading.sm_activity_ratio, reading.tensor_activity_ratio)
    powered = _powered(power_of(reading), idle_watts, limit_watts, rule)
    if utilization is None:
        if resident is None and powered is None:
            return "unknown"
        return "working" if resident or powered else "idle"
    if utilization <= rule.busy_ratio:
        return "working" if resident else "idle"
    moves = _moves_data(reading, rule)
    if powered is None and moves is False:
        # Less than the idle level, whatever that is: what is near to this is near to that as well.
        powered = _powered(power_of(reading), 0.0, limit_watts, rule)
    if utilization < rule.full_ratio or powered or moves:
        return "working"
    return "spinning" if powered is False or resident is False else "working"


def _moves_data(reading: Reading, rule: StateRule) -> bool | None:
    return _any_above(
        rule.trace_ratio,
        reading.tensor_activity_ratio,
        reading.dram_activity_ratio,
        reading.memory_utilization_ratio,
    )


def _any_above(threshold: float, *ratios: float | None) -> bool | None:
    known = [ratio for ratio in ratios if ratio is not None]
    return max(known) > threshold if known else None


def _powered(
    watts: float | None, idle_watts: float | None, limit_watts: float | None, rule: StateRule
) -> bool | None:
    if watts is None or idle_watts is None or limit_watts is None or limit_watts <= idle_watts:
        return None
    held_watts = idle_watts + rule.context_ratio * (limit_watts - idle_watts)
    return watts > held_watts + rule.near_idle_ratio * (limit_watts - held_watts)


def idle_level(before: float | None, reading: Reading, rule: StateRule) -> float | None:
    """The device's own idle power after this reading: fast down, slowly up, so that one glitch does not stay."""
    watts = power_of(reading)
    if watts is None or reading.utilization_ratio is None or reading.utilization_ratio > rule.busy_ratio:
        return before
    if before is None:
        return watts
    return before + (0.2 if watts < before else 0.001) * (watts - before)
