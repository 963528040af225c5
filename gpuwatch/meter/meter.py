"""The running totals of who used what, one look at the devices after another."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gpuwatch.meter.energy import Energy, EnergyMeter, Gaps
from gpuwatch.meter.shares import (
    UNALLOCATED,
    UNATTRIBUTED,
    Holding,
    Shares,
    add,
    shares_of,
    shares_over_gap,
    split,
)
from gpuwatch.meter.signals import Counter, Integral
from gpuwatch.meter.states import StateRule, classify, idle_level, power_of
from gpuwatch.model import EMPTY, DeviceUsage, Labels, Reading, RowKey, Usage

# Where no power limit is known: above any board, module or node.
MOST_WATTS = 20_000.0


@dataclass(frozen=True, slots=True)
class MeterSettings:
    """How far apart two readings may be, what a counter may do, and the state rule by model."""

    gap_seconds: float = 7.5
    counter_gap_seconds: float = 900.0
    jump_factor: float = 1.5
    rule: StateRule = field(default_factory=StateRule)
    models: Mapping[str, StateRule] = EMPTY

    def rule_of(self, model: str) -> StateRule:
        """The rule for a model: the longest configured name that the model's name contains, else the general."""
        matching = [name for name in self.models if name.lower() in model.lower()]
        return self.models[max(matching, key=len)] if matching else self.rule


class Nature(NamedTuple):
    """What the meter must know of a device beside its readings; None where nobody knows."""

    model: str = ""
    idle_watts: float | None = None
    limit_watts: float | None = None


ZERO = Usage()


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


@dataclass(slots=True)
class DeviceMeter:
    """Everything the meter remembers of one device between two looks."""

    time: float
    shares: Shares
    energy: EnergyMeter = field(default_factory=EnergyMeter)
    busy: Integral = field(default_factory=Integral)
    memory: Integral = field(default_factory=Integral)
    tensor: Integral = field(default_factory=Integral)
    throttle: dict[str, Counter] = field(default_factory=dict)
    throttle_since: Shares = field(default_factory=dict)
    idle_watts: float | None = None

    def settled(self, row: RowKey) -> bool:
        """Whether nothing of this row waits for a later reading."""
        energy = self.energy
        waiting = (
            energy.pending.seconds,
            energy.power.since,
            self.busy.since,
            self.memory.since,
            self.tensor.since,
            self.throttle_since,
        )
        return row not in self.shares and not any(row in since for since in waiting)


