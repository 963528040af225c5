"""A cluster to take pictures of: three agents with simulated devices, their jobs, one accounting; all on loopback.

The pipeline is real, from the processes that hold devices to what `/metrics` says; the silicon alone is not, nor
are the meters of the first node's host.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from docs.pictures.host import Host
from gpuwatch.cli.demo import DemoJob, DemoJobs, scenario
from gpuwatch.cli.up import DEMO_POLICY, DEMO_RATES

NODES = ("gpu01", "gpu02", "gpu03")
START_SECONDS, STOP_SECONDS = 60.0, 15.0
# The jobs of each node (see `gpuwatch.cli.demo`): devices that nobody holds are part of the picture.
PARTS: Mapping[str, frozenset[str]] = {
    "gpu01": frozenset(("llama-ft", "resnet-ok", "notebook", "allreduce-hang", "bert-hot")),
    "gpu02": frozenset(("llama-ft", "resnet-ok", "bert-hot")),
    "gpu03": frozenset(("llama-ft", "notebook")),
}
# One of the two devices of the job that is looked at gets too hot.
HOT: Mapping[str, int] = {"gpu01": 1, "gpu02": 6, "gpu03": 6}
# Short runs, one after the other, so that within minutes enough forecasts are over to have a record: the devices,
# and the device-hours that each run declares.
EVALUATIONS: Mapping[str, Mapping[int, float]] = {
    "gpu01": {},
    "gpu02": {3: 0.006, 4: 0.003},
    "gpu03": {2: 0.006, 4: 0.006, 5: 0.003},
}

AGENT = """\
[site]
cluster = "demo"
node = "{node}"
sysfs = "{sysfs}"
[agent]
listen = "127.0.0.1:{port}"
state_directory = "{folder}/agent"
socket = "{folder}/agent.sock"
devices = ["demo"]
jobs = ["local"]
sinks = {sinks}
web_config_file = "/dev/null"
[devices.demo]
driver_directory = "{folder}/driver"
hot_device = {hot}
lost_every_seconds = 400.0
"""
ACCOUNTING = """\
[site]
cluster = "demo"
[accounting]
interval_seconds = 5.0
listen = "127.0.0.1:{port}"
ledger = "sqlite:///{folder}/ledger.db"
reserve_bytes = 0
socket = "{folder}/api.sock"
rates_file = "{folder}/rates.csv"
spool_directory = "{folder}/accounting-spool"
sinks = {sinks}
web_config_file = "/dev/null"
[usage.agents]
urls = {urls}
[alerts]
floor_device_hours = 0.01
policy_file = "{folder}/alerts.toml"
"""
INFLUXDB = """\
[sinks.influxdb]
spool_directory = "{folder}/spool"
push_seconds = 5.0
jobs_seconds = 10.0
[sinks.influxdb.servers.main]
url = "{url}"
bucket = "{bucket}"
token_file = "{token_file}"
"""


def _configure(
    folder: Path, ports: Sequence[int], influxdb: Mapping[str, str], host: Host
) -> list[tuple[str, Path]]:
    """The configuration of each daemon: which command it is of, and the file."""
    found = []
    pushed_to = ["influxdb"] if influxdb else []
    for node, port in zip(NODES, ports, strict=False):
        place = folder / node
        place.mkdir(parents=True)
        sinks = json.dumps(["prometheus", *pushed_to])
        sysfs = host.sysfs if node == NODES[0] else "/sys"
        text = AGENT.format(node=node, sysfs=sysfs, port=port, folder=place, hot=HOT[node], sinks=sinks)
        found.append(("agent", place / "gpuwatch.toml", text))
    place = folder / "accounting"
    place.mkdir()
    (place / "rates.csv").write_text(DEMO_RATES)
    (place / "alerts.toml").write_text(DEMO_POLICY)
    urls = json.dumps([f"http://127.0.0.1:{port}" for port in ports[: len(NODES)]])
    said = {"urls": urls, "sinks": json.dumps(pushed_to)}
    text = ACCOUNTING.format(port=ports[len(NODES)], folder=place, **said)
    found.append(("accounting", place / "gpuwatch.toml", text))
    for _, file, text in found:
        pushed = INFLUXDB.format(folder=file.parent, **influxdb) if influxdb else ""
        file.write_text(text + pushed)
    return [(command, file) for command, file, _ in found]


@contextmanager
def _daemon(command: str, file: Path) -> Iterator[None]:
    with (file.parent / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gpuwatch", command, "--config", str(file)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError(f"{command} ended: {(file.parent / 'log').read_text()[-2000:]}")
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{path}: not within {START_SECONDS:g} s")
        time.sleep(0.1)


def _jobs(folder: Path, node: str, host: Host) -> DemoJobs:
    place = folder / node
    jobs = [job for job in scenario(place / "driver", place / "agent.sock") if job.name in PARTS[node]]
    if node == NODES[0]:
        jobs = host.placed(jobs)
    short = (_evaluation(place, device, hours) for device, hours in EVALUATIONS[node].items())
    return DemoJobs([*jobs, *short], place / "jobs")


def _evaluation(place: Path, device: int, hours: float) -> DemoJob:
    name = f"eval-{device}"
    run = (sys.executable, "-m", "gpuwatch", "run", "--name", name, "--socket", str(place / "agent.sock"))
    work = (sys.executable, "-m", "gpuwatch.devices.demo_load", "--driver", str(place / "driver"))
    load = ("--devices", str(device), "--steps", "16", "--intensity", "0.7", "--memory-gib", "20")
    command = (*run, "--campaign", "eval", "--device-hours", f"{hours:g}", "--", *work, *load)
    return DemoJob(name, "is over soon", command, pause_seconds=2.0)


@contextmanager
def fleet(folder: Path, ports: Sequence[int], influxdb: Mapping[str, str] | None = None) -> Iterator[None]:
    """The cluster while the block runs: agents at the first ports, accounting at the one after them.

    `influxdb` has `url`, `bucket` and `token_file` of where all of them push too.
    """
    over = threading.Event()
    with ExitStack() as stack:
        host = Host(folder / "host")
        stack.enter_context(host.running())
        for command, file in _configure(folder, ports, influxdb or {}, host):
            stack.enter_context(_daemon(command, file))
        running = []
        for node in NODES:
            _wait_for(folder / node / "agent.sock")
            running.append(_jobs(folder, node, host))
            stack.callback(running[-1].stop)
            running[-1].start()

        def again() -> None:
            while not over.wait(1.0):
                for jobs in running:
                    jobs.poll(time.monotonic())

        thread = threading.Thread(target=again, daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(over.set)
        yield
