"""The cost of the agent on a node of eight AMD cards, whose files are in memory; a real driver's own is on top."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks.node import WARM_UP_SECONDS, cpu_seconds, status
from tests.fake_sysfs import amd

CARDS = 8
MEMORY = Path("/dev/shm")
CONFIGURATION = """
[site]
node = "bench"
sysfs = "{directory}/sys"
[agent]
listen = "127.0.0.1:0"
state_directory = "{directory}/state"
socket = "{directory}/agent.sock"
devices = {devices}
host = []
"""


def measure(duration: float) -> Mapping[str, float]:
    """Processor time and memory of the agent with the cards, and with no device at all beside it."""
    figures: dict[str, float] = {}
    for name, devices in (("amd", '["amd"]'), ("no_device", "[]")):
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
            figures |= {
                f"{name}_{key}": value for key, value in _observed(Path(directory), devices, duration).items()
            }
    return figures


def tree(root: Path) -> None:
    """Eight cards, and a rank on each that sees all of them."""
    compute = amd.FakeCompute(root)
    for number in range(CARDS):
        card = amd.mi300x(root, number + 1, f"0000:{number + 5:02x}:00.0", f"00000000000000a{number}")
        compute.gpu(number + 1, 100 + number, card)
    for rank in range(CARDS):
        memory = {100 + number: 2**34 if number == rank else 4096 for number in range(CARDS)}
        compute.process(1000 + rank, memory, dict.fromkeys(range(8), 100 + rank))


def _observed(directory: Path, devices: str, duration: float) -> Mapping[str, float]:
    tree(directory / "sys")
    configuration = directory / "gpuwatch.toml"
    configuration.write_text(CONFIGURATION.format(directory=directory, devices=devices))
    command = [sys.executable, "-m", "gpuwatch", "agent", "--config", str(configuration)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        assert any(re.search(r"serving http://\S+", line) for line in process.stderr)
        time.sleep(WARM_UP_SECONDS)
        cpu, began = cpu_seconds(process.pid), time.monotonic()
        time.sleep(duration)
        ratio = (cpu_seconds(process.pid) - cpu) / (time.monotonic() - began)
        return {"agent_cpu_ratio": round(ratio, 5), "agent_rss_bytes": status(process.pid, "VmRSS")}
    finally:
        process.terminate()
        process.wait(10)
