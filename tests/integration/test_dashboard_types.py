"""The dashboards are dashboards to Grafana's own published types, and are drawn with its own components."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.grafana.boards import FILES, GRAFANA

pytestmark = pytest.mark.integration

RENDER = GRAFANA / "render"
SECONDS = 120.0


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js with the packages of grafana/render; without them the tests are skipped and say so."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node: the dashboards are NOT checked against Grafana's types")
    if not (RENDER / "node_modules" / "@grafana" / "schema").is_dir():
        pytest.skip(
            "no grafana/render/node_modules: dashboards NOT checked against Grafana's types; `make schema`"
        )
    return found


def _typed(node: str, *files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [node, "types.mjs", *map(str, files)], cwd=RENDER, capture_output=True, text=True, timeout=SECONDS
    )


def test_grafanas_types_accept_every_dashboard(node: str) -> None:
    """TypeScript has nothing to say to any of them as a `Dashboard` of @grafana/schema."""
    checked = _typed(node, *FILES)

    assert (0, "") == (checked.returncode, checked.stdout), checked.stderr


def test_types_are_not_satisfied_by_anything(node: str, tmp_path: Path) -> None:
    """A width that is a string, and options that are null, are found."""
    broken = json.loads(FILES[0].read_text(encoding="utf-8"))
    broken["panels"][0]["gridPos"]["w"] = "24"
    broken["panels"][1]["options"] = 7
    (tmp_path / "broken.json").write_text(json.dumps(broken))

    checked = _typed(node, tmp_path / "broken.json")

    assert 1 == checked.returncode
    assert 2 == checked.stdout.count("error TS"), checked.stdout


def test_packages_are_pinned_and_name_no_registry() -> None:
    """Versions are exact, and the lock says what the bytes are but not from where they come."""
    wanted = json.loads((RENDER / "package.json").read_text())["dependencies"]
    locked = (RENDER / "package-lock.json").read_text()
    packages = json.loads(locked)["packages"]

    assert "://" not in locked
    assert all(version[0].isdigit() for version in wanted.values())
    assert wanted == {name: packages[f"node_modules/{name}"]["version"] for name in wanted}
    assert "://" not in "".join(each.get("resolved", "") for each in packages.values())
    assert all("integrity" in each for name, each in packages.items() if name)
