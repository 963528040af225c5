"""Readings × holdings → usage. Pure but for the running totals it keeps; it reads no clock and does no I/O.

The rules (what is charged, what a gap is, what a state is) are those of the architecture page and stand here
and nowhere else:

- Whoever held a device when an interval began is charged for it, until the next look.
- Over a gap (the agent was down) only who held it at both ends is charged; the rest is unattributed.
- A signal is integrated by trapezoid between two known values at most `gap_seconds` apart. Longer is unknown.
- Energy is the difference of the hardware counter where there is one; a counter that fell was reset, one
  that rose faster than the device can draw is not believed, and the power integral stands in.
- For every device: Σ jobs + unallocated + unattributed = device, in seconds and in joules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from gpuwatch.model import EMPTY, DeviceUsage, JobKey, Reading, RowKey, Usage

UNALLOCATED = RowKey("", 0, "unallocated")
UNATTRIBUTED = RowKey("", 0, "unattributed")

# A counter that is updated in steps and read late may seem to count this much longer than it did.
SLACK_SECONDS = 2.0
# Where no power limit is known: above any board, module or node.
MOST_WATTS = 20_000.0

Shares = dict[RowKey, float]
"""Who had how much: a row's key, `UNALLOCATED` or `UNATTRIBUTED`, to a share or to share-seconds."""


@dataclass(frozen=True, slots=True)
class StateRule:
    """Thresholds that tell working, spinning and idle apart; ratios of what the device can do."""

    busy_ratio: float = 0.05
    near_idle_ratio: float = 0.10
    activity_ratio: float = 0.02


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


@dataclass(frozen=True, slots=True)
class Holding:
    """A job, identified, holds `share` of a device, by the reason `basis`."""

    job: JobKey
    device: str
    share: float
    basis: str

    @property
    def row(self) -> RowKey:
        """The key of the counters that this holding feeds."""
        return RowKey(self.job.job_id, self.job.started, self.device)


class Nature(NamedTuple):
    """What the meter must know of a device beside its readings; None where nobody knows."""

    model: str = ""
    idle_watts: float | None = None
    limit_watts: float | None = None


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


def shares_of(holdings: Iterable[Holding], unknown: bool) -> tuple[Shares, float]:
    """Shares of one device that sum to 1, and by how much the claims exceeded it (then all shrink alike)."""
    shares: Shares = {}
    for holding in holdings:
        if holding.share > 0:
            shares[holding.row] = shares.get(holding.row, 0.0) + holding.share
    claimed = sum(shares.values())
    if claimed > 1:
        shares = {row: share / claimed for row, share in shares.items()}
    elif claimed < 1:
        shares[UNATTRIBUTED if unknown else UNALLOCATED] = 1 - claimed
    return shares, max(0.0, claimed - 1)


def shares_over_gap(before: Shares, after: Shares) -> Shares:
    """Who is charged for time nobody watched: what is the same at both ends; the rest is unattributed."""
    shares = {row: min(share, after[row]) for row, share in before.items() if row in after and row != UNATTRIBUTED}
    rest = 1 - sum(shares.values())
    return {**shares, UNATTRIBUTED: rest} if rest > 0 else shares


def _add(into: Shares, amounts: Mapping[RowKey, float]) -> None:
    for row, amount in amounts.items():
        into[row] = into.get(row, 0.0) + amount


def _split(amount: float, weights: Mapping[RowKey, float]) -> Shares:
    total = sum(weights.values())
    return {row: amount * weight / total for row, weight in weights.items()} if total > 0 else {}


@dataclass(slots=True)
class Integral:
    """A signal's last known value, and who held the device since then in share-seconds."""

    time: float | None = None
    value: float = 0.0
    since: Shares = field(default_factory=dict)

    def advance(self, now: float, value: float | None, held: Shares, gap_seconds: float) -> tuple[Shares, Shares]:
        """Amounts by holder that are now known, and share-seconds that will never be."""
        _add(self.since, held)
        late = self.time is None or now - self.time > gap_seconds
        if value is None:
            return ({}, self._restart(None, 0.0)) if late else ({}, {})
        if late or self.time is None:
            return {}, self._restart(now, value)
        amount = (self.value + value) / 2 * (now - self.time)
        return _split(amount, self._restart(now, value)), {}

    def _restart(self, now: float | None, value: float) -> Shares:
        since, self.since = self.since, {}
        self.time, self.value = now, value
        return since


