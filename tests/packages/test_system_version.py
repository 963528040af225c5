"""Versions of Python and of packages sort alike."""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import pairwise

import pytest

from tests.packages.built import BUILDER

IN_ORDER = [
    "0.0.1.dev250+g12579d0b2",
    "0.1.0.dev3",
    "0.1.0a1",
    "0.1.0b2",
    "0.1.0rc1.dev2",
    "0.1.0rc1",
    "0.1.0",
    "0.1.1.dev1+gabc",
    "0.1.1",
]


@pytest.fixture(scope="module")
def translated() -> list[str]:
    """The versions as a package has them."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from package import Package
for version in sys.argv[2:]:
    print(Package(Path('.'), version, 'x86_64', 0, True).system_version())
"""
    command = [sys.executable, "-c", code, str(BUILDER.parent), *IN_ORDER]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.split()


def test_pre_releases_have_a_tilde_and_releases_are_as_they_are(translated: list[str]) -> None:
    """A hyphen, which both systems take for their own, is in none."""
    assert "0.0.1~~dev250+g12579d0b2" == translated[0]
    assert ["0.1.0~rc1", "0.1.0"] == translated[5:7]
    assert not any("-" in version for version in translated)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is not installed")
def test_dpkg_sorts_them_as_python_does(translated: list[str]) -> None:
    """An upgrade is one for both."""
    for older, newer in pairwise(translated):
        subprocess.run(["dpkg", "--compare-versions", older, "lt", newer], timeout=20, check=True)
