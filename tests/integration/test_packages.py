"""packages.sh: it never fails a build, says what it could not get, and installs nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.debian import REPOSITORY

TOOLS = ("sh", "sed", "grep", "sort", "find", "touch", "mkdir", "rm", "timeout", "id", "dirname", "tail", "chmod")
WANTED = [
    "prometheus", "promtool", "prometheus-alertmanager", "amtool", "influxd", "victoria-metrics",
    "systemd-analyze", "systemd-nspawn", "mmdebstrap", "munged", "mariadbd", "postgres", "slurmd-wlm", "rpmbuild",
    "shellcheck", "runc", "chromium",
]  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., str]:
    """A machine with a checkout, the usual tools and the given programs (name to shell text); runs packages.sh."""
    programs = tmp_path / "bin"
    checkout = tmp_path / "checkout" / "tests" / "integration"
    checkout.mkdir(parents=True)
    programs.mkdir()
    shutil.copy(REPOSITORY / "tests" / "integration" / "packages.sh", checkout)
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (programs / tool).symlink_to(found)

    def run(**scripts: str) -> str:
        for name, script in scripts.items():
            program = programs / name.replace("_", "-")
            program.write_text(f"#!{shutil.which('sh')}\n{script}\n")
            program.chmod(0o755)
        done = subprocess.run(
            ["sh", str(checkout / "packages.sh")],
            env={
                "PATH": str(programs),
                "TOUCHED": str(tmp_path / "touched"),
                "POSTGRESQL_SERVERS": str(tmp_path / "none"),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert "" == done.stderr
        return done.stdout

    return run


UNPACKS = f"""
for root do :; done
mkdir -p "$root/usr/bin"
for each in {" ".join(WANTED)}; do
    echo > "$root/usr/bin/$each"
    chmod +x "$root/usr/bin/$each"
done
"""


def test_machine_that_has_everything_is_left_alone(machine: Callable[..., str]) -> None:
    """Nothing is fetched, nothing said."""
    there = {name.replace("-", "_"): "" for name in WANTED}

    assert "" == machine(**there, apt_get='echo > "$TOUCHED"')


def test_machine_without_apt_is_told_what_is_skipped(machine: Callable[..., str]) -> None:
    """One line for each program that is missing."""
    said = machine().splitlines()

    assert [
        f"packages: no {name}, and no apt to get it with; its tests will be skipped" for name in WANTED
    ] == said


def test_unreachable_archive_is_asked_once_and_its_reason_told(
    machine: Callable[..., str], tmp_path: Path
) -> None:
    """The first failure is told in apt's words; the other programs are not waited for."""
    fails = 'echo "$@" >> "$TOUCHED"; echo "E: archive is down" >&2; exit 100'

    said = machine(apt_get=fails, dpkg_deb="exit 1", apt_cache="exit 1").splitlines()

    asked = (tmp_path / "touched").read_text()
    assert "packages: no prometheus; its tests will be skipped: E: archive is down" == said[0]
    assert [f"packages: no {name} either" for name in WANTED[1:]] == said[1:]
    assert asked.count(" download ") == (2 if os.geteuid() == 0 else 1)
    assert " install " not in asked


def test_packages_are_unpacked_and_never_installed(machine: Callable[..., str], tmp_path: Path) -> None:
    """What apt downloads goes into the cache, and the second run finds it there."""
    downloads = 'echo "$@" >> "$TOUCHED"; echo > prometheus.deb'

    first = machine(apt_get=downloads, dpkg_deb=UNPACKS, apt_cache="exit 0")
    second = machine(apt_get=downloads)

    assert [
        "packages: unpacked prometheus into .cache/debian/root",
        "packages: unpacked chromium into .cache/debian/chromium",
    ] == first.splitlines()
    assert "" == second
    assert 2 == len((tmp_path / "touched").read_text().splitlines())
    assert " install " not in (tmp_path / "touched").read_text()
    assert [] == list((tmp_path / "checkout" / ".cache" / "debian").glob("downloads*"))