@dataclass(slots=True)
class Counter:
    """A counter of the hardware: its last value and when it was read. It may be reset; it may lie."""

    time: float | None = None
    value: float = 0.0

    def rise(self, now: float, value: float, fastest: float) -> float | None:
        """How much it counted since the last value; None where there was none or the answer is not believed.

        `fastest` is the most it can count in a second. A value below the last one means that it began anew.
        """
        before, then = self.value, self.time
        self.time, self.value = now, value
        if then is None:
            return None
        rise = value - before if value >= before else value
        return rise if rise <= fastest * (now - then + SLACK_SECONDS) else None


@dataclass(slots=True)
class Pending:
    """Share-seconds whose energy is not booked yet, with what the power integral says of them."""

    seconds: Shares = field(default_factory=dict)
    integrated: Shares = field(default_factory=dict)
    unmeasured: Shares = field(default_factory=dict)


class Energy(NamedTuple):
    """Energy that has become known: joules by holder and method, and share-seconds that have none."""

    joules: Shares
    method: str
    unmeasured: Shares


NOTHING = Energy({}, "integrated", {})


@dataclass(slots=True)
class EnergyMeter:
    """Energy of one device: the counter where it has one, the power integral where not."""

    power: Integral = field(default_factory=Integral)
    counter: Counter = field(default_factory=Counter)
    pending: Pending = field(default_factory=Pending)
    rejected: int = 0

    def advance(
        self, now: float, watts: float | None, joules: float | None, held: Shares, fastest: float,
        settings: MeterSettings,
    ) -> Energy:  # fmt: skip
        """What is now known about the time since the last call; nothing while a counter is awaited."""
        _add(self.pending.seconds, held)
        integrated, unmeasured = self.power.advance(now, watts, held, settings.gap_seconds)
        _add(self.pending.integrated, integrated)
        _add(self.pending.unmeasured, unmeasured)
        had_counter = self.counter.time is not None
        if joules is not None:
            rise = self.counter.rise(now, joules, fastest)
            self.rejected += rise is None and had_counter
            return self._book_integral(cut=True) if rise is None else self._book_counter(now, watts, rise)
        if self.counter.time is not None and now - self.counter.time <= settings.counter_gap_seconds:
            return NOTHING
        self.counter.time = None
        return self._book_integral(cut=False)

    def _book_counter(self, now: float, watts: float | None, rise: float) -> Energy:
        seconds, self.pending = self.pending.seconds, Pending()
        self.power = Integral(now, watts) if watts is not None else Integral()
        return Energy(_split(rise, seconds), "counter", {})

    def _book_integral(self, cut: bool) -> Energy:
        """`cut`: a counter begins here, so what the power integral still waits for will not come."""
        pending, self.pending = self.pending, Pending()
        if cut and self.power.since:
            _add(pending.unmeasured, self.power.since)
            self.power = Integral()
        return Energy(pending.integrated, "integrated", pending.unmeasured)


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
        self._book_time(uid, seconds, held, state)
        self._book_signals(now, meter, reading, held)
        self._book_energy(now, uid, meter, reading, held, nature)
        self._book_throttle(now, meter, reading, held)
        meter.time, meter.shares = now, shares
        for row in shares:
            self._touch(row)

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
            _learn_idle(meter, reading, rule)
        idle = meter.idle_watts if meter.idle_watts is not None else nature.idle_watts
        return classify(reading, idle, _limit_of(reading, nature), rule)

    def _book(self, row: RowKey, usage: Usage) -> None:
        if row != UNALLOCATED and row != UNATTRIBUTED:
            self.rows[row] = self.rows.get(row, Usage()) + usage
            self.changed.add(row)

    def _book_time(self, uid: str, seconds: float, held: Shares, state: str) -> None:
        if not seconds:
            return
        for row, amount in held.items():
            self._book(row, Usage(held_seconds=amount, state_seconds={state: amount}))
        total = self.devices[uid]
        unallocated, unattributed = held.get(UNALLOCATED, 0.0), held.get(UNATTRIBUTED, 0.0)
        self.devices[uid] = replace(
            total,
            seconds=total.seconds + seconds,
            held_seconds=total.held_seconds + _of_jobs(held),
            unallocated_seconds=total.unallocated_seconds + unallocated,
            unattributed_seconds=total.unattributed_seconds + unattributed,
        )

    def _book_signals(self, now: float, meter: DeviceMeter, reading: Reading | None, held: Shares) -> None:
        gap = self.settings.gap_seconds
        utilization, memory, tensor = _signals(reading)
        for row, amount in meter.busy.advance(now, utilization, held, gap)[0].items():
            self._book(row, Usage(busy_seconds=amount))
        for row, amount in meter.memory.advance(now, memory, held, gap)[0].items():
            self._book(row, Usage(memory_byte_seconds=amount))
        for row, amount in meter.tensor.advance(now, tensor, held, gap)[0].items():
            self._book(row, Usage(tensor_seconds=amount))

    def _book_energy(
        self, now: float, uid: str, meter: DeviceMeter, reading: Reading | None, held: Shares, nature: Nature
    ) -> None:
        watts = None if reading is None else power_of(reading)
        joules = None if reading is None else reading.energy_joules
        fastest = self.settings.jump_factor * (_limit_of(reading, nature) or MOST_WATTS)
        known = meter.energy.advance(now, watts, joules, held, fastest, self.settings)
        for row, amount in known.joules.items():
            self._book(row, Usage(energy_joules={known.method: amount}))
        for row, amount in known.unmeasured.items():
            self._book(row, Usage(energy_unmeasured_seconds=amount))
        if known.joules:
            self.devices[uid] = _with_energy(self.devices[uid], known)

    def _book_throttle(self, now: float, meter: DeviceMeter, reading: Reading | None, held: Shares) -> None:
        _add(meter.throttle_since, held)
        if reading is None or not reading.throttle_seconds:
            return
        since, meter.throttle_since = meter.throttle_since, {}
        for reason, value in reading.throttle_seconds.items():
            counter = meter.throttle.setdefault(str(reason), Counter())
            rise = counter.rise(now, value, fastest=1.5)
            if rise:
                for row, amount in _split(rise, since).items():
                    self._book(row, Usage(throttled_seconds={reason: amount}))

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


