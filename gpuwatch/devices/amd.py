"""AMD GPUs, by the files that their driver (amdgpu) keeps in sysfs; no library, nothing but reading.

Names and units as in the driver's own documentation (`amdgpu_pm.c`, Documentation/gpu/amdgpu) and `amd_metrics`.

| value | asked | file below `class/drm/card*/device` | instead |
|---|---|---|---|
| utilization, memory utilization | each read | gpu_busy_percent, mem_busy_percent | |
| memory used; in all | each read; 10 s | mem_info_vram_used, mem_info_vram_total | |
| power, average; instant | each read | hwmon/*/power1_average; power1_input, µW | |
| power limit | 10 s | hwmon/*/power1_cap, µW | |
| energy | each read | gpu_metrics, once it agreed with power, see `amd_energy` | integral of power |
| temperature by sensor | each read | hwmon/*/temp*_input, named by temp*_label, m°C | |
| clocks | each read | hwmon/*/freq*_input, named by freq*_label, Hz | |
| throttle time | each read | gpu_metrics 1.6 to 1.8: counts | of 1.3: what holds at each read |
| bytes over XGMI | each read | gpu_metrics 1.4 to 1.8, KB | |
| memory errors | 10 s | ras/umc_err_count | |
| processes | when used memory changed, 5 s | class/kfd/kfd/proc, see `amd_processes` | unknown |

Nothing that blocks is read: `pcie_bw` counts for a second. A card that its driver has put to sleep is left asleep.
Of a module of two dies (MI250) one gives the module's power and energy, and the other 0, which is no reading: each
is given half, see `amd_modules`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gpuwatch.devices import amd_files as files
from gpuwatch.devices import pci
from gpuwatch.devices.amd_cards import VENDOR, Card, cards, left_out, look_for_sensors
from gpuwatch.devices.amd_energy import CounterTrust
from gpuwatch.devices.amd_links import LinkBytes
from gpuwatch.devices.amd_metrics import Table, parse, version
from gpuwatch.devices.amd_modules import Draw, Supply, is_awake, others
from gpuwatch.devices.amd_processes import ComputeProcesses
from gpuwatch.devices.amd_throttle import ThrottleClock
from gpuwatch.errors import Absent, Unavailable
from gpuwatch.model import EMPTY, Device, Labels, Probe, Reading, Site

SLOW_SECONDS = 10.0


class AmdDevices:
    """The AMD GPUs of this node, by unique id; the index is the order of their PCI addresses."""

    class Settings(BaseModel):
        """The table `[devices.amd]`."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        integrated: bool = Field(default=False, description="whether graphics within a processor count as devices")

    def __init__(self, settings: Settings, site: Site, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._site = site
        self._clock = clock
        self._cards: dict[str, _CardReader] = {}
        self._processes = ComputeProcesses(site.sysfs)

    def scan(self, now: float) -> Sequence[Device]:
        """The cards there are; one that is gone and comes back begins anew."""
        found = cards(self._site.sysfs, self._settings.integrated)
        if not found:
            self._cards = {}
            raise self._nothing()
        self._processes.scan(found)
        driver = self._driver()
        dies = others(self._site.sysfs, found)
        self._cards = {card.uid: self._reader(card, dies.get(card.uid), driver) for card in found}
        return tuple(self._device(index, card, driver) for index, card in enumerate(found))

    def _nothing(self) -> Unavailable:
        """Why there is no card: a GPU on the bus that no driver shows is a fault, what is left out is none."""
        sysfs = self._site.sysfs
        if names := left_out(sysfs):
            return Absent(f"amd: {', '.join(names)}: graphics within a processor, or no load and memory to read")
        kinds = (None, pci.DISPLAYS, pci.ACCELERATORS)
        if any(each.kind in kinds for each in pci.functions(sysfs, VENDOR)):
            return Unavailable(
                f"amd: a GPU of AMD's is on the PCI bus, and no card below {sysfs}/class/drm; is amdgpu loaded?"
            )
        return Absent("amd: no AMD GPU is on the PCI bus")

    def _reader(self, card: Card, other: Card | None, driver: str | None) -> _CardReader:
        """The one that reads a card already, unless something about the card or its driver has changed."""
        before = self._cards.get(card.uid)
        same = before is not None and (before.card, before.other, before.driver) == (card, other, driver)
        return before if before is not None and same else _CardReader(card, other, driver, self._clock)

    def _driver(self) -> str | None:
        """The version of AMD's own driver; where it is the kernel's, that of the kernel."""
        own = files.text(f"{self._site.sysfs}/module/amdgpu/version")
        release = files.text(f"{self._site.procfs}/sys/kernel/osrelease")
        return own or (f"linux {release}" if release else None)

    def _device(self, index: int, card: Card, driver: str | None) -> Device:
        return Device(
            uid=card.uid,
            node=self._site.node,
            index=index,
            vendor="amd",
            model=card.model,
            pci=card.pci,
            driver=driver,
        )

    def read(self, device: Device, now: float) -> Reading:
        """One reading; a value whose file is gone, or says what is no number, is absent."""
        reader = self._cards.get(device.uid)
        if reader is None:
            raise Unavailable(f"amd: {device.uid} is not there any more")
        values = reader.read()
        if not values:
            raise Unavailable(f"amd: {device.uid}: nothing can be read below {reader.card.path}")
        processes = self._processes.of(device.uid, now, values.get("memory_used_bytes"))
        return Reading(device=device.uid, time=now, processes=processes, **values)

    def report(self) -> Sequence[Probe]:
        """What of each card can be read, and what cannot and why, after it was read."""
        return [
            each._replace(what=f"{uid} {each.what}")
            for uid, reader in self._cards.items()
            for each in (*reader.report(), self._processes.report(uid))
        ]

    def close(self) -> None:
        """There is nothing to let go of."""


class _CardReader:
    """Reads one card, in the thread of its own; `other` is the other die of its module."""

    def __init__(self, card: Card, other: Card | None, driver: str | None, clock: Callable[[], float]) -> None:
        self.card = card
        self.other = other
        self.driver = driver
        self._clock = clock
        self._sensors = card.sensors
        self._trust = CounterTrust(card.uid)
        self._throttle = ThrottleClock()
        self._links = LinkBytes()
        self._slow: dict[str, Any] = {}
        self._slow_due = float("-inf")
        self._supply = Supply(card, other)

    def read(self) -> dict[str, Any]:
        """What the card says now; empty where it says nothing."""
        path, now = self.card.path, self._clock()
        memory = {"memory_used_bytes": files.integer(f"{path}/mem_info_vram_used")}
        if not is_awake(self.card):
            return _known({**memory, "memory_total_bytes": self._slow.get("memory_total_bytes")})
        rejected: dict[str, int] = {}
        busy = {
            "utilization_ratio": _percent(f"{path}/gpu_busy_percent"),
            "memory_utilization_ratio": _percent(f"{path}/mem_busy_percent"),
        }
        draw = self._supply.draw(self._sensors, rejected)
        values = _known({**memory, **busy, **self._sensed(draw), "power_watts": draw.watts})
        if not values:
            return {}
        table = parse(files.content(f"{path}/gpu_metrics") or b"")
        values |= self._counted(now, table, draw, rejected)
        return {**values, **self._slowly(now, draw.part), "rejected": rejected or EMPTY}

    def report(self) -> Iterator[Probe]:
        """What of this card can be read."""
        windows = self._supply.windows(self._sensors)
        detail = f"{' and '.join(windows)}{self._supply.words}" if windows else "there is no power sensor"
        yield Probe("power", bool(windows), detail)
        blob = self._supply.table()
        table = None if blob is None else parse(blob)
        if table is None:
            why = "there is no gpu_metrics" if blob is None else f"{version(blob)} is not known"
            yield Probe("energy counter", False, f"{why}; power is integrated")
        elif table.energy_joules is None:
            yield Probe("energy counter", False, f"gpu_metrics {table.version} has none; power is integrated")
        else:
            yield Probe(
                "energy counter", not self._trust.refused, f"gpu_metrics {table.version}: {self._trust.verdict}"
            )

    def _sensed(self, draw: Draw) -> dict[str, Any]:
        """What the hardware monitor says; one that says nothing any more is looked for anew, for the next read."""
        sensors = self._sensors
        found = {
            "temperature_celsius": dict(_scaled(sensors.temperatures, 1e-3)),
            "clock_hz": dict(_scaled(sensors.clocks, 1.0)),
        }
        if not any(found.values()) and (sensors.temperatures or sensors.clocks or not draw.watts):
            self._sensors = look_for_sensors(self.card.path)
        return found

    def _counted(self, now: float, table: Table | None, draw: Draw, rejected: dict[str, int]) -> dict[str, Any]:
        """What the card counts on its own, of which the energy has to agree with its power."""
        counter = self._supply.counter(table, draw.part)
        joules = self._trust.believed(now, counter, draw.own)
        if self._trust.refused and counter is not None:
            rejected["counter_disagrees"] = 1
        throttled, linked = self._throttle.advance(now, table), self._links.advance(now, table)
        return _known({"throttle_seconds": throttled, "xgmi_bytes": linked, "energy_joules": joules})

    def _slowly(self, now: float, part: float) -> Mapping[str, Any]:
        """What hardly changes, or is dear to read."""
        if now >= self._slow_due:
            self._slow_due = now + SLOW_SECONDS
            path = self.card.path
            self._slow = _known(
                {
                    "memory_total_bytes": files.integer(f"{path}/mem_info_vram_total"),
                    "power_limit_watts": self._supply.limit(self._sensors, part),
                    "ecc_errors": _errors(files.content(f"{path}/ras/umc_err_count")),
                }
            )
        return self._slow


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value != EMPTY}


def _percent(path: str) -> float | None:
    found = files.integer(path)
    return None if found is None else found / 100


def _scaled(sensors: Sequence[tuple[str, str]], unit: float) -> Iterator[tuple[str, float]]:
    for name, file in sensors:
        found = files.integer(file)
        if found is not None:
            yield name, found * unit


def _errors(content: bytes | None) -> Mapping[Labels, float]:
    """`ue: 0` and `ce: 0`, uncorrected and corrected, since the driver was loaded."""
    found: dict[Labels, float] = {}
    for line in (content or b"").splitlines():
        name, _, count = line.partition(b":")
        kind = {b"ue": "uncorrected", b"ce": "corrected"}.get(name.strip())
        if kind is not None and count.strip().isdigit() and len(count) <= 20:
            found[kind, "volatile"] = float(count)
    return found
