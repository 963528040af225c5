"""The measurements for a real GPU are right before somebody spends a night on one: on the fake driver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks import beside, calls, driver
from tests.benchmarks.load import Load
from tests.fake_nvml import FakeNvml, compiler, wait_until

MATMUL = Path(__file__).with_name("matmul.py")
STEP = "import time\nwhile True:\n    time.sleep(0.004)\n    print(0.004, 1e9, flush=True)"
LOAD = f"exec {sys.executable} -c '{STEP}'"
COSTS = {"wall_seconds_p50", "wall_seconds_p99", "cpu_seconds_p50", "cpu_seconds_p99"}

TORCH = """
from types import SimpleNamespace
bfloat16 = None
cuda = SimpleNamespace(synchronize=lambda: None)
def randn(*shape, device, dtype): return shape
def randn_like(tensor): return tensor
def empty_like(tensor): return tensor
def matmul(left, right, out): pass
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A driver with one device, which this process may come to see."""
    if compiler() is None:
        pytest.skip("the fake NVIDIA driver needs a C compiler; install gcc")
    monkeypatch.setenv("FAKE_NVML_STATE", "")
    return FakeNvml(tmp_path / "nvml", latency_seconds=0.0)


@pytest.mark.integration
def test_each_call_has_its_cost_idle_and_loaded(fake: FakeNvml) -> None:
    """Slow calls are told from fast ones, refused ones are listed with their code, nothing is set."""
    fake.slow("nvmlDeviceGetPowerUsage", 0.003)
    fake.devices[0].fail("nvmlDeviceGetEncoderUtilization", 3)

    figures = calls.measure(fake, load=LOAD, repeats=5, settle=0.0)

    for state in ("idle", "loaded"):
        assert all(set(cost) == COSTS for cost in figures[state].values())
        assert figures[state]["nvmlDeviceGetPowerUsage"]["wall_seconds_p50"] >= 0.003
        assert figures[state]["nvmlDeviceGetPowerUsage"]["cpu_seconds_p50"] < 0.003
        assert {"nvmlDeviceGetFieldValues of 10 ids", "gpuwatch reading"} <= set(figures[state])
    assert figures["refused"]["nvmlDeviceGetEncoderUtilization"] == 3
    assert (figures["device"], figures["repeats"]) == ("NVIDIA H100 80GB HBM3", 5)
    assert fake.forbidden_calls == 0


@pytest.mark.integration
def test_the_command_prints_one_object(fake: FakeNvml) -> None:
    """As it is documented, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks", "--calls", "--fake", "--repeats", "2"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    assert json.loads(told.stdout)["repeats"] == 2


@pytest.mark.integration
def test_without_a_load_nothing_is_loaded(fake: FakeNvml) -> None:
    """Nothing is made up for it."""
    figures = calls.measure(fake, repeats=2)

    assert figures["loaded"] is None
    assert figures["idle"]


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of that name that says watts for ever, among what is no number."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "nvidia-smi"
    script.write_text("#!/bin/sh\necho '[N/A]'\nwhile :; do echo 299.50; sleep 0.3; done\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")


@pytest.mark.integration
def test_the_agent_is_measured_beside_a_load(fake: FakeNvml, nvidia_smi: None) -> None:
    """Idle watts and steps with and without it; its energy is the driver's; the load says how busy it was."""
    fake.devices[0].power_watts = 300.0
    fake.devices[0].load(0.9)

    figures = beside.measure(fake, LOAD, duration=1.5, rounds=1, settle=1.0)

    for which in ("without", "with"):
        assert figures["idle_watts"][which] == [pytest.approx(300.0, rel=0.05)]
        assert figures["step_seconds_p50"][which] == figures["step_seconds_p99"][which] == [0.004]
    assert figures["average_watts"]["driver"] == pytest.approx(300.0, rel=0.05)
    # A second or two of a busy machine: the unit is right, the rest is for a longer measurement.
    assert figures["average_watts"]["agent"] == pytest.approx(300.0, rel=0.3)
    assert figures["average_watts"]["nvidia_smi"] == 299.5
    assert figures["activity_ratio"]["utilization"] == 0.9
    assert 0 < figures["activity_ratio"]["busy"] <= 1
    assert figures["flop_per_second"] > 1e9
    assert figures["peak_flop_per_second"]["bf16"] > 1e14
    assert fake.forbidden_calls == 0


def test_a_driver_that_is_not_there_is_said(fake: FakeNvml) -> None:
    """And what to do to try it all the same."""
    fake.fail_everything(9)

    said = r"no NVIDIA driver within reach: .*; --fake stands in for it"
    with pytest.raises(SystemExit, match=said), driver.opened(fake):
        raise AssertionError("it was opened")


@pytest.mark.parametrize(("command", "wait"), [("exit 3", 10.0), ("exec sleep 60", 0.05)])
def test_a_load_that_does_nothing_is_an_error(command: str, wait: float) -> None:
    """A figure beside a load that was not there would be a lie."""
    with pytest.raises(SystemExit, match=r"ended with 3|did no step in 0\.05 s"), Load(command) as load:
        load.wait(wait)


def running(pid: int) -> bool:
    """Whether a process is there and more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_load_ends_with_all_its_children(tmp_path: Path) -> None:
    """It is somebody's shell command; what it started must not go on."""
    with Load(f"sleep 300 & echo $! > {tmp_path}/child; echo 0.5 7; wait") as load:
        load.wait()
        (step,) = load.steps(0.0)
        child = int((tmp_path / "child").read_text())

    assert (step.seconds, step.flop) == (0.5, 7.0)
    assert wait_until(lambda: not running(child))


@pytest.fixture
def with_module(tmp_path: Path) -> Callable[[str, str], dict[str, str]]:
    """An environment whose Python has a module of this name and text, and no other site packages."""

    def make(name: str, text: str) -> dict[str, str]:
        (tmp_path / f"{name}.py").write_text(text)
        return os.environ | {"PYTHONPATH": str(tmp_path)}

    return make


def test_the_load_that_is_shipped_says_its_steps(with_module: Callable[[str, str], dict[str, str]]) -> None:
    """Seconds and operations of each product, as the measurements read them."""
    command = [sys.executable, str(MATMUL), "--size", "10", "--busy", "0.5"]
    with subprocess.Popen(command, env=with_module("torch", TORCH), stdout=subprocess.PIPE, text=True) as load:
        assert load.stdout is not None
        seconds, flop = load.stdout.readline().split()
        load.kill()

    assert 0 < float(seconds) < 1
    assert int(flop) == 2000


def test_the_load_that_is_shipped_says_what_it_needs() -> None:
    """A Python without torch and cupy cannot load a GPU."""
    told = subprocess.run([sys.executable, "-I", str(MATMUL)], capture_output=True, text=True, check=False)

    if "neither torch nor cupy" not in told.stderr:
        pytest.skip("this Python has torch or cupy")
    assert told.returncode == 1
