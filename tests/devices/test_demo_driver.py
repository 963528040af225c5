"""The demo's driver directory: who holds a device is who lives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuwatch.devices.demo_driver import Handle, Holder, Load, holders, process_start

LOAD = Load("compute", 0.9, 2**30)


def fake_process(procfs: Path, pid: int, start: int, state: str = "S") -> None:
    """A process of that start time in a made-up procfs; its name has a blank and a parenthesis."""
    directory = procfs / str(pid)
    directory.mkdir(parents=True, exist_ok=True)
    rest = " ".join(["0"] * 18)
    (directory / "stat").write_text(f"{pid} (py ) x) {state} {rest} {start} 0 0\n")


def test_a_living_process_holds_what_it_opened(tmp_path: Path) -> None:
    """The load it says is what a reader sees, on that device alone."""
    handle = Handle(tmp_path, 2)
    handle.set(LOAD)

    assert holders(tmp_path, 2) == (Holder(os.getpid(), LOAD),)
    assert holders(tmp_path, 1) == ()


def test_closing_gives_the_device_back(tmp_path: Path) -> None:
    """Nothing of a handle stays behind."""
    handle = Handle(tmp_path, 0)
    handle.set(LOAD)

    handle.close()

    assert holders(tmp_path, 0) == ()
    assert list((tmp_path / "0").iterdir()) == []


@pytest.mark.parametrize("fate", ["gone", "zombie", "pid reused"])
def test_a_process_that_ended_holds_nothing(tmp_path: Path, fate: str) -> None:
    """Whatever it left behind is not believed, and removed."""
    procfs = tmp_path / "proc"
    fake_process(procfs, 77, start=1000)
    Handle(tmp_path, 0, pid=77, procfs=str(procfs)).set(LOAD)
    if fate == "gone":
        (procfs / "77" / "stat").unlink()
    else:
        fake_process(procfs, 77, *((1000, "Z") if fate == "zombie" else (2000, "S")))

    assert holders(tmp_path, 0, str(procfs)) == ()
    assert not (tmp_path / "0" / "77").exists()


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    """SIGKILL leaves no chance to clean up; the device is free all the same."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    Handle(tmp_path, 0, pid=process.pid).set(LOAD)
    before = holders(tmp_path, 0)

    process.kill()
    process.communicate()

    assert before == (Holder(process.pid, LOAD),)
    assert holders(tmp_path, 0) == ()


def test_process_start_of_nobody_is_none() -> None:
    """No process, no start."""
    assert process_start(2**22 + 1) is None
    assert process_start(os.getpid()) is not None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: st.lists(each, max_size=2) | st.dictionaries(st.text(max_size=3), each, max_size=2),
    max_leaves=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(phase=anything, intensity=anything, memory=anything)
def test_whatever_a_file_says_the_load_is_in_range(
    tmp_path: Path, phase: object, intensity: object, memory: object
) -> None:
    """A workload may write nonsense; a reader gets an idle holder, not an error."""
    said = {"phase": phase, "intensity": intensity, "memory_bytes": memory}
    said["pid_start"] = process_start(os.getpid())
    (tmp_path / "0").mkdir(exist_ok=True)
    (tmp_path / "0" / str(os.getpid())).write_text(json.dumps(said))

    ((pid, load),) = holders(tmp_path, 0)

    assert pid == os.getpid()
    assert 0 <= load.intensity <= 1
    assert load.memory_bytes >= 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"7"])
def test_a_file_that_is_not_ours_is_nobody(tmp_path: Path, content: bytes) -> None:
    """Half a file or none of ours holds nothing."""
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / str(os.getpid())).write_bytes(content)
    (tmp_path / "0" / "README").write_text("not a pid")

    assert holders(tmp_path, 0) == ()
