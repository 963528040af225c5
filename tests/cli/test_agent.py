"""`gpuwatch agent` as an operator meets it: what it says and how it exits when something is wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.command import environment, gpuwatch, start
from tests.fake_nvml import FakeNvml, compiler
from tests.pci import with_nvidia

pytestmark = pytest.mark.integration

needs_compiler = pytest.mark.skipif(compiler() is None, reason="the fake driver is C, and there is no C compiler")
LIB_RM_VERSION_MISMATCH = 18


def configuration(folder: Path, text: str = "") -> Path:
    """An agent of its own on a free port."""
    path = folder / "gpuwatch.toml"
    path.write_text(
        f"""
[agent]
listen = "127.0.0.1:0"
state_directory = "{folder}/state"
socket = "{folder}/agent.sock"
interval_seconds = 0.2
{text}
"""
    )
    return path


class Running:
    """An agent and what it has said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""
        assert process.stderr is not None
        for line in process.stderr:
            self.said += line
            if found := re.search(r"serving (http://\S+)", line):
                self.url = found[1]
                return
        raise AssertionError(f"the agent did not start: {self.said}")

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return str(answer.read().decode())

    def wait_for(self, pattern: str, path: str = "/metrics", seconds: float = 15.0) -> str:
        """The page once it matches."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, page := self.get(path), re.MULTILINE):
            assert time.monotonic() < deadline, f"{pattern!r} did not come; there is:\n{page}"
            time.sleep(0.1)
        return page

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, rest = self.process.communicate(timeout=15)
        self.said += rest
        return self.process.returncode


@pytest.fixture
def fake(tmp_path: Path) -> FakeNvml:
    made = FakeNvml(tmp_path / "nvml", 2, latency_seconds=0.0)
    for device in made.devices:
        device.load(0.9)
        device.power_watts = 400.0
        device.processes((os.getpid(), 1 << 30))
    return made


@pytest.fixture
def agent(tmp_path: Path, fake: FakeNvml) -> Iterator[Running]:
    started = Running(
        start("agent", "--config", str(configuration(tmp_path)), env=environment(**fake.environment()))
    )
    yield started
    started.end()


def test_without_a_driver_it_runs_and_says_so_once(tmp_path: Path) -> None:
    """A GPU and no library: the host is measured, the source is down, and one line tells why."""
    path = configuration(tmp_path, f'[site]\nsysfs = "{with_nvidia(tmp_path)}"')
    running = Running(start("agent", "--config", str(path)))
    page = running.wait_for(r'^gpuwatch_source_up\{source="nvidia"\} 0$')
    running.wait_for(r"^gpuwatch_host_load1 ")
    time.sleep(1.0)

    assert running.end() == 0
    assert "gpuwatch_device_info{" not in page
    assert running.said.count("source is down source=nvidia") == 1


def test_a_node_without_devices_is_quiet(tmp_path: Path) -> None:
    """No GPU and no library is no fault: nothing is said, and no source is down; the host is measured."""
    (tmp_path / "sys" / "bus").mkdir(parents=True)
    running = Running(
        start("agent", "--config", str(configuration(tmp_path, f'[site]\nsysfs = "{tmp_path}/sys"')))
    )
    page = running.wait_for(r"^gpuwatch_host_load1 ")

    assert running.end() == 0
    assert 'gpuwatch_source_up{source="system"} 1' in page
    assert 'source="nvidia"' not in page
    assert "source is down" not in running.said


def test_required_device_that_is_not_there_exits_69(tmp_path: Path) -> None:
    """With --require-device a node without one is an error that says what is missing."""
    done = gpuwatch("agent", "--config", str(configuration(tmp_path)), "--require-device")

    assert done.returncode == 69
    assert "no device found, and one is required; nvidia: " in done.stderr


def test_every_mistake_in_the_configuration_is_told_at_once_and_exits_78(tmp_path: Path) -> None:
    """File, key, what is wrong and what there is, for each mistake; nothing is started."""
    path = configuration(tmp_path, 'lisen = ":1"\ndevices = ["nvida"]\n[meter]\nbusy_ratio = 7')

    done = gpuwatch("agent", "--config", str(path))
    assert done.returncode == 78
    assert [word in done.stderr for word in (str(path), "lisen", "listen", "nvida", "busy_ratio")] == [True] * 5
    assert not (tmp_path / "state").exists()


@needs_compiler
def test_second_agent_on_the_same_state_exits_75_with_the_holders_pid(agent: Running, tmp_path: Path) -> None:
    """Two agents would count everything twice."""
    done = gpuwatch("agent", "--config", str(tmp_path / "gpuwatch.toml"))

    assert done.returncode == 75
    assert f"in use by the process {agent.process.pid}" in done.stderr


@needs_compiler
def test_driver_upgraded_under_the_agent_exits_75(agent: Running, fake: FakeNvml) -> None:
    """The library of the old driver can never speak to the new one: systemd starts a new process."""
    agent.wait_for(r"^gpuwatch_device_power_watts")
    fake.fail_everything(LIB_RM_VERSION_MISMATCH)

    agent.process.wait(15)
    assert agent.end() == 75


@needs_compiler
def test_lost_gpu_leaves_its_neighbour_alone_and_returns(agent: Running, fake: FakeNvml) -> None:
    """One of two is lost: its up goes to 0 and its values go; the other stays; then it is back by itself."""
    lost, other = fake.devices
    agent.wait_for(rf'^gpuwatch_device_up{{uuid="{lost.uuid}"}} 1$')
    lost.lose()
    page = agent.wait_for(rf'^gpuwatch_device_up{{uuid="{lost.uuid}"}} 0$')
    lost.restore()

    assert f'gpuwatch_device_temperature_celsius{{uuid="{lost.uuid}"' not in page
    assert f'gpuwatch_device_up{{uuid="{other.uuid}"}} 1' in page
    agent.wait_for(rf'^gpuwatch_device_up{{uuid="{lost.uuid}"}} 1$')


@needs_compiler
def test_hanging_driver_call_takes_only_its_device_from_the_page(agent: Running, fake: FakeNvml) -> None:
    """A call that does not return: /metrics answers; the device's values are gone, and return by themselves."""
    hung, other = fake.devices
    agent.wait_for(rf'^gpuwatch_device_up{{uuid="{hung.uuid}"}} 1$')
    hung.hang(60.0)
    page = agent.wait_for(rf'^gpuwatch_device_up{{uuid="{hung.uuid}"}} 0$')
    began = time.monotonic()
    agent.get("/metrics")
    answered = time.monotonic() - began
    hung.unhang()

    assert answered < 1.0
    assert f'gpuwatch_device_power_watts{{uuid="{hung.uuid}"' not in page
    assert f'gpuwatch_device_up{{uuid="{other.uuid}"}} 1' in page
    agent.wait_for(rf'^gpuwatch_device_up{{uuid="{hung.uuid}"}} 1$')


