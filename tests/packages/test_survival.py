"""What an upgrade relies on: a daemon that runs needs no file of the package any more."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.integration.debian import free_port, stop, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("packages")]

# On SIGUSR1 it notes what is loaded, and at its end what has been loaded from files since.
PROGRAM = """
import atexit, pathlib, signal, sys
folder = pathlib.Path(sys.argv.pop())
loaded = set()

def ready(*_):
    loaded.update(sys.modules)
    (folder / 'noted').touch()

def end():
    late = [name for name in set(sys.modules) - loaded if getattr(sys.modules[name], '__file__', None)]
    (folder / 'late').write_text(' '.join(sorted(late)))

signal.signal(signal.SIGUSR1, ready)
atexit.register(end)
from gpuwatch.cli import main
main()
"""
CONFIGURATION = """
[agent]
listen = "127.0.0.1:{port}"
state_directory = "{folder}/state"
socket = "{folder}/agent.sock"
devices = ["demo"]
sinks = ["prometheus", "influxdb"]

[sinks.influxdb]
push_seconds = 1.0
spool_directory = "{folder}/spool"

[sinks.influxdb.servers.main]
url = "http://127.0.0.1:9"
bucket = "gpuwatch"
org = "hpc"
"""


def test_running_agent_loads_nothing_from_disk(tmp_path: Path) -> None:
    """Once it serves and pushes: not for scrapes, usage, declarations, a reload, a failing server, or its end."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    (tmp_path / "gpuwatch.toml").write_text(CONFIGURATION.format(port=port, folder=tmp_path))
    command = ["agent", "--config", str(tmp_path / "gpuwatch.toml"), str(tmp_path)]
    with (tmp_path / "log").open("wb") as log:
        agent = subprocess.Popen([sys.executable, "-c", PROGRAM, *command], stdin=subprocess.DEVNULL, stderr=log)
    try:
        wait_until(lambda: b"delivery fails" in (tmp_path / "log").read_bytes(), 30, "the first push")
        agent.send_signal(signal.SIGUSR1)
        wait_until((tmp_path / "noted").exists, 10, "what is loaded is noted")
        for path in ("metrics", "", "-/healthy", "-/ready", "api/v1/usage", "nowhere"):
            assert httpx.get(f"{url}/{path}", timeout=10).status_code in (200, 404)
        told = [sys.executable, "-m", "gpuwatch", "declare", "--device-hours", "3", "--socket"]
        subprocess.run([*told, str(tmp_path / "agent.sock")], capture_output=True, timeout=30, check=True)
        agent.send_signal(signal.SIGHUP)
        wait_until(lambda: b"reloaded" in (tmp_path / "log").read_bytes(), 20, "the reload")
    finally:
        code = stop(agent, 20)

    assert (0, "") == (code, (tmp_path / "late").read_text())
