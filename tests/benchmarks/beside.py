"""The agent beside a load, on a real GPU: what it takes from the load and from an idle device, and what it says.

    python -m tests.benchmarks --beside 'python3 tests/benchmarks/matmul.py' [--duration 60] [--rounds 3] [--fake]

Each round measures, without the agent and with it in turn, so that a device that warms up favours neither:

- `idle_watts`: the driver's energy counter over an idle device, asked twice and not in between;
- `step_seconds_p50`, `_p99`: the steps of the load.

A last pass with the agent beside the load compares

- `energy_joules`: what the agent has metered, from the first to the last time that it had just read the counter,
  and the driver's counter (the agent's reading is up to a second old, at both ends); `average_watts` the same as
  power, each over its own time, beside the mean of what `nvidia-smi` says each second, where that is installed;
- `activity_ratio`: what the agent shows, and `busy`, the part of the time that the load was in a step.

One device is looked at, the first; nothing else may use it meanwhile.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from gpuwatch import specs
from tests.benchmarks import driver
from tests.benchmarks.load import Load, Step
from tests.benchmarks.node import Scraper, quantile, start, value
from tests.fake_nvml import FakeNvml

SETTLE_SECONDS = 10.0
SCRAPE_SECONDS = 1.0
SHORTEST_SECONDS = 12.0
"""In which the agent reads the energy counter at least twice."""
LAST_READ = 'gpuwatch_source_last_success_timestamp_seconds{source="nvidia"}'
GAUGES = ("utilization", "sm_activity", "tensor_activity", "dram_activity")


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured, on what, and for how long."""

    api: Any
    handle: Any
    uuid: str
    machine: FakeNvml | driver.Machine
    load: str
    duration: float
    settle: float

    def joules(self) -> float:
        """The driver's energy counter."""
        return float(self.api.nvmlDeviceGetTotalEnergyConsumption(self.handle)) / 1000


def measure(
    fake: FakeNvml | None, load: str, *, duration: float = 60.0, rounds: int = 3, settle: float = SETTLE_SECONDS
) -> Mapping[str, Any]:
    """All of it, as figures by name; lists have an entry for each round."""
    with driver.opened(fake) as api:
        handle = api.nvmlDeviceGetHandleByIndex(0)
        uuid = api.nvmlDeviceGetUUID(handle)
        bench = Bench(api, handle, uuid, fake or driver.Machine(), load, duration, settle)
        figures: dict[str, Any] = driver.about(api, handle) | {"duration_seconds": duration, "rounds": rounds}
        names = ("idle_watts", "step_seconds_p50", "step_seconds_p99")
        figures |= {name: {"without": [], "with": []} for name in names}
        for number in range(rounds):
            # Turned round each time: neither is always the second.
            for which in ("without", "with") if number % 2 == 0 else ("with", "without"):
                for name, figure in _round(bench, with_agent=which == "with").items():
                    figures[name][which].append(figure)
        return figures | _compare(bench)


def _round(bench: Bench, *, with_agent: bool) -> Mapping[str, float]:
    if not with_agent:
        return _idle(bench) | _loaded(bench)
    with _agent(bench):
        return _idle(bench) | _loaded(bench)


def _idle(bench: Bench) -> dict[str, float]:
    time.sleep(bench.settle)
    joules, began = bench.joules(), time.monotonic()
    time.sleep(bench.duration)
    return {"idle_watts": round((bench.joules() - joules) / (time.monotonic() - began), 3)}


def _loaded(bench: Bench) -> dict[str, float]:
    with Load(bench.load) as load:
        steps, _ = _steps(bench, load, lambda: time.sleep(bench.duration))
    seconds = [step.seconds for step in steps]
    return {f"step_seconds_p{percent}": round(quantile(seconds, percent / 100), 7) for percent in (50, 99)}


def _steps(bench: Bench, load: Load, during: Callable[[], None]) -> tuple[Sequence[Step], float]:
    """The load's steps while `during` ran, after it has settled, and how long that was."""
    load.wait()
    time.sleep(bench.settle)
    began = time.monotonic()
    during()
    load.check()
    steps, seconds = load.steps(began), time.monotonic() - began
    if not steps:
        raise SystemExit(f"benchmarks: the load did no step in {seconds:g} s; make its steps shorter")
    return steps, seconds


@contextmanager
def _agent(bench: Bench) -> Iterator[Scraper]:
    with tempfile.TemporaryDirectory() as directory:
        process, address = start(Path(directory), bench.machine)
        scraper = Scraper(address)
        try:
            yield scraper
        finally:
            scraper.close()
            process.terminate()
            process.communicate(timeout=30)


