"""Pods by their control groups, in every form that kubelets and runtimes give them, and by their logs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Unavailable
from gpuwatch.jobs.pods import PodCgroups, pod_uid, uids_by_name

UID = "9e8f0b6e-0d0a-4c5d-8a7e-1f2e3d4c5b6a"
UNDERSCORED = UID.replace("-", "_")
STATIC = "0123456789abcdef0123456789abcdef"
CONTAINER = "3f0c9a1b2c4d" + "0" * 52

PATHS = {
    "systemd, v2": f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UNDERSCORED}.slice/"
    f"cri-containerd-{CONTAINER}.scope",
    "systemd, guaranteed": f"/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/crio-{CONTAINER}.scope",
    "cgroupfs": f"/kubepods/besteffort/pod{UID}/{CONTAINER}",
    "cgroupfs, guaranteed": f"/kubepods/pod{UID}/{CONTAINER}",
    "systemd, kind": f"/system.slice/docker-{CONTAINER}.scope/kubelet.slice/kubelet-kubepods.slice/"
    f"kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{UNDERSCORED}.slice/"
    f"cri-containerd-{CONTAINER}.scope",
    "cgroupfs, kind": f"/docker/{CONTAINER}/kubelet/kubepods/burstable/pod{UID}/{CONTAINER}",
    "containerd with a colon": f"/system.slice/containerd.service/kubepods-burstable-pod{UNDERSCORED}.slice"
    f":cri-containerd:{CONTAINER}",
    "from a pod's namespace, systemd": f"/../../kubepods-besteffort-pod{UNDERSCORED}.slice/cri-containerd-x.scope",
    "from a pod's namespace, cgroupfs": f"/../pod{UID}/{CONTAINER}",
    "nested in another pod": f"/kubepods/pod{UID}/{CONTAINER}/kubelet/kubepods/pod{STATIC}/{CONTAINER}",
    "upper case": f"/kubepods/pod{UID.upper()}/{CONTAINER}",
}

STRANGERS = {
    "a user's own": f"/user.slice/user-1000.slice/user@1000.service/kubepods/pod{UID}/x",
    "no pods there": f"/system.slice/pod{UID}/x",
    "podman": f"/machine.slice/libpod_pod_{CONTAINER}.slice/libpod-{CONTAINER}.scope",
    "Slurm": "/system.slice/slurmstepd.scope/job_12/step_0/user/task_0",
    "no uid": "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podx.slice",
    "root": "/",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_pod_is_found_in_a_cgroup_path(path: str) -> None:
    """Version 1 has it in some hierarchies only."""
    assert UID == pod_uid(("/", path))


@pytest.mark.parametrize("path", STRANGERS.values(), ids=STRANGERS)
def test_what_is_no_pod_has_no_uid(path: str) -> None:
    """Nor does what a user may name himself."""
    assert pod_uid((path,)) is None


def test_static_pod_has_a_hash() -> None:
    """Its uid is that of the file it was made from."""
    assert STATIC == pod_uid((f"/kubepods/burstable/pod{STATIC}/{CONTAINER}",))


@given(st.lists(st.text(max_size=60), max_size=4))
def test_any_path_is_read(paths: list[str]) -> None:
    """Whatever is in it, there is an answer."""
    assert pod_uid(paths) is None or "pod" in "".join(paths)


TREES = {
    "v2, systemd": f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UNDERSCORED}.slice",
    "v2, guaranteed": f"kubepods.slice/kubepods-pod{UNDERSCORED}.slice",
    "v2, cgroupfs": f"kubepods/besteffort/pod{UID}",
    "v1": f"memory/kubepods/burstable/pod{UID}",
    "v1, systemd": "cpu,cpuacct/kubepods.slice/kubepods-besteffort.slice/"
    f"kubepods-besteffort-pod{UNDERSCORED}.slice",
    "kind": f"system.slice/docker-{CONTAINER}.scope/kubelet.slice/kubelet-kubepods.slice/"
    f"kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{UNDERSCORED}.slice",
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_pod_lives_while_its_control_group_is_there(tmp_path: Path, tree: str) -> None:
    """Its going is seen without another look at the whole tree."""
    root = tmp_path / "fs/cgroup"
    (root / tree).mkdir(parents=True)
    if not tree.startswith(("memory", "cpu")):
        (root / "cgroup.controllers").touch()
    groups = PodCgroups(str(tmp_path))

    groups.refresh()
    before = groups.has(UID)
    (root / tree).rmdir()
    assert (True, True, False) == (groups.visible, before, groups.has(UID))


def test_pods_of_a_user_are_not_looked_for(tmp_path: Path) -> None:
    """A user may make directories below his slice."""
    (tmp_path / "fs/cgroup/user.slice/user-1000.slice/kubepods" / f"pod{UID}").mkdir(parents=True)
    (tmp_path / "fs/cgroup/cgroup.controllers").touch()
    groups = PodCgroups(str(tmp_path))

    groups.refresh()
    assert (False, False) == (groups.visible, groups.has(UID))


def test_tree_that_is_not_there_shows_nothing(tmp_path: Path) -> None:
    """An agent in a container without the host's /sys."""
    groups = PodCgroups(str(tmp_path))

    groups.refresh()
    assert not groups.visible


def test_logs_say_which_uids_a_name_had(tmp_path: Path) -> None:
    """Several, of a pod that was made again; what has another form is somebody else's."""
    other = UID.replace("9", "8")
    for each in (f"ml_train-0_{UID}", f"ml_train-0_{other}", f"kube-system_etcd_{STATIC}", "lost+found", "a_b_c"):
        (tmp_path / each).mkdir()

    found = uids_by_name(tmp_path)
    assert {("ml", "train-0"): sorted([UID, other]), ("kube-system", "etcd"): [STATIC]} == {
        name: sorted(uids) for name, uids in found.items()
    }


def test_logs_that_cannot_be_read_are_unavailable(tmp_path: Path) -> None:
    """The message says what is lost."""
    with pytest.raises(Unavailable, match="without it pods have no uid"):
        uids_by_name(tmp_path / "absent")
