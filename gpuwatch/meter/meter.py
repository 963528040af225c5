"""The running totals of who used what, one look at the devices after another."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from gpuwatch.meter.booking import Booking, book_clock, book_energy, clock_of, device_total, of
from gpuwatch.meter.counts import book_counts
from gpuwatch.meter.device import DeviceMeter, Look, Nature
from gpuwatch.meter.energy import Energy, Gaps
from gpuwatch.meter.host import Part
from gpuwatch.meter.shares import (
    UNALLOCATED,
    UNATTRIBUTED,
    Holding,
    Shares,
    scaled,
    shares_of,
    shares_over_gap,
    unattributed,
)
from gpuwatch.meter.states import StateRule, classify, idle_level, power_of
from gpuwatch.model import EMPTY, DeviceUsage, JobKey, Reading, RowKey, Usage

# Where no power limit is known: above any board, module or node.
MOST_WATTS = 20_000.0
# Seven sevenths are not quite one in binary.
DUST = 1e-9
# Slices come and go; totals of those that are gone are kept while there are not more devices than this.
MOST_DEVICES = 512


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


ZERO = Usage()
NOBODY_KNOWS = Nature()


class Meter:
    """Running totals of who used what. `advance` once for every look at the devices; read the rest at any time."""

    def __init__(self, settings: MeterSettings | None = None) -> None:
        self.settings = settings or MeterSettings()
        self.rows: dict[RowKey, Usage] = {}
        self.devices: dict[str, DeviceUsage] = {}
        self.share_excess = 0.0
        self.changed: set[RowKey] = set()
        self._meters: dict[str, DeviceMeter] = {}
        self._unwatched: set[str] = set()
        self._waits: Mapping[str, float] = EMPTY
        self._wall: float | None = None
        self._gaps = Gaps(self.settings.gap_seconds, self.settings.counter_gap_seconds)

    def adopt(self, settings: MeterSettings) -> None:
        """Go on by other rules; what is counted stays."""
        self.settings = settings
        self._gaps = Gaps(settings.gap_seconds, settings.counter_gap_seconds)

    def advance(
        self,
        now: float,
        readings: Mapping[str, Reading | None],
        holdings: Iterable[Holding] = (),
        unknown: Collection[str] = (),
        natures: Mapping[str, Nature] = EMPTY,
        waits: Mapping[str, float] = EMPTY,
        wall: float | None = None,
    ) -> None:
        """Account for the time since the last look at each device in `readings`.

        `now` is on any axis of seconds that never goes back; a device that could not be read is there with
        None. `holdings` is who holds what now, `unknown` the devices of which nobody can say. Afterwards
        `changed` has the rows that are not as they were. `waits` has how long jobs have waited for storage, in
        seconds, of those of whom it was read for this look. `wall` is what the clock shows, in Unix seconds.

        A slice that is not there while its parent is has been taken apart. What no slice has of a parent, in
        time and in energy, stays with the parent: the sum over all devices is what is physically there.
        """
        self.changed = set()
        self.share_excess = 0.0
        self._waits, self._wall = waits, wall
        by_device: dict[str, list[Holding]] = {}
        for holding in holdings:
            by_device.setdefault(holding.device, []).append(holding)
        wholes = _wholes(readings, natures)
        for uid, reading in readings.items():
            nature = natures.get(uid, NOBODY_KNOWS)
            whole = wholes.get(uid, nature.fraction)
            shares, excess = shares_of(by_device.get(uid, ()), uid in unknown, whole)
            self.share_excess += excess
            electric = reading if nature.parent is None else readings.get(nature.parent)
            self._advance_device(now, uid, Look(reading, electric, shares, whole, nature))
        self._retire(now, readings)
        if len(self.devices) > MOST_DEVICES:
            self._forget_gone(readings)

    def _forget_gone(self, readings: Mapping[str, object]) -> None:
        """Drop the totals of the devices that have been known longest and are not there any more."""
        gone = [uid for uid in self.devices if uid not in readings and uid not in self._meters]
        for uid in gone[: len(self.devices) - MOST_DEVICES]:
            del self.devices[uid]

    def _advance_device(self, now: float, uid: str, look: Look) -> None:
        meter = self._meters.get(uid)
        if meter is None:
            meter = self._meters[uid] = DeviceMeter(now, look.shares, whole=look.whole)
            self.devices.setdefault(uid, DeviceUsage(uid))
        seconds = max(0.0, now - meter.time)
        before = self._before(uid, meter, look, seconds)
        held = scaled(seconds, before) if seconds else {}
        state = self._state(meter, look, seconds)
        booked = {row: Booking(amount, state) for row, amount in held.items()}
        self._book_signals(now, meter, look.reading, held, booked)
        hertz = _clock_of(look)
        if hertz is not None:
            book_clock(hertz, held, booked)
        known = self._energy(now, meter, look, held)
        book_energy(known, booked)
        for row, amount in meter.energy.gaps(seconds, held, known).items():
            of(booked, row).energy_gap_seconds = amount
        book_counts(now, meter, look.electric, held, booked)
        for row, amount in meter.storage.advance(now, self._waits, held, look.shares).items():
            of(booked, row).storage_wait_seconds = amount
        self._post(booked)
        if seconds or known.joules:
            self.devices[uid] = device_total(self.devices[uid], seconds * meter.whole, held, known)
        meter.saw(now, look)
        for row in look.shares:
            self._touch(row)

    def _before(self, uid: str, meter: DeviceMeter, look: Look, seconds: float) -> Shares:
        """Who is charged for the time since the last look."""
        watched = uid not in self._unwatched
        self._unwatched.discard(uid)
        if watched and seconds <= self.settings.gap_seconds:
            return meter.shares
        if meter.reloaded(look):
            # Nobody can hold a device while its driver is unloaded, whoever does so before and after.
            return unattributed(meter.shares)
        return shares_over_gap(meter.shares, look.shares)

    def _retire(self, now: float, readings: Mapping[str, Reading | None]) -> None:
        """Account for slices that were taken apart, up to now, and for the last time."""
        for uid, meter in list(self._meters.items()):
            if meter.parent is None or uid in readings or meter.parent not in readings:
                continue
            nature = Nature(parent=meter.parent, driver=meter.driver)
            nobody = unattributed(meter.shares)
            self._advance_device(now, uid, Look(None, readings[meter.parent], nobody, meter.whole, nature))
            self._finish_device(uid, meter)
            del self._meters[uid]

    def _post(self, booked: Mapping[RowKey, Booking]) -> None:
        for row, booking in booked.items():
            if row != UNALLOCATED and row != UNATTRIBUTED:
                # A clock that was set back shows times before the row began.
                time = None if self._wall is None else max(self._wall, float(row.started))
                self.rows[row] = booking.added_to(self.rows.get(row, ZERO), time)
                self.changed.add(row)

    def _touch(self, row: RowKey) -> None:
        """A row begins with the holding, before it has any time."""
        if row not in self.rows and row != UNALLOCATED and row != UNATTRIBUTED:
            self.rows[row] = Usage()
            self.changed.add(row)

    def _state(self, meter: DeviceMeter, look: Look, seconds: float) -> str:
        reading, nature = look.reading, look.nature
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
            of(booked, row).busy_seconds = amount
        for row, amount in meter.memory.advance(now, memory, held, gap)[0].items():
            # A slice's memory is its own, and not a fraction of it.
            of(booked, row).memory_byte_seconds = amount / meter.whole
        for row, amount in meter.tensor.advance(now, tensor, held, gap)[0].items():
            of(booked, row).tensor_seconds = amount

    def _energy(self, now: float, meter: DeviceMeter, look: Look, held: Shares) -> Energy:
        electric = look.electric
        watts = None if electric is None else power_of(electric)
        joules = None if electric is None else electric.energy_joules
        fastest = self.settings.jump_factor * (_limit_of(electric, look.nature) or MOST_WATTS)
        modelled = None if electric is None else electric.modelled_watts
        return meter.energy.advance(now, watts, joules, held, fastest, self._gaps, modelled)

    def book_host(self, parts: Mapping[JobKey, Part]) -> None:
        """Parts of the host's energy, each on one row of its job: that which has some already, else the first."""
        if not parts:
            return
        chosen: dict[JobKey, RowKey] = {}
        for row in sorted(self.rows):
            job = JobKey(row.job_id, row.started)
            if job in parts:
                first = chosen.setdefault(job, row)
                if self.rows[first].host_energy_joules is None and self.rows[row].host_energy_joules is not None:
                    chosen[job] = row
        for job, row in chosen.items():
            part = parts[job]
            more = Usage(host_energy_joules=part.joules, host_energy_measured_seconds=part.seconds)
            self.rows[row] += more
            self.changed.add(row)

    def finish(self) -> None:
        """Book what still waits for a reading that will not come; nothing is metered after this."""
        for uid, meter in self._meters.items():
            self._finish_device(uid, meter)

    def _finish_device(self, uid: str, meter: DeviceMeter) -> None:
        booked: dict[RowKey, Booking] = {}
        known = meter.energy.finish()
        book_energy(known, booked)
        self._post(booked)
        self.devices[uid] = device_total(self.devices[uid], 0.0, {}, known)

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
        watched: bool = False,
    ) -> None:
        """Go on from saved totals; `meters` is empty where the time axis is a new one (the node was rebooted).

        However short it was, nobody watched the time since they were saved, unless it is `watched`: read later
        from what others recorded of it.
        """
        self.rows, self.devices, self._meters = dict(rows), dict(devices), dict(meters)
        self._unwatched = set() if watched else set(meters)


def _limit_of(reading: Reading | None, nature: Nature) -> float | None:
    known = reading is not None and reading.power_limit_watts is not None
    return reading.power_limit_watts if reading is not None and known else nature.limit_watts


def _clock_of(look: Look) -> float | None:
    """A slice has the clock of its parent."""
    hertz = None if look.reading is None else clock_of(look.reading)
    return clock_of(look.electric) if hertz is None and look.electric is not None else hertz


def _signals(reading: Reading | None) -> tuple[float | None, float | None, float | None]:
    if reading is None:
        return None, None, None
    return reading.utilization_ratio, reading.memory_used_bytes, reading.tensor_activity_ratio


def _wholes(readings: Mapping[str, object], natures: Mapping[str, Nature]) -> dict[str, float]:
    """What is left of each device that has slices."""
    left: dict[str, float] = {}
    for uid in readings:
        nature = natures.get(uid)
        if nature is not None and nature.parent is not None:
            left[nature.parent] = left.get(nature.parent, 1.0) - nature.fraction
    return {uid: whole if whole > DUST else 0.0 for uid, whole in left.items()}