def _with_energy(total: DeviceUsage, known: Energy) -> DeviceUsage:
    joules = dict(total.energy_joules)
    joules[known.method] = joules.get(known.method, 0.0) + sum(known.joules.values())
    return replace(
        total,
        energy_joules=joules,
        held_energy_joules=total.held_energy_joules + _of_jobs(known.joules),
        unallocated_energy_joules=total.unallocated_energy_joules + known.joules.get(UNALLOCATED, 0.0),
        unattributed_energy_joules=total.unattributed_energy_joules + known.joules.get(UNATTRIBUTED, 0.0),
    )


def _learn_idle(meter: DeviceMeter, reading: Reading, rule: StateRule) -> None:
    """Follow the device's own idle power: fast down, slowly up, so that one glitch does not stay."""
    watts = power_of(reading)
    if watts is None or reading.utilization_ratio is None or reading.utilization_ratio > rule.busy_ratio:
        return
    if meter.idle_watts is None:
        meter.idle_watts = watts
        return
    speed = 0.2 if watts < meter.idle_watts else 0.001
    meter.idle_watts += speed * (watts - meter.idle_watts)


def rows_by_job(rows: Mapping[RowKey, Usage]) -> Iterator[tuple[JobKey, Usage]]:
    """Each job's usage summed over its devices on this node."""
    totals: dict[JobKey, Usage] = {}
    for row, usage in rows.items():
        job = JobKey(row.job_id, row.started)
        totals[job] = totals.get(job, Usage()) + usage
    yield from totals.items()


__all__ = [
    "UNALLOCATED", "UNATTRIBUTED", "DeviceMeter", "Holding", "Meter", "MeterSettings", "Nature", "StateRule",
    "classify", "power_of", "rows_by_job", "shares_of", "shares_over_gap",
]  # fmt: skip
