"""A ledger for each test, in its own directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuwatch.ledger.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty ledger."""
    opened = open_store(str(tmp_path / "ledger.db"))
    yield opened
    opened.close()
