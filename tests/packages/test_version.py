"""The version: the tag of git, and something that can be told from it where there is none."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gpuwatch
from tests.packages.conftest import distribution, git

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("packages")]


def _version_of(wheel: Path) -> str:
    return wheel.name.split("-")[1]


def test_version_is_the_tag(wheel: Path, sdist: Path) -> None:
    """Of both distributions."""
    assert ("4.5.6", "gpuwatch-4.5.6.tar.gz") == (_version_of(wheel), sdist.name)


def test_client_has_the_version_of_the_tag(checkout: Path, tmp_path: Path) -> None:
    """Its wheel is built from the folder below."""
    assert "4.5.6" == _version_of(distribution(checkout / "client", tmp_path, "wheel"))


def test_commit_after_the_tag_comes_before_the_next(checkout: Path, tmp_path: Path) -> None:
    """And says which commit it is."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(checkout), str(clone))
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "more")

    built = _version_of(distribution(clone, tmp_path, "wheel"))

    assert re.fullmatch(r"4\.5\.7\.dev1\+g[0-9a-f]+", built), built


def test_shallow_clone_without_tags_is_built(checkout: Path, tmp_path: Path) -> None:
    """As continuous integration often has it: less than any release, with the commit."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--depth", "1", "--no-tags", f"file://{checkout}", str(clone))

    built = _version_of(distribution(clone, tmp_path, "wheel"))

    assert re.fullmatch(r"0\.0\.1\.dev\d+\+g[0-9a-f]+", built), built


def test_archive_without_git_is_built_and_says_that_it_does_not_know(checkout: Path, tmp_path: Path) -> None:
    """What `git archive` makes has neither tag nor commit."""
    source = tmp_path / "source"
    shutil.copytree(checkout, source, ignore=shutil.ignore_patterns(".git", "_version.py", "tests"))

    assert "0.0.0" == _version_of(distribution(source, tmp_path, "wheel"))


def test_version_is_known_without_asking_anybody() -> None:
    """Neither git nor the metadata of packages is read at run time."""
    code = "import sys, gpuwatch; print(gpuwatch.__version__, 'importlib.metadata' in sys.modules)"

    said = subprocess.run(
        [sys.executable, "-c", code], env={}, capture_output=True, text=True, timeout=20, check=True
    ).stdout

    assert f"{gpuwatch.__version__} False\n" == said
