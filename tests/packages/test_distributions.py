"""Wheel and sdist: complete, and the same whichever way they are made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from gpuwatch.cli import COMMANDS
from tests.packages.conftest import distribution, git

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("packages")]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the wheel, which borrows the dependencies of the one that runs this."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], timeout=60, check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheel)], timeout=60, check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def _run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(installed / "bin" / arguments[0]), *arguments[1:]],
        cwd=installed, env={"HOME": str(installed), "PATH": os.defpath},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_wheel_has_every_file_of_the_program(wheel: Path, checkout: Path) -> None:
    """Whatever git keeps below gpuwatch/ and in the client, its page, device tables and migrations among them."""
    known = git(checkout, "ls-files", "gpuwatch", "client/gpuwatch_client").splitlines()
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())

    wanted = {name.removeprefix("client/") for name in known}
    assert {"gpuwatch/specs.toml", "gpuwatch_client/py.typed"} <= wanted
    assert set() == wanted - packed
    assert "gpuwatch-4.5.6.data/data/share/man/man1/gpuwatch.1" in packed


def test_wheel_brings_no_tests(wheel: Path) -> None:
    """What is installed is the program."""
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.namelist()

    assert {"gpuwatch", "gpuwatch_client"} == {name.split("/")[0] for name in packed if "4.5.6" not in name}


def test_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    """Byte for byte, without git and without the tag."""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")

    rebuilt = distribution(tmp_path / "gpuwatch-4.5.6", tmp_path / "again", "wheel")

    assert (wheel.name, wheel.read_bytes()) == (rebuilt.name, rebuilt.read_bytes())


def test_sdist_has_what_a_developer_needs(sdist: Path) -> None:
    """`make test` begins with these."""
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}

    wanted = {"Makefile", "requirements.lock", "requirements-dev.lock", "tests/conftest.py", "CHANGELOG.md"}
    assert set() == wanted - packed


def test_program_runs_from_the_wheel(installed: Path) -> None:
    """It is the wheel's, not the checkout's; every command is there."""
    where = _run(installed, "python", "-c", "import gpuwatch; print(gpuwatch.__file__)").stdout
    version = _run(installed, "gpuwatch", "--version")
    helped = _run(installed, "gpuwatch", "--help")

    assert where.startswith(str(installed))
    assert (0, "gpuwatch 4.5.6\n", "") == (version.returncode, version.stdout, version.stderr)
    assert [] == [command for command in COMMANDS if f" {command} " not in helped.stdout]


def test_data_is_found_from_the_wheel(installed: Path) -> None:
    """Plugins by their entry points, specifications by their file: the whole table of metrics is told."""
    checked = _run(installed, "gpuwatch", "check", "--json")
    metrics = _run(installed, "gpuwatch", "metrics", "--markdown")

    assert ("4.5.6", "") == (json.loads(checked.stdout)["version"], checked.stderr)
    assert "gpuwatch_device_power_watts" in metrics.stdout


def test_service_can_be_installed_from_the_wheel(installed: Path, checkout: Path, tmp_path: Path) -> None:
    """The units and the configuration with all defaults are in it, as the checkout has them."""
    printed = _run(installed, "gpuwatch", "check", "--print-default-config")
    program = ("--program", "/opt/gpuwatch/bin/gpuwatch")
    done = _run(installed, "gpuwatch", "install", "all", "--prefix", str(tmp_path / "root"), *program)

    assert ((checkout / "deploy" / "gpuwatch.toml").read_text(), "") == (printed.stdout, printed.stderr)
    assert (0, "") == (done.returncode, done.stderr)
    units = {path.name for path in (checkout / "systemd").glob("*.service")}
    assert units == {path.name for path in (tmp_path / "root/etc/systemd/system").glob("*.service")}
