"""What the ids of device plugins mean: which device, and how much of it; pure but for one look at procfs.

| plugin | id | is |
|---|---|---|
| NVIDIA | `GPU-<uuid>`, `MIG-<uuid>` | a device, a slice |
| NVIDIA, time-slicing or MPS | `GPU-<uuid>::3` | a replica of one |
| NVIDIA before driver 470 | `MIG-GPU-<uuid>/<gi>/<ci>` | a slice, as it was called; else one of this GPU's |
| Google's for NVIDIA | `nvidia0`, `nvidia0/gi7`, `nvidia0/vgpu3` | by minor number: device, slice, replica |
| Google's for TPUs | `0` | a TPU by index |
| AMD | `0000:43:00.0` | a device by PCI address |
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gpuwatch.jobs.podresources import Granted
from gpuwatch.model import Allocation, Device

_REPLICA = re.compile(r"(?P<base>.+?)(?:::\d+|/vgpu\d+)", re.DOTALL)
_LEGACY_SLICE = re.compile(r"MIG-(?P<parent>GPU-[0-9a-f-]+)/\d+/\d+", re.IGNORECASE)
_MINOR = re.compile(r"nvidia(?P<minor>\d{1,4})(?P<slice>/gi\d+)?")
_PCI = re.compile(r"(?P<domain>[0-9a-f]{4,8}):(?P<rest>[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])", re.IGNORECASE)
_INDEX = re.compile(r"\d{1,4}")
_VENDORS = {"nvidia.com": "nvidia", "amd.com": "amd", "google.com": "google", "cloud-tpus.google.com": "google"}


class Meant(NamedTuple):
    """The devices that an id can mean: one, or none that is known, or several where it cannot be told which.

    `base` is the id without the number of a replica, None where it is no replica.
    """

    devices: tuple[str, ...]
    base: str | None = None


@dataclass(frozen=True, slots=True)
class Shares:
    """Who holds how much. `unknown` are devices that somebody holds a part of and nobody knows who.

    `strange` are ids that mean no device of this node, `crowded` devices of which more than all was given.
    """

    allocations: tuple[Allocation, ...]
    unknown: frozenset[str] = frozenset()
    strange: frozenset[Granted] = frozenset()
    crowded: frozenset[str] = frozenset()


class Inventory:
    """The devices of a node, by everything that an id may say of them; `minors` as `minors` gives them."""

    def __init__(self, devices: Mapping[str, Device], minors: Mapping[int, str] | None = None) -> None:
        self.devices = devices
        self._minors = minors or {}
        whole = [each for each in devices.values() if each.parent is None]
        self._by_pci = {pci: each.uid for each in whole if each.pci and (pci := _address(each.pci))}
        self._by_index = {(_vendor(each), each.index): each.uid for each in whole}
        self._slices: dict[str, list[str]] = {}
        for each in devices.values():
            if each.parent is not None:
                self._slices.setdefault(each.parent, []).append(each.uid)

    def meant(self, granted: Granted) -> Meant:
        """Which device an id means."""
        replica = _REPLICA.fullmatch(granted.device_id)
        base = replica["base"] if replica else granted.device_id
        return Meant(self._named(base, granted.resource), base if replica else None)

    def of_vendor(self, vendor: str) -> frozenset[str]:
        """All devices of a vendor."""
        return frozenset(each.uid for each in self.devices.values() if _vendor(each) == vendor)

    def _named(self, name: str, resource: str) -> tuple[str, ...]:
        if name in self.devices:
            return (name,)
        if match := _LEGACY_SLICE.fullmatch(name):
            return tuple(self._slices.get(match["parent"], ()))
        if match := _MINOR.fullmatch(name):
            uid = self._by_pci.get(self._minors.get(int(match["minor"]), ""))
            if uid is None:
                return ()
            return tuple(self._slices.get(uid, ())) if match["slice"] else (uid,)
        if address := _address(name):
            uid = self._by_pci.get(address)
        elif _INDEX.fullmatch(name):
            uid = self._by_index.get((_VENDORS.get(resource.partition("/")[0], ""), int(name)))
        else:
            uid = None
        return () if uid is None else (uid,)


def replicas(allocatable: Iterable[Granted]) -> dict[str, int]:
    """Into how many replicas each shared device is divided, by the id without their numbers."""
    bases = (match["base"] for each in set(allocatable) if (match := _REPLICA.fullmatch(each.device_id)))
    return dict(Counter(bases))


def shares(
    pods: Mapping[str, frozenset[Granted]], inventory: Inventory, divided: Mapping[str, int], fixed: int | None
) -> Shares:
    """What pods (by uid) hold of which devices; no device is given out more than once in all.

    `divided` is what `replicas` found, `fixed` what stands for all where the site said so. Where neither knows,
    a replica is as large as those are many that are held.
    """
    strange: set[Granted] = set()
    unsure: set[str] = set()
    whole: set[tuple[str, str]] = set()
    parts: Counter[tuple[str, str, str]] = Counter()
    for uid, granted in pods.items():
        for each in granted:
            meant = inventory.meant(each)
            if len(meant.devices) != 1:
                unsure.update(meant.devices)
                strange.update(() if meant.devices else (each,))
            elif meant.base is None:
                whole.add((uid, meant.devices[0]))
            else:
                parts[uid, meant.devices[0], meant.base] += 1
    claims = [*_whole(whole, inventory), *_parts(parts, inventory, divided, fixed)]
    allocations, crowded = _fitted(claims, inventory)
    held = {each.device for each in allocations}
    return Shares(tuple(allocations), frozenset(unsure - held), frozenset(strange), crowded)


def _whole(held: Iterable[tuple[str, str]], inventory: Inventory) -> Iterator[Allocation]:
    for uid, device in sorted(held):
        found = inventory.devices[device]
        yield Allocation(uid, device, found.fraction, "mig" if found.kind == "mig" else "whole")


def _parts(
    held: Mapping[tuple[str, str, str], int],
    inventory: Inventory,
    divided: Mapping[str, int],
    fixed: int | None,
) -> Iterator[Allocation]:
    given: Counter[str] = Counter()
    for (_, _, base), count in held.items():
        given[base] += count
    for (uid, device, base), count in sorted(held.items()):
        number = fixed or divided.get(base)
        fraction = inventory.devices[device].fraction
        share = fraction * count / max(number or 0, given[base])
        yield Allocation(uid, device, share, "timeslice" if number else "holders")


def _fitted(claims: Iterable[Allocation], inventory: Inventory) -> tuple[list[Allocation], frozenset[str]]:
    """Claims of which none exceed their device, and the devices of which more was claimed: all shrink alike."""
    by_device: dict[str, list[Allocation]] = {}
    for each in claims:
        by_device.setdefault(each.device, []).append(each)
    fitted: list[Allocation] = []
    crowded: set[str] = set()
    for device, mine in by_device.items():
        fraction, total = inventory.devices[device].fraction, sum(each.share for each in mine)
        if total > fraction * (1 + 1e-9):
            crowded.add(device)
            mine = [Allocation(each.job_id, device, each.share * fraction / total, each.basis) for each in mine]
        fitted.extend(mine)
    return fitted, frozenset(crowded)


def minors(procfs: str) -> dict[int, str]:
    """PCI addresses by the minor number of /dev/nvidia<minor>, as the driver tells them; empty without it."""
    found: dict[int, str] = {}
    for path in Path(procfs, "driver", "nvidia", "gpus").glob("*/information"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        match, address = (
            re.search(r"^Device Minor:\s*(\d{1,6})\s*$", text, re.MULTILINE),
            _address(path.parent.name),
        )
        if match and address:
            found[int(match[1])] = address
    return found


def _address(text: str) -> str | None:
    """A PCI address in one form: NVML writes eight digits of the domain, the kernel four."""
    match = _PCI.fullmatch(text)
    return f"{int(match['domain'], 16):04x}:{match['rest'].lower()}" if match else None


def _vendor(device: Device) -> str:
    return "google" if device.kind == "tpu" else device.vendor.lower()
