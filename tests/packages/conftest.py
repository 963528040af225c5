"""The packages of this checkout, and the distributions that Python's own tools make of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.debian import REPOSITORY, binary
from tests.packages.built import built, shims, sources

VERSION = "1.0.0"
RPM_TOOLS = ("rpmbuild", "rpm", "rpmkeys")


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody."""
    somebody = [word for key in ("user.name", "user.email") for word in ("-c", f"{key}=nobody")]
    command = ["git", "-C", str(folder), *somebody, "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def distribution(checkout: Path, output: Path, target: str) -> Path:
    """Build a wheel or an sdist of a folder, as every front end does."""
    output.mkdir(parents=True, exist_ok=True)
    told = {key: value for key, value in os.environ.items() if not key.startswith("SETUPTOOLS_SCM")}
    code = f"from hatchling.build import build_{target}; print(build_{target}({str(output)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=checkout,
        env={**told, "SOURCE_DATE_EPOCH": "1700000000"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return output / done.stdout.split()[-1]


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of its own with these files, whose one commit is tagged v4.5.6."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path_factory.mktemp("checkout")
    for path in sources():
        target = folder / path.relative_to(REPOSITORY)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all of it")
    git(folder, "tag", "v4.5.6")
    return folder


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the tagged commit."""
    return distribution(checkout, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="session")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of the tagged commit."""
    return distribution(checkout, tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture(scope="session")
def deb() -> Path:
    """The deb."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    return built("deb", VERSION)


@pytest.fixture(scope="session")
def rpm_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rpm's programs."""
    missing = [name for name in RPM_TOOLS if binary(name) is None]
    if missing:
        pytest.skip(f"{missing} are neither installed nor unpacked; `sh tests/integration/packages.sh` says why")
    return shims(tmp_path_factory.mktemp("rpm") / "bin", RPM_TOOLS)


@pytest.fixture(scope="session")
def rpm(rpm_tools: Path) -> Path:
    """The rpm."""
    return built("rpm", VERSION, rpm_tools)


@pytest.fixture(scope="session")
def rpm_says(rpm: Path, rpm_tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """What rpm tells of the package, by the options of its query."""
    database = tmp_path_factory.mktemp("rpmdb")

    def ask(*options: str) -> list[str]:
        command = [str(rpm_tools / "rpm"), "--dbpath", str(database), "--query", "--package", *options, str(rpm)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()

    return ask


@dataclass(frozen=True)
class Unpacked:
    """A deb that was unpacked: its files in `root`, what dpkg reads in `control`."""

    root: Path
    control: Path


@pytest.fixture(scope="session")
def unpacked(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    """The deb, unpacked and not installed."""
    folder = tmp_path_factory.mktemp("deb")
    where = Unpacked(folder / "root", folder / "control")
    subprocess.run(["dpkg-deb", "--extract", str(deb), str(where.root)], timeout=120, check=True)
    subprocess.run(["dpkg-deb", "--control", str(deb), str(where.control)], timeout=60, check=True)
    return where
