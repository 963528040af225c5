"""The cluster's ledger, made once, and the clock of the commands stopped at its noon."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gpuwatch.ledger.store import open_store
from tests.questions.cluster import NOW, fill


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The ledger's URL."""
    path: Path = tmp_path_factory.mktemp("questions") / "ledger.db"
    store = open_store(str(path))
    fill(store)
    store.close()
    return f"sqlite:///{path}"


@pytest.fixture
def ledger(made: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, for commands that read the clock."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    return made
