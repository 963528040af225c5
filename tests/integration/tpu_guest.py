"""Inside namespaces of its own: a host of TPUs at the real paths, our agent, and Google's client beside it.

Run by `test_tpu_info` as root of a mount, pid and network namespace; prints one JSON object.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.fake_tpu.node import FakeNode

GOOGLES = """
import json
from tpu_info import device, metrics
chip, count = device.get_local_chips()
new = chip is device.TpuChip.V7X
usage = metrics.get_chip_usage_new(chip) if new else metrics.get_chip_usage(chip)
print(json.dumps({
    "model": str(chip), "functions": count, "owners": device.get_chip_owners(),
    "usage": [each._asdict() for each in usage],
    "bandwidth": metrics.get_runtime_hbm_utilization(),
    "idle": metrics.get_tensorcore_idle_duration(),
    "queue": metrics.get_hlo_queue_size(chip),
    "programs": [each._asdict() for each in metrics.get_hlo_exec_timing(chip)],
}))
"""
WANTED = tuple(
    re.compile(rf"^gpuwatch_device_{name}\{{", re.MULTILINE) for name in ("program_duration_seconds", "job_share")
)
CONFIGURATION = """
[site]
node = "host"
[agent]
listen = "127.0.0.1:9838"
state_directory = "{folder}/state"
socket = "{folder}/agent.sock"
devices = ["tpu"]
host = []
jobs = ["local"]
"""


def loopback_up() -> None:
    """A new network namespace has its loopback down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14s", b"lo", 0x1 | 0x40, b""))


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, timeout=20)


def at_the_real_paths(node: FakeNode) -> None:
    """The host's bus and device nodes where programs look for them; the machine's own are untouched."""
    for name in ("null", "zero", "random", "urandom"):
        (node.dev / name).touch()
        mount("--bind", f"/dev/{name}", str(node.dev / name))
    mount("--rbind", str(node.dev), "/dev")
    mount("--bind", str(node.sysfs / "bus" / "pci" / "devices"), "/sys/bus/pci/devices")


def page(deadline: float) -> str:
    """The agent's page once everything that a runtime says is on it."""
    text = ""
    while not all(each.search(text) for each in WANTED):
        if time.monotonic() > deadline:
            raise SystemExit(f"the agent did not say it all; there is:\n{text}")
        time.sleep(0.3)
        try:
            with urllib.request.urlopen("http://127.0.0.1:9838/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            continue
    return text


def client(venv: str, *arguments: str) -> str:
    done = subprocess.run(
        [f"{venv}/bin/{arguments[0]}", *arguments[1:]],
        env={"PATH": os.environ["PATH"], "COLUMNS": "120", "HOME": "/nonexistent"},
        capture_output=True, text=True, timeout=40,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{arguments[0]}: {done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Bring it all up, ask both, and tell what they said."""
    folder, generation, venv = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    loopback_up()
    node = FakeNode(folder / "host", generation)
    at_the_real_paths(node)
    config = folder / "gpuwatch.toml"
    config.write_text(CONFIGURATION.format(folder=folder))
    nodes = [f"/dev/{node.node(chip).relative_to(node.dev)}" for chip in range(node.chips)]
    runtime = subprocess.Popen(
        [sys.executable, "-m", "tests.fake_tpu", generation, "--chips", str(node.chips), "--port", "8431",
         "--hold", *nodes],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert runtime.stdout is not None
    runtime.stdout.readline()
    with (folder / "agent.log").open("wb") as log:
        agent = subprocess.Popen(
            [sys.executable, "-m", "gpuwatch", "agent", "--config", str(config)], stdout=log, stderr=log
        )
    try:
        ours = page(time.monotonic() + 25)
        checked = subprocess.run(
            [sys.executable, "-m", "gpuwatch", "check", "--probe", "--json", "--config", str(config)],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        found = {
            "ours": ours,
            "check": json.loads(checked.stdout),
            "pid": runtime.pid,
            "google": json.loads(client(venv, "python", "-c", GOOGLES)),
            "shown": client(venv, "tpu-info"),
        }
    finally:
        agent.terminate()
        agent.wait(20)
        runtime.kill()
        runtime.wait(5)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
