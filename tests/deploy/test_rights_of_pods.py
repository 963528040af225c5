"""What the chart's containers may read on a node, tried by a real container runtime on a made-up sysfs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.pods import Pod
from tests.integration.debian import binary

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("runc")]

POWERCAP = "sys/devices/virtual/powercap/intel-rapl"
CHECK = ("check", "--probe", "--json")


@pytest.fixture
def pod() -> Iterator[Callable[[str], Pod]]:
    """A pod of each case, all on one node with RAPL; without runc, or where it cannot start anything, skipped."""
    runc = binary("runc")
    if runc is None:
        pytest.skip("no runc: rights of containers are NOT tried; `sh tests/integration/packages.sh` says why")
    if os.geteuid() != 0:
        pytest.skip("containers are started by root alone: rights of containers are NOT tried")
    # Not below pytest's own folders, which are closed to other users.
    with tempfile.TemporaryDirectory(prefix="gpuwatch-pod-") as name:
        Path(name).chmod(0o755)
        node, folder = Path(name, "node"), Path(name, "runc")
        with_rapl(node)
        made = {case: Pod(runc, node, folder, case) for case in ("default", "power", "tpu")}
        tried = made["default"].run("prepare", "--help")
        if tried.returncode:
            pytest.skip(f"runc cannot start a container here, rights are NOT tried: {tried.stderr[-300:]}")
        shutil.rmtree(node / "var", ignore_errors=True)
        yield made.__getitem__


def with_rapl(node: Path) -> None:
    """A sysfs as that of a node with one package and its memory: registers are root's alone, limits are not."""
    zones = {"intel-rapl:0": "package-0", "intel-rapl:0/intel-rapl:0:0": "dram"}
    (node / "sys/class/powercap").mkdir(parents=True)
    for place, called in zones.items():
        zone = node / POWERCAP / place
        zone.mkdir(parents=True, exist_ok=True)
        files = {"name": called, "max_energy_range_uj": "262143328850", "energy_uj": "12", "power_limit_uw": "7"}
        for name, text in files.items():
            (zone / name).write_text(f"{text}\n")
        (zone / "energy_uj").chmod(0o400)
        (node / "sys/class/powercap" / zone.name).symlink_to(f"../../devices/virtual/powercap/intel-rapl/{place}")
    (node / "sys/firmware").mkdir()


@pytest.fixture
def workload() -> Iterator[tuple[Path, int]]:
    """A folder with a file as a chip's node, and the pid of a process of another user who has it open."""
    with tempfile.TemporaryDirectory(prefix="gpuwatch-dev-") as name:
        Path(name).chmod(0o755)
        node = Path(name, "accel0")
        node.touch(0o644)
        with node.open() as opened:
            variables = {"PATH": os.defpath, "GPUWATCH_ESTIMATE": "device-hours=640"}
            process = subprocess.Popen(
                ["sleep", "120"], stdin=opened, env=variables, user=1234, group=1234, extra_groups=[]
            )
        try:
            yield Path(name), process.pid
        finally:
            process.kill()
            process.wait()


def rights(pod: Pod, *arguments: str, **changed: Any) -> dict[str, Any]:
    """The rows of `gpuwatch check` in the agent's container, by what they are for; and who it is."""
    done = pod.run("agent", *(arguments or CHECK), **changed)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    power = [each["detail"] for each in told["findings"] if each["what"] == "host.power: RAPL"]
    return {each["what"]: each for each in told["rights"]} | {"uid": told["uid"], "power": power}


def test_an_agent_as_it_comes_cannot_read_rapl_and_says_which_value_helps(pod: Callable[[str], Pod]) -> None:
    """Everybody may see that there are registers, root alone may read them."""
    found = rights(pod("default"))

    assert (65534, "no", "agent.hostPower.enabled of the chart") == (
        found["uid"],
        found["RAPL"]["here"],
        found["RAPL"]["todo"],
    )
    assert "no" == found["open files of other users"]["here"]


def test_a_capability_that_is_added_reaches_no_program_of_nobody(pod: Callable[[str], Pod]) -> None:
    """Why agent.hostPower adds none: it would be in the bounding set, and nowhere else."""
    added = {"capabilities": {"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]}}
    found = rights(pod("default"), security=added)

    assert (65534, "no") == (found["uid"], found["RAPL"]["here"])


def test_root_without_any_capability_reads_what_is_its_own(pod: Callable[[str], Pod]) -> None:
    """The other way, which the chart does not go: with hostPID such a root may end every process of root's."""
    found = rights(pod("default"), security={"runAsUser": 0, "runAsGroup": 0})

    assert (0, "yes") == (found["uid"], found["RAPL"]["here"])


def test_once_the_helper_was_there_an_agent_that_is_nobody_reads_rapl(pod: Callable[[str], Pod]) -> None:
    """By its group; nothing else of the zone was changed, and its own mount stays read-only."""
    power = pod("power")
    before = rights(power)["RAPL"]["here"]
    helper = power.run("prepare")
    after = rights(power)

    zone = power.node / POWERCAP / "intel-rapl:0"
    modes = {each: (zone / each).stat() for each in ("energy_uj", "power_limit_uw")}
    assert (0, "no") == (helper.returncode, before), helper.stderr
    assert (65534, "yes", ["package-0, dram-0"]) == (after["uid"], after["RAPL"]["here"], after["power"])
    assert [(0, 9838, 0o440), (0, 0, 0o644)] == [
        (each.st_uid, each.st_gid, each.st_mode & 0o777) for each in modes.values()
    ]


def test_a_runtime_hides_rapl_in_a_containers_own_sysfs_and_not_in_the_nodes(pod: Callable[[str], Pod]) -> None:
    """Why site.sysfs is the mount of the node's, whoever the agent is."""
    root = {"runAsUser": 0, "runAsGroup": 0}
    own = rights(pod("default"), security=root, setting={'"/host/sys"': '"/sys"'})
    nodes = rights(pod("default"), security=root)

    assert ("absent", "yes") == (own["RAPL"]["here"], nodes["RAPL"]["here"])


# What an agent looks for: who holds a chip, what is in an environment, what the node has mounted.
_LOOK = """
import json, os, sys
from gpuwatch.devices.tpu_chips import Node
from gpuwatch.devices.tpu_owners import Owners, variable
held = Owners("/host/proc", sys.argv[1]).look([Node("accel0", None)])["accel0"]
told = variable("/host/proc", int(sys.argv[2]), "GPUWATCH_ESTIMATE")
try:
    mounts = "device" in open(f"/host/proc/{sys.argv[2]}/mountstats").read()
except PermissionError:
    mounts = False
print(json.dumps([os.getuid(), held, told, mounts]))
"""


def test_only_an_agent_of_other_users_sees_who_holds_a_chip(
    pod: Callable[[str], Pod], workload: tuple[Path, int]
) -> None:
    """It begins as root, and looks as nobody: at open files, environments and mounts of the node's processes."""
    folder, pid = workload
    default, tpu = (
        pod(case).run("agent", "-c", _LOOK, str(folder), str(pid), program="/opt/gpuwatch/bin/python")
        for case in ("default", "tpu")
    )

    assert [65534, None, None, False] == json.loads(default.stdout or "[]"), default.stderr
    assert [65534, [pid], "device-hours=640", True] == json.loads(tpu.stdout or "[]"), tpu.stderr


def test_an_agent_of_other_users_reads_rapl_too(pod: Callable[[str], Pod]) -> None:
    """By the right to read every file."""
    found = rights(pod("tpu"))

    assert (65534, "yes") == (found["uid"], found["RAPL"]["here"])
