"""What one look at a device adds to the counters of its holders and to its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpuwatch.meter.energy import Energy
from gpuwatch.meter.shares import UNALLOCATED, UNATTRIBUTED, Shares
from gpuwatch.model import EMPTY, DeviceUsage, Labels, Reading, RowKey, Usage


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
    clock_cycles: float | None = None
    clock_seconds: float | None = None
    storage_wait_seconds: float | None = None
    link_bytes: Mapping[Labels, float] = EMPTY
    errors: Mapping[Labels, float] = EMPTY
    energy_gap_seconds: float = 0.0

    def added_to(self, usage: Usage, time: float | None = None) -> Usage:
        """The row's usage with this on top; what was seen was seen at `time`, Unix seconds.

        The first time stands and the last one only grows, whatever the clock does: they never change places.
        """
        state = {self.state: self.held_seconds} if self.held_seconds else EMPTY
        first = time if self.state == "working" and state and usage.first_working is None else None
        return usage + Usage(
            self.held_seconds,
            self.busy_seconds,
            self.memory_byte_seconds,
            self.tensor_seconds,
            self.energy_unmeasured_seconds,
            state,
            self.energy_joules,
            self.throttled_seconds,
            self.clock_cycles,
            self.clock_seconds,
            self.storage_wait_seconds,
            self.link_bytes,
            self.errors,
            self.energy_gap_seconds,
            first,
            {self.state: time} if state and time is not None else EMPTY,
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


def book_clock(hertz: float, held: Shares, booked: dict[RowKey, Booking]) -> None:
    """Cycles of the time that this look is about, to those who held the device and of whom it is known to work."""
    for row, seconds in held.items():
        booking = of(booked, row)
        if booking.state == "working":
            booking.clock_cycles, booking.clock_seconds = hertz * seconds, seconds


def clock_of(reading: Reading) -> float | None:
    """The clock that computing runs at, Hz."""
    hertz = reading.clock_hz.get("sm")
    return reading.clock_hz.get("graphics") if hertz is None else hertz


def _of_jobs(amounts: Shares) -> float:
    return sum(amount for row, amount in amounts.items() if row != UNALLOCATED and row != UNATTRIBUTED)
