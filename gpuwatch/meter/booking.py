"""What one look at a device adds to the counters of its holders and to its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpuwatch.meter.energy import Energy
from gpuwatch.meter.shares import UNALLOCATED, UNATTRIBUTED, Shares, split
from gpuwatch.model import EMPTY, DeviceUsage, Labels, RowKey, Usage


@dataclass(slots=True)
class Booking:
    """What one look adds to one row, gathered so that a frozen `Usage` is made once a look."""

    held_seconds: float = 0.0
    state: str = "unknown"
    busy_seconds: float | None = None
    memory_byte_seconds: float | None = None
    tensor_seconds: float | None = None
    energy_unmeasured_seconds: float = 0.0
    energy_joules: Mapping[Labels, float] = EMPTY
    throttled_seconds: Mapping[Labels, float] = EMPTY

    def added_to(self, usage: Usage) -> Usage:
        """The row's usage with this on top."""
        state = {self.state: self.held_seconds} if self.held_seconds else EMPTY
        return usage + Usage(
            self.held_seconds,
            self.busy_seconds,
            self.memory_byte_seconds,
            self.tensor_seconds,
            self.energy_unmeasured_seconds,
            state,
            self.energy_joules,
            self.throttled_seconds,
        )


def device_total(total: DeviceUsage, seconds: float, held: Shares, known: Energy) -> DeviceUsage:
    """The device's own totals with this on top; `seconds` of the device passed."""
    joules = total.energy_joules
    if known.joules:
        joules = {**joules, known.method: joules.get(known.method, 0.0) + sum(known.joules.values())}
    return DeviceUsage(
        total.device,
        total.seconds + seconds,
        joules,
        total.held_seconds + _of_jobs(held),
        total.unallocated_seconds + held.get(UNALLOCATED, 0.0),
        total.unattributed_seconds + held.get(UNATTRIBUTED, 0.0),
        total.held_energy_joules + _of_jobs(known.joules),
        total.unallocated_energy_joules + known.joules.get(UNALLOCATED, 0.0),
        total.unattributed_energy_joules + known.joules.get(UNATTRIBUTED, 0.0),
    )


def of(booked: dict[RowKey, Booking], row: RowKey) -> Booking:
    """What is gathered for a row, begun where nothing is yet."""
    booking = booked.get(row)
    if booking is None:
        booking = booked[row] = Booking()
    return booking


def book_energy(known: Energy, booked: dict[RowKey, Booking]) -> None:
    """Energy that has become known, and held time of which none will be."""
    for row, amount in known.joules.items():
        of(booked, row).energy_joules = {known.method: amount}
    for row, amount in known.unmeasured.items():
        of(booked, row).energy_unmeasured_seconds = amount


def book_throttle(reason: Labels, seconds: float, since: Shares, booked: dict[RowKey, Booking]) -> None:
    """Time with clocks held down, to those who held the device meanwhile."""
    for row, amount in split(seconds, since).items():
        booking = of(booked, row)
        booking.throttled_seconds = {**booking.throttled_seconds, reason: amount}


def _of_jobs(amounts: Shares) -> float:
    return sum(amount for row, amount in amounts.items() if row != UNALLOCATED and row != UNATTRIBUTED)
