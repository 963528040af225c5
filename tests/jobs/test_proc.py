"""The small readers of procfs, on made-up processes and on this test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Unavailable
from gpuwatch.jobs import proc
from gpuwatch.jobs.proc import Stat
from tests.jobs.procfs import FakeProcfs

ID = "3f0c9a1b2c4d" + "0" * 52
INNER = "aaaabbbbcccc" + "1" * 52


@pytest.mark.parametrize("name", ["python3", "a) S 9 9 (b", "two\nlines", "", ")))"])
def test_stat_is_read_whatever_the_command_is_called(tmp_path: Path, name: str) -> None:
    """The name of the command is its own choice, and stands before what matters."""
    FakeProcfs(tmp_path).add(10, ppid=5, start=777, group=8, session=7, name=name)

    assert Stat(10, "S", 5, 8, 7, 777) == proc.stat(str(tmp_path), 10)


def test_no_such_process_is_none(tmp_path: Path) -> None:
    """A process that has ended is no error."""
    assert proc.stat(str(tmp_path), 10) is None
    assert proc.uid(str(tmp_path), 10) is None
    assert proc.cgroups(str(tmp_path), 10) == ()
    assert proc.children(str(tmp_path), 10) == ()


@pytest.mark.parametrize("text", [b"", b"10", b"10 (x) S 1 2", b"10 (x) S a b c" + b" 0" * 40, b"\xff\xfe"])
def test_malformed_stat_is_unavailable(tmp_path: Path, text: bytes) -> None:
    """What is not as Linux writes it is not guessed at."""
    FakeProcfs(tmp_path).add(10)
    (tmp_path / "10" / "stat").write_bytes(text)

    with pytest.raises(Unavailable, match="10/stat"):
        proc.stat(str(tmp_path), 10)


@pytest.mark.parametrize(("state", "dead"), [("R", False), ("S", False), ("T", False), ("Z", True), ("X", True)])
def test_zombie_is_dead(tmp_path: Path, state: str, dead: bool) -> None:
    """A process of which only the exit code is left holds nothing."""
    FakeProcfs(tmp_path).add(10, state=state)

    found = proc.stat(str(tmp_path), 10)
    assert found is not None
    assert dead is found.dead


def test_uid_is_the_real_one(tmp_path: Path) -> None:
    """The first of the four in status."""
    FakeProcfs(tmp_path).add(10)
    (tmp_path / "10" / "status").write_text("Name:\tUid:\t7\nUid:\t1000\t0\t0\t0\n")

    assert proc.uid(str(tmp_path), 10) == 1000


def test_cgroups_of_all_hierarchies(tmp_path: Path) -> None:
    """A path may contain colons."""
    FakeProcfs(tmp_path).add(10, cgroup="2:devices:/a:b\n1:name=systemd:/c\n0::/d\nnonsense\n")

    assert proc.cgroups(str(tmp_path), 10) == ("/a:b", "/c", "/d")


def test_all_processes_but_those_that_cannot_be_read(tmp_path: Path) -> None:
    """One malformed entry, and what is no process, hide nothing."""
    procfs = FakeProcfs(tmp_path)
    procfs.add(10)
    procfs.add(11)
    (tmp_path / "11" / "stat").write_text("?")
    (tmp_path / "meminfo").write_text("")

    assert {2, 10} == {each.pid for each in proc.processes(str(tmp_path))}


def test_whether_procfs_shows_all(tmp_path: Path) -> None:
    """Only where pid 2 is the kernel's is this the node's own procfs, and none of it hidden."""
    assert not proc.shows_all(str(tmp_path))
    procfs = FakeProcfs(tmp_path)
    assert proc.shows_all(str(tmp_path))
    procfs.add(2, name="bash")
    assert not proc.shows_all(str(tmp_path))
    (tmp_path / "2" / "comm").unlink()
    (tmp_path / "2" / "comm").mkdir()  # as good as forbidden: it cannot be read
    assert not proc.shows_all(str(tmp_path))


@pytest.mark.parametrize(
    ("path", "container"),
    [
        ("/docker/" + ID, "3f0c9a1b2c4d"),
        (f"/system.slice/docker-{ID}.scope", "3f0c9a1b2c4d"),
        (f"/system.slice/docker-{ID}.scope/init.scope", "3f0c9a1b2c4d"),
        (f"/kubepods/burstable/pod1b2c-3d/{ID}", "3f0c9a1b2c4d"),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1b2c_3d.slice/"
            f"cri-containerd-{ID}.scope",
            "3f0c9a1b2c4d",
        ),
        (f"/kubepods.slice/kubepods-pod1b2c_3d.slice/crio-{ID}.scope", "3f0c9a1b2c4d"),
        (f"/system.slice/containerd.service/kubepods-burstable-pod1b2c:cri-containerd:{ID}", "3f0c9a1b2c4d"),
        (f"/machine.slice/libpod-{ID}.scope", "3f0c9a1b2c4d"),
        (f"/machine.slice/libpod-{ID}.scope/container", "3f0c9a1b2c4d"),
        (f"/libpod_parent/libpod-{ID}", "3f0c9a1b2c4d"),
        (
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container",
            "3f0c9a1b2c4d@1000",
        ),
        (f"/docker/{ID}/kubepods/pod1/cri-containerd-{INNER}.scope", "aaaabbbbcccc"),
        (f"/machine.slice/libpod-conmon-{ID}.scope", None),
        (f"/kubepods.slice/kubepods-pod1.slice/crio-conmon-{ID}.scope", None),
        ("/", None),
        ("/user.slice/user-1000.slice/session-4.scope", None),
        ("/slurm/uid_1000/job_9/step_0", None),
        ("/docker/" + ID[:63], None),
        ("/docker/" + ID + "0", None),
        ("/docker/" + ID.upper(), None),
    ],
)
def test_container_id_in_control_groups(path: str, container: str | None) -> None:
    """The shapes that docker, containerd, CRI-O and podman give them, in v1 and v2."""
    assert container == proc.container(("/", path, "/"))


@given(st.text(max_size=40), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_users_own_groups_never_name_another_container(name: str, container: str) -> None:
    """Below user.slice anybody may make a group of any name."""
    path = f"/user.slice/user-1000.slice/user@1000.service/{name}/docker-{container}.scope"

    assert f"{container[:12]}@1000" == proc.container((path,))


def test_own_process_is_as_python_says() -> None:
    """The readers agree with the kernel's other interfaces, on this process."""
    found = proc.stat("/proc", os.getpid())

    assert found is not None
    assert (os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0)) == (
        found.pid,
        found.ppid,
        found.group,
        found.session,
    )
    assert os.getuid() == proc.uid("/proc", os.getpid())
