"""A real `gpuwatch agent` on a fake driver, as systemd runs it: with a notify socket, and a wall clock to move."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import time
import urllib.request
from pathlib import Path
from threading import Thread
from typing import Any

from tests.cli.command import environment, start
from tests.fake_nvml import FakeNvml

INTERVAL = 0.2
_SERIES = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)

CONFIGURATION = """
[agent]
listen = "127.0.0.1:0"
state_directory = "{folder}/state"
socket = "{folder}/agent.sock"
interval_seconds = {interval}
{more}
"""


def build_shim(folder: Path) -> Path:
    """The library that moves the wall clock of the process it is preloaded into."""
    source = Path(__file__).parent.parent / "accounting" / "clock_shim.c"
    shim = folder / "clock_shim.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], check=True)
    return shim


class Metrics(dict[tuple[str, str], float]):
    """A page of /metrics: name and labels as they are written, to the value."""

    def __init__(self, page: str) -> None:
        self.page = page
        super().__init__({(name, labels or ""): float(value) for name, labels, value in _SERIES.findall(page)})

    def of(self, name: str, labels: str = "") -> dict[str, float]:
        """The series of a name whose labels contain a text."""
        return {key[1]: value for key, value in self.items() if key[0] == name and labels in key[1]}

    def sum(self, name: str, labels: str = "") -> float:
        """All of them together; 0 where there is none."""
        return sum(self.of(name, labels).values())


class Node:
    """An agent, its driver, and whoever watches over it."""

    def __init__(self, folder: Path, fake: FakeNvml | None, shim: Path | None = None, more: str = "", **env: str):
        self.folder, self.fake = folder, fake
        self.configuration = folder / "gpuwatch.toml"
        self.configuration.write_text(CONFIGURATION.format(folder=folder, interval=INTERVAL, more=more))
        self.notified: list[tuple[float, str]] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listener.bind(str(folder / "notify"))
        self._hearing = Thread(target=self._hear, daemon=True)
        self._hearing.start()
        self._shift = folder / "shift"
        self._shift.write_bytes(struct.pack("=q", 0))
        variables = environment(**(fake.environment() if fake else {}), **env)
        variables["NOTIFY_SOCKET"] = str(folder / "notify")
        if shim is not None:
            variables |= {"LD_PRELOAD": str(shim), "CLOCK_SHIFT": str(self._shift)}
        self.variables = variables
        self.said = ""
        self.begin()

    def begin(self) -> None:
        """Start the agent, and read on what it says."""
        self.process = start("agent", "--config", str(self.configuration), env=self.variables)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if found := re.search(r"serving (http://\S+)", line):
                self.url = found[1]
                break
        else:
            raise AssertionError(f"the agent did not start: {self.said}")
        self._reader = Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        self._reader.start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            self.said += line

    def _hear(self) -> None:
        while message := self._listener.recv(4096):
            self.notified.append((time.monotonic(), message.decode()))

    def shift(self, seconds: float) -> None:
        """Move the agent's wall clock to so many seconds from the true one."""
        with self._shift.open("r+b") as file:
            file.write(struct.pack("=q", int(seconds)))

    def fed(self, since: float) -> int:
        """How often the watchdog was fed since then."""
        return sum(at >= since and "WATCHDOG=1" in message for at, message in self.notified)

    def get(self, path: str = "/metrics") -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            content: bytes = answer.read()
        return content

    def metrics(self) -> Metrics:
        return Metrics(self.get().decode())

    def usage(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.get("/api/v1/usage?since=0"))
        return document

    def wait_for(self, condition: Any, seconds: float = 10.0) -> Metrics:
        """The metrics once they are so; `condition` is told them."""
        deadline = time.monotonic() + seconds
        while not condition(metrics := self.metrics()):
            assert time.monotonic() < deadline, f"it did not come; there is:\n{metrics.page}"
            time.sleep(0.05)
        return metrics

    def just_counted(self, uuid: str) -> Metrics:
        """The metrics once the agent has read the energy counter of a device again, which it does every 5 s."""
        name = "gpuwatch_device_energy_joules_total"
        before = self.metrics().sum(name, uuid)
        return self.wait_for(lambda metrics: metrics.sum(name, uuid) != before)

    def thread_count(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(15)
        self._reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code

    def close(self) -> None:
        """Nothing of it stays behind."""
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
        self._listener.shutdown(socket.SHUT_RD)
        self._hearing.join(5)
        self._listener.close()
