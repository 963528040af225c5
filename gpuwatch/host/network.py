"""The node's network: ethernet interfaces from procfs, InfiniBand (and RoCE) ports from sysfs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from gpuwatch.errors import Unavailable
from gpuwatch.model import HostReading, Labels, Site

# The node's own ends of containers' and virtual machines' networks: there may be hundreds, with made-up names.
_NOT_OURS = (
    r"lo|(veth|docker|cali|cni|flannel|cilium|lxc|br-|virbr|vnet|tap|podman|kube-|dummy|ifb|tunl|nodelocaldns).*"
)
_WORD_BYTES = 4.0
_LAYOUT_SECONDS = 60.0
_ERRORS = (
    "symbol_error",
    "link_error_recovery",
    "link_downed",
    "port_rcv_errors",
    "port_xmit_discards",
    "local_link_integrity_errors",
    "excessive_buffer_overrun_errors",
)
_COUNTER = re.compile(r"([0-9]+)")  # or `N/A (no PMA)`, where the port has no such counter
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?) Gb/sec.*")


class _File(NamedTuple):
    """A file with one number: the field it is for, its labels there, its form, and the unit it counts in."""

    field: str
    labels: tuple[str, ...]
    path: str
    form: re.Pattern[str]
    factor: float


class NetworkSource:
    """Counters of interfaces and ports; what says nothing is absent; an error only where nothing is there."""

    class Settings(BaseModel):
        """The table `[host.network]`."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        exclude: re.Pattern[str] = re.compile(_NOT_OURS)
        """Names of interfaces to leave out (whole names are matched)."""
        max_interfaces: int = Field(default=64, ge=0)
        max_ports: int = Field(default=64, ge=0)
        """InfiniBand ports; reading one costs about ten small files."""

    def __init__(self, settings: Settings, site: Site) -> None:
        self._settings = settings
        self._devices = Path(site.procfs, "net", "dev")
        self._interfaces = Path(site.sysfs, "class", "net")
        self._infiniband = Path(site.sysfs, "class", "infiniband")
        self._layout: tuple[_File, ...] = ()
        self._layout_due = float("-inf")

    def read(self, now: float) -> HostReading:
        """Bytes and errors of each interface and port, and which are up."""
        known = {**self._ethernet(), **self._ports(now)}
        if not known and not self._devices.exists():
            raise Unavailable(f"{self._devices}: there is no such file, and no InfiniBand; check site.procfs")
        return HostReading(time=now, **known)

    def _ethernet(self) -> dict[str, Any]:
        received: dict[Labels, float] = {}
        sent: dict[Labels, float] = {}
        receive_errors: dict[Labels, float] = {}
        send_errors: dict[Labels, float] = {}
        up: dict[Labels, float] = {}
        for name, counters in self._interface_counters():
            received[name], receive_errors[name] = counters[0], counters[2]
            sent[name], send_errors[name] = counters[8], counters[10]
            state = _text(f"{self._interfaces}/{name}/operstate")
            if state not in (None, "unknown"):  # a driver that does not keep it says so
                up[name] = float(state == "up")
        known = {
            "network_receive_bytes": received,
            "network_transmit_bytes": sent,
            "network_receive_errors": receive_errors,
            "network_transmit_errors": send_errors,
            "network_up": up,
        }
        return {field: series for field, series in known.items() if series}

    def _interface_counters(self) -> Iterator[tuple[str, list[float]]]:
        try:
            lines = self._devices.read_bytes().decode(errors="replace").split("\n")
        except OSError:
            return
        found = 0
        for line in lines:
            name, colon, counters = line.partition(":")
            name, words = name.strip(), counters.split()
            if not colon or len(words) < 16 or not _is_name(name) or self._settings.exclude.fullmatch(name):
                continue
            if found >= self._settings.max_interfaces:
                return
            if all(word.isascii() and word.isdecimal() for word in words[:16]):
                found += 1
                yield name, [float(word) for word in words[:16]]

    def _ports(self, now: float) -> dict[str, Any]:
        if not 0 <= self._layout_due - now <= _LAYOUT_SECONDS:
            self._layout = tuple(self._files())
            self._layout_due = now + _LAYOUT_SECONDS
        known: dict[str, dict[Labels, float]] = {}
        for file in self._layout:
            text = _text(file.path)
            found = file.form.fullmatch(text) if text is not None else None
            if found is not None:
                known.setdefault(file.field, {})[file.labels] = float(found[1]) * file.factor
        return known

    def _files(self) -> Iterator[_File]:
        """The files to read of each port."""
        ports = [
            (device.name, port.name, f"{port}/")
            for device in _entries(self._infiniband)
            for port in _entries(device / "ports")
            if port.name.isdecimal()
        ]
        for device, port, path in ports[: self._settings.max_ports]:
            at, counters = (device, port), f"{path}counters/"
            yield _File("infiniband_receive_bytes", at, counters + "port_rcv_data", _COUNTER, _WORD_BYTES)
            yield _File("infiniband_transmit_bytes", at, counters + "port_xmit_data", _COUNTER, _WORD_BYTES)
            yield _File("infiniband_rate_bytes_per_second", at, path + "rate", _RATE, 1e9 / 8)
            for name in _ERRORS:
                yield _File("infiniband_errors", (*at, name), counters + name, _COUNTER, 1.0)


def _entries(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir())
    except OSError:
        return []


def _text(path: str) -> str | None:
    try:
        file = os.open(path, os.O_RDONLY)  # a third of what a Path costs, for files read every second
    except OSError:
        return None
    try:
        return os.read(file, 4096).decode(errors="replace").strip()
    except OSError:
        return None
    finally:
        os.close(file)


def _is_name(text: str) -> bool:
    """Whether the kernel would let an interface have this name; it becomes part of a path."""
    return 0 < len(text) <= 15 and "/" not in text and text not in (".", "..")
