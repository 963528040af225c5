"""The helper of the chart that is root with CHOWN alone: with real sockets, users and rights."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.chart import CHART

SCRIPT = CHART / "files" / "access.py"
USER, GROUP = 65534, 9838

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files are given away by root alone")


def helper(*arguments: object) -> subprocess.Popen[str]:
    """The helper as the chart starts it: root without any capability but CHOWN."""
    command = ["setpriv", "--bounding-set=-all,+chown", "--inh-caps=-all", "--no-new-privs"]
    program = [sys.executable, "-I", str(SCRIPT), f"--user={USER}", f"--group={GROUP}", *map(str, arguments)]
    return subprocess.Popen([*command, *program], stderr=subprocess.PIPE, text=True)


def once(*arguments: object) -> str:
    """What it says when it looks once."""
    process = helper(*arguments)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 0, told
    return told


def reaches(path: Path) -> bool:
    """Whether a process of the agent's user and groups can speak to a socket."""
    program = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
    command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", f"--groups={GROUP}", "--bounding-set=-all"]
    done = subprocess.run([*command, "/usr/bin/env", "python3", "-c", program], capture_output=True, timeout=20)
    return done.returncode == 0


@pytest.fixture
def kubelet() -> Iterator[Path]:
    """A directory and a socket in it as the kubelet makes them: root's, 0750 and 0755."""
    with tempfile.TemporaryDirectory(prefix="gpuwatch-") as name:
        Path(name).chmod(0o755)  # pytest's own folders are closed to other users
        folder = Path(name) / "pod-resources"
        folder.mkdir(mode=0o750)
        with listening(folder / "kubelet.sock"):
            yield folder / "kubelet.sock"


def listening(path: Path) -> socket.socket:
    """A socket of root at a path, made anew."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    path.chmod(0o755)
    return server


def test_the_agents_user_reaches_the_kubelet_once_it_was_let_in(kubelet: Path) -> None:
    """And root still owns both, and nobody else was let in."""
    before = reaches(kubelet)

    once(f"--grant={kubelet.parent}", f"--grant={kubelet}")
    assert (False, True) == (before, reaches(kubelet))
    assert (0, GROUP, 0o775) == (kubelet.stat().st_uid, kubelet.stat().st_gid, kubelet.stat().st_mode & 0o777)
    assert (0, GROUP, 0o750) == (
        kubelet.parent.stat().st_uid,
        kubelet.parent.stat().st_gid,
        kubelet.parent.stat().st_mode & 0o777,
    )


def test_a_socket_that_is_made_anew_is_given_again(kubelet: Path) -> None:
    """As after a restart of the kubelet; and the helper ends when it is told to."""
    process = helper(f"--grant={kubelet.parent}", f"--grant={kubelet}", "--every=0.1")
    _until(lambda: reaches(kubelet))
    with listening(kubelet):
        _until(lambda: reaches(kubelet))
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=20)

    assert 0 == process.returncode
    assert 2 == told.count(f"grant {kubelet} {GROUP}")


def test_a_directory_becomes_the_agents_and_what_links_to_one_does_not(tmp_path: Path) -> None:
    """A link in place of the directory is refused: what it leads to stays whose it was."""
    (tmp_path / "state").mkdir()
    (tmp_path / "etc").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "etc")

    told = once(f"--own={tmp_path}/state", f"--own={tmp_path}/link")
    assert (USER, 0) == ((tmp_path / "state").stat().st_uid, (tmp_path / "etc").stat().st_uid)
    assert f"access: own {tmp_path}/state {USER}\naccess: {tmp_path}/link: is no directory; tried again\n" == told


def test_what_everybody_may_read_is_left_alone(tmp_path: Path) -> None:
    """A directory of logs that is 0755 keeps its group; a second look changes nothing and says nothing."""
    (tmp_path / "pods").mkdir(mode=0o755)

    told = once(f"--grant={tmp_path}/pods"), once(f"--own={tmp_path}/pods"), once(f"--own={tmp_path}/pods")
    assert ("", f"access: own {tmp_path}/pods {USER}\n", "") == told
    assert 0 != GROUP != (tmp_path / "pods").stat().st_gid


def test_registers_that_root_alone_may_read_are_shown_to_the_group(tmp_path: Path) -> None:
    """Every file that fits, and no other; a link to one is refused; a second look changes nothing."""
    for name in ("zone:0/energy_uj", "zone:1/energy_uj", "zone:1/power_limit_uw"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(0o400)
    (tmp_path / "zone:2").mkdir()
    (tmp_path / "zone:2/energy_uj").symlink_to(tmp_path / "zone:1/power_limit_uw")
    pattern = f"--read={tmp_path}/zone:*/energy_uj"

    told = once(pattern), once(pattern)
    refused = f"access: {tmp_path}/zone:2/energy_uj: is no plain file; tried again\n"
    shown = "".join(f"access: read {tmp_path}/zone:{each}/energy_uj {GROUP}\n" for each in (0, 1))
    found = [(tmp_path / each).stat() for each in ("zone:0/energy_uj", "zone:1/power_limit_uw")]
    assert (shown + refused, refused) == told
    assert [(0, GROUP, 0o440), (0, 0, 0o400)] == [
        (each.st_uid, each.st_gid, each.st_mode & 0o777) for each in found
    ]


def test_the_kernels_own_sysfs_takes_a_group_and_keeps_it() -> None:
    """On a file of a network that ends with the test: after the helper the agent's user reads it."""
    read = f"setpriv --reuid={USER} --regid={USER} --groups={GROUP} cat $file"
    caps = "setpriv --bounding-set=-all,+chown --inh-caps=-all --no-new-privs"
    program = f"{shlex.quote(sys.executable)} -I {shlex.quote(str(SCRIPT))} --group={GROUP}"
    script = f"""
        mount -t sysfs sysfs /mnt || exit 77
        file=/mnt/devices/virtual/net/lo/mtu
        chmod 0400 $file
        {read} 2>/dev/null && exit 1
        {caps} {program} --read='/mnt/devices/virtual/net/l*/mtu' 2>/dev/null && {read} && stat -c '%u %g %a' $file
    """
    command = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip(f"no sysfs of one's own here: the helper is NOT tried on one: {done.stderr}")

    assert f"65536\n0 {GROUP} 440\n" == done.stdout, done.stderr


def test_where_nothing_fits_a_pattern_nothing_is_said() -> None:
    """A node without RAPL."""
    assert "" == once("--read=/nowhere/intel-rapl:*/energy_uj")


def test_what_is_not_there_yet_keeps_no_agent_down(tmp_path: Path) -> None:
    """It is said, once, and the init container ends well."""
    told = once(f"--grant={tmp_path}/kubelet.sock")

    assert f"access: {tmp_path}/kubelet.sock: No such file or directory; tried again\n" == told


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
