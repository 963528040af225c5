"""The node's CPUs, memory, file systems and disks, from procfs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gpuwatch.errors import Unavailable
from gpuwatch.model import HostReading, Labels, Site

# Time as a guest is within user and nice; without it the modes sum to all time there was.
_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_SECTOR_BYTES = 512
# Of the numbers behind a disk's name in diskstats: the field, which number, its unit.
_DISK_COLUMNS = (
    ("disk_reads", 0, 1.0),
    ("disk_read_bytes", 2, _SECTOR_BYTES),
    ("disk_read_seconds", 3, 1e-3),
    ("disk_writes", 4, 1.0),
    ("disk_written_bytes", 6, _SECTOR_BYTES),
    ("disk_write_seconds", 7, 1e-3),
    ("disk_io_time_seconds", 9, 1e-3),
    ("disk_weighted_seconds", 10, 1e-3),
)
_MOUNTS_SECONDS = 60.0

# A network file system is left out: asking it for its size hangs when its server is gone.
_LOCAL_TYPES = frozenset(
    (
        "bcachefs",
        "btrfs",
        "exfat",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "jfs",
        "ntfs3",
        "reiserfs",
        "vfat",
        "xfs",
        "zfs",
    )
)
_NOT_DISKS = (
    r"(z?ram|loop|fd|sr|nbd|dm-)\d+|(h|s|v|xv)d[a-z]+\d+|(nvme\d+n|mmcblk)\d+(p|boot|rpmb)\d*|nvme\d+c\d+n\d+"
)


class SystemSource:
    """Reads a few files of procfs; what a file does not say is unknown; an error only where none says anything."""

    class Settings(BaseModel):
        """The table `[host.system]`."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        filesystem_types: frozenset[str] = _LOCAL_TYPES
        """Types of file systems to show."""
        max_filesystems: int = Field(default=16, ge=0)
        max_disks: int = Field(default=64, ge=0)
        exclude_disks: re.Pattern[str] = re.compile(_NOT_DISKS)
        """Names of block devices to leave out: partitions, and what is no disk (whole names are matched)."""

    def __init__(self, settings: Settings, site: Site) -> None:
        self._settings = settings
        self._procfs = Path(site.procfs)
        self._ticks = float(os.sysconf("SC_CLK_TCK"))
        self._highest: dict[str, float] = {}
        self._mounts: tuple[tuple[str, bytes], ...] = ()
        self._mounts_due = float("-inf")

    def read(self, now: float) -> HostReading:
        """CPU, load, memory, file systems and disks; `Unavailable` where procfs says nothing at all."""
        known: dict[str, Any] = {}
        for part in (self._cpu, self._load, self._memory, self._disks):
            known.update(part())
        if not known:
            raise Unavailable(f"{self._procfs}: nothing of the node can be read; there must be stat and meminfo")
        known.update(self._filesystems(now))
        return HostReading(time=now, **known)

    def _lines(self, name: str) -> list[list[bytes]]:
        """The words of each line of a file; none where it cannot be read."""
        try:
            return [line.split() for line in (self._procfs / name).read_bytes().splitlines()]
        except OSError:
            return []

    def _cpu(self) -> dict[str, Any]:
        known: dict[str, Any] = {}
        count = 0
        for words in self._lines("stat"):
            if not words:
                continue
            if words[0] == b"cpu":
                known["cpu_seconds"] = self._never_falling(_numbers(words[1 : len(_MODES) + 1]))
            elif words[0].startswith(b"cpu"):
                count += 1
            elif words[0] == b"btime" and (boot := _numbers(words[1:2])):
                known["boot_time_seconds"] = boot[0]
        return {**known, "cpu_count": float(count)} if count else known

    def _never_falling(self, ticks: list[float]) -> Mapping[Labels, float]:
        """Idle time and time waiting for I/O fall a little now and then; a counter may not."""
        for mode, spent in zip(_MODES, ticks, strict=False):
            self._highest[mode] = max(self._highest.get(mode, 0.0), spent / self._ticks)
        return {mode: self._highest[mode] for mode in _MODES[: len(ticks)]}

    def _load(self) -> dict[str, Any]:
        loads = [_numbers(words[:3]) for words in self._lines("loadavg")[:1]]
        return dict(zip(("load1", "load5", "load15"), loads[0], strict=False)) if loads else {}

    def _memory(self) -> dict[str, Any]:
        found: dict[bytes, float] = {}
        for words in self._lines("meminfo"):
            if len(words) == 3 and words[2] == b"kB" and (kilobytes := _numbers(words[1:2])):
                found[words[0]] = kilobytes[0] * 1024
        total, available = found.get(b"MemTotal:"), found.get(b"MemAvailable:")
        swap, unused = found.get(b"SwapTotal:"), found.get(b"SwapFree:")
        known = {
            "memory_total_bytes": total,
            "memory_available_bytes": available,
            "memory_used_bytes": None if total is None or available is None else total - available,
            "swap_used_bytes": None if swap is None or unused is None else swap - unused,
        }
        return {name: amount for name, amount in known.items() if amount is not None and amount >= 0}

    def _disks(self) -> dict[str, Any]:
        known: dict[str, dict[Labels, float]] = {name: {} for name, _, _ in _DISK_COLUMNS}
        for words in self._lines("diskstats"):
            name = words[2].decode(errors="replace") if len(words) >= 14 else ""
            if not name or self._settings.exclude_disks.fullmatch(name):
                continue
            if len(known["disk_reads"]) >= self._settings.max_disks:
                break
            counters = _numbers(words[3:14])
            if len(counters) == 11:
                for field, column, unit in _DISK_COLUMNS:
                    known[field][name] = counters[column] * unit
        return known if known["disk_reads"] else {}

    def _filesystems(self, now: float) -> dict[str, Any]:
        if not 0 <= self._mounts_due - now <= _MOUNTS_SECONDS:
            self._mounts = self._mounted()
            self._mounts_due = now + _MOUNTS_SECONDS
        size: dict[Labels, float] = {}
        available: dict[Labels, float] = {}
        for label, path in self._mounts:
            try:
                told = os.statvfs(path)
            except OSError:
                continue
            if told.f_blocks > 0:
                size[label] = float(told.f_blocks * told.f_frsize)
                available[label] = float(told.f_bavail * told.f_frsize)
        return {"filesystem_size_bytes": size, "filesystem_available_bytes": available} if size else {}

    def _mounted(self) -> tuple[tuple[str, bytes], ...]:
        """The mount points to show; of a file system mounted more than once the first, if nothing hides it."""
        types = {words[1]: (words[0], words[2]) for words in self._lines("mounts") if len(words) >= 3}
        wanted = {each.encode() for each in self._settings.filesystem_types}
        by_source: dict[bytes, bytes] = {}
        for path, (source, kind) in types.items():
            if kind in wanted:
                by_source.setdefault(source, path)
        paths = [_unescaped(path) for path in by_source.values()][: self._settings.max_filesystems]
        return tuple((path.decode(errors="replace"), path) for path in paths)


def _numbers(words: list[bytes]) -> list[float]:
    """The words as numbers, up to the first that is none."""
    numbers: list[float] = []
    for word in words:
        try:
            number = float(word)
        except ValueError:
            break
        if not 0 <= number < float("inf"):
            break
        numbers.append(number)
    return numbers


def _unescaped(path: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes((int(match[1], 8) & 0xFF,)), path)
