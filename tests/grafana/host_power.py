"""A machine's own sysfs, but with meters of power that are made up, and control groups where they are wanted."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.host.power_tree import Tree

SYSFS = Path("/sys")
SPAN = 262_143_328_850
STEP_SECONDS = 0.25
PERIOD_SECONDS = 300.0
METERS = ("powercap", "hwmon")
ZONES: Mapping[str, tuple[str, float, float]] = {
    "intel-rapl:0": ("package-0", 148.0, 24.0),
    "intel-rapl:0:0": ("dram", 21.0, 2.0),
    "intel-rapl:1": ("package-1", 117.0, 15.0),
    "intel-rapl:1:0": ("dram", 17.0, 2.0),
}
"""By place: the name of a zone of RAPL, its watts, and by how much these rise and fall."""


class HostPower:
    """The tree below `sysfs`; `count` once for each step."""

    def __init__(self, sysfs: Path, groups: Path | None = None) -> None:
        self.sysfs = sysfs
        _linked(SYSFS, sysfs, {"class", *(("fs",) if groups else ())})
        _linked(SYSFS / "class", sysfs / "class", set(METERS))
        if groups is not None:
            (sysfs / "fs").mkdir()
            (sysfs / "fs" / "cgroup").symlink_to(groups)
        self._tree = Tree(sysfs)
        self._counted: list[Callable[[float, float], None]] = []
        for place, (name, watts, swing) in ZONES.items():
            self._counts(self._tree.zone(place, name, f"{0:018d}", SPAN), watts, swing)

    def meter(self, watts: float) -> None:
        """A meter of ACPI that does not say what it is of."""
        self._tree.meter("hwmon0", round(watts * 1e6))

    def processor(self, group: Path, cores: float, memory_bytes: int) -> None:
        """What a job uses, in the files of its control group."""
        (group / "memory.current").write_text(f"{memory_bytes}\n")
        path = group / "cpu.stat"
        path.write_text(f"usage_usec {0:018d}\n")
        self._counts(path, cores, 0.3 * cores, b"usage_usec ")

    def count(self, elapsed: float, seconds: float) -> None:
        """All registers after `seconds` more; `elapsed` since the beginning."""
        for each in self._counted:
            each(elapsed, seconds)

    def _counts(self, path: Path, rate: float, swing: float, before: bytes = b"") -> None:
        number = 0.0
        phase = len(self._counted)

        def advance(elapsed: float, seconds: float) -> None:
            nonlocal number
            wave = math.sin(2 * math.pi * elapsed / PERIOD_SECONDS + phase)
            number = (number + (rate + swing * wave) * seconds * 1e6) % SPAN
            _put(path, before + f"{int(number):018d}\n".encode())

        self._counted.append(advance)


def _linked(source: Path, target: Path, without: set[str]) -> None:
    target.mkdir(parents=True)
    for each in source.iterdir():
        if each.name not in without:
            (target / each.name).symlink_to(each)


def _put(path: Path, line: bytes) -> None:
    """In one write of what is always as long: a reader sees the old or the new number."""
    file = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(file, line, 0)
    finally:
        os.close(file)


@contextmanager
def counting(power: HostPower) -> Iterator[None]:
    """Its registers count while the block runs."""
    over = threading.Event()

    def count() -> None:
        began = last = time.monotonic()
        while not over.wait(STEP_SECONDS):
            now = time.monotonic()
            power.count(now - began, now - last)
            last = now

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
