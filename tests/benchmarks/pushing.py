"""The cost of the agent that pushes, beside the same agent that does not: `node.py` has the rest.

Eight fake GPUs that work, scraped every 15 s and pushed every 15 s to a real VictoriaMetrics; left out where there
is none. The two run one after the other on the same machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks import node
from tests.benchmarks.crowd import crowd
from tests.fake_nvml import FakeNvml
from tests.integration.debian import binary
from tests.integration.time_series import VictoriaMetrics

LEAST_SECONDS = 60.0
PROCESSES = node.PROCESSES[0]
SINK = """
sinks = ["prometheus", "influxdb"]
[sinks.influxdb]
spool_directory = "{directory}/spool"
[sinks.influxdb.servers.main]
url = "{url}"
bucket = "gpuwatch"
"""


def measure(duration: float) -> Mapping[str, float]:
    """Figures by name: part of a core and resident bytes, with the push and without it."""
    program = binary("victoria-metrics")
    if program is None:
        return {}
    duration = max(duration, LEAST_SECONDS)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        server = VictoriaMetrics(program, folder / "server")
        stack.callback(server.stop)
        without = _agent(folder / "without", "", duration)
        pushing = _agent(folder / "pushing", SINK.format(directory=folder / "pushing", url=server.url), duration)
    return {
        "agent_not_pushing_cpu_ratio": without["agent_cpu_ratio"],
        "agent_not_pushing_rss_bytes": without["agent_rss_bytes"],
        "agent_pushing_cpu_ratio": pushing["agent_cpu_ratio"],
        "agent_pushing_rss_bytes": pushing["agent_rss_bytes"],
    }


def _agent(directory: Path, more: str, duration: float) -> Mapping[str, float]:
    directory.mkdir()
    fake = FakeNvml(directory / "nvml", node.DEVICES)
    process, address = node.start(directory, fake, more)
    try:
        with crowd(PROCESSES, directory) as pids:
            node.busy_devices(fake, pids)
            time.sleep(node.WARM_UP_SECONDS)
            return node.deployed(process.pid, node.Scraper(address), fake, duration)
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    print(measure(LEAST_SECONDS))
