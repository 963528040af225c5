"""`gpuwatch check --capture` as whoever sends a recording runs it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from pathlib import Path

import pytest

from gpuwatch.errors import Unavailable
from tests.cli import command
from tests.fake_nvml import FakeNvml, compiler

NAME = "nvidia-h100-80gb-hbm3__570.86.15.json"

pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the fake NVIDIA driver needs a C compiler; install gcc"
)


@pytest.fixture
def fake(tmp_path: Path) -> FakeNvml:
    """A driver with two equal devices, for other processes."""
    return FakeNvml(tmp_path / "nvml", 2, latency_seconds=0.0)


def run(fake: FakeNvml, *arguments: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    """`gpuwatch check --capture` with that driver."""
    environment = command.environment(**fake.environment())
    return command.gpuwatch("check", "--capture", *map(str, arguments), env=environment, **more)


def test_files_are_written_and_what_to_do_with_them_is_said(fake: FakeNvml, tmp_path: Path) -> None:
    """The folder is made; one file for the two devices, which are alike."""
    result = run(fake, tmp_path / "new" / "folder")

    path = tmp_path / "new" / "folder" / NAME
    lines = result.stdout.splitlines()
    assert (result.returncode, result.stderr) == (0, "")
    assert [path] == list(path.parent.iterdir())
    assert lines[0] == f"{path}  NVIDIA H100 80GB HBM3, driver 570.86.15"
    assert "put it into tests/captures/" in result.stdout
    assert json.loads(path.read_text())["schema"] == 2


def test_it_writes_here_unless_told_where(fake: FakeNvml, tmp_path: Path) -> None:
    """The current folder, as the help says."""
    assert run(fake, cwd=tmp_path).returncode == 0

    assert (tmp_path / NAME).exists()


def test_a_file_can_be_named(fake: FakeNvml, tmp_path: Path) -> None:
    """Where there is one kind of device."""
    result = run(fake, "--json", tmp_path / "mine.json")

    written = {
        "path": str(tmp_path / "mine.json"),
        "model": "NVIDIA H100 80GB HBM3",
        "driver": "570.86.15",
        "unanswered": 0,
    }
    assert {"ok": True, "captures": [written]} == json.loads(result.stdout)
    assert (tmp_path / "mine.json").exists()


def test_one_file_for_two_kinds_is_a_mistake(fake: FakeNvml, tmp_path: Path) -> None:
    """Neither is written."""
    fake.devices[1].name = "NVIDIA L4"
    result = run(fake, tmp_path / "mine.json")

    assert result.returncode == 64
    assert "2 kinds of device" in result.stderr
    assert not (tmp_path / "mine.json").exists()


def test_nothing_is_set_and_nothing_that_blocks_is_called(fake: FakeNvml, tmp_path: Path) -> None:
    """It may be run beside a job."""
    run(fake, tmp_path)

    assert fake.forbidden_calls == 0
    assert fake.calls("nvmlDeviceGetSerial") == 0


def test_the_file_does_not_say_where_it_is_from(fake: FakeNvml, tmp_path: Path) -> None:
    """Neither device, nor process, nor node, nor user."""
    fake.devices[0].processes((os.getpid() + 10**7, 1))
    run(fake, tmp_path)

    text = (tmp_path / NAME).read_text()
    told = [fake.devices[0].uuid, str(os.getpid() + 10**7), platform.node(), str(Path.home()), str(tmp_path)]
    assert [word for word in told if len(word) > 4 and word in text] == []


def test_a_name_cannot_clear_the_screen(fake: FakeNvml, tmp_path: Path) -> None:
    """The model's name is from outside."""
    fake.devices[0].name = fake.devices[1].name = "L4\x1b[2J"
    result = run(fake, tmp_path)

    assert "\x1b" not in result.stdout
    assert list(tmp_path.glob("nvidia-l4-2j__*.json"))


@pytest.mark.parametrize("as_json", [False, True])
def test_without_a_driver_it_says_what_is_missing(fake: FakeNvml, tmp_path: Path, as_json: bool) -> None:
    """Exit 69, and what to do about it."""
    fake.fail_everything(9)
    result = run(fake, tmp_path / "out", *(["--json"] if as_json else []))

    message = "nvidia: the kernel driver is not loaded; load it with 'modprobe nvidia' and see dmesg"
    assert result.returncode == Unavailable.exit_code
    assert not (tmp_path / "out").exists()
    if as_json:
        assert {"ok": False, "error": message} == json.loads(result.stdout)
    else:
        assert f"gpuwatch: {message}\n" == result.stderr


def test_a_driver_that_hangs_does_not_hang_the_command(fake: FakeNvml, tmp_path: Path) -> None:
    """What it answered before is written, and how much is missing is said."""
    hanging = ("nvmlDeviceGetPowerUsage", "nvmlDeviceGetTemperatureV", "nvmlDeviceGetFieldValues")
    for device in fake.devices:
        device.hang(3600.0, hanging)
    began = time.monotonic()
    result = run(fake, "--timeout", "0.2", tmp_path)

    recorded = json.loads((tmp_path / NAME).read_text())
    assert result.returncode == 0
    assert "  incomplete: " in result.stdout
    assert recorded["calls"]["nvmlDeviceGetPowerUsage"][0]["failure"] == "no answer within 0.2 s"
    assert recorded["calls"]["nvmlDeviceGetUtilizationRates"][0]["return"] == 0
    assert time.monotonic() - began < 20


def test_a_driver_that_hangs_at_its_opening_is_unavailable(fake: FakeNvml, tmp_path: Path) -> None:
    """There is nothing to write."""
    fake.slow("nvmlInitWithFlags", 3600.0)
    result = run(fake, "--timeout", "0.2", tmp_path)

    assert result.returncode == Unavailable.exit_code
    assert result.stderr == "gpuwatch: nvidia: the driver gives no answer within 0.2 s\n"


def test_a_place_that_cannot_be_written_says_why(fake: FakeNvml, tmp_path: Path) -> None:
    """The path and the kernel's reason."""
    (tmp_path / "file").write_text("")
    result = run(fake, tmp_path / "file" / "below")

    assert result.returncode == Unavailable.exit_code
    assert result.stderr == f"gpuwatch: {tmp_path / 'file' / 'below' / NAME}: Not a directory\n"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_place_that_may_not_be_written_exits_77(fake: FakeNvml, tmp_path: Path) -> None:
    """No permission."""
    (tmp_path / "closed").mkdir(mode=0o500)

    assert run(fake, tmp_path / "closed").returncode == 77


@pytest.mark.parametrize("option", [["--probe"], ["--require-device"], ["--config", "x.toml"]])
def test_options_of_a_check_are_refused(fake: FakeNvml, tmp_path: Path, option: list[str]) -> None:
    """Nothing is checked in this mode, so that nothing is ignored."""
    result = run(fake, *option, tmp_path / "out")

    assert result.returncode == 64
    assert "--capture goes with --json and --timeout alone" in result.stderr


def test_a_place_without_capture_is_refused() -> None:
    """A check writes nothing."""
    result = command.gpuwatch("check", "somewhere")

    assert result.returncode == 64
    assert "says where --capture writes" in result.stderr
