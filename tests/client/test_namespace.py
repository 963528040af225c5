"""The client in a container as narrow as can be: a user namespace with a file tree that has Python and no more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.test_channels import Port, client, port
from tests.client.test_client import MODULE

pytestmark = pytest.mark.integration
__all__ = ["client", "port"]

TRAINING = """
import ctypes, os, sys
assert ctypes.CDLL(None).umount2(b"/old", 2) == 0  # lazily: the host's tree, which the namespace began with
from gpuwatch_client import declare, progress
assert not os.path.exists("/run") and not os.path.exists("/proc") and not os.listdir("/old")
print(declare(device_hours=640))
for step in range(1, 4):
    progress(step, total=3)
print("trained")
"""

# Mounts of the namespace alone; they are gone with its last process.
ENTER = """
set -e
mount -t tmpfs tmpfs "$ROOT"
for each in $FOLDERS; do
    mkdir -p "$ROOT$each"
    mount --rbind "$each" "$ROOT$each"
done
for each in $LINKS; do ln -s "usr/$each" "$ROOT/$each"; done
mkdir -p "$ROOT/client" "$ROOT/job" "$ROOT/old"
mount --bind "$CLIENT" "$ROOT/client"
[ -z "$JOB" ] || mount --bind "$JOB" "$ROOT/job"
cd "$ROOT"
pivot_root . old
exec chroot . "$PYTHON" -S -c "$CODE"
"""


def folders_of_python() -> list[str]:
    """What an interpreter needs of a file tree: its own prefix and the C library."""
    prefix = sysconfig.get_config_var("prefix")
    libraries = [each for each in ("/lib", "/lib64") if Path(each).is_dir() and not Path(each).is_symlink()]
    own = [] if str(prefix).startswith("/usr") else [str(prefix)]
    return ["/usr", *libraries, *own]


@pytest.fixture
def contained(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the training where nothing of the host is mounted, as root of a user namespace of its own."""
    probe = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    if not shutil.which("unshare") or not shutil.which("pivot_root"):
        pytest.skip("no unshare and pivot_root (util-linux) to make a user namespace with")
    tried = subprocess.run(probe, capture_output=True, text=True, timeout=10, check=False)
    if tried.returncode:
        pytest.skip(f"user namespaces are forbidden here: {tried.stderr.strip()}")
    (tmp_path / "root").mkdir()

    def run(job: Path | str = "", network: bool = False, **known: str) -> subprocess.CompletedProcess[str]:
        made = {
            "PATH": os.environ["PATH"], "ROOT": str(tmp_path / "root"), "JOB": str(job), "CODE": TRAINING,
            "FOLDERS": " ".join(folders_of_python()), "CLIENT": str(MODULE.parents[1]),
            "LINKS": " ".join(each for each in ("lib", "lib64", "bin") if Path(f"/{each}").is_symlink()),
            "PYTHON": os.path.realpath(sys.executable), "PYTHONPATH": "/client", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        options = ["--user", "--map-root-user", "--mount", *([] if network else ["--net"])]
        return subprocess.run(
            ["unshare", *options, "sh", "-c", ENTER],
            env={**made, **known}, capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip

    return run


def test_training_where_nothing_is_reachable_goes_on(
    contained: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """It is told what to mount: one line for the declaration, one for progress, however many steps there are."""
    finished = contained(SLURM_JOB_ID="77")

    assert (0, "False\ntrained\n") == (finished.returncode, finished.stdout), finished.stderr
    declared, reported = finished.stderr.splitlines()
    assert "nothing is declared: no agent at /run/gpuwatch/agent.sock" in declared
    assert "progress is not reported: no agent at /run/gpuwatch/agent.sock" in reported
    assert all("--bind /run/gpuwatch" in each for each in (declared, reported))


def test_jobs_directory_is_enough(
    contained: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Bind-mounted anywhere, with no network at all."""
    (tmp_path / "77").mkdir()
    finished = contained(tmp_path / "77", GPUWATCH_JOB_DIRECTORY="/job")

    assert (0, "True\ntrained\n", "") == (finished.returncode, finished.stdout, finished.stderr)
    assert "device-hours=640\n" == (tmp_path / "77" / "declare").read_text()
    told = json.loads((tmp_path / "77" / "progress").read_text())
    assert (3, 3) == (told["step"], told["total"])


def test_http_with_the_jobs_token_is_enough(
    contained: Callable[..., subprocess.CompletedProcess[str]], port: Port
) -> None:
    """With nothing mounted: an address and a token."""
    finished = contained(network=True, GPUWATCH_URL=port.url, SLURM_JOB_ID="77", GPUWATCH_TOKEN="t")

    assert (0, "True\ntrained\n", "") == (finished.returncode, finished.stdout, finished.stderr)
    assert ("/api/v1/jobs/77/declare", "Bearer t", {"text": "device-hours=640"}) == port.requests[0]
    path, token, message = port.requests[-1]
    assert ("/api/v1/jobs/77/progress", "Bearer t", 3, 3) == (path, token, message["step"], message["total"])
