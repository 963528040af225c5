"""The ledger's disk is full: passes fail, and go on by themselves once there is place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SMALL_DISK = """
mount -t tmpfs -o size=8m none {disk} || exit 77
exec {python} -m tests.faults.full_disk {disk}
"""

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("unshare"), reason="a disk of its own needs root and unshare"
    ),
]


def test_a_full_disk_costs_passes_and_no_figure(tmp_path: Path) -> None:
    """The reserve lets some more be taken; in the end all is as if there had always been place."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = SMALL_DISK.format(disk=disk, python=sys.executable)

    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )

    if done.returncode == 77:
        pytest.skip("a tmpfs cannot be mounted here")
    assert 0 == done.returncode, done.stderr
    told = json.loads(done.stdout)
    assert ("ok", ["ok"] * 4, True) == (told["at first"], told["with place"][-4:], told["the same"])
    assert "failed" == told["full"][-1] and "ok" in told["full"], "the reserve's place was used"
    assert [2**20, 0, 2**20] == told["reserves"]
