"""Outputs that are kept in files: compared with what is put out now, or written again on purpose."""

from __future__ import annotations

from pathlib import Path


def compare(path: Path, actual: str, *, update: bool) -> None:
    """Assert that the file says `actual`; with `update` it is written first, and its difference is the review."""
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(actual, encoding="utf-8")
    assert path.exists(), f"{path.name} is not there: run pytest --update-golden, and review what it says"
    assert path.read_text(encoding="utf-8") == actual
