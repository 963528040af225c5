"""What the meter knows of one device: what it is, what is seen of it now, and what it remembers of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from gpuwatch.meter.energy import EnergyMeter
from gpuwatch.meter.shares import Shares
from gpuwatch.meter.signals import Counter, Integral, Tally
from gpuwatch.meter.storage import StorageWaits
from gpuwatch.model import Reading, RowKey


class Nature(NamedTuple):
    """What the meter must know of a device beside its readings; None where nobody knows.

    A slice has a `parent`, whose power, energy and throttling it shares, and is a `fraction` of it.
    """

    model: str = ""
    idle_watts: float | None = None
    limit_watts: float | None = None
    parent: str | None = None
    fraction: float = 1.0
    driver: str | None = None


class Look(NamedTuple):
    """What is seen of one device now; `electric` is the reading with its power and energy, a slice's parent's."""

    reading: Reading | None
    electric: Reading | None
    shares: Shares
    whole: float
    nature: Nature


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
    links: Tally = field(default_factory=Tally)
    ecc: Tally = field(default_factory=Tally)
    xids: Counter = field(default_factory=Counter)
    storage: StorageWaits = field(default_factory=StorageWaits)
    idle_watts: float | None = None
    whole: float = 1.0
    """How much of the device there was to hold: less than 1 for a slice, and for what slices leave of a parent."""
    parent: str | None = None
    driver: str | None = None

    def saw(self, now: float, look: Look) -> None:
        """Remember what the next look begins with."""
        self.time, self.shares, self.whole = now, look.shares, look.whole
        self.parent, self.driver = look.nature.parent, look.nature.driver or self.driver

    def reloaded(self, look: Look) -> bool:
        """Whether the driver was loaded anew since the last look: it is another, or its energy counter fell."""
        if self.driver is not None and look.nature.driver not in (None, self.driver):
            return True
        joules = None if look.electric is None else look.electric.energy_joules
        return joules is not None and self.energy.counter.time is not None and joules < self.energy.counter.value

    def settled(self, row: RowKey) -> bool:
        """Whether nothing of this row waits for a later reading."""
        energy = self.energy
        waiting = (
            energy.pending.seconds,
            energy.power.since,
            energy.modelled.since,
            self.busy.since,
            self.memory.since,
            self.tensor.since,
            self.throttle_since,
            self.links.since,
            self.ecc.since,
        )
        return row not in self.shares and not any(row in since for since in waiting)
