"""Readings × holdings → usage. Pure but for the running totals it keeps; it reads no clock and does no I/O.

The rules (what is charged, what a gap is, what a state is) are those of docs/internals.md and stand here
and nowhere else:

- Whoever held a device when an interval began is charged for it, until the next look.
- Over a gap (the agent was down) only who held it at both ends is charged; the rest is unattributed.
- A signal is integrated by trapezoid between two known values at most `gap_seconds` apart. Longer is unknown.
- Energy is the difference of the hardware counter where there is one; a counter that fell was reset, one
  that rose faster than the device can draw is not believed, and the power integral stands in. Where a device has
  neither, a model of its power is integrated, and says so.
- Bytes over the links and seconds of held down clocks are divided by share. An error is not: it strikes everybody
  who holds the device, and is counted whole for each. The clock is that of time at work.
- When a state was first and last seen is a label of the wall clock: the first stands, the last only grows.
- For every device: Σ jobs + unallocated + unattributed = device, in seconds and in joules.
"""

from __future__ import annotations

from gpuwatch.meter.device import DeviceMeter, Nature
from gpuwatch.meter.energy import EnergyMeter, Pending
from gpuwatch.meter.meter import Meter, MeterSettings
from gpuwatch.meter.shares import UNALLOCATED, UNATTRIBUTED, Holding, shares_of, shares_over_gap
from gpuwatch.meter.signals import Counter, Integral, Tally
from gpuwatch.meter.states import StateRule, classify, power_of
from gpuwatch.meter.storage import StorageWaits

__all__ = [
    "UNALLOCATED", "UNATTRIBUTED", "Counter", "DeviceMeter", "EnergyMeter", "Holding", "Integral", "Meter",
    "MeterSettings", "Nature", "Pending", "StateRule", "StorageWaits", "Tally", "classify", "power_of",
    "shares_of", "shares_over_gap",
]  # fmt: skip
