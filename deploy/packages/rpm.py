"""Make an rpm of a filled tree."""

from __future__ import annotations

from pathlib import Path

from package import Package


def build(package: Package, output: Path) -> Path:
    """Write the rpm into a folder."""
    raise SystemExit("rpm: not yet")