def _compare(bench: Bench) -> dict[str, Any]:
    with _agent(bench) as scraper, Load(bench.load) as load:
        told = Told(bench, scraper)
        steps, seconds = _steps(bench, load, told.watch)
    spec = specs.lookup(bench.api.nvmlDeviceGetName(bench.handle))
    return {
        "energy_joules": told.energy(),
        "average_watts": told.watts(),
        "activity_ratio": told.activity()
        | {"busy": round(min(1.0, sum(step.seconds for step in steps) / seconds), 4)},
        "flop_per_second": sum(step.flop for step in steps) / seconds or None,
        "peak_flop_per_second": dict(spec.peak_flops) if spec else None,
    }


class Told:
    """What the agent, the driver and nvidia-smi say over the same time."""

    def __init__(self, bench: Bench, scraper: Scraper) -> None:
        self._bench = bench
        self._scraper = scraper
        self._pages: list[str] = []
        self._joules: list[float] = []
        self._times: list[float] = []
        self._smi_watts: list[float] = []

    def watch(self) -> None:
        """Ask agent and driver at both ends and, in between, so often that gauges have a mean."""
        with _nvidia_smi(self._bench.uuid) as self._smi_watts:
            self._look()
            ends = time.monotonic() + max(SHORTEST_SECONDS, self._bench.duration)
            while (left := ends - time.monotonic()) > 0:
                time.sleep(min(SCRAPE_SECONDS, left))
                self._look()

    def _look(self) -> None:
        self._pages.append(self._scraper.scrape()[0])
        self._joules.append(self._bench.joules())
        self._times.append(time.monotonic())

    def _ends(self) -> tuple[int, int]:
        """The first and the last look before which the agent read the counter, which it does every 5 s."""
        told = [_energy(page, self._bench.uuid) for page in self._pages]
        fresh = [look for look in range(1, len(told)) if told[look] != told[look - 1]]
        return (fresh[0], fresh[-1]) if len(fresh) > 1 else (0, len(told) - 1)

    def energy(self) -> dict[str, float]:
        """Joules by the agent and by the driver."""
        first, last = self._ends()
        agent = _energy(self._pages[last], self._bench.uuid) - _energy(self._pages[first], self._bench.uuid)
        return {"agent": round(agent, 3), "driver": round(self._joules[last] - self._joules[first], 3)}

    def watts(self) -> dict[str, float | None]:
        """The same as power, each over its own time, beside the mean of nvidia-smi where that is installed."""
        energy = self.energy()
        begin, end = self._ends()
        first, last = (value(self._pages[look], LAST_READ) for look in (begin, end))
        return {
            "agent": round(energy["agent"] / (last - first), 3) if last > first else None,
            "driver": round(energy["driver"] / (self._times[end] - self._times[begin]), 3),
            "nvidia_smi": round(fmean(self._smi_watts), 3) if self._smi_watts else None,
        }

    def activity(self) -> dict[str, float | None]:
        """The mean of each gauge of activity; None where the device has none."""
        uuid = self._bench.uuid
        return {name: _mean(self._pages, f"gpuwatch_device_{name}_ratio", uuid) for name in GAUGES}


def _energy(page: str, uuid: str) -> float:
    found = re.findall(rf'^gpuwatch_device_energy_joules_total{{uuid="{uuid}",[^}}]*}} (\S+)$', page, re.MULTILINE)
    return sum(map(float, found))


def _mean(pages: Sequence[str], name: str, uuid: str) -> float | None:
    found = [re.search(rf'^{name}{{uuid="{uuid}"}} (\S+)$', page, re.MULTILINE) for page in pages]
    values = [float(each[1]) for each in found if each]
    return round(fmean(values), 4) if values else None


@contextmanager
def _nvidia_smi(uuid: str) -> Iterator[list[float]]:
    """What nvidia-smi says of power each second, in watts; empty where it is not installed."""
    watts: list[float] = []
    command = shutil.which("nvidia-smi")
    if command is None:
        yield watts
        return
    query = ("--query-gpu=power.draw", "--format=csv,noheader,nounits", "-l", "1", "-i", uuid)
    with subprocess.Popen([command, *query], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield watts
        finally:
            process.terminate()
            told, _ = process.communicate(timeout=30)
            watts += [float(line) for line in told.split() if re.fullmatch(r"[\d.]+", line)]
