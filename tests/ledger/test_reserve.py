"""Place on the disk that is given up when it is full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpuwatch.ledger.reserve import Reserve

FULL_DISK = """
mount -t tmpfs -o size=4m none {disk} || exit 77
exec {python} -m tests.ledger.on_full_disk {disk}
"""


def test_the_place_is_really_taken(tmp_path: Path) -> None:
    """A file of holes would hold nothing."""
    reserve = Reserve(tmp_path / "ledger.db.reserve", 2**20)
    reserve.keep()

    status = (tmp_path / "ledger.db.reserve").stat()

    assert (2**20, True) == (reserve.size(), status.st_blocks * 512 >= 2**20)
    assert 0 == status.st_mode & 0o007


def test_it_is_given_up_and_made_again(tmp_path: Path) -> None:
    """As often as it must be; one of another size is made anew."""
    sizes = []
    for wanted in (2**20, 2**16):
        reserve = Reserve(tmp_path / "reserve", wanted)
        for change in (reserve.keep, reserve.keep, reserve.release, reserve.release, reserve.keep):
            change()
            sizes.append(reserve.size())

    assert [2**20, 2**20, 0, 0, 2**20, 2**16, 2**16, 0, 0, 2**16] == sizes


def test_where_there_is_no_place_there_is_none(tmp_path: Path) -> None:
    """It is another time's matter, not an error."""
    reserve = Reserve(tmp_path / "reserve", 2**60)
    reserve.keep()

    assert 0 == reserve.size()
    Reserve(tmp_path / "none" / "reserve", 10).keep()


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="a disk of its own needs root and unshare"
)
def test_on_a_full_disk_the_next_pass_can_write(tmp_path: Path) -> None:
    """The write that found it full is lost, and said; the next one has the reserve's place."""
    (tmp_path / "disk").mkdir()
    script = FULL_DISK.format(disk=tmp_path / "disk", python=sys.executable)

    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )

    if done.returncode == 77:
        pytest.skip("a tmpfs cannot be mounted here")
    said = done.stdout.split("\n")
    assert ["reserve 1048576", "full", "reserve 0", "written", "reserve 1048576", ""] == said, done.stderr
