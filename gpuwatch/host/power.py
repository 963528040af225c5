"""The power and energy of the node itself: RAPL, the power meters of ACPI (Grace), and the chassis by IPMI.

Each is what it is: nothing is added up here. RAPL may be read by root alone since Linux 5.10 (CVE-2020-8694);
without the right it is absent, and `gpuwatch check` says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gpuwatch.errors import Absent, Rejected, Unavailable
from gpuwatch.host import power_ipmi as ipmi
from gpuwatch.host import power_zones as sysfs
from gpuwatch.host.base import Disbelieved
from gpuwatch.host.power_counts import MOST_SECONDS, Register, Sampled
from gpuwatch.model import HostReading, Labels, Probe, Site

CHASSIS = "chassis"
"""The domain of what IPMI measures, where its energy is wanted."""

# A package, its memory, and a platform with all of them: each beyond what is built.
_MOST_WATTS = {"package": 2_000.0, "dram": 2_000.0, "psys": 10_000.0}
_LAYOUT_SECONDS = 60.0
# `gpuwatch check` waits a little longer than this for a source.
_CHECK_SECONDS = 4.0
_RIGHT = (
    "RAPL may be read by root alone; a service has the drop-in rapl.conf of systemd/drop-ins, a pod "
    "agent.hostPower of the chart"
)


class PowerSource:
    """What the node's meters say; one that fails is absent alone, an error only where none says anything."""

    class Settings(BaseModel):
        """The table `[host.power]`."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        ipmi: Literal["auto", "on", "off"] = Field(
            default="auto",
            description="ask the management controller for the chassis' power; `auto`: if its device may be used",
        )
        ipmi_command: str = Field(default="ipmitool", min_length=1, description="the program to ask it with")
        ipmi_interval_seconds: float = Field(default=30.0, ge=1, le=3600, description="wait so long between two")
        ipmi_timeout_seconds: float = Field(
            default=10.0, gt=0, le=300, description="end a question that takes longer; it never holds up a reading"
        )
        max_watts: float = Field(
            default=20_000.0, gt=0, description="do not believe more of a chassis, nor of one of its meters"
        )
        share_chassis: bool = Field(
            default=False,
            description="where there is neither RAPL nor a meter of the CPU: take the chassis less the devices as "
            "the host's energy, with fans, power supplies and network",
        )

    def __init__(self, settings: Settings, site: Site, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._sysfs = Path(site.sysfs)
        self._clock = clock
        self._zones: list[sysfs.Zone] = []
        self._meters: list[sysfs.Meter] = []
        self._layout_due = float("-inf")
        self._registers: dict[str, Register] = {}
        self._sampled: dict[str, Sampled] = {}
        self._chassis: ipmi.Chassis | None = None
        self._rejected: dict[str, int] = {}
        self._forbidden = False

    def read(self, now: float) -> HostReading:
        """Joules by domain since the source began, watts by meter; `Absent` where there is no meter to read."""
        at = self._clock()
        self._rejected, self._forbidden = {}, False
        self._look(at)
        joules = self._rapl(at)
        watts = self._acpi(at, joules)
        self._ipmi(watts, joules)
        if not joules and not watts:
            raise self._nothing()
        return HostReading(time=now, energy_joules=joules, power_watts=watts, rejected=self._rejected)

    def report(self) -> Iterator[Probe]:
        """What of each kind of meter can be read here, and what not and why; the chassis is asked once."""
        self._look(self._clock())
        yield Probe("RAPL", True, self._of_rapl())
        names = ", ".join(meter.domain for meter in self._meters)
        yield Probe("power meters of ACPI", True, names or "none on this node")
        yield Probe("IPMI", *self._of_ipmi())

    def _of_rapl(self) -> str:
        if not self._zones:
            return "not on this node"
        try:
            for zone in self._zones:
                sysfs.number(zone.path)
        except PermissionError:
            return f"{zone.path}: {_RIGHT}"
        return ", ".join(zone.domain for zone in self._zones)

    def _of_ipmi(self) -> tuple[bool, str]:
        if self._chassis is None:
            return True, _why_no_ipmi(self._settings)
        try:
            output = ipmi.asked(
                self._settings.ipmi_command, min(_CHECK_SECONDS, self._settings.ipmi_timeout_seconds)
            )
            return True, f"{ipmi.watts_of(output, self._settings.max_watts):g} W"
        except (Rejected, Unavailable, OSError) as exc:
            return False, str(exc)

    def _nothing(self) -> Unavailable:
        if self._rejected:
            reasons = ", ".join(sorted(self._rejected))
            return Disbelieved(self._ipmi_says() or f"no value can be believed; {reasons}", self._rejected)
        if self._forbidden:
            return Absent(f"{self._sysfs}/class/powercap: {_RIGHT}")
        if self._chassis is not None:
            return Unavailable(self._ipmi_says() or "IPMI: the last answer is too old")
        if self._registers or self._sampled:
            return Unavailable("the meters that were here say nothing")
        return Absent("no RAPL, no power meter of ACPI, and no IPMI device that may be opened")

    def _ipmi_says(self) -> str:
        message = "" if self._chassis is None else self._chassis.message
        return f"IPMI: {message}" if message else ""

    def _look(self, at: float) -> None:
        if not 0 <= self._layout_due - at <= _LAYOUT_SECONDS:
            self._layout_due = at + _LAYOUT_SECONDS
            self._zones = sysfs.zones(self._sysfs)
            self._meters = list(sysfs.meters(self._sysfs))
            wanted = self._settings.ipmi
            if self._chassis is None and (
                wanted == "on" or (wanted == "auto" and not _why_no_ipmi(self._settings))
            ):
                self._chassis = ipmi.Chassis(_pace_of(self._settings), self._clock)

    def _rapl(self, at: float) -> dict[Labels, float]:
        joules: dict[Labels, float] = {}
        for zone in self._zones:
            try:
                value = sysfs.number(zone.path)
            except PermissionError:
                self._forbidden = True
                continue
            if value is None:
                # Gone, or no number: look where it is now.
                self._layout_due = at
                continue
            register = self._registers.setdefault(zone.domain, Register())
            reason = register.advance(at, value, zone.span, _MOST_WATTS[zone.domain.partition("-")[0]])
            if reason is None:
                joules[zone.domain] = register.joules
            else:
                self._reject(reason)
        return joules

    def _acpi(self, at: float, joules: dict[Labels, float]) -> dict[Labels, float]:
        watts: dict[Labels, float] = {}
        for meter in self._meters:
            try:
                microwatts = sysfs.number(meter.path)
            except PermissionError:
                continue
            if microwatts is None:
                self._layout_due = at
            elif microwatts * 1e-6 > self._settings.max_watts:
                self._reject("too_high")
            else:
                sampled = self._sampled.setdefault(meter.domain, Sampled())
                watts[meter.domain] = microwatts * 1e-6
                if sampled.advance(at, microwatts * 1e-6, MOST_SECONDS / 4):
                    joules[meter.domain] = sampled.joules
        return watts

    def _ipmi(self, watts: dict[Labels, float], joules: dict[Labels, float]) -> None:
        if self._chassis is None:
            return
        power, energy, rejected = self._chassis.read()
        for reason, count in rejected.items():
            self._reject(reason, count)
        if power is not None:
            watts["ipmi"] = power
            if energy is not None and self._settings.share_chassis:
                joules[CHASSIS] = energy

    def _reject(self, reason: str, count: int = 1) -> None:
        self._rejected[reason] = self._rejected.get(reason, 0) + count


def _why_no_ipmi(settings: PowerSource.Settings) -> str:
    """Why the management controller is not asked; empty where it can be."""
    path = ipmi.device()
    if settings.ipmi == "off":
        return "not asked: host.power.ipmi is off"
    if path is None:
        return "no IPMI device on this node"
    if not ipmi.may_be_asked(path):
        return f"{path}: may not be opened; see the drop-in ipmi.conf of systemd/drop-ins"
    if not ipmi.is_installed(settings.ipmi_command):
        return f"{path} may be opened, but there is no {settings.ipmi_command}; install ipmitool"
    return ""


def _pace_of(settings: PowerSource.Settings) -> ipmi.Pace:
    return ipmi.Pace(
        settings.ipmi_command, settings.ipmi_interval_seconds, settings.ipmi_timeout_seconds, settings.max_watts
    )
