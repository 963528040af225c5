"""The cost of the agent on a node of eight fake GPUs, each held by processes of a job.

Processor time is the kernel's exact account of all the agent's threads, not the one that is sampled by its tick.
"""

from __future__ import annotations

import gzip
import http.client
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.crowd import crowd
from tests.fake_nvml import FakeNvml

WARM_UP_SECONDS = 8.0
SCRAPE_SECONDS = 15.0
DEVICES = 8
HOLDERS = 4
PROCESSES = (50, 5000)

CONFIGURATION = """
[site]
node = "bench"
[agent]
listen = "127.0.0.1:0"
state_directory = "{directory}/state"
socket = "{directory}/agent.sock"
devices = ["nvidia"]
"""


def quantile(values: list[float], q: float) -> float:
    """The smallest value that at least the fraction `q` of all values does not exceed."""
    return sorted(values)[max(0, -(-len(values) * q // 1).__int__() - 1)]


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of a process so far (its CPU clock, as clock_getcpuclockid(3) names it)."""
    return time.clock_gettime((~pid << 3) | 2)


def status(pid: int, key: str) -> int:
    """A number of /proc/PID/status; sizes in bytes."""
    found = re.search(rf"^{key}:\s+(\d+)( kB)?", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * (1024 if found[2] else 1)


def value(text: str, series: str) -> float:
    """The value of one series of an exposition."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    assert found is not None, series
    return float(found[1])


class Scraper:
    """One kept-alive connection, as Prometheus has."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=10)

    def scrape(self) -> tuple[str, float]:
        """The exposition and how long it took to come."""
        began = time.perf_counter()
        try:
            answer = self._ask()
        except (http.client.RemoteDisconnected, ConnectionError):
            # An idle connection that was just closed: asked again on a new one, as Prometheus does.
            self._connection.close()
            answer = self._ask()
        body = answer.read()
        seconds = time.perf_counter() - began
        assert answer.status == 200
        if answer.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        return body.decode(), seconds

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def _ask(self) -> http.client.HTTPResponse:
        self._connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
        return self._connection.getresponse()


def busy_devices(fake: FakeNvml, pids: Sequence[int]) -> None:
    """Every device works at 500 W for some of these processes."""
    for number, device in enumerate(fake.devices):
        device.load(0.95, memory=0.4)
        device.power_watts = 500.0
        device.processes(*((pid, 10 << 30) for pid in pids[number * HOLDERS : (number + 1) * HOLDERS]))


def start(directory: Path, fake: FakeNvml, more: str = "") -> tuple[subprocess.Popen[str], str]:
    """The agent's process, with `more` configured, and its address."""
    config = directory / "gpuwatch.toml"
    config.write_text(CONFIGURATION.format(directory=directory) + more)
    process = subprocess.Popen(
        [sys.executable, "-m", "gpuwatch", "agent", "--config", str(config)],
        env=os.environ | fake.environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"serving http://(\S+)", line):
            return process, found[1]
    raise AssertionError("the agent did not start")


def measure(duration: float) -> Mapping[str, float]:
    """Run the agent for `duration` seconds after a warm-up; figures by name."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        fake = FakeNvml(directory / "nvml", DEVICES)
        process, address = start(directory, fake)
        try:
            return _observe(process.pid, Scraper(address), fake, duration, directory)
        finally:
            process.terminate()
            process.wait(10)


def _observe(pid: int, scraper: Scraper, fake: FakeNvml, duration: float, directory: Path) -> Mapping[str, float]:
    """With few processes on the node, then with many."""
    figures: dict[str, float] = {}
    for count in PROCESSES:
        with crowd(count, directory) as pids:
            busy_devices(fake, pids)
            time.sleep(WARM_UP_SECONDS)
            figures |= deployed(pid, scraper, fake, duration)
            figures[f"agent_cpu_ratio_{count}_processes"] = figures["agent_cpu_ratio"]
            if count == PROCESSES[-1]:
                figures |= _scraped_every_second(pid, scraper, fake, duration)
    return figures


def deployed(pid: int, scraper: Scraper, fake: FakeNvml, duration: float) -> dict[str, float]:
    """Scraped every 15 s, as the shipped scrape configuration does."""
    cpu, began, slept = cpu_seconds(pid), time.monotonic(), fake.slept_seconds
    resident = status(pid, "VmRSS")
    while (left := duration - (time.monotonic() - began)) > 0:
        scraper.scrape()
        time.sleep(min(SCRAPE_SECONDS, left))
        resident = max(resident, status(pid, "VmRSS"))
    seconds = time.monotonic() - began
    return {
        "agent_cpu_ratio": round((cpu_seconds(pid) - cpu) / seconds, 5),
        "agent_rss_bytes": resident,
        "agent_threads": status(pid, "Threads"),
        "fake_latency_seconds_per_tick": round(_latency(fake, slept, seconds), 6),
    }


def _scraped_every_second(pid: int, scraper: Scraper, fake: FakeNvml, duration: float) -> dict[str, float]:
    """Every snapshot is rendered and every tick is seen."""
    scrapes: list[float] = []
    ticks: dict[float, float] = {}
    text = ""
    cpu, began, slept = cpu_seconds(pid), time.monotonic(), fake.slept_seconds
    while (now := time.monotonic()) - began < duration:
        text, seconds = scraper.scrape()
        scrapes.append(seconds)
        when = value(text, 'gpuwatch_source_last_success_timestamp_seconds{source="nvidia"}')
        ticks[when] = value(text, "gpuwatch_agent_tick_seconds")
        time.sleep(max(0.0, 1.0 - (time.monotonic() - now)))
    seconds = time.monotonic() - began
    latency = _latency(fake, slept, seconds)
    own = [max(0.0, tick - latency) for tick in ticks.values()]
    return {
        "agent_cpu_ratio_scraped_every_second": round((cpu_seconds(pid) - cpu) / seconds, 5),
        "tick_seconds_p50": round(quantile(own, 0.5), 6),
        "tick_seconds_p99": round(quantile(own, 0.99), 6),
        "scrape_seconds_p50": round(quantile(scrapes, 0.5), 6),
        "scrape_seconds_p99": round(quantile(scrapes, 0.99), 6),
        "series": sum(1 for line in text.splitlines() if line and not line.startswith("#")),
        "duration_seconds": round(seconds, 1),
    }


def _latency(fake: FakeNvml, slept_before: float, seconds: float) -> float:
    """What the fake's own latency adds to a tick: devices are read side by side, so one device's calls."""
    return (fake.slept_seconds - slept_before) / DEVICES / max(1.0, seconds)