class Meter:
    """Running totals of who used what. `advance` once for every look at the devices; read the rest at any time."""

    def __init__(self, settings: MeterSettings | None = None) -> None:
        self.settings = settings or MeterSettings()
        self.rows: dict[RowKey, Usage] = {}
        self.devices: dict[str, DeviceUsage] = {}
        self.share_excess = 0.0
        self.changed: set[RowKey] = set()
        self._meters: dict[str, DeviceMeter] = {}
        self._gaps = Gaps(self.settings.gap_seconds, self.settings.counter_gap_seconds)

    def advance(
        self,
        now: float,
        readings: Mapping[str, Reading | None],
        holdings: Iterable[Holding] = (),
        unknown: Collection[str] = (),
        natures: Mapping[str, Nature] = EMPTY,
    ) -> None:
        """Account for the time since the last look at each device in `readings`.

        `now` is on any axis of seconds that never goes back; a device that could not be read is there with
        None. `holdings` is who holds what now, `unknown` the devices of which nobody can say. Afterwards
        `changed` has the rows that are not as they were.
        """
        self.changed = set()
        self.share_excess = 0.0
        by_device: dict[str, list[Holding]] = {}
        for holding in holdings:
            by_device.setdefault(holding.device, []).append(holding)
        for uid, reading in readings.items():
            shares, excess = shares_of(by_device.get(uid, ()), uid in unknown)
            self.share_excess += excess
            self._advance_device(now, uid, reading, shares, natures.get(uid, Nature()))

    def _advance_device(
        self, now: float, uid: str, reading: Reading | None, shares: Shares, nature: Nature
    ) -> None:
        meter = self._meters.get(uid)
        if meter is None:
            meter = self._meters[uid] = DeviceMeter(now, shares)
            self.devices.setdefault(uid, DeviceUsage(uid))
        seconds = max(0.0, now - meter.time)
        before = meter.shares if seconds <= self.settings.gap_seconds else shares_over_gap(meter.shares, shares)
        held = {row: share * seconds for row, share in before.items()} if seconds else {}
        state = self._state(meter, reading, seconds, nature)
        booked = {row: Booking(amount, state) for row, amount in held.items()}
        self._book_signals(now, meter, reading, held, booked)
        known = self._energy(now, meter, reading, held, nature)
        _book_energy(known, booked)
        _book_throttle(now, meter, reading, held, booked)
        self._post(booked)
        if seconds or known.joules:
            self.devices[uid] = _device_total(self.devices[uid], seconds, held, known)
        meter.time, meter.shares = now, shares
        for row in shares:
            self._touch(row)

    def _post(self, booked: Mapping[RowKey, Booking]) -> None:
        for row, booking in booked.items():
            if row != UNALLOCATED and row != UNATTRIBUTED:
                self.rows[row] = booking.added_to(self.rows.get(row, ZERO))
                self.changed.add(row)

    def _touch(self, row: RowKey) -> None:
        """A row begins with the holding, before it has any time."""
        if row not in self.rows and row != UNALLOCATED and row != UNATTRIBUTED:
            self.rows[row] = Usage()
            self.changed.add(row)

    def _state(self, meter: DeviceMeter, reading: Reading | None, seconds: float, nature: Nature) -> str:
        rule = self.settings.rule_of(nature.model)
        if seconds > self.settings.gap_seconds:
            return "unknown"
        if reading is not None:
            meter.idle_watts = idle_level(meter.idle_watts, reading, rule)
        idle = meter.idle_watts if meter.idle_watts is not None else nature.idle_watts
        return classify(reading, idle, _limit_of(reading, nature), rule)

    def _book_signals(
        self, now: float, meter: DeviceMeter, reading: Reading | None, held: Shares, booked: dict[RowKey, Booking]
    ) -> None:
        gap = self.settings.gap_seconds
        utilization, memory, tensor = _signals(reading)
        for row, amount in meter.busy.advance(now, utilization, held, gap)[0].items():
            _of(booked, row).busy_seconds = amount
        for row, amount in meter.memory.advance(now, memory, held, gap)[0].items():
            _of(booked, row).memory_byte_seconds = amount
        for row, amount in meter.tensor.advance(now, tensor, held, gap)[0].items():
            _of(booked, row).tensor_seconds = amount

    def _energy(
        self, now: float, meter: DeviceMeter, reading: Reading | None, held: Shares, nature: Nature
    ) -> Energy:
        watts = None if reading is None else power_of(reading)
        joules = None if reading is None else reading.energy_joules
        fastest = self.settings.jump_factor * (_limit_of(reading, nature) or MOST_WATTS)
        return meter.energy.advance(now, watts, joules, held, fastest, self._gaps)

    def finish(self) -> None:
        """Book what still waits for a reading that will not come; nothing is metered after this."""
        for uid, meter in self._meters.items():
            booked: dict[RowKey, Booking] = {}
            known = meter.energy.finish()
            _book_energy(known, booked)
            self._post(booked)
            self.devices[uid] = _device_total(self.devices[uid], 0.0, {}, known)

    def settled(self, row: RowKey) -> bool:
        """Whether a row's counters are final: nobody holds by it and nothing waits for a later reading."""
        meter = self._meters.get(row.device)
        return meter is None or meter.settled(row)

    def forget(self, row: RowKey) -> None:
        """Drop the counters of a row that others have taken over for good."""
        self.rows.pop(row, None)

    @property
    def rejected_counters(self) -> Mapping[str, int]:
        """How often each device's energy counter said what cannot be."""
        return {uid: meter.energy.rejected for uid, meter in self._meters.items() if meter.energy.rejected}

    def state(self) -> dict[str, DeviceMeter]:
        """What `resume` needs to go on where this meter is."""
        return self._meters

    def resume(
        self,
        rows: Mapping[RowKey, Usage],
        devices: Mapping[str, DeviceUsage],
        meters: Mapping[str, DeviceMeter],
    ) -> None:
        """Go on from saved totals; `meters` is empty where the time axis is a new one (the node was rebooted)."""
        self.rows, self.devices, self._meters = dict(rows), dict(devices), dict(meters)


def _limit_of(reading: Reading | None, nature: Nature) -> float | None:
    known = reading is not None and reading.power_limit_watts is not None
    return reading.power_limit_watts if reading is not None and known else nature.limit_watts


def _signals(reading: Reading | None) -> tuple[float | None, float | None, float | None]:
    if reading is None:
        return None, None, None
    return reading.utilization_ratio, reading.memory_used_bytes, reading.tensor_activity_ratio


def _of_jobs(amounts: Shares) -> float:
    return sum(amount for row, amount in amounts.items() if row != UNALLOCATED and row != UNATTRIBUTED)


def _device_total(total: DeviceUsage, seconds: float, held: Shares, known: Energy) -> DeviceUsage:
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


def _of(booked: dict[RowKey, Booking], row: RowKey) -> Booking:
    booking = booked.get(row)
    if booking is None:
        booking = booked[row] = Booking()
    return booking


def _book_energy(known: Energy, booked: dict[RowKey, Booking]) -> None:
    for row, amount in known.joules.items():
        _of(booked, row).energy_joules = {known.method: amount}
    for row, amount in known.unmeasured.items():
        _of(booked, row).energy_unmeasured_seconds = amount


def _book_throttle(
    now: float, meter: DeviceMeter, reading: Reading | None, held: Shares, booked: dict[RowKey, Booking]
) -> None:
    add(meter.throttle_since, held)
    if reading is None:
        return
    since, meter.throttle_since = meter.throttle_since, {}
    for reason, value in reading.throttle_seconds.items():
        counter = meter.throttle.setdefault(str(reason), Counter())
        rise = counter.rise(now, value, fastest=1.5)
        if rise:
            for row, amount in split(rise, since).items():
                booking = _of(booked, row)
                booking.throttled_seconds = {**booking.throttled_seconds, reason: amount}
