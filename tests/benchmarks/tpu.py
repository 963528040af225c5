"""The cost of the agent on a host of eight fake TPU chips, of one process with a port or of four with one each.

The chips' device nodes are devices (other names of /dev/null): their holders are looked for as on a host.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.crowd import crowd
from tests.benchmarks.node import SCRAPE_SECONDS, WARM_UP_SECONDS, Scraper, cpu_seconds, status, value
from tests.fake_tpu.node import FakeNode

CHIPS = 8
PROCESSES = 5000
CONFIGURATION = """
[site]
node = "bench"
sysfs = "{node.sysfs}"
[agent]
listen = "127.0.0.1:0"
state_directory = "{directory}/state"
socket = "{directory}/agent.sock"
devices = ["nvidia", "tpu", "amd"]
[devices.tpu]
ports = {ports}
"""


def host(folder: Path) -> FakeNode:
    """A host whose device nodes are devices, where that may be made."""
    node = FakeNode(folder, "v5e", CHIPS)
    for chip in range(CHIPS):
        path = node.node(chip)
        path.unlink()
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        number = node.sysfs / "class" / "vfio" / path.name
        number.mkdir(parents=True)
        (number / "dev").write_text("1:3\n")
    return node


@contextmanager
def runtimes(node: FakeNode, count: int) -> Iterator[list[int]]:
    """So many processes, each with its part of the chips; their ports."""
    each = CHIPS // count
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.fake_tpu", "v5e", "--chips", str(each), "--first", str(first), "--hold",
             *(str(node.node(chip)) for chip in range(first, first + each))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for first in range(0, CHIPS, each)
    ]  # fmt: skip
    try:
        yield [int(process.stdout.readline()) for process in started if process.stdout is not None]
    finally:
        for process in started:
            process.terminate()
            process.wait(10)


@contextmanager
def agent(directory: Path, text: str) -> Iterator[tuple[int, str]]:
    """The agent's process, and its address."""
    config = directory / "gpuwatch.toml"
    config.write_text(text)
    command = [sys.executable, "-m", "gpuwatch", "agent", "--config", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        address = next(found[1] for line in process.stderr if (found := re.search(r"serving http://(\S+)", line)))
        yield process.pid, address
    finally:
        process.terminate()
        process.wait(10)


def measure(duration: float) -> Mapping[str, float]:
    """Run the agent for `duration` seconds after a warm-up, beside few processes and many; figures by name."""
    if os.geteuid() != 0:
        return {}
    figures: dict[str, float] = {}
    for count in (1, 4):
        with tempfile.TemporaryDirectory() as name, crowd(50, Path(name)):
            figures[f"tpu_agent_cpu_ratio_{count}_ports"], resident = _observe(Path(name), count, duration)
            figures["tpu_agent_rss_bytes"] = max(figures.get("tpu_agent_rss_bytes", 0), resident)
    with tempfile.TemporaryDirectory() as name, crowd(PROCESSES, Path(name)):
        figures[f"tpu_agent_cpu_ratio_{PROCESSES}_processes"], _ = _observe(Path(name), 1, duration)
    return figures


def _observe(directory: Path, count: int, duration: float) -> tuple[float, int]:
    node = host(directory / "host")
    with (
        runtimes(node, count) as ports,
        agent(directory, CONFIGURATION.format(node=node, directory=directory, ports=ports)) as (pid, address),
    ):
        scraper = Scraper(address)
        time.sleep(WARM_UP_SECONDS)
        page, _ = scraper.scrape()
        for chip in range(CHIPS):
            assert value(page, f'gpuwatch_device_utilization_ratio{{uuid="{node.uid(chip)}"}}') == 0.75
        assert page.count("gpuwatch_device_job_share{") == CHIPS
        cpu, began = cpu_seconds(pid), time.monotonic()
        resident = 0
        while (left := duration - (time.monotonic() - began)) > 0:
            scraper.scrape()
            resident = max(resident, status(pid, "VmRSS"))
            time.sleep(min(SCRAPE_SECONDS, left))
        return round((cpu_seconds(pid) - cpu) / (time.monotonic() - began), 5), resident
