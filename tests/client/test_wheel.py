"""The client's own wheel: every module of it, no dependency, used from the wheel as from the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.client.test_client import MODULE

pytestmark = pytest.mark.integration

PROJECT = MODULE.parents[1]


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """The wheel as a front end has it built."""
    pytest.importorskip("hatchling", reason="hatchling is not installed; `make test` installs it")
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(tmp_path)!r}))"
    built = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True
    )
    return tmp_path / built.stdout.split()[-1]


def test_wheel_has_every_module_and_needs_nothing(wheel: Path) -> None:
    """Callbacks too; their libraries are the training's."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = [archive.read(each).decode() for each in names if each.endswith("METADATA")]

    modules = {f"gpuwatch_client/{path.name}" for path in MODULE.parent.iterdir() if path.is_file()}
    assert (set(), False) == (modules - names, "Requires-Dist" in metadata)
    assert {"gpuwatch_client/py.typed", "gpuwatch_client/lightning.py"} <= names


def test_client_is_used_from_the_wheel(wheel: Path) -> None:
    """Nothing else is on the path."""
    code = "import gpuwatch_client.keras; from gpuwatch_client import progress; progress(1, 2); print('trained')"
    finished = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(wheel), "GPUWATCH_SOCKET": "/nowhere"},
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip

    assert "trained\n" == finished.stdout
    assert "no agent at /nowhere" in finished.stderr
