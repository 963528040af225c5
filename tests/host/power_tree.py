"""A made-up sysfs with RAPL zones and the power meters of ACPI, and a made-up `ipmitool`."""

from __future__ import annotations

from pathlib import Path

from gpuwatch.host.power import PowerSource
from gpuwatch.model import Site

SPAN = 262_143_328_850

# ipmitool 1.8.19 against a real controller prints this, indented and aligned so.
IPMI = """
    Instantaneous power reading:                   {watts} Watts
    Minimum during sampling period:                  8 Watts
    Maximum during sampling period:              25550 Watts
    Average power reading over sample period:      431 Watts
    IPMI timestamp:                           Thu Jan  2 15:04:05 2025
    Sampling period:                          00000005 Seconds.
    Power reading state is:                   activated
"""


class Time:
    """A clock that goes where it is told."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Tree:
    """The sysfs below a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def zone(self, place: str, name: str, microjoules: int | str, span: int = SPAN) -> Path:
        """A RAPL zone as `intel-rapl:0` or `intel-rapl:0:2`; its file of energy."""
        path = self.root / "class" / "powercap" / place
        path.mkdir(parents=True, exist_ok=True)
        (path / "name").write_text(f"{name}\n")
        (path / "max_energy_range_uj").write_text(f"{span}\n")
        (path / "energy_uj").write_text(f"{microjoules}\n")
        return path / "energy_uj"

    def meter(self, place: str, microwatts: int | str, oem: str | None = None, name: str = "power_meter") -> Path:
        """A meter of hwmon; its file of power."""
        path = self.root / "class" / "hwmon" / place
        path.mkdir(parents=True, exist_ok=True)
        (path / "name").write_text(f"{name}\n")
        if oem is not None:
            (path / "power1_oem_info").write_text(f"{oem}\n")
        (path / "power1_average").write_text(f"{microwatts}\n")
        return path / "power1_average"

    def source(self, clock: Time, **settings: object) -> PowerSource:
        """A source that reads this tree; IPMI is off unless it is set."""
        options = {"ipmi": "off", **settings}
        return PowerSource(PowerSource.Settings.model_validate(options), Site(sysfs=str(self.root)), clock)


def ipmitool(path: Path, script: str) -> str:
    """A program in place of `ipmitool`."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def saying(path: Path, text: str, then: str = "") -> str:
    """A program that prints the text."""
    (path.parent / "answer").write_text(text)
    return ipmitool(path, f"cat {path.parent / 'answer'}\n{then}")
