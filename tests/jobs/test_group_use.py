"""What control groups say of processor time and memory, in both versions, and what they do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.jobs.group_use import READ_SECONDS, GroupUses, use_of
from gpuwatch.model import GroupUse

# Linux 6.1.
STAT = "usage_usec 81234567\nuser_usec 80000000\nsystem_usec 1234567\ncore_sched.force_idle_usec 0\nnr_periods 0\n"


def group(root: Path, **files: str) -> str:
    """A control group with these files; `cpu_stat` is `cpu.stat`."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name.replace("_", ".", 1)).write_text(text)
    return str(root)


def test_version_2_says_both(tmp_path: Path) -> None:
    """Microseconds, bytes."""
    path = group(tmp_path / "job_7", cpu_stat=STAT, memory_current="17179869184\n")

    assert use_of(path) == GroupUse(pytest.approx(81.234567), 17179869184.0)


@pytest.mark.parametrize("controller", ["freezer", ""])
def test_version_1_has_them_below_two_controllers(tmp_path: Path, controller: str) -> None:
    """Whichever controller the group was found by, or none."""
    base = tmp_path / "sys" / "fs" / "cgroup"
    group(base / "freezer" / "slurm" / "uid_1000" / "job_7")
    found = str(base / controller / "slurm" / "uid_1000" / "job_7")
    group(base / "cpu,cpuacct" / "slurm" / "uid_1000" / "job_7", cpuacct_usage="81234567890\n")
    group(base / "memory" / "slurm" / "uid_1000" / "job_7").strip()
    (base / "memory" / "slurm" / "uid_1000" / "job_7" / "memory.usage_in_bytes").write_text("4096\n")

    assert use_of(found) == GroupUse(pytest.approx(81.23456789), 4096.0)


@pytest.mark.parametrize(
    "text", ["", "usage_usec\n", "usage_usec -1\n", "usage_usec " + "9" * 40, "nr_periods 0\n"]
)
def test_group_that_does_not_count_is_unknown(tmp_path: Path, text: str) -> None:
    """None, not 0; a group that is gone as well."""
    assert use_of(group(tmp_path / "job_7", cpu_stat=text)) == GroupUse(None, None)
    assert use_of(str(tmp_path / "gone")) == GroupUse(None, None)


def test_memory_that_is_not_counted_is_unknown(tmp_path: Path) -> None:
    """Where the controller is not switched on for the group."""
    assert use_of(group(tmp_path / "job_7", cpu_stat=STAT)).memory_bytes is None


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_any_answer_is_read(tmp_path_factory: pytest.TempPathFactory, stat: bytes, memory: bytes) -> None:
    """Whatever is in the files, there are numbers or none."""
    path = tmp_path_factory.mktemp("group")
    (path / "cpu.stat").write_bytes(stat)
    (path / "memory.current").write_bytes(memory)
    use = use_of(str(path))

    assert all(number is None or number >= 0 for number in use)


def test_groups_are_read_every_few_seconds(tmp_path: Path) -> None:
    """Between two reads nothing is told, and a clock that was set back holds nothing up."""
    path = group(tmp_path / "job_7", cpu_stat=STAT, memory_current="1\n")
    uses = GroupUses()
    times = (100.0, 101.0, 100.0 + READ_SECONDS, 50.0)

    assert [list(uses.read({"7": path, "8": "/nowhere"}, now)) for now in times] == [["7"], [], ["7"], ["7"]]
