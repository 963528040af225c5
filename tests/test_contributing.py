"""The plugins of docs/contributing.md, installed as a stranger's package would be, do what the page says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "contributing.md"
HOUR = 3600


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `pip install --target` would have made it of the page's files and entry points."""
    folder = tmp_path_factory.mktemp("site")
    text = PAGE.read_text(encoding="utf-8")
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, flags=re.S):
        (folder / name).write_text(code, encoding="utf-8")
    information = folder / "stranger-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (toml,) = (block for block in re.findall(r"```toml\n(.*?)```", text, flags=re.S) if "entry-points" in block)
    groups = re.sub(r'\[project\.entry-points\."(.*?)"\]', r"[\1]", toml)
    (information / "entry_points.txt").write_text(groups.replace('"', ""))
    return folder


@contextmanager
def _running(installed: Path, tmp_path: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gpuwatch", *arguments, "--config", str(tmp_path / "gpuwatch.toml")],
            env={**os.environ, "PYTHONPATH": str(installed)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _wait_for(what: Any, process: subprocess.Popen[bytes], log: Path) -> Any:
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with suppress(OSError, ValueError):
            if found := what():
                return found
        time.sleep(0.1)
    raise AssertionError(log.read_text() + _scrape(log))


def _scrape(log: Path) -> str:
    (url,) = re.findall(r"serving (http://\S+)", log.read_text())[:1]
    with urllib.request.urlopen(f"{url.rstrip('/')}/metrics", timeout=5.0) as answer:
        return str(answer.read().decode())


def _with(text: str, part: str) -> str:
    return text if part in text else ""


@pytest.mark.integration
def test_a_vendor_and_a_sink_of_strangers_are_metered_and_fed(installed: Path, tmp_path: Path) -> None:
    """The card is exported as any device is, and the sink has had every snapshot."""
    card = tmp_path / "cards" / "c0"
    card.mkdir(parents=True)
    (card / "busy_percent").write_text("75\n")
    (card / "power_uw").write_text("250000000\n")
    (tmp_path / "gpuwatch.toml").write_text(
        f"""
        [agent]
        devices = ["acme"]
        host = []
        jobs = ["local"]
        sinks = ["prometheus", "tally"]
        listen = "127.0.0.1:0"
        state_directory = "{tmp_path / "state"}"
        socket = "{tmp_path / "agent.sock"}"
        [devices.acme]
        root = "{tmp_path / "cards"}"
        [sinks.tally]
        file = "{tmp_path / "tally.json"}"
        """
    )
    (tmp_path / "state").mkdir()
    log = tmp_path / "log"

    with _running(installed, tmp_path, "agent") as process:
        page = _wait_for(lambda: _with(_scrape(log), 'energy_joules_total{uuid="acme:c0"'), process, log)
    tally = json.loads((tmp_path / "tally.json").read_text())

    assert 'gpuwatch_device_utilization_ratio{uuid="acme:c0"} 0.75' in page
    assert 'gpuwatch_device_power_watts{uuid="acme:c0",window="average",scope="device"} 250' in page
    assert 'gpuwatch_sink_up{sink="tally"} 1' in page
    assert [250.0] == tally["watts"]
    assert tally["snapshots"] >= 1


@pytest.mark.integration
def test_a_batch_system_and_a_notifier_of_strangers_are_charged_and_told(installed: Path, tmp_path: Path) -> None:
    """The batch system's job is in the ledger, and that it is beyond its declaration is told."""
    now = int(time.time())
    job = {"id": "7", "state": "RUNNING", "submitted": now - 4 * HOUR, "started": now - 3 * HOUR, "devices": 2}
    (tmp_path / "jobs").write_text(json.dumps({**job, "user": "ada", "name": "train"}) + "\n")
    (tmp_path / "gpuwatch.toml").write_text(
        f"""
        [accounting]
        schedulers = ["spool"]
        usage = ["none"]
        notifiers = ["bell"]
        listen = "127.0.0.1:0"
        ledger = "sqlite:///{tmp_path / "ledger.db"}"
        socket = "{tmp_path / "api.sock"}"
        interval_seconds = 1.0
        [alerts]
        tell = ["exceeded"]
        [schedulers.spool]
        file = "{tmp_path / "jobs"}"
        [notifiers.bell]
        terminal = "{tmp_path / "console"}"
        """
    )
    log = tmp_path / "log"

    with _running(installed, tmp_path, "accounting") as process:
        page = _wait_for(lambda: _with(_scrape(log), 'allocated_device_seconds_total{scope="7"'), process, log)
        _declare(tmp_path, "7", "device-hours=1")
        told = _wait_for((tmp_path / "console").read_text, process, log)

    held = re.search(r'allocated_device_seconds_total\{scope="7",scope_kind="job"\} (\S+)', page)
    assert held is not None
    assert float(held[1]) == pytest.approx(6 * HOUR, abs=120)
    assert told.startswith("\araised: ")


def _declare(tmp_path: Path, job: str, text: str) -> None:
    declared = subprocess.run(
        [
            sys.executable,
            "-m",
            "gpuwatch",
            "declare",
            "--api",
            str(tmp_path / "api.sock"),
            f"for=job:{job} {text}",
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert 0 == declared.returncode, declared.stderr