@needs_compiler
def test_killed_agent_goes_on_where_it_was(tmp_path: Path, fake: FakeNvml) -> None:
    """kill -9 and a new process: same epoch, same job, and the counters have grown over the gap."""
    path, variables = configuration(tmp_path), environment(**fake.environment())
    first = Running(start("agent", "--config", str(path), env=variables))
    first.wait_for(r"^gpuwatch_job_held_seconds_total")
    time.sleep(6.0)
    before = json.loads(first.get("/api/v1/usage?since=0"))
    first.process.kill()
    first.end()
    second = Running(start("agent", "--config", str(path), env=variables))
    second.wait_for(r"^gpuwatch_job_held_seconds_total")
    after = json.loads(second.wait_for(r'"rows":\[\{', "/api/v1/usage?since=0"))  # once it is on the disk

    assert second.end() == 0
    assert (after["epoch"], after["seq"] > before["seq"]) == (before["epoch"], True)
    held = [{row["uuid"]: row["held_seconds"] for row in each["rows"]} for each in (before, after)]
    assert held[0].keys() == held[1].keys()
    assert all(held[1][uuid] >= held[0][uuid] for uuid in held[0])
    # What was told was up to a save interval old.
    passed = after["now"] - before["now"] + 5.0
    assert all(held[1][uuid] - held[0][uuid] <= passed + 0.5 for uuid in held[0])


@needs_compiler
def test_hangup_during_the_start_does_not_end_the_agent(agent: Running) -> None:
    """A reload that comes before the first tick is no reason to die."""
    agent.process.send_signal(signal.SIGHUP)

    agent.wait_for(r"^gpuwatch_device_power_watts")
    assert agent.process.poll() is None


@needs_compiler
def test_changed_configuration_is_taken_over_by_the_same_process(agent: Running, tmp_path: Path) -> None:
    """SIGHUP with a mistake keeps what runs and says so; a valid change is taken over while it runs."""
    path = tmp_path / "gpuwatch.toml"
    good = path.read_text()
    agent.wait_for(r"^gpuwatch_agent_config_last_reload_successful 1$")
    path.write_text(good + "oops = 1")
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_for(r"^gpuwatch_agent_config_last_reload_successful 0$")
    path.write_text(good.replace("interval_seconds = 0.2", "interval_seconds = 0.3"))
    agent.process.send_signal(signal.SIGHUP)

    agent.wait_for(r"^gpuwatch_agent_config_last_reload_successful 1$")
    assert 0 == agent.end()
    assert "configuration not reloaded, the old one stays: " in agent.said
    assert "oops: unknown key" in agent.said
    assert agent.said.endswith(f"configuration reloaded changed=True serving={agent.url}\n")


FULL_DISK = """
mount -t tmpfs -o size=256k none {folder}/disk || exit 77
exec {python} -c 'from gpuwatch.cli import main; main()' agent --config {folder}/gpuwatch.toml
"""


@needs_compiler
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="a disk of its own needs root and unshare"
)
def test_full_disk_is_said_and_nothing_else_stops(tmp_path: Path, fake: FakeNvml) -> None:
    """The state's file system is full: metering and /metrics go on, and one metric says that nothing is saved."""
    (tmp_path / "disk").mkdir()
    path = configuration(tmp_path)
    path.write_text(path.read_text().replace(f"{tmp_path}/state", f"{tmp_path}/disk/state"))
    script = FULL_DISK.format(folder=tmp_path, python=sys.executable)
    variables = environment(**fake.environment())
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], env=variables, stderr=subprocess.PIPE, text=True
    )
    running = Running(process)
    running.wait_for(r"^gpuwatch_agent_state_saved 1$")
    ballast = Path(f"/proc/{process.pid}/root{tmp_path}/disk/ballast")
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"x" * 1024):
            pass
    running.wait_for(r"^gpuwatch_agent_state_saved 0$")
    before = running.wait_for(r"^gpuwatch_job_held_seconds_total")
    time.sleep(1.0)
    after = running.wait_for(r"^gpuwatch_job_held_seconds_total")
    ballast.unlink()
    running.wait_for(r"^gpuwatch_agent_state_saved 1$")

    assert running.end() == 0
    held = [
        float(re.search(r"^gpuwatch_job_held_seconds_total\S+ (\S+)$", page, re.M)[1]) for page in (before, after)
    ]
    assert held[1] > held[0]
    assert running.said.count("cannot be saved") == 1
